"""Backpropagation by hand: the article's recursion, over rows.

Δv means ∂loss/∂v and has the shape of v. From the forward pass

    z[l] = a[l-1] θ[l-1] + b[l-1],   a[l] = σ(z[l]),   l = 1 … L

the chain rule gives every Δ from the one above it. The top first: whatever the task,

    Δz[L] = ŷ - y                                       (tasks.py: why it is the same for all three)

Then, for i = L-1 … 0, through z[i+1] = a[i] θ[i] + b[i]. In indices, for one example,
z[i+1]_k = Σ_j a[i]_j θ[i]_jk + b[i]_k, so

    Δθ[i]_jk = a[i]_j Δz[i+1]_k          that is        Δθ[i] = a[i]ᵀ Δz[i+1]                  (1)
    Δb[i]_k  = Δz[i+1]_k                                Δb[i] = Δz[i+1]                        (2)
    Δa[i]_j  = Σ_k Δz[i+1]_k θ[i]_jk                    Δa[i] = Δz[i+1] θ[i]ᵀ                  (3)

and through a[i] = σ(z[i]), entry by entry,

    Δz[i]_j  = Δa[i]_j σ′(z[i]_j)                       Δz[i] = Δa[i] ∘ σ′(z[i])               (4)

Unrolled, Δz[l] is Δz[L] times one matrix θ[i]ᵀ diag(σ′(z[i])) for each i = L-1 … l. This product
makes gradients vanish or explode.

A batch is B rows. Its loss is the mean over its examples, so Δz[L] = (ŷ - y) / B. In (1) and (2)
the rows are summed over, by aᵀ Δz and by the column sum; in (3) and (4) each row is by itself.

Index legend: B examples, L layers of weights; i counts θ and b from 0; j runs over n[i] units,
k over n[i+1]. z[l], a[l]: (B, n[l]); θ[i]: (n[i], n[i+1]); b[i]: (n[i+1],).
"""

import operator
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.interpreters import ad, partial_eval
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Real

from .compiled import Numbers, compiled
from .layers import Layer, Layers, Pairs, is_run, layer_of
from .loops import cotangent, loop, product
from .network import (
    Depth,
    Forward,
    Network,
    UsedDepth,
    as_rows,
    check_data,
    check_depth_as_data,
    check_stored,
    forward_rows,
    one_example,
    run_input,
    run_z,
)

P = TypeVar("P", bound=Pairs)
Batch = Real[Numbers, "B {net.sizes[0]}"]


class Deltas(NamedTuple):
    """Every Δv = ∂loss/∂v, indexed like the forward pass.

    z: (Δz[1], …, Δz[L]), so entry l-1 is Δz[l].
    a: (Δa[0], …, Δa[L]); Δa[0] is the gradient of the input x.
    theta: (Δθ[0], …, Δθ[L-1]).
    b: (Δb[0], …, Δb[L-1]).

    A run has one entry for its k layers, (k, B, n) and (k, n, n), zero in layers beyond `depth`.
    """

    z: tuple[Float[Array, "*k_B n"], ...]
    a: tuple[Float[Array, "*k_B n"], ...]
    theta: tuple[Float[Array, "*k n_in n_out"], ...]
    b: tuple[Float[Array, "*k n"], ...]


class Backward(NamedTuple):
    """The results of the recursion: Δ(θ, b) of every Layer, Δa[0], and every Δz and Δa between.

    delta_z and delta_a have an entry for the z and the a of each Layer, except for Δa of the last
    layer, which the recursion starts below.
    """

    layers: Layers
    delta_x: Float[Array, "B n_in"]
    delta_z: tuple[Float[Array, "*k_B n"], ...]
    delta_a: tuple[Float[Array, "*k_B n"], ...]


def parameter_deltas(a: Float[Array, "B n_in"], delta_z: Float[Array, "B n_out"]) -> Layer:
    """Return Δ(θ[i], b[i]) from a[i] and Δz[i+1]."""
    return Layer(theta=product(a.T, delta_z), b=jnp.sum(delta_z, axis=0))  # (1), (2)


def delta_below(layer: Layer, delta_z: Float[Array, "B n_out"]) -> Float[Array, "B n_in"]:
    """Return Δa[i] from Δz[i+1]."""
    return delta_z @ layer.theta.T  # (3)


def through_activation(
    net: Network, delta_a: Float[Array, "B n"], z: Float[Array, "B n"]
) -> Float[Array, "B n"]:
    """Return Δz[i] of a hidden layer from Δa[i]."""
    return delta_a * net.activation.prime(z)  # (4)


def backward_rows(
    net: Network,
    params: Layers,
    rows: Forward,
    delta_z: Float[Array, "B n_out"],
    depth: UsedDepth = None,
) -> Backward:
    """Run the recursion (1) to (4) over rows, from any Δz[L]."""
    *hidden, last = params
    layers, all_z, all_a = [parameter_deltas(rows.inputs[-1], delta_z)], [delta_z], []
    delta_a = delta_below(last, delta_z)
    for i in reversed(range(len(hidden))):
        backward = _run_backward if is_run(params[i]) else _single_backward
        gradient, below, delta_z, delta_a = backward(net, params[i], rows, i, delta_a, depth)
        layers.append(gradient)
        all_z.append(delta_z)
        all_a.append(delta_a)
        delta_a = below
    return Backward(tuple(layers[::-1]), delta_a, tuple(all_z[::-1]), tuple(all_a[::-1]))


Step = tuple[Layer, Array, Array, Array]  # Δ(θ, b), Δa below, and the Δz and Δa of the Layer


def _single_backward(
    net: Network, layer: Layer, rows: Forward, i: int, delta_a: Array, depth: UsedDepth
) -> Step:
    delta_z = through_activation(net, delta_a, rows.z[i])
    gradient = parameter_deltas(rows.inputs[i], delta_z)
    return gradient, delta_below(layer, delta_z), delta_z, delta_a


def _run_backward(
    net: Network, run: Layer, rows: Forward, i: int, delta_a: Array, depth: UsedDepth
) -> Step:
    """Go down a run from the last layer used, with a buffer for each kind of result.

    XLA updates a buffer in place if the loop only writes to it, and drops it if it is not used.
    """
    used = len(run.b) if depth is None else depth

    def body(step: Array, carry: Step) -> Step:
        gradients, delta_a, all_z, all_a = carry
        j = used - 1 - step
        delta_z = through_activation(net, delta_a, run_z(rows, i, j))
        gradient = parameter_deltas(run_input(rows, i, j), delta_z)
        put = partial(lax.dynamic_update_index_in_dim, index=j, axis=0)
        gradients = Layer(*map(put, gradients, gradient))
        below = delta_below(layer_of(run, j), delta_z)
        return gradients, below, put(all_z, delta_z), put(all_a, delta_a)

    empty = jnp.zeros_like(rows.z[i])
    start = (jax.tree.map(jnp.zeros_like, run), delta_a, empty, empty)
    looped: Step = loop(0, used, body, start)
    return looped


def deltas(
    net: Network,
    params: Pairs,
    x: Real[Numbers, " {net.sizes[0]}"],
    y: ArrayLike,
    *,
    depth: Depth = None,
) -> Deltas:
    """Return every Δa, Δz, Δθ and Δb of one example, by the formulas at the head of this module.

    Args:
        net: the network.
        params: L pairs (θ, b).
        x: one example, (n[0],).
        y: its label, as for `jaxnn.loss`.
        depth: the number of layers used of the one run in `params`, an integer or a traced
            integer; all of them by default.

    Returns:
        Deltas: `z` holds Δz[1] … Δz[L], `a` holds Δa[0] … Δa[L], `theta` and `b` Δθ[0] … and
        Δb[0] …; each Δv has the shape of v. Δa[L] = ∂loss/∂ŷ is infinite where ŷ has rounded to 0
        and the label has mass; Δz[L] = ŷ - y does not depend on it.

    Raises:
        ValueError, TypeError: as `jaxnn.loss`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> net = jaxnn.Network(sizes=(3, 4, 1), activation="sigmoid", task="binary")
        >>> params = jaxnn.init(net, jax.random.key(0))
        >>> d = jaxnn.deltas(net, params, jnp.ones(3), 1)
        >>> bool(jnp.allclose(d.b[1], jaxnn.forward(net, params, jnp.ones(3)) - 1))
        True
    """
    layers = check_stored(net, params)
    used = check_depth_as_data(layers, depth)
    x, y = check_data(net, x, y, batch=False)
    return _deltas(net, layers, x, y, used)


@compiled
def _deltas(net: Network, params: Layers, x: Numbers, y: Numbers, depth: UsedDepth) -> Deltas:
    xs, ys = as_rows(net, params, x[None], y[None])
    rows = forward_rows(net, params, xs, depth)
    back = backward_rows(net, params, rows, net.task.delta_z(rows.z[-1], ys), depth)
    top = net.task.delta_a(rows.z[-1], ys)
    theta, b = zip(*back.layers, strict=True)
    delta_a = (back.delta_x, *back.delta_a, top)
    return Deltas(one_example(back.delta_z), one_example(delta_a), theta, b)


def backprop(
    net: Network, params: P, xs: Batch, ys: ArrayLike, *, depth: Depth = None
) -> tuple[Float[Array, ""], P]:
    """Return the mean loss of a batch and its gradient, without automatic differentiation.

    Args:
        net: the network.
        params: L pairs (θ, b).
        xs: B examples, (B, n[0]).
        ys: their labels. Regression and binary: (B, n[L]), or (B,) if n[L] = 1. Multiclass:
            (B,) integer classes, or (B, n[L]) probabilities.
        depth: the number of layers used of the one run in `params`, an integer or a traced
            integer; all of them by default.

    Returns:
        The mean of `jaxnn.loss` over the batch, and its gradient, a pytree like `params`. Inside
        `jax.shard_map` the batch is that of the device: average both with `jax.lax.pmean`.

    Raises:
        ValueError, TypeError: as `jaxnn.loss`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> net = jaxnn.Network(sizes=(3, 4, 1), activation="sigmoid", task="binary")
        >>> params = jaxnn.init(net, jax.random.key(0))
        >>> xs, ys = jnp.ones((2, 3)), jnp.array([0, 1])
        >>> value, gradient = jax.jit(jaxnn.backprop)(net, params, xs, ys)
        >>> [(theta.shape, b.shape) for theta, b in gradient]
        [((3, 4), (4,)), ((4, 1), (1,))]
    """
    layers = check_stored(net, params)
    used = check_depth_as_data(layers, depth)
    xs, ys = check_data(net, xs, ys)
    value, gradient = _backprop(net, layers, xs, ys, used)
    structure = jax.tree.structure(params)  # lists or plain pairs come back as they came
    return value, jax.tree.unflatten(structure, jax.tree.leaves(gradient))


@compiled
def _backprop(
    net: Network, params: Layers, xs: Numbers, ys: Numbers, depth: UsedDepth
) -> tuple[Array, Layers]:
    xs, ys = as_rows(net, params, xs, ys)
    rows = forward_rows(net, params, xs, depth)
    back = backward_rows(net, params, rows, mean_delta_z(net, rows, ys), depth)
    return _mean(net, rows, ys), back.layers


def mean_loss(
    net: Network, params: Pairs, xs: Batch, ys: ArrayLike, *, depth: Depth = None
) -> Float[Array, ""]:
    """Return the mean of `jaxnn.loss` over a batch; its derivative is the hand-written recursion.

    Args:
        net: the network.
        params: L pairs (θ, b).
        xs: B examples, (B, n[0]).
        ys: their labels, as for `jaxnn.backprop`.
        depth: the number of layers used of the one run in `params`, an integer or a traced
            integer; all of them by default.

    Returns:
        A scalar. `jax.grad` and all that uses it (optax, say) get the gradient with respect to
        params, xs and ys by (1) to (4), also with a traced `depth`, where JAX itself could not
        differentiate the loop. Forward mode (`jax.jvp`, `jax.jacfwd`) is JAX's, of the plain
        forward pass; where JAX refuses it, in `jax.linearize` and around a `jax.jit`, take the mean
        of `jax.vmap(jaxnn.loss)`, which has no rule of its own.

        Inside `jax.shard_map` it is the mean over the examples of the device. The gradient of what
        is the same on every device is so too: the sum of those of the devices, as JAX has it.

    Raises:
        ValueError, TypeError: as `jaxnn.loss`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> net = jaxnn.Network(sizes=(3, 4, 1), activation="sigmoid", task="binary")
        >>> params = jaxnn.init(net, jax.random.key(0))
        >>> xs, ys = jnp.ones((2, 3)), jnp.array([0, 1])
        >>> gradient = jax.grad(jaxnn.mean_loss, argnums=1)(net, params, xs, ys)
        >>> [(theta.shape, b.shape) for theta, b in gradient]
        [((3, 4), (4,)), ((4, 1), (1,))]
    """
    layers = check_stored(net, params)
    used = check_depth_as_data(layers, depth)
    xs, ys = check_data(net, xs, ys)
    forwards = _in_forward_mode(layers, xs, ys)
    mean = _mean_loss_without_rule if forwards else _mean_loss
    return mean(net, layers, xs, ys, used)


def _in_forward_mode(*values: object) -> bool:
    """Tell whether JAX differentiates values forwards, and not backwards too."""
    tracers = [leaf for leaf in jax.tree.leaves(values) if isinstance(leaf, jax.core.Tracer)]
    forwards = [isinstance(tracer, ad.JVPTracer) for tracer in tracers]
    of_jit = [isinstance(tracer, partial_eval.DynamicJaxprTracer) for tracer in tracers]
    return any(forwards) and all(map(operator.or_, forwards, of_jit))


@compiled
def _mean_loss(net: Network, params: Layers, xs: Numbers, ys: Numbers, depth: UsedDepth) -> Array:
    return _mean_of_rows(net, params, *as_rows(net, params, xs, ys), depth)


@compiled
def _mean_loss_without_rule(
    net: Network, params: Layers, xs: Numbers, ys: Numbers, depth: UsedDepth
) -> Array:
    rows, labels = as_rows(net, params, xs, ys)
    return _mean(net, forward_rows(net, params, rows, depth), labels)


def mean_delta_z(net: Network, rows: Forward, ys: Float[Array, "B n"]) -> Float[Array, "B n"]:
    """Δz[L] of the mean loss of a batch: (ŷ - y) / B."""
    return net.task.delta_z(rows.z[-1], ys) / len(ys)


def _mean(net: Network, rows: Forward, ys: Array) -> Array:
    return jnp.mean(net.task.loss(rows.z[-1], ys))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _mean_of_rows(net: Network, params: Layers, xs: Array, ys: Array, depth: UsedDepth) -> Array:
    return _mean(net, forward_rows(net, params, xs, depth), ys)


Saved = tuple[Layers, Forward, Array, Any]


def _mean_of_rows_forward(
    net: Network, params: Layers, xs: Array, ys: Array, depth: UsedDepth
) -> tuple[Array, Saved]:
    rows = forward_rows(net, params, xs, depth)
    return _mean(net, rows, ys), (params, rows, ys, depth)


def _mean_of_rows_backward(
    net: Network, saved: Saved, delta_loss: Array
) -> tuple[Layers, Array, Array, None]:
    params, rows, ys, depth = saved
    depth = None if depth is None else jnp.asarray(depth)  # JAX 0.10 may hand back NumPy's
    back = backward_rows(net, params, rows, delta_loss * mean_delta_z(net, rows, ys), depth)
    delta_ys = delta_loss * net.task.delta_y(rows.z[-1], ys) / len(ys)
    cotangents = (back.layers, back.delta_x, delta_ys)
    return *jax.tree.map(cotangent, cotangents, (params, rows.inputs[0], ys)), None


_mean_of_rows.defvjp(_mean_of_rows_forward, _mean_of_rows_backward)
