#!/usr/bin/env python3
"""nanoGPT's published recipe in PyTorch, on the same shards and for the same tokens as the runs of experiments.py.

    python3 -m venv build/prototype && build/prototype/bin/pip install torch==2.11.0 numpy h5py
    build/prototype/bin/python tests/learning/nanogpt_recipe.py --data data/stories --output runs/learning/nanogpt-1
    build/prototype/bin/python tests/learning/nanogpt_recipe.py --data data/stories --output runs/learning/nanogpt-long-1 steps=20000

GPT-2 as nanoGPT (https://github.com/karpathy/nanoGPT) trains it: norms before the parts and before the head, GELU MLPs
of four times the width, no biases, the head tied to the embedding, first values of deviation 0.02 (of what adds to the
stream, less by the root of twice the layers), AdamW with weight decay on matrices and embeddings alone, clipping at 1,
warm-up and cosine to a tenth. Rates, beta2 and warm-up are those of its configuration for small networks and batches
(config/train_shakespeare_char.py). The width of 256 and three layers make 15.2 million parameters, as many as
configs/quality.textproto has.

What is not nanoGPT's: the windows of an epoch come in a random order, each once, as in kangpt_dist (nanoGPT draws with
repetition); validation goes over all of the split. A run that was stopped goes on behind its last validation. Writes
OUTPUT/metrics.jsonl and OUTPUT/summary.json with the fields that `experiments.py table` reads. Fields and their defaults:
DEFAULTS; "dropout=0.2", say, changes one.
"""
import argparse
import json
import math
import os
import re
import time
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

DEFAULTS = {
    "steps": 2386, "seed": 1, "batch": 16, "time": 64, "layers": 3, "channels": 256, "heads": 8, "dropout": 0.0,
    "learning_rate": 1e-3, "floor": 0.1, "warmup": 100, "beta2": 0.99, "weight_decay": 0.1, "clip": 1.0,
    "validation_interval": 500, "threads": 1,
}


class Block(nn.Module):
    def __init__(self, f):
        super().__init__()
        self.heads, self.dropout = f.heads, f.dropout
        self.attention_norm, self.mlp_norm = (nn.LayerNorm(f.channels, bias=False) for _ in range(2))
        self.qkv = nn.Linear(f.channels, 3 * f.channels, bias=False)
        self.attention_output = nn.Linear(f.channels, f.channels, bias=False)
        self.up = nn.Linear(f.channels, 4 * f.channels, bias=False)
        self.mlp_output = nn.Linear(4 * f.channels, f.channels, bias=False)

    def forward(self, x):
        batch, length, channels = x.shape
        query, key, value = (part.view(batch, length, self.heads, -1).transpose(1, 2)
                             for part in self.qkv(self.attention_norm(x)).split(channels, 2))
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True,
                                               dropout_p=self.dropout if self.training else 0.0)
        mixed = self.attention_output(mixed.transpose(1, 2).reshape(batch, length, channels))
        x = x + F.dropout(mixed, self.dropout, self.training)
        return x + F.dropout(self.mlp_output(F.gelu(self.up(self.mlp_norm(x)))), self.dropout, self.training)


class Gpt(nn.Module):
    def __init__(self, f, vocabulary_size):
        super().__init__()
        self.dropout = f.dropout
        self.tokens, self.positions = nn.Embedding(vocabulary_size, f.channels), nn.Embedding(f.time, f.channels)
        self.blocks = nn.ModuleList(Block(f) for _ in range(f.layers))
        self.norm = nn.LayerNorm(f.channels, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                scale = 1 / math.sqrt(2 * f.layers) if name.endswith("output.weight") else 1
                nn.init.normal_(parameter, std=0.02 * scale)

    def forward(self, ids):
        x = self.tokens(ids) + self.positions.weight[: ids.shape[1]]
        x = F.dropout(x, self.dropout, self.training)
        for block in self.blocks:
            x = block(x)
        return self.norm(x) @ self.tokens.weight.T


class Split:
    """All tokens of a split of a data directory, in windows as data.mode PACKED cuts them."""

    def __init__(self, directory, name, length):
        self.tokens = np.concatenate([self.read(path) for path in sorted(Path(directory).glob(f"{name}-*.h5"))])
        self.length = length
        self.windows = (len(self.tokens) - 1) // length
        text = Path(directory, "manifest.textproto").read_text(encoding="utf-8")
        self.bytes_per_token = float(re.search(rf'name: "{name}".*?bytes_per_token: (\S+)', text, re.S).group(1))

    @staticmethod
    def read(path):
        with h5py.File(path) as file:
            return file["tokens"][:].astype(np.int64)

    def rows(self, indices):
        """Ids and targets of some windows."""
        rows = np.stack([self.tokens[i * self.length : (i + 1) * self.length + 1] for i in indices])
        return torch.from_numpy(rows[:, :-1].copy()), torch.from_numpy(rows[:, 1:].copy())

    def batch(self, step, f):
        """Of a step from 0: every window once an epoch, in an order that the seed decides."""
        first = step * f.batch
        orders = {}
        places = [divmod(first + row, self.windows) for row in range(f.batch)]
        for epoch in {epoch for epoch, _ in places}:
            orders[epoch] = np.random.default_rng([f.seed, epoch]).permutation(self.windows)
        return self.rows([orders[epoch][place] for epoch, place in places])


def loss_of(network, ids, targets, reduction="mean"):
    return F.cross_entropy(network(ids).flatten(0, 1), targets.flatten(), reduction=reduction)


@torch.no_grad()
def validate(network, split):
    network.eval()
    total = 0.0
    for first in range(0, split.windows, 16):
        ids, targets = split.rows(range(first, min(first + 16, split.windows)))
        total += loss_of(network, ids, targets, "sum").item()
    network.train()
    loss = total / (split.windows * split.length)
    return loss, loss / math.log(2) / split.bytes_per_token


def rate(step, f):
    """Of step `step` from 1: nanoGPT's get_lr()."""
    if step < f.warmup:
        return f.learning_rate * step / (f.warmup + 1)
    share = (step - f.warmup) / max(f.steps - f.warmup, 1)
    return f.learning_rate * (f.floor + (1 - f.floor) * 0.5 * (1 + math.cos(math.pi * min(share, 1))))


def make_optimizer(network, f):
    matrices = [p for p in network.parameters() if p.dim() >= 2]
    others = [p for p in network.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": f.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=f.learning_rate, betas=(0.9, f.beta2))


class Run:
    """What a stopped run goes on from, and what it leaves."""

    def __init__(self, folder, network, optimizer):
        self.folder, self.network, self.optimizer, self.step = Path(folder), network, optimizer, 0
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lines = []
        if (self.folder / "state.pt").exists():
            state = torch.load(self.folder / "state.pt", weights_only=False)
            network.load_state_dict(state["network"])
            optimizer.load_state_dict(state["optimizer"])
            torch.set_rng_state(state["random"])
            self.step, self.lines = state["step"], state["lines"]

    def save(self):
        state = {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step,
                 "random": torch.get_rng_state(), "lines": self.lines}
        torch.save(state, self.folder / "state.pt.tmp")
        os.replace(self.folder / "state.pt.tmp", self.folder / "state.pt")
        text = "".join(json.dumps(line) + "\n" for line in self.lines)
        (self.folder / "metrics.jsonl").write_text(text, encoding="utf-8")


def train(run, data, validation, f):
    begin = time.monotonic()
    while run.step < f.steps:
        run.step += 1
        for group in run.optimizer.param_groups:
            group["lr"] = rate(run.step, f)
        ids, targets = data.batch(run.step - 1, f)
        loss = loss_of(run.network, ids, targets)
        run.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(run.network.parameters(), f.clip)
        run.optimizer.step()
        if run.step % 10 == 0:
            run.lines.append({"step": run.step, "loss": loss.item(), "tokens": run.step * f.batch * f.time,
                              "learning_rate": rate(run.step, f)})
        if run.step % f.validation_interval == 0 or run.step == f.steps:
            nats, bits = validate(run.network, validation)
            run.lines.append({"step": run.step, "validation_loss": nats, "bits_per_byte": bits})
            run.save()
            print(f"step {run.step}/{f.steps}  loss {loss.item():.4f}  validation {nats:.4f} nats a token, {bits:.4f} bits a "
                  f"byte  {time.monotonic() - begin:.0f} s", flush=True)


def summarise(run, parameters, f):
    validations = [line for line in run.lines if "validation_loss" in line]
    best = min(validations, key=lambda line: line["validation_loss"])
    summary = {"steps": run.step, "validation_loss": validations[-1]["validation_loss"], "parameters": parameters,
               "best_validation_loss": best["validation_loss"], "best_step": best["step"], "fields": vars(f)}
    (run.folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data/tinystories", help="what kangpt_preprocess wrote")
    parser.add_argument("--output", required=True, help="where the run is kept")
    parser.add_argument("fields", nargs="*", help="name=value")
    arguments = parser.parse_intermixed_args()
    given = dict(field.split("=") for field in arguments.fields)
    if unknown := set(given) - set(DEFAULTS):
        parser.error(f"unknown field {', '.join(sorted(unknown))}; valid: {', '.join(DEFAULTS)}")
    f = SimpleNamespace(**{name: type(value)(given.get(name, value)) for name, value in DEFAULTS.items()})
    torch.set_num_threads(f.threads)
    torch.manual_seed(f.seed)
    data, validation = (Split(arguments.data, name, f.time) for name in ("train", "validation"))
    with h5py.File(next(Path(arguments.data).glob("train-*.h5"))) as file:
        vocabulary_size = int(file.attrs["vocabulary_size"])
    network = Gpt(f, vocabulary_size)
    parameters = sum(p.numel() for p in network.parameters())
    run = Run(arguments.output, network, make_optimizer(network, f))
    print(f"{parameters:,} parameters, {data.windows:,} windows of {f.time} tokens, from step {run.step}", flush=True)
    train(run, data, validation, f)
    summarise(run, parameters, f)


if __name__ == "__main__":
    main()
