#!/usr/bin/env python3
"""Times whole training steps (forward, backward, AdamW) of the parity network: this project, PyTorch and JAX in turns.

    tests/benchmark/compare.py --build build/release        `make bench` runs it after building

All start from the same weights, train on the same batch of 16 x 64 tokens in fp32 on the same processors, and have to
report the same losses over their first steps; then they take turns, so that whatever else the machine does harms all
alike. Prints a table and writes build/.../bench/results.json, from which plot.py draws. PyTorch and JAX come from PyPI
(requirements.txt) into a throw-away environment in the build folder; --environment takes another one.
Exit code 1 where the losses differ.
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
from python_environment import make_environment  # noqa: E402

CONFIG = HERE.parents[1] / "configs/upstream_parity.textproto"
TOKENS = 16 * 64
WARM_UP_STEPS = 10
LARGEST_LOSS_DIFFERENCE = {"FP32": 1e-5, "BF16": 1e-2}  # relative, at each of the first steps
# An MLP of as many parameters as a KAN layer (147,456): 2 * 128 * 573 + 573 + 128.
EQUAL_MLP = {"model.feed_forward": "MLP", "model.mlp_hidden": 573}
# Freed memory stays with the process, in huge pages: no page faults in every step.
TUNED_MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(1 << 28),
                "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


@dataclass
class Entrant:
    name: str
    label: str
    kind: str = ""  # of contestant.py; "": this project
    overrides: dict = field(default_factory=dict)
    environment: dict = field(default_factory=dict)

    @property
    def network(self):
        return str(self.overrides.get("model.feed_forward", "KAN"))

    @property
    def precision(self):
        return self.overrides.get("train.precision", "FP32")


ENTRANTS = [
    Entrant("ours", "this project"),
    Entrant("eager", "PyTorch eager, as one writes it", "eager"),
    Entrant("tuned", "PyTorch eager, tuned", "tuned", environment=TUNED_MALLOC),
    Entrant("compiled", "torch.compile, tuned", "compiled", environment=TUNED_MALLOC),
    Entrant("jax", "JAX, jitted", "jax"),
    Entrant("ours-mlp", "this project, MLP of equal size", overrides=EQUAL_MLP),
]
BF16 = Entrant("ours-bf16", "this project, BF16", overrides={"train.precision": "BF16"})


def overrides_of(settings):
    return [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]


class Process:
    """A running contestant: a number of steps in, seconds and losses out."""

    def __init__(self, entrant, arguments, files):
        self.entrant = entrant
        weights = files[entrant.network]
        if entrant.kind:
            command = [arguments.python, str(HERE / "contestant.py"), entrant.kind, "--weights", weights,
                       "--threads", str(arguments.threads)]
        else:
            settings = {"model.initial_weights": weights, "run.threads": arguments.threads, **entrant.overrides}
            command = [arguments.ours, "--config", str(CONFIG), *overrides_of(settings)]
        environment = dict(os.environ, OMP_NUM_THREADS=str(arguments.threads),
                           TORCHINDUCTOR_CACHE_DIR=str(arguments.output / "torch_compile"), **entrant.environment)
        self.process = subprocess.Popen([*command, "--batch", files["batch"]], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, env=environment)

    def steps(self, count):
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"compare.py: {self.entrant.label} ended with exit code {self.process.wait()}")
        return json.loads(line)

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def write_inputs(arguments):
    """Weights of each network, and one batch of random tokens; their paths."""
    files = {"batch": str(arguments.output / "batch.bin")}
    program = ("import numpy, sys; numpy.random.default_rng(1).integers(0, 50257, (256, 65)).tofile(sys.argv[1])")
    subprocess.run([arguments.python, "-c", program, files["batch"]], check=True)
    for network, settings in (("KAN", {}), ("MLP", EQUAL_MLP)):
        files[network] = str(arguments.output / f"{network.lower()}.safetensors")
        subprocess.run([arguments.ours, "--config", str(CONFIG), *overrides_of(settings), "--write-weights",
                        files[network]], check=True)
    return files


def largest_difference(losses, expected):
    return max(abs(a / b - 1) for a, b in zip(losses, expected))


def start(entrants, arguments, files):
    """Starts all and compares their first losses with ours; returns processes and the differences."""
    processes, differences, expected = [], {}, None
    for entrant in entrants:
        print(f"starting {entrant.label}", flush=True)
        processes.append(Process(entrant, arguments, files))
        losses = processes[-1].steps(WARM_UP_STEPS)["losses"]
        expected = expected or losses
        if entrant.network == "KAN":
            differences[entrant.name] = largest_difference(losses, expected)
    return processes, differences


def take_turns(processes, rounds, steps):
    """For each contestant: the answers of all its turns, of which the first step is not counted."""
    answers = {process.entrant.name: [] for process in processes}
    for _ in range(rounds):
        for process in processes:
            process.steps(1)
            answers[process.entrant.name].append(process.steps(steps))
    return answers


def summary(entrant, answers):
    turns = [statistics.median(answer["seconds"]) for answer in answers]
    steps = [second for answer in answers for second in answer["seconds"]]
    result = {"name": entrant.name, "label": entrant.label, "step_seconds": statistics.median(turns),
              "fastest_turn": min(turns), "slowest_turn": max(turns),
              "tokens_per_second": TOKENS / statistics.median(turns),
              "peak_megabytes": max(answer["peak_megabytes"] for answer in answers),
              "page_faults_a_step": sum(answer["page_faults"] for answer in answers) / len(steps)}
    if "parts" in answers[0]:
        result["part_nanoseconds_a_token"] = {
            part: 1e9 * sum(answer["parts"][part] for answer in answers) / len(steps) / TOKENS
            for part in answers[0]["parts"]}
    return result


def large_batch(arguments, files):
    """Memory and speed at 16,384 tokens a step."""
    process = Process(Entrant("ours-large", "", overrides={"train.batch_size": 256}), arguments, files)
    process.steps(1)
    answer = process.steps(2)
    process.end()
    return {"peak_megabytes": answer["peak_megabytes"], "tokens_per_second": 16 * TOKENS / min(answer["seconds"])}


def print_table(results):
    print(f"\n{'':34}{'tokens/s':>9}{'ms a step (turns)':>28}{'peak MB':>9}{'faults':>9}{'loss':>9}")
    for entry in results["entrants"]:
        turns = f"{1e3 * entry['step_seconds']:.0f} ({1e3 * entry['fastest_turn']:.0f} to {1e3 * entry['slowest_turn']:.0f})"
        difference = entry.get("largest_loss_difference")
        print(f"{entry['label']:34}{entry['tokens_per_second']:9.0f}{turns:>28}{entry['peak_megabytes']:9.0f}"
              f"{entry['page_faults_a_step']:9.0f}{'' if difference is None else f'{difference:9.0e}'}")
    print(f"\n{'ns a token':34}" + "".join(f"{part:>14}" for part in results["entrants"][0]["part_nanoseconds_a_token"]))
    for entry in results["entrants"]:
        if "part_nanoseconds_a_token" in entry:
            parts = entry["part_nanoseconds_a_token"].values()
            print(f"{entry['label']:34}" + "".join(f"{value:14.0f}" for value in parts))
    print()
    for name, value in results["ratios"].items():
        print(f"{name:60}{value:7.2f}")
    print("16,384 tokens a step: {tokens_per_second:.0f} tokens/s, {peak_megabytes:.0f} MB".format(
        **results["large_batch"]))


def ratios(entrants):
    seconds = {entry["name"]: entry["step_seconds"] for entry in entrants}
    others = [seconds[name] for name in ("eager", "tuned", "compiled", "jax")]
    result = {"speed against PyTorch eager as one writes it": seconds["eager"] / seconds["ours"],
              "speed against the fastest of PyTorch and JAX": min(others) / seconds["ours"],
              "time of the KAN against the MLP of equal size": seconds["ours"] / seconds["ours-mlp"]}
    if "ours-bf16" in seconds:
        result["speed of BF16 against FP32"] = seconds["ours"] / seconds["ours-bf16"]
    return result


def processor():
    text = Path("/proc/cpuinfo").read_text()
    facts = dict(map(str.strip, line.split(":", 1)) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    return facts.get("model name", platform.machine()), set(facts.get("flags", "").split())


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, required=True, help="the build folder")
    parser.add_argument("--environment", type=Path, help="a Python environment with requirements.txt (else made)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=3, help="counted steps a turn")
    arguments = parser.parse_args()
    arguments.output = (arguments.build / "bench").resolve()
    arguments.output.mkdir(exist_ok=True)
    arguments.ours = str((arguments.build / "tests/kangpt_contestant").resolve())
    arguments.python = (str(arguments.environment / "bin/python") if arguments.environment
                        else make_environment(arguments.output / "environment", HERE / "requirements.txt"))
    return arguments


def main():
    arguments = parse_arguments()
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:arguments.threads]))
    name, flags = processor()
    entrants = ENTRANTS + ([BF16] if flags & {"avx512_bf16", "amx_bf16"} else [])
    files = write_inputs(arguments)
    begin = time.monotonic()
    processes, differences = start(entrants, arguments, files)
    answers = take_turns(processes, arguments.rounds, arguments.steps)
    for process in processes:
        process.end()
    summaries = [summary(entrant, answers[entrant.name]) for entrant in entrants]
    for entry in summaries:
        if entry["name"] in differences:
            entry["largest_loss_difference"] = differences[entry["name"]]
    results = {"processor": name, "threads": arguments.threads, "tokens_a_step": TOKENS, "rounds": arguments.rounds,
               "steps_a_turn": arguments.steps, "entrants": summaries, "ratios": ratios(summaries),
               "large_batch": large_batch(arguments, files)}
    (arguments.output / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    print_table(results)
    print(f"{time.monotonic() - begin:.0f} s; written to {arguments.output / 'results.json'}")
    wrong = [entrant.label for entrant in entrants if differences.get(entrant.name, 0) >
             LARGEST_LOSS_DIFFERENCE[entrant.precision]]
    if wrong:
        sys.exit(f"compare.py: these compute something else, their losses differ: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
