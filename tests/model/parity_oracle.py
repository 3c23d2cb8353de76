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

EPSILON = 1e-6  # layer norm
NORM = ("weight", "bias")


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


class LayerNorm:
    def __init__(self, weights, gradients, name):
        self.weight, self.bias = (weights[f"{name}.{part}"] for part in NORM)
        self.dweight, self.dbias = (gradients[f"{name}.{part}"] for part in NORM)

    def forward(self, x):
        centred = x - x.mean(-1, keepdims=True)
        self.scale = 1 / np.sqrt((centred**2).mean(-1, keepdims=True) + EPSILON)
        self.normal = centred * self.scale
        return self.normal * self.weight + self.bias

    def backward(self, du):
        self.dweight += (du * self.normal).sum((0, 1))
        self.dbias += du.sum((0, 1))
        g = du * self.weight
        inner = (g * self.normal).mean(-1, keepdims=True)
        return self.scale * (g - g.mean(-1, keepdims=True) - self.normal * inner)


class Dense:
    def __init__(self, weights, gradients, name):
        self.weight, self.bias = (weights[f"{name}.{part}"] for part in NORM)
        self.dweight, self.dbias = (gradients[f"{name}.{part}"] for part in NORM)

    def forward(self, u):
        self.u = u
        return u @ self.weight.T + self.bias

    def backward(self, dy):
        self.dweight += np.einsum("bto,bti->oi", dy, self.u)
        self.dbias += dy.sum((0, 1))
        return dy @ self.weight


class Attention:
    def __init__(self, weights, gradients, prefix, heads):
        self.parts = [Dense(weights, gradients, f"{prefix}.{part}") for part in ("query", "key", "value")]
        self.output = Dense(weights, gradients, f"{prefix}.output")
        self.heads = heads

    def split(self, x):  # [batch, time, features] -> [batch, heads, time, head_dim]
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(0, 2, 1, 3)

    def merge(self, x):
        x = x.transpose(0, 2, 1, 3)
        return x.reshape(*x.shape[:2], -1)

    def forward(self, u):
        self.query, self.key, self.value = (self.split(part.forward(u)) for part in self.parts)
        self.root = np.sqrt(self.query.shape[-1])
        scores = self.query @ self.key.transpose(0, 1, 3, 2) / self.root
        time = u.shape[1]
        scores[..., np.triu(np.ones((time, time), bool), 1)] = -np.inf
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        self.share = scores / scores.sum(-1, keepdims=True)
        return self.output.forward(self.merge(self.share @ self.value))

    def backward(self, dy):
        dcontext = self.split(self.output.backward(dy))
        dshare = dcontext @ self.value.transpose(0, 1, 3, 2)
        dscores = self.share * (dshare - (dshare * self.share).sum(-1, keepdims=True)) / self.root
        gradients = (
            dscores @ self.key,
            dscores.transpose(0, 1, 3, 2) @ self.query,
            self.share.transpose(0, 1, 3, 2) @ dcontext,
        )
        return sum(part.backward(self.merge(gradient)) for part, gradient in zip(self.parts, gradients))


class Kan:
    """T_d(t) = cos(d arccos t), dT_d/dt = d sin(d arccos t) / sin(arccos t), with t = tanh u."""

    def __init__(self, weights, gradients, prefix):
        self.coefficients = weights[f"{prefix}.coefficients"]
        self.dcoefficients = gradients[f"{prefix}.coefficients"]
        self.degrees = np.arange(self.coefficients.shape[2])

    def forward(self, u):
        self.angle = np.arccos(np.tanh(u))[..., None]
        self.basis = np.cos(self.degrees * self.angle)
        return np.einsum("btid,iod->bto", self.basis, self.coefficients, optimize=True)

    def backward(self, dy):
        self.dcoefficients += np.einsum("btid,bto->iod", self.basis, dy, optimize=True)
        dbasis = np.einsum("bto,iod->btid", dy, self.coefficients, optimize=True)
        # dt/du = 1 - t^2 = sin^2, so du = dbasis d sin(d angle) sin(angle)
        return (dbasis * self.degrees * np.sin(self.degrees * self.angle) * np.sin(self.angle)).sum(-1)


class Mlp:
    def __init__(self, weights, gradients, prefix):
        self.up = Dense(weights, gradients, f"{prefix}.up")
        self.down = Dense(weights, gradients, f"{prefix}.down")

    def forward(self, u):
        self.z = self.up.forward(u)
        self.tanh = np.tanh(np.sqrt(2 / np.pi) * (self.z + 0.044715 * self.z**3))
        return self.down.forward(0.5 * self.z * (1 + self.tanh))

    def backward(self, dy):
        slope = np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * self.z**2)
        derivative = 0.5 * (1 + self.tanh) + 0.5 * self.z * (1 - self.tanh**2) * slope
        return self.up.backward(self.down.backward(dy) * derivative)


class Projection:
    """A dense layer without a bias."""

    def __init__(self, weights, gradients, name):
        self.weight, self.dweight = weights[f"{name}.weight"], gradients[f"{name}.weight"]

    def forward(self, u):
        self.u = u
        return u @ self.weight.T

    def backward(self, dy):
        self.dweight += np.einsum("bto,bti->oi", dy, self.u)
        return dy @ self.weight


class Swiglu:
    """down(silu(gate u) * (up u)), silu(z) = z s(z) with the logistic function s, whose derivative is s (1 - s)."""

    def __init__(self, weights, gradients, prefix):
        self.gate, self.up, self.down = (Projection(weights, gradients, f"{prefix}.{part}")
                                         for part in ("gate", "up", "down"))

    def forward(self, u):
        self.z, self.linear = self.gate.forward(u), self.up.forward(u)
        self.share = 1 / (1 + np.exp(-self.z))
        return self.down.forward(self.z * self.share * self.linear)

    def backward(self, dy):
        dproduct = self.down.backward(dy)
        slope = self.share + self.z * self.share * (1 - self.share)
        return self.gate.backward(dproduct * self.linear * slope) + self.up.backward(dproduct * self.z * self.share)


def by_group(u, groups):  # [batch, time, channels] -> [batch, time, groups, channels of a group]
    return u.reshape(*u.shape[:2], groups, -1)


class ChebyshevOfGroup:
    """sum over d of c[g, d] cos(d arccos(tanh u)), g the group of u's channel."""

    def __init__(self, weights, gradients, prefix):
        self.coefficients, self.dcoefficients = (of[f"{prefix}.coefficients"] for of in (weights, gradients))
        self.degrees = np.arange(self.coefficients.shape[1])

    def forward(self, u):
        self.angle = np.arccos(np.tanh(by_group(u, len(self.coefficients))))[..., None]
        self.basis = np.cos(self.degrees * self.angle)
        return np.einsum("btgcd,gd->btgc", self.basis, self.coefficients).reshape(u.shape)

    def backward(self, dy):
        dy_of_groups = by_group(dy, len(self.coefficients))
        self.dcoefficients += np.einsum("btgcd,btgc->gd", self.basis, dy_of_groups)
        slopes = self.degrees * np.sin(self.degrees * self.angle) * np.sin(self.angle)
        return (dy_of_groups * np.einsum("btgcd,gd->btgc", slopes, self.coefficients)).reshape(dy.shape)


class RationalOfGroup:
    """P(u) / (1 + |A(u)|), P = a_0 + a_1 u + ..., A = b_1 u + ..., by group."""

    def __init__(self, weights, gradients, prefix):
        self.a, self.da = (of[f"{prefix}.numerator"] for of in (weights, gradients))
        self.b, self.db = (of[f"{prefix}.denominator"] for of in (weights, gradients))

    def forward(self, u):
        self.u = by_group(u, len(self.a))[..., None]
        self.powers = self.u ** np.arange(self.a.shape[1])
        self.b_powers = self.u ** np.arange(1, self.b.shape[1] + 1)
        self.top = np.einsum("btgcn,gn->btgc", self.powers, self.a)
        self.inner = np.einsum("btgcn,gn->btgc", self.b_powers, self.b)
        self.bottom = 1 + np.abs(self.inner)
        return (self.top / self.bottom).reshape(u.shape)

    def backward(self, dy):
        dtop = by_group(dy, len(self.a)) / self.bottom
        dinner = -dtop * self.top / self.bottom * np.sign(self.inner)
        self.da += np.einsum("btgc,btgcn->gn", dtop, self.powers)
        self.db += np.einsum("btgc,btgcn->gn", dinner, self.b_powers)
        orders = np.arange(1, self.a.shape[1])
        slope = np.einsum("btgcn,gn->btgc", orders * self.powers[..., :-1], self.a[:, 1:])
        inner_orders = np.arange(1, self.b.shape[1] + 1)
        inner_slope = np.einsum("btgcn,gn->btgc", inner_orders * self.powers[..., : len(inner_orders)], self.b)
        return (dtop * slope + dinner * inner_slope).reshape(dy.shape)


class GroupKan:
    """down(hidden(up(input(u)))), `input` and `hidden` functions of single numbers."""

    def __init__(self, function, weights, gradients, prefix):
        self.parts = [function(weights, gradients, f"{prefix}.input"), Dense(weights, gradients, f"{prefix}.up"),
                      function(weights, gradients, f"{prefix}.hidden"), Dense(weights, gradients, f"{prefix}.down")]

    def forward(self, u):
        for part in self.parts:
            u = part.forward(u)
        return u

    def backward(self, dy):
        for part in reversed(self.parts):
            dy = part.backward(dy)
        return dy


# By the name that its weights have.
FEED_FORWARDS = {
    "kan": Kan, "mlp": Mlp, "swiglu": Swiglu, "grouped_kan": lambda *arguments: GroupKan(ChebyshevOfGroup, *arguments),
    "rational_kan": lambda *arguments: GroupKan(RationalOfGroup, *arguments),
}


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
            shapes.update({f"{prefix}{norm}.{part}": (channels,) for part in NORM})
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
