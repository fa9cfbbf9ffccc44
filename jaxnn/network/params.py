"""Layers: the parameters (θ, b) of a layer or of a run of equal layers, and operations on them.

Runs: k consecutive hidden layers of n units each may be one Layer, θ (k, n, n) and b (k, n). The
device loops over it, so the program does not grow with k. A run may also be stored as the random
key of its numbers, `LazyRun`. The rest of the library uses `is_run`, `length` and `layer_of` and
does not depend on the form.

Index legend: θ[i] is (n[i], n[i+1]), b[i] is (n[i+1],).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from ..arrays.arguments import check_data
from ..arrays.compiled import Numbers, as_array, compiled
from ..arrays.loops import entry


class Layer(NamedTuple):
    """The parameters of one layer, θ[i] (n[i], n[i+1]) and b[i] (n[i+1],), or of a run of k.

    A run stands for k hidden layers of n units: θ is (k, n, n) and b is (k, n).
    """

    theta: Float[Array, "*k n_in n_out"]
    b: Float[Array, "*k n_out"]


@runtime_checkable
class Initializer(Protocol):
    """A scheme: (key, shape, dtype) -> array, as in `jax.nn.initializers`. Static, so hashable."""

    def __call__(self, key: Array, shape: tuple[int, ...], dtype: DTypeLike = ..., /) -> Array: ...


@dataclass(frozen=True)
class Draw:
    """The distribution of a layer of one shape, as a static function key -> Layer."""

    theta: Initializer
    b: Initializer
    shape: tuple[int, int]
    dtype: jnp.dtype

    def __call__(self, key: Key[Array, ""]) -> Layer:
        key_theta, key_b = jax.random.split(key)
        theta = self._values("weights", self.theta, key_theta, self.shape)
        return Layer(theta, self._values("biases", self.b, key_b, self.shape[1:]))

    def _values(self, what: str, draw: Initializer, key: Array, shape: tuple[int, ...]) -> Array:
        dtype = self.dtype if self.dtype.itemsize >= 4 else jnp.dtype(jnp.float32)
        try:
            values = jnp.asarray(draw(key, shape, dtype))
        except ValueError as error:
            if len(shape) > 1:
                raise
            raise ValueError(
                f"{what}: expected an initialiser of vectors, {shape}, got one that ends in: "
                f"{error}; a number is the standard deviation of normal ones, such as {what}=0.2"
            ) from error
        if values.shape != shape:
            raise ValueError(
                f"{what}: expected the initialiser to return shape {shape}, got {values.shape}"
            )
        return values.astype(self.dtype)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LazyRun:
    """A run stored as a random key; layer j is drawn by fold_in(key, first + j) on use."""

    key: Key[Array, ""]
    draw: Draw = field(metadata={"static": True})
    first: int = field(metadata={"static": True})
    k: int = field(metadata={"static": True})

    def stored(self) -> Layer:
        """Return the run with its numbers."""
        return Layer(*jax.vmap(partial(layer_of, self))(jnp.arange(self.k)))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Stacked:
    """A run of k equal layers of any kind, such as those of a chain."""

    per_layer: Any  # a pytree of arrays, (k, …)
    shared: Any  # arrays that all the layers share
    rebuild: Callable[[Any, Any], Any] = field(metadata={"static": True})
    k: int = field(metadata={"static": True})

    def at(self, j: Array | int) -> Any:
        """Return the parameters of layer j; j may be traced."""
        return self.rebuild(entry(self.per_layer, j), self.shared)


Run = Layer | LazyRun | Stacked
Params = tuple[Layer | LazyRun, ...]
Layers = tuple[Layer, ...]  # parameters with the numbers of every layer
# Parameters as public functions accept them: Layers, or a user's own pairs.
Pairs = Sequence[tuple[Numbers, Numbers] | LazyRun]


def is_run(layer: object) -> bool:
    """Return whether the parameters of a layer are those of a run."""
    if isinstance(layer, Layer):
        return layer.theta.ndim == 3
    return isinstance(layer, LazyRun | Stacked)


def length(run: Run) -> int:
    """The number of layers of a run."""
    return len(run.b) if isinstance(run, Layer) else run.k


def layer_of(run: Run, j: Array | int) -> Any:
    """Layer j of a run, or a single layer; j may be traced."""
    if isinstance(run, Stacked):
        return run.at(j)
    if isinstance(run, LazyRun):
        return run.draw(jax.random.fold_in(run.key, run.first + j))
    return entry(run, j) if is_run(run) else run


def stack(params: Pairs) -> tuple[Layer, ...]:
    """Make runs: join consecutive hidden layers of n units on n units in one Layer.

    Args:
        params: L pairs (θ, b), some of which may be runs already. The first layer, which takes x,
            and the last, the output, stay by themselves.

    Returns:
        The parameters; layers with square θ of one shape that follow each other are one Layer with
        θ (k, n, n) and b (k, n), also if k = 1.

    Raises:
        TypeError: something other than pairs of arrays.
        ValueError: no pair.

    Example:
        >>> import jax, jaxnn
        >>> net = jaxnn.Network(sizes=(3, 4, 4, 4, 1), activation="sigmoid", task="binary")
        >>> params = jaxnn.init(net, jax.random.key(0))
        >>> [theta.shape for theta, b in jaxnn.network.stack(params)]
        [(3, 4), (2, 4, 4), (4, 1)]
    """
    layers = as_layers(params)
    if not layers:
        raise ValueError("params: expected at least one pair (theta, b), got none")
    return _stack(layers)


@compiled
def _stack(params: Params) -> tuple[Layer, ...]:
    runs = list(map(_as_run, params))
    ends = []
    for end, others in ((0, slice(1, None)), (-1, slice(None, -1))):
        if len(runs[end].b):  # a network of one layer has one end
            ends.append(Layer(runs[end].theta[end], runs[end].b[end]))
            runs[end] = Layer(runs[end].theta[others], runs[end].b[others])
    stacked, hidden = ends[:1], (run for run in runs if len(run.b))
    for (n_in, n_out), stretch in groupby(hidden, key=lambda run: run.theta.shape[1:]):
        if n_in == n_out:
            stacked.append(Layer(*map(jnp.concatenate, zip(*stretch, strict=True))))
        else:
            stacked += [Layer(run.theta[0], run.b[0]) for run in stretch]
    return (*stacked, *ends[1:])


def _as_run(layer: Layer | LazyRun) -> Layer:
    """Return a layer as a run with its numbers; a single layer has k = 1."""
    if isinstance(layer, LazyRun):
        return layer.stored()
    return layer if is_run(layer) else Layer(layer.theta[None], layer.b[None])


def unstack(params: Pairs) -> tuple[Layer, ...]:
    """Undo `stack`: make every layer a Layer of its own.

    Args:
        params: pairs (θ, b), any of them runs.

    Returns:
        The parameters as a tuple of L Layers.

    Raises:
        TypeError: something other than pairs of arrays.

    Example:
        >>> import jax, jaxnn
        >>> net = jaxnn.Network(sizes=(3, 4, 4, 4, 1), activation="sigmoid", task="binary")
        >>> params = jaxnn.init(net, jax.random.key(0), stacked=True)
        >>> [theta.shape for theta, b in jaxnn.network.unstack(params)]
        [(3, 4), (4, 4), (4, 4), (4, 1)]
    """
    layers = as_layers(params)
    lengths = [length(layer) if is_run(layer) else 1 for layer in layers]
    # One small program called for every j: XLA compiles a program with 1000 slices for minutes.
    slices = [_layers_at(layers, np.int32(j)) for j in range(max(lengths, default=0))]
    return tuple(slices[j][i] for i, k in enumerate(lengths) for j in range(k))


@compiled
def _layers_at(params: Params, j: Any) -> tuple[Layer, ...]:
    """Layer j of every run (the last one of a shorter run), and the single layers."""
    return tuple(layer_of(layer, j) for layer in params)


def as_layers(params: Pairs) -> Params:
    """Return `params` as a tuple of Layers of arrays."""
    check_data("params", params)
    try:
        return tuple(entry if isinstance(entry, LazyRun) else _as_layer(entry) for entry in params)
    except (TypeError, ValueError):
        raise TypeError(
            "params: expected pairs (theta, b) of arrays, as jaxnn.init returns them, "
            f"got {type(params).__name__}"
        ) from None


def _as_layer(pair: tuple[Numbers, Numbers]) -> Layer:
    """Return a pair as a Layer; NumPy arrays stay NumPy's until a compiled function takes them."""
    theta, b = (as_array("params", values) for values in pair)
    return Layer(theta, b)  # type: ignore[arg-type]
