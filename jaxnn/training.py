"""Training: any optax optimiser along the hand-written gradient, whole epochs as one program.

A step on a batch, with the mean loss and the gradient Δ of `backprop.py`, the optimiser's state s
and its update u:

    loss, Δ = backprop(θ),    u, s ← update(Δ, s, θ),    θ ← θ + u

An epoch is S = ⌈N/B⌉ steps over a permutation of the N examples, which is drawn on the device from
the key and the number of steps done. Its full batches are a loop on the device; what is left over
is a smaller batch of its own in the same program: no row is padded, every step is the one that a
plain loop would take, and all of it is compiled once. How many steps a call takes is data, so the
same program goes back to any step of its past, to the last bit.

Index legend: N examples in all, B to a batch, S steps to an epoch.
"""

import inspect
import operator
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Key, UInt32

from .backprop import Batch, backprop, mean_loss
from .compiled import Numbers, compiled
from .divergence import Params, check_finite, diagnosis, finite_layers
from .layers import Pairs
from .network import Depth, Network, check_batch, check_data, check_depth, check_stored

ROOM = 64  # epochs that one call may do where nobody looks in between
QUICK = 0.1  # seconds: a call that took less may do twice as many epochs the next time


@runtime_checkable
class Optimizer(Protocol):
    """An `optax.GradientTransformation`, or what looks like one: a pair of pure functions.

    Static and hashed by identity: make it once, outside the loop, and it is compiled once.
    """

    @property
    def init(self) -> Callable[[Any], Any]: ...
    @property
    def update(self) -> Callable[..., tuple[Any, Any]]: ...


class State(NamedTuple):
    """Everything that the rest of a training run follows from: save it, and go on from it.

    params: Layers, single ones or runs.
    optimizer: the optimiser's state.
    key: of all permutations; it does not change.
    step: how many steps were done.
    """

    params: Params
    optimizer: Any
    key: Key[Array, ""]
    step: Int[Array, ""]


def start(net: Network, optimizer: Optimizer, params: Pairs, key: Key[Array, ""]) -> State:
    """The State before the first step.

    Args:
        net: the network.
        optimizer: of optax, such as `optax.adam(1e-3)`.
        params: L pairs (θ, b), any of them runs.
        key: of the permutations.

    Returns:
        State, with step 0.

    Raises:
        ValueError, TypeError: parameters that do not fit the network, or a run without its numbers.

    Example:
        >>> import jax, jaxnn, optax
        >>> net = jaxnn.Network(sizes=(3, 4, 1), activation="tanh", task="binary")
        >>> params = jaxnn.init(net, jax.random.key(0))
        >>> int(jaxnn.start(net, optax.adam(1e-3), params, jax.random.key(1)).step)
        0
    """
    return _start(optimizer, check_stored(net, params), key)


@compiled
def _start(optimizer: Optimizer, params: Params, key: Array) -> State:
    def settled(leaf: Any) -> Any:  # a weakly typed one would be of another type after a step
        return lax.convert_element_type(leaf, leaf.dtype) if jax.typeof(leaf).weak_type else leaf

    params, inner = jax.tree.map(settled, (params, optimizer.init(params)))
    return State(params, inner, key, jnp.zeros((), jnp.int32))


def step(
    net: Network,
    optimizer: Optimizer,
    state: State,
    xs: Batch,
    ys: ArrayLike,
    *,
    depth: Depth = None,
) -> tuple[State, Float[Array, ""]]:
    """One step on one batch, as it is given; pure, so jit it with the optimiser bound.

    Args:
        net: the network.
        optimizer: of optax. Those that ask for `value`, `grad` and `value_fn` get them.
        state: where to go on from.
        xs: B examples, (B, n[0]).
        ys: their labels, as for `jaxnn.backprop`.
        depth: how many layers of the one run in the parameters are used, as for `jaxnn.backprop`.

    Returns:
        The State after the step, and the mean loss of the batch before it.

    Raises:
        ValueError, TypeError: as `jaxnn.backprop`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn, optax
        >>> net = jaxnn.Network(sizes=(3, 4, 1), activation="tanh", task="binary")
        >>> adam = optax.adam(1e-3)
        >>> state = jaxnn.start(net, adam, jaxnn.init(net, jax.random.key(0)), jax.random.key(1))
        >>> state, loss = jaxnn.step(net, adam, state, jnp.ones((2, 3)), jnp.array([0, 1]))
        >>> int(state.step), loss.shape
        (1, ())
    """
    layers = check_stored(net, state.params)
    used = check_depth(layers, depth)
    xs, ys = check_data(net, xs, ys)
    return _step(net, optimizer, state, xs, ys, used)


@compiled
def _step(
    net: Network,
    optimizer: Optimizer,
    state: State,
    xs: Numbers,
    ys: Numbers,
    depth: Array | int | None,
) -> tuple[State, Array]:
    params = state.params
    loss, gradient = backprop(net, params, xs, ys, depth=depth)
    # All of Δ before any update, or XLA copies weights that are still to be read, at every step:
    gradient = lax.optimization_barrier(gradient)  # type: ignore[no-untyped-call]
    extra: dict[str, Any] = {}
    kinds = {p.kind for p in inspect.signature(optimizer.update).parameters.values()}
    if inspect.Parameter.VAR_KEYWORD in kinds:  # what a line search or a plateau asks for
        extra = {"value": loss, "grad": gradient}
        extra["value_fn"] = lambda params: mean_loss(net, params, xs, ys, depth=depth)
    updates, inner = optimizer.update(gradient, state.optimizer, params, **extra)
    moved = jax.tree.map(lambda p, u: (p + u).astype(p.dtype), params, updates)
    return State(moved, inner, state.key, state.step + 1), loss


@compiled
def order(key: Key[Array, ""], step: Int[Array, ""] | int, count: int) -> Int[Array, " N"]:
    """The permutation of the examples in the epoch that begins after `step` steps.

    Random bits are sorted once; `jax.random.permutation` sorts twice, so that no two of them tie,
    and takes twice the time.
    """
    return argsort(jax.random.bits(jax.random.fold_in(key, step), (count,), jnp.uint32))


def argsort(values: UInt32[Array, " N"]) -> Int[Array, " N"]:
    """What `jnp.argsort` returns, in less than half its time on a CPU.

    XLA sorts one array by far faster than two together. So from the lowest digits up the values are
    sorted digit by digit, the place of each beside the digit in the same 32 bits.
    """
    places = jnp.arange(len(values), dtype=jnp.uint32)
    of_place = max(len(values) - 1, 0).bit_length()
    rows = places
    for done in range(0, 32, 32 - of_place):
        digit = (values[rows] >> done) << of_place  # the higher digits are shifted out
        rows = rows[jnp.sort(digit | places) & ((1 << of_place) - 1)]
    return rows.astype(int)


def steps_per_epoch(count: int, batch: int) -> int:
    """S = ⌈N/B⌉."""
    return -(-count // batch)


Passed = tuple[State, Float[Array, "epochs S"], Bool[Array, ""]]


@partial(jax.jit, static_argnames=("optimizer", "batch"))
def _program(
    net: Network,
    optimizer: Optimizer,
    state: State,
    xs: Array,
    ys: Array,
    depth: Depth,
    steps: Array | int,
    *,
    batch: int,
) -> Passed:
    """`steps` steps, epoch after epoch: State, the losses, and whether all parameters are finite.

    Losses of steps that are not taken are nan.
    """
    xs, ys = check_batch(net, state.params, xs, ys)
    full, rest = divmod(len(xs), batch)
    per_epoch = steps_per_epoch(len(xs), batch)

    def one_epoch(i: Array, carry: tuple[State, Array]) -> tuple[State, Array]:
        rows = order(carry[0].key, carry[0].step, len(xs))

        def one_step(j: Array | int, carry: tuple[State, Array], size: int = batch) -> Any:
            state, losses = carry
            of_batch = lax.dynamic_slice_in_dim(rows, j * batch, size)
            state, loss = step(net, optimizer, state, xs[of_batch], ys[of_batch], depth=depth)
            return state, losses.at[i, j].set(loss)

        left = steps - i * per_epoch
        carry = lax.fori_loop(0, jnp.minimum(left, full), one_step, carry)
        if rest:
            last = partial(one_step, full, size=rest)
            carry = lax.cond(left > full, last, lambda carry: carry, carry)
        return carry

    losses = jnp.full((ROOM, per_epoch), jnp.nan, state.params[0].b.dtype)
    state, losses = lax.fori_loop(0, -(-steps // per_epoch), one_epoch, (state, losses))
    return state, losses, jnp.all(finite_layers(state.params))


def epoch(
    net: Network,
    optimizer: Optimizer,
    state: State,
    xs: Batch,
    ys: ArrayLike,
    *,
    batch: int,
    depth: Depth = None,
) -> tuple[State, Float[Array, " S"]]:
    """One epoch as one program: every example once, in shuffled batches, the last one smaller.

    Args:
        net: the network.
        optimizer: of optax.
        state: where to go on from.
        xs: N examples, (N, n[0]).
        ys: their labels, as for `jaxnn.backprop`.
        batch: B, the examples of a step; all of them where there are fewer.
        depth: how many layers of the one run in the parameters are used, as for `jaxnn.backprop`.

    Returns:
        The State after the epoch, and the mean loss of each batch before its step. Nothing comes
        to the host, and nan is passed on as it is.

    Raises:
        ValueError, TypeError: as `jaxnn.backprop`; also a batch below 1.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn, optax
        >>> net = jaxnn.Network(sizes=(3, 4, 1), activation="tanh", task="binary")
        >>> adam = optax.adam(1e-3)
        >>> state = jaxnn.start(net, adam, jaxnn.init(net, jax.random.key(0)), jax.random.key(1))
        >>> xs, ys = jnp.ones((10, 3)), jnp.arange(10) % 2
        >>> state, losses = jaxnn.epoch(net, adam, state, xs, ys, batch=4)
        >>> int(state.step), losses.shape  # batches of 4, 4 and 2
        (3, (3,))
    """
    checked = check_stored(net, state.params)
    size = min(whole("batch", batch, 1), max(len(xs), 1))  # no examples: said in the program
    steps, used = steps_per_epoch(len(xs), size), check_depth(checked, depth)
    state, losses, _ = _program(net, optimizer, state, xs, ys, used, steps, batch=size)
    return state, _first(losses)


@compiled
def _first(losses: Float[Array, "epochs S"]) -> Float[Array, " S"]:
    return losses[0]


def each_epoch(
    net: Network,
    optimizer: Optimizer,
    state: State,
    xs: Batch,
    ys: ArrayLike,
    *,
    epochs: int,
    batch: int,
    depth: Depth = None,
) -> Iterator[tuple[State, np.ndarray]]:
    """Epoch after epoch, for whoever looks in between: measures a gradient, saves a State, breaks.

    Args:
        net: the network.
        optimizer: of optax.
        state: where to go on from.
        xs: N examples, (N, n[0]).
        ys: their labels, as for `jaxnn.backprop`.
        epochs: how many.
        batch: B, the examples of a step; all of them where there are fewer.
        depth: how many layers of the one run in the parameters are used, as for `jaxnn.backprop`.

    Yields:
        After each epoch the State and the losses of its S steps. From any of these States another
        call gives what this one would have, to the last bit.

    Raises:
        ValueError, TypeError: as `jaxnn.epoch`, before the first epoch; also epochs below 0.
        NonFiniteError: a loss or a parameter is nan or inf after an epoch; it says at which step
            and in which layer that began, and has the last good State.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn, optax
        >>> net = jaxnn.Network(sizes=(3, 4, 1), activation="tanh", task="binary")
        >>> adam = optax.adam(1e-3)
        >>> state = jaxnn.start(net, adam, jaxnn.init(net, jax.random.key(0)), jax.random.key(1))
        >>> xs, ys = jnp.ones((10, 3)), jnp.arange(10) % 2
        >>> for state, losses in jaxnn.each_epoch(net, adam, state, xs, ys, epochs=2, batch=4):
        ...     print(int(state.step), losses.shape)
        3 (3,)
        6 (3,)
    """
    rows = check_batch(net, check_stored(net, state.params), xs, ys)  # onto the device, once
    passes = several_epochs(net, optimizer, state, *rows, epochs, batch, depth, room=1)
    return ((state, losses[0]) for state, losses in passes)


def several_epochs(
    net: Network,
    optimizer: Optimizer,
    state: State,
    xs: Array,
    ys: Array,
    epochs: int,
    batch: int,
    depth: Depth,
    room: int = ROOM,
) -> Iterator[tuple[State, np.ndarray]]:
    """Like `each_epoch`, batching short epochs into one call: losses are (epochs of it, S).

    xs and ys are rows, as `check_batch` returns them.
    """
    epochs = whole("epochs", epochs, 0)
    layers = check_stored(net, state.params)
    size = min(whole("batch", batch, 1), len(xs))
    run = _Run(net, optimizer, xs, ys, size, check_depth(layers, depth))
    if not run.after(state, 0)[-1]:  # no step: what the program says of the parameters as they are
        check_finite(layers)
    return _passes(run, state, epochs, room)


class _Run(NamedTuple):
    """What stays the same from epoch to epoch."""

    net: Network
    optimizer: Optimizer
    xs: Array
    ys: Array
    batch: int
    depth: Array | int | None

    def after(self, state: State, steps: int) -> Passed:
        net, optimizer, *data, batch, depth = self
        passed: Passed = _program(net, optimizer, state, *data, depth, steps, batch=batch)
        return passed

    @property
    def per_epoch(self) -> int:
        return steps_per_epoch(len(self.xs), self.batch)

    def batch_of(self, state: State, steps: int) -> tuple[Array, Array]:
        """The batch of the step that follows `steps` after the beginning of an epoch at `state`."""
        i, j = divmod(steps, self.per_epoch)
        rows = order(state.key, state.step + i * self.per_epoch, len(self.xs))
        rows = rows[j * self.batch : (j + 1) * self.batch]
        return self.xs[rows], self.ys[rows]


def _passes(run: _Run, state: State, epochs: int, room: int) -> Iterator[tuple[State, np.ndarray]]:
    before, taken, at_once = state, 0, 1  # how the State came about, for looking back

    def after(steps: int) -> Passed:
        return run.after(before, max(taken - 1, 0)) if steps < 0 else run.after(state, steps)

    while epochs > 0:
        begun = time.perf_counter()
        count = min(at_once, epochs)
        following, on_device, finite = after(count * run.per_epoch)
        losses = np.asarray(on_device)[:count]
        if not (finite and np.isfinite(losses).all()):
            raise diagnosis(run.net, after, partial(run.batch_of, state), losses, run.depth)
        before, state, taken, epochs = state, following, losses.size, epochs - count
        if time.perf_counter() - begun < QUICK:
            at_once = min(2 * at_once, room)
        yield state, losses


def whole(name: str, value: Any, least: int) -> int:
    """An integer argument of at least `least`."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {value!r}") from None
    if number < least:
        raise ValueError(f"{name}: expected at least {least}, got {number}")
    return number
