#!/usr/bin/env python3
"""Copies a run directory into MLflow: settings, curves and what came out. Needs `pip install mlflow`.

    MLFLOW_TRACKING_URI=http://localhost:5000 tools/python/to_mlflow.py runs/demo [EXPERIMENT]

Each call makes a run of its own in the experiment (kan-gpt). Exit code: 0 done, 64 wrong usage, 66 no run there.
"""
import json
import re
import sys
from pathlib import Path

MOST_AT_ONCE = {"metrics": 1000, "params": 100}  # that a server takes


def settings(run):
    """The lines "section {", "  field: value" of config.textproto, as section.field; those of a list in one text."""
    found, section = {}, ""
    for line in (run / "config.textproto").read_text().splitlines():
        if match := re.fullmatch(r"(\w+) \{", line):
            section = match[1]
        elif match := re.fullmatch(r"  (\w+):? (.*)", line):
            found.setdefault(f"{section}.{match[1]}", []).append(match[2])
    return {name: ", ".join(values)[:6000] for name, values in found.items()}


def points(run):
    """Of each line of metrics.jsonl its numbers: name, value, milliseconds since 1970 and step."""
    time = 0
    for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()):
        step, time = line.pop("step"), line.pop("time", time)  # validations have no time of their own
        line.update({f"seconds/{phase}": seconds for phase, seconds in line.pop("profile", {}).items()})
        yield from ((name, value, int(time * 1000), step) for name, value in line.items() if value is not None)


def copy(run, experiment):
    import mlflow
    from mlflow.entities import Metric, Param

    is_done = (run / "summary.json").exists()
    summary = json.loads((run / "summary.json").read_text()) if is_done else {}
    batches = {"metrics": [Metric(*point) for point in points(run)],
               "params": [Param(*setting) for setting in settings(run).items()]}
    mlflow.set_experiment(experiment)
    with mlflow.start_run(run_name=run.name, tags={name: str(value) for name, value in summary.items()}) as made:
        for kind, items in batches.items():
            for begin in range(0, len(items), MOST_AT_ONCE[kind]):
                mlflow.MlflowClient().log_batch(made.info.run_id, **{kind: items[begin:begin + MOST_AT_ONCE[kind]]})
    print(f"{run} is run {made.info.run_id} of {experiment}" + ("" if is_done else "; it has not come to its end"))


def main():
    if len(sys.argv) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 64
    run = Path(sys.argv[1])
    if not (run / "metrics.jsonl").exists():
        print(f"{run} has no metrics.jsonl: name a run directory that training has written into", file=sys.stderr)
        return 66
    copy(run, sys.argv[2] if len(sys.argv) == 3 else "kan-gpt")
    return 0


if __name__ == "__main__":
    sys.exit(main())
