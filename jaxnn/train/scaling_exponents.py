"""Exponents: the power of width, or depth, with which a number goes, and which are unlike others.

ln size[l] = exponent · ln width + constant     a line through all widths and seeds

An exponent comes in halves where the step sizes or branches of all arrays are scaled wrongly; one
array that was forgotten may show as little as a tenth. So each exponent is also tested, by its own
error (Student's t), against zero and against its like. Of many tests some fail by chance: Holm's
step-down procedure keeps the chance of any at 5 % (Holm 1979, Scand. J. Statist. 6, 65).
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import stdtr

FEWEST = 3  # widths, or depths
LIMIT = 0.25  # exponents come in halves: what is nearer to 0 than to ½ is taken for 0
CLEAR = 3  # standard errors
DEPARTS = 0.1  # of an exponent from that of others
LEVEL = 0.05  # of all tests together


class Exponent(NamedTuple):
    """The power of width with which a number goes, and its standard error; nan if not known."""

    value: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:+.2f} ± {self.error:.2f}" if self.value == self.value else "not known"

    @property
    def word(self) -> str:
        """Growing, falling, steady, or unclear, where the limit is within an error."""
        size = abs(self.value)
        if size - self.error > LIMIT and size >= CLEAR * self.error:
            return "growing" if self.value > 0 else "falling"
        return "steady" if size + self.error <= LIMIT else "unclear"


def exponent_of(sizes: Sequence[int], log: Float[np.ndarray, "W S"]) -> Exponent:
    """Return the slope of a line through the logarithms of a number at some widths, or depths.

    Args:
        sizes: the widths, or depths.
        log: ln of the number at each, of each seed.

    Example:
        >>> print(exponent_of([1, 4, 16], np.log([[3.0], [6.0], [12.0]])))
        +0.50 ± 0.00
    """
    if len(log) < FEWEST or not np.isfinite(log).all():
        return Exponent(np.nan, np.nan)
    x = np.broadcast_to(np.log(sizes)[:, None], log.shape)
    off, square = x - x.mean(), np.sum((x - x.mean()) ** 2)
    slope = np.sum(off * log) / square
    rest = log - log.mean() - slope * off
    return Exponent(float(slope), float(np.sqrt(np.sum(rest**2) / (log.size - 2) / square)))


def significant(
    off: Sequence[float], errors: Sequence[float], freedom: int, level: float = LEVEL
) -> list[bool]:
    """Tell which numbers are not zero, by Student's t, with Holm's correction for their count.

    Args:
        off: the numbers.
        errors: their standard errors.
        freedom: degrees of freedom of each error.
        level: the chance that any of them is taken for one by accident.

    Example:
        >>> significant([0.156, 0.03, 0.02], [0.032, 0.03, 0.03], 7)
        [True, False, False]
        >>> significant([0.09] * 3, [0.032, 0.2, 0.2], 7), significant([0.09], [0.032], 7)
        ([False, False, False], [True])
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(np.array(off, float)) / np.array(errors, float)
    chances = np.nan_to_num(2 * stdtr(max(freedom, 1), -t), nan=1.0)
    told = [False] * len(t)
    for rank, i in enumerate(np.argsort(chances)):
        if chances[i] > level / (len(t) - rank):
            break
        told[i] = True
    return told


class Outlier(NamedTuple):
    """An exponent that is off the median of its group.

    place: of it among all, from 0.
    exponent: itself.
    usual: the median.
    others: the number of others in its group.
    """

    place: int
    exponent: Exponent
    usual: Exponent
    others: int


def outliers(
    groups: Sequence[Sequence[int]],
    exponents: Sequence[Exponent],
    freedom: int,
    suspects: Collection[int] | None = None,
) -> list[Outlier]:
    """Return those that are off the median of their group by .1 or more, and significantly so.

    Args:
        groups: the places of those that are alike.
        exponents: all of them.
        freedom: degrees of freedom of each error.
        suspects: the only ones to be tested; all if None.
    """
    tested = []
    for group in groups:
        usual = sorted(exponents[i] for i in group)[(len(group) - 1) // 2]
        tested += [
            Outlier(i, exponents[i], usual, len(group) - 1)
            for i in group
            if suspects is None or i in suspects
        ]
    off = [one.exponent.value - one.usual.value for one in tested]
    errors = [float(np.hypot(one.exponent.error, one.usual.error)) for one in tested]
    told = significant(off, errors, freedom)
    return [
        one
        for one, difference, is_told in zip(tested, off, told, strict=True)
        if is_told and abs(difference) >= DEPARTS
    ]


def mean_over_steps(log: Float[np.ndarray, "W S T L"]) -> Float[np.ndarray, "W S L"]:
    """Return ln of the root mean square over all steps, from ln of that of each."""
    return log_rms_along(2, log[:, :, 1:])


def log_rms_along(axis: int, logs: np.ndarray) -> np.ndarray:
    """Return ln of the root mean square, along an axis, of numbers given by logarithms."""
    with np.errstate(invalid="ignore"):  # of numbers that are nan or infinite
        total = np.logaddexp.reduce(2 * logs, axis=axis)
    return np.asarray((total - np.log(logs.shape[axis])) / 2)
