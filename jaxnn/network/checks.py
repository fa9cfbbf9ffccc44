"""Checks of what public functions are given: parameters, examples, labels, keys and depths.

Bad input raises a one-line error at trace time, at no runtime cost.

The results of a run (`params.py`) are stacked like its layers, (k, B, n). The number of hidden
layers used may be data: `depth`, which counts those of the run and those outside of it. The walk
counts layers of the run alone: `check_depth` converts, once.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, PyTree

from ..arrays.arguments import Shape, misfit
from ..arrays.compiled import Numbers, as_array, compiled
from ..arrays.rows import in_bfloat16, is_narrow
from ..texts import counted, in_words, told
from .blocks import rows_meet
from .network import Network
from .params import Layer, Layers, LazyRun, Pairs, Params, as_layers, is_run, length
from .tasks import check_labels, label_rows

Depth = ArrayLike | None  # as public functions accept it
UsedDepth = Array | int | None  # layers of the run, as `check_depth` returns them


def check_params(net: Network, params: Pairs) -> Params:
    """Return `params` as a tuple of Layers that fit `net`."""
    if not isinstance(net, Network):
        raise TypeError(
            f"net: expected a Network, got {type(net).__name__}; of a chain of your own layers the "
            "gradient is measured, by jaxnn.gradient_flow and what is made of it"
        )
    layers = as_layers(params)
    _check_sizes(layers, net.sizes)
    dtypes = {dtype.name: dtype for layer in layers for dtype in _dtypes(layer)}
    if len(dtypes) > 1 or not jnp.issubdtype(next(iter(dtypes.values())), jnp.floating):
        raise TypeError(
            f"params: expected one floating dtype in every theta and b, got {', '.join(dtypes)}; "
            "cast them with jax.tree.map"
        )
    narrow = [v for layer in layers for v in jax.tree.leaves(layer) if is_narrow(v)]
    if narrow:
        raise TypeError(f"params: expected {in_bfloat16(narrow[0])}")
    return layers


def _check_sizes(layers: Params, n: tuple[int, ...]) -> None:
    """Raise unless layers, runs among them, have the sizes of a network."""
    count = sum(length(layer) if is_run(layer) else 1 for layer in layers)
    if count != len(n) - 1:
        raise ValueError(f"params: expected {len(n) - 1} layers for sizes {_short(n)}, got {count}")
    i = 0
    for layer in layers:
        k = (length(layer),) if is_run(layer) else ()
        for name, shape, expected in zip(
            ("theta", "b"), _shapes(layer), ((*k, n[i], n[i + 1]), (*k, n[i + 1])), strict=True
        ):
            if shape != expected:
                raise ValueError(
                    f"{name}[{i}]: expected shape {expected} for sizes {_short(n)}, got {shape}"
                )
        following = i + sum(k) if k else i + 1
        if k and (i == 0 or following == len(n) - 1 or len(set(n[i : following + 1])) > 1):
            raise ValueError(
                f"theta[{i}]: a run of {k[0]} must be hidden layers of one width, not the first or "
                f"last layer, got the widths {_short(n[i : following + 1])} of sizes {_short(n)}; "
                "make runs with jaxnn.network.stack"
            )
        i = following


def check_stored(net: Network, params: Pairs) -> Layers:
    """Like `check_params`, but reject runs stored as a key."""
    layers = check_params(net, params)
    if any(isinstance(layer, LazyRun) for layer in layers):
        raise TypeError(
            "params: expected the numbers of every layer, got a run that is drawn where it is "
            "used; store them with jaxnn.network.stack"
        )
    return layers  # type: ignore[return-value]


def _shapes(layer: Layer | LazyRun) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if isinstance(layer, LazyRun):
        return (layer.k, *layer.draw.shape), (layer.k, layer.draw.shape[1])
    return layer.theta.shape, layer.b.shape


def _dtypes(layer: Layer | LazyRun) -> tuple[jnp.dtype, ...]:
    return (layer.draw.dtype,) if isinstance(layer, LazyRun) else (layer.theta.dtype, layer.b.dtype)


def dtype_of(params: Params) -> jnp.dtype:
    """The dtype of every theta and b of the checked `params`."""
    return _dtypes(params[0])[0]


def check_loss(loss: object) -> Any:
    """Return a loss as a function of (output, ys); raise unless it is a function."""
    if isinstance(loss, type):
        got = f"the class {loss.__name__}; make one of it: {loss.__name__}()"
    elif loss is not None and not callable(loss):
        got = repr(loss) if isinstance(loss, str) else type(loss).__name__
    elif loss is None or _takes(loss, 2):
        return loss
    elif _takes(loss, 1):
        return _OfOutput(loss)
    else:
        got = f"one that takes {inspect.signature(getattr(loss, 'forward', loss))}"
    raise TypeError(
        "loss: expected a function of (output, ys), such as lambda output, ys: "
        f"((output - ys) ** 2).mean(-1), got {got}"
    )


@dataclass(frozen=True)
class _OfOutput:
    """A loss that takes the output alone, as a function of (output, ys)."""

    loss: Any

    def __call__(self, output: PyTree, ys: PyTree) -> Any:
        if ys is not None:
            raise ValueError(
                "loss: expected loss(output, ys), since there are ys, got one that takes the "
                "output alone; leave ys out, or let it take them"
            )
        return self.loss(output)


@contextmanager
def calling_loss(
    ys: PyTree, count: int, output: Any, tried: Callable[[Shape], Any]
) -> Iterator[None]:
    """Say of an error in a loss that no labels, a plain list, or their shape may be why."""

    # tried: calls the loss with labels of another shape.
    def takes(other: Shape) -> bool:
        try:
            tried(other)
        except Exception:
            return False
        return True

    try:
        yield
    except Exception as error:
        is_plain = isinstance(ys, list) and not any(hasattr(v, "shape") for v in ys)
        shape = tuple(getattr(ys, "shape", ()))
        got = ""
        if ys is None:
            got = "none"
        elif is_plain:
            got = f"the list {told(ys)}, which is no array"
        elif shape and shape[:1] != (count,):
            got = f"shape {shape} for {counted(count, 'example')}"
        hint = f"expected what the loss takes next to the output, got {got}" if got else None
        if hint is None and not takes(shape):
            hint = misfit(takes, shape, getattr(output, "shape", ()))
        if hint is None:
            raise
        raise ValueError(f"ys: {hint}; with it the loss ends in {in_words(error)}") from error


def _takes(loss: Any, count: int) -> bool:
    """Tell whether a function can be called with so many arguments; one in C is held to take 2."""
    try:
        signature = inspect.signature(getattr(loss, "forward", loss))  # of a module of PyTorch
    except (TypeError, ValueError):
        return count == 2
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def check_key(key: object) -> Array:
    """Return a random key; raise unless it is one."""
    if isinstance(key, jax.Array | np.ndarray):
        typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
        if key.ndim == (0 if typed else 1) and (typed or key.dtype == np.uint32):
            return key  # type: ignore[return-value]
        got = f"{key.dtype} of shape {key.shape}"
    else:
        got = repr(key)
    raise TypeError(f"key: expected one key, such as jax.random.key(0), got {got}")


def check_depth(params: Params, depth: Depth, several: bool = False) -> UsedDepth:
    """Return how many layers of the one run in the checked `params` a network of `depth` uses.

    `depth` counts hidden layers, those outside of the run too; a traced one is clipped.
    """
    if depth is None:
        return None
    capacities = [length(layer) for layer in params if is_run(layer)]
    if len(capacities) != 1:
        raise ValueError(
            f"depth: expected parameters with exactly one run, got {len(capacities)}; "
            "make it with jaxnn.init(..., stacked=True) or jaxnn.network.stack"
        )
    outside = len(params) - 2  # hidden layers: all but the run and the output
    value = as_array("depth", depth)
    if value.ndim > several or not (value.size and jnp.issubdtype(value.dtype, jnp.integer)):
        wanted = "one integer, or a list of them" if several else "one integer"
        raise TypeError(f"depth: expected {wanted}, got {value.dtype} of shape {value.shape}")
    if isinstance(value, jax.core.Tracer):
        # A narrow or unsigned dtype could not hold the index arithmetic of the loops.
        return jnp.clip(value.astype(int) - outside, 0, capacities[0])
    for hidden in np.ravel(value):
        if not outside <= hidden <= outside + capacities[0]:
            raise ValueError(
                f"depth: expected {outside} … {outside + capacities[0]}, the hidden layers, got "
                f"{hidden}"
            )
    used = np.asarray(value, int) - outside
    return jnp.asarray(used) if value.ndim else int(used)


def check_depth_as_data(params: Params, depth: Depth, several: bool = False) -> Any:
    """Like `check_depth`, for functions with a reverse pass of their own: always data."""
    used = check_depth(params, depth, several)
    # JAX differentiates a loop only if its length is a constant of the program; ours serves every
    # depth with one program.
    return np.asarray(used) if isinstance(used, int) else used


def check_x(net: Network, x: ArrayLike, *, batch: bool = True) -> Numbers:
    """Return x as an array of real numbers, (n[0],) or as a batch (B, n[0])."""
    meeting = next(filter(rows_meet, net.blocks), None)
    if not batch and meeting is not None:
        raise ValueError(
            f"hidden: {meeting!r} takes its statistics from a batch, got one example; pass a "
            "batch to jaxnn.backprop, mean_loss, gradient_flow or evaluate"
        )
    values = as_array("x", x)
    n_in = net.sizes[0]
    if values.ndim != 1 + batch or values.shape[-1] != n_in or values.size == 0:
        expected = f"(B, {n_in}), a batch of B >= 1" if batch else f"({n_in},), one example"
        hint = "" if batch or values.ndim != 2 else "; map over a batch with jax.vmap"
        raise ValueError(
            f"x: expected shape {expected}, for layer 0 of sizes {_short(net.sizes)}, "
            f"got {values.shape}{hint}"
        )
    if not (jnp.issubdtype(values.dtype, jnp.number) or values.dtype == bool) or (
        jnp.issubdtype(values.dtype, jnp.complexfloating)
    ):
        raise TypeError(f"x: expected real numbers, got {values.dtype}")
    if not isinstance(values, jax.core.Tracer):
        finite = np.isfinite(np.asarray(values, np.float64))
        if not finite.all():
            raise ValueError(
                f"x: expected finite numbers, got {np.count_nonzero(~finite)} that are nan or inf, "
                f"the first in column {int(np.argwhere(~finite)[0][-1])}"
            )
    return values


def check_data(
    net: Network, x: ArrayLike, y: ArrayLike, *, batch: bool = True
) -> tuple[Numbers, Numbers]:
    """Return one example and its label, or a batch and its labels, as arrays that fit `net`."""
    x = check_x(net, x, batch=batch)
    return x, check_labels(net.task, y, x.shape[:-1], net.sizes[-1])


@compiled
def as_rows(net: Network, params: Params, xs: Numbers, ys: Numbers) -> tuple[Array, Array]:
    """Convert a checked batch to (B, n[0]) and (B, n[L]) in the dtype of `params`."""
    rows = jnp.asarray(xs, dtype_of(params))
    return rows, label_rows(net.task, ys, rows.shape[:1], net.sizes[-1], rows.dtype)


def check_batch(net: Network, params: Params, xs: ArrayLike, ys: ArrayLike) -> tuple[Array, Array]:
    """Check a batch and convert it to (B, n[0]) and (B, n[L]) in the dtype of `params`."""
    return as_rows(net, params, *check_data(net, xs, ys))


def _short(sizes: tuple[int, ...], most: int = 8) -> str:
    """Sizes for an error message, shortened in the middle."""
    if len(sizes) <= most:
        return str(sizes)
    return f"({', '.join(map(str, sizes[: most - 2]))}, …, {sizes[-1]})"
