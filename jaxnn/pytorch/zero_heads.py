"""PyTorch: heads that start at zero, below which a gradient is measured behind random numbers.

    y = z θ,  θ = 0     Δz = Δy θᵀ = 0 until θ has taken a step, whatever the layers below are

Random θ stands in for it while what lies below is measured: Δz is then a random cotangent, of the
size that a head hands down. What lies above is that of zeros.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ..texts import listed
from .backward_consensus import Agreed


class ZeroHead(NamedTuple):
    """The layer whose zero weights let nothing pass to all those below.

    layer: L, or L + 1 above the last cut.
    weights: those that are zero, by name.
    """

    layer: int
    weights: dict[str, Any]

    @property
    def note(self) -> str:
        """What was done, in a sentence."""
        verb, place = ("is", "its place") if len(self.weights) == 1 else ("are", "their place")
        return (
            f"{listed(self.weights)} {verb} zero, so that nothing passes to the layers below "
            f"before the first step: Δ there is measured behind random numbers in {place}."
        )

    @contextmanager
    def drawn(self) -> Iterator[None]:
        """Have random numbers of variance 1/fan_in in the place of the zeros."""
        torch = sys.modules["torch"]
        before = {name: p.data for name, p in self.weights.items()}
        rng = np.random.default_rng(0)
        try:
            for p in self.weights.values():
                fan_in = max(p[0].numel(), 1)
                values = rng.normal(size=tuple(p.shape)) / fan_in**0.5
                p.data = torch.as_tensor(values, dtype=p.dtype).to(p.device)
            yield
        finally:
            for name, p in self.weights.items():
                p.data = before[name]

    def joined(self, above: Agreed, below: Agreed, layers: Mapping[str, set[int]]) -> Agreed:
        """Return what was measured with zeros from this layer up, and behind a draw below it.

        layers: of the parameters by name.
        """
        is_above = np.arange(len(above.norm)) >= self.layer
        rows = is_above[:, None]
        return below._replace(
            exponent=np.where(rows, above.exponent, below.exponent),
            largest=np.where(rows, above.largest, below.largest),
            norm=np.where(rows, above.norm, below.norm),
            parameters={
                name: (above if min(layers[name]) >= self.layer else below).parameters[name]
                for name in below.parameters
            },
            noted=tuple(
                (above if at >= self.layer else below).noted[at - 1]
                for at in range(1, len(below.noted) + 1)
            ),
        )


def zero_head(
    found: Agreed, parameters: Mapping[str, Any], layers: Mapping[str, set[int]]
) -> ZeroHead | None:
    """Return the head that is zero, gets a gradient itself and hands none down; else None.

    layers: of the parameters by name.
    """
    count = len(found.norm) - 1
    layer = count if found.norm[count].any() else count + 1
    if layer < 2 or found.unmeasured or found.norm[1:layer].any():
        return None
    inside = {name: p for name, p in parameters.items() if layers[name] == {layer} and p.ndim > 1}
    zero = {name: p for name, p in inside.items() if not p.any()}
    learns = any(np.isfinite(found.parameters[name]) for name in zero)
    return ZeroHead(layer, zero) if learns else None
