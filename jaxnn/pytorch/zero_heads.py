"""PyTorch: heads that start at zero, below which a gradient is measured after random numbers.

    y = z θ,  θ = 0     Δz = Δy θᵀ = 0 until θ has taken a step, whatever the layers below are

Random θ stands in for it while what lies below is measured: Δz is then a random cotangent, of the
size that a head hands down. What lies above is that of zeros.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ..texts import listed
from .backward_consensus import Agreed
from .restore import holding


class ZeroHead(NamedTuple):
    """The layer whose zero weights let nothing pass to all those below."""

    layer: int  # L, or L + 1 above the last cut
    weights: tuple[str, ...]  # names of those that are zero

    @property
    def note(self) -> str:
        """A sentence on the random weights."""
        verb, place = ("is", "its place") if len(self.weights) == 1 else ("are", "their place")
        return (
            f"{listed(self.weights)} {verb} zero, so that nothing passes to the layers below "
            f"before the first step: Δ there is measured after random numbers in {place}."
        )

    def joined(self, above: Agreed, below: Agreed, layers: Mapping[str, set[int]]) -> Agreed:
        """Return what was measured with zeros from this layer up, and after a draw below it."""
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


@contextmanager
def drawn(parameters: Mapping[str, Any], names: Iterable[str]) -> Iterator[None]:
    """Have random numbers of variance 1/fan_in in the place of weights that are zero."""
    rng = np.random.default_rng(0)
    numbers: dict[str, Any] = {}
    for name in names:
        v = parameters[name].detach()
        fan_in = max(v[0].numel(), 1)
        numbers[name] = v.new_tensor(rng.normal(size=tuple(v.shape)) / fan_in**0.5)
    with holding(parameters, numbers):
        yield


def zero_head(
    found: Agreed, parameters: Mapping[str, Any], layers: Mapping[str, set[int]]
) -> ZeroHead | None:
    """Return the head that is zero, gets a gradient itself and hands none down; else None."""
    count = len(found.norm) - 1
    layer = count if found.norm[count].any() else count + 1
    if layer < 2 or found.unmeasured or found.norm[1:layer].any():
        return None
    inside = {name: p for name, p in parameters.items() if layers[name] == {layer} and p.ndim > 1}
    zero = tuple(name for name, p in inside.items() if not p.any())
    learns = any(np.isfinite(found.parameters[name]) for name in zero)
    return ZeroHead(layer, zero) if learns else None
