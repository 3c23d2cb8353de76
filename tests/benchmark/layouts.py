#!/usr/bin/env python3
"""Times layouts of ranks x threads with kangpt_dist itself under mpirun, in turns, on the reference network.

    tests/benchmark/layouts.py --build build/release [--layouts 1x1 1x2 2x1] [--set section.field=value]...
    tests/benchmark/layouts.py --build build/release --layouts 2x1 2x1+copies

Each layout computes the same batches of 16 x 64 made-up tokens in two logical shards. +copies: each rank pretends to be
a node, by a memory folder of its own, and keeps copies of another one's snapshots. Prints the median step of each, how
much faster the last layout is than the first, and the same turn by turn; writes build/.../bench/layouts.json. Computing
time is that of whole jobs, with their starts, on all cores: it says what a layout costs even beside other work.
"""
import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

CONFIG = Path(__file__).resolve().parents[2] / "configs/upstream_parity.textproto"
WARM_UP_STEPS = 5
COPIES = "+copies"
ENVIRONMENT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
               "OMPI_MCA_rmaps_base_oversubscribe": "1", "OMPI_MCA_hwloc_base_binding_policy": "none",
               "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",  # from Open MPI 5 on
               "PRTE_MCA_hwloc_default_binding_policy": "none"}


def make_data(programs, folder):
    shards = folder / "shards"
    if not (shards / "manifest.textproto").is_file():
        stories = folder / "stories.txt"
        subprocess.run([programs / "kangpt_stories", "--bytes", "4000000", "--output", stories], check=True)
        subprocess.run([programs / "kangpt_preprocess", "--input", stories, "--output", shards], check=True,
                       stderr=subprocess.DEVNULL)
    return shards


def computing_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def times_of_job(programs, folder, layout, arguments):
    """The seconds of a step, the median after the first ones, and the computing time of the whole job per step."""
    ranks, threads = layout.removesuffix(COPIES).split("x")
    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    settings = {"run.threads": threads, "train.logical_shards": 2, "train.steps": WARM_UP_STEPS + arguments.steps,
                "data.directory": make_data(programs, folder), "run.directory": run, "checkpoint.resume": "NEVER",
                "log.interval_steps": 1, "log.tensorboard": "false"}
    overrides = [f"{name}={value}" for name, value in settings.items()] + arguments.set
    command = ["mpirun", "-np", ranks, programs / "kangpt_dist", "--config", CONFIG]
    before = computing_seconds()
    with tempfile.TemporaryDirectory(prefix="kangpt-layouts-", dir="/dev/shm") as memory:
        if layout.endswith(COPIES):
            command[3:3] = ["bash", "-c", f'export KANGPT_SHM={memory}/$OMPI_COMM_WORLD_RANK; exec "$0" "$@"']
        for rank in range(int(ranks)):
            Path(memory, str(rank)).mkdir()
        subprocess.run([*command, *(part for override in overrides for part in ("--set", override))], check=True,
                       env={**os.environ, **ENVIRONMENT}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step_seconds"] for line in lines if "step_seconds" in line]
    return statistics.median(steps[WARM_UP_STEPS:]), (computing_seconds() - before) / len(steps)


def print_ratios(what, first, last):
    ratios = sorted(b / a for a, b in zip(first, last))
    low, high = (ratios[index] for index in (len(ratios) // 4, -1 - len(ratios) // 4))
    print(f"{what} {statistics.median(ratios):.3f} times as long (turn by turn {ratios[0]:.3f} to {ratios[-1]:.3f}, "
          f"half of them {low:.3f} to {high:.3f})")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--layouts", nargs="+", default=["1x1", "1x2", "2x1"], metavar="RANKSxTHREADS")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args()
    programs = (arguments.build / "bin").resolve()
    folder = (arguments.build / "bench/layouts").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    turns = {layout: [] for layout in arguments.layouts}
    computing = {layout: [] for layout in arguments.layouts}
    for _ in range(arguments.rounds):
        for layout in arguments.layouts:
            step, computed = times_of_job(programs, folder, layout, arguments)
            turns[layout].append(step)
            computing[layout].append(computed)
            print(f"{layout}: {1e3 * step:.1f} ms a step, {computed:.2f} s of computing a step of the job", flush=True)
    for layout, seconds in turns.items():
        print(f"{layout}  {1e3 * statistics.median(seconds):6.1f} ms a step "
              f"({1e3 * min(seconds):.1f} to {1e3 * max(seconds):.1f})")
    first, last = (statistics.median(turns[arguments.layouts[index]]) for index in (0, -1))
    print(f"{arguments.layouts[-1]} against {arguments.layouts[0]}: {first / last:.2f} times as fast")
    first, last = arguments.layouts[0], arguments.layouts[-1]
    print_ratios("its step takes", turns[first], turns[last])
    print_ratios("it computes", computing[first], computing[last])
    record = {"step_seconds": turns, "computing_seconds": computing}
    (folder.parent / "layouts.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
