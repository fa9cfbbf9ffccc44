"""PyTorch: units of activations, seen where torch computes one: saturated, dead or constant ones.

a = σ(z)  ->  σ′(z), by torch's own derivative of σ  ->  counts by layer
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from .tensors import rows_of
from .types import Arguments, Named, Tensor

PLATEAU = 0.01  # of the largest slope
FEWEST = 8  # values of a unit, of examples and positions: of fewer nothing is said
ROUNDING = 4.0  # times eps, relative to its largest value: what differs in a constant unit

Slope = Callable[[Any, Tensor, Tensor, Arguments, Named], Any]


class Sigma(NamedTuple):
    """An activation."""

    # (operations of torch, z and a, arguments) -> σ′(z), or without plateaus anything that is zero
    # where σ′ is.
    slope: Slope
    largest: float = 1.0  # the largest slope
    # It is flat at both ends and not at 0; else half of its entries may well be on a plateau.
    has_plateaus: bool = False


def _by(name: str, of_output: bool, *numbers: float) -> Slope:
    """Return the slope by an operation of torch that multiplies a gradient by σ′."""

    def slope(aten: Any, z: Tensor, a: Tensor, given: Arguments, more: Named) -> Any:
        at = a if of_output else z
        return getattr(aten, name)(
            at.new_ones(at.shape), at, *_with_defaults(given, numbers), **more
        )

    return slope


def _with_defaults(given: Arguments, numbers: tuple[float, ...]) -> tuple[Any, ...]:
    """Return all arguments behind the first, those that are not given by their defaults."""
    return (*given[1:], *numbers[len(given) - 1 :])


def _of_elu(aten: Any, z: Tensor, a: Tensor, given: Arguments, more: Named) -> Any:
    return aten.elu_backward(z.new_ones(z.shape), *_with_defaults(given, (1.0, 1.0, 1.0)), False, z)


def _of_hardtanh(aten: Any, z: Tensor, a: Tensor, given: Arguments, more: Named) -> Any:
    low, high = _with_defaults(given, (-1.0, 1.0))
    return ((a > low) & (a < high)).to(a.dtype)


SIGMAS = {
    "relu": Sigma(lambda aten, z, a, given, more: a),
    "tanh": Sigma(_by("tanh_backward", True), has_plateaus=True),
    "sigmoid": Sigma(_by("sigmoid_backward", True), 0.25, True),
    "hardtanh": Sigma(_of_hardtanh),
    "elu": Sigma(_of_elu),
    "gelu": Sigma(_by("gelu_backward", False)),
    "silu": Sigma(_by("silu_backward", False)),
    "mish": Sigma(_by("mish_backward", False)),
    "softplus": Sigma(_by("softplus_backward", False, 1.0, 20.0)),
    "hardswish": Sigma(_by("hardswish_backward", False)),
    "hardsigmoid": Sigma(_by("hardsigmoid_backward", False), 1 / 6, True),
}
# Those whose slope is not computed from the output.
OF_INPUT = ("elu", "gelu", "silu", "mish", "softplus", "hardswish", "hardsigmoid")


class Counts(NamedTuple):
    """Counts of the units of one activation, and sums over its entries."""

    entries: int
    units: int
    square_z: float  # sums of z², a and a²
    a: float
    square_a: float
    saturated: float  # entries on a plateau; nan if it has none
    # Units without a slope for all examples and positions, and units with one value; both nan if
    # these are too few.
    dead: float
    constant: float


class NotedActivation(NamedTuple):
    """An activation as it was seen, of which no number has been read."""

    at: int  # the number of states before its layer's
    entries: int
    units: int
    # For each of the sums whether it is one of `Counts`, else that is nan.
    is_known: tuple[bool, ...]
    sums: Tensor  # in the order of `Counts`


class LayerUnits(NamedTuple):
    """Means over the units of a layer, under the names of `jaxnn.flow.Units`; nan of none."""

    mean_square_z: float
    mean_a: float
    var_a: float
    saturated: float
    dead: float
    constant: float


class Activations:
    """The activations of one pass up, each with the number of states recorded before it."""

    def __init__(
        self, torch: ModuleType, count: Callable[[], int], is_state: Callable[[Tensor], bool]
    ) -> None:
        self.torch, self.count, self.is_state = torch, count, is_state
        self.noted: list[NotedActivation] = []

    def note(
        self, name: str, z: Tensor | None, a: Tensor, axis: int, given: Arguments, more: Named
    ) -> None:
        """Note an activation that made a of z, which is None if it has been overwritten."""
        if not a.is_floating_point() or a.ndim < 2 or not a.numel():
            return
        torch, sigma = self.torch, SIGMAS[name]
        # An activation of what a cut has just returned belongs to that layer, as σ(z[l]) does in a
        # Network; any other one to the layer that is being computed.
        at = self.count() - (self.is_state(a) or (z is not None and self.is_state(z)))
        out = a.detach().float() if a.element_size() < 4 else a.detach()
        entering = out if z is None else z.detach().to(out.dtype)
        slope = sigma.slope(torch.ops.aten, entering, out, given, more).abs()
        units, count = a.shape[axis], a.numel()
        others = [i for i in range(a.ndim) if i != axis % a.ndim]
        least, most = out.amin(others), out.amax(others)
        size = ROUNDING * torch.finfo(a.dtype).eps * torch.maximum(least.abs(), most.abs())
        is_flat = slope < PLATEAU * sigma.largest if sigma.has_plateaus else slope.new_zeros(())
        sums = [
            self._square(entering),
            out.sum(),
            self._square(out),
            is_flat.sum(),
            (slope.amax(others) == 0).sum(),
            (most - least <= size).sum(),
        ]
        is_known = (z is not None, True, True, sigma.has_plateaus, *[count // units >= FEWEST] * 2)
        self.noted.append(NotedActivation(at, count, units, is_known, torch.stack(sums)))

    def _square(self, v: Tensor) -> Any:
        """Return the sum of squares, by rows: one norm of all would round more."""
        return self.torch.linalg.vector_norm(v, dim=-1).square().sum()

    def of_layers(self, layer_of: Callable[[int], int], count: int) -> list[LayerUnits] | None:
        """Return those of each layer, of all its activations together; None without any."""
        layers: list[list[Counts]] = [[] for _ in range(count)]
        for noted, sums in zip(self.noted, rows_of([v.sums for v in self.noted]), strict=True):
            layer = layer_of(noted.at)
            if layer <= count:
                pairs = zip(sums, noted.is_known, strict=True)
                known = [v if good else np.nan for v, good in pairs]
                layers[layer - 1].append(Counts(noted.entries, noted.units, *known))
        return [_together(layer) for layer in layers] if any(layers) else None


def _together(several: list[Counts]) -> LayerUnits:
    def mean(name: str, over: str) -> float:
        known = [c for c in several if not np.isnan(getattr(c, name))]
        total = sum(getattr(c, over) for c in known)
        return sum(getattr(c, name) for c in known) / total if total else np.nan

    a = mean("a", "entries")
    return LayerUnits(
        mean("square_z", "entries"),
        a,
        max(mean("square_a", "entries") - a**2, 0.0) if several else np.nan,
        mean("saturated", "entries"),
        mean("dead", "units"),
        mean("constant", "units"),
    )
