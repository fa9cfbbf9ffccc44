"""Shares of the entries of a flow that number formats keep, with scales and a table.

    bins, from the largest entries down     overflow | kept, normal | subnormal | zero

Where these begin follows from the format, the exponent of bin 0 and the scale; with running sums of
counts and squares each share is the difference of two.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...texts import told
from .entries import BINS, PARTS, Entries
from .number_formats import EDGES, NARROW, Format

KEEP = 0.999  # of the square norm
# By name: what is counted.
KINDS = ("delta", "state", "delta_parameter", "parameter")
SCALED = ("delta", "delta_parameter")  # with the loss


class Kept(NamedTuple):
    """Shares of the nonzero entries of arrays that a format changes, (N,) each; 0 without any."""

    scale: np.ndarray  # the k of 2^k by which each array is multiplied
    zero: np.ndarray
    subnormal: np.ndarray  # those below the normal numbers that do not become zero
    overflow: np.ndarray
    zero_square: np.ndarray  # of the square norm
    overflow_square: np.ndarray

    @property
    def square(self) -> np.ndarray:
        """The share of the square norm that is left, before what is left is rounded."""
        return np.asarray(1 - self.zero_square - self.overflow_square)


class Histogram:
    """Entries with known values, ready for any format and scale; nan of arrays without numbers."""

    def __init__(self, entries: Entries) -> None:
        top, self.counts, squares = (
            np.asarray(v, np.float64)
            for v in (entries.top, entries.sums[..., 0], entries.sums[..., 1])
        )
        self.known = np.isfinite(top) & np.isfinite(squares).all(axis=1)
        self.top = np.where(self.known, top, 0).astype(int)
        self.full = self.known & (self.counts.sum(axis=1) > 0)
        self.of_entries, self.of_square = (_running(v) for v in (self.counts, squares))

    def kept(self, kind: Format, scale: Any) -> Kept:
        """Return what a format keeps of each array times 2^scale."""
        scale = np.asarray(scale, int)
        over, small, zero = _begins(kind, self.top + scale)
        small = np.maximum(small, over)

        def between(sums: np.ndarray, first: Any, end: Any) -> np.ndarray:
            place = np.arange(len(sums))
            shares = sums[place, end] - sums[place, first]
            return np.where(self.known, shares, np.nan)

        return Kept(
            np.broadcast_to(scale, over.shape),
            between(self.of_entries, zero, BINS),
            between(self.of_entries, small, zero),
            between(self.of_entries, 0, over),
            between(self.of_square, zero, BINS),
            between(self.of_square, 0, over),
        )

    def largest_scale(self, kind: Format) -> np.ndarray:
        """Return the largest k for which nothing of each array overflows; 0 of zeros."""
        passed = PARTS - 1 - np.argmax(self.counts[:, :PARTS] > 0, axis=1)
        k = kind.highest - self.top - (passed > EDGES.index(kind.edge))
        return np.where(self.full, k, 0)


def _running(v: np.ndarray) -> np.ndarray:
    """Return the running sums of shares, (N, K + 1)."""
    sums = np.concatenate([np.zeros((len(v), 1)), np.cumsum(v, axis=1)], axis=1)
    return np.asarray(sums / np.where(sums[:, -1:] == 0, 1, sums[:, -1:]))


def _begins(kind: Format, top: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the bins where what does not overflow begins, what is subnormal, and what is zero."""
    passing = PARTS - 1 - EDGES.index(kind.edge)  # bins of an octave whose mantissas overflow
    over = (top - kind.highest) * PARTS + passing
    small = (top - kind.least + 1) * PARTS
    # Of the octave of half the smallest number a power of two alone becomes zero, its last bin.
    zero = (top - kind.lowest + 2) * PARTS - 1
    return np.clip(over, 0, BINS), np.clip(small, 0, BINS), np.clip(zero, 0, BINS)


class LossScale(NamedTuple):
    """Powers of two by which the loss is multiplied."""

    best: int  # the k that keeps most of the layer that loses most, the largest of those
    window: tuple[int, int] | None  # the least and the largest k that keep enough of every layer


def loss_scale(kind: Format, deltas: list[Histogram], keep: float = KEEP) -> LossScale:
    """Return the scales of the loss for which a format keeps such a share of every ‖Δ‖²."""
    full = [delta for delta in deltas if delta.full.any()]
    if not full:
        return LossScale(0, None)
    most = [delta.largest_scale(kind)[delta.full] for delta in full]
    # Below the first nothing overflows, and all layers lose less with more; above the last all
    # that counts overflows.
    first, last = (int(f([f(v) for v in most])) for f in (min, max))
    scales = range(first - (kind.highest - kind.lowest), last + 2)
    least = np.array(
        [min(delta.kept(kind, k).square[delta.full].min() for delta in full) for k in scales]
    )
    best = len(scales) - 1 - int(np.argmax(least[::-1]))
    good = np.flatnonzero(least >= keep)
    stretch = max(np.split(good, np.flatnonzero(np.diff(good) > 1) + 1), key=len)
    window = (scales[stretch[0]], scales[stretch[-1]]) if len(good) else None
    return LossScale(scales[best], window)


def histograms(entries: Any) -> dict[str, Histogram]:
    """Return the histograms of a flow that it has, by the names in `KINDS`."""
    return {kind: Histogram(v) for kind in KINDS if (v := getattr(entries, kind)) is not None}


def scalings(kind: Format, histogram: Histogram, scale: int | None) -> Iterator[tuple[str, Kept]]:
    """Yield what a format keeps of arrays with each kind of scale, the simplest first."""
    yield "none", histogram.kept(kind, 0)
    if scale is not None:
        yield "loss", histogram.kept(kind, scale)
    yield "tensor", histogram.kept(kind, histogram.largest_scale(kind))


def layers_of(flow: Any, of: str) -> Sequence[int]:
    """Return the layer of each array."""
    return flow.parameters.layers if "parameter" in of else range(1, len(flow.names) + 1)


def rows_of(flow: Any, of: str) -> list[dict[str, Any]]:
    """Return a row for each array, format and kind of scale; see `flow.formats.ranges`."""
    found = histograms(flow.entries)
    if of not in found:
        is_left = of == "delta_parameter"
        hint = "; of PyTorch Δ of parameters is not counted by entries" if is_left else ""
        raise ValueError(f"of: expected one of {', '.join(found)}, got {told(of)}{hint}")
    layers = layers_of(flow, of)
    deltas = [found[kind] for kind in SCALED if kind in found]
    scales = {kind: loss_scale(kind, deltas).best for kind in NARROW if of in SCALED}
    names = [flow.names[layer - 1] if layer <= len(flow.names) else "" for layer in layers]
    places = [{"layer": v, "name": name} for v, name in zip(layers, names, strict=True)]
    if "parameter" in of:
        pairs = zip(places, flow.parameters.paths, strict=True)
        places = [place | {"path": path} for place, path in pairs]
    return [
        place
        | {"format": kind.name, "scaling": scaling}
        | dict(zip(Kept._fields, values, strict=True))
        for kind in NARROW
        for scaling, kept in scalings(kind, found[of], scales.get(kind))
        for place, values in zip(places, zip(*(v.tolist() for v in kept), strict=True), strict=True)
    ]
