#!/usr/bin/env python3
"""The network, its gradients and AdamW in numpy fp64, written from shared formulas and independent of the C++ code.

Prints the loss of each of N training steps on one batch of stories (mode STORY: targets are the ids shifted by one, one
mean over all targets), as a check of any weights:

    parity_oracle.py --weights FILE.safetensors --stories FILE --heads 8 [--steps 10] [--learning-rate 1e-5]

`--stories` has the token ids of one story a line, separated by spaces, already cut to the window. The other sizes follow
from the tensors' shapes. The golden numbers of parity_test.cpp come from

    parity_oracle.py --golden

which prints, for six small networks with the weights and tokens of test_network.cpp, the losses of 101 steps (before the
first ten updates, then before every tenth) and what the network writes before and after them: greedily, until the end
token or a full window, as the reference does. Needs numpy alone.
"""
import argparse
import json
import struct

import numpy as np

from oracle_layers import FEED_FORWARDS, PARTS, Attention, LayerNorm


def read_safetensors(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    kinds = {"F32": np.float32, "F64": np.float64, "F16": np.float16}
    weights = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        values = np.frombuffer(data[begin:end], kinds[entry["dtype"]])
        weights[name] = values.astype(np.float64).reshape(entry["shape"])
    return weights


class Network:
    def __init__(self, weights, heads):
        self.weights = weights
        self.gradients = {name: np.zeros_like(value) for name, value in weights.items()}
        self.blocks = []
        layer = 0
        while f"layers.{layer}.mixer_norm.weight" in weights:
            prefix = f"layers.{layer}"
            arguments = (weights, self.gradients)
            self.blocks.append((LayerNorm(*arguments, f"{prefix}.mixer_norm"),
                                Attention(*arguments, f"{prefix}.attention", heads)))
            (kind,) = (kind for kind in FEED_FORWARDS if any(name.startswith(f"{prefix}.{kind}.") for name in weights))
            part = FEED_FORWARDS[kind](*arguments, f"{prefix}.{kind}")
            self.blocks.append((LayerNorm(*arguments, f"{prefix}.feed_forward_norm"), part))
            layer += 1
        has_final_norm = "final_norm.weight" in weights
        self.final_norm = LayerNorm(weights, self.gradients, "final_norm") if has_final_norm else None

    def features(self, ids):
        """The input of the head."""
        x = self.weights["token_embedding.weight"][ids] + self.weights["position_embedding.weight"][: ids.shape[1]]
        for norm, part in self.blocks:
            x = x + part.forward(norm.forward(x))
        return self.final_norm.forward(x) if self.final_norm else x

    def greedy(self, prompt, end):
        """The most probable token again and again, until it is `end` (left out) or the window is full."""
        ids = list(prompt)
        while len(ids) < len(self.weights["position_embedding.weight"]):
            token = int((self.features(np.array([ids]))[0, -1] @ self.weights["head.weight"].T).argmax())
            if token == end:
                break
            ids.append(token)
        return ids[len(prompt) :]

    def loss_and_gradients(self, ids, targets, mask):
        """Mean loss over the targets where `mask` is 1; gradients of that mean replace self.gradients."""
        for gradient in self.gradients.values():
            gradient[...] = 0
        u = self.features(ids)
        logits = u @ self.weights["head.weight"].T
        logits -= logits.max(-1, keepdims=True)
        log_share = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        chosen = np.take_along_axis(log_share, targets[..., None], -1)
        loss = -(chosen[..., 0] * mask).sum() / mask.sum()
        dlogits = np.exp(log_share)
        np.put_along_axis(dlogits, targets[..., None], np.take_along_axis(dlogits, targets[..., None], -1) - 1, -1)
        dlogits *= mask[..., None] / mask.sum()
        self.gradients["head.weight"] += np.einsum("btv,btc->vc", dlogits, u, optimize=True)
        dx = dlogits @ self.weights["head.weight"]
        if self.final_norm:
            dx = self.final_norm.backward(dx)
        for norm, part in reversed(self.blocks):
            dx = dx + norm.backward(part.backward(dx))
        np.add.at(self.gradients["token_embedding.weight"], ids, dx)
        self.gradients["position_embedding.weight"][: ids.shape[1]] += dx.sum(0)
        return loss


def train(weights, heads, stories, steps, learning_rate, weight_decay=1e-3):
    """Losses before each of `steps` AdamW updates (beta 0.9 and 0.999, epsilon 1e-8, decay of all parameters)."""
    network = Network(weights, heads)
    time = max(map(len, stories)) - 1
    ids, targets, mask = (np.zeros((len(stories), time), kind) for kind in (int, int, float))
    for row, story in enumerate(stories):
        count = len(story) - 1
        ids[row, :count], targets[row, :count], mask[row, :count] = story[:-1], story[1:], 1
    first = {name: np.zeros_like(value) for name, value in weights.items()}
    second = {name: np.zeros_like(value) for name, value in weights.items()}
    losses = []
    for step in range(1, steps + 1):
        losses.append(network.loss_and_gradients(ids, targets, mask))
        for name, value in weights.items():
            gradient = network.gradients[name]
            first[name] = 0.9 * first[name] + 0.1 * gradient
            second[name] = 0.999 * second[name] + 0.001 * gradient**2
            mean = first[name] / (1 - 0.9**step)
            deviation = np.sqrt(second[name] / (1 - 0.999**step))
            value -= learning_rate * (mean / (deviation + 1e-8) + weight_decay * value)
    return losses


def uniform(name, count):
    """The generator of test_network.cpp."""
    state = 14695981039346656037
    for letter in name.encode():
        state = (state ^ letter) * 1099511628211 % 2**64
    values = np.empty(count)
    for index in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        values[index] = (state >> 40) / 2**24 - 0.5
    return values


def small_shapes(feed_forward):
    channels, features, hidden, degree, groups = 8, 4, 12, 4, 2
    shapes = {"token_embedding.weight": (37, channels), "position_embedding.weight": (6, channels)}
    for layer in range(2):
        prefix = f"layers.{layer}."
        for norm in ("mixer_norm", "feed_forward_norm"):
            shapes.update({f"{prefix}{norm}.{part}": (channels,) for part in PARTS})
        for part in ("query", "key", "value"):
            shapes[f"{prefix}attention.{part}.weight"] = (features, channels)
            shapes[f"{prefix}attention.{part}.bias"] = (features,)
        shapes[f"{prefix}attention.output.weight"] = (channels, features)
        shapes[f"{prefix}attention.output.bias"] = (channels,)
        if feed_forward == "KAN" or (feed_forward == "HYBRID" and layer % 2 == 1):
            shapes[f"{prefix}kan.coefficients"] = (channels, channels, degree + 1)
            continue
        if feed_forward == "SWIGLU":
            shapes.update({f"{prefix}swiglu.{part}.weight": (hidden, channels) for part in ("gate", "up")})
            shapes[f"{prefix}swiglu.down.weight"] = (channels, hidden)
            continue
        kind = prefix + ("mlp" if feed_forward == "HYBRID" else feed_forward.lower())
        for place in ("input", "hidden"):
            if feed_forward == "GROUPED_KAN":
                shapes[f"{kind}.{place}.coefficients"] = (groups, degree + 1)
            if feed_forward == "RATIONAL_KAN":
                shapes[f"{kind}.{place}.numerator"], shapes[f"{kind}.{place}.denominator"] = (groups, 6), (groups, 4)
        shapes[f"{kind}.up.weight"], shapes[f"{kind}.up.bias"] = (hidden, channels), (hidden,)
        shapes[f"{kind}.down.weight"], shapes[f"{kind}.down.bias"] = (channels, hidden), (channels,)
    shapes["head.weight"] = (37, channels)
    return shapes


def small_weights(feed_forward):
    def spread(name):
        if name.endswith("norm.weight"):
            return 1, 0.25
        if name.endswith(".bias"):
            return 0, 0.125
        if name.endswith(".kan.coefficients"):
            return 0, 0.0625
        if name.endswith((".coefficients", ".numerator")):
            return 0.25, 0.5
        return 0, (2 if name.endswith("embedding.weight") else 0.5)

    weights = {}
    for name, shape in small_shapes(feed_forward).items():
        centre, width = spread(name)
        values = centre + width * uniform(name, int(np.prod(shape)))
        weights[name] = values.astype(np.float32).astype(np.float64).reshape(shape)
    return weights


def print_golden():
    ids = ((uniform("tokens", 4 * 7) + 0.5) * 37).astype(int).reshape(4, 7)
    stories = [list(row[: 7 - index % 3]) for index, row in enumerate(ids)]
    for feed_forward in ("KAN", "MLP", "HYBRID", "SWIGLU", "GROUPED_KAN", "RATIONAL_KAN"):
        weights = small_weights(feed_forward)
        untrained = Network(weights, 2).greedy([3, 1], 37)
        losses = train(weights, 2, stories, steps=100, learning_rate=1e-2)
        losses += train(weights, 2, stories, steps=1, learning_rate=0)
        print(feed_forward, ", ".join(f"{loss:.9f}" for loss in losses[:10] + losses[10::10]))
        print("  after [3, 1], untrained:", untrained)
        for end in (37, 22):
            print(f"  after [11], until {end}:", Network(weights, 2).greedy([11], end))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--golden", action="store_true", help="the small networks of parity_test.cpp")
    parser.add_argument("--weights", help="a .safetensors file")
    parser.add_argument("--stories", help="token ids, one story a line")
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--learning-rate", type=float, default=1e-5)
    arguments = parser.parse_args()
    if arguments.golden:
        print_golden()
        return
    with open(arguments.stories, encoding="ascii") as file:
        stories = [[int(word) for word in line.split()] for line in file if line.strip()]
    weights = read_safetensors(arguments.weights)
    for loss in train(weights, arguments.heads, stories, arguments.steps, arguments.learning_rate):
        print(f"{loss:.9f}", flush=True)


if __name__ == "__main__":
    main()
