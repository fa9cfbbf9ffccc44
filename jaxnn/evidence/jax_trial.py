"""Trials of JAX: a Network or a chain with a batch, two compiled programs for all experiments."""

from collections.abc import Iterator
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, PyTree

from ..arrays.compiled import Numbers, compiled, measuring
from ..arrays.rows import is_float
from ..chain.apply import applied
from ..chain.chain import Chain, encoded
from ..chain.parameter_handover import is_array, is_key
from ..chain.parameter_places import Place, changed
from ..jaxpr.program import Traced, called, is_random
from ..network.network import Network
from ..network.params import is_run
from ..passes.forward import forward
from ..recognition.running_norms import running_norms_of
from ..recognition.step_graph import Graph
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

    @property
    def untouched_norms(self) -> tuple[str, ...]:
        return tuple(self._untouched(self.net)) if isinstance(self.net, Chain) else ()

    def _untouched(self, net: Chain) -> Iterator[str]:
        """Yield the means that norms subtract, of those that are 0 beside variances of 1."""
        lowered, layer = net.for_batch(self.given_xs), 0
        state = encoded(jax.tree.map(jnp.asarray, self.given_xs))
        for pattern, entry in zip(lowered.kinds, self.params, strict=True):
            repeats = [entry.at(j) for j in range(entry.k)] if is_run(entry) else [entry]
            for i, link in enumerate(pattern.links):
                arrays = repeats[0].arrays[i]
                closed, after = jax.make_jaxpr(link, return_shape=True)(arrays, state)
                for mean, variance in running_norms_of(Graph.of(closed, state)):
                    for j, weights in enumerate(repeats):
                        leaves = jax.tree.leaves(weights.arrays[i])
                        if not np.any(leaves[mean]) and np.all(np.asarray(leaves[variance]) == 1):
                            yield lowered.paths[layer + j * len(pattern.links) + i][mean]
                state = after
            layer += 0 if pattern.between else len(pattern.links) * len(repeats)

    def draws(self, count: int) -> np.ndarray | None:
        keys = [v for v in jax.tree.leaves(self.given_xs) if is_key(v)]
        if not keys:
            return None

        def redrawn(v: Any, i: int) -> Any:
            fold = jax.vmap(jax.random.fold_in, (0, None))
            return fold(v.reshape(-1), i).reshape(v.shape) if is_key(v) else v

        xs = (jax.tree.map(partial(redrawn, i=i), self.given_xs) for i in range(count))
        outputs = [v for v in map(self._output_of, xs) if v is not None]
        return np.stack(outputs) if outputs else None

    def _path(self, layer: int, number: int) -> str:
        if isinstance(self.net, Chain):
            return self.net.paths[layer][number]
        return f"theta[{layer}]"

    @property
    def counts(self) -> set[int]:
        return {np.shape(v)[0] if np.ndim(v) else 0 for v in jax.tree.leaves(self.given_xs)}

    @cached_property
    def is_random(self) -> bool:
        has_keys = any(map(is_key, jax.tree.leaves(self.given_xs)))
        known = self._known_output  # a function whose program is not known may draw
        return has_keys or not isinstance(known, Traced) or is_random(known.program.closed.jaxpr)

    @measuring
    def output(
        self, xs: Arrays | None = None, factor: float = 1.0, rows: np.ndarray | None = None
    ) -> np.ndarray | None:
        given = self._with(xs) if xs else self.given_xs
        if rows is not None:
            given = jax.tree.map(lambda v: np.asarray(v)[rows], given)
        return self._output_of(given, factor)

    def _output_of(self, given: PyTree, factor: float = 1.0) -> np.ndarray | None:
        if isinstance(self.net, Chain) and self.net.whole:
            return None
        output = called(self._known_output, self.params, given, np.asarray(factor, np.float32))
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
        value, slope = _slope(self._known_loss, output.astype(self.first.dtype), ys)
        return Slope(float(value), np.asarray(slope))

    # Known by their programs, so that equal ones are not compiled again.

    @cached_property
    def _known_output(self) -> Any:
        factor = np.asarray(1, np.float32)
        return Traced.of(partial(_output, self.net), self.params, self.given_xs, factor)

    @cached_property
    def _known_loss(self) -> Any:
        return Traced.of(self.loss, self.first, self.given_ys)

    @staticmethod
    def _reordered(order: np.ndarray) -> Any:
        def of(v: Any) -> Any:
            has_examples = is_array(v) and np.shape(v)[:1] == order.shape
            return np.asarray(v)[order] if has_examples else v

        return of


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
