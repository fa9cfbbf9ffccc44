"""Measurements of a watch as arrays, and what follows from them once, which rules of alarms see."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from ..flow.formats.ranges import FORMATS
from ..rules import Rules, Sight
from ..texts import clean, label
from .watched import Line, Watched, column_of

PerArray = Float[np.ndarray, " arrays"]


FEW = 10  # losses whose median is that of a time
FALLEN = 0.9  # of the first loss, at which it has clearly fallen
FAR = 10.0  # times the first loss, to which a loss may jump in the first few steps


class Trend(NamedTuple):
    """A loss: the medians of the first few and of the last few steps.

    Where the loss leaves at once, the first one of all stands for the first few.
    """

    first: float
    last: float

    @property
    def falls(self) -> bool:
        """True if it has clearly fallen; losses may be below 0."""
        return self.last <= self.first - (1 - FALLEN) * abs(self.first)


class Measurements:
    """All that a watch has measured so far, the last measurement last."""

    def __init__(
        self,
        watched: Watched,
        *,
        is_step: bool = False,
        is_silent: Callable[[str], bool] | None = None,
    ):
        self.start, self.lines = watched.start, watched.measurements
        self.dtype: str = self.start["dtype"]
        self.steps = watched.steps
        self._is_silent = is_silent
        self.step: int = self.steps.step if is_step else self.lines[-1]["step"]

    def __len__(self) -> int:
        return len(self.lines)

    @cached_property
    def weights(self) -> Bool[np.ndarray, " arrays"]:
        """A mask of the parameter arrays that are weights: of two axes or more, and no scalars."""
        shapes = [array["shape"] for array in self.start["parameters"]]
        return np.array([len(shape) > 1 and max(shape) > 1 for shape in shapes], bool)

    @cached_property
    def layers(self) -> Int[np.ndarray, " arrays"]:
        """The layer of each parameter array, from 1."""
        return np.array([array["layer"] for array in self.start["parameters"]], int)

    @cached_property
    def rounding(self) -> PerArray:
        """log₁₀ of the relative step between numbers of each array's dtype; nan if not known."""
        dtypes = [array.get("dtype", "") for array in self.start["parameters"]]
        eps = {
            name: float(np.log10(float(jnp.finfo(name).eps)))  # type: ignore[no-untyped-call]
            for name in FORMATS
        }
        return np.array([eps.get(dtype, np.nan) for dtype in dtypes])

    @cached_property
    def trend(self) -> Trend | None:
        """The loss then and now; None if fewer than two are known."""
        losses = self.steps.column("loss")
        if not len(losses):
            losses = np.array([line["loss"] for line in self.lines], float)
            first = losses[:FEW]
        else:
            first = np.array([step.loss for step in self.steps.first])
        if np.isfinite(losses).sum() < 2:
            return None
        few = min(FEW, len(losses) // 2)
        is_steady = not np.nanmax(first) > FAR * abs(first[0])  # else it begins with the first
        begin = np.nanmedian(first[:few]) if is_steady else first[0]
        return Trend(float(begin), float(np.nanmedian(losses[-few:])))

    @cached_property
    def labels(self) -> Float[np.ndarray, "measurements 4"]:
        """The order of the labels of each measured batch, as a `LabelOrder`; nan of others."""
        rows = [[*(line.get("labels") or ()), *4 * [np.nan]][:4] for line in self.lines]
        return np.array(rows, float)

    @cached_property
    def leverage(self) -> float:
        """Σ ‖θ‖ ‖Δθ‖ / |loss| over the weights: how much the loss can change with them.

        A change of all weights by a hundredth of their sizes changes the loss by at most a
        hundredth of it, relative to itself. 0 if no weight has a Δ; nan without a loss.
        """
        size, delta = (self.column("parameters", f"log10_{v}") for v in ("size", "delta"))
        loss = self.lines[-1]["loss"]
        reach = 10 ** (size + delta)[self.weights]
        return float(np.nansum(reach) / abs(loss)) if loss else float("nan")

    def column(self, part: str, name: str, back: int = 0) -> Float[np.ndarray, " n"]:
        """Return a number of all layers, arrays, heads or experts; `back` measurements ago."""
        return self._column(self.lines[-1 - back], part, name)

    def last(self, part: str, name: str, count: int) -> Float[np.ndarray, "count n"]:
        """Return a column of the last measurements."""
        return np.stack([self._column(line, part, name) for line in self.lines[-count:]])

    def earlier(self, part: str, name: str) -> Float[np.ndarray, "count n"]:
        """Return a column of all measurements but the last two."""
        return np.stack([self._column(line, part, name) for line in self.lines[:-2]])

    def _column(self, line: Line, part: str, name: str) -> Float[np.ndarray, " n"]:
        column = np.array(column_of(line, part, name, len(self.start.get(part, []))), float)
        if part != "parameters" or name == "log10_size" or not self._silent.any():
            return column
        return np.where(self._silent, -np.inf if name == "log10_update" else np.nan, column)

    @cached_property
    def _silent(self) -> Bool[np.ndarray, " arrays"]:
        """A mask of the arrays of which nothing need be said: they are seen as frozen ones are."""
        paths = [array["path"] for array in self.start["parameters"]]
        is_silent = self._is_silent
        return np.array([is_silent is not None and is_silent(path) for path in paths], bool)

    def update_ratio(self, back: int = 0) -> PerArray:
        """Return log₁₀ ‖update‖ / ‖θ‖ of each weight; nan of other arrays and of zeros."""
        size, update = (self.column("parameters", f"log10_{v}", back) for v in ("size", "update"))
        is_known = np.isfinite(size) & self.weights
        return np.where(is_known, update - np.where(is_known, size, 0), np.nan)

    @cached_property
    def usual_ratio(self) -> float:
        """log₁₀ ‖update‖ / ‖θ‖ in half of the weights; nan if it is not known."""
        ratio = self.update_ratio()
        known = ratio[~np.isnan(ratio)]
        return float(np.median(known)) if len(known) else float("nan")

    def stays(self) -> Bool[np.ndarray, " arrays"]:
        """Return a mask of the arrays that have a Δ and do not move in two measurements."""
        if len(self) < 2:
            return np.zeros(len(self.layers), bool)
        update, delta, size = (
            self.last("parameters", f"log10_{v}", 2) for v in ("update", "delta", "size")
        )
        # And in the steps between them, after which they have the same size.
        stays = np.isneginf(update).all(axis=0) & (delta > -np.inf).all(axis=0)
        return np.asarray(stays & (size[0] == size[1]))

    def never_moved(self) -> Bool[np.ndarray, " arrays"]:
        """Return a mask of those that stay and have done so from the first measurement on."""
        stays = self.stays()
        if stays.any() and len(self) > 2:  # only then is all that was before looked at
            update, size = (self.earlier("parameters", f"log10_{v}") for v in ("update", "size"))
            now = self.column("parameters", "log10_size")
            stays &= np.isneginf(update).all(axis=0) & (size == now).all(axis=0)
        return stays

    def all_stay(self, stays: Bool[np.ndarray, " arrays"]) -> bool:
        """Tell of arrays that stay whether no other weight has a Δ, and no array has moved."""
        update, delta = (self.column("parameters", f"log10_{v}") for v in ("update", "delta"))
        asked = self.weights & (delta > -np.inf)
        return bool(stays[asked].all() and not np.isfinite(update).any())

    def steps_of(self, count: int) -> Int[np.ndarray, " count"]:
        """Return the numbers of the steps of the last measurements."""
        return np.array([line["step"] for line in self.lines[-count:]], int)

    def label(self, layer: int) -> str:
        """Return a layer in words."""
        return clean(label(layer, [row["name"] for row in self.start["layers"]]))

    def sight(self, array: int, values: Mapping[str, Any] | None = None) -> Sight:
        """Return what is seen in a parameter array, which {array} stands for in a sentence."""
        layer, path = (self.start["parameters"][array][name] for name in ("layer", "path"))
        named = f"{clean(path)} in layer {self.label(layer)}"
        return Sight(layer, path, {"array": named, **(values or {})})


ALARMS: Rules[Measurements] = Rules()  # the table that the rules of `alarms` enter themselves in
