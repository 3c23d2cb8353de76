#!/usr/bin/env python3
"""Times the parity network in PyTorch eager, written as one writes it, in turns with our own training step.

    python3 -m venv /tmp/baseline && /tmp/baseline/bin/pip install torch==2.11.0 numpy
    cmake --build build/release --target benchmarks
    /tmp/baseline/bin/python tests/model/pytorch_baseline.py --ours build/release/bench/training_step_benchmark

Both sides: forward and backward of 16 sequences of 64 tokens, fp32, the same number of threads, taking turns. Prints the
median and the range of the milliseconds a step, tokens a second and the peak memory of each side. PyTorch's AdamW is
timed apart, since our optimizer is another program's part.
"""
import argparse
import json
import os
import resource
import statistics
import subprocess
import time

import torch
from torch import nn
from torch.nn import functional as F

VOCABULARY, CHANNELS, TIME, LAYERS, HEADS, FEATURES, DEGREE, HIDDEN, BATCH = 50257, 128, 64, 16, 8, 16, 8, 768, 16


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(CHANNELS, FEATURES) for _ in range(3))
        self.output = nn.Linear(FEATURES, CHANNELS)
        self.register_buffer("future", torch.triu(torch.ones(TIME, TIME, dtype=torch.bool), 1))

    def forward(self, u):
        q, k, v = (part(u).view(-1, TIME, HEADS, FEATURES // HEADS).transpose(1, 2)
                   for part in (self.query, self.key, self.value))
        scores = q @ k.transpose(2, 3) / (FEATURES // HEADS) ** 0.5
        weights = scores.masked_fill(self.future, float("-inf")).softmax(-1)
        return self.output((weights @ v).transpose(1, 2).reshape(u.shape[0], TIME, FEATURES))


class Kan(nn.Module):
    """As in github.com/SynodicMonth/ChebyKAN: cos(d arccos(tanh u)) and one einsum."""

    def __init__(self):
        super().__init__()
        self.coefficients = nn.Parameter(torch.randn(CHANNELS, CHANNELS, DEGREE + 1) / (CHANNELS * (DEGREE + 1)))
        self.register_buffer("degrees", torch.arange(DEGREE + 1.0))

    def forward(self, u):
        t = torch.tanh(u).view(-1, CHANNELS, 1).expand(-1, -1, DEGREE + 1)
        basis = (t.acos() * self.degrees).cos()
        return torch.einsum("bid,iod->bo", basis, self.coefficients).view(u.shape)


class Network(nn.Module):
    def __init__(self, feed_forward):
        super().__init__()
        def part():
            if feed_forward == "kan":
                return Kan()
            return nn.Sequential(nn.Linear(CHANNELS, HIDDEN), nn.GELU("tanh"), nn.Linear(HIDDEN, CHANNELS))

        self.tokens, self.positions = nn.Embedding(VOCABULARY, CHANNELS), nn.Embedding(TIME, CHANNELS)
        self.norms = nn.ModuleList(nn.LayerNorm(CHANNELS, eps=1e-6) for _ in range(2 * LAYERS))
        self.mixers = nn.ModuleList(Attention() for _ in range(LAYERS))
        self.parts = nn.ModuleList(part() for _ in range(LAYERS))
        self.head = nn.Linear(CHANNELS, VOCABULARY, bias=False)

    def forward(self, ids):
        x = self.tokens(ids) + self.positions(torch.arange(TIME))
        for layer in range(LAYERS):
            x = x + self.mixers[layer](self.norms[2 * layer](x))
            x = x + self.parts[layer](self.norms[2 * layer + 1](x))
        return self.head(x)


class Baseline:
    def __init__(self, feed_forward):
        self.network = Network(feed_forward)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-5, weight_decay=1e-3)
        self.ids = torch.randint(VOCABULARY, (BATCH, TIME))
        self.seconds_of_step()  # warm-up

    def seconds_of_step(self):
        """Of forward + backward, and of the optimizer."""
        start = time.perf_counter()
        logits = self.network(self.ids)
        F.cross_entropy(logits.view(-1, VOCABULARY), self.ids.view(-1)).backward()
        middle = time.perf_counter()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return middle - start, time.perf_counter() - middle


def our_step(program, feed_forward, threads):
    arguments = [program, f"--benchmark_filter=training_step/{feed_forward}", "--benchmark_format=json",
                 "--benchmark_min_time=1"]
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads))
    output = subprocess.run(arguments, capture_output=True, check=True, env=environment).stdout
    result = json.loads(output)["benchmarks"][0]
    return result["real_time"] / 1000, result["peak_megabytes"]


def report(name, seconds, megabytes):
    median = statistics.median(seconds)
    print(f"{name:28} {1000 * median:8.1f} ms ({1000 * min(seconds):.1f} to {1000 * max(seconds):.1f})"
          f" {BATCH * TIME / median:8.0f} tokens/s {megabytes:6.0f} MB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", required=True, help="the program training_step_benchmark")
    parser.add_argument("--feed-forward", choices=("kan", "mlp"), default="kan")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    baseline = Baseline(arguments.feed_forward)
    eager, adam, ours, megabytes = [], [], [], 0
    for _ in range(arguments.rounds):
        step, update = min(baseline.seconds_of_step() for _ in range(3))
        eager.append(step)
        adam.append(update)
        seconds, megabytes = our_step(arguments.ours, arguments.feed_forward, arguments.threads)
        ours.append(seconds)
    report("PyTorch eager", eager, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)
    report("PyTorch AdamW, in addition", adam, 0)
    report("this project", ours, megabytes)
    print(f"ratio of medians: {statistics.median(eager) / statistics.median(ours):.2f}")


if __name__ == "__main__":
    main()
