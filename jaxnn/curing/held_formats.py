"""Number formats that hold Δ of each layer, and what the loss is multiplied by.

A format makes zero, or subnormal, what is smaller than its least normal number τ. Of n entries that
is n τ² of the square norm at most, so the share that is lost is below 1 - keep if

    ‖Δ‖ ≥ τ √(n / (1 - keep))

and none overflows if ‖Δ‖ is below the largest number.
"""

from collections.abc import Iterator
from itertools import groupby

import numpy as np

from ..arrays.rows import LN2
from ..flow.formats.format_loss import KEEP
from ..flow.formats.ranges import range_of
from ..flow.record.flow import Flow
from ..texts import stretch_in_words

NARROW = ("float16", "bfloat16")  # that with more digits first


def held_by(flow: Flow) -> Iterator[str]:
    """Yield formats that hold Δ of all layers, in words, a line for each stretch of layers."""
    log = np.asarray(flow.log_delta, np.float64)
    known, numbers = np.isfinite(log), np.array(flow.sizes) * flow.log_delta_example.shape[-1]
    for name in NARROW:
        low, high = range_of(name)
        least = (low + np.log(numbers / (1 - KEEP)) / 2 - log) / LN2
        most = int(np.floor(np.min((high - log)[known]) / LN2))
        needed = np.max(least, where=known & (least <= most), initial=0.0)
        k = min(int(np.ceil(needed)), most)
        held = ~known | (least <= k)
        if held.all():
            yield f"Δ, all layers: {name}{_scaled(k)}"
            return
    # None does with one scale of the loss: then the last one, with a scale for each tensor
    # elsewhere.
    for is_held, stretch in groupby(range(len(held)), key=lambda i: bool(held[i])):
        first, *more = stretch
        where = stretch_in_words(first + 1, (more or [first])[-1] + 1, flow.names)
        yield f"Δ, {where}: {name}{_scaled(k) if is_held else ' with one scale a tensor'}"


def _scaled(k: int) -> str:
    return f" with the loss multiplied by 2^{k}" if k else ""
