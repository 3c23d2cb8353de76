"""The parts of parity_oracle.py's network, forward and backward, in numpy fp64, each by its formula.

Each is made of the weights and gradients that it names, keeps what its way back needs, and adds to the gradients. Activations
are [batch, time, channels].
"""
import numpy as np

EPSILON = 1e-6  # layer norm
PARTS = ("weight", "bias")


class LayerNorm:
    def __init__(self, weights, gradients, name):
        self.weight, self.bias = (weights[f"{name}.{part}"] for part in PARTS)
        self.dweight, self.dbias = (gradients[f"{name}.{part}"] for part in PARTS)

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
        self.weight, self.bias = (weights[f"{name}.{part}"] for part in PARTS)
        self.dweight, self.dbias = (gradients[f"{name}.{part}"] for part in PARTS)

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
