"""Facts that follow from a flow, each derived once: what the rules of a verdict see.

flow -> layers that count -> state or Δ no number, and why -> rate -> arrays that stand out
"""

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from ...evidence.data import BatchData
from ...evidence.end import End
from ...evidence.evidence import Evidence
from ...evidence.parameters import KnownParameters
from ...texts import clean, cleaned, label
from ..formats.ranges import (
    FORMATS,
    NOISE,
    highest,
    indistinguishable_in,
    loss_scales,
    lost_in,
    not_finite,
    tells_apart,
)
from ..record.flow import Flow
from ..record.given import Broken
from .arrays import Arrays
from .network_advice import NetworkAdvice
from .rates import LN10, Rate, are_alike, kinds_of, rate_of, repeated
from .through_time import TimeChange, largest_change

OFFSET_SPREAD, OFFSET_NEAR = 0.5, 1.5  # of a state that is little but a bias; and times its size
POOLED = 0.01  # of the signal: what positions differ by before a pool
FLAT = 0.1  # a logit, of which attention is the mean over keys
GROWN = 4.0  # decades of the root mean square of what a layer takes, for which it is no wonder


class GradientCut(NamedTuple):
    """The place below which Δ is exactly zero."""

    below: int  # the highest layer whose Δ is zero
    above: int | None  # the layer above it; None at the top
    zero: tuple[int, ...]  # the numbers of its zero weights


@dataclass(frozen=True, eq=False)
class Judged:
    """A flow of one network, and what follows from it."""

    flow: Flow
    asked: tuple[str, ...] = ()  # number formats to speak of in any case
    evidence: Evidence = field(default_factory=Evidence)  # what experiments with the batch show

    @property
    def data(self) -> BatchData | None:
        """Known facts of the batch."""
        return self.evidence.data

    @property
    def end(self) -> End | None:
        """Known facts of output, loss and labels together."""
        return self.evidence.end

    @property
    def parameters(self) -> KnownParameters:
        """Known facts of parameters beside their sizes."""
        return self.evidence.parameters or KnownParameters()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the layers, as they can be shown."""
        return cleaned(self.flow.names)

    def label(self, layer: int) -> str:
        """Return a layer in words."""
        return label(layer, self.names)

    @cached_property
    def time(self) -> TimeChange | None:
        """The largest change of Δ through the steps of a recurrent module."""
        return largest_change(self.flow.time)

    @cached_property
    def arrays(self) -> Arrays:
        """The parameter arrays."""
        return Arrays.of(self.flow)

    @cached_property
    def log_delta(self) -> np.ndarray:
        """Ln ‖Δ‖ of each layer."""
        return np.asarray(self.flow.log_delta, np.float64)

    @cached_property
    def log_largest(self) -> np.ndarray:
        """Ln of the largest entry of Δ of each layer."""
        return np.asarray(self.flow.log_largest, np.float64)

    @cached_property
    def root_mean_square(self) -> np.ndarray:
        """Log₁₀ of the root mean square of each state."""
        return np.asarray(self.flow.log_mean_square, np.float64) / 2 / LN10

    @cached_property
    def used(self) -> np.ndarray:
        """The layers that count, from 0: what `depth` leaves out is nan, and has no `units`."""
        units = self.flow.units if self.flow.net is not None else None
        if units is not None and self.root_mean_square[-1] < np.inf:
            return np.flatnonzero(~np.isnan(units.mean_square_b))
        # Where the state has left its range, a layer whose biases are nan counts too.
        return np.arange(self.flow.unmeasured, len(self.log_delta))

    # What is no number, or zero

    @cached_property
    def out(self) -> int | None:
        """The first layer whose state is not a finite number; or None."""
        out = ~(self.root_mean_square[self.used] < np.inf)  # nan too
        return int(self.used[np.argmax(out)]) + 1 if out.any() else None

    @cached_property
    def undefined(self) -> int | None:
        """The layer from which down Δ is not a finite number, whatever the format; or None."""
        return not_finite(self.used, self.log_largest[self.used])

    @cached_property
    def broken_loss(self) -> str:
        """The fault of the loss of a finite output; or ""."""
        given = self.flow.given
        if given is None or self.out is not None:
            return ""
        is_undefined = self.undefined == len(self.names) and not len(self.arrays.broken)
        return given.broken_loss(is_undefined)

    @cached_property
    def broken_data(self) -> Broken | None:
        """The first of xs, ys and cotangent that is broken; or None."""
        given = self.flow.given
        if given is None:
            return None
        is_hurt = not (self.is_finite and (self.arrays.delta < np.inf).all())  # nan too
        is_hurt |= bool(self.broken_loss)
        data = given.broken_data(is_hurt)
        if data or not is_hurt or self._broken_inside:
            return data
        # Masks among xs count only if nothing else explains that numbers are not finite.
        return given.broken_data(True, with_masks=True)

    @property
    def is_finite(self) -> bool:
        """True if all states and their Δ are finite numbers."""
        return self.out is None and self.undefined is None

    @property
    def _broken_inside(self) -> str:
        """The first of loss, parameters and buffers that is broken; or ""."""
        if self.broken_loss:
            return "loss"
        if len(self.arrays.broken) and not self.is_finite:
            return "parameters"
        return "buffers" if self.flow.broken else ""

    @cached_property
    def broken(self) -> str:
        """The first of data, loss, parameters and buffers that is broken; or ""."""
        return self.broken_data.name if self.broken_data else self._broken_inside

    @cached_property
    def has_grown(self) -> bool:
        """True if the first layer that is out takes or holds numbers so large that it overflows."""
        if self.broken or self.out is None:
            return False
        sizes = self.arrays.size[self.arrays.layer == self.out]
        entering = self.root_mean_square[self.out - 2 : self.out - 1]
        return bool((np.concatenate([sizes, entering]) > GROWN).any())

    @cached_property
    def zero(self) -> int | None:
        """The layer from which down Δ is exactly zero; or None."""
        return highest(self.used, np.isneginf(self.log_delta[self.used]))

    @cached_property
    def cut(self) -> GradientCut | None:
        """The place at which all paths are cut, and the weights there; None if they are not."""
        if self.zero is None:
            return None
        higher = self.used[self.used >= self.zero]  # counted from 0: the layers above it
        above = int(higher[0]) + 1 if len(higher) else None
        last = len(self.names) + 1  # of a module of PyTorch what is above the last cut
        if above is None and not np.isneginf(self.arrays.delta[self.arrays.layer == last]).all():
            above = last
        zero = () if above is None else tuple(self.arrays.zero_at_start(above))
        if self.zero == self.used[0] + 1 and not zero and self._is_first_of_steps(self.zero):
            return None
        return GradientCut(self.zero, above, zero)

    def _is_first_of_steps(self, layer: int) -> bool:
        """Tell the first step of a recurrent cell, whose state is 0, by its shared weights."""
        arrays = self.arrays
        there = (arrays.layer == layer) & arrays.weights
        # Its gates act on nothing; in three or more other steps the weights learn.
        learns = np.isfinite(arrays.delta)
        counts = [
            sum(learns[np.array(arrays.path) == arrays.path[i]]) for i in np.flatnonzero(there)
        ]
        return bool(counts) and min(counts) > 2

    @cached_property
    def silencer(self) -> int | None:
        """The number of the bias or gain that turns all units off at a cut; None without one."""
        if self.cut is None or self.cut.above is None:
            return None
        layer = self.cut.above
        while layer > 1 and self._is_constant(layer - 1):
            layer -= 1
        # Of a single example, or where states carry other inputs, only an odd gain of zeros is one.
        merges = self._is_constant(layer)
        gains = self.arrays.gains_of_zero(layer, are_odd=not merges)
        large = self.arrays.large_offsets(layer) if merges else []
        biases = [] if self._offset_below is None else [self._offset_below]
        return next(iter([*gains, *biases, *large]), None)

    def _is_constant(self, layer: int) -> bool:
        """Tell whether a state is the same for all examples, but for rounding."""
        if layer > len(self.names) or self.flow.log_spread is None:
            return False
        is_zero = np.isneginf(self.root_mean_square[layer - 1])
        spread = np.asarray(self.flow.log_spread, np.float64)[layer - 1]
        return bool(is_zero or spread < self.log_noise)

    @property
    def _offset_below(self) -> int | None:
        """The large bias that the first state below a cut that is not zero is little but."""
        if self.cut is None or self.flow.log_spread is None:
            return None
        rms = self.root_mean_square
        # Units that are off make the states between exactly zero.
        on = [layer for layer in range(self.cut.below, 0, -1) if np.isfinite(rms[layer - 1])]
        spread = np.asarray(self.flow.log_spread, np.float64)
        if not on or not spread[on[0] - 1] <= np.log(OFFSET_SPREAD):  # nan: of a single example
            return None
        sizes, state = self.arrays.size, rms[on[0] - 1]
        offsets = self.arrays.offsets(on[0])
        return next((i for i in offsets if abs(sizes[i] - state) < np.log10(OFFSET_NEAR)), None)

    @cached_property
    def unreached(self) -> tuple[str, ...]:
        """The paths of the weights whose Δ is exactly zero, and "inputs" if that of them is."""
        zero = np.flatnonzero(self.arrays.weights & self.arrays.rests)
        inputs = ("inputs",) if np.isneginf(self.flow.log_delta_input) else ()
        return tuple(dict.fromkeys(self.arrays.path[i] for i in zero)) + inputs

    # Rate and network

    @cached_property
    def rate(self) -> Rate:
        """The rate, of which nothing is known where states or parameters are broken."""
        rate = rate_of(self.flow, self.used)
        if self.out is not None or self.broken not in ("", "loss"):
            return replace(rate, word="unknown", law=None)
        return rate

    @cached_property
    def network(self) -> NetworkAdvice | None:
        """Units and weights of a Network, and changes of them; None for others."""
        return NetworkAdvice.of(self.flow, self.used[:-1], self.rate) if self.flow.net else None

    # Number formats

    @cached_property
    def in_use(self) -> tuple[str, ...]:
        """The format of the states and those asked for."""
        return tuple(dict.fromkeys((np.dtype(self.flow.dtype).name, *self.asked)))

    @cached_property
    def lost(self) -> dict[str, int | None]:
        """For each format the layer from which down it has no number for Δ; or None."""
        return {name: lost_in(name, self.used, self.log_largest[self.used]) for name in FORMATS}

    @cached_property
    def scales(self) -> dict[str, tuple[int, int] | None]:
        """For each format the least and the largest k of a loss times 2^k that loses no layer."""
        return {name: loss_scales(name, self.log_largest[self.used]) for name in FORMATS}

    @cached_property
    def indistinguishable(self) -> dict[str, int | None]:
        """For each format that may tell, the layer from which up examples differ by rounding."""
        flow = self.flow
        if flow.log_spread is None or flow.log_delta_example.shape[1] < 2:
            return {}
        log_spread = np.asarray(flow.log_spread, np.float64)
        return {
            name: indistinguishable_in(name, self.used, log_spread)
            for name in FORMATS
            if tells_apart(name, flow.dtype)
        }

    @cached_property
    def log_noise(self) -> float:
        """Ln of what rounding alone leaves of what differs, relative to the signal."""
        return math.log(NOISE * float(jnp.finfo(self.flow.dtype).eps))  # type: ignore[no-untyped-call]

    @cached_property
    def within(self) -> tuple[np.ndarray, np.ndarray]:
        """The layers, from 1, whose positions can be compared, and log_spread_within of each."""
        if self.flow.log_spread_within is None:
            return np.empty(0, int), np.empty(0)
        spread = np.asarray(self.flow.log_spread_within, np.float64)
        known = np.flatnonzero(~np.isnan(spread))
        # Inside of attention heads count as positions too, and are not equal where all tokens are.
        if self.flow.positions and len(known):
            counts = np.array(self.flow.positions)[known]
            known = known[counts == counts[-1]]
        return known + 1, spread[known]

    @cached_property
    def equal_positions(self) -> int | None:
        """The layer from which up all positions of an example are equal; or None."""
        layers, spread = self.within
        apart = np.flatnonzero(spread >= self.log_noise)
        first = int(apart.max()) + 1 if len(apart) else 0
        return int(layers[first]) if first < len(layers) else None

    @property
    def equal_queries(self) -> list[str]:
        """The arrays with an equal row for each position, where these are equal first, or below."""
        layer = self.equal_positions
        if layer is None or not self.flow.positions:
            return []
        flat, count = {*map(clean, self.parameters.flat)}, self.flow.positions[layer - 1]
        there = np.flatnonzero(np.isin(self.arrays.layer, (layer - 1, layer))).tolist()
        paths = [self.arrays.path[i] for i in there if self.arrays.shape[i][-2:-1] == (count,)]
        return [path for path in paths if path in flat]

    @property
    def is_pooled(self) -> bool:
        """True if one layer makes equal positions of others, with at most half of them above."""
        first, count = self.equal_positions, len(self.names)
        if first is None or 2 * (count + 1 - first) > count:
            return False
        layers, spread = self.within
        below = spread[layers < first]
        return bool(len(below) and below[-1] > np.log(POOLED))

    # Arrays that stand out

    @cached_property
    def are_to_stay(self) -> np.ndarray:
        """True for arrays that have a stop_gradient of their own, as drawn frequencies have."""
        return np.isin(self.arrays.path, [*map(clean, self.parameters.stopped)])

    @cached_property
    def starved(self) -> dict[int, float]:
        """The arrays behind others of their layer, by how many decades, if nothing explains it."""
        if self.broken or not self.is_finite or self.cut or self.equal_positions:
            return {}
        # What queries and keys get grows with their logits, which may be next to nothing.
        flat, stay = self._of_flat_attention, self.are_to_stay
        starved = self.arrays.starved.items()
        return {i: v for i, v in starved if not (stay[i] or (i in flat and np.isfinite(v)))}

    @property
    def _of_flat_attention(self) -> set[int]:
        """The numbers of the arrays that make logits below `FLAT` in all heads."""
        record = self.flow.attention
        if record is None:
            return set()
        flat, others = set[int](), set[int]()
        logit = np.asarray(record.largest_logit, np.float64)
        for layer, paths, size in zip(record.layers, record.paths, logit, strict=True):
            (flat if size < FLAT else others).update(self.arrays.within(layer, paths))
        return flat - others

    @cached_property
    def resized(self) -> dict[int, float]:
        """The arrays of another size than their like, by how many decades."""
        if not self.arrays.weights.any():
            return {}
        kinds = kinds_of(self.flow)
        stretches = repeated(kinds)
        return self.arrays.resized(stretches if are_alike(kinds, stretches) else ())
