"""The joint test of a law's comparisons, and its power: the smallest error of a formula it sees.

Of comparison i, e = max(0, |measured - predicted| - allowed) is what the known bias does not
explain, and s its standard error. e/s has Student's distribution if s is from repetitions, a normal
one if theory gives it; z is the normal deviation that is as rare. Then

    χ² = Σ z²,   of N comparisons.

Comparisons that share draws are correlated, by r, which their repetitions show. Of such a sum the
mean is N and the variance 2 Σ r² over all pairs, those of a χ² of ν = N²/Σ r² degrees of freedom,
times N/ν (Satterthwaite 1946): ν is the effective number of comparisons. r² is that of a sample of
S, less the 1/(S-1) that independent ones have. A law holds if each comparison is within its
tolerance and χ² is not rarer than what one comparison is beyond four standard errors.

Power: a formula whose factor is wrong by f predicts value + gain · f, to first order. The power is
the smallest f such that this run, with the numbers that it measured, finds both 1 + f and 1 - f
wrong: all errors between are those that it does not see.

`predictions, measurements -> deviations, correlations -> χ², ν, chance; with f -> power`
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from experiments.laws.law import Measured, Predicted

ERRORS = 4.0  # standard errors: in the noise of 100 comparisons, one is outside once in 160 runs
LEVEL = 2 * float(special.ndtr(-ERRORS))  # the chance of χ² below which a law does not hold
UNSEEN = 64.0  # a factor that may be so many times off without notice has no power
STEPS = 40  # of the bisection


class PredictedAndMeasured(NamedTuple):
    """A comparison of a predicted with a measured number."""

    predicted: "Predicted"
    measured: "Measured"

    @property
    def excess(self) -> float:
        """Measured - predicted."""
        return self.measured.value - self.predicted.value

    @property
    def error(self) -> float:
        """The standard error: theory's if it gives one; 0 if there is none, or none counts."""
        known, measured = self.predicted.deviation, self.measured.error
        error = measured or 0.0 if known is None else known
        return error if self.predicted.errors else 0.0

    @property
    def tolerance(self) -> float:
        """By how much both may differ."""
        return self.predicted.allowed + self.predicted.errors * self.error

    def moved(self, factor: str, f: float) -> "PredictedAndMeasured":
        """Return the comparison with a formula whose factor is wrong by f."""
        own = self.predicted
        moved = own._replace(value=own.value + own.gain * f) if own.factor == factor else own
        return self._replace(predicted=moved)

    @property
    def is_bounded(self) -> bool:
        """Tell whether the measured number may not be on this side of the predicted one."""
        return self.predicted.relation != ("≤" if self.excess < 0 else "≥")

    @property
    def holds(self) -> bool:
        """Tell whether the measured number is within its tolerance; a nan is not."""
        within = not self.is_bounded or abs(self.excess) <= self.tolerance
        return math.isfinite(self.excess) and within

    @property
    def deviation(self) -> float:
        """z, at least 0; nan if there is no standard error."""
        if self.error <= 0:
            return math.nan
        if not self.is_bounded:
            return 0.0
        freedom = len(self.measured.samples) - 1 if self.predicted.deviation is None else 0
        return normal(max(0.0, abs(self.excess) - self.predicted.allowed) / self.error, freedom)


class Joint(NamedTuple):
    """χ² of all comparisons: of how many independent ones, and the chance of one as large."""

    chi_square: float
    freedom: float
    chance: float

    @property
    def holds(self) -> bool:
        """Tell whether chance makes it so large; without standard errors there is none to tell."""
        return not self.chance < LEVEL


def normal(t: float, freedom: int) -> float:
    """Return the normal deviation that is as rare as t of Student's distribution.

    Args:
        t: at least 0.
        freedom: its degrees of freedom; 0 or fewer for a normal one.

    Example:
        >>> round(normal(12.71, 1), 2), normal(3.0, 0)  # both tails of 5 %
        (1.96, 3.0)
    """
    if freedom <= 0 or not t:
        return t
    both = special.betainc(freedom / 2, 0.5, freedom / (freedom + t * t))
    return float(-special.ndtri(both / 2))


def joint(comparisons: Sequence[PredictedAndMeasured]) -> Joint:
    """Return χ² with its effective number of comparisons; nan if none has a standard error."""
    known = [c for c in comparisons if c.error > 0]
    return _joint(known, effective(known)) if known else Joint(*(3 * [math.nan]))


def _joint(known: Sequence[PredictedAndMeasured], freedom: float) -> Joint:
    chi_square = sum(c.deviation**2 for c in known)
    if math.isnan(chi_square):
        return Joint(chi_square, freedom, 0.0)
    chance = special.gammaincc(freedom / 2, chi_square * freedom / len(known) / 2)
    return Joint(chi_square, freedom, float(chance))


def effective(comparisons: Sequence[PredictedAndMeasured]) -> float:
    """Return ν = N²/Σ r², from 1 to N; numbers from as many repetitions may share draws."""
    every = [c.measured.samples for c in comparisons]
    shared = 0.0
    for size in {len(samples) for samples in every} - {0, 1, 2}:
        samples = np.array([samples for samples in every if len(samples) == size])
        samples = samples - samples.mean(axis=1, keepdims=True)
        length = np.linalg.norm(samples, axis=1)
        samples = samples[length > 0] / length[length > 0, None]
        square = np.square(samples @ samples.T)
        np.fill_diagonal(square, 1.0)
        # Independent ones have r² = 1/(S-1) on average, and equal ones 1.
        shared += float(np.sum(square * (size - 1) - 1) / (size - 2)) - len(samples)
    number = len(comparisons)
    return number**2 / (number + min(max(shared, 0.0), number * (number - 1)))


def power(comparisons: Sequence[PredictedAndMeasured], factor: str) -> float:
    """Return the smallest error of a factor, as a part of it, that is seen whatever its sign.

    inf if none is, and nan if the law does not hold as it is.
    """
    known = [c for c in comparisons if c.error > 0]
    freedom = effective(known) if known else math.nan

    def seen(f: float) -> bool:
        moved = [c.moved(factor, f) for c in comparisons]
        together = [c.moved(factor, f) for c in known]
        holds = all(c.holds for c in moved)
        return not (holds and (not known or _joint(together, freedom).holds))

    if seen(0.0):
        return math.nan
    return max(_smallest(seen, sign) for sign in (1.0, -1.0))


def _smallest(seen: Callable[[float], bool], sign: float) -> float:
    """Bisect for the smallest error of one sign that is seen, on a logarithmic scale."""
    low, high = 1e-6, UNSEEN
    if not seen(sign * high):
        return math.inf
    for _ in range(STEPS):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if seen(sign * middle) else (middle, high)
    return high
