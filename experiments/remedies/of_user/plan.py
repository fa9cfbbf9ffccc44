"""The remedies of a network of the user's own: does it train, as it is and cured?

`FILE.py:NAME -> for each seed a network and its cures -> cells (change, seed, step size): its flow,
or a training -> rows -> the best step size of each change -> words, table, picture, page`

The best cures of the first seed are those that are compared; each seed's network is cured anew.
"""

import dataclasses
import inspect
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl

from experiments.learning import data
from experiments.remedies import rates as step_sizes
from experiments.remedies.columns import ACCURACY, CHART, DELTA, DTYPES, LOSS
from experiments.remedies.of_user import report
from experiments.remedies.of_user.networks import Networks, Variant, networks
from experiments.remedies.of_user.training import OPTIMIZERS, Rule
from experiments.runs import experiment, grid, own, runtime, sweep
from experiments.runs.experiment import Conclusion
from experiments.runs.store import Store
from jaxnn.cli import allocation, contract, source
from jaxnn.curing.changes import CURES
from jaxnn.flow.verdict.rates import LN10
from jaxnn.returned import arguments
from jaxnn.texts import counted

ONLY = "expected without FILE.py:NAME alone, for the networks are those of your function"

log = logging.getLogger("jaxnn.experiments")


@dataclass(frozen=True)
class Settings(runtime.Options):
    """The settings of the remedies that apply to a network of the user's own."""

    network: str = ""
    data: str = ""
    optimizer: str = ""
    rates: tuple[str, ...] = ()
    batch: int = 1
    steps: int = 1
    cures: int = 1
    seeds: int = 1
    seed: int = 0


@dataclass(frozen=True)
class Cell(sweep.Point):
    """A change of the network of a seed: trained with a step size, or of 0 its flow."""

    remedy: str
    seed: int
    rate: float


@dataclass
class Maker:
    """The user's function; it holds the network of the last seed.

    make: the function.
    module: that it is in.
    dataset: to train by, without a loss of the user's own.
    """

    code: source.UserCode
    make: Callable[..., Any]
    module: ModuleType
    dataset: data.Dataset
    rule: Rule
    kinds: list[str] | None = None
    last: tuple[int | None, Networks, dict[str, Variant]] | None = None

    @property
    def takes_seed(self) -> bool:
        """True if a seed draws the network; otherwise it draws the batches alone."""
        return "seed" in inspect.signature(self.make).parameters

    def of(self, seed: int, most: int) -> tuple[Networks, dict[str, Variant]]:
        """Return the network of a seed with its cures, `most` at most, and those to compare."""
        which = seed if self.takes_seed else None
        if self.last is None or self.last[0] != which:
            options = {"seed": seed} if self.takes_seed else {}
            given = arguments(self.make(**options), f"{self.code}()")
            if not given:
                raise ValueError(
                    f"{self.code}(): expected it to return a network with its data, got a "
                    "Diagnosis; return what jaxnn.diagnose was given"
                )
            kinds = tuple(CURES) if self.kinds is None else self.kinds
            made = networks(given, self.dataset, self.rule, f"{self.code}()", kinds)
            self.kinds = made.best(most) if self.kinds is None else self.kinds
            self.last = which, made, made.variants(self.kinds)
        return self.last[1:]


@dataclass(frozen=True)
class Plan(experiment.PlanOfUser):
    """The checked settings, the cells, and the user's function; no maker of a dry run."""

    settings: Settings
    cells: tuple[Cell, ...] = ()
    maker: Maker | None = field(default=None, compare=False)
    first: Networks | None = field(default=None, compare=False)
    variants: dict[str, Variant] = field(default_factory=dict, compare=False)

    def estimate(self) -> str:
        """Return the cost of the run in words."""
        of = self.settings
        rates = len(grid.numbers("rates", of.rates))
        trainings = counted((1 + of.cures) * of.seeds * rates, "training")
        return (
            f"{trainings} of {counted(of.steps, 'step')}; {self.code.name}() of "
            f"{self.code.path.name} has the costs"
        )

    @property
    def subtitle(self) -> str:
        """One line on what was trained."""
        assert self.first is not None
        assert self.maker is not None
        of, rule = self.settings, self.first.rule
        draws = "weights and batches" if self.maker.takes_seed else "batches alone"
        return (
            f"{self.code}, whose code was run; trained on {self.first.words} by "
            f"{counted(of.steps, 'step')} of {rule.optimizer}, batches of {rule.batch}, the best "
            f"of the step sizes {' '.join(of.rates)}; {counted(of.seeds, 'seed')} from {of.seed}, "
            f"of {draws}"
        )


def prepare(settings: Any, check: Callable[[Plan], None]) -> Plan:
    """Check the settings, run the user's function, and try what cures the first network.

    Raises:
        ValueError, TypeError, OSError: one sentence; nothing has been written then.
        FailedError: the memory ends.
    """
    names = [each.name for each in dataclasses.fields(Settings)]
    reading = [each.name for each in dataclasses.fields(data.Options)]
    runtime.check_only(settings, [*names, *reading], ONLY)
    if settings.distributed:
        raise ValueError("distributed: a network of your own is trained by one process")
    runtime.check(settings, several=("rates",))
    runtime.check_known("optimizer", (settings.optimizer,), OPTIMIZERS)
    rates = step_sizes.check(settings.rates)
    dataset = data.load(settings.data, settings)
    if dataset.task == "regression":
        raise ValueError(f"data: expected classes to tell apart, got {dataset}")
    code = own.read(settings.network, source.NETWORK, "a function in a file", _MORE)
    values = {name: getattr(settings, name) for name in names}
    plan = Plan(Settings(**values | {"network": str(code), "data": dataset.name}), code)
    if settings.dry_run:
        return plan
    check(plan)
    log.info("running %s() of %s, and trying what cures its network", code.name, code.path)
    rule = Rule(settings.optimizer, settings.batch, settings.steps)
    with source.imported(code) as module, source.running(code, module):
        maker = Maker(code, code.function(), module, dataset, rule)
        first, variants = _in_memory(lambda: maker.of(settings.seed, settings.cures))
        if first.is_own and settings.data != type(settings)().data:
            raise ValueError("data: expected none with a network that brings its own, and its loss")
    return dataclasses.replace(
        plan, cells=tuple(_cells(plan, [*variants], rates)), maker=maker, first=first,
        variants=variants,
    )  # fmt: skip


_MORE = "; see diagnose --help"


def _cells(plan: Plan, names: list[str], rates: tuple[float, ...]) -> Iterator[Cell]:
    of = plan.settings
    for seed in range(of.seed, of.seed + of.seeds):  # a network of a seed is made once
        for name in names:
            yield from (Cell(name, seed, rate) for rate in (0.0, *rates))


def _in_memory(of: Callable[[], Any]) -> Any:
    try:
        return of()
    except (MemoryError, RuntimeError) as error:
        said = allocation.sentence(error, contract.SMALLER)
        if said is None:
            raise
        raise runtime.FailedError(said) from None


def measure(plan: Plan, store: Store | None) -> tuple[list[pl.DataFrame | None], bool]:
    """Measure and train what is missing.

    Raises:
        FailedError: one sentence on a mistake in the user's code that only training shows.
    """
    try:
        return sweep.measure(plan, store, partial(_rows_of, plan))
    except (ValueError, TypeError) as mistake:
        raise runtime.FailedError(str(mistake)) from None


def _rows_of(plan: Plan, cell: Cell) -> pl.DataFrame:
    """Return the rows of a flow or of a training; none of a cure that this seed has not."""
    assert plan.maker is not None
    with source.running(plan.code, plan.maker.module):
        made = plan.maker.of(cell.seed, plan.settings.cures)[1]
        if cell.remedy not in made:
            return pl.DataFrame(schema=DTYPES)
        variant = made[cell.remedy]
        depth = len(variant.flow.names)
        if not cell.rate:
            values = {DELTA: np.asarray(variant.flow.log_delta, np.float64) / LN10}
            at = {"layer": np.arange(1, depth + 1), "step": None}
        else:
            curve = _in_memory(lambda: variant.trained(cell.rate, cell.seed))
            values = {LOSS: curve.loss, ACCURACY: curve.accuracy}
            at = {"layer": None, "step": curve.steps}
    place = {"remedy": cell.remedy, "depth": depth, "seed": cell.seed, "rate": cell.rate, **at}
    return pl.concat(
        pl.DataFrame({name: {**place, "quantity": quantity, "value": of}[name] for name in DTYPES},
                     DTYPES)
        for quantity, of in values.items()
        if of is not None
    )  # fmt: skip


def conclude(plan: Plan, frames: list[pl.DataFrame | None]) -> Conclusion:
    """Compare the network as it is with what cures have made of it."""
    from experiments.remedies.of_user import page  # here, for it imports Altair

    assert plan.first is not None
    rows, missing = sweep.gathered(plan, frames)
    cases = report.cases(rows, missing)
    advice = {name: variant.advice for name, variant in plan.variants.items()}
    verdicts = report.sentences(cases, advice)
    if len(plan.variants) == 1 and plan.settings.cures:
        verdicts += plan.first.cures.sentences
    drawn = page.Drawn.of_rows(rows, cases, str(plan.code), plan.subtitle)
    return Conclusion(
        rows,
        verdicts,
        {CHART: page.figure(drawn)},
        page=partial(page.page, drawn, cases, tuple(verdicts)),
        about=runtime.frameworks() | {"advice": advice},
        missing=missing,
    )
