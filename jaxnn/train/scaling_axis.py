"""Scaling along one axis: what a check found over several widths, or depths, and says of it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ..texts import clean, counted, label
from .scaling_chart import scaling_panels
from .scaling_exponents import (
    CLEAR,
    DEPARTS,
    FEWEST,
    LIMIT,
    Exponent,
    Outlier,
    exponent_of,
    mean_over_steps,
    outliers,
    significant,
)

LN10 = float(np.log(10))
MOST = 3  # layers that a sentence names

MAXIMAL = (
    "Under maximal-update parametrisation nothing grows: draw the output's weights of variance "
    "1/width²; with Adam, divide the step size by the width where a weight's fan-in is the width; "
    "with SGD, multiply it by the width for the input's weights and all biases, and divide it by "
    "the width for the output's weights; divide the logits of attention by a head's size, not by "
    "its root."
)

SO = {  # for each axis, what a steady, a falling and a growing network have
    "width": (
        "So it is under maximal-update parametrisation, where a step size that is good at one "
        "width is good at all.",
        "The wider the network, the less it learns there; so it is with a step size that falls "
        "with the width in all arrays alike.",
        f"So it is under standard parametrisation, with one step size. {MAXIMAL}",
    ),
    "depth": (
        "So it is with branches that are scaled with depth along with their step sizes, and a step "
        "size that is good at one depth is good at all.",
        "The deeper the network, the less it learns there; so it is with SGD and branches times "
        "1/depth, whose step size has to grow with the depth.",
        "So it is with branches that are not scaled, or with Adam times 1/√depth. Nothing grows "
        "with branches times 1/depth and Adam, or times 1/√depth and SGD.",
    ),
}
VERDICTS = {  # kinds, each a word and where it holds, and their sentences
    "unclear, one shape": "Unclear: {nothing} at all {axis}s, from {first} to {last}; let build "
    "use the {axis}.",
    "steady": "Steady: no state {after}, and nothing that a step changes in one, depends on the "
    "{axis}, from {first} to {last}. {so_steady}",
    "falling": "Falling with {axis}: what a step changes goes as {axis} to the power of {falling}. "
    "{so_falling}",
    "falling, in blocks": "Falling with depth: states change as before, but by less and less of "
    "what the blocks learn. {so_falling}",
    "unclear, one departs": "Unclear: no state {after}, and nothing that a step changes in one, "
    "depends clearly on the {axis}, but not all go with it as those like them.",
    "unclear, no change": "Unclear: the steps change nothing; look at the optimiser.",
    "unclear": "Unclear: what a step changes has the exponent {unclear}; more {axis}s or seeds "
    "tell.",
    "growing, out of range": "Growing with {axis}: at {out} numbers leave the range of {dtype} "
    "{after}, and at smaller {axis}s they do not.",
    "growing, at the start": "Growing with {axis}: the state of layer {layer} goes as {axis} to "
    "the power of {start} before the first step{above}. Multiply its weights by {power}.",
    "growing": "Growing with {axis}: what a step changes in layer {layer} goes as {axis} to the "
    "power of {change}{above}.",
}
NOTHING = {
    "width": "every parameter array has the same shape",
    "depth": "the parameters have as many entries",
}
BRANCHES = {0.0: "not scaled", -0.5: "times 1/√depth", -1.0: "times 1/depth"}


class Departure(NamedTuple):
    """A parameter array, or a layer, whose change goes with another power than that of its like.

    name: the path of the array in the pytree of the network, or the layer.
    change: the exponent of its change.
    usual: the median of those of the others.
    others: their number.
    axis: width or depth.
    is_layer: whether it is a layer.
    """

    name: str
    change: Exponent
    usual: Exponent
    others: int
    axis: str
    is_layer: bool

    def __str__(self) -> str:
        if self.is_layer:
            return (
                f"Layer {self.name} departs: what a step changes in it goes as {self.axis} to the "
                f"power of {self.change}, in {self.others} other layers as {self.usual}. Look for "
                "an array in it, or right below it, that was not scaled."
            )
        those = f"{self.others} others like it" if self.others > 1 else "the other one like it"
        return (
            f"{clean(self.name)} departs: what a step changes in it goes as {self.axis} to the "
            f"power of {self.change}, in {those} as {self.usual}. If they are to learn alike, "
            f"multiply its step size by {self.axis}^{self.usual.value - self.change.value:.2f}."
        )


@dataclass(frozen=True, repr=False)
class Scaling:
    """Sizes of states and of their changes at several widths, or depths; `print` it to read it.

    axis: "width" or "depth".
    sizes: the widths W, or depths, from the smallest.
    steps: k, of the training.
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
    steps: int
    names: tuple[str, ...]
    paths: tuple[str, ...]
    shapes: tuple[tuple[tuple[int, ...], ...], ...]
    dtype: str
    log_size: Float[np.ndarray, "W S T L"]
    log_change: Float[np.ndarray, "W S T L"]
    log_update: Float[np.ndarray, "W S T P"]
    log_branch: Float[np.ndarray, "W S"]

    def table(self) -> list[dict[str, Any]]:
        """Return a row for each layer: axis, layer, name, exponents with their errors, and a word.

        start is the exponent of the state's size before the first step, size that after the last,
        change that of what a step changes in it, in the root mean square over steps. The word is
        growing, falling, steady or unclear, of the change, or of the start if that grows; "" of a
        state that nothing changes.
        """
        return [
            {"axis": self.axis, "layer": number, "name": name}
            | {
                column: number
                for quantity, exponent in zip(("start", "size", "change"), exponents, strict=True)
                for column, number in zip((quantity, f"{quantity}_error"), exponent, strict=True)
            }
            | {"word": word}
            for number, name, exponents, word in zip(
                range(1, len(self.names) + 1), self.names, self._exponents, self._words, strict=True
            )
        ]

    def parameter_table(self) -> list[dict[str, Any]]:
        """Return a row for each parameter array: path, and the exponent of its change with error.

        The change is what a step changes in it, in the root mean square over entries and steps.
        """
        return [
            {"path": path, "change": value, "change_error": error}
            for path, (value, error) in zip(self.paths, self._updates, strict=True)
        ]

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each size, seed, step and layer: log10_size and log10_change."""
        return [
            {self.axis: size, "seed": seed, "step": step, "layer": layer + 1, "name": name}
            | {
                "log10_size": float(self.log_size[w, seed, step, layer]) / LN10,
                "log10_change": float(self.log_change[w, seed, step, layer]) / LN10,
            }
            for w, size in enumerate(self.sizes)
            for seed in range(self.log_size.shape[1])
            for step in range(self.steps + 1)
            for layer, name in enumerate(self.names)
        ]

    @property
    def word(self) -> str:
        """The verdict: steady, growing, falling, or unclear.

        steady: no size depends on the axis, as under maximal-update parametrisation.
        growing: some layer grows, as under standard parametrisation, or leaves the dtype's range.
        falling: none grows, and some layer changes less and less, so that it stops learning.
        unclear: an exponent has too large an error or no number, or nothing changes, or all sizes
            have one shape, or one departs from others like it.
        """
        return self._kind.partition(",")[0]

    @cached_property
    def sentences(self) -> tuple[str, ...]:
        """The verdict in words, with the layers that it is about."""
        return (self._first_sentence(), *self._other_sentences())

    def __repr__(self) -> str:
        return "\n".join(self.sentences)

    def panels(self) -> list[Any]:
        """Return the two panels of the chart."""
        return scaling_panels(self.rows(), self.steps, self.axis)

    # Exponents

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
        updates, blocks = mean_over_steps(self.log_update), np.log(self.sizes)[:, None]
        return {
            path: self._exponent(updates[:, :, i] + self.log_branch + blocks)
            for i, path in enumerate(self.paths)
            if self.axis == "depth" and len({*self.shapes[i]}) > 1
        }

    @cached_property
    def departures(self) -> tuple[Departure, ...]:
        """Arrays, and layers, whose change goes with another power than that of their like.

        Alike are arrays of which the same axes grow with the width: under any parametrisation each
        step changes them by one power of it. Of layers all whose change counts as steady. One
        departs if its exponent is off their median by .1 or more, and significantly so for the
        number of all that are tested; of two the one with the larger exponent. Layers are tested
        against zero first, and those that are off it against the others. Of a depth layers alone
        are tested, since arrays in branches are scaled unlike those outside.
        """
        alike: dict[tuple[bool, ...], list[int]] = {}
        for i, of_sizes in enumerate(self.shapes if self.axis == "width" else ()):
            grows = tuple(len({*axis}) > 1 for axis in zip(*of_sizes, strict=True))
            if np.isfinite(self._updates[i].error):
                alike.setdefault(grows, []).append(i)
        changes = [change for _, _, change in self._exponents]
        layers = [i for i, word in enumerate(self._words) if word == "steady"]
        values, errors = ([changes[i][part] for i in layers] for part in (0, 1))
        off_zero = significant(values, errors, self._freedom)
        moving = {
            i
            for i, is_told in zip(layers, off_zero, strict=True)
            if is_told and abs(changes[i].value) >= DEPARTS
        }
        # What is forgotten is the exception: of two layers nobody knows which.
        groups = [layers] if len(layers) >= FEWEST else []
        arrays = outliers([*alike.values()], self._updates, self._freedom)
        apart = outliers(groups, changes, self._freedom, moving)
        return (
            *(self._departure(self.paths[one.place], one, is_layer=False) for one in arrays),
            *(self._departure(self._name(one.place), one, is_layer=True) for one in apart),
        )

    def _departure(self, name: str, one: Outlier, *, is_layer: bool) -> Departure:
        return Departure(name, one.exponent, one.usual, one.others, self.axis, is_layer)

    @property
    def _freedom(self) -> int:
        """Degrees of freedom of an exponent's error."""
        known = self._out_of_range.count(False)
        return known * int(self.log_size.shape[1]) - 2

    @cached_property
    def _updates(self) -> list[Exponent]:
        """The exponent of what a step changes in each parameter array."""
        logs = mean_over_steps(self.log_update)
        return [self._exponent(logs[:, :, i]) for i in range(len(self.paths))]

    @property
    def _ignores_size(self) -> bool:
        return bool(self.shapes) and all(len({*of_sizes}) == 1 for of_sizes in self.shapes)

    @property
    def _ignores_seed(self) -> bool:
        return self.log_size.shape[1] > 1 and bool((self.log_size == self.log_size[:, :1]).all())

    @cached_property
    def _out_of_range(self) -> list[bool]:
        """A truth value for each width: some number of it is nan or infinite."""
        axes = (1, 2, 3)
        known = np.all(self.log_size < np.inf, axes) & np.all(self.log_change < np.inf, axes)
        return [not v for v in known]

    def _exponent(self, log: Float[np.ndarray, "W S"]) -> Exponent:
        """Return the exponent over all widths that are in range."""
        known = ~np.array(self._out_of_range)
        return exponent_of(np.array(self.sizes)[known], log[known])

    @cached_property
    def _exponents(self) -> list[tuple[Exponent, Exponent, Exponent]]:
        """The exponents of start, size and change, a triple for each layer."""
        return [
            (
                self._exponent(self.log_size[:, :, 0, layer]),
                self._exponent(self.log_size[:, :, -1, layer]),
                self._exponent(mean_over_steps(self.log_change)[:, :, layer]),
            )
            for layer in range(len(self.names))
        ]

    @cached_property
    def _words(self) -> list[str]:
        return [
            ""
            if np.isneginf(self.log_change[..., layer]).all()
            else start.word
            if start.word == "growing"
            else change.word
            for layer, (start, _, change) in enumerate(self._exponents)
        ]

    # Words

    @cached_property
    def _kind(self) -> str:
        """The kind of the verdict, as `VERDICTS` has them."""
        if self._ignores_size:
            return "unclear, one shape"
        words, out = {*self._words}, self._out_of_range
        if out == sorted(out) and any(out) and not out[0]:  # at the largest widths alone
            return "growing, out of range"
        if not any(out):
            if "growing" in words:
                lowest, *_ = self._exponents[self._words.index("growing")]
                return "growing, at the start" if lowest.word == "growing" else "growing"
            if "falling" in words:
                return "falling"
            if any(learned.word == "falling" for learned in self.learning.values()):
                return "falling, in blocks"  # which input and output may hide
            if "unclear" not in words and words != {""} and not self.departures:
                return "steady"
        if "unclear" in words:
            return "unclear"
        return "unclear, one departs" if words != {""} else "unclear, no change"

    def _first_sentence(self) -> str:
        lowest = self._words.index("growing") if "growing" in self._words else 0
        start, _, change = self._exponents[lowest]
        steady, falling, growing = SO[self.axis]
        count = self._words.count("growing")
        text = VERDICTS[self._kind].format(
            after=f"after {counted(self.steps, 'step')}",
            first=self.sizes[0],
            last=self.sizes[-1],
            falling=self._named("falling"),
            unclear=self._named("unclear"),
            out=self.sizes[[*self._out_of_range, True].index(True) % len(self.sizes)],
            dtype=self.dtype,
            layer=self._name(lowest),
            start=start,
            change=change,
            above=f", the lowest of {count} layers that grow" if count > 1 else "",
            power=f"{self.axis}^{-start.value:.2f}",
            axis=self.axis,
            nothing=NOTHING[self.axis],
            so_steady=steady,
            so_falling=falling,
        )
        # Departures say what to multiply.
        return f"{text} {growing}" if self._kind == "growing" and not self.departures else text

    def _other_sentences(self) -> list[str]:
        told = []
        if self.word == "growing" and "falling" in self._words:
            falling = self._named("falling")
            told.append(
                f"Other layers change less with {self.axis}, as {self.axis} to the power of "
                f"{falling}."
            )
        if not self._ignores_size:
            told += map(str, self.departures[:MOST])
        if self.axis == "depth" and np.isfinite(self.branch.value):
            told += self._sentences_on_blocks()
        if self._ignores_seed:
            told.append(
                "All seeds give the same network, so that errors are too small; let build use the "
                "seed."
            )
        return told

    def _sentences_on_blocks(self) -> list[str]:
        kind = min(BRANCHES, key=lambda power: abs(power - self.branch.value))
        near = abs(kind - self.branch.value) <= LIMIT / 2 + CLEAR * self.branch.error
        which = f": they are {BRANCHES[kind]}" if near else ""
        off = [path for path in self.learning if self.learning[path].word in ("growing", "falling")]
        return [
            f"What layers add to the state goes as depth to the power of {self.branch}{which}.",
            *(
                f"What a step changes in {clean(path)} moves the state, over all blocks, as depth "
                f"to the power of {self.learning[path]}: multiply its step size by "
                f"depth^{-self.learning[path].value:.2f}."
                for path in off[:MOST]
            ),
        ]

    def _name(self, layer: int) -> str:
        return clean(label(layer + 1, self.names))

    def _named(self, word: str) -> str:
        """Return exponents of changes of layers of a word, with their names."""
        layers = [layer for layer, its_word in enumerate(self._words) if its_word == word]
        parts = [f"{self._exponents[i][2]} in layer {self._name(i)}" for i in layers[:MOST]]
        more = f" and {len(layers) - MOST} more" if len(layers) > MOST else ""
        return ", ".join(parts) + more
