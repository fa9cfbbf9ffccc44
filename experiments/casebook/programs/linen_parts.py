"""Parts of the programs in Flax linen: usual networks and losses."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array

from experiments.casebook import data
from experiments.casebook.data import Data
from experiments.casebook.program import CaseProgram
from experiments.casebook.programs.jax_parts import classes as classes

Loss = Callable[[Array, Array], Array]
KEY = jax.random.key(0)


def built(module: nn.Module, xs: np.ndarray) -> tuple[Callable[..., Any], Any]:
    """Return a module's function and its variables."""
    return module.apply, module.init(KEY, xs[:2])


def mlp(sizes: Sequence[int], activation: Any = nn.relu, end: Any = None) -> nn.Module:
    """Return dense layers, with an activation between and one at the end if it is given."""
    *hidden, last = sizes
    layers = [part for size in hidden for part in (nn.Dense(size), activation)]
    return nn.Sequential([*layers, nn.Dense(last), *([end] if end else [])])


class Block(nn.Module):
    """Attention and two dense layers, each around a norm; a mask says what is seen."""

    size: int = 32

    @nn.compact
    def __call__(self, z: Array, mask: Array, unseen: float) -> Array:
        normed = nn.LayerNorm()(z)
        q, k, v = (nn.Dense(self.size, name=name)(normed) for name in ("q", "k", "v"))
        logits = jnp.einsum("bqd,bkd->bqk", q, k) / self.size**0.5
        weights = jax.nn.softmax(jnp.where(mask, logits, unseen), axis=-1)
        z = z + nn.Dense(self.size, name="o")(jnp.einsum("bqk,bkd->bqd", weights, v))
        return z + nn.Dense(self.size)(nn.gelu(nn.Dense(2 * self.size)(nn.LayerNorm()(z))))


def of_letters(output: Array, ys: Array) -> Array:
    """Return the mean cross entropy of an example's letters."""
    return jnp.mean(classes(output, ys), axis=-1)


def classified(
    given: Data, module: nn.Module, optimizer: Any, loss: Loss = classes, **options: Any
) -> CaseProgram:
    """Return a training of a classifier."""
    xs, ys = given
    return CaseProgram(built(module, xs), xs, ys, loss, optimizer, data.accuracy, **options)
