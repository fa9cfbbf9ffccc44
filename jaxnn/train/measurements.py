"""Measurements of a watch as arrays, which rules of alarms see."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from ..rules import Sight
from ..texts import clean, label
from .watched import Line, Watched, column_of, count_of

PerArray = Float[np.ndarray, " arrays"]


class Measurements:
    """All that a watch has measured so far, the last measurement last.

    dtype: of the states.
    step: of the last measurement.
    """

    def __init__(self, watched: Watched):
        self.start, self.lines = watched.start, watched.measurements
        self.dtype: str = self.start["dtype"]
        self.step: int = self.lines[-1]["step"]

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
        return np.array(column_of(line, part, name, count_of(self.start, part)), float)

    def update_ratio(self, back: int = 0) -> PerArray:
        """Return log₁₀ ‖update‖ / ‖θ‖ of each weight; nan of other arrays and of zeros."""
        size, update = (self.column("parameters", f"log10_{v}", back) for v in ("size", "update"))
        is_known = np.isfinite(size) & self.weights
        return np.where(is_known, update - np.where(is_known, size, 0), np.nan)

    def steps(self, count: int) -> Int[np.ndarray, " count"]:
        """Return the numbers of the steps of the last measurements."""
        return np.array([line["step"] for line in self.lines[-count:]], int)

    def label(self, layer: int) -> str:
        """Return a layer in words."""
        layers = self.start["layers"]  # a head above the last cut of a module is in none
        return label(layer, clean(layers[layer - 1]["name"]) if layer <= len(layers) else "")

    def sight(self, array: int, values: Mapping[str, Any] | None = None) -> Sight:
        """Return what is seen in a parameter array, which {array} stands for in a sentence."""
        layer, path = (self.start["parameters"][array][name] for name in ("layer", "path"))
        named = f"{clean(path)} in layer {self.label(layer)}"
        return Sight(layer, path, {"array": named, **(values or {})})
