"""The parity network in PyTorch: as one writes it, and in the fastest form that we know."""
import torch
from torch import nn
from torch.nn import functional as F

from weights import (BETA1, BETA2, CHANNELS, EPSILON, FEATURES, HEADS, HEAD_DIM, LAYERS, LEARNING_RATE, TERMS, TIME,
                     VOCABULARY, WEIGHT_DECAY)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(CHANNELS, FEATURES) for _ in range(3))
        self.output = nn.Linear(FEATURES, CHANNELS)
        self.register_buffer("future", torch.triu(torch.ones(TIME, TIME, dtype=torch.bool), 1))

    def forward(self, u):
        q, k, v = (part(u).view(-1, TIME, HEADS, HEAD_DIM).transpose(1, 2)
                   for part in (self.query, self.key, self.value))
        scores = q @ k.transpose(2, 3) / HEAD_DIM ** 0.5
        weights = scores.masked_fill(self.future, float("-inf")).softmax(-1)
        return self.output((weights @ v).transpose(1, 2).reshape(u.shape[0], TIME, FEATURES))


class Kan(nn.Module):
    """As in github.com/SynodicMonth/ChebyKAN: cos(d arccos(tanh u)) and one einsum."""

    def __init__(self):
        super().__init__()
        self.coefficients = nn.Parameter(torch.empty(CHANNELS, CHANNELS, TERMS))
        self.register_buffer("degrees", torch.arange(float(TERMS)))

    def forward(self, u):
        t = torch.tanh(u).view(-1, CHANNELS, 1).expand(-1, -1, TERMS)
        basis = (t.acos() * self.degrees).cos()
        return torch.einsum("bid,iod->bo", basis, self.coefficients).view(u.shape)


class DegreeMajorKan(nn.Module):
    """The recurrence instead of arccos and cos, one matrix product, T_0 as a bias."""

    def __init__(self):
        super().__init__()
        self.coefficients = nn.Parameter(torch.empty(TERMS, CHANNELS, CHANNELS))

    def forward(self, u):
        t = torch.tanh(u).view(-1, CHANNELS)
        polynomials = [t, 2 * t * t - 1]
        for _ in range(3, TERMS):
            polynomials.append(2 * t * polynomials[-1] - polynomials[-2])
        bias = self.coefficients[0].sum(0)
        weight = self.coefficients[1:].reshape(-1, CHANNELS)
        return torch.addmm(bias, torch.cat(polynomials, 1), weight).view(u.shape)


class Network(nn.Module):
    def __init__(self, kan):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(VOCABULARY, CHANNELS), nn.Embedding(TIME, CHANNELS)
        self.mixer_norms = nn.ModuleList(nn.LayerNorm(CHANNELS, eps=1e-6) for _ in range(LAYERS))
        self.mixers = nn.ModuleList(Attention() for _ in range(LAYERS))
        self.feed_forward_norms = nn.ModuleList(nn.LayerNorm(CHANNELS, eps=1e-6) for _ in range(LAYERS))
        self.feed_forwards = nn.ModuleList(kan() for _ in range(LAYERS))
        self.head = nn.Linear(CHANNELS, VOCABULARY, bias=False)

    def forward(self, ids, targets):
        x = self.tokens(ids) + self.positions.weight
        for layer in range(LAYERS):
            x = x + self.mixers[layer](self.mixer_norms[layer](x))
            x = x + self.feed_forwards[layer](self.feed_forward_norms[layer](x))
        return F.cross_entropy(self.head(x).view(-1, VOCABULARY), targets.view(-1))


def names(network):
    """(our name, parameter) of all parameters."""
    yield "token_embedding.weight", network.tokens.weight
    yield "position_embedding.weight", network.positions.weight
    yield "head.weight", network.head.weight
    for layer in range(LAYERS):
        prefix = f"layers.{layer}."
        parts = {"mixer_norm": network.mixer_norms[layer], "feed_forward_norm": network.feed_forward_norms[layer],
                 "attention": network.mixers[layer], "kan": network.feed_forwards[layer]}
        for part, module in parts.items():
            for name, parameter in module.named_parameters():
                yield f"{prefix}{part}.{name}", parameter


def load(network, weights):
    left = dict(weights)
    with torch.no_grad():
        for name, parameter in names(network):
            value = torch.from_numpy(left.pop(name).copy())
            degree_major = name.endswith("kan.coefficients") and parameter.shape != value.shape
            parameter.copy_(value.permute(2, 0, 1) if degree_major else value)
    assert not left, f"weights that the network lacks: {sorted(left)}"


class Contestant:
    """kind: eager (as one writes it), tuned (degree-major product, fused AdamW) or compiled (torch.compile of that)."""

    def __init__(self, kind, weights, batch, threads):
        torch.set_num_threads(threads)
        torch.set_flush_denormal(True)
        self.inputs, self.targets = (torch.from_numpy(part) for part in batch)
        network = Network(Kan if kind == "eager" else DegreeMajorKan)
        load(network, weights)
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, betas=(BETA1, BETA2), eps=EPSILON,
                                           weight_decay=WEIGHT_DECAY, fused=None if kind == "eager" else True)
        self.loss = torch.compile(network) if kind == "compiled" else network

    def step(self):
        self.optimizer.zero_grad()
        loss = self.loss(self.inputs, self.targets)
        loss.backward()
        self.optimizer.step()
        return loss.item()
