"""Training: any optax optimiser with the hand-written gradient, whole epochs as one program.

A step on a batch, with the mean loss and the gradient Δ of `backprop.py`, the optimiser's state s
and its update u:

    loss, Δ = backprop(θ),    u, s ← update(Δ, s, θ),    θ ← θ + u

An epoch is S = ⌈N/B⌉ steps over a permutation of the N examples, which is drawn on the device from
the key and the number of steps done. Its full batches are a loop on the device; the remaining
examples are a smaller batch in the same program. So no row is padded, every step is that of a plain
loop, and all of it is compiled once. The number of steps of a call is data, so the same program can
repeat the steps up to any earlier one, to the last bit.

Index legend: N examples, B of them in a batch, S steps in an epoch.
"""

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from ..arrays.arguments import check_integer
from ..arrays.compiled import Numbers, as_array, compiled, transferring, transfers
from ..arrays.loops import loop
from ..arrays.spread import on_mesh_of, pcast_like, rows_at
from ..network.checks import (
    Depth,
    UsedDepth,
    check_batch,
    check_data,
    check_depth_as_data,
    check_key,
    check_stored,
)
from ..network.network import Network
from ..network.params import Layers, Pairs
from ..passes.backprop import Batch, loss_and_gradient, loss_of_batch
from .divergence import check_finite, diagnosis, finite_layers


@runtime_checkable
class Optimizer(Protocol):
    """An `optax.GradientTransformation` or any pair of such pure functions.

    Static and hashed by identity: make it once, outside the loop, so that it is compiled once.
    """

    @property
    def init(self) -> Callable[[Any], Any]: ...
    @property
    def update(self) -> Callable[..., tuple[Any, Any]]: ...


class State(NamedTuple):
    """The state of a training, from which it can be continued.

    params: Layers, single ones or runs.
    opt_state: of the optimiser.
    key: of all permutations; it does not change.
    step: the number of steps done.
    """

    params: Layers
    opt_state: Any
    key: Key[Array, ""]
    step: Int[Array, ""]


def start(net: Network, params: Pairs, optimizer: Optimizer, key: Key[Array, ""]) -> State:
    """Return the State before the first step.

    Args:
        params: L pairs (θ, b), any of them runs.
        optimizer: of optax, such as `optax.adam(1e-3)`.
        key: of the permutations.

    Returns:
        State, with step 0.

    Raises:
        ValueError, TypeError: parameters that do not fit the network, or a run without its numbers;
            an optimiser or a key that is none.

    Example:
        >>> import jax, jaxnn, optax
        >>> net = jaxnn.Network(sizes=(3, 4, 1), activation="tanh", task="binary")
        >>> params = jaxnn.init(net, jax.random.key(0))
        >>> int(jaxnn.train.start(net, params, optax.adam(1e-3), jax.random.key(1)).step)
        0
    """
    return _start(check_stored(net, params), check_optimizer(optimizer), check_key(key))


@compiled
def _start(params: Layers, optimizer: Optimizer, key: Array) -> State:
    params, inner = strongly_typed((params, optimizer.init(params)))
    return State(params, inner, key, jnp.zeros((), jnp.int32))


def strongly_typed(tree: PyTree) -> Any:
    """Return a pytree of arrays without weak types, which would change in the first step."""

    def strong(leaf: Array) -> Array:
        return lax.convert_element_type(leaf, leaf.dtype) if jax.typeof(leaf).weak_type else leaf

    return jax.tree.map(strong, tree)


def step(
    net: Network,
    state: State,
    xs: Batch,
    ys: ArrayLike,
    optimizer: Optimizer,
    *,
    depth: Depth = None,
) -> tuple[State, Float[Array, ""]]:
    """Take one step on one batch; a pure function, for `jax.jit(…, static_argnames="optimizer")`.

    Args:
        state: the State before the step.
        xs: B examples, (B, n[0]).
        ys: their labels, as for `jaxnn.backprop`.
        optimizer: of optax; `value`, `grad` and `value_fn` are passed to those that need them.
        depth: the number of hidden layers used, as for `jaxnn.backprop`.

    Returns:
        The State after the step, and the mean loss of the batch before it.

    Raises:
        ValueError, TypeError: as `jaxnn.backprop`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn, optax
        >>> net = jaxnn.Network(sizes=(3, 4, 1), activation="tanh", task="binary")
        >>> adam = optax.adam(1e-3)
        >>> params = jaxnn.init(net, jax.random.key(0))
        >>> state = jaxnn.train.start(net, params, adam, jax.random.key(1))
        >>> state, loss = jaxnn.train.step(net, state, jnp.ones((2, 3)), jnp.array([0, 1]), adam)
        >>> int(state.step), loss.shape
        (1, ())
    """
    layers = check_state(net, state, optimizer)
    used = check_depth_as_data(layers, depth)
    xs, ys = check_data(net, xs, ys)
    return _step(net, state, xs, ys, optimizer, used)


@compiled
def _step(
    net: Network,
    state: State,
    xs: Numbers,
    ys: Numbers,
    optimizer: Optimizer,
    used: UsedDepth = None,
) -> tuple[State, Array]:
    params = state.params
    loss, gradient = loss_and_gradient(net, params, xs, ys, used, "all")
    # All of Δ before any update: else XLA copies, at every step, the weights still to be read.
    gradient = lax.optimization_barrier(gradient)  # type: ignore[no-untyped-call]
    gradient = jax.tree.map(pcast_like, gradient, params)
    moved, inner = moved_by(
        optimizer,
        gradient,
        state.opt_state,
        params,
        loss,
        lambda params: loss_of_batch(net, params, xs, ys, used),
    )
    return State(moved, inner, state.key, state.step + 1), loss


def moved_by(
    optimizer: Optimizer,
    gradient: PyTree,
    opt_state: PyTree,
    params: PyTree,
    value: Array,
    value_fn: Callable[[Any], Array],
) -> tuple[Any, Any]:
    """Return the parameters after a step of an optimiser, and its state."""
    extra: dict[str, Any] = {}  # for a line search, or a plateau
    kinds = {p.kind for p in inspect.signature(optimizer.update).parameters.values()}
    if inspect.Parameter.VAR_KEYWORD in kinds:
        extra = {"value": value, "grad": gradient, "value_fn": value_fn}
    updates, inner = optimizer.update(gradient, opt_state, params, **extra)
    moved = jax.tree.map(lambda p, u: pcast_like((p + u).astype(p.dtype), p), params, updates)
    return moved, inner


@transferring
@partial(jax.jit, static_argnames="count", inline=True)
def permutation_of_epoch(
    key: Key[Array, ""], step: Int[Array, ""] | int, count: int
) -> Int[Array, " N"]:
    """Return the permutation of the examples in the epoch that begins after `step` steps."""
    # Sorted once: `jax.random.permutation` sorts twice, against ties, and takes twice the time.
    return jnp.argsort(jax.random.bits(jax.random.fold_in(key, step), (count,), jnp.uint32))


def steps_per_epoch(count: int, batch: int) -> int:
    """S = ⌈N/B⌉."""
    return -(-count // batch)


Result = tuple[State, Float[Array, " S"], Bool[Array, ""]]


@partial(jax.jit, static_argnames=("optimizer", "batch"))
def _program(
    net: Network,
    state: State,
    xs: Array,
    ys: Array,
    optimizer: Optimizer,
    steps: Array | int,
    *,
    batch: int,
) -> Result:
    """Take the first steps of an epoch; return State, losses, and whether all are finite."""
    xs, ys = check_batch(net, state.params, xs, ys)
    full, rest = divmod(len(xs), batch)
    # nan of steps that are not taken
    losses = jnp.full(steps_per_epoch(len(xs), batch), jnp.nan, state.params[0].b.dtype)

    def one_step(j: Array | int, carry: tuple[State, Array], size: int = batch) -> Any:
        state, losses = carry
        chosen = lax.dynamic_slice_in_dim(rows, j * batch, size)
        state, loss = _step(net, state, rows_at(xs, chosen), rows_at(ys, chosen), optimizer)
        return state, losses.at[j].set(loss)

    with on_mesh_of((xs, ys, state)):
        rows = permutation_of_epoch(state.key, state.step, len(xs))
        carry = loop(0, jnp.minimum(steps, full), one_step, (state, losses))
        if rest:
            last = partial(one_step, full, size=rest)
            carry = lax.cond(steps > full, last, lambda carry: carry, carry)
    state, losses = carry
    return state, losses, jnp.all(finite_layers(state.params))


def epoch(
    net: Network,
    state: State,
    xs: Batch,
    ys: ArrayLike,
    optimizer: Optimizer,
    *,
    batch: int,
) -> tuple[State, Float[Array, " S"]]:
    """Train for one epoch in one program: every example once, in shuffled batches.

    Args:
        state: the State before the epoch.
        xs: N examples, (N, n[0]).
        ys: their labels, as for `jaxnn.backprop`.
        optimizer: of optax.
        batch: B, the examples of a step; the last batch has those that remain.

    Returns:
        The State after the epoch, and the mean loss of each batch before its step. Both stay on
        the device and are not checked: they may be nan.

    Raises:
        ValueError, TypeError: as `jaxnn.backprop`; also a batch below 1.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn, optax
        >>> net = jaxnn.Network(sizes=(3, 4, 1), activation="tanh", task="binary")
        >>> adam = optax.adam(1e-3)
        >>> params = jaxnn.init(net, jax.random.key(0))
        >>> state = jaxnn.train.start(net, params, adam, jax.random.key(1))
        >>> xs, ys = jnp.ones((10, 3)), jnp.arange(10) % 2
        >>> state, losses = jaxnn.train.epoch(net, state, xs, ys, adam, batch=4)
        >>> int(state.step), losses.shape  # batches of 4, 4 and 2
        (3, (3,))
    """
    check_state(net, state, optimizer)
    xs, ys = as_array("x", xs), as_array("y", ys)
    # Without examples the error of the program is raised, so size must not be 0.
    count = xs.shape[0] if xs.ndim else 0
    size = min(check_integer("batch", batch, 1), max(count, 1))
    with transfers():
        steps = steps_per_epoch(count, size)
        state, losses, _ = _program(net, state, xs, ys, optimizer, steps, batch=size)
    return state, losses


def several_epochs(
    net: Network,
    state: State,
    xs: Array,
    ys: Array,
    optimizer: Optimizer,
    epochs: int,
    batch: int,
) -> Iterator[tuple[State, np.ndarray]]:
    """Yield the State and the losses after each epoch."""
    epochs = check_integer("epochs", epochs, 0)
    layers = check_state(net, state, optimizer)
    size = min(check_integer("batch", batch, 1), len(xs))
    per_epoch = steps_per_epoch(len(xs), size)
    before, taken = state, 0  # `state` is that of `taken` steps after `before`

    def repeated(state: State, steps: int) -> Result:
        with transfers():
            result: Result = _program(net, state, xs, ys, optimizer, steps, batch=size)
        return result

    def after(steps: int) -> Result:  # a diagnosis goes one step back
        return repeated(before, max(taken - 1, 0)) if steps < 0 else repeated(state, steps)

    def batch_of(steps: int) -> tuple[Array, Array]:
        i, j = divmod(steps, per_epoch)
        with transfers(), on_mesh_of((xs, ys)):
            rows = permutation_of_epoch(state.key, state.step + i * per_epoch, len(xs))
            rows = rows[j * size : (j + 1) * size]
            return rows_at(xs, rows), rows_at(ys, rows)

    result = repeated(state, 0)  # 0 steps: only whether the parameters are finite
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(result)):
        raise TypeError(
            "fit: expected known values, got traced ones, since it looks at the loss after each "
            "epoch; call it outside jax.jit and jax.vmap, or train with jaxnn.train.epoch inside"
        )
    if not result[-1]:
        check_finite(layers)
    for _ in range(epochs):
        following, on_device, finite = repeated(state, per_epoch)
        losses = np.asarray(on_device)
        if not (finite and np.isfinite(losses).all()):
            raise diagnosis(net, after, batch_of, losses)
        before, state, taken = state, following, losses.size
        yield state, losses


def check_state(net: Network, state: State, optimizer: Optimizer) -> Layers:
    """Return the parameters of a State; raise unless it is one that fits, or for no optimiser."""
    if not isinstance(state, State):
        raise TypeError(
            "state: expected a State, as jaxnn.train.start returns it, got "
            f"{type(state).__name__}; the order is net, state, xs, ys, optimizer"
        )
    check_optimizer(optimizer)
    return check_stored(net, state.params)


def check_optimizer(optimizer: object) -> Optimizer:
    """Return an optimiser; raise unless it is one."""
    if not all(callable(getattr(optimizer, name, None)) for name in ("init", "update")):
        kind = type(optimizer).__name__
        got = repr(optimizer) if optimizer is None or np.isscalar(optimizer) else kind
        raise TypeError(f"optimizer: expected one of optax, such as optax.adam(1e-3), got {got}")
    return optimizer  # type: ignore[return-value]
