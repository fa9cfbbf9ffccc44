"""Networks of packages and of the user's own: as they are, cured and as rivals make them, trained.

`network, seed -> the arguments of jaxnn.diagnose -> what is done to it, each a Cure -> its flow and
its trainings, one for each step size -> rows`

The best cures of the first seed are those that are compared; each seed's network is cured anew.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType
from typing import Any

import jax
import numpy as np
import optax
import polars as pl
from jaxtyping import PyTree

from experiments.cures.columns import (
    ACCURACY,
    BEFORE,
    CURE,
    DELTA,
    GRADIENT,
    LOSS,
    NONE,
    rows_of,
)
from experiments.cures.dense import IllDense
from experiments.learning.descent import rows_of_steps
from experiments.runs import cell_sweep, grid, runtime
from jaxnn.flow.verdict.rates import LN10
from jaxnn.models import Program, is_of_torch
from jaxnn.train.learner import Batch
from jaxnn.trials.cure import Cure
from jaxnn.trials.cures import judged, tried_on
from jaxnn.trials.race import SECONDS_OF_CURES
from jaxnn.trials.setup import Attempt, Setup, patient_of

EXAMPLES = 2048  # that cures are tried on, at most
OPTIMIZERS = {name: getattr(optax, name)(1.0) for name in ("sgd", "adam")}


@dataclass(frozen=True)
class Cell(cell_sweep.Point):
    """A network with what is done to it: all seeds, all step sizes."""

    network: str
    framework: str
    change: str


@dataclass(frozen=True, eq=False)
class IllNetwork:
    """A network that is made for each seed.

    make: seed, `BEFORE` or a rival -> the arguments of `jaxnn.diagnose`.
    rivals: what it can be made as, too.
    takes_seed: False if a seed draws the batches alone.
    """

    name: str
    framework: str
    make: Callable[[int, str], dict[str, Any]]
    rivals: Sequence[str] = ()
    takes_seed: bool = True


def dense_in(of: IllDense, framework: str) -> IllNetwork:
    """Return a dense network in a framework, of which PyTorch has the rivals."""
    rivals: ModuleType | None = None
    if framework == "torch":
        from experiments.cures import rivals_torch as rivals  # here, for it imports torch

    def make(seed: int, change: str) -> dict[str, Any]:
        if rivals is None or change == BEFORE:
            return of.built(framework, seed)
        given: dict[str, Any] = rivals.made(of, seed, change)
        return given

    return IllNetwork(of.name, framework, make, () if rivals is None else rivals.names())


def measured(network: IllNetwork, change: str, settings: Any) -> pl.DataFrame:
    """Return the rows of a change of a network, of `CURE` those of the best cures."""
    kinds, frames = list[str](), list[pl.DataFrame]()
    given, done = dict[str, Any](), list[Cure]()
    for seed in runtime.seeds_of(settings):
        if not done or network.takes_seed:
            try:
                given = network.make(seed, BEFORE if change == CURE else change)
                done = _done(given, change, settings, kinds)
            except Exception as error:
                if change not in network.rivals:  # whose packages may end in whatever they do
                    raise
                told = f"{type(error).__name__}: {error}".partition("\n")[0]
                done = [Cure(kind=change, advice=told)]
            kinds = kinds or [one.kind for one in done if one.kind != NONE]
        place = {"network": network.name, "framework": network.framework, "seed": seed}
        for one in done:
            of = place | {"change": one.kind, "advice": one.advice}
            frames += _measured(one, given, settings, of)
    jax.clear_caches()  # type: ignore[no-untyped-call]
    return pl.concat(frames)


def _done(given: dict[str, Any], change: str, settings: Any, kinds: list[str]) -> list[Cure]:
    """Return a network as it is made, or the best cures of it, of some kinds if any are named."""
    seed = given.get("seed", 0)
    patient = patient_of(Program.of(**given), seed)
    if patient.has_loss and Setup.of(patient.program).learner().count > EXAMPLES:
        first = {name: _first(given.get(name)) for name in ("xs", "ys")}
        patient = patient_of(Program.of(**given | first), seed)
    if change != CURE:
        return [judged(patient, change, "", Attempt(patient.params, flow=patient.flow))]
    cures = tried_on(patient, kinds=kinds, seconds=SECONDS_OF_CURES)
    best = {cure.kind: cure for cure in reversed(cures.tried) if cure.works}
    found = [best[kind] for kind in dict.fromkeys(c.kind for c in cures if c.works)]
    return found[: settings.cures] or [Cure(kind=NONE, advice=" ".join(cures.sentences))]


def _first(tree: PyTree) -> Any:
    return jax.tree.map(lambda v: v[:EXAMPLES] if getattr(v, "ndim", 0) else v, tree)


def _measured(
    one: Cure, given: dict[str, Any], settings: Any, place: dict[str, Any]
) -> Iterator[pl.DataFrame]:
    """Yield the flow of a changed network, and what its trainings reach if it has a loss."""
    if one.flow is None:
        yield rows_of({GRADIENT: np.nan}, **place, depth=1)
        return
    delta = np.asarray(one.flow.log_delta, np.float64) / LN10
    place = place | {"depth": len(delta)}
    yield rows_of({DELTA: delta}, **place, layer=np.arange(1, len(delta) + 1))
    if not one.attempt.patient.has_loss:
        return
    optimizer = _optimizer(settings.optimizer, is_of_torch(given["model"]))
    whole = Batch(given["xs"], given.get("ys"))
    program = one.attempt.program.but(xs=whole.xs, ys=whole.ys, optimizer=optimizer)
    setup, steps, seed = Setup.of(program), settings.steps, place["seed"]
    count, batches = setup.learner().count, [whole] * steps
    if count:
        rows = rows_of_steps(count, seed, settings.batch, steps)
        batches = [setup.some(whole, of_step) for of_step in rows]
    for rate in grid.numbers("rates", settings.rates):
        setup.tools.seed(seed)
        learner = replace(setup, times=rate).learner()
        for batch in batches:
            learner.step(batch)
        trial = learner.trial(whole)
        share = accuracy(trial.first, trial.ys)
        reached = {} if share is None else {ACCURACY: share}
        reached[LOSS] = learner.step(whole)  # of all, before one more step
        yield rows_of(reached, **place, step=steps, rate=rate)


def _optimizer(name: str, of_torch: bool) -> Any:
    """Return an optimiser with a step size of 1, of PyTorch a function of parameters."""
    if not of_torch:
        return OPTIMIZERS[name]
    torch = sys.modules["torch"]
    return partial({"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[name], lr=1.0)


def accuracy(output: PyTree, ys: PyTree) -> float | None:
    """Return the fraction of labels that the largest output names; None of others than classes."""
    shape = np.shape(ys)
    if (
        output is None
        or not shape
        or not np.issubdtype(ys.dtype, np.integer)
        or np.shape(output)[:-1] != shape
    ):
        return None
    return float(np.mean(np.argmax(output, axis=-1) == np.asarray(ys)))
