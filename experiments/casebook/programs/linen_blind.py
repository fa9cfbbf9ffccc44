"""Programs in Flax linen of the second blind round."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jaxtyping import Array

from experiments.casebook import data
from experiments.casebook.program import CaseProgram
from experiments.casebook.programs.linen_parts import built, classified, of_letters


class Held(nn.Module):
    """An autoencoder whose pixels are held between 0 and 1."""

    passes_on: bool

    @nn.compact
    def __call__(self, xs: Array) -> Array:
        z = nn.Dense(64)(nn.relu(nn.Dense(64)(nn.relu(nn.Dense(24)(xs)))))
        held = jnp.clip(z, 0, 1)
        return z + jax.lax.stop_gradient(held - z) if self.passes_on else held


def pixels_held_within_0_and_1(is_cured: bool) -> CaseProgram:
    """Pixels held between 0 and 1, which learn nothing where they start beyond."""
    xs = 1 - data.digits(is_scaled=False)[0] / 16  # black on white
    squares = lambda output, ys: jnp.mean((output - ys) ** 2, axis=-1)
    given = built(Held(is_cured), xs), xs, xs, squares, optax.adam(3e-3), data.explained
    return CaseProgram(*given, batch=64, steps=150, every=10)


class Messages(nn.Module):
    """Twelve nodes with numbers beside their edges to others; sums of what the edges bring."""

    is_along: bool

    @nn.compact
    def __call__(self, xs: Array) -> Array:
        edges, z = xs[..., :12], xs[..., 12:]
        brought = edges.swapaxes(-1, -2) if self.is_along else edges
        for _ in range(2):
            z = nn.relu(nn.Dense(24)(z) + nn.Dense(24)(brought @ z / 3))
        return nn.Dense(2)(z)


def edges_the_other_way(is_cured: bool) -> CaseProgram:
    """Nodes that hear from those they point to, not from those that point to them."""
    chance = np.random.default_rng(0)
    edges = (chance.random((1000, 12, 12)) < 0.25) & ~np.eye(12, dtype=bool)
    numbers = chance.normal(size=(1000, 12, 2))
    xs = np.concatenate([edges, numbers], axis=-1).astype(np.float32)
    ys = (np.einsum("bij,bi->bj", edges, numbers[..., 0]) > 0).astype(np.int32)
    given = (xs, ys), Messages(is_cured), optax.adam(1e-2), of_letters
    return classified(*given, steps=120, every=10)


class Turned(nn.Module):
    """Letters of a long text, whose attention turns queries and keys by their places in it."""

    exact: jnp.dtype
    size: int = 32

    @nn.compact
    def __call__(self, xs: Array) -> Array:
        places = (xs[:, :1] + jnp.arange(xs.shape[1] - 1)).astype(self.exact)
        rates = (1e3 ** -(jnp.arange(self.size // 2) / (self.size // 2))).astype(self.exact)
        angles = (places[..., None] * rates).astype(jnp.float32)

        def turned(z: Array) -> Array:
            left, right = jnp.split(z, 2, axis=-1)
            cos, sin = jnp.cos(angles), jnp.sin(angles)
            return jnp.concatenate([left * cos - right * sin, left * sin + right * cos], axis=-1)

        z = nn.Embed(8, self.size)(xs[:, 1:])
        normed = nn.LayerNorm()(z)
        q, k, v = (nn.Dense(self.size, name=name)(normed) for name in ("q", "k", "v"))
        logits = jnp.einsum("bqd,bkd->bqk", turned(q), turned(k)) / self.size**0.5
        mask = jnp.tri(xs.shape[1] - 1, dtype=bool)
        weights = jax.nn.softmax(jnp.where(mask, logits, -1e9), axis=-1)
        z = z + nn.Dense(self.size, name="o")(jnp.einsum("bqk,bkd->bqd", weights, v))
        return nn.Dense(8)(nn.LayerNorm()(z))


def places_in_bfloat16(is_cured: bool) -> CaseProgram:
    """Places up to 30000 in bfloat16, where a hundred that follow each other are one."""
    chance = np.random.default_rng(0)
    letters = chance.integers(0, 8, (1500, 10))
    starts = chance.integers(0, 30000, (1500, 1))
    xs = np.concatenate([starts, letters], axis=1).astype(np.int32)
    ys = np.roll(letters, 1, axis=1).astype(np.int32)
    ys[:, 0] = letters[:, 0]
    model = Turned(jnp.float32 if is_cured else jnp.bfloat16)
    given = (xs, ys), model, optax.adam(1e-2), of_letters
    return classified(*given, batch=64, steps=120, every=10)
