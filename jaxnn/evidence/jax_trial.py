"""Trials of JAX: a Network or a chain with a batch, a program for outputs and one for slopes."""

from collections.abc import Callable, Iterator
from functools import cached_property, lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, PyTree

from ..arrays.compiled import Numbers, compiled, measuring
from ..arrays.rows import is_float
from ..arrays.spread import type_of
from ..chain.apply import through
from ..chain.chain import Chain, Lowered, as_one_example, encoded
from ..chain.links import links, with_arrays
from ..chain.parameter_handover import is_array, is_key
from ..chain.parameter_places import ArrayPlace, arrays, changed
from ..jaxpr.numpy_programs import few_by_numpy
from ..jaxpr.program import TracedFunction, chances_in, is_random, struct
from ..models import Program
from ..network.network import Network
from ..passes.forward import forward
from ..recognition.layer_arrays import added_arrays_of, running_norms_of, stopped_arrays_of
from ..recognition.step_graph import Graph
from .trial import MOST_ENTRIES, Arrays, LossSlope, Trial

KEPT = 32  # networks whose norms are known
SLOPES = 8  # of a loss that experiments ask for, or so


class JaxTrial(Trial):
    """A network of JAX with a batch, as `jaxnn.as_network` and `jaxnn.gradient_flow` have them."""

    def __init__(self, program: Program):
        super().__init__(program)
        self.net, self.params = program.network

    @property
    def xs(self) -> Arrays:
        leaves = jax.tree_util.tree_leaves_with_path(self.program.xs)
        named = ((f"xs{jax.tree_util.keystr(path)}", v) for path, v in leaves)
        return {name: np.asarray(v) for name, v in named if is_float(v)}

    @property
    def tokens(self) -> Arrays:
        leaves = jax.tree_util.tree_leaves_with_path(self.program.xs)
        named = ((f"xs{jax.tree_util.keystr(path)}", v) for path, v in leaves if is_array(v))
        return {name: np.asarray(v) for name, v in named if jnp.issubdtype(v.dtype, jnp.integer)}

    @property
    def lengths(self) -> set[int]:
        return {v.shape[-2] for v in jax.tree.leaves(self.params) if np.ndim(v) > 1}

    @property
    def ys(self) -> np.ndarray | None:
        leaves = [v for v in jax.tree.leaves(self.program.ys) if is_array(v)]
        is_labels = len(leaves) == 1 and jnp.issubdtype(leaves[0].dtype, jnp.number)
        return np.asarray(leaves[0]) if is_labels else None

    @property
    def arrays(self) -> Arrays:
        known = arrays(self.net, self.params, 2, MOST_ENTRIES)
        return {self._path(*at): v for at, v in known.items()}

    @property
    def weights(self) -> Arrays:
        added = {*self._paths_of(lambda apart: apart.added)}
        return {path: v for path, v in self.arrays.items() if path not in added}

    @property
    def untouched_norms(self) -> tuple[str, ...]:
        return tuple(self._untouched()) if isinstance(self.net, Chain) else ()

    def _untouched(self) -> Iterator[str]:
        """Yield the means that norms subtract, of those that are 0 beside variances of 1."""
        lowered, layers = self._layers
        if any(apart.norms for _, apart in layers):
            every = [v for _, v, is_layer in with_arrays(lowered, self.params) if is_layer]
            for layer, apart in layers:
                leaves = jax.tree.leaves(every[layer])
                for mean, variance in apart.norms:
                    if not np.any(leaves[mean]) and np.all(np.asarray(leaves[variance]) == 1):
                        yield lowered.paths[layer][mean]

    @property
    def stopped(self) -> tuple[str, ...]:
        return tuple(self._paths_of(lambda apart: apart.stopped))

    def _paths_of(self, meant: Callable[["_Apart"], tuple[int, ...]]) -> Iterator[str]:
        """Yield the paths of the arrays of one kind that are no weights."""
        if isinstance(self.net, Chain):
            lowered, layers = self._layers
            for layer, apart in layers:
                yield from (lowered.paths[layer][i] for i in meant(apart))

    @property
    def _layers(self) -> tuple[Lowered, list[tuple[int, "_Apart"]]]:
        """The chain for this batch, and of its layers the arrays that are no weights."""
        assert isinstance(self.net, Chain)
        state = self.net.state(jax.device_put(self.program.xs))
        given, structure = jax.tree.flatten((self.params, encoded(state)))
        lowered = self.net.for_batch(state)
        return lowered, _arrays_of(lowered, structure, tuple(map(struct, given)))

    def draws(self, count: int) -> np.ndarray | None:
        keys = [v for v in jax.tree.leaves(self.program.xs) if is_key(v)]
        if not keys:
            return None

        def redrawn(v: Any, i: int) -> Any:
            fold = jax.vmap(jax.random.fold_in, (0, None))
            return fold(v.reshape(-1), i).reshape(v.shape) if is_key(v) else v

        xs = (jax.tree.map(partial(redrawn, i=i), self.program.xs) for i in range(count))
        outputs = [v for v in map(self._output_of, xs) if v is not None]
        return np.stack(outputs) if outputs else None

    def _path(self, layer: int, number: int) -> str:
        if isinstance(self.net, Chain):
            return self.net.paths[layer][number]
        return f"theta[{layer}]"

    @property
    def counts(self) -> set[int]:
        if self._is_whole:
            return {0}
        return {np.shape(v)[0] if np.ndim(v) else 0 for v in jax.tree.leaves(self.program.xs)}

    @property
    def _is_whole(self) -> bool:
        return isinstance(self.net, Chain) and self.net.whole

    @cached_property
    def is_random(self) -> bool:
        return any(map(is_key, jax.tree.leaves(self._entering))) or self._drawn is not None

    @property
    def dropped(self) -> float:
        return self._drawn or 0.0

    @property
    def _entering(self) -> PyTree:
        return self.net.state(self.program.xs) if isinstance(self.net, Chain) else self.program.xs

    @property
    def _drawn(self) -> float | None:
        xs = self._entering
        given, structure = jax.tree.flatten((self.params, xs))
        return _drawn(self._net_for(xs), structure, tuple(map(struct, map(type_of, given))))

    @measuring
    def output(
        self, xs: Arrays | None = None, factor: float = 1.0, rows: np.ndarray | None = None
    ) -> np.ndarray | None:
        given = self.program.xs
        if rows is not None:
            given = jax.tree.map(lambda v: np.asarray(v)[rows], given)
        return self._output_of(_with(given, xs) if xs else given, factor)

    def _output_of(self, given: PyTree, factor: float = 1.0) -> np.ndarray | None:
        state = as_one_example(given) if self._is_whole else given
        output = _output(self._net_for(state), self.params, state, np.asarray(factor, np.float32))
        leaves = jax.tree.leaves(output)
        is_known = len(leaves) == 1 and is_float(leaves[0])
        return np.asarray(leaves[0][0] if self._is_whole else leaves[0]) if is_known else None

    def _net_for(self, given: PyTree) -> Network | Lowered:
        """Return the network for a batch: equal if its programs are; a chain has functions too."""
        return self.net.for_batch(given) if isinstance(self.net, Chain) else self.net

    @measuring
    def slope(
        self, output: np.ndarray, order: np.ndarray | None = None, ys: np.ndarray | None = None
    ) -> LossSlope | None:
        if self.program.loss is None or self.first is None:
            return None
        given = self.program.ys
        if ys is not None:
            given = jax.tree.map(lambda v: ys.astype(v.dtype) if is_array(v) else v, given)
        given = jax.tree.map(partial(_in_order, order), given)
        value, slope = _slope(self._known_loss, output.astype(self.first.dtype), given)
        return LossSlope(float(value), np.asarray(slope))

    @cached_property
    def _known_loss(self) -> Any:
        """The loss, known by its program, so that an equal one is not compiled again."""
        return TracedFunction.of(self.program.loss, self.first, self.program.ys)


def _with(given: PyTree, xs: Arrays) -> Any:
    """Return inputs some of which are replaced."""

    def of(path: Any, v: ArrayLike) -> Any:
        name = f"xs{jax.tree_util.keystr(path)}"
        return xs[name].astype(np.asarray(v).dtype) if name in xs else v

    return jax.tree_util.tree_map_with_path(of, given)


def _in_order(order: np.ndarray | None, v: Any) -> Any:
    """Return labels in NumPy's memory, in another order if they are of examples."""
    if not is_array(v) or is_key(v):
        return v
    labels = np.asarray(v)
    return labels if order is None or labels.shape[:1] != order.shape else labels[order]


Types = tuple[jax.ShapeDtypeStruct, ...]


@lru_cache(maxsize=KEPT)
def _drawn(net: Network | Lowered, structure: Any, types: Types) -> float | None:
    """Return the largest share that is dropped at random; None of a network that draws nothing."""
    params, xs = jax.tree.unflatten(structure, types)
    factor = jax.ShapeDtypeStruct((), np.float32)  # type: ignore[no-untyped-call]
    program = jax.make_jaxpr(partial(_output, net))(params, xs, factor).jaxpr
    return 1 - min(chances_in(program), default=1.0) if is_random(program) else None


class _Apart(NamedTuple):
    """The arrays of a layer that are no weights, as numbers in it."""

    norms: tuple[tuple[int, int], ...]  # mean and variance of each norm that divides by arrays
    stopped: tuple[int, ...]  # after stop_gradient
    added: tuple[int, ...]  # biases of several axes

    @classmethod
    def of(cls, graph: Graph) -> "_Apart":
        """Return those in the program of a layer."""
        norms, stopped = tuple(running_norms_of(graph)), tuple(stopped_arrays_of(graph))
        return cls(norms, stopped, tuple(added_arrays_of(graph)))


@lru_cache(maxsize=KEPT)
def _arrays_of(net: Lowered, structure: Any, types: Types) -> list[tuple[int, _Apart]]:
    """Return of each layer the arrays that are no weights, given the types of what goes in."""
    return [
        (layer, apart)
        for layers, link, arrays, state in links(net, *jax.tree.unflatten(structure, types))
        for apart in [_Apart.of(Graph.of(jax.make_jaxpr(link)(arrays, state), state))]
        for layer in layers
    ]


@compiled
def _output(net: Network | Lowered, params: PyTree, xs: PyTree, factor: Numbers) -> Any:
    """Return the output with all parameters of the last layer times a factor."""
    last = len(net.sizes[1:] if isinstance(net, Network) else net.names) - 1

    def scaled(v: ArrayLike, place: ArrayPlace) -> Array:
        v, is_last = jnp.asarray(v), place.layers == last
        by = jnp.where(jnp.asarray(is_last), factor, 1).astype(v.dtype)
        return v * (by.reshape(-1, *[1] * (v.ndim - 1)) if place.of_run else by[0])

    params = changed(net, params, scaled, 0)
    if isinstance(net, Network):
        return jax.vmap(lambda x: forward(net, params, x))(xs)
    return through(net, params, xs)[0]


@partial(few_by_numpy, runs=SLOPES)
def _slope(loss: Any, output: Numbers, ys: PyTree) -> tuple[Array, Array]:
    value, pull = jax.vjp(lambda output: jnp.mean(loss(output, ys)), output)
    (slope,) = pull(jnp.ones_like(value))
    return value, slope
