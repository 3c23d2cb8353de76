#!/usr/bin/env python3
"""Times greedy generation, one text, one thread: this project and transformers on its exported folder, in turns.

    tests/benchmark/generation.py --build build/release [--windows 64 512] [--rounds 5]

A network of the built-in size is trained for a few steps on made-up stories for each window. The time of a token in the
first half of the window and in its second half is the difference of texts of other lengths, so that starting counts
nowhere; the median of the rounds is printed, and the slowest and fastest. Both have to write the same tokens; exit code 1
where they don't. transformers come from PyPI into the environment that `make test-python` makes.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
from python_environment import make_environment  # noqa: E402

REQUIREMENTS = HERE.parent / "tools/checkpoint/requirements.txt"
PROMPT = "Once upon a time"
ENVIRONMENT = {**os.environ, "OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}

# Reads numbers of tokens, a line each; answers seconds and ids.
TRANSFORMERS = """
import json, sys, time
import torch, transformers
torch.set_num_threads(1)
folder, ids = sys.argv[1], torch.tensor([json.loads(sys.argv[2])])
model = transformers.AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True).eval()
for line in sys.stdin:
    with torch.inference_mode():
        begin = time.perf_counter()
        tokens = model.generate(ids, max_new_tokens=int(line), min_new_tokens=int(line), do_sample=False, use_cache=True)
        print(json.dumps([time.perf_counter() - begin, tokens[0, ids.size(1):].tolist()]), flush=True)
"""


def run(*words):
    return subprocess.run([str(word) for word in words], env=ENVIRONMENT, check=True, capture_output=True, text=True).stdout


def train(folder, binaries, window):
    run(binaries / "kangpt_stories", "--bytes", 2_000_000, "--seed", 1, "--output", folder / "stories.txt")
    run(binaries / "kangpt_preprocess", "--input", folder / "stories.txt", "--output", folder / "shards",
        "--train-vocabulary", 900)
    settings = [f"data.directory={folder / 'shards'}", f"run.directory={folder / 'run'}", "train.steps=20",
                f"data.sequence_length={window}", "train.batch_size=4", "checkpoint.interval_steps=0"]
    run(binaries / "kangpt_dist", *(word for setting in settings for word in ("--set", setting)))
    run(binaries / "kangpt_checkpoint", "export", "--format", "huggingface", "--output", folder / "exported", folder / "run")


class Process:
    """Answers a line of input by a line of output."""

    def __init__(self, *words):
        self.process = subprocess.Popen([str(word) for word in words], env=ENVIRONMENT, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def answer(self, line):
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Ours:
    name = "this project"

    def __init__(self, build, weights, lengths):
        self.processes = {tokens: Process(build / "bin/kangpt_generate", "--checkpoint", weights, "--interactive", "--json",
                                          "--temperature", 0, "--threads", 1, "--tokens", tokens) for tokens in lengths}

    def prompt_ids(self):
        return [process.answer(PROMPT) for process in self.processes.values()][0]["prompt_ids"]

    def generate(self, tokens):
        begin = time.perf_counter()
        text = self.processes[tokens].answer(PROMPT)
        return time.perf_counter() - begin, text["ids"]

    def close(self):
        for process in self.processes.values():
            process.close()


class Transformers:
    name = "transformers"

    def __init__(self, python, folder, prompt_ids):
        self.process = Process(python, "-c", TRANSFORMERS, folder, json.dumps(prompt_ids))

    def generate(self, tokens):
        return self.process.answer(tokens)

    def close(self):
        self.process.close()


def rates_of(entrant, lengths):
    """Tokens a second between each length and the next, and the ids of the longest text."""
    measured = [entrant.generate(length) for length in lengths]
    seconds = [after[0] - before[0] for before, after in zip(measured, measured[1:])]
    return [(b - a) / s for a, b, s in zip(lengths, lengths[1:], seconds)], measured[-1][1]


def compare(folder, args, window):
    train(folder, args.build / "bin", window)
    prompt_tokens = len(PROMPT.split())  # of a vocabulary that has these words
    most = window - prompt_tokens
    lengths = [1, most // 2, most]
    ours = Ours(args.build, folder / "run", lengths)
    prompt_ids = ours.prompt_ids()
    python = make_environment(Path(os.environ.get("KANGPT_CACHE", Path.home() / ".cache/kangpt")) / "python-huggingface",
                              REQUIREMENTS)
    theirs = Transformers(python, folder / "exported", prompt_ids)
    theirs.generate(1)
    rates, texts = {}, {}
    for _ in range(args.rounds):
        for entrant in [ours, theirs]:
            found, texts[entrant.name] = rates_of(entrant, lengths)
            rates.setdefault(entrant.name, []).append(found)
    ours.close()
    theirs.close()
    for name, found in rates.items():
        halves = [f"{statistics.median(half):,.0f} ({min(half):,.0f} to {max(half):,.0f})" for half in zip(*found)]
        print(f"| {window} | {name} | {halves[0]} | {halves[1]} |", flush=True)
    return texts[Ours.name] == texts[Transformers.name] and len(prompt_ids) + len(texts[Ours.name]) == window


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--windows", type=int, nargs="+", default=[64, 512])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    args.build = args.build.resolve()
    print("| window | who | tokens/s, first half of the window | second half |\n|---|---|---|---|")
    equal = True
    for window in args.windows:
        with tempfile.TemporaryDirectory() as folder:
            equal &= compare(Path(folder), args, window)
    if not equal:
        sys.exit("the texts differ, or ended sooner")


if __name__ == "__main__":
    main()
