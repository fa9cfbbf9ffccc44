"""The network: its static description, checks of its arguments, the forward pass and the loss.

    a[0] = x,   z[l] = a[l-1] θ[l-1] + b[l-1],   a[l] = σ(z[l]),   l = 1 … L;   ŷ = a[L] = g(z[L])

Index legend: B examples, L layers of weights, n[l] units in layer l. Examples are rows: x is
(n[0],) for one and (B, n[0]) for a batch; z[l] and a[l] are (n[l],) or (B, n[l]); θ[i] is
(n[i], n[i+1]); b[i] is (n[i+1],). The last layer has the output activation g of the task.

The results of a run (`layers.py`) are stacked like its layers, (k, B, n). The number of layers used
may be data: `depth`.
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Real

from .activations import Activation, find_activation
from .compiled import Numbers, as_array, compiled
from .layers import (
    Drawn,
    Layer,
    Layers,
    Pairs,
    Params,
    Run,
    as_layers,
    assert_single,
    is_run,
    layer_of,
    length,
)
from .loops import loop, settled, zeros
from .tasks import Task, check_labels, find_task, label_rows


@jax.tree_util.register_static
@dataclass(frozen=True, init=False, repr=False)
class Network:
    """The static description of a network: its widths, its activation and its task.

    Args:
        sizes: (n[0], …, n[L]), the units of the input, of each hidden layer and of the output.
            Two entries are a network without hidden layers: linear or logistic regression.
        activation: σ of the hidden layers, a name in `jaxnn.ACTIVATIONS` or an `Activation`.
        task: regression, binary or multiclass: output activation and loss, see `jaxnn.TASKS`.

    Hashable, and static under `jax.jit`: it is a pytree without leaves, so `jax.jit(jaxnn.forward)`
    accepts it with or without `static_argnums=0`.

    Raises:
        ValueError: fewer than two sizes, a size below 1, an unknown name, or multiclass with one
            output.
        TypeError: sizes that are not integers, or an activation or task of another type.

    Example:
        >>> import jaxnn
        >>> jaxnn.Network(sizes=(3, 4, 1), activation="sigmoid", task="binary")
        Network(sizes=(3, 4, 1), activation='sigmoid', task='binary')
    """

    sizes: tuple[int, ...]
    activation: Activation
    task: Task

    def __init__(
        self, sizes: Sequence[SupportsIndex], activation: str | Activation, task: str | Task
    ):
        fields = (_check_sizes(sizes), find_activation(activation), find_task(task))
        for name, value in zip(("sizes", "activation", "task"), fields, strict=True):
            object.__setattr__(self, name, value)
        if self.task.name == "multiclass" and self.sizes[-1] < 2:
            raise ValueError(
                "sizes: multiclass needs at least 2 outputs, got 1; use task='binary' for two "
                "classes in one output"
            )

    def __repr__(self) -> str:
        return (
            f"Network(sizes={self.sizes}, activation={self.activation.name!r}, "
            f"task={self.task.name!r})"
        )


Depth = ArrayLike | None  # as public functions accept it
UsedDepth = Array | int | None  # as `check_depth` returns it


class Trace(NamedTuple):
    """The results of the forward pass, of one example (no B) or a batch.

    z: (z[1], …, z[L]), so entry l-1 is z[l] of shape (B, n[l]).
    a: (a[0], …, a[L]), so entry l is a[l]; a[0] is x and a[L] is ŷ.

    A run has one entry of shape (k, B, n) for its k layers, zero in layers beyond `depth`.
    """

    z: tuple[Float[Array, "*k_B n"], ...]
    a: tuple[Float[Array, "*k_B n"], ...]


def trace(
    net: Network,
    params: Pairs,
    x: Real[Numbers, " {net.sizes[0]}"],
    *,
    depth: Depth = None,
) -> Trace:
    """Return every z[l] and a[l] of one example.

    Args:
        net: the network.
        params: L pairs (θ, b).
        x: one example, (n[0],).
        depth: the number of layers used of the one run in `params`, an integer or a traced
            integer; all of them by default.

    Returns:
        Trace: `z` holds z[1] … z[L], `a` holds a[0] = x … a[L] = ŷ.

    Raises:
        ValueError: a shape that does not fit the network; the message names the layer. Also,
            outside `jit`, nan or inf in x.
        TypeError: parameters that are not floats of one dtype.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> net = jaxnn.Network(sizes=(3, 4, 1), activation="sigmoid", task="binary")
        >>> t = jaxnn.trace(net, jaxnn.init(net, jax.random.key(0)), jnp.ones(3))
        >>> [z.shape for z in t.z], [a.shape for a in t.a]
        ([(4,), (1,)], [(3,), (4,), (1,)])
    """
    layers = check_params(net, params)
    x = check_x(net, x, batch=False)
    return _trace(net, layers, x, check_depth(layers, depth))


@compiled
def _trace(net: Network, params: Params, x: Numbers, depth: UsedDepth) -> Trace:
    xs = jnp.asarray(x, dtype_of(params))[None]
    rows = forward_rows(net, params, xs, depth)
    t: Trace = one_example(Trace(rows.z, (xs, *rows.a)))
    return t


def forward(
    net: Network,
    params: Pairs,
    x: Real[Numbers, " {net.sizes[0]}"],
    *,
    depth: Depth = None,
) -> Float[Array, " {net.sizes[-1]}"]:
    """Return ŷ = g(z[L]) of one example.

    Args:
        net: the network.
        params: L pairs (θ, b).
        x: one example, (n[0],).
        depth: the number of layers used of the one run in `params`, an integer or a traced
            integer; all of them by default.

    Returns:
        ŷ of shape (n[L],): the value, the probability of label 1, or a probability for each class.

    Raises:
        ValueError, TypeError: as `jaxnn.trace`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> net = jaxnn.Network(sizes=(3, 4, 1), activation="sigmoid", task="binary")
        >>> params = jaxnn.init(net, jax.random.key(0))
        >>> batched = jax.jit(jax.vmap(jaxnn.forward, in_axes=(None, None, 0)))
        >>> batched(net, params, jnp.ones((7, 3))).shape
        (7, 1)
    """
    return trace(net, params, x, depth=depth).a[-1]


def loss(
    net: Network,
    params: Pairs,
    x: Real[Numbers, " {net.sizes[0]}"],
    y: ArrayLike,
    *,
    depth: Depth = None,
) -> Float[Array, ""]:
    """Return the loss of one example, ½‖ŷ - y‖² or a cross-entropy in nats; see `jaxnn.tasks`.

    Args:
        net: the network.
        params: L pairs (θ, b).
        x: one example, (n[0],).
        y: its label. Regression: (n[L],) floats; binary: (n[L],) of 0 and 1; either may be a
            scalar if n[L] = 1. Multiclass: an integer class, or (n[L],) probabilities.
        depth: the number of layers used of the one run in `params`, an integer or a traced
            integer; all of them by default.

    Returns:
        A scalar.

    Raises:
        ValueError: as `jaxnn.trace`; also a label of a wrong shape and, outside `jit`, of a wrong
            value.
        TypeError: as `jaxnn.trace`; also classes that are not integers.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> net = jaxnn.Network(sizes=(3, 4, 1), activation="sigmoid", task="binary")
        >>> params = jaxnn.init(net, jax.random.key(0), weights="zeros")
        >>> round(float(jaxnn.loss(net, params, jnp.ones(3), 1)), 4)  # ln 2: ŷ is ½
        0.6931
    """
    layers = check_params(net, params)
    x, y = check_data(net, x, y, batch=False)
    return _loss(net, layers, x, y, check_depth(layers, depth))


@compiled
def _loss(net: Network, params: Params, x: Numbers, y: Numbers, depth: UsedDepth) -> Array:
    xs, ys = as_rows(net, params, x[None], y[None])
    rows = forward_rows(net, params, xs, depth)
    return net.task.loss(rows.z[-1], ys)[0]


class Forward(NamedTuple):
    """The forward pass over rows: for each Layer its input, its z and its a.

    For a run z and a are (k, B, n), and the input of the next Layer is its last a that is used.
    """

    inputs: tuple[Float[Array, "B n"], ...]
    z: tuple[Float[Array, "*k B n"], ...]
    a: tuple[Float[Array, "*k B n"], ...]


def forward_rows(
    net: Network, params: Params, xs: Float[Array, "B n_in"], depth: UsedDepth = None
) -> Forward:
    """Run the forward pass over rows; the arguments must be checked already."""
    inputs, all_z, all_a = [xs], [], []
    for i, layer in enumerate(params):
        if is_run(layer):
            top, z, a = _forward_run(net, layer, inputs[i], depth)
        else:
            theta, b = assert_single(layer)
            z = inputs[i] @ theta + b[None, :]
            last = i == len(params) - 1
            top = a = net.task.output(z) if last else net.activation.sigma(z)
        inputs.append(top)
        all_z.append(z)
        all_a.append(a)
    return Forward(tuple(inputs[:-1]), tuple(all_z), tuple(all_a))


def _forward_run(
    net: Network, run: Run, a: Float[Array, "B n"], depth: UsedDepth
) -> tuple[Float[Array, "B n"], Float[Array, "k B n"], Float[Array, "k B n"]]:
    """Return the a of the last layer used of a run, and its every z and a."""

    def step(a: Array, layer: Layer) -> tuple[Array, tuple[Array, Array]]:
        z = a @ layer.theta + layer.b[None, :]
        a = net.activation.sigma(z)
        return a, (z, a)

    # JAX can differentiate a scan backwards, but no loop whose length is data.
    if depth is None and isinstance(run, Layer):
        a = settled(lambda j, a: step(a, layer_of(run, j))[0], 0, a)
        top, (z, all_a) = lax.scan(step, a, run)
        return top, z, all_a

    def body(j: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        top, z, all_a = carry
        top, (z_j, a_j) = step(top, layer_of(run, j))
        put = lax.dynamic_update_index_in_dim
        return top, put(z, z_j, j, 0), put(all_a, a_j, j, 0)

    empty = zeros(length(run), a)
    used = length(run) if depth is None else depth
    looped: tuple[Array, Array, Array] = loop(0, used, body, (a, empty, empty))
    return looped


def run_z(rows: Forward, i: int, j: Array) -> Float[Array, "B n"]:
    """The z of layer j of the run at Layer i; j may be traced."""
    z: Array = lax.dynamic_index_in_dim(rows.z[i], j, keepdims=False)
    return z


def run_input(rows: Forward, i: int, j: Array) -> Float[Array, "B n"]:
    """The input of layer j of the run at Layer i; j may be traced."""
    before = lax.dynamic_index_in_dim(rows.a[i], jnp.maximum(j - 1, 0), keepdims=False)
    return jnp.where(j == 0, rows.inputs[i], before)


def one_example(tree: Any) -> Any:
    """Turn a batch of one into one example: drop B = 1, the last axis but one, of every leaf."""
    return jax.tree.map(lambda rows: rows[..., 0, :], tree)


def _check_sizes(sizes: Sequence[SupportsIndex]) -> tuple[int, ...]:
    what = "sizes: expected at least two positive integers (n[0], …, n[L])"
    try:
        checked = tuple(operator.index(n) for n in sizes)
    except TypeError:
        raise TypeError(f"{what}, got {sizes!r}") from None
    if len(checked) < 2 or min(checked) < 1 or any(isinstance(n, bool) for n in sizes):
        raise ValueError(f"{what}, got {sizes!r}")
    return checked


def check_params(net: Network, params: Pairs) -> Params:
    """Return `params` as a tuple of Layers that fit `net`.

    Bad input raises a one-line error at trace time, at no runtime cost.
    """
    layers, n = as_layers(params), net.sizes
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
        if k and (following == len(n) - 1 or len(set(n[i : following + 1])) > 1):
            raise ValueError(
                f"theta[{i}]: a run of {k[0]} must be hidden layers of one width, got the widths "
                f"{_short(n[i : following + 1])} of sizes {_short(n)}; make runs with jaxnn.stack"
            )
        i = following
    dtypes = {dtype.name: dtype for layer in layers for dtype in _dtypes(layer)}
    if len(dtypes) > 1 or not jnp.issubdtype(next(iter(dtypes.values())), jnp.floating):
        raise TypeError(
            f"params: expected one floating dtype in every theta and b, got {', '.join(dtypes)}; "
            "cast them with jax.tree.map"
        )
    return layers


def check_stored(net: Network, params: Pairs) -> Layers:
    """Like `check_params`, but reject runs stored as a key."""
    layers = check_params(net, params)
    if any(isinstance(layer, Drawn) for layer in layers):
        raise TypeError(
            "params: expected the numbers of every layer, got a run that is drawn where it is "
            "used; store them with jaxnn.stack"
        )
    return layers  # type: ignore[return-value]


def _shapes(layer: Layer | Drawn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if isinstance(layer, Drawn):
        return (layer.k, *layer.draw.shape), (layer.k, layer.draw.shape[1])
    return layer.theta.shape, layer.b.shape


def _dtypes(layer: Layer | Drawn) -> tuple[jnp.dtype, ...]:
    return (layer.draw.dtype,) if isinstance(layer, Drawn) else (layer.theta.dtype, layer.b.dtype)


def dtype_of(params: Params) -> jnp.dtype:
    """The dtype of every theta and b of the checked `params`."""
    return _dtypes(params[0])[0]


def check_key(key: Any) -> Array:
    """Return a random key; raise unless it is one."""
    if isinstance(key, jax.Array | np.ndarray):
        typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
        if key.ndim == (0 if typed else 1) and (typed or key.dtype == np.uint32):
            return key  # type: ignore[return-value]
        got = f"{key.dtype} of shape {key.shape}"
    else:
        got = repr(key)
    raise TypeError(f"key: expected one key, such as jax.random.key(0), got {got}")


def check_depth(params: Params, depth: Depth) -> UsedDepth:
    """Return `depth` of the one run in the checked `params`; a traced one is clipped to the run."""
    if depth is None:
        return None
    capacities = [length(layer) for layer in params if is_run(layer)]
    if len(capacities) != 1:
        raise ValueError(
            f"depth: expected parameters with exactly one run, got {len(capacities)}; "
            "make it with jaxnn.init(..., stacked=True) or jaxnn.stack"
        )
    value = as_array("depth", depth)
    if value.shape != () or not jnp.issubdtype(value.dtype, jnp.integer):
        raise TypeError(f"depth: expected one integer, got {value.dtype} of shape {value.shape}")
    if isinstance(value, jax.core.Tracer):
        # A narrow or unsigned dtype could not hold the index arithmetic of the loops.
        return jnp.clip(value.astype(int), 0, capacities[0])
    if not 0 <= int(value) <= capacities[0]:
        raise ValueError(
            f"depth: expected 0 … {capacities[0]}, the layers of the run, got {int(value)}"
        )
    return int(value)


def check_depth_as_data(params: Params, depth: Depth) -> Any:
    """Like `check_depth`, for functions with a reverse pass of their own: always data.

    JAX differentiates a loop only if its length is a constant of the program; ours serves every
    depth with one program.
    """
    used = check_depth(params, depth)
    return np.asarray(used) if isinstance(used, int) else used


def _short(sizes: tuple[int, ...], most: int = 8) -> str:
    """Sizes for an error message, shortened in the middle."""
    if len(sizes) <= most:
        return str(sizes)
    return f"({', '.join(map(str, sizes[: most - 2]))}, …, {sizes[-1]})"


def check_x(net: Network, x: ArrayLike, *, batch: bool = True) -> Numbers:
    """Return x as an array of real numbers, (n[0],) or as a batch (B, n[0])."""
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
