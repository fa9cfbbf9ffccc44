"""The answer of a scaling check: exponents of width or depth, in words, a table and a chart.

ln size[l] = exponent · ln width + constant     a line through all widths and seeds

An exponent comes in halves where the step sizes or branches of all arrays are scaled wrongly.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ..flow.view.chart import HEIGHT, WIDTH, drawable_rows, load_altair, styled, with_picture
from ..texts import clean, counted, label

FEWEST = 3  # widths, or depths
LIMIT = 0.25  # exponents come in halves: what is nearer to 0 than to ½ is taken for 0
CLEAR = 3  # standard errors
MOST = 3  # layers that a sentence names
LN10 = float(np.log(10))
MAXIMAL = (
    "Under maximal-update parametrisation nothing grows: draw the output's weights with variance "
    "1/width²; with Adam, divide the step size by the width where a weight's fan-in is the width; "
    "with SGD, multiply it by the width for the input's weights and all biases, and divide it by "
    "the width for the output's weights; divide the logits of attention by a head's size, not by "
    "its root."
)
GROWING = {
    "width": f"This is usual with standard parametrisation and one step size. {MAXIMAL}",
    "depth": "This is usual if branches are not scaled, or if they are times 1/√depth and trained "
    "with Adam. Nothing grows with branches times 1/depth and Adam, or times 1/√depth and SGD.",
}
BRANCHES = {0.0: "not scaled", -0.5: "times 1/√depth", -1.0: "times 1/depth"}


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


@dataclass(frozen=True, repr=False)
class ScalingCheck:
    """Sizes of states and of their changes at several widths, or depths; `print` it to read it.

    axis: "width" or "depth".
    sizes: the widths W, or depths, from the smallest.
    names: of the layers; of a depth those of places, such as "1/2 up", which all depths have.
    paths: of the parameter arrays, in the pytree of the network; of a depth with * for each number,
        for all arrays together whose paths are equal then.
    shapes: theirs at each width, (P, W); of a depth the number of all their entries.
    dtype: of the record.
    log_size: ln of the root mean square of the state of each layer after 0 … k steps, of each width
        and seed, (W, seeds, k + 1, L).
    log_change: likewise of what the last step has changed in the state; -inf if nothing, as before
        the first step.
    log_update: likewise of what it has changed in each parameter array, (W, seeds, k + 1, P).
    log_branch: ln of the root mean square of what layers add to the states below them, those of the
        same shape, before the first step, (W, seeds); nan without any.
    """

    axis: str
    sizes: tuple[int, ...]
    names: tuple[str, ...]
    paths: tuple[str, ...]
    shapes: tuple[tuple[tuple[int, ...], ...], ...]
    dtype: str
    log_size: Float[np.ndarray, "W S T L"]
    log_change: Float[np.ndarray, "W S T L"]
    log_update: Float[np.ndarray, "W S T P"]
    log_branch: Float[np.ndarray, "W S"]

    @cached_property
    def start(self) -> list[Exponent]:
        """The exponents of the states before the first step."""
        return self._of_each(self.log_size[:, :, 0])

    @cached_property
    def change(self) -> list[Exponent]:
        """The exponents of what a step changes in them, in the root mean square over steps."""
        return self._of_each(over_steps(self.log_change))

    @cached_property
    def update(self) -> list[Exponent]:
        """The exponents of what a step changes in each parameter array."""
        return self._of_each(over_steps(self.log_update))

    @cached_property
    def branch(self) -> Exponent:
        """The power with which what a layer adds to the state below goes, before the first step.

        0 of branches that are not scaled, -1/2 of those times 1/√depth, -1 of those times 1/depth.
        """
        return self._exponent(self.log_branch)

    @cached_property
    def learning(self) -> dict[str, Exponent]:
        """The power of depth with which what is learned in the blocks moves the state, by array.

        A step changes an array as depth^u, what a block adds goes as depth^-α, and there are depth
        blocks: u - α + 1, which is 0 where a step size is good at every depth. Of arrays that a
        deeper network has more of; empty of a width.
        """
        updates, blocks = over_steps(self.log_update), np.log(self.sizes)[:, None]
        return {
            path: self._exponent(updates[:, :, i] + self.log_branch + blocks)
            for i, path in enumerate(self.paths)
            if self.axis == "depth" and len({*self.shapes[i]}) > 1
        }

    @cached_property
    def words(self) -> list[str]:
        """A word for each layer: of its change, or of its start if that grows; "" if unchanged."""
        stay = np.isneginf(self.log_change).all(axis=(0, 1, 2))
        return [
            "" if stays else start.word if start.word == "growing" else change.word
            for stays, start, change in zip(stay, self.start, self.change, strict=True)
        ]

    @property
    def word(self) -> str:
        """The verdict: growing, falling, unclear or steady.

        steady: no size depends on the axis, as under maximal-update parametrisation: a step size
            that is good at one size is good at all.
        growing: some layer grows, as under standard parametrisation, or leaves the dtype's range.
        falling: none grows, and some layer changes less and less, so that it stops learning.
        unclear: an exponent has too large an error or no number, or nothing changes, or all sizes
            have one shape.
        """
        return self._verdict[0]

    @property
    def sentences(self) -> tuple[str, ...]:
        """The verdict in words, with the layers that it is about."""
        word, clause = self._verdict
        where = f" with {self.axis}" if word in ("growing", "falling") else ""
        return (f"{word.capitalize()}{where}: {clause}", *self._remarks())

    @cached_property
    def _in_range(self) -> list[bool]:
        """A truth value for each width: no number of it is nan or infinite."""
        axes = (1, 2, 3)
        return [*(np.all(self.log_size < np.inf, axes) & np.all(self.log_change < np.inf, axes))]

    def _exponent(self, log: Float[np.ndarray, "W S"]) -> Exponent:
        """Return the exponent over all widths that are in range."""
        return exponent_of(np.array(self.sizes)[self._in_range], log[self._in_range])

    def _of_each(self, logs: Float[np.ndarray, "W S N"]) -> list[Exponent]:
        return [self._exponent(logs[:, :, i]) for i in range(logs.shape[2])]

    @cached_property
    def _verdict(self) -> tuple[str, str]:
        """The word, and the sentence on it without the word."""
        axis, words, known = self.axis, self.words, self._in_range
        span = f"from {self.sizes[0]} to {self.sizes[-1]}"
        after = f"after {counted(self.log_size.shape[2] - 1, 'step')}"
        if self._is_of_one_shape:
            return (
                "unclear",
                f"the arrays have one shape at all {axis}s, {span}; let build use the {axis}.",
            )
        if known == sorted(known, reverse=True) and known[0] and not known[-1]:
            out = self.sizes[known.index(False)]
            return "growing", (
                f"at {out} numbers leave the range of {self.dtype} {after}, and at smaller {axis}s "
                "they do not."
            )
        if all(known) and "growing" in words:
            return "growing", self._of_what_grows(words.index("growing"))
        if all(known) and "falling" in words:
            return "falling", (
                f"the change by a step goes as {axis} to the power of {self._named('falling')}. "
                f"The larger the {axis}, the less is learned there."
            )
        if all(known) and any(v.word == "falling" for v in self.learning.values()):
            return "falling", (  # which input and output may hide
                "the blocks' share of the change in the states becomes smaller and smaller."
            )
        if "unclear" in words:
            return "unclear", (
                f"the change by a step has the exponent {self._named('unclear')}; try more {axis}s "
                "or seeds."
            )
        if {*words} == {""}:
            return "unclear", "the steps change nothing; look at the optimiser."
        return "steady", (
            f"no state {after}, and no change of one by a step, depends on the {axis}, {span}: a "
            f"step size that is good at one {axis} is good at all."
        )

    def _of_what_grows(self, layer: int) -> str:
        """Return the sentence on the lowest layer that grows."""
        count, start, name = self.words.count("growing"), self.start[layer], self._name(layer)
        above = f"; it is the lowest of {count} layers that grow" if count > 1 else ""
        if start.word == "growing":
            return (
                f"the state of layer {name} goes as {self.axis} to the power of {start} before the "
                f"first step{above}. Multiply its weights by {self.axis}^{-start.value:.2f}."
            )
        return (
            f"the change by a step in layer {name} goes as {self.axis} to the power of "
            f"{self.change[layer]}{above}. {GROWING[self.axis]}"
        )

    def _remarks(self) -> Iterator[str]:
        """Yield sentences on blocks and on seeds."""
        if self.axis == "depth" and np.isfinite(self.branch.value):
            power = min(BRANCHES, key=lambda power: abs(power - self.branch.value))
            near = abs(power - self.branch.value) <= LIMIT / 2 + CLEAR * self.branch.error
            which = f": branches are {BRANCHES[power]}" if near else ""
            yield f"Each layer adds depth to the power of {self.branch} to the state{which}."
            off = [(p, v) for p, v in self.learning.items() if v.word in ("growing", "falling")]
            for path, v in off[:MOST]:
                yield (
                    f"Over all blocks, a step of {clean(path)} changes the state by depth to the "
                    f"power of {v}: multiply its step size by depth^{-v.value:.2f}."
                )
        if self.log_size.shape[1] > 1 and (self.log_size == self.log_size[:, :1]).all():
            yield (
                "All seeds give the same network, so that errors are too small; let build use the "
                "seed."
            )

    @property
    def _is_of_one_shape(self) -> bool:
        return bool(self.shapes) and all(len({*of_sizes}) == 1 for of_sizes in self.shapes)

    def _name(self, layer: int) -> str:
        return clean(label(layer + 1, self.names))

    def _named(self, word: str) -> str:
        """Return exponents of changes of layers of a word, with their names."""
        layers = [layer for layer, its_word in enumerate(self.words) if its_word == word]
        parts = [f"{self.change[i]} in layer {self._name(i)}" for i in layers[:MOST]]
        more = f" and {len(layers) - MOST} more" if len(layers) > MOST else ""
        return ", ".join(parts) + more

    def __repr__(self) -> str:
        return "\n".join(self.sentences)

    def _repr_html_(self) -> str:
        return with_picture(self.sentences, self.chart)

    def table(self) -> list[dict[str, Any]]:
        """Return a row for each layer and each parameter array.

        axis, kind ("layer" or "array"), name, and the exponents: start, of the state before the
        first step (nan of an array), change, of what a step changes in it in the root mean square
        over steps, both with their errors; and a word, of the change, or of the start if that
        grows; "" of a state that nothing changes.
        """
        none = Exponent(np.nan, np.nan)
        layers = zip(self.names, self.start, self.change, self.words, strict=True)
        rows = [("layer", *layer) for layer in layers]
        arrays = zip(self.paths, self.update, strict=True)
        rows += [("array", path, none, v, v.word) for path, v in arrays]
        return [
            {"axis": self.axis, "kind": kind, "name": name}
            | {"start": start.value, "start_error": start.error}
            | {"change": change.value, "change_error": change.error, "word": word}
            for kind, name, start, change, word in rows
        ]

    def chart(self) -> Any:
        """Draw sizes after the last step, and changes of all, against width or depth, by layer.

        Returns:
            An Altair chart, as of `jaxnn.chart`; level lines do not depend on the axis.

        Raises:
            ImportError: Altair is not installed.
        """
        alt = load_altair()
        drawn = {"size": self.log_size[:, :, -1], "change": over_steps(self.log_change)}
        rows = [
            {"panel": f"{quantity} over {self.axis}", "axis": self.sizes[i]}
            | {"layer": layer + 1, "name": self.names[layer]}
            | {"log10": float(v) if np.isfinite(v) else None}
            for quantity, logs in drawn.items()
            for (i, layer), v in np.ndenumerate(logs.mean(axis=1) / LN10)
        ]
        ticks = alt.Axis(values=[*self.sizes], format="d")
        chart = (
            alt.Chart(alt.Data(values=drawable_rows(rows)))
            .mark_line(point=True)
            .encode(
                alt.X("axis:Q", title=None, axis=ticks, scale=alt.Scale(type="log", nice=False)),
                alt.Y("log10:Q", title="log₁₀ root mean square", scale=alt.Scale(zero=False)),
                alt.Color("layer:Q", scale=alt.Scale(scheme="viridis")),
                alt.Detail("layer:O"),
                tooltip=["name:N", "axis:Q", "log10:Q"],
            )
        )
        above = {"labelOrient": "top", "labelAnchor": "start"}
        panels = chart.properties(width=WIDTH, height=HEIGHT).facet(
            row=alt.Row("panel:N", title=None, sort=None, header=above)
        )
        return styled(panels.resolve_scale(y="independent"))


def exponent_of(sizes: Sequence[int] | np.ndarray, log: Float[np.ndarray, "W S"]) -> Exponent:
    """Return the slope of a line through ln of a number at some widths, or depths, and seeds."""
    if len(log) < FEWEST or not np.isfinite(log).all():
        return Exponent(np.nan, np.nan)
    x = np.broadcast_to(np.log(sizes)[:, None], log.shape)
    off, square = x - x.mean(), np.sum((x - x.mean()) ** 2)
    slope = np.sum(off * log) / square
    rest = log - log.mean() - slope * off
    return Exponent(float(slope), float(np.sqrt(np.sum(rest**2) / (log.size - 2) / square)))


def over_steps(log: Float[np.ndarray, "W S T L"]) -> Float[np.ndarray, "W S L"]:
    """Return ln of the root mean square over all steps, from ln of that of each."""
    return log_rms_along(2, log[:, :, 1:])


def log_rms_along(axis: int, logs: np.ndarray) -> np.ndarray:
    """Return ln of the root mean square, along an axis, of numbers given by logarithms."""
    with np.errstate(invalid="ignore"):  # of numbers that are nan or infinite
        total = np.logaddexp.reduce(2 * logs, axis=axis)
    return np.asarray((total - np.log(logs.shape[axis])) / 2)
