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

In code the derivation is in two places: (1) to (4) are `blocks/dense.py`, and `walk.py` goes down
the layers with them. Between hidden layers there may be other kinds of blocks, each with a rule of
its own in its file.

A batch is B rows. Its loss is the mean over its examples, so Δz[L] = (ŷ - y) / B. In (1) and (2)
the rows are summed over, by aᵀ Δz and by the column sum; in (3) and (4) each row is by itself.

Index legend: B examples, L layers of weights; i counts θ and b from 0; j runs over n[i] units,
k over n[i+1]. z[l], a[l]: (B, n[l]); θ[i]: (n[i], n[i+1]); b[i]: (n[i+1],).
"""

from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Real

from ..arrays.compiled import Numbers, compiled
from ..arrays.rows import ScaledRows
from ..network.checks import (
    Depth,
    UsedDepth,
    as_rows,
    check_data,
    check_depth_as_data,
    check_stored,
)
from ..network.network import Network
from ..network.params import Layer, Layers, Pairs
from .forward import one_example
from .walk import AnySaved, LayerStep, Memory, at_outputs, check_memory, down, up

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
        params: L pairs (θ, b).
        x: one example, (n[0],).
        y: its label, as for `jaxnn.passes.loss`.
        depth: the number of hidden layers used, as for `jaxnn.backprop`.

    Returns:
        Deltas: `z` holds Δz[1] … Δz[L], `a` holds Δa[0] … Δa[L], `theta` and `b` Δθ[0] … and
        Δb[0] …; each Δv has the shape of v. Δa[L] = ∂loss/∂ŷ is infinite where ŷ has rounded to 0
        and the label has mass; Δz[L] = ŷ - y does not depend on it.

    Raises:
        ValueError, TypeError: as `jaxnn.passes.loss`.

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
def _deltas(net: Network, params: Layers, x: Numbers, y: Numbers, used: UsedDepth) -> Deltas:
    xs, ys = as_rows(net, params, x[None], y[None])
    top, below = up(net, params, ScaledRows(xs), used)
    delta = ScaledRows(net.task.delta_z(top.m, ys))
    _, records = down(net, params, below, delta, _every_delta, used)
    delta_z, a, theta, b = zip(*records, strict=True)
    above = at_outputs(params, list(a), net.task.delta_a(top.m, ys), used)
    return Deltas(one_example(delta_z), one_example((a[0], *above)), theta, b)


def _every_delta(step: LayerStep) -> tuple[Array, Array, Array, Array]:
    gradient = step.gradient
    return step.delta.m, gradient.a.m, gradient.theta.m, gradient.b.m


def backprop(
    net: Network,
    params: P,
    xs: Batch,
    ys: ArrayLike,
    *,
    depth: Depth = None,
    memory: Memory = "all",
) -> tuple[Float[Array, ""], P]:
    """Return the mean loss of a batch and its gradient, without automatic differentiation.

    Args:
        params: L pairs (θ, b).
        xs: B examples, (B, n[0]).
        ys: their labels. Regression and binary: (B, n[L]), or (B,) if n[L] = 1. Multiclass:
            (B,) integer classes, or (B, n[L]) probabilities.
        depth: the number of hidden layers used, an integer or a traced integer; the last layers of
            the one run in `params` are left out. All are used by default.
        memory: "all" stores z of every layer; "sqrt" stores, of a run of k layers, the input of
            every √k-th and computes those between a second time, as `jaxnn.gradient_flow` does.

    Returns:
        The mean of `jaxnn.passes.loss` over the batch, and its gradient, a pytree like `params`.
        Inside `jax.shard_map` the batch is that of the device: average both with `jax.lax.pmean`.

    Raises:
        ValueError, TypeError: as `jaxnn.passes.loss`.

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
    value, gradient = loss_and_gradient(net, layers, xs, ys, used, check_memory(memory))
    structure = jax.tree.structure(params)  # lists or plain pairs come back as they came
    return value, jax.tree.unflatten(structure, jax.tree.leaves(gradient))


@compiled
def loss_and_gradient(
    net: Network, params: Layers, xs: Numbers, ys: Numbers, used: UsedDepth, memory: Memory
) -> tuple[Array, Layers]:
    xs, ys = as_rows(net, params, xs, ys)
    top, below = up(net, params, ScaledRows(xs), used, memory)
    _, gradient = _gradient(net, params, below, mean_delta_z(net, top.m, ys), used)
    return _mean(net, top.m, ys), gradient


def mean_loss(
    net: Network,
    params: Pairs,
    xs: Batch,
    ys: ArrayLike,
    *,
    depth: Depth = None,
) -> Float[Array, ""]:
    """Return the mean of `jaxnn.passes.loss`; its derivative is the hand-written recursion.

    Args:
        params: L pairs (θ, b).
        xs: B examples, (B, n[0]).
        ys: their labels, as for `jaxnn.backprop`.
        depth: the number of hidden layers used, as for `jaxnn.backprop`.

    Returns:
        A scalar. `jax.grad` and all that uses it (optax, say) get the gradient with respect to
        params, xs and ys by (1) to (4), also with a traced `depth`, where JAX itself could not
        differentiate the loop. Forward mode (`jax.jvp`, `jax.jacfwd`, `jax.linearize`) uses the
        same gradient Δ: the derivative along v is Σ Δ∘v. Scaling the loss scales the finished
        gradient, so it does not prevent underflow in float16.

        Inside `jax.shard_map` it is the mean over the examples of the device. The gradient of what
        is the same on every device is so too: the sum of those of the devices, as JAX has it.

    Raises:
        ValueError, TypeError: as `jaxnn.passes.loss`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> net = jaxnn.Network(sizes=(3, 4, 1), activation="sigmoid", task="binary")
        >>> params = jaxnn.init(net, jax.random.key(0))
        >>> xs, ys = jnp.ones((2, 3)), jnp.array([0, 1])
        >>> gradient = jax.grad(jaxnn.passes.mean_loss, argnums=1)(net, params, xs, ys)
        >>> [(theta.shape, b.shape) for theta, b in gradient]
        [((3, 4), (4,)), ((4, 1), (1,))]
    """
    layers = check_stored(net, params)
    used = check_depth_as_data(layers, depth)
    xs, ys = check_data(net, xs, ys)
    return loss_of_batch(net, layers, xs, ys, used)


@compiled
def loss_of_batch(net: Network, params: Layers, xs: Numbers, ys: Numbers, used: UsedDepth) -> Array:
    return _mean_of_rows(net, params, *as_rows(net, params, xs, ys), used)


def mean_delta_z(
    net: Network, z: Float[Array, "B n"], ys: Float[Array, "B n"]
) -> Float[Array, "B n"]:
    """Δz[L] of the mean loss of a batch: (ŷ - y) / B."""
    return net.task.delta_z(z, ys) / len(ys)


def _mean(net: Network, z: Array, ys: Array) -> Array:
    return jnp.mean(net.task.loss(z, ys))


def _gradient(
    net: Network, params: Layers, below: list[AnySaved], delta_z: Array, used: UsedDepth
) -> tuple[ScaledRows, Layers]:
    """Return Δx and the Δ(θ, b) of every Layer."""

    def keep(step: LayerStep) -> Layer:
        return Layer(step.gradient.theta.m, step.gradient.b.m)

    delta_x, layers = down(net, params, below, ScaledRows(delta_z), keep, used)
    return delta_x, tuple(layers)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _mean_of_rows(net: Network, params: Layers, xs: Array, ys: Array, used: UsedDepth) -> Array:
    return _mean(net, up(net, params, ScaledRows(xs), used)[0].m, ys)


@partial(_mean_of_rows.defjvp, symbolic_zeros=True)
def _mean_of_rows_along(
    net: Network, at: tuple[Any, ...], towards: tuple[Any, ...]
) -> tuple[Array, Array]:
    """Return the mean loss and its derivative along a direction v: Σ Δ∘v, Δ by (1) to (4)."""
    params, xs, ys, used = at
    top, below = up(net, params, ScaledRows(xs), used)
    delta_x, gradient = _gradient(net, params, below, mean_delta_z(net, top.m, ys), used)
    deltas = gradient, delta_x.m, net.task.delta_y(top.m, ys) / len(ys)
    along = jnp.zeros((), top.m.dtype)
    for delta, v in zip(jax.tree.leaves(deltas), jax.tree.leaves(towards[:3]), strict=True):
        if not isinstance(v, SymbolicZero):
            # Linear in v: JAX evaluates it in forward mode and transposes it in reverse mode, to Δ.
            along += jnp.sum(delta * v)
    return _mean(net, top.m, ys), along
