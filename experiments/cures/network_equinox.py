"""The networks in Equinox: its layers, which draw as PyTorch does; those of attention but for √1.5.

Its layers take one example, and one token.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import PyTree

from experiments.cures import recipes
from experiments.cures.recipes import ACTIVATIONS, HEADS, Parts, Recipe


def arguments(made: Recipe, seed: int) -> dict[str, Any]:
    """Return what `jaxnn.diagnose` takes: a Sequential, its data and the cotangent."""
    keys = iter(jax.random.split(jax.random.key(seed), 8 * len(made.layers)))
    xs, c = map(jnp.asarray, recipes.data(made, seed, channels_last=False))
    axes = 1 if made.is_recurrent else len(made.shape)
    layers = [_layer(parts, axes, partial(next, keys)) for parts in made.layers]
    of = {"xs": xs, "cotangent": c}
    if not any(isinstance(part, recipes.BatchNorm) for part in made.layers[0]):
        return {"model": eqx.nn.Sequential(layers), "each": "example", **of}
    return {"model": (_batch, eqx.nn.make_with_state(eqx.nn.Sequential)(layers)), **of}


def _batch(model_and_state: PyTree, xs: jax.Array) -> Any:
    """Return the output of a batch, for norms that need all of it."""
    model, state = model_and_state
    return jax.vmap(lambda x: model(x, state)[0], axis_name="batch")(xs)


def _layer(parts: Parts, axes: int, key: Callable[[], Array]) -> Any:
    made = [_part(part, axes, key) for part in parts]
    return made[0] if len(made) == 1 else eqx.nn.Sequential(made)


def _part(part: recipes.Part, axes: int, key: Callable[[], Array]) -> Any:
    each = _EachToken if axes == 2 else lambda layer: layer
    match part:
        case recipes.Linear(n, m):
            return each(eqx.nn.Linear(n, m, key=key()))
        case recipes.Convolution(n):
            return eqx.nn.Conv2d(n, n, 3, padding=1, key=key())
        case recipes.Units(name):
            return eqx.nn.Lambda(ACTIVATIONS[name])
        case recipes.LayerNorm(n):
            return each(eqx.nn.LayerNorm(n))
        case recipes.BatchNorm(n):
            return eqx.nn.BatchNorm(n, "batch", mode="batch")
        case recipes.Attention(n):
            return _Attention(eqx.tree_at(_in_weights, *_xavier(n, key())))
        case recipes.AcrossTokens(parts):
            return _AcrossTokens(_layer(parts, axes, key))
        case recipes.Residual(parts):
            return _Residual(_layer(parts, axes, key))
        case recipes.Lstm(n):
            return _Lstm(eqx.nn.LSTMCell(n, n, key=key()))


def _in_weights(attend: eqx.nn.MultiheadAttention) -> list[Any]:
    """Return the weights of queries, keys and values."""
    return [p.weight for p in (attend.query_proj, attend.key_proj, attend.value_proj)]


def _xavier(n: int, key: Array) -> tuple[Any, list[Any]]:
    """Return attention as Equinox draws it, and those of its weights that PyTorch draws larger."""
    attend = eqx.nn.MultiheadAttention(HEADS, n, key=key)
    return attend, [1.5**0.5 * w for w in _in_weights(attend)]


class _EachToken(eqx.Module):
    layer: Any

    def __call__(self, x: Array, *, key: Array | None = None) -> Any:
        return jax.vmap(self.layer)(x)


class _Attention(eqx.Module):
    attend: Any

    def __call__(self, x: Array, *, key: Array | None = None) -> Any:
        return self.attend(x, x, x)


class _AcrossTokens(eqx.Module):
    parts: Any

    def __call__(self, x: Array, *, key: Array | None = None) -> Any:
        return self.parts(x.T).T


class _Residual(eqx.Module):
    branch: Any

    def __call__(self, x: Array, *, key: Array | None = None) -> Any:
        return x + self.branch(x)


class _Lstm(eqx.Module):
    cell: Any

    def __call__(self, xs: Array, *, key: Array | None = None) -> Any:
        zero = jnp.zeros(self.cell.hidden_size)
        (h, _), _ = jax.lax.scan(lambda s, x: (self.cell(x, s), None), (zero, zero), xs)
        return h
