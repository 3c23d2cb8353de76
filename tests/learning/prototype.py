#!/usr/bin/env python3
"""Tries settings in PyTorch that may or may not be worth building: Muon, weight tying, first values, rates by group.

    python3 -m venv build/prototype && build/prototype/bin/pip install torch==2.11.0 numpy h5py
    build/prototype/bin/python tests/learning/prototype.py --data data/stories learning_rate=8e-3 layer_factor=0.3 tied=1

The network of configs/quality.textproto on the openings of 16 stories a step, validated on those of the whole validation
split. To be quick, the vocabulary holds the tokens that occur alone (6,695 of 50,257 in the stories of configs/RESULTS.md):
losses are some 0.05 nats lower than the program's and compare with each other only. Fields and their defaults: DEFAULTS.
"""
import argparse
import math
import time
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

DEFAULTS = {
    "steps": 250, "seed": 1, "feed_forward": "kan", "head_dim": 16, "degree": 8, "hidden": 573, "final_norm": 1,
    "placement": "pre",  # of the norms: pre, post, sandwich, parallel, or none before the feed-forward part
    "tied": 0, "learning_rate": 3e-3, "embedding_factor": 1.0, "layer_factor": 1.0, "kan_factor": 1.0,
    "constant_factor": 1.0, "warmup": 30, "floor": 0.01, "beta2": 0.95, "weight_decay": 1e-3,
    "muon_matrices": 0, "muon_coefficients": 0, "muon_rate": 0.02,  # Muon (Jordan, 2024) instead of AdamW
    "output_scale": 1.0, "head_scale": 1.0,                         # of the first values
    "coefficient_scale": 1.0, "coefficient_decay": 0.0,             # deviation ~ scale * degree^-decay
}
CHANNELS, TIME, LAYERS, HEADS, BATCH = 128, 64, 16, 8, 16


def read_openings(path):
    """Token ids [stories, TIME], padded with 0, and their lengths."""
    with h5py.File(path) as file:
        tokens, offsets = file["tokens"][:], file["doc_offsets"][:].astype(np.int64)
    ids, lengths = np.zeros((len(offsets) - 1, TIME), np.int64), np.zeros(len(offsets) - 1, np.int64)
    for row, (begin, end) in enumerate(zip(offsets, offsets[1:])):
        lengths[row] = min(end - begin, TIME)
        ids[row, : lengths[row]] = tokens[begin : begin + lengths[row]]
    return ids, torch.from_numpy(lengths)


def read_data(directory):
    """Training and validation openings with ids counted among the tokens that occur, and the number of those."""
    (train, train_lengths), (valid, valid_lengths) = (
        read_openings(Path(directory, f"{split}-00000.h5")) for split in ("train", "validation"))
    used, ids = np.unique(np.concatenate([train.ravel(), valid.ravel()]), return_inverse=True)
    ids = torch.from_numpy(ids.reshape(-1, TIME))
    return (ids[: len(train)], train_lengths), (ids[len(train) :], valid_lengths), len(used)


def dense(outputs, inputs, scale=1.0):
    weight = nn.init.trunc_normal_(torch.empty(outputs, inputs), std=1.0, a=-2, b=2)
    return nn.Parameter(weight * (scale / math.sqrt(inputs) / 0.87962566))


def zeros(count):
    return nn.Parameter(torch.zeros(count))


class Attention(nn.Module):
    def __init__(self, options):
        super().__init__()
        features = HEADS * options.head_dim
        self.weights = nn.ParameterList(dense(features, CHANNELS) for _ in range(3))
        self.output = dense(CHANNELS, features, options.output_scale)
        self.biases, self.bias = nn.ParameterList(zeros(features) for _ in range(3)), zeros(CHANNELS)

    def forward(self, u):
        split = [(u @ weight.t() + bias).view(*u.shape[:2], HEADS, -1).transpose(1, 2)
                 for weight, bias in zip(self.weights, self.biases)]
        context = F.scaled_dot_product_attention(*split, is_causal=True)
        return context.transpose(1, 2).reshape(*u.shape[:2], -1) @ self.output.t() + self.bias


class Kan(nn.Module):
    def __init__(self, options):
        super().__init__()
        degrees = torch.arange(1.0, options.degree + 1)
        deviation = torch.cat([torch.ones(1), degrees**-options.coefficient_decay])
        deviation *= options.coefficient_scale / (CHANNELS * (options.degree + 1))
        first = torch.randn(options.degree + 1, CHANNELS, CHANNELS) * deviation[:, None, None]
        self.constants, self.coefficients = nn.Parameter(first[0]), nn.Parameter(first[1:])

    def forward(self, u):
        t = torch.tanh(u)
        basis = [t, 2 * t * t - 1]
        while len(basis) < len(self.coefficients):
            basis.append(2 * t * basis[-1] - basis[-2])
        basis = torch.cat(basis[: len(self.coefficients)], -1)
        return basis @ self.coefficients.reshape(-1, CHANNELS) + self.constants.sum(0)


class Mlp(nn.Module):
    def __init__(self, options):
        super().__init__()
        self.up, self.down = dense(options.hidden, CHANNELS), dense(CHANNELS, options.hidden, options.output_scale)
        self.up_bias, self.down_bias = zeros(options.hidden), zeros(CHANNELS)

    def forward(self, u):
        return F.gelu(u @ self.up.t() + self.up_bias, approximate="tanh") @ self.down.t() + self.down_bias


class Network(nn.Module):
    def __init__(self, options, vocabulary):
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(vocabulary, CHANNELS) / math.sqrt(CHANNELS))
        self.positions = nn.Parameter(torch.randn(TIME, CHANNELS) / math.sqrt(CHANNELS))
        self.norms, self.second_norms = (
            nn.ModuleList(nn.LayerNorm(CHANNELS, 1e-6) for _ in range(2 * LAYERS)) for _ in range(2))
        self.placement = options.placement
        self.mixers = nn.ModuleList(Attention(options) for _ in range(LAYERS))
        part = Kan if options.feed_forward == "kan" else Mlp
        self.parts = nn.ModuleList(part(options) for _ in range(LAYERS))
        self.last_norm = nn.LayerNorm(CHANNELS, 1e-6) if options.final_norm else nn.Identity()
        self.head = None if options.tied else dense(vocabulary, CHANNELS, options.head_scale)

    def block(self, x, index):
        sublayer, norm = (self.parts if index % 2 else self.mixers)[index // 2], self.norms[index]
        if self.placement == "post":
            return norm(x + sublayer(x))
        if self.placement == "sandwich":
            return x + self.second_norms[index](sublayer(norm(x)))
        if self.placement == "none" and index % 2:
            return x + sublayer(x)
        return x + sublayer(norm(x))

    def forward(self, ids):
        x = self.tokens[ids] + self.positions
        for layer in range(LAYERS):
            if self.placement == "parallel":
                u = self.norms[2 * layer](x)
                x = x + self.mixers[layer](u) + self.parts[layer](u)
            else:
                x = self.block(self.block(x, 2 * layer), 2 * layer + 1)
        return self.last_norm(x) @ (self.tokens if self.head is None else self.head).t()

    def loss(self, ids, lengths, reduction="mean"):
        is_target = torch.arange(1, TIME)[None] < lengths[:, None]
        return F.cross_entropy(self(ids)[:, :-1][is_target], ids[:, 1:][is_target], reduction=reduction)


def orthogonal(gradient):
    """Five Newton-Schulz steps with the coefficients of Muon."""
    x = gradient / (gradient.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    x = x.mT if x.shape[-2] > x.shape[-1] else x
    for _ in range(5):
        square = x @ x.mT
        x = 3.4445 * x + (-4.775 * square + 2.0315 * square @ square) @ x
    return x.mT if gradient.shape[-2] > gradient.shape[-1] else x


class Muon:
    def __init__(self, parameters, options):
        self.parameters, self.options = parameters, options
        self.momenta = [torch.zeros_like(parameter) for parameter in parameters]

    @torch.no_grad()
    def step(self, factor):
        rate = self.options.muon_rate * factor
        for parameter, momentum in zip(self.parameters, self.momenta):
            momentum.mul_(0.95).add_(parameter.grad, alpha=0.05)
            update = orthogonal(parameter.grad.lerp(momentum, 0.95))
            scale = max(1, parameter.shape[-2] / parameter.shape[-1]) ** 0.5
            parameter.mul_(1 - rate * self.options.weight_decay).add_(update, alpha=-rate * scale)


def optimizers(network, options):
    groups, muon = {}, []
    for name, parameter in network.named_parameters():
        is_constants, is_table = name.endswith("constants"), name in ("tokens", "positions", "head")
        is_coefficients = name.endswith("coefficients")
        if (options.muon_coefficients if is_coefficients else
                options.muon_matrices and parameter.dim() == 2 and not is_table and not is_constants):
            muon.append(parameter)
            continue
        in_layer = not is_table and not name.startswith("last_norm")
        rate = options.learning_rate * (options.layer_factor if in_layer else 1)
        rate *= options.embedding_factor if name == "tokens" else 1
        rate *= options.kan_factor if is_coefficients or is_constants else 1
        groups.setdefault(rate * (options.constant_factor if is_constants else 1), []).append(parameter)
    groups = [{"params": parameters, "lr": rate, "rate": rate} for rate, parameters in groups.items()]
    adamw = torch.optim.AdamW(groups, betas=(0.9, options.beta2), weight_decay=options.weight_decay)
    return adamw, Muon(muon, options)


def schedule(step, options):
    if step < options.warmup:
        return step / options.warmup
    progress = (step - options.warmup) / (options.steps - options.warmup)
    return options.floor + (1 - options.floor) * 0.5 * (1 + math.cos(math.pi * progress))


def train(network, ids, lengths, options):
    adamw, muon = optimizers(network, options)
    generator = torch.Generator().manual_seed(options.seed)
    epochs = 1 + options.steps * BATCH // len(ids)
    order = torch.cat([torch.randperm(len(ids), generator=generator) for _ in range(epochs)])
    for step in range(1, options.steps + 1):
        rows = order[(step - 1) * BATCH : step * BATCH]
        loss = network.loss(ids[rows], lengths[rows])
        network.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for group in adamw.param_groups:
            group["lr"] = group["rate"] * schedule(step, options)
        adamw.step()
        muon.step(schedule(step, options))
        if step % 50 == 0:
            print(f"step {step}: loss {loss.item():.4f}", flush=True)


@torch.no_grad()
def validation_loss(network, ids, lengths):
    total = sum(network.loss(ids[row : row + 32], lengths[row : row + 32], "sum").item() for row in range(0, len(ids), 32))
    return total / (lengths.sum().item() - len(lengths))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="what kangpt_preprocess wrote, one shard a split")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("fields", nargs="*", metavar="FIELD=VALUE", help=", ".join(DEFAULTS))
    arguments = parser.parse_args()
    values = dict(DEFAULTS)
    for field in arguments.fields:
        name, value = field.split("=")
        values[name] = type(DEFAULTS[name])(value)
    options = SimpleNamespace(**values)
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(options.seed)
    training, validation, vocabulary = read_data(arguments.data)
    network = Network(options, vocabulary)
    start = time.process_time()
    train(network, *training, options)
    loss = validation_loss(network, *validation)
    print(f"validation loss {loss:.4f} after {options.steps} steps, {time.process_time() - start:.0f} s:", *arguments.fields)


if __name__ == "__main__":
    main()
