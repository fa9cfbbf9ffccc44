"""The training loop: epochs, measures after each, looks at the gradient, checkpoints.

`Progress -> epoch -> Progress`, in place; `tree` is all of it as arrays, and from that another
process goes on as this one would have, to the last bit.

A look is the flow of one batch's gradient, always the same batch: what changes is the network. It
is taken before the first epoch and after the last, and between them as often as its seconds stay
below a share of those of training; or at epochs that are evenly spaced, if their number is given.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxnn
from experiments.learning import measures
from jaxnn.divergence import Params
from jaxnn.network import check_batch
from jaxnn.training import Optimizer

SHARE = 0.05  # of the seconds of training may go into looks
MOST_LOOKS = 50  # where their number is not given
SAVING = 0.05  # of the seconds may go into checkpoints
FLOW = ("log_delta", "log_theta", "log_mean_square_z", "saturated", "dead")  # what a look keeps


@dataclass(frozen=True)
class Run:
    """What stays the same from epoch to epoch.

    sets: (xs, ys) to train on and, where there is one, to validate on.
    looks: how many, or None: as many as SHARE allows.
    """

    net: jaxnn.Network
    optimizer: Optimizer
    sets: tuple[tuple[np.ndarray, np.ndarray], ...]
    epochs: int
    batch: int
    patience: int | None
    looks: int | None

    @cached_property
    def room(self) -> int:
        """For looks, the first and the last among them."""
        return (MOST_LOOKS if self.looks is None else self.looks) + 2

    @cached_property
    def looks_at(self) -> frozenset[int]:
        """The epochs after which a given number of looks is taken."""
        return frozenset(np.linspace(0, self.epochs, self.looks or 0).round().astype(int).tolist())


class Seconds(NamedTuple):
    """Where the time went, without compiling."""

    training: float
    looking: float


@dataclass
class Progress:
    """A run as it is after some epoch.

    epoch: how many are done.
    state: to go on from.
    params: those of the best epoch; without a validation set the last.
    best: that epoch, 0 before the first.
    measured: (epochs + 1, 2, 3), of the network after each epoch, from 0, on the training and the
        validation set; nan where there is nothing.
    looked: (room,), the epochs of the looks, -1 where there is none.
    flows: (room, 5, L), what they saw: the fields of a flow that are in FLOW.
    seconds: of Seconds.
    """

    epoch: int
    state: jaxnn.State
    params: Params
    best: int
    measured: np.ndarray
    looked: np.ndarray
    flows: np.ndarray
    seconds: np.ndarray

    @classmethod
    def begun(cls, run: Run, state: jaxnn.State) -> "Progress":
        """Before the first epoch."""
        layers = len(run.net.sizes) - 1
        return cls(
            epoch=0,
            state=state,
            params=state.params,
            best=0,
            measured=np.full((run.epochs + 1, 2, 3), np.nan),
            looked=np.full(run.room, -1),
            flows=np.full((run.room, len(FLOW), layers), np.nan),
            seconds=np.zeros(2),
        )

    def tree(self) -> dict[str, Any]:
        """All of it as NumPy arrays."""
        state = self.state._replace(key=jax.random.key_data(self.state.key))
        found = {**vars(self), "state": state}
        return {name: jax.tree.map(np.asarray, value) for name, value in found.items()}

    def load(self, tree: dict[str, Any]) -> None:
        """Takes the place of what such a tree was made of."""
        for name, value in tree.items():
            setattr(self, name, value)
        self.state, self.params = jax.tree.map(jnp.asarray, (tree["state"], tree["params"]))
        self.state = self.state._replace(key=jax.random.wrap_key_data(self.state.key))
        self.epoch, self.best = int(tree["epoch"]), int(tree["best"])

    @property
    def looks(self) -> int:
        """How many were taken."""
        return int(np.count_nonzero(self.looked >= 0))


def ended(run: Run, progress: Progress) -> str | None:
    """Why a run is over, None where it goes on."""
    if progress.epoch >= run.epochs:
        return f"All {run.epochs} epochs are done."
    if run.patience is not None and progress.epoch - progress.best >= run.patience:
        return f"No lower validation loss for {run.patience} epochs."
    return None


class Kept(NamedTuple):
    """Where checkpoints go, and how many seconds apart; at 0 there is one after each epoch."""

    save: Callable[[int, Any], None]
    every: float


def go_on(
    run: Run,
    progress: Progress,
    kept: Kept,
    stopped: list[int],
    seen: Callable[[Progress], None],
) -> bool:
    """Trains until the run is over or is stopped; the last epoch that was done is always kept.

    Args:
        run: what is trained.
        progress: where it stands; it is changed in place.
        kept: where checkpoints go.
        stopped: no longer empty when the run is to stop.
        seen: called after each epoch.

    Returns:
        Whether it is over.

    Raises:
        NonFiniteError: the loss is not finite; progress stands at the epoch before.
        OSError: a checkpoint cannot be written.
    """
    sets = [check_batch(run.net, progress.state.params, *each) for each in run.sets]
    look = _looking(run, progress, *sets[0])
    saved, clock = progress.epoch, _Saving(kept)
    if progress.epoch == 0:
        _measure(run, progress, sets)
        look()
    passes = jaxnn.each_epoch(
        run.net,
        run.optimizer,
        progress.state,
        *sets[0],
        epochs=0 if ended(run, progress) else run.epochs - progress.epoch,
        batch=run.batch,
    )
    timed = False  # the first epoch compiles
    try:
        before = time.perf_counter()
        for state, _ in passes:
            progress.state, progress.epoch = state, progress.epoch + 1
            _measure(run, progress, sets)
            progress.seconds[0] += timed * (time.perf_counter() - before)
            timed, over = True, ended(run, progress)
            if over or _due(run, progress):
                look()
            if clock.due():
                clock.save(progress)
                saved = progress.epoch
            seen(progress)
            if over or stopped:
                break
            before = time.perf_counter()
    finally:
        if progress.epoch > saved:
            kept.save(progress.epoch, progress.tree())
    return ended(run, progress) is not None


def _measure(run: Run, progress: Progress, sets: list[Any]) -> None:
    """Writes the measures of the epoch down, and keeps the parameters if they are the best."""
    found = measures.measure(run.net, progress.state.params, sets)
    progress.measured[progress.epoch, : len(sets)] = np.asarray(jax.device_get(found))
    if progress.epoch == 0:
        return
    losses = progress.measured[: progress.epoch + 1, 1, 0]
    best = losses[progress.best] if progress.best else np.inf
    if len(sets) == 1 or losses[-1] < best:
        progress.best, progress.params = progress.epoch, progress.state.params


def _due(run: Run, progress: Progress) -> bool:
    """Whether to look after an epoch that is not the last."""
    if run.looks is not None:
        return progress.epoch in run.looks_at
    taken, (training, looking) = progress.looks, progress.seconds
    spaced = progress.epoch >= progress.looked[taken - 1] + run.epochs / MOST_LOOKS
    # With this one and with the last.
    allowed = looking + 2 * looking / taken <= SHARE * training
    return bool(spaced and allowed and taken < run.room - 1)


def _looking(run: Run, progress: Progress, xs: Any, ys: Any) -> Callable[[], None]:
    """What takes a look at the network as it is, compiled already."""
    batch = xs[: run.batch], ys[: run.batch]
    compiled = _flow.lower(run.net, progress.state.params, *batch).compile()
    np.asarray(compiled(run.net, progress.state.params, *batch))  # the first call loads the program

    def look() -> None:
        begun = time.perf_counter()
        place = progress.looks
        progress.flows[place] = compiled(run.net, progress.state.params, *batch)
        progress.looked[place] = progress.epoch
        progress.seconds[1] += time.perf_counter() - begun

    return look


@jax.jit
def _flow(net: jaxnn.Network, params: Params, xs: Any, ys: Any) -> jax.Array:
    flow = jaxnn.gradient_flow(net, params, xs, ys)
    return jnp.stack([getattr(flow, name) for name in FLOW])


class _Saving:
    """When to save: so many seconds apart, and never for more than a share of the time."""

    def __init__(self, kept: Kept) -> None:
        self.kept, self.last, self.took = kept, time.perf_counter(), 0.0

    def due(self) -> bool:
        apart = max(self.kept.every, self.took / SAVING) if self.kept.every > 0 else 0
        return time.perf_counter() - self.last >= apart

    def save(self, progress: Progress) -> None:
        begun = time.perf_counter()
        self.kept.save(progress.epoch, progress.tree())
        self.last = time.perf_counter()
        self.took = self.last - begun
