#!/usr/bin/env python3
"""What a training step of a network asks of a GPU, counted, and how long that takes on an H100, predicted.

    tests/gpu/step_model.py [--network reference|built_in] [--tests build/release/tests] [--counts FILE]

The reference network is that of configs/upstream_parity.textproto, the built-in one is trained where no configuration says
otherwise. 16,384 tokens a step, products of BF16. The counts come from gpu_doubles_test, which runs a step with own kernels and
products counted and not computed; or from a FILE that it wrote before (KANGPT_STEP_COUNTS). No GPU has confirmed the times: a
launch takes the longest of its bytes, its products and a fixed time, one after the other. Prints a table, a line a part of the
step.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TOKENS = 16384
# Of an H100 SXM, as its makers and others measured it.
MEMORY_BYTES_PER_SECOND = 2.9e12
CACHE_BYTES_PER_SECOND = 5.5e12
CACHE_BYTES = 40e6  # a launch that touches less finds it in the cache
PRODUCT_FLOPS_PER_SECOND = 450e12
FP32_FLOPS_PER_SECOND = 25e12  # of Muon's own products, which tensor cores have no part in; the data sheet says 67e12
LAUNCH_SECONDS = 2.5e-6  # one after the other from the host; in a graph about a third
GRAPH_LAUNCH_SECONDS = 0.8e-6
# What a launch belongs to: the first whose name begins like this.
PARTS = [
    ("products of matrices", ("product", "aten::mm", "aten::addmm", "aten::bmm")),
    ("rounding to bfloat16", ("round_to_bfloat16",)),
    ("loss and its gradient", ("classify", "sum_both")),
    ("Chebyshev polynomials", ("chebyshev", "pack_", "add_coefficient")),
    ("norms, with polynomials", ("layer_norm",)),
    ("weights and gradients", ("take_weights", "add_gradients", "copy_gradient")),
    ("attention", ("attention",)),
    ("sums of columns", ("add_column_sums",)),
    ("embeddings", ("embed", "aten::embedding")),
    ("Muon", ("muon",)),
    ("optimizer", ("adamw", "squared_norms", "add_blocks", "hash_ranges")),
]
# The test that counts a step.
NETWORKS = {"reference": "OfTheReferenceNetworkIsKept", "built_in": "OfTheBuiltInNetworkIsKept"}
REST = "other operators of LibTorch"


def part_of(name):
    return next((part for part, beginnings in PARTS if name.startswith(beginnings)), REST)


def seconds_of(launch, launch_seconds=LAUNCH_SECONDS):
    """Of one launch of this kind."""
    flops_per_second = FP32_FLOPS_PER_SECOND if launch["name"].startswith("muon") else PRODUCT_FLOPS_PER_SECOND
    rate = CACHE_BYTES_PER_SECOND if launch["bytes"] < CACHE_BYTES else MEMORY_BYTES_PER_SECOND
    return max(launch["bytes"] / rate, launch["flops"] / flops_per_second, launch_seconds)


def table(launches):
    """part -> launches, bytes, flops, seconds with and without a graph; the longest part first."""
    parts = {}
    for launch in launches:
        count = launch["launches"]
        work = (count, count * launch["bytes"], count * launch["flops"], count * seconds_of(launch),
                count * seconds_of(launch, GRAPH_LAUNCH_SECONDS))
        before = parts.get(part_of(launch["name"]), (0,) * len(work))
        parts[part_of(launch["name"])] = tuple(a + b for a, b in zip(before, work))
    return dict(sorted(parts.items(), key=lambda part: -part[1][3]))


def lines(launches):
    parts = table(launches)
    parts["step"] = tuple(sum(column) for column in zip(*parts.values()))
    yield f"{'':28} {'launches':>8} {'GB':>7} {'GFLOP':>7} {'ms, predicted':>14} {'in a graph':>11}"
    for part, (count, moved, flops, seconds, in_graph) in parts.items():
        yield f"{part:28} {count:8} {moved / 1e9:7.2f} {flops / 1e9:7.0f} {seconds * 1e3:14.2f} {in_graph * 1e3:11.2f}"
    _, _, _, seconds, in_graph = parts["step"]
    yield f"tokens/s, predicted: {TOKENS / seconds / 1e6:.2f} million; in a graph {TOKENS / in_graph / 1e6:.2f} million"


def read(file):
    return [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()]


def count(tests, network):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "counts.jsonl")
        subprocess.run([Path(tests).resolve() / "gpu_doubles_test", f"--gtest_filter=StepBudget.{NETWORKS[network]}"],
                       env={**os.environ, "KANGPT_STEP_COUNTS": str(file)}, stdout=subprocess.DEVNULL, check=True)
        return read(file)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, default="reference")
    parser.add_argument("--tests", type=Path, default=Path(__file__).resolve().parents[2] / "build/release/tests")
    parser.add_argument("--counts", type=Path)
    arguments = parser.parse_args()
    print("\n".join(lines(read(arguments.counts) if arguments.counts else count(arguments.tests, arguments.network))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
