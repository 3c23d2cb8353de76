#!/usr/bin/env python3
"""Looks for good settings: trains with one choice after the other, and reads what came out from each summary.json.

    search.py --runs runs/search --trials 20 \\
        --choose optimizer.learning_rate=3e-4..3e-2 --choose model.layers=2,4,8 \\
        -- mpirun -np 2 build/release/bin/kangpt_dist --config configs/tiny_cpu.textproto

LOW..HIGH is a range, searched by its logarithm; a,b,c are values to choose from. --optuna asks Optuna (pip install optuna)
what to try next; without it, choices are random. The same command goes on where it was: finished runs are not made
again, an unfinished one is resumed.
Exit code: 0 done, 64 wrong usage, 65 no run came to its end; where a run is stopped by a signal, its 75.
"""
import argparse
import json
import math
import random
import shlex
import subprocess
import sys
from pathlib import Path

STOPPED = 75


class Choice:
    """FIELD=LOW..HIGH or FIELD=a,b,c."""

    def __init__(self, text):
        self.field, _, values = text.partition("=")
        if not self.field or not values:
            raise ValueError(text)
        self.range = [float(end) for end in values.split("..")] if ".." in values else None
        if self.range and not (len(self.range) == 2 and 0 < self.range[0] < self.range[1]):
            raise ValueError(text)
        self.values = values.split(",")

    def at_random(self, source):
        if not self.range:
            return source.choice(self.values)
        return f"{math.exp(source.uniform(*map(math.log, self.range))):.4g}"

    def by_optuna(self, trial):
        if not self.range:
            return trial.suggest_categorical(self.field, self.values)
        return f"{trial.suggest_float(self.field, *self.range, log=True):.4g}"


def train(options, number, settings):
    """The best validation loss of a run with these settings; None where it came to no end."""
    run = options.runs / f"{number:03}"
    summary = run / "summary.json"
    if not summary.exists():
        changes = [f"run.directory={run}", *(f"{field}={value}" for field, value in settings.items())]
        command = options.command + [word for change in changes for word in ("--set", change)]
        print(f"search: {shlex.join(command)}", flush=True)
        code = subprocess.run(command, check=False).returncode
        if code == STOPPED:
            sys.exit(STOPPED)
        if code != 0:
            print(f"search: {run} ended with exit code {code}, and does not count", flush=True)
            return None
    return json.loads(summary.read_text(encoding="utf-8")).get("best_validation_loss")


def search_randomly(options):
    for number in range(options.trials):
        source = random.Random(f"{options.seed} {number}")
        settings = {choice.field: choice.at_random(source) for choice in options.choose}
        yield number, settings, train(options, number, settings)


def search_with_optuna(options):
    import optuna
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=options.seed))
    for number in range(options.trials):  # the same seed and results make the same choices: no need to store them
        trial = study.ask()
        settings = {choice.field: choice.by_optuna(trial) for choice in options.choose}
        loss = train(options, number, settings)
        study.tell(trial, loss, optuna.trial.TrialState.COMPLETE if loss is not None else optuna.trial.TrialState.FAIL)
        yield number, settings, loss


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(64, f"search: {message}. Try --help\n")


def parse_arguments():
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="folder for the run directories")
    parser.add_argument("--trials", type=int, default=10, help="runs in all")
    parser.add_argument("--choose", type=Choice, action="append", required=True, metavar="FIELD=VALUES")
    parser.add_argument("--optuna", action="store_true", help="let Optuna choose")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("command", nargs="+", help="after --: the training to start, without run.directory")
    return parser.parse_args()


def main():
    options = parse_arguments()
    done = []
    for number, settings, loss in (search_with_optuna if options.optuna else search_randomly)(options):
        if loss is not None:
            done.append((loss, number, settings))
    for loss, number, settings in sorted(done, key=lambda each: each[:2]):
        print(f"{loss:.4f}  {options.runs}/{number:03}  {' '.join(f'{f}={v}' for f, v in settings.items())}")
    if not done:
        return 65
    print(f"compare them: kangpt_report {options.runs}/[0-9]*")
    return 0


if __name__ == "__main__":
    sys.exit(main())
