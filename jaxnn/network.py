"""The network: what is static about it, its parameters, the forward pass and the loss.

    a[0] = x,   z[l] = a[l-1] θ[l-1] + b[l-1],   a[l] = σ(z[l]),   l = 1 … L;   ŷ = a[L] = g(z[L])

Index legend: B examples, L layers of weights, n[l] units in layer l. Examples are rows: x is
(n[0],) for one and (B, n[0]) for a batch; z[l] and a[l] are (n[l],) or (B, n[l]); θ[i] is
(n[i], n[i+1]); b[i] is (n[i+1],). The last layer has the output activation g of the task.
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Real

from .activations import Activation, find_activation
from .tasks import Task, find_task, label_rows

Numbers = jax.Array | np.ndarray


@jax.tree_util.register_static
@dataclass(frozen=True, init=False, repr=False)
class Network:
    """What is static about a network: its widths, its activation and its task.

    Args:
        sizes: (n[0], …, n[L]), the units of the input, of each hidden layer and of the output.
            Two entries make a network without hidden layers: linear or logistic regression.
        activation: σ of the hidden layers, a name in `jaxnn.ACTIVATIONS` or an `Activation`.
        task: regression, binary or multiclass: output activation and loss, see `jaxnn.TASKS`.

    Hashable, and static under `jax.jit`: it is a pytree without leaves, so `jax.jit(jaxnn.forward)`
    takes it as it is, and `static_argnums=0` works as well.

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


class Layer(NamedTuple):
    """The parameters of one layer: θ[i] of shape (n[i], n[i+1]) and b[i] of shape (n[i+1],)."""

    theta: Float[Array, "n_in n_out"]
    b: Float[Array, " n_out"]


Params = tuple[Layer, ...]
Pairs = Sequence[tuple[Numbers, Numbers]]  # what functions take: Layers, or pairs of a user's own


class Trace(NamedTuple):
    """Everything that the forward pass computes, one example (no B) or a batch.

    z: (z[1], …, z[L]), so entry l-1 is z[l] of shape (B, n[l]).
    a: (a[0], …, a[L]), so entry l is a[l]; a[0] is x and a[L] is ŷ.
    """

    z: tuple[Float[Array, "*B n"], ...]
    a: tuple[Float[Array, "*B n"], ...]


def trace(net: Network, params: Pairs, x: Real[Numbers, " {net.sizes[0]}"]) -> Trace:
    """Every z[l] and a[l] of one example.

    Args:
        net: the network.
        params: L pairs (θ, b).
        x: one example, (n[0],).

    Returns:
        Trace: `z` holds z[1] … z[L], `a` holds a[0] = x … a[L] = ŷ.

    Raises:
        ValueError: a shape that does not fit the network; the sentence names the layer. Also nan
            or inf in x, where its values are known (outside `jit`).
        TypeError: parameters that are not floats of one dtype.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> net = jaxnn.Network(sizes=(3, 4, 1), activation="sigmoid", task="binary")
        >>> t = jaxnn.trace(net, jaxnn.init(net, jax.random.key(0)), jnp.ones(3))
        >>> [z.shape for z in t.z], [a.shape for a in t.a]
        ([(4,), (1,)], [(3,), (4,), (1,)])
    """
    layers = check_params(net, params)
    t: Trace = one_example(trace_rows(net, layers, check_x(net, layers, x)[None]))
    return t


def forward(
    net: Network, params: Pairs, x: Real[Numbers, " {net.sizes[0]}"]
) -> Float[Array, " {net.sizes[-1]}"]:
    """ŷ = g(z[L]) of one example; pure, so `jax.jit` and `jax.vmap` apply.

    Args:
        net: the network.
        params: L pairs (θ, b).
        x: one example, (n[0],).

    Returns:
        ŷ of shape (n[L],): the value, the probability of label 1, or one probability a class.

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
    return trace(net, params, x).a[-1]


def loss(
    net: Network, params: Pairs, x: Real[Numbers, " {net.sizes[0]}"], y: ArrayLike
) -> Float[Array, ""]:
    """The loss of one example, see `jaxnn.tasks`: ½‖ŷ - y‖² or a cross-entropy in nats.

    Args:
        net: the network.
        params: L pairs (θ, b).
        x: one example, (n[0],).
        y: its label. Regression: (n[L],) floats; binary: (n[L],) of 0 and 1; either may be a
            scalar where n[L] = 1. Multiclass: an integer class, or (n[L],) probabilities.

    Returns:
        A scalar.

    Raises:
        ValueError: as `jaxnn.trace`; also a label of a wrong shape or, outside `jit`, a wrong
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
    xs, ys = check_example(net, layers, x, y)
    return net.task.loss(trace_rows(net, layers, xs).z[-1], ys)[0]


def trace_rows(net: Network, params: Params, xs: Float[Array, "B n_in"]) -> Trace:
    """The forward pass over rows; `params` and `xs` are checked already."""
    a, z = [xs], []
    for i, (theta, b) in enumerate(params):
        z.append(a[i] @ theta + b[None, :])
        last = i == len(params) - 1
        a.append(net.task.output(z[i]) if last else net.activation.sigma(z[i]))
    return Trace(tuple(z), tuple(a))


def one_example(tree: Any) -> Any:
    """The one example of a batch of one: takes B = 1 off every leaf."""
    return jax.tree.map(lambda rows: rows[0], tree)


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
    """`params` as a tuple of Layers of arrays that fit `net`; for what is wrong, one sentence."""
    n = net.sizes
    try:
        layers = tuple(Layer(jnp.asarray(theta), jnp.asarray(b)) for theta, b in params)
    except (TypeError, ValueError):
        raise TypeError(
            f"params: expected {len(n) - 1} pairs (theta, b) of arrays, as jaxnn.init returns "
            f"them, got {type(params).__name__}"
        ) from None
    if len(layers) != len(n) - 1:
        raise ValueError(f"params: expected {len(n) - 1} layers for sizes {n}, got {len(layers)}")
    for i, layer in enumerate(layers):
        for name, values, shape in (
            ("theta", layer.theta, (n[i], n[i + 1])),
            ("b", layer.b, (n[i + 1],)),
        ):
            if values.shape != shape:
                raise ValueError(
                    f"{name}[{i}]: expected shape {shape} for sizes {n}, got {values.shape}"
                )
    dtypes = {values.dtype.name: values.dtype for layer in layers for values in layer}
    if len(dtypes) > 1 or not jnp.issubdtype(layers[0].theta.dtype, jnp.floating):
        raise TypeError(
            f"params: expected one floating dtype in every theta and b, got {', '.join(dtypes)}; "
            "cast them with jax.tree.map"
        )
    return layers


def check_x(net: Network, params: Params, x: ArrayLike, batch: bool = False) -> Array:
    """x, (n[0],) or as a batch (B, n[0]), in the dtype of the checked `params`."""
    values = jnp.asarray(x)
    n_in = net.sizes[0]
    if values.ndim != 1 + batch or values.shape[-1] != n_in or values.size == 0:
        expected = f"(B, {n_in}), a batch of B >= 1" if batch else f"({n_in},), one example"
        hint = "" if batch or values.ndim != 2 else "; map over a batch with jax.vmap"
        raise ValueError(
            f"x: expected shape {expected}, for layer 0 of sizes {net.sizes}, "
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
    return values.astype(params[0].theta.dtype)


def check_example(net: Network, params: Params, x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    """One example and its label as a batch of one: (1, n[0]) and (1, n[L])."""
    x = check_x(net, params, x)
    return x[None], label_rows(net.task, y, (), net.sizes[-1], x.dtype)[None]


def check_batch(net: Network, params: Params, xs: ArrayLike, ys: ArrayLike) -> tuple[Array, Array]:
    """A batch and its labels: (B, n[0]) and (B, n[L])."""
    xs = check_x(net, params, xs, batch=True)
    return xs, label_rows(net.task, ys, xs.shape[:1], net.sizes[-1], xs.dtype)
