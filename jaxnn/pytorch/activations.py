"""PyTorch: units of activations, seen where torch computes one: saturated, dead or constant ones.

a = σ(z)  ->  σ′(z), by torch's own derivative of σ  ->  counts by layer
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .tensors import rows_of
from .types import Named, Tensor, torch

PLATEAU = 0.01  # of the largest slope
FEWEST = 8  # values of a unit, of examples and positions: of fewer nothing is said
ROUNDING = 4.0  # times eps, relative to its largest value: what differs in a constant unit

# The largest slopes of those that are flat at both ends and not at 0. Of any other one half of the
# entries may well be on a plateau.
LARGEST = {"tanh": 1.0, "sigmoid": 0.25, "hardsigmoid": 1 / 6}
# Those whose slope is not computed from the output.
OF_INPUT = ("elu", "gelu", "silu", "mish", "softplus", "hardswish", "hardsigmoid")
SIGMAS = ("relu", "tanh", "sigmoid", "hardtanh", *OF_INPUT)


class NotedActivation(NamedTuple):
    """An activation as it was seen, of which no number has been read."""

    at: int  # the number of states before its layer's
    # The sums of z², a and a², the entries on a plateau, the units without a slope for all examples
    # and positions, and those with one value; of how many entries or units, 0 where it is unknown.
    sums: Tensor
    counts: tuple[int, ...]


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

    def __init__(self, count: Callable[[], int], is_state: Callable[[Tensor], bool]) -> None:
        self.count, self.is_state = count, is_state
        self.noted: list[NotedActivation] = []

    def note(self, name: str, z: Tensor | None, a: Tensor, axis: int, given: Named) -> None:
        """Note an activation that made a of z, which is None if it has been overwritten."""
        if not a.is_floating_point() or a.ndim < 2 or not a.numel():
            return
        # An activation of what a cut has just returned belongs to that layer, as σ(z[l]) does in a
        # Network; any other one to the layer that is being computed.
        at = self.count() - (self.is_state(a) or (z is not None and self.is_state(z)))
        out = a.detach().float() if a.element_size() < 4 else a.detach()
        entering = out if z is None else z.detach().to(out.dtype)
        slope = self._slope(name, entering, out, given).abs()
        units, count = a.shape[axis], a.numel()
        others = [i for i in range(a.ndim) if i != axis % a.ndim]
        least, most = out.amin(others), out.amax(others)
        eps = torch.finfo(a.dtype).eps
        size = ROUNDING * eps * torch.maximum(least.abs(), most.abs())
        sums = [
            self._square(entering),
            out.sum(),
            self._square(out),
            (slope < PLATEAU * LARGEST.get(name, 0.0)).sum(),
            (slope.amax(others) == 0).sum(),
            (most - least <= size).sum(),
        ]
        told = units if count // units >= FEWEST else 0
        counts = (count * (z is not None), count, count, count * (name in LARGEST), told, told)
        self.noted.append(NotedActivation(at, torch.stack(sums), counts))

    def _slope(self, name: str, z: Tensor, a: Tensor, given: Named) -> Any:
        """Return σ′(z) by torch's own backward; of relu what is zero where σ′ is."""
        if name == "relu":
            return a
        backward = getattr(torch.ops.aten, f"{name}_backward").default
        ones = {"grad_output": a.new_ones(a.shape), "is_result": False}
        known = {**given, **ones, "self": z, "self_or_result": z, "output": a}
        return backward(**{part.name: known[part.name] for part in backward._schema.arguments})

    def _square(self, v: Tensor) -> Any:
        """Return the sum of squares, by rows: one norm of all would round more."""
        return torch.linalg.vector_norm(v, dim=-1).square().sum()

    def of_layers(self, layer_of: Callable[[int], int], count: int) -> list[LayerUnits] | None:
        """Return those of each layer, of all its activations together; None without any."""
        layers = np.array([layer_of(noted.at) for noted in self.noted], int)
        if not (layers <= count).any():
            return None
        sums = np.array(rows_of([noted.sums for noted in self.noted]))
        counts = np.array([noted.counts for noted in self.noted])
        of_layers = []
        for layer in range(1, count + 1):
            known = counts[layers == layer]
            total = np.where(known > 0, sums[layers == layer], 0.0).sum(axis=0)
            with np.errstate(invalid="ignore"):  # of a layer without activations
                square_z, a, square_a, *rest = total / known.sum(axis=0)
            of_layers.append(LayerUnits(square_z, a, np.maximum(square_a - a**2, 0.0), *rest))
        return of_layers
