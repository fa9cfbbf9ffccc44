"""Rates: what each of the repeated layers does to a gradient, and the word for all of them.

    flow -> layers that repeat -> their factors g[l] = log₁₀ ‖Δ[l-1]‖ - log₁₀ ‖Δ[l]‖ -> a word
    flow -> all factors -> the whole network = the layers that repeat + the rest

Layers repeat where their parameter arrays, states and names are alike, alone or in patterns such as
attention and MLP. A factor counts if the layers on both of its sides belong to one such stretch, of
three patterns and more in whole patterns: a branch at the begin of one has a Δ of its own size.
What an embedding, a norm or a head does once is no rate. Of a Network they are the hidden layers,
without the first one where the states of all others are normalised.

The rate is the mean of the factors without the one or two that stand out. Its standard error is
sd(g) / √count, of what is left once each place of a pattern has its mean taken off. A word is a
test: the rate differs from zero beyond its error, and all factors together make more than ten, or
where each is small, more than ten and what chance makes of so many: that is steady.
Two laws are slower than an exponential; their factors, here natural logarithms, fade with l:

    a power                    |Δ[l]| ~ (l + l₀)^-c       g[l] = c ln (1 + 1 / (l + l₀))
    a stretched exponential    |Δ[l]| ~ e^(-c √(l + l₀))  g[l] = c (√(l + l₀ + 1) - √(l + l₀))

The second is that of residual layers whose activation is bounded (Yang & Schoenholz 2017,
arXiv:1712.08969). A law is told from a constant rate if it leaves clearly smaller squares, the
second from the first too, its constant is told from zero, and each has to make the total.

The rest may do what the repeated layers do not. If these are steady, but all factors together, or
five or more of the rest, pass the test of vanishing or exploding, all of them count. If not, as few
layers make the change, it is erratic from a factor of a thousand on: an embedding or a head of a
healthy network changes the gradient once by up to a hundred.
"""

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ...network.blocks import PostNorm
from ..record.flow import Flow

LN10 = float(np.log(10))
DECADES = 1.0  # what all layers together may change and still be called steady
MOST_ONCE = 3.0  # what the rest may change around steady layers: an embedding's norm makes 1 to 2
MANY_OTHERS = 5  # factors of the rest, from which on it is tested like the layers that repeat
TOLD, CLEAR = 2, 3  # standard errors from which on a rate, and the constant of a law, are told
BY_CHANCE, SLOW, FAR = (
    2.5,
    0.05,
    2.5,
)  # errors of what slow layers, up to so far, make and are steady
UNCLEAR = "not distinguishable from steady"
POWER_LAW = "a power law of depth"
STRETCHED = "a stretched exponential of depth"
ERRATIC = "erratic"
ILL = ("vanishing", "exploding", ERRATIC)
LONGEST_PATTERN = 8  # layers
COVERED = 1 / 3  # of the layers repeat, or all count
MOST_OUTLIERS = 2
STANDS_OUT = 0.5  # decades, and 6 times the median deviation of the factors
FEW_LAYERS = 5  # of a Network: then all hidden layers count
TOO_FEW, THEIR_DECADES = 3, 2.0  # factors that are no rate, unless they make more than this
OFFSETS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0)  # l₀ of a law, those up to a quarter of the depth
SHAPES = {  # of a law's factors, at l + l₀
    POWER_LAW: lambda place: np.log10(1 + 1 / place),
    STRETCHED: lambda place: (np.sqrt(place + 1) - np.sqrt(place)) / LN10,
}
LARGEST = 1.5  # c: of a skip ½, of a critical signal up to 1, of bounded residual layers 0.6
LEAST_FACTORS = {POWER_LAW: 4, STRETCHED: 48}  # of fewer a signal that settles looks alike
LITTLE_OF_TOTAL, PART_OF_TOTAL = 0.4, 0.5  # that a law may miss, and if its errors allow it


class RepeatedStretch(NamedTuple):
    """Layers from start to before stop, counted from 0, that repeat in patterns of `period`."""

    start: int
    stop: int
    period: int

    @property
    def first_factor(self) -> int:
        """The lowest factor that counts: of three patterns and more whole patterns alone do."""
        length = self.stop - self.start
        return self.start + (length - 1) % self.period * (length >= 3 * self.period)


class DepthLaw(NamedTuple):
    """Growth towards the input by a law of depth that is slower than an exponential."""

    word: str
    constant: float  # c; above 0 if the gradient grows towards the input
    error: float  # its standard error
    offset: float  # l₀


class LayerChange(NamedTuple):
    """The factor by which one layer changes the gradient. Layers are counted from 1."""

    layer: int
    decades: float


@dataclass(frozen=True)
class Rate:
    """The rate at which the repeated layers change a gradient, and the word for it."""

    word: str
    decades: float  # the mean factor, towards the input, without `outliers`
    standard_error: float  # nan for a single factor
    total: float  # decades of the whole network
    repeated: float  # those of the factors that the rate is over, `outliers` too
    law: DepthLaw | None
    layers: int  # their number
    stretches: tuple[RepeatedStretch, ...]  # of these layers, counted from 0
    outliers: tuple[LayerChange, ...]  # at most two
    others: tuple[LayerChange, ...]  # between and around the layers that repeat, the largest first

    @property
    def ill(self) -> bool:
        """True if the gradient is lost by these layers: of a law of depth from a thousand on."""
        return self.word in ILL or (self.law is not None and abs(self.repeated) >= MOST_ONCE)

    @property
    def is_short(self) -> bool:
        """True if up to three factors make ten, but not a hundred: that is no rate."""
        return self.word == UNCLEAR and self.layers - len(self.stretches) <= TOO_FEW

    @property
    def is_mild(self) -> bool:
        """True if a gradient that vanishes, explodes or is erratic changes by under a thousand."""
        of_outliers = [change.decades for change in self.outliers]
        makes = max(abs(v) for v in (self.repeated, self.total, *of_outliers))
        return self.word in ILL and makes < MOST_ONCE

    @property
    def once(self) -> tuple[LayerChange, ...]:
        """Those of `others` that change the gradient by ten or more."""
        return tuple(change for change in self.others if abs(change.decades) >= DECADES)

    @property
    def rest(self) -> float:
        """The decades of all but the layers that the rate is over."""
        return self.total - np.nan_to_num(self.repeated)


def word_of(rate: float, total: float, error: float) -> str:
    """Return the word for a rate in decades a layer, given the layers' total and its error."""
    if np.isnan(rate):
        return "unknown"
    is_slow = abs(rate) < SLOW and abs(total) < FAR
    by_chance = BY_CHANCE * np.nan_to_num(error) * abs(total / rate) if is_slow and rate else 0.0
    if abs(total) <= DECADES + by_chance:
        return "steady"
    if abs(rate) < TOLD * error:
        return UNCLEAR
    return "exploding" if rate > 0 else "vanishing"


def rate_of(flow: Flow, used: np.ndarray) -> Rate:
    """Judge the factors of a flow's repeated layers, given the indices of the layers in use."""
    if flow.net is not None:
        hidden = (RepeatedStretch(_first_alike(flow, used), len(used) - 1, 1),)
        return judge(gain_of(flow, used), hidden, used)
    kinds = kinds_of(flow)[flow.unmeasured :]
    stretches = repeated(kinds)
    return judge(gain_of(flow, used), stretches, used, are_alike(kinds, stretches))


def gain_of(flow: Flow, used: np.ndarray) -> np.ndarray:
    """Return the factors of all layers, entry i of what the layer at i + 1 does, in decades."""
    return np.asarray(np.asarray(flow.log_gain, np.float64)[used[:-1]] / LN10)


def to_change(gain: np.ndarray, rate: Rate) -> tuple[RepeatedStretch, ...]:
    """Return the layers whose weights decide the rate: all, if the rest alone were ill."""
    rest = gain.copy()
    for stretch in rate.stretches:
        rest[stretch.start : stretch.stop - 1] = 0
    return judge(rest, rate.stretches, np.arange(len(gain) + 1)).stretches


def _first_alike(flow: Flow, used: np.ndarray) -> int:
    """Return the first hidden layer of a Network whose state is like those above, from 0."""
    hidden = () if flow.net is None else flow.net.blocks[1:-1]
    normed = bool(hidden) and all(isinstance(block, PostNorm) for block in hidden)
    # Behind layer 1 is no norm: where all others have one, Δ there is on another scale.
    return int(normed and len(used) > FEW_LAYERS)


def kinds_of(flow: Flow) -> list[Hashable]:
    """Return of each layer what tells it from others: name, size of its state, shapes of arrays."""
    shapes: list[list[tuple[int, ...]]] = [[] for _ in flow.names]
    # Arrays of PyTorch that steps share stand at the first one alone.
    at_first = flow.is_of_torch and flow.parameters.tied
    for layer, shape in zip(flow.parameters.layers, flow.parameters.shapes, strict=True):
        if layer <= len(shapes) and not at_first:  # above the last cut are some of PyTorch
            shapes[layer - 1].append(shape)
    names = (re.sub(r"\d+", "", name) for name in flow.names)
    return list(zip(names, flow.sizes, map(tuple, shapes), strict=True))


def repeated(kinds: Sequence[Hashable]) -> tuple[RepeatedStretch, ...]:
    """Return the stretches of layers that repeat, the lowest first; all as one if few do."""
    found: list[RepeatedStretch] = []
    ranges = [(0, len(kinds))]
    while ranges:
        start, stop = ranges.pop()
        longest = _longest(kinds, start, stop)
        if longest is not None:
            found.append(longest)
            ranges += [(start, longest.start), (longest.stop, stop)]
    if not kinds or sum(s.stop - s.start for s in found) < COVERED * len(kinds):
        return (RepeatedStretch(0, len(kinds), 1),)
    return tuple(sorted(found))


def are_alike(kinds: Sequence[Hashable], stretches: tuple[RepeatedStretch, ...]) -> bool:
    """Tell stretches of layers that repeat from one of all layers, of which few do."""
    (start, stop, period), *more = stretches
    return bool(more) or kinds[start : stop - period] == kinds[start + period : stop]


def _longest(kinds: Sequence[Hashable], start: int, stop: int) -> RepeatedStretch | None:
    """Return the longest stretch within a range, of the shortest pattern; None if none repeats."""
    best = None
    for period in range(1, min(LONGEST_PATTERN, (stop - start) // 2) + 1):
        count = 0
        for i in range(start, stop - period):
            count = count + 1 if kinds[i] == kinds[i + period] else 0
            length = count + period
            if count >= period and (best is None or length > best.stop - best.start):
                best = RepeatedStretch(i - count + 1, i + period + 1, period)
    return best


def judge(
    gain: np.ndarray, stretches: tuple[RepeatedStretch, ...], places: np.ndarray, alike: bool = True
) -> Rate:
    """Return the rate of the layers that repeat, or of all if these are ill and those are not."""
    # gain: entry i of what the layer at i + 1 does; places: the index of each layer in the flow.
    rate = within(gain, stretches, places, alike)
    if rate.word not in ("steady", UNCLEAR):
        return rate
    every = within(gain, (RepeatedStretch(0, len(gain) + 1, 1),), places)
    words = [every.word]
    if len(rate.others) >= MANY_OTHERS:
        words.append(_word_alone(np.array([change.decades for change in rate.others])))
    for word in words:
        if word in ("vanishing", "exploding"):
            return replace(every, word=word)
    if abs(rate.total - rate.repeated) >= MOST_ONCE:
        few = any(abs(change.decades) >= DECADES for change in rate.others)
        return replace(rate, word=ERRATIC if few else UNCLEAR)
    return rate


def _word_alone(factors: np.ndarray) -> str:
    """Return the word for factors without those that stand out, whatever their order."""
    rest = np.delete(factors, outliers_of(factors - np.median(factors)))
    decades, error = mean_and_error(rest, np.zeros(len(rest)))
    return word_of(decades, decades * len(rest), error)


def within(
    gain: np.ndarray, stretches: tuple[RepeatedStretch, ...], places: np.ndarray, alike: bool = True
) -> Rate:
    """Return the rate of the factors within stretches, whatever the rest does; see `judge`."""
    inside = np.concatenate([np.arange(s.first_factor, s.stop - 1) for s in stretches])
    phase = np.concatenate(
        [(np.arange(s.first_factor, s.stop - 1) - s.start) % s.period for s in stretches]
    )
    finite = np.isfinite(gain[inside])
    inside, phase = inside[finite], phase[finite]
    factors = gain[inside]
    out = outliers_of(factors - _means(factors, phase, np.median))
    if _restore(factors, out):
        out = out[:0]
    rest = np.delete(np.arange(len(factors)), out)
    decades, error = mean_and_error(factors[rest], phase[rest])
    # Of layers that are not alike those that stand out, such as a head, belong to the rest.
    if not alike:
        inside, phase, factors, out = inside[rest], phase[rest], factors[rest], out[:0]
        rest = np.arange(len(factors))
    part = [i for s in stretches for i in range(s.start, s.first_factor)]
    others = np.setdiff1d(np.flatnonzero(np.isfinite(gain)), [*inside, *part])
    outliers = _changes(gain, inside[out], places)
    total, law = decades * len(rest), None
    word = word_of(decades, total, error)
    if abs(total) > DECADES and word != UNCLEAR and len(stretches) == 1:
        law = law_of(factors[rest], inside[rest] - stretches[0].start, phase[rest])
        law = law if law and abs(law.constant) >= CLEAR * law.error else None
        word = word if law is None else law.word
    # Three factors or fewer that make less than a hundred are no rate: training makes up for them.
    is_no_rate = len(factors) <= TOO_FEW and abs(_sum(factors)) < THEIR_DECADES
    if word in ("vanishing", "exploding") and is_no_rate:
        word = UNCLEAR
    if (word in ("steady", UNCLEAR) or abs(_sum(factors)) <= DECADES) and any(
        abs(c.decades) >= DECADES for c in outliers
    ):
        word, law = ERRATIC, None
    return Rate(
        word=word,
        decades=decades,
        standard_error=error,
        total=_sum(gain[np.isfinite(gain)]),
        repeated=_sum(factors),
        law=law,
        layers=sum(s.stop - s.start for s in stretches),
        stretches=stretches,
        outliers=outliers,
        others=_changes(gain, others, places),
    )


def _sum(factors: np.ndarray) -> float:
    """Return the sum of factors; nan of none."""
    return float(np.sum(factors)) if len(factors) else np.nan


def _changes(gain: np.ndarray, layers: np.ndarray, places: np.ndarray) -> tuple[LayerChange, ...]:
    """Return the changes by the layers above the states at `of`, the largest first."""
    order = sorted(layers, key=lambda i: -abs(gain[i]))
    return tuple(LayerChange(int(places[i + 1]) + 1, float(gain[i])) for i in order)


def _means(
    values: np.ndarray, phase: np.ndarray, mean: Callable[[np.ndarray], float] = np.mean
) -> np.ndarray:
    """Return for each value the mean of those at its place in the pattern."""
    means = np.zeros_like(values)
    for place in np.unique(phase):
        means[phase == place] = mean(values[phase == place])
    return means


def mean_and_error(factors: np.ndarray, phase: np.ndarray) -> tuple[float, float]:
    """Return the mean of factors and its standard error, differences within a pattern apart."""
    if not len(factors):
        return np.nan, np.nan
    free = len(factors) - len(np.unique(phase))
    off = factors - _means(factors, phase)
    if free < 1:
        free, off = len(factors) - 1, factors - np.mean(factors)
    error = float(np.sqrt(np.sum(off**2) / free / len(factors))) if free else np.nan
    return float(np.mean(factors)), error


def outliers_of(off: np.ndarray) -> np.ndarray:
    """Return the one or two factors that stand out, given their distances from the median."""
    if len(off) < 3:
        return np.zeros(0, int)
    off = np.abs(off)
    found = np.flatnonzero(off >= max(STANDS_OUT, 6 * float(np.median(off))))
    return found if len(found) <= min(MOST_OUTLIERS, len(off) // 3) else np.zeros(0, int)


def _fades(flat: np.ndarray, shape: np.ndarray) -> bool:
    """Tell whether factors fade to nothing: a rate besides the law is small, or not known."""
    both = np.stack([np.ones(len(flat)), shape], axis=1)
    (rate, c), *_ = np.linalg.lstsq(both, flat)
    variance = np.sum((flat - both @ (rate, c)) ** 2) / (len(flat) - 2)
    error = (variance * np.linalg.inv(both.T @ both)[0, 0]) ** 0.5
    much = abs(rate) * len(flat) > PART_OF_TOTAL * abs(np.sum(flat))
    return bool(abs(rate) < CLEAR * error or not much)


def _restore(factors: np.ndarray, out: np.ndarray) -> bool:
    """Tell whether factors that stand out, each below ten, undo the others, as in a saw-tooth."""
    others = np.delete(factors, out)
    small = bool(len(out)) and bool((np.abs(factors[out]) < DECADES).all())
    return small and abs(_sum(factors)) < abs(_sum(others))


class _Fit(NamedTuple):
    """A law as it fits the factors."""

    law: DepthLaw
    left: float  # sum of squares that it leaves
    makes_total: bool  # or nearly: of the sum of all factors
    fades: bool  # to nothing, not to a rate that is left


def law_of(factors: np.ndarray, places: np.ndarray, phase: np.ndarray) -> DepthLaw | None:
    """Return the law of depth that factors follow; None if a constant rate fits as well."""
    # places: of each factor the layer below it, from 0; phase: its place in a pattern.
    flat = factors - (_means(factors, phase) - np.mean(factors))
    constant = float(np.sum((flat - np.mean(flat)) ** 2))
    fits = [_fit(word, flat, places) for word in SHAPES if len(flat) >= LEAST_FACTORS[word]]
    clear = [fit for fit in fits if fit is not None and _is_clear(fit, constant, len(flat))]
    clear = [fit for fit in clear if fit.makes_total and fit.fades]
    best = min(clear, key=lambda fit: fit.left, default=None)
    power = next((fit for fit in clear if fit.law.word == POWER_LAW), None)
    if best is not None and power is not None and not _is_clear(best, power.left, len(flat)):
        best = power  # the slower one, unless it is clearly the worse one
    return None if best is None else best.law


def _is_clear(fit: _Fit, other: float, count: int) -> bool:
    """Tell whether a fit leaves clearly less than the squares of another one."""
    return other - fit.left >= CLEAR**2 * fit.left / (count - 2)


def _fit(word: str, flat: np.ndarray, places: np.ndarray) -> _Fit | None:
    """Return the best fit of a law, over its offsets; None if its constant is too large."""
    tried = []
    for offset in OFFSETS:
        if offset <= len(flat) / 4:
            shape = SHAPES[word](places + 1 + offset)
            c = float(shape @ flat / (shape @ shape))
            tried.append((float(np.sum((flat - c * shape) ** 2)), c, offset, shape))
    tried = [fit for fit in tried if abs(fit[1]) <= LARGEST]
    if not tried:
        return None
    left, c, offset, shape = min(tried, key=lambda fit: fit[0])
    variance = left / (len(flat) - 2)
    as_well = [fit[1] for fit in tried if fit[0] <= left + 4 * variance]  # two errors
    total, of_shape = float(np.sum(flat)), float(np.sum(shape))
    free = max(len(flat) - of_shape**2 / (shape @ shape), 0.0)  # of the sum of what is left
    off = abs(total - c * of_shape)
    by_chance = (variance * free) ** 0.5
    allowed = min(max(LITTLE_OF_TOTAL * abs(total), CLEAR * by_chance), PART_OF_TOTAL * abs(total))
    # Its error has what the constant is in the upper half, nearer to an infinite depth, too.
    upper = places >= np.median(places)
    drift = float(shape[upper] @ flat[upper] / (shape[upper] @ shape[upper])) - c
    errors = (variance / (shape @ shape)) ** 0.5, np.ptp(as_well) / 2, drift
    error = float(np.linalg.norm([*errors, max(off - by_chance, 0) / of_shape]))
    return _Fit(DepthLaw(word, c, error, offset), left, off <= allowed, _fades(flat, shape))
