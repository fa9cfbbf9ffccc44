"""The training loop: epochs, measures after each, looks at the gradient, checkpoints, the test.

`Recipe, Progress -> epoch -> Progress, in place; Progress -> Outcome`. `Progress.tree` is all of
it as arrays, and from that another process continues as this one would have, to the last bit.

A look is the flow of one batch's gradient, always the same batch: what changes is the network. It
is taken before the first epoch and after the last, and between them at epochs that are evenly
spaced: as many as are asked for, or as should take a share of the seconds of training. That is
reckoned beforehand from operations, so that the same settings look at the same epochs everywhere.
"""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxnn
from experiments.learning import fields, measures
from experiments.learning.measures import Tested
from jaxnn.flow.measure.flow_of_net import flow_of_net
from jaxnn.network.checks import check_batch
from jaxnn.network.params import Layers
from jaxnn.train.fitting import Best, all_done
from jaxnn.train.recorder import Recorder
from jaxnn.train.steps import Optimizer, steps_per_epoch

SHARE = 0.05  # of the seconds of training may go into looks
MOST_LOOKS = 50  # if their number is not given
# Seconds of a step and of a look, for so many operations: what a core takes that does 40 GFLOP/s.
STEP, LOOK, PER_OPERATION = 20e-6, 400e-6, 25e-12
LOOK_OVER_STEP = 2.5  # operations
SAVING = 0.05  # of the seconds may go into checkpoints
FLOW = ("log_delta", "log_delta_theta", "log_mean_square", "saturated", "dead")  # fields of a look

Set = tuple[np.ndarray, np.ndarray]  # xs, (N, n[0]), and labels, (N,)


@dataclass(frozen=True)
class Recipe:
    """Everything that stays the same from epoch to epoch.

    sets: to train on and, if any, to validate on.
    test: to test the chosen parameters on, if any.
    looks: how many, or None: as many as SHARE allows, but at least the first and the last.
    """

    net: jaxnn.Network
    optimizer: Optimizer
    sets: tuple[Set, ...]
    test: Set | None
    epochs: int
    batch: int
    patience: int | None
    looks: int | None

    @property
    def steps(self) -> int:
        """Steps to an epoch."""
        return steps_per_epoch(len(self.sets[0][0]), self.batch)

    @cached_property
    def looks_at(self) -> frozenset[int]:
        """The epochs after which a look is taken, if the run gets there."""
        looks = self._affordable if self.looks is None else self.looks
        return frozenset(np.linspace(0, self.epochs, looks).round().astype(int).tolist())

    @property
    def apart(self) -> int:
        """Steps from one look to the next, roughly."""
        return max(self.epochs * self.steps // max(len(self.looks_at) - 1, 1), 1)

    @property
    def room(self) -> int:
        """For looks; early stopping adds one."""
        return len(self.looks_at) + 1

    @property
    def _affordable(self) -> int:
        """The number of looks that take SHARE of the time."""
        sizes = self.net.sizes
        operations = 6 * self.batch * sum(n * m for n, m in pairwise(sizes))
        step = STEP + operations * PER_OPERATION
        look = LOOK + LOOK_OVER_STEP * operations * PER_OPERATION
        affordable = int(SHARE * self.epochs * self.steps * step / look)
        return min(max(affordable, 2), MOST_LOOKS)


class Seconds(NamedTuple):
    """Seconds spent, without compiling."""

    training: float
    looking: float


@dataclass
class Progress:
    """A run as it is after some epoch.

    epoch: how many are done.
    state: to continue from.
    params: those of the best epoch; without a validation set the last.
    best: that epoch, 0 before the first.
    measured: (epochs + 1, 2, 3), the measures of the network after each epoch, from 0, on the
        training and the validation set; nan for an epoch to come, or a set that is not there.
    looked: (room,), the epochs of the looks, -1 for one to come.
    flows: (room, 5, L), the fields of the looks that FLOW names.
    seconds: of Seconds.
    """

    epoch: int
    state: jaxnn.train.State
    params: Layers
    best: Best
    measured: np.ndarray
    looked: np.ndarray
    flows: np.ndarray
    seconds: np.ndarray

    @classmethod
    def begun(cls, recipe: Recipe, state: jaxnn.train.State) -> "Progress":
        """Return a run before its first epoch."""
        layers = len(recipe.net.sizes) - 1
        return cls(
            epoch=0,
            state=state,
            params=state.params,
            best=Best(0),
            measured=np.full((recipe.epochs + 1, 2, 3), np.nan),
            looked=np.full(recipe.room, -1),
            flows=np.full((recipe.room, len(FLOW), layers), np.nan),
            seconds=np.zeros(2),
        )

    def tree(self) -> dict[str, Any]:
        """Return all of it as NumPy arrays."""
        state = self.state._replace(key=jax.random.key_data(self.state.key))
        fields = {**vars(self), "state": state}
        return {name: jax.tree.map(np.asarray, value) for name, value in fields.items()}

    def load(self, tree: dict[str, Any]) -> None:
        """Become the run that such a tree was made of."""
        for name, value in tree.items():
            setattr(self, name, value)
        self.state, self.params = jax.tree.map(jnp.asarray, (tree["state"], tree["params"]))
        self.state = self.state._replace(key=jax.random.wrap_key_data(self.state.key))
        self.epoch = int(tree["epoch"])
        self.best = Best(*(value.item() for value in tree["best"]))

    @property
    def looks(self) -> int:
        """The number of looks taken."""
        return int(np.count_nonzero(self.looked >= 0))


class Outcome(NamedTuple):
    """A run as it came out.

    measured: (epochs done + 1, sets, 3), as in Progress.
    looked: (looks,), their epochs.
    flows: (looks, 5, L), as in Progress.
    best: the epoch of `params`.
    params: those of the lowest validation loss; without a validation set the last.
    test: of these parameters, on the host; None without a test set.
    seconds: where the time went.
    ended: why it is over; None if it is not.
    failure: a sentence if the loss is not finite.
    """

    measured: np.ndarray
    looked: np.ndarray
    flows: np.ndarray
    best: int
    params: Layers
    test: Tested | None
    seconds: Seconds
    ended: str | None
    failure: str | None

    @property
    def epochs(self) -> int:
        """The number of epochs done."""
        return len(self.measured) - 1


@dataclass
class Saver:
    """Saves checkpoints: some seconds apart, and never for more than a share of the time.

    save: (epoch, tree) is written.
    every: seconds between checkpoints; at 0 there is one after each epoch.
    epoch: that of the last one, whether or not it could be written.
    """

    save: Callable[[int, Any], None]
    every: float
    epoch: int
    last: float = field(default_factory=time.perf_counter)
    took: float = 0.0

    def due(self) -> bool:
        """Tell whether enough seconds have passed."""
        apart = max(self.every, self.took / SAVING) if self.every > 0 else 0
        return time.perf_counter() - self.last >= apart

    def __call__(self, progress: Progress) -> None:
        """Save a checkpoint, unless it was tried for this epoch.

        One that fails is not tried again: threads of the first may still be writing.
        """
        if progress.epoch == self.epoch:
            return
        self.epoch = progress.epoch
        begun = time.perf_counter()
        self.save(progress.epoch, progress.tree())
        self.last = time.perf_counter()
        self.took = self.last - begun


def train(
    recipe: Recipe,
    progress: Progress,
    saver: Saver,
    stopped: list[int],
    tell: Callable[[Progress], None],
    recorder: Recorder | None = None,
) -> Outcome:
    """Train until the run is over or is stopped, and test; the last epoch done is always saved.

    Args:
        recipe: what to train.
        progress: where the run stands; it is changed in place.
        saver: saves checkpoints.
        stopped: no longer empty if the run is to stop.
        tell: called after each epoch.
        recorder: records each look, for the live page; None without one.

    Returns:
        Outcome; if the loss is not finite, that of the epoch before.

    Raises:
        OSError: a checkpoint cannot be written.
    """
    failure = None
    try:
        _epochs(recipe, progress, saver, stopped, tell, recorder)
    except jaxnn.errors.NonFiniteError as error:
        failure = f"epoch {progress.epoch + 1}, {error}"
    return Outcome(
        progress.measured[: progress.epoch + 1, : len(recipe.sets)],
        progress.looked[: progress.looks],
        progress.flows[: progress.looks],
        int(progress.best.epoch or 0),
        progress.params,
        _test(recipe, progress.params),
        Seconds(*map(float, progress.seconds)),
        ended(recipe, progress),
        failure,
    )


def ended(recipe: Recipe, progress: Progress) -> str | None:
    """Return why a run is over, None if it continues."""
    if progress.epoch >= recipe.epochs:
        return all_done(recipe.epochs)
    return progress.best.stalled(recipe.patience)


def _epochs(
    recipe: Recipe,
    progress: Progress,
    saver: Saver,
    stopped: list[int],
    tell: Callable[[Progress], None],
    recorder: Recorder | None,
) -> None:
    sets = [check_batch(recipe.net, progress.state.params, *each) for each in recipe.sets]
    look = _looking(recipe, progress, *sets[0], recorder)
    if progress.epoch == 0:
        _measure(recipe, progress, sets)
        look()
    passes = jaxnn.train.each_epoch(
        recipe.net,
        progress.state,
        *sets[0],
        recipe.optimizer,
        epochs=0 if ended(recipe, progress) else recipe.epochs - progress.epoch,
        batch=recipe.batch,
    )
    timed = False  # the first epoch compiles
    try:
        before = time.perf_counter()
        for state, _ in passes:
            progress.state, progress.epoch = state, progress.epoch + 1
            _measure(recipe, progress, sets)
            progress.seconds[0] += timed * (time.perf_counter() - before)
            timed, over = True, ended(recipe, progress)
            if over or progress.epoch in recipe.looks_at:
                look()
            if saver.due():
                saver(progress)
            tell(progress)
            if over or stopped:
                break
            before = time.perf_counter()
    finally:
        saver(progress)


def _measure(recipe: Recipe, progress: Progress, sets: list[Any]) -> None:
    """Record the measures of the epoch, and its parameters if they are the best."""
    epoch, params = progress.epoch, progress.state.params
    on_host = jax.device_get(measures.measure(recipe.net, params, sets))
    progress.measured[epoch, : len(sets)] = np.asarray(on_host)
    if epoch == 0:
        return
    validated = len(sets) > 1
    loss = progress.measured[epoch, 1, 0]
    progress.best = progress.best.after(epoch, float(loss)) if validated else Best(epoch)
    if progress.best.epoch == epoch:
        progress.params = params


def _test(recipe: Recipe, params: Layers) -> Tested | None:
    if recipe.test is None:
        return None
    tested: Tested = jax.device_get(
        measures.test(recipe.net, params, *check_batch(recipe.net, params, *recipe.test))
    )
    return tested


def _looking(
    recipe: Recipe, progress: Progress, xs: jax.Array, ys: jax.Array, recorder: Recorder | None
) -> Callable[[], None]:
    """Return a function that looks at the network as it is, compiled already."""
    batch = xs[: recipe.batch], ys[: recipe.batch]
    given, whole = (recipe.net, progress.state.params, *batch), recorder is not None
    compiled = _flow.lower(*given, whole=whole).compile()
    np.asarray(compiled(*given)[0])  # the first call loads the program

    def look() -> None:
        begun = time.perf_counter()
        place = progress.looks
        fields, flow = compiled(recipe.net, progress.state.params, *batch)
        progress.flows[place] = fields
        progress.looked[place] = progress.epoch
        if recorder is not None:
            loss = float(progress.measured[progress.epoch, 0, 0])
            with warnings.catch_warnings():  # an alarm is the recorder's callback
                warnings.simplefilter("ignore", jaxnn.errors.TrainingWarning)
                recorder.measured(progress.epoch * recipe.steps, flow, None, loss)
        progress.seconds[1] += time.perf_counter() - begun

    return look


@partial(jax.jit, static_argnames="whole")
def _flow(
    net: jaxnn.Network, params: Layers, xs: jax.Array, ys: jax.Array, whole: bool
) -> tuple[jax.Array, jaxnn.Flow | None]:
    """Return the fields of a look, and all of the flow if that is recorded."""
    flow = flow_of_net(net, params, xs, ys, examples=whole)
    return jnp.stack([fields.field(flow, name) for name in FLOW]), flow if whole else None
