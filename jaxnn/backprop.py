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

Unrolled, Δz[l] is Δz[L] times one matrix θ[i]ᵀ diag(σ′(z[i])) for each i = L-1 … l: the product
that makes gradients vanish or explode.

A batch is B rows. Its loss is the mean over its examples, so Δz[L] = (ŷ - y) / B; the rows then
share (1) and (2) as sums over examples, which is what aᵀ Δz and the column sum are, and do not
meet in (3) and (4).

Index legend: B examples, L layers of weights; i counts θ and b from 0; j runs over n[i] units,
k over n[i+1]. z[l], a[l]: (B, n[l]); θ[i]: (n[i], n[i+1]); b[i]: (n[i+1],).
"""

from functools import partial
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Real

from .network import (
    Layer,
    Network,
    Numbers,
    Pairs,
    Params,
    Trace,
    check_batch,
    check_example,
    check_params,
    one_example,
    trace_rows,
)

P = TypeVar("P", bound=Pairs)
Batch = Real[Numbers, "B {net.sizes[0]}"]


class Deltas(NamedTuple):
    """Every Δv = ∂loss/∂v, indexed like the forward pass.

    z: (Δz[1], …, Δz[L]), so entry l-1 is Δz[l].
    a: (Δa[0], …, Δa[L]); Δa[0] is the gradient of the input x.
    theta: (Δθ[0], …, Δθ[L-1]).
    b: (Δb[0], …, Δb[L-1]).
    """

    z: tuple[Float[Array, "*B n"], ...]
    a: tuple[Float[Array, "*B n"], ...]
    theta: tuple[Float[Array, "n_in n_out"], ...]
    b: tuple[Float[Array, " n"], ...]


class Backward(NamedTuple):
    """What the recursion yields below Δz[L]: Δz[1 … L], Δa[0 … L-1] and Δ(θ, b)[0 … L-1]."""

    z: tuple[Float[Array, "B n"], ...]
    a: tuple[Float[Array, "B n"], ...]
    layers: Params


def backward_rows(
    net: Network, params: Params, trace: Trace, delta_z: Float[Array, "B n_out"]
) -> Backward:
    """The recursion (1) to (4) from any Δz[L], over rows."""
    dz, da, layers = [delta_z], [], []
    for i in reversed(range(len(params))):
        # The lists grow downwards: dz[-1] is Δz[i+1] here.
        delta_theta = trace.a[i].T @ dz[-1]  # (1)
        delta_b = jnp.sum(dz[-1], axis=0)  # (2)
        layers.append(Layer(delta_theta, delta_b))
        da.append(dz[-1] @ params[i].theta.T)  # (3)
        if i > 0:
            dz.append(da[-1] * net.activation.prime(trace.z[i - 1]))  # (4); entry i-1 is z[i]
    return Backward(tuple(dz[::-1]), tuple(da[::-1]), tuple(layers[::-1]))


def deltas(
    net: Network, params: Pairs, x: Real[Numbers, " {net.sizes[0]}"], y: ArrayLike
) -> Deltas:
    """Every Δa, Δz, Δθ and Δb of one example, by the formulas at the head of this module.

    Args:
        net: the network.
        params: L pairs (θ, b).
        x: one example, (n[0],).
        y: its label, as for `jaxnn.loss`.

    Returns:
        Deltas: `z` holds Δz[1] … Δz[L], `a` holds Δa[0] … Δa[L], `theta` and `b` Δθ[0] … and
        Δb[0] …; each of the shape of what it is the derivative by. Δa[L] = ∂loss/∂ŷ is infinite
        where ŷ has rounded to 0 at a label that holds mass; Δz[L] = ŷ - y does not pass through it.

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
    layers = check_params(net, params)
    xs, ys = check_example(net, layers, x, y)
    t = trace_rows(net, layers, xs)
    back = backward_rows(net, layers, t, net.task.delta_z(t.z[-1], ys))
    top = net.task.delta_a(t.z[-1], ys)
    theta, b = zip(*back.layers, strict=True)
    return Deltas(one_example(back.z), one_example((*back.a, top)), theta, b)


def backprop(net: Network, params: P, xs: Batch, ys: ArrayLike) -> tuple[Float[Array, ""], P]:
    """The mean loss of a batch and its gradient, by the recursion: no automatic differentiation.

    Args:
        net: the network.
        params: L pairs (θ, b).
        xs: B examples, (B, n[0]).
        ys: their labels. Regression and binary: (B, n[L]), or (B,) where n[L] = 1. Multiclass:
            (B,) integer classes, or (B, n[L]) probabilities.

    Returns:
        The mean of `jaxnn.loss` over the batch, and its gradient, a pytree like `params`.

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
    layers = check_params(net, params)
    xs, ys = check_batch(net, layers, xs, ys)
    t = trace_rows(net, layers, xs)
    back = backward_rows(net, layers, t, mean_delta_z(net, t, ys))
    structure = jax.tree.structure(params)  # lists or plain pairs come back as they came
    gradient: P = jax.tree.unflatten(structure, jax.tree.leaves(back.layers))
    return _mean(net, t, ys), gradient


def mean_loss(net: Network, params: Pairs, xs: Batch, ys: ArrayLike) -> Float[Array, ""]:
    """The mean of `jaxnn.loss` over a batch; differentiating it runs the hand-written recursion.

    Args:
        net: the network.
        params: L pairs (θ, b).
        xs: B examples, (B, n[0]).
        ys: their labels, as for `jaxnn.backprop`.

    Returns:
        A scalar. `jax.grad`, optax and any other code that differentiates backwards gets its
        gradient by (1) to (4), with respect to params, xs and ys alike. Forwards (`jax.jvp`) JAX
        differentiates `jaxnn.loss` instead, which has no rule of its own.

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
    layers = check_params(net, params)
    return _mean_loss(net, layers, *check_batch(net, layers, xs, ys))


def mean_delta_z(net: Network, trace: Trace, ys: Float[Array, "B n"]) -> Float[Array, "B n"]:
    """Δz[L] of the mean loss of a batch: (ŷ - y) / B."""
    return net.task.delta_z(trace.z[-1], ys) / len(ys)


def _mean(net: Network, trace: Trace, ys: Array) -> Array:
    return jnp.mean(net.task.loss(trace.z[-1], ys))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _mean_loss(net: Network, params: Params, xs: Array, ys: Array) -> Array:
    return _mean(net, trace_rows(net, params, xs), ys)


def _mean_loss_forward(
    net: Network, params: Params, xs: Array, ys: Array
) -> tuple[Array, tuple[Params, Trace, Array]]:
    t = trace_rows(net, params, xs)
    return _mean(net, t, ys), (params, t, ys)


def _mean_loss_backward(
    net: Network, saved: tuple[Params, Trace, Array], delta_loss: Array
) -> tuple[Params, Array, Array]:
    params, t, ys = saved
    back = backward_rows(net, params, t, delta_loss * mean_delta_z(net, t, ys))
    delta_ys = delta_loss * net.task.delta_y(t.z[-1], ys) / len(ys)
    return back.layers, back.a[0], delta_ys


_mean_loss.defvjp(_mean_loss_forward, _mean_loss_backward)
