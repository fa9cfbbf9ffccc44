"""The layers of a network, each with a block, σ and a distribution of weights of its own."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ..arrays.compiled import Number, Scalar
from ..network.activations import Activation
from ..network.blocks import DENSE, Block, theory_of
from .ensemble import Ensemble

R = TypeVar("R")


class LayersAbove(NamedTuple):
    """The layers above hidden layers 1 … depth; that of the last is like the one below it."""

    kinds: tuple[tuple[Block, Activation], ...]  # block and σ of those that differ
    which: Any  # Int[Array, "*depth"], and so are σ_w and σ_b  # the number of each layer's kind
    sigma_w: Any
    sigma_b: Any
    batch: int | None  # the rows of a batch norm
    keep: Any = 1.0  # the part of the units that dropout keeps

    def apply(self, f: Callable[..., R], *args: Array) -> R:
        """Return f(block, ensemble, *args) of one layer."""

        def of(kind: tuple[Block, Activation], sigma_w: Scalar, sigma_b: Scalar, *args: Array) -> R:
            block, activation = kind
            ensemble = Ensemble(activation, sigma_w, sigma_b, self.batch, self.keep)
            return f(theory_of(block), ensemble, *args)

        branches = [partial(of, kind) for kind in self.kinds]
        result: R = lax.switch(self.which, branches, self.sigma_w, self.sigma_b, *args)
        return result

    def each(self, f: Callable[..., Array], *args: Array) -> Float[Array, "depth ..."]:
        """Return f(block, ensemble, *args) of each layer; args have an entry for each."""

        def one(at: tuple[Any, ...]) -> Array:
            which, sigma_w, sigma_b, *of_layer = at
            layer = self._replace(which=which, sigma_w=sigma_w, sigma_b=sigma_b)
            return layer.apply(f, *of_layer)

        every: Array = lax.map(one, (self.which, self.sigma_w, self.sigma_b, *args))
        return every


def layers_above(
    activation: Any,
    sigma_w: Any,
    sigma_b: Any,
    hidden: Any,
    batch: int | None,
    depth: int,
    keep: Number = 1.0,
) -> LayersAbove:
    """Return the layers above hidden layers 1 … depth, from checked arguments."""
    sigmas = activation if isinstance(activation, tuple) else (activation,) * depth
    given = DENSE if hidden is None else hidden
    blocks = (given,) * depth if isinstance(given, Block) else given
    above = list(zip(blocks, sigmas, strict=False))[: max(1, depth - 1)]
    above += above[-1:] * (depth - len(above))
    kinds = tuple(dict.fromkeys(above))
    which = jnp.asarray([kinds.index(kind) for kind in above])
    # Those above hidden layer l are entry l; above the last is the output, whose are not given.
    w, b = (
        jnp.append(v[1:], v[-1])
        for v in (jnp.broadcast_to(jnp.asarray(v, float), depth) for v in (sigma_w, sigma_b))
    )
    return LayersAbove(kinds, which, w, b, batch, keep)
