"""Fit: a whole training, epoch by epoch; a loop over `several_epochs`, which does the work.

Index legend: E epochs, S steps in an epoch, N examples.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key

from ..arrays.compiled import Numbers, compiled
from ..errors import NonFiniteError
from ..network.checks import as_rows, check_data, check_key, check_stored
from ..network.network import Network
from ..network.params import Layers, Pairs
from ..passes.backprop import Batch
from .steps import Optimizer, State, check_optimizer, several_epochs, start


class Fit(NamedTuple):
    """A finished training.

    params: the last ones.
    losses: the loss before each step.
    state: the last State, from which training can be continued.
    """

    params: Layers
    losses: Float[np.ndarray, "E S"]
    state: State


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
    callback: Callable[[State], object] | None = None,
) -> Fit:
    """Train a network. Deterministic: the same key gives the same bits on the same machine.

    Args:
        params: L pairs (θ, b), any of them runs; or a State to continue from, which has a key.
        xs: N examples, (N, n[0]).
        ys: their labels, as for `jaxnn.backprop`.
        optimizer: of optax, such as `optax.adam(1e-3)`.
        epochs: the number of epochs.
        batch: B, the examples of a step; the last batch of an epoch has those that remain.
        key: of the permutations.
        callback: called with the State after each epoch, such as to score it by
            `jaxnn.train.evaluate`; an error that it raises ends the training.

    Returns:
        Fit: parameters, losses and the last State.

    Raises:
        ValueError, TypeError: as `jaxnn.backprop`; also a batch below 1, epochs below 0, a key
            missing or given twice, an optimiser that is none, and a call inside `jax.jit` or
            `jax.vmap`.
        NonFiniteError: the loss is not finite. The error has the step, the layer whose signal or
            gradient left the range first, advice, the losses and the last good State.

    Example:
        >>> import jax, jaxnn, optax
        >>> net = jaxnn.Network(sizes=(2, 8, 1), activation="tanh", task="binary")
        >>> xs = jax.random.normal(jax.random.key(0), (100, 2))
        >>> ys = (xs[:, 0] * xs[:, 1] > 0).astype(int)
        >>> params = jaxnn.init(net, jax.random.key(1))
        >>> run = jaxnn.fit(
        ...     net, params, xs, ys, optax.adam(0.03), epochs=100, batch=32, key=jax.random.key(2)
        ... )
        >>> run.losses.shape
        (100, 4)
        >>> bool(jaxnn.train.evaluate(net, run.params, xs, ys).metric > 0.9)
        True
    """
    check_optimizer(optimizer)
    first, key = _params_and_key(params, key)
    layers = check_stored(net, first)
    begun, rows, labels = _start(net, layers, optimizer, key, *check_data(net, xs, ys))
    state = params if isinstance(params, State) else begun
    calls = several_epochs(net, state, rows, labels, optimizer, epochs, batch)
    of_epochs: list[np.ndarray] = []
    try:
        for state, losses in calls:
            of_epochs.append(losses)
            if callback is not None:
                callback(state)
    except NonFiniteError as error:
        error.losses = np.stack([*of_epochs, error.losses])
        raise
    return Fit(state.params, np.stack(of_epochs) if of_epochs else np.empty((0, 0)), state)


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


@compiled
def _start(
    net: Network, params: Layers, optimizer: Optimizer, key: Array, xs: Numbers, ys: Numbers
) -> tuple[State, Array, Array]:
    """Return the first State, and the training set as rows: as one program."""
    return start(net, params, optimizer, key), *as_rows(net, params, xs, ys)
