"""Trials of JAX: a Network or a chain with a batch, two compiled programs for all experiments."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, PyTree

from ..arrays.compiled import Numbers, compiled, measuring
from ..arrays.rows import is_float
from ..chain.apply import applied
from ..chain.chain import Chain
from ..chain.parameter_handover import is_array
from ..chain.parameter_places import Place, changed
from ..network.network import Network
from ..passes.forward import forward
from .trial import MOST_ENTRIES, Arrays, Slope, Trial


class JaxTrial(Trial):
    """A network of JAX with a batch.

    net, params: as `jaxnn.as_network` returns them.
    given_xs, given_ys: pytrees, as for `jaxnn.gradient_flow`.
    loss: the user's; None without one.
    """

    def __init__(
        self, net: Network | Chain, params: PyTree, xs: PyTree, ys: PyTree = None, loss: Any = None
    ):
        self.net, self.params, self.given_xs = net, params, xs
        self.given_ys, self.loss = ys, loss

    @property
    def xs(self) -> Arrays:
        leaves = jax.tree_util.tree_leaves_with_path(self.given_xs)
        named = ((f"xs{jax.tree_util.keystr(path)}", v) for path, v in leaves)
        return {name: np.asarray(v) for name, v in named if is_float(v)}

    @property
    def ys(self) -> np.ndarray | None:
        leaves = [v for v in jax.tree.leaves(self.given_ys) if is_array(v)]
        is_labels = len(leaves) == 1 and jnp.issubdtype(leaves[0].dtype, jnp.number)
        return np.asarray(leaves[0]) if is_labels else None

    @property
    def weights(self) -> Arrays:
        known: dict[str, np.ndarray] = {}

        def noted(v: Array, place: Place) -> Array:
            if np.size(v) <= MOST_ENTRIES * (len(place.layers) if place.of_run else 1):
                entries = np.asarray(v) if place.of_run else np.asarray(v)[None]
                for layer, entry in zip(place.layers, entries, strict=False):
                    known.setdefault(self._path(int(layer), place.number), entry)
            return v

        changed(self.net, self.params, noted)
        return known

    def _path(self, layer: int, number: int) -> str:
        if isinstance(self.net, Chain):
            return self.net.paths[layer][number]
        return f"theta[{layer}]"

    @measuring
    def output(self, xs: Arrays | None = None, factor: float = 1.0) -> np.ndarray | None:
        if isinstance(self.net, Chain) and self.net.whole:
            return None
        given = self._with(xs) if xs else self.given_xs
        output = _output(self.net, self.params, given, np.asarray(factor, np.float32))
        leaves = jax.tree.leaves(output)
        return np.asarray(leaves[0]) if len(leaves) == 1 and is_float(leaves[0]) else None

    def _with(self, xs: Arrays) -> Any:
        def of(path: Any, v: ArrayLike) -> Any:
            name = f"xs{jax.tree_util.keystr(path)}"
            return xs[name].astype(np.asarray(v).dtype) if name in xs else v

        return jax.tree_util.tree_map_with_path(of, self.given_xs)

    @measuring
    def slope(self, output: np.ndarray, order: np.ndarray | None = None) -> Slope | None:
        if self.loss is None or self.first is None:
            return None
        ys = self.given_ys if order is None else jax.tree.map(self._reordered(order), self.given_ys)
        value, slope = _slope(self.loss, output.astype(self.first.dtype), ys)
        return Slope(float(value), np.asarray(slope))

    @staticmethod
    def _reordered(order: np.ndarray) -> Any:
        def of(v: Any) -> Any:
            has_examples = is_array(v) and np.shape(v)[:1] == order.shape
            return np.asarray(v)[order] if has_examples else v

        return of


@compiled
def _output(net: Network | Chain, params: PyTree, xs: PyTree, factor: Numbers) -> Any:
    """Return the output with all parameters of the last layer times a factor."""
    last = len(net.names if isinstance(net, Chain) else net.sizes[1:]) - 1

    def scaled(v: ArrayLike, place: Place) -> Array:
        v, is_last = jnp.asarray(v), place.layers == last
        by = jnp.where(jnp.asarray(is_last), factor, 1).astype(v.dtype)
        return v * (by.reshape(-1, *[1] * (v.ndim - 1)) if place.of_run else by[0])

    params = changed(net, params, scaled, 0)
    if isinstance(net, Chain):
        return applied(net, params, xs)[0]
    return jax.vmap(lambda x: forward(net, params, x))(xs)


@compiled
def _slope(loss: Any, output: Numbers, ys: PyTree) -> tuple[Array, Array]:
    value, pull = jax.vjp(lambda output: jnp.mean(loss(output, ys)), output)
    (slope,) = pull(jnp.ones_like(value))
    return value, slope
