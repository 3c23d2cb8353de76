"""The parity network in JAX: one jitted step that donates its buffers, the KAN as one degree-major product."""
from functools import partial

import jax
import jax.numpy as jnp

from weights import (BETA1, BETA2, CHANNELS, EPSILON, FEATURES, HEADS, HEAD_DIM, LAYERS, LEARNING_RATE, TERMS, TIME,
                     WEIGHT_DECAY)


def layer_norm(x, norm):
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-6) * norm["weight"] + norm["bias"]


def dense(u, layer):
    return u @ layer["weight"].T + layer["bias"]


def attention(u, parameters):
    q, k, v = (dense(u, parameters[name]).reshape(-1, TIME, HEADS, HEAD_DIM) for name in ("query", "key", "value"))
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / HEAD_DIM ** 0.5
    weights = jax.nn.softmax(jnp.where(jnp.tri(TIME, dtype=bool), scores, -jnp.inf))
    context = jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(-1, TIME, FEATURES)
    return dense(context, parameters["output"])


def kan(u, coefficients):
    """coefficients: [TERMS, in, out]."""
    t = jnp.tanh(u)
    polynomials = [t, 2 * t * t - 1]
    for _ in range(3, TERMS):
        polynomials.append(2 * t * polynomials[-1] - polynomials[-2])
    return jnp.concatenate(polynomials, -1) @ coefficients[1:].reshape(-1, CHANNELS) + coefficients[0].sum(0)


def mean_loss(parameters, inputs, targets):
    x = parameters["token_embedding"]["weight"][inputs] + parameters["position_embedding"]["weight"]
    for layer in parameters["layers"]:
        x = x + attention(layer_norm(x, layer["mixer_norm"]), layer["attention"])
        x = x + kan(layer_norm(x, layer["feed_forward_norm"]), layer["kan"]["coefficients"])
    logits = x @ parameters["head"]["weight"].T
    target_logits = jnp.take_along_axis(logits, targets[..., None], -1)[..., 0]
    return (jax.nn.logsumexp(logits, -1) - target_logits).mean()


@partial(jax.jit, donate_argnums=(0, 1, 2))
def train_step(parameters, first, second, count, inputs, targets):
    loss, gradients = jax.value_and_grad(mean_loss)(parameters, inputs, targets)
    first = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, first, gradients)
    second = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, second, gradients)
    step_size = LEARNING_RATE / (1 - BETA1 ** count)
    correction = 1 / (1 - BETA2 ** count)

    def update(p, m, v):
        return p - LEARNING_RATE * WEIGHT_DECAY * p - step_size * m / (jnp.sqrt(v * correction) + EPSILON)

    return jax.tree.map(update, parameters, first, second), first, second, loss


def tree_of(weights):
    """{"a.b": x} -> {"a": {"b": x}}, layers as a list, coefficients by degree."""
    tree = {}
    for name, value in weights.items():
        *path, last = name.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[last] = jnp.asarray(value.transpose(2, 0, 1) if last == "coefficients" else value)
    layers = tree["layers"]
    tree["layers"] = [layers[str(index)] for index in range(LAYERS)]
    return tree


class Contestant:
    def __init__(self, kind, weights, batch, threads):
        del kind, threads  # XLA takes the processors that the process may use
        self.inputs, self.targets = (jnp.asarray(part.astype("int32")) for part in batch)
        parameters = tree_of(weights)
        self.state = (parameters, jax.tree.map(jnp.zeros_like, parameters), jax.tree.map(jnp.zeros_like, parameters))
        self.count = 0

    def step(self):
        self.count += 1
        *self.state, loss = train_step(*self.state, float(self.count), self.inputs, self.targets)
        jax.block_until_ready(self.state)
        return float(loss)
