"""A law: its prediction, its measurement, and when the two agree.

`setup -> predict -> Prediction;  setup, key -> measure -> Measurement;  both -> compare -> rows`

A law is a module. Its docstring begins with `Law N: ` and what it states, and derives that; and

    SOURCE         the publication, and what is derived here instead
    FULL, QUICK    two set-ups
    predict        setup -> `Predicted` numbers; called in float64
    measure        setup, key -> cases with their `Measured` number
    COARSE         pairs of a factor, and why its power is no smaller, for those that no formula
                   settles; may be left out
    NEEDS          packages of its networks, which need not be installed; may be left out

A prediction never sees the measurement, nor the measurement the prediction. They agree if

    |measured - predicted| <= tolerance = allowed + errors · (standard error of the measured)

and for a bound (≥, ≤) only the one side counts. `allowed` is what theory leaves open of a finite
width, a finite step or rounding; nothing in it is fitted, and a bias that is known is part of the
prediction. All comparisons of a law are tested together by a χ², and each names the factor of the
formula that it tests: `power` says by how much that may be wrong without being seen.
"""

import importlib.util
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from experiments.laws.columns import COLUMNS
from experiments.laws.power import ERRORS, Joint, PredictedAndMeasured, joint, power

Relation = Literal["=", "≥", "≤"]

REALS = ("deviation", "chi_square", "freedom", "chance", "power")  # without a number, null


class Predicted(NamedTuple):
    """A number that a law predicts, and how far from it a measurement may be.

    case: what is compared; the measurement gives it the same name.
    allowed: the part of the tolerance that is known beforehand.
    reason: where the tolerance comes from, for the table.
    errors: how many standard errors of the measurement are added to the tolerance.
    relation: whether the value itself is predicted (=), or a lower (≥) or upper bound (≤).
    factor: of the formula, which the case tests; empty for none.
    gain: of the value, for a factor that is larger by a small part, over that part.
    deviation: the standard error that theory gives the measurement, instead of the measured one.
    """

    case: str
    value: float
    allowed: float = 0.0
    reason: str = "4 standard errors"
    errors: float = ERRORS
    relation: Relation = "="
    factor: str = ""
    gain: float = 0.0
    deviation: float | None = None

    def about(
        self, factor: str, gain: float | None = None, deviation: float | None = None
    ) -> "Predicted":
        """Return the prediction with the factor that it tests, and the error that theory gives.

        The gain of a number that is multiplied by its factor, the number itself, may be left out.
        """
        gain = self.value if gain is None else gain
        return self._replace(factor=factor, gain=gain, deviation=deviation)


class Measured(NamedTuple):
    """A measured number, with its standard error if the measurement was repeated.

    samples: what each repetition adds to it, by which numbers of the same draws are compared.
    """

    value: float
    error: float | None = None
    samples: np.ndarray = np.zeros(0)


class Setup(SimpleNamespace):
    """Widths, layers, numbers of networks and the like, by names that the law chooses."""

    def but(self, **changes: Any) -> "Setup":
        """Return the set-up with changes."""
        return Setup(**(vars(self) | changes))


# What a law says, one after the other: predicted numbers, or cases and what was measured of each.
Told = Iterator[Predicted | tuple[str, Measured]]


@dataclass(frozen=True)
class Law:
    """A published law with the pair of functions that test it; a cell of a run."""

    number: int
    name: str
    statement: str
    source: str
    predict: Callable[[Setup], Told]
    measure: Callable[[Setup, jax.Array], Told]
    full: Setup
    quick: Setup
    coarse: tuple[tuple[str, str], ...] = ()
    needs: tuple[str, ...] = ()

    @classmethod
    def of(cls, module: ModuleType) -> "Law":
        """Return the law of a module."""
        told = re.match(r"Law (\d+): (.*)\.", module.__doc__ or "")
        assert told, module
        return cls(
            int(told[1]),
            module.__name__.rpartition(".")[2].replace("_", "-"),
            told[2],
            *(module.SOURCE, module.predict, module.measure, module.FULL, module.QUICK),
            *(getattr(module, "COARSE", ()), getattr(module, "NEEDS", ())),
        )

    @property
    def lacking(self) -> list[str]:
        """Packages that it needs and that are not installed."""
        return [name for name in self.needs if importlib.util.find_spec(name) is None]

    @property
    def label(self) -> str:
        """A few words for the view."""
        return f"{self.number} {self.name}"

    @property
    def place(self) -> dict[str, Any]:
        """The columns of its rows in which cells differ."""
        return {"law": self.name}

    def prediction(self, setup: Setup) -> tuple[Predicted, ...]:
        """Return all that it predicts."""
        return tuple(v for v in self.predict(setup) if isinstance(v, Predicted))

    def measurement(self, setup: Setup, key: jax.Array) -> dict[str, Measured]:
        """Return all that it measures."""
        return dict(v for v in self.measure(setup, key) if not isinstance(v, Predicted))

    def setup(self, quick: bool) -> Setup:
        """Return the set-up of the full run or of the quick one."""
        return self.quick if quick else self.full


class Outcome(NamedTuple):
    """A law and its comparisons: rows with the columns of `laws.columns`."""

    law: Law
    rows: pl.DataFrame

    @property
    def together(self) -> Joint:
        """The joint test of the comparisons."""
        numbers = self.rows.select("chi_square", "freedom", "chance").row(0)
        return Joint(*(math.nan if number is None else number for number in numbers))

    @property
    def holds(self) -> bool:
        """Tell whether every comparison does, and all together."""
        return bool(self.rows["holds"].all()) and self.together.holds


def examine(law: Law, quick: bool, seed: int) -> pl.DataFrame:
    """Predict in float64, measure in the user's float, compare; see `compare`."""
    setup = law.setup(quick)
    with jax.enable_x64(True):
        prediction = law.prediction(setup)
    key = jax.random.fold_in(jax.random.key(seed), law.number)
    return compare(law, prediction, law.measurement(setup, key))


def compare(
    law: Law, prediction: Sequence[Predicted], measurement: Mapping[str, Measured]
) -> pl.DataFrame:
    """Return a row a comparison, with the columns of `laws.columns`."""
    comparisons = [PredictedAndMeasured(p, measurement[p.case]) for p in prediction]
    factors = dict.fromkeys(p.factor for p in prediction if p.factor)
    powers = {factor: power(comparisons, factor) for factor in factors}
    together = joint(comparisons)
    rows = [
        (
            *(law.name, predicted.case, law.source, predicted.relation),
            *(predicted.value, *measured[:2], each.tolerance, each.deviation),
            *(predicted.reason, each.holds, *together),
            *(predicted.factor, powers.get(predicted.factor)),
        )
        for each in comparisons
        for predicted, measured in [each]
    ]
    schema = {name: column.dtype for name, column in COLUMNS.items()}
    return pl.DataFrame(rows, schema, orient="row").with_columns(pl.col(*REALS).fill_nan(None))


def mean_of(samples: ArrayLike) -> Measured:
    """Return the mean of repetitions with its standard error."""
    values = np.asarray(samples, np.float64).ravel()
    error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    return Measured(float(np.mean(values)), error, values)


def log_mean_of(logs: ArrayLike) -> Measured:
    """Return the logarithm of the mean of repetitions, given theirs, with its standard error.

    Theory predicts means of squares; the mean of a logarithm is lower, by half its variance.
    """
    values = np.asarray(logs, np.float64).ravel()
    top = float(np.max(values))
    shares = np.exp(values - top)
    mean = float(np.mean(shares))
    of_mean = mean_of(shares / mean)
    return of_mean._replace(value=top + math.log(mean))
