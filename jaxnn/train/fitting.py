"""Fit: training with a validation set, early stopping and a history.

A loop over `several_epochs`, which does the work.

Index legend: E epochs, S steps in an epoch, N examples.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Key

from ..arrays.arguments import check_integer
from ..arrays.compiled import Numbers, compiled
from ..arrays.spread import rows_at
from ..errors import NonFiniteError
from ..network.checks import Depth, as_rows, check_data, check_depth, check_key, check_stored
from ..network.network import Network
from ..network.params import Layers, Pairs
from ..passes.backprop import Batch
from ..texts import counted
from .scores import Scores, scores_of
from .steps import (
    Optimizer,
    State,
    check_optimizer,
    permutation_of_epoch,
    several_epochs,
    start,
)

SPLIT = 2**32 - 1  # folded into the key for the split; no number of steps is as large


class History(NamedTuple):
    """The losses and scores of a training.

    losses: the loss before each step; nan for steps not taken because of a failure.
    training, validation: after each epoch that did not fail; None without a validation set.
    """

    losses: Float[np.ndarray, "E S"]
    training: Scores | None
    validation: Scores | None


class Fit(NamedTuple):
    """A finished training.

    params: those of the best epoch with a validation set, else the last.
    history: losses and scores.
    state: the last State, from which training can be continued.
    best: the epoch of lowest validation loss, an index into the history; None if there is none.
    stopped: the reason for stopping.
    """

    params: Layers
    history: History
    state: State
    best: int | None
    stopped: str


Set = tuple[Numbers, Numbers]
Given = list[tuple[Numbers, Numbers]]
Sets = list[tuple[Array, Array]]


def split(xs: Numbers, ys: Numbers, fraction: float, key: Key[Array, ""]) -> tuple[Set, Set]:
    """Hold out a random fraction of examples.

    Args:
        xs: N examples, an array.
        ys: N labels, an array.
        fraction: the fraction to hold out, above 0 and below 1; rounded to whole examples.
        key: of the random choice.

    Returns:
        (xs, ys) of the remaining examples, and (xs, ys) of those held out.

    Raises:
        ValueError: lengths that differ, a fraction outside (0, 1), or one that leaves a set empty.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> key = jax.random.key(0)
        >>> rest, held_out = jaxnn.train.split(jnp.ones((10, 3)), jnp.arange(10), 0.3, key)
        >>> rest[0].shape, held_out[1].shape
        ((7, 3), (3,))
    """
    out = _count_held_out(len(xs), ys, fraction)
    rows = np.asarray(permutation_of_epoch(check_key(key), 0, len(xs)))
    # NumPy's arrays by NumPy: they may have a dtype that JAX does not know.
    part_x, part_y = (_part_on_device if isinstance(v, jax.Array) else _part for v in (xs, ys))
    (xs_rest, xs_out), (ys_rest, ys_out) = part_x(xs, rows, out), part_y(ys, rows, out)
    return (xs_rest, ys_rest), (xs_out, ys_out)


def _count_held_out(count: int, ys: Numbers, fraction: float) -> int:
    """The number of examples to hold out of `count`."""
    if len(ys) != count:
        raise ValueError(
            f"y: expected {counted(count, 'label')} for as many examples, got {len(ys)}"
        )
    if not 0 < fraction < 1:
        raise ValueError(f"validation: expected a fraction above 0 and below 1, got {fraction}")
    out = round(fraction * count)
    if not 0 < out < count:
        raise ValueError(
            f"validation: expected examples on both sides, got {out} of {count} held out by the "
            f"fraction {fraction}"
        )
    return out


def _part(values: Numbers, rows: Int[np.ndarray, " N"], out: int) -> tuple[Any, Any]:
    """The rows of `values` without the first `out`, and those."""
    return rows_at(values, rows[out:]), rows_at(values, rows[:out])


_part_on_device = compiled(_part)


def all_done(epochs: int) -> str:
    """Return the sentence on a training that came to its end."""
    return "The one epoch is done." if epochs == 1 else f"All {epochs} epochs are done."


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
    callback: Callable[[State], object] | None = None,
) -> Fit:
    """Train a network. Deterministic: the same key gives the same bits on the same machine.

    Args:
        params: L pairs (θ, b), any of them runs; or a State to continue from, which has a key.
        xs: N examples, (N, n[0]).
        ys: their labels, as for `jaxnn.backprop`.
        optimizer: of optax, such as `optax.adam(1e-3)`.
        epochs: the number of epochs, at most.
        batch: B, the examples of a step; the last batch of an epoch has those that remain.
        key: of the permutations and of the validation split.
        depth: the number of hidden layers used, as for `jaxnn.backprop`; all by default.
        validation: examples and labels that are scored after each epoch and not trained on, or a
            fraction of xs and ys to hold out, by `jaxnn.train.split`.
        patience: the number of epochs in a row without a lower validation loss to stop after.
        callback: called with the State after each epoch.

    Returns:
        Fit: parameters, history, the last State, the best epoch and the reason for stopping.

    Raises:
        ValueError, TypeError: as `jaxnn.backprop`; also a batch or a patience below 1, epochs below
            0, patience without validation, a fraction outside (0, 1), a key missing or given twice,
            an optimiser that is none, and a call inside `jax.jit` or `jax.vmap`.
        NonFiniteError: the loss is not finite. The error has the step, the layer whose signal or
            gradient left the range first, advice, the history and the last good State.

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
        >>> bool(jaxnn.train.evaluate(net, run.params, xs, ys).metric > 0.9)
        True
    """
    if patience is not None:
        check_integer("patience", patience, 1)
        if validation is None:
            raise ValueError("patience: expected validation too, a fraction or a set, got None")
    check_optimizer(optimizer)
    first, key = _params_and_key(params, key)
    layers = check_stored(net, first)
    used = check_depth(layers, depth)
    data, out = _check_sets(net, xs, ys, validation)
    if isinstance(params, State):
        state, sets = params, _sets(net, layers, key, data, out)
    else:
        state, sets = _start_and_sets(net, layers, optimizer, key, data, out)
    calls = several_epochs(net, state, *sets[0], optimizer, epochs, batch, depth)
    best, best_params, stopped = Best(), state.params, None
    all_losses: list[np.ndarray] = []
    scores: list[list[Scores]] = []
    try:
        for state, losses in calls:
            all_losses.append(losses)
            if sets[1:]:
                scores.append(scores_of(net, state.params, sets, used))
                best = best.after(len(scores) - 1, float(scores[-1][1].loss))
            if best.waited == 0:
                best_params = state.params
            if callback is not None:
                callback(state)
            if stopped := best.stalled(patience):
                break
    except NonFiniteError as error:
        error.history = _history([*all_losses, error.losses], scores)
        raise
    history = _history(all_losses, scores)
    return Fit(best_params, history, state, best.epoch, stopped or all_done(epochs))


def _history(all_losses: list[np.ndarray], scores: list[list[Scores]]) -> History:
    losses = np.stack(all_losses) if all_losses else np.empty((0, 0))
    sets = zip(*scores, strict=True)
    both = [Scores(*map(np.array, zip(*of_set, strict=True))) for of_set in sets]
    return History(losses, *(both or (None, None)))


def _params_and_key(
    params: Pairs | State, key: Key[Array, ""] | None
) -> tuple[Pairs, Key[Array, ""]]:
    """The first parameters, and the key of the training."""
    if isinstance(params, State):
        if key is not None:
            raise ValueError("key: expected none beside a State, which has its own")
        return params.params, params.key
    if key is None:
        raise ValueError("key: expected one, such as jax.random.key(0), got None")
    return params, check_key(key)


def _check_sets(
    net: Network, xs: ArrayLike, ys: ArrayLike, validation: object
) -> tuple[Given, int]:
    """The training set and, if given, the validation set; the number of examples to hold out."""
    data = check_data(net, xs, ys)
    if validation is None:
        return [data], 0
    if isinstance(validation, float | int):
        return [data], _count_held_out(len(data[0]), data[1], validation)
    if not (isinstance(validation, Sequence) and len(validation) == 2):
        raise TypeError(
            f"validation: expected a fraction or a pair (xs, ys), got {type(validation).__name__}"
        )
    try:
        return [data, check_data(net, *validation)], 0
    except (TypeError, ValueError) as error:
        raise type(error)(f"validation: {error}") from None


class Best(NamedTuple):
    """The epoch of lowest validation loss so far."""

    epoch: int | None = None  # its number; None before the first loss that is not nan or inf
    loss: float = np.inf  # its validation loss
    waited: int = 0  # how many epochs there were since

    def after(self, epoch: int, loss: float) -> "Best":
        """Return the best epoch once this one is done too; of equal losses the first counts."""
        if loss < self.loss:
            return Best(epoch, loss)
        return self._replace(waited=self.waited + 1)

    def stalled(self, patience: int | None) -> str | None:
        """Return why training stops after `patience` epochs in vain, None if it continues."""
        if patience is None or self.waited < patience:
            return None
        return f"No lower validation loss for {counted(patience, 'epoch')}."


@compiled
def _sets(net: Network, params: Layers, key: Array, data: Given, out: int) -> Sets:
    """The training set and, if any, the validation set, as rows."""
    sets = [as_rows(net, params, *pair) for pair in data]
    if not out:
        return sets
    rows = permutation_of_epoch(jax.random.fold_in(key, SPLIT), 0, len(sets[0][0]))
    return list(zip(*(_part(values, rows, out) for values in sets[0]), strict=True))


@compiled
def _start_and_sets(
    net: Network, params: Layers, optimizer: Optimizer, key: Array, data: Given, out: int
) -> tuple[State, Sets]:
    """Everything that training needs before its first step, as one program."""
    return start(net, params, optimizer, key), _sets(net, params, key, data, out)
