"""Fit: a whole training run, with a validation set, early stopping and a history.

A loop of `several_epochs`, which is where the work is done, with what is worth keeping.

Index legend: E epochs, S steps to an epoch, N examples.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key

from .backprop import Batch
from .compiled import Numbers, compiled
from .divergence import NonFiniteError, Params
from .layers import Pairs
from .network import Depth, Network, as_rows, check_data, check_depth, check_stored
from .scores import Scores, scores_of
from .training import ROOM, Optimizer, State, order, several_epochs, start, whole

SPLIT = 2**32 - 1  # folded into the key of the run; as a number of steps it does not occur


class History(NamedTuple):
    """What a run recorded.

    losses: of each step, before it; nan for steps that were not taken, after a failure.
    training, validation: after each epoch that did not fail; None without a validation set.
    """

    losses: Float[np.ndarray, "E S"]
    training: Scores | None
    validation: Scores | None


class Fit(NamedTuple):
    """A finished run.

    params: those of the best epoch where there was a validation set, else the last.
    history: losses and scores.
    state: the last State, to go on from.
    best: the epoch of lowest validation loss, an index into the history; None without one.
    stopped: why, a sentence.
    """

    params: Params
    history: History
    state: State
    best: int | None
    stopped: str


Set = tuple[Any, Any]
Given = list[tuple[Numbers, Numbers]]
Sets = list[tuple[Array, Array]]


def split(xs: Any, ys: Any, fraction: float, key: Key[Array, ""]) -> tuple[Set, Set]:
    """Holds a random fraction of examples out.

    Args:
        xs: N examples, an array.
        ys: N labels, an array.
        fraction: how many to hold out, above 0 and below 1; rounded to whole examples.
        key: which of them.

    Returns:
        (xs, ys) of those that are left, and (xs, ys) of those held out: disjoint, and all of them.

    Raises:
        ValueError: lengths that differ, a fraction outside (0, 1), or one that leaves a set empty.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> kept, held_out = jaxnn.split(jnp.ones((10, 3)), jnp.arange(10), 0.3, jax.random.key(0))
        >>> kept[0].shape, held_out[1].shape
        ((7, 3), (3,))
    """
    out = _held_out(len(xs), ys, fraction)
    rows = np.asarray(order(key, 0, len(xs)))
    parts = (
        (_parts_on_device if isinstance(values, jax.Array) else _parts)(values, rows, out)
        for values in (xs, ys)
    )
    (xs_left, xs_out), (ys_left, ys_out) = parts
    return (xs_left, ys_left), (xs_out, ys_out)


def _held_out(count: int, ys: Any, fraction: float) -> int:
    """How many of `count` examples to hold out."""
    if len(ys) != count:
        raise ValueError(f"y: expected {count} labels for {count} examples, got {len(ys)}")
    if not 0 < fraction < 1:
        raise ValueError(f"validation: expected a fraction above 0 and below 1, got {fraction}")
    out = round(fraction * count)
    if not 0 < out < count:
        raise ValueError(
            f"validation: expected examples on both sides, got {out} of {count} held out by the "
            f"fraction {fraction}"
        )
    return out


def _parts(values: Any, rows: Any, out: int) -> tuple[Any, Any]:
    """All but the first `out` of the rows, and those."""
    return values[rows[out:]], values[rows[:out]]


_parts_on_device = compiled(_parts)


def fit(
    net: Network,
    params: Pairs | State,
    xs: Batch,
    ys: ArrayLike,
    optimizer: Optimizer,
    *,
    epochs: int,
    batch: int,
    key: Key[Array, ""] | None = None,
    depth: Depth = None,
    validation: tuple[ArrayLike, ArrayLike] | float | None = None,
    patience: int | None = None,
    look: Callable[[State], object] | None = None,
) -> Fit:
    """Trains a network. Deterministic: the same key gives the same bits on the same machine.

    Args:
        net: the network.
        params: L pairs (θ, b), any of them runs; or a State to go on from, which has a key.
        xs: N examples, (N, n[0]).
        ys: their labels, as for `jaxnn.backprop`.
        optimizer: of optax, such as `optax.adam(1e-3)`.
        epochs: how many at most.
        batch: B, the examples of a step; the last batch of an epoch has those that are left over.
        key: of the permutations and of the validation split.
        depth: how many layers of the one run in `params` are used; all where it is None.
        validation: examples and labels that are scored after each epoch and not trained on, or a
            fraction of xs and ys to hold out, by `jaxnn.split`.
        patience: stops after so many epochs in a row without a lower validation loss.
        look: called with the State after each epoch. Without it and without validation several
            epochs are one program.

    Returns:
        Fit: parameters, history, the last State, the best epoch and why it stopped.

    Raises:
        ValueError, TypeError: as `jaxnn.backprop`; also a batch or a patience below 1, epochs below
            0, patience without validation, a fraction outside (0, 1), and a key missing or given
            twice.
        NonFiniteError: the loss is not finite: at which step, which layer's signal or gradient
            left the range first, what to try. It has the history and the last good State.

    Example:
        >>> import jax, jaxnn, optax
        >>> net = jaxnn.Network(sizes=(2, 8, 1), activation="tanh", task="binary")
        >>> xs = jax.random.normal(jax.random.key(0), (100, 2))
        >>> ys = (xs[:, 0] * xs[:, 1] > 0).astype(int)
        >>> params = jaxnn.init(net, jax.random.key(1))
        >>> run = jaxnn.fit(
        ...     net, params, xs, ys, optax.adam(0.03), epochs=100, batch=32, key=jax.random.key(2)
        ... )
        >>> run.stopped, run.history.losses.shape
        ('All 100 epochs are done.', (100, 4))
        >>> bool(jaxnn.evaluate(net, run.params, xs, ys).metric > 0.9)
        True
    """
    if patience is not None:
        whole("patience", patience, 1)
        if validation is None:
            raise ValueError("patience: expected validation too, a fraction or a set, got None")
    begin, key = _begin(params, key)
    layers = check_stored(net, begin)
    used = check_depth(layers, depth)
    given, out = _check_sets(net, xs, ys, validation)
    if isinstance(params, State):
        state, sets = params, _sets(net, layers, key, given, out)
    else:
        state, sets = _start_and_sets(net, optimizer, layers, key, given, out)
    room = ROOM if len(sets) == 1 and look is None else 1
    passes = several_epochs(net, optimizer, state, *sets[0], epochs, batch, used, room)
    record = _Record(state)
    try:
        for state, losses in passes:
            record.add(state, losses, scores_of(net, state.params, sets, used) if sets[1:] else [])
            if look is not None:
                look(state)
            if patience is not None and record.waited == patience:
                return record.fit(f"No lower validation loss for {patience} epochs.")
    except NonFiniteError as error:
        record.losses.append(error.losses)
        error.history = record.history()
        raise
    return record.fit(f"All {epochs} epochs are done.")


def _begin(params: Pairs | State, key: Key[Array, ""] | None) -> tuple[Pairs, Key[Array, ""]]:
    """The parameters to begin with, and the key of the run."""
    if isinstance(params, State):
        if key is not None:
            raise ValueError("key: expected none beside a State, which has its own")
        return params.params, params.key
    if key is None:
        raise ValueError("key: expected one, such as jax.random.key(0), got None")
    return params, key


def _check_sets(net: Network, xs: ArrayLike, ys: ArrayLike, validation: Any) -> tuple[Given, int]:
    """The training set and, if given, the validation set, and how many examples to hold out."""
    given = check_data(net, xs, ys)
    if validation is None:
        return [given], 0
    if isinstance(validation, float | int):
        return [given], _held_out(len(given[0]), given[1], validation)
    try:
        return [given, check_data(net, *validation)], 0
    except (TypeError, ValueError) as error:
        raise type(error)(f"validation: {error}") from None


@compiled
def _sets(net: Network, params: Params, key: Array, sets: Given, out: int) -> Sets:
    """The training set and, if any, the validation set, as rows."""
    (xs, ys), *others = [as_rows(net, params, *each) for each in sets]
    if not out:
        return [(xs, ys), *others]
    rows = order(jax.random.fold_in(key, SPLIT), 0, len(xs))
    return list(zip(*(_parts(values, rows, out) for values in (xs, ys)), strict=True))


@compiled
def _start_and_sets(
    net: Network,
    optimizer: Optimizer,
    params: Params,
    key: Array,
    sets: Given,
    out: int,
) -> tuple[State, Sets]:
    """All that a run needs before its first step, as one program."""
    return start(net, optimizer, params, key), _sets(net, params, key, sets, out)


class _Record:
    """What `fit` writes down from epoch to epoch."""

    def __init__(self, state: State):
        self.state, self.params = state, state.params
        self.best: int | None = None
        self.lowest, self.waited = np.inf, 0
        self.losses: list[np.ndarray] = []
        self.scores: list[list[Scores]] = []

    def add(self, state: State, losses: np.ndarray, scores: list[Scores]) -> None:
        self.state = state
        self.losses.append(losses)
        if not scores:
            self.params = state.params
            return
        self.scores.append(scores)
        self.waited += 1
        lowest = float(scores[1].loss)
        if lowest < self.lowest:
            self.lowest, self.waited = lowest, 0
            self.best, self.params = len(self.scores) - 1, state.params

    def history(self) -> History:
        losses = np.concatenate(self.losses) if self.losses else np.empty((0, 0))
        sets = zip(*self.scores, strict=True)
        both = [Scores(*map(np.array, zip(*of_set, strict=True))) for of_set in sets]
        return History(losses, *(both or (None, None)))

    def fit(self, stopped: str) -> Fit:
        return Fit(self.params, self.history(), self.state, self.best, stopped)
