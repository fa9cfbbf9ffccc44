"""The training: `jaxnn.fit`, measured after each epoch, with looks at the gradient on the way.

A look is the flow of one batch's gradient, always the same batch: what changes is the network. It
is taken before the first epoch and after the last, and between them at epochs evenly spaced.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxnn
from experiments.learning.data import METRIC
from experiments.learning.networks import field as field_of
from experiments.train.columns import QUANTITIES
from jaxnn.flow.measure.flow_of_net import flow_of_net
from jaxnn.network.checks import check_batch
from jaxnn.network.params import Layers
from jaxnn.texts import counted
from jaxnn.train.steps import Optimizer, steps_per_epoch

Set = tuple[np.ndarray, np.ndarray]  # xs, (N, n[0]), and labels, (N,)


@dataclass(frozen=True)
class Recipe:
    """Everything that stays the same from epoch to epoch."""

    net: jaxnn.Network
    optimizer: Optimizer
    sets: dict[str, Set]  # training, and validation and test, if there are any
    epochs: int
    batch: int
    patience: int | None
    looks: int

    @property
    def steps(self) -> int:
        """Steps to an epoch."""
        return steps_per_epoch(len(self.sets["training"][0]), self.batch)

    @property
    def looks_at(self) -> list[int]:
        """The epochs after which a look is taken, if the training gets there."""
        return np.linspace(0, self.epochs, self.looks).round().astype(int).tolist()


class Best(NamedTuple):
    """The epoch of lowest validation loss so far."""

    epoch: int
    loss: float = np.inf  # its validation loss
    waited: int = 0  # epochs since

    def after(self, epoch: int, loss: float) -> "Best":
        """Return the best epoch once this one is done too; of equal losses the first counts."""
        if loss < self.loss:
            return Best(epoch, loss)
        return self._replace(waited=self.waited + 1)


@dataclass
class TrainingCourse:
    """A training as it went, epoch by epoch."""

    recipe: Recipe
    params: Layers  # of the lowest validation loss; without a validation set the last
    best: Best = field(default_factory=lambda: Best(0))  # the epoch of `params`
    scores: list[dict[str, jaxnn.train.Scores]] = field(default_factory=list)  # from epoch 0
    looked: list[int] = field(default_factory=list)  # the epochs of the looks
    flows: list[np.ndarray] = field(default_factory=list)  # their fields, (5, L) each
    seconds: float = 0.0  # that the looks took
    ended: str | None = None  # the reason why it is over; None if it was stopped
    failure: str | None = None  # a sentence if the loss is not finite

    @property
    def epochs(self) -> int:
        """The number of epochs done."""
        return len(self.scores) - 1


class _OverError(Exception):
    """The training ends before its last epoch."""


def train(
    recipe: Recipe,
    params: Layers,
    key: jax.Array,
    stopped: list[int],
    tell: Callable[[str | None], None],
) -> TrainingCourse:
    """Train until it is over, `stopped` is no longer empty, or the loss is not finite.

    `tell` hears words after each epoch.
    """
    net, course = recipe.net, TrainingCourse(recipe, params)
    sets = {n: check_batch(net, params, *v) for n, v in recipe.sets.items() if n != "test"}
    look = _looking(course, *sets["training"])

    def after(params: Layers) -> None:
        course.scores.append({n: jaxnn.train.evaluate(net, params, *v) for n, v in sets.items()})
        epoch = course.epochs
        validation = course.scores[-1].get("validation")
        if epoch and validation is not None:
            course.best = course.best.after(epoch, float(validation.loss))
        elif epoch:
            course.best = Best(epoch)
        if course.best.epoch == epoch:
            course.params = params
        if epoch == recipe.epochs:
            course.ended = (
                "The one epoch is done." if epoch == 1 else f"All {epoch} epochs are done."
            )
        elif recipe.patience is not None and course.best.waited >= recipe.patience:
            vain = counted(recipe.patience, "epoch")
            course.ended = f"No lower validation loss for {vain}."
        if epoch in recipe.looks_at or course.ended or stopped:
            look(params)
        tell(f"epoch {epoch} of {recipe.epochs}, {words(course.scores[-1], METRIC[net.task.name])}")
        if course.ended or stopped:
            raise _OverError

    try:
        after(params)
        jaxnn.fit(
            net,
            params,
            *sets["training"],
            recipe.optimizer,
            epochs=recipe.epochs,
            batch=recipe.batch,
            key=key,
            callback=lambda state: after(state.params),
        )
    except _OverError:
        pass
    except jaxnn.errors.NonFiniteError as error:
        course.failure = f"epoch {course.epochs + 1}, {error}"
    return course


def words(scores: dict[str, jaxnn.train.Scores], metric: str) -> str:
    """Return loss and metric of the sets in a few words."""
    parts = (f"{name} {float(v.loss):.3g} ({float(v.metric):.3g})" for name, v in scores.items())
    return f"loss ({metric}): {', '.join(parts)}"


def _looking(course: TrainingCourse, xs: jax.Array, ys: jax.Array) -> Callable[[Layers], None]:
    """Return a function that looks at the network as it is."""
    recipe = course.recipe
    batch = xs[: recipe.batch], ys[: recipe.batch]
    np.asarray(_flow(recipe.net, course.params, *batch))  # compiles

    def look(params: Layers) -> None:
        begun = time.perf_counter()
        course.flows.append(np.asarray(_flow(recipe.net, params, *batch), np.float64))
        course.looked.append(course.epochs)
        course.seconds += time.perf_counter() - begun

    return look


@jax.jit
def _flow(net: jaxnn.Network, params: Layers, xs: jax.Array, ys: jax.Array) -> jax.Array:
    """Return the fields of a look."""
    flow = flow_of_net(net, params, xs, ys, examples=False)
    return jnp.stack([field_of(flow, quantity.field) for quantity in QUANTITIES.values()])
