"""Parameter arrays of a flow: which are broken, of another size than their like, or starved of Δ.

An array is compared with the other weights of its layer, and with the same one of layers that
repeat. Only weights count: what a bias gets may be zero for good reasons.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...texts import clean
from ..record.flow import Flow
from .rates import LN10, RepeatedStretch

LARGE = 10.0  # times its like in other layers: an array of another size
LEAST_OFFSET = 0.5  # root mean square of a bias that turns units off: drawn ones have less
STARVED = 4.0  # decades below the others' Δ / size: an array that does not learn, if its like in
UNUSUAL = 2.0  # other layers are so much nearer to the others there, or in any case
HOPELESS = 8.0
GAINS = "g", "gain", "gamma", "scale", "weight"  # names of vectors that multiply
SMALL_GAIN = -3.0  # the size of a gain below which a branch starts as if it were off


@dataclass(frozen=True)
class Arrays:
    """The parameter arrays of a flow; decades, of root mean squares of entries."""

    layer: np.ndarray  # from 1
    path: tuple[str, ...]
    shape: tuple[tuple[int, ...], ...]
    place: np.ndarray  # in its layer
    delta: np.ndarray  # -inf if all entries are zero
    size: np.ndarray  # likewise
    added: tuple[int, ...] = ()  # numbers of biases of several axes

    @classmethod
    def of(cls, flow: Flow) -> "Arrays":
        """Return those of a flow of one network."""
        given = flow.parameters
        entries = np.array([max(int(np.prod(s)), 1) for s in given.shapes], float)
        delta, size = (
            (np.asarray(v, np.float64) - 0.5 * np.log(entries)) / LN10
            for v in (given.log_delta, given.log_size)
        )
        layer = np.array(given.layers, int)
        first = np.searchsorted(layer, layer)  # of the layer of each array
        place = np.arange(len(layer)) - first
        paths = tuple(map(clean, given.paths))
        return cls(layer, paths, given.shapes, place, delta, size, given.added)

    def within(self, layer: int, paths: Iterable[str]) -> list[int]:
        """Return the numbers of arrays of a layer, given their paths."""
        names = set(map(clean, paths))
        return [i for i in np.flatnonzero(self.layer == layer).tolist() if self.path[i] in names]

    @cached_property
    def weights(self) -> np.ndarray:
        """True for arrays of weights, see `are_weights`; not for those that are added alone."""
        is_added = np.isin(np.arange(len(self.layer)), self.added)
        return are_weights(self.layer.tolist(), self.shape) & ~is_added

    def _is_bias(self, i: int) -> bool:
        return i in self.added or _has_name_of_bias(self.path[i])

    @cached_property
    def rests(self) -> np.ndarray:
        """True for arrays that get no Δ, through none of the layers that have them."""
        moving = {self.path[i] for i in np.flatnonzero(~np.isneginf(self.delta))}
        return np.array([path not in moving for path in self.path], bool)

    @cached_property
    def broken(self) -> np.ndarray:
        """The numbers of the arrays with entries that are nan or infinite."""
        return np.flatnonzero(np.isnan(self.size) | np.isposinf(self.size))

    @cached_property
    def ratio(self) -> np.ndarray:
        """Δ / size of the weights that are not zero; nan of other arrays."""
        known = self.weights & np.isfinite(self.size)
        return np.where(known, self.delta - np.where(known, self.size, 0.0), np.nan)

    @cached_property
    def most(self) -> dict[str, float]:
        """The largest Δ / size of each path: what steps share learns from each of them."""
        most: dict[str, float] = {}
        for path, ratio in zip(self.path, self.ratio, strict=True):
            most[path] = np.fmax(most.get(path, -np.inf), ratio)
        return most

    def zero_at_start(self, layer: int) -> list[int]:
        """Return the weights of a layer that are zero; without weights the zero arrays with a Δ."""
        there = self.layer == layer
        if not (there & self.weights).any():  # a norm without gain
            return self.zero_gains(layer)
        return np.flatnonzero(there & self.weights & np.isneginf(self.size)).tolist()

    def zero_gains(self, layer: int) -> list[int]:
        """Return the arrays of one axis of a layer that are zero and get a Δ, but for biases."""
        return [i for i in self.gains_of_zero(layer) if not np.isneginf(self.delta[i])]

    def gains_of_zero(self, layer: int, are_odd: bool = False) -> list[int]:
        """Return the arrays of one axis of a layer that are zero, odd ones first; no biases."""
        zero = (self.layer == layer) & ~self.weights & np.isneginf(self.size)
        # Odd: its like in other layers are not zero. Without a name, one that is not is a bias.
        like = {i: self._sizes_of_like(i) for i in np.flatnonzero(zero).tolist()}
        is_odd = {i: not np.isneginf(sizes).all() for i, sizes in like.items()}
        gains = [
            i
            for i, sizes in like.items()
            if not self._is_bias(i)
            and (is_odd[i] or not len(sizes) or (has_name(self.path[i]) and not are_odd))
        ]
        return sorted(gains, key=lambda i: not is_odd[i])

    def offsets(self, layer: int) -> list[int]:
        """Return the arrays of one axis of a layer that turn units off if they are added."""
        there = (self.layer == layer) & ~self.weights & (self.size >= np.log10(LEAST_OFFSET))
        return [i for i in np.flatnonzero(there).tolist() if _last_word(self.path[i]) not in GAINS]

    def is_fed_zeros(self, layer: int) -> bool:
        """Tell whether a weight of a layer gets no Δ though its bias does: only zeros enter it."""
        there = np.flatnonzero(self.layer == layer).tolist()
        learns = [i for i in there if self._is_bias(i) and np.isfinite(self.delta[i])]
        stays = [i for i in there if self.weights[i] and np.isneginf(self.delta[i])]
        of_biases, of_weights = (
            {_module_of(self.path[i]) for i in which} for which in (learns, stays)
        )
        return not of_biases.isdisjoint(of_weights)

    def large_offsets(self, layer: int) -> list[int]:
        """Return the offsets of a layer that are far larger than all of their name."""
        return [
            i
            for i in self.offsets(layer)
            if len(others := self._sizes_of_like(i))
            and self.size[i] - max(others) >= np.log10(LARGE)
        ]

    def large_biases(self, layer: int, count: int) -> list[int]:
        """Return the arrays of so many entries of a layer that are larger than biases are drawn."""
        there = (self.layer == layer) & ~self.weights & (self.size >= np.log10(LEAST_OFFSET))
        known = there & np.isfinite(self.size)
        return [i for i in np.flatnonzero(known).tolist() if self.shape[i] == (count,)]

    def silencers(self, layer: int) -> list[int]:
        """Return what may turn the units of a layer off: gains of zeros and far larger offsets."""
        return [*self.gains_of_zero(layer), *self.large_offsets(layer)]

    def _sizes_of_like(self, i: int) -> np.ndarray:
        """Return the sizes of the arrays of one axis that are the same one in other layers."""
        alike = [kind == self._kinds[i] for kind in self._kinds]
        return np.asarray(self.size[alike & ~self.weights & (self.layer != self.layer[i])])

    @cached_property
    def _kinds(self) -> list[tuple[str, int]]:
        """The path of each array without its layer's number; of one without a name its place."""
        return [
            (re.sub(r"\d+", "", path, count=1), 0 if has_name(path) else int(place))
            for path, place in zip(self.path, self.place, strict=True)
        ]

    def starts_at_zero(self, layer: int) -> bool:
        """Tell whether a layer has a zero array, below which weights get no Δ at first."""
        return bool(self.zero_at_start(layer) or self.zero_gains(layer))

    @cached_property
    def adapters(self) -> list[tuple[int, int]]:
        """The pairs of weights of few units between, of which the second alone is zero."""
        # The first gets no Δ yet; the second does. Outputs come last in a shape, or first, as those
        # of modules of PyTorch do.
        flat = [i for i in np.flatnonzero(self.weights).tolist() if len(self.shape[i]) == 2]

        def are_narrow(first: tuple[int, ...], second: tuple[int, ...]) -> bool:
            return first[1] == second[0] < min(first[0], second[1])

        return [
            (i, j)
            for i in flat
            for j in flat
            if self.layer[i] == self.layer[j]
            and self.rests[i]
            and np.isneginf(self.size[j])
            and np.isfinite(self.size[i] + self.delta[j])
            and (
                are_narrow(self.shape[i], self.shape[j])
                or are_narrow(self.shape[i][::-1], self.shape[j][::-1])
            )
        ]

    def small_gains(self, layer: int) -> list[int]:
        """Return the gains of a layer that start near zero and learn, as a layer scale of 10⁻⁶."""
        return [
            i
            for i in np.flatnonzero(self.layer == layer).tolist()
            if self.size[i] <= SMALL_GAIN
            and np.isfinite(self.size[i] + self.delta[i])
            and self.shape[i][:1] == (int(np.prod(self.shape[i])),)
            and not self._is_bias(i)
        ]

    def resized(self, stretches: tuple[RepeatedStretch, ...]) -> dict[int, float]:
        """Return the weights of another size than their like in a stretch, by how many decades."""
        far: dict[int, float] = {}
        for alike in self._alike(stretches):
            known = alike[np.isfinite(self.size[alike])]
            if len(known) < 3:
                continue
            off = self.size[known] - np.median(self.size[known])
            large = np.flatnonzero(np.abs(off) >= np.log10(LARGE))
            if len(large) <= max(1, len(known) // 4):  # else they are no exception
                far |= {int(known[i]): float(off[i]) for i in large}
        return dict(sorted(far.items()))

    def _alike(self, stretches: tuple[RepeatedStretch, ...]) -> list[np.ndarray]:
        """Return the same weights of the layers that repeat, an array of numbers for each."""
        by_layer = {
            (int(self.layer[i]), int(self.place[i])): i for i in np.flatnonzero(self.weights)
        }
        groups = []
        for stretch in stretches:
            for phase in range(stretch.period):
                layers = range(stretch.start + phase + 1, stretch.stop + 1, stretch.period)
                for place in sorted(p for layer, p in by_layer if layer == layers[0]):
                    keys = [(layer, place) for layer in layers]
                    groups.append(np.array([by_layer[key] for key in keys if key in by_layer]))
        return groups

    @cached_property
    def starved(self) -> dict[int, float]:
        """The weights with far less Δ, for their size, than others of their layer, in decades."""
        behind = self._behind
        # What gets little in every layer, as the logarithms of decay rates do, is no fault.
        usual = np.zeros(len(behind))
        for alike in self._of_one_name:
            known = alike[np.isfinite(behind[alike])]
            for i in known if len(known) > 1 else ():
                usual[i] = np.median(behind[known[known != i]])
        far = (behind >= STARVED) & ((behind - usual >= UNUSUAL) | (behind >= HOPELESS))
        return {int(i): float(behind[i]) for i in np.flatnonzero(far)}

    @property
    def _behind(self) -> np.ndarray:
        """By how many decades each weight is behind the others of its layer; nan if not known."""
        behind = np.full(len(self.layer), np.nan)
        for layer in dict.fromkeys(self.layer.tolist()):
            weights = np.flatnonzero((self.layer == layer) & self.weights)
            ratio = self.ratio[weights]
            known = np.isfinite(ratio)
            # Behind a gain that starts near zero weights get next to no Δ at first,
            if self.small_gains(layer):
                continue
            # and below a zero array, as at the end of a branch that starts at zero, none.
            at_start = self.starts_at_zero(layer)
            for i in weights[known | np.isneginf(ratio)]:
                others = self.ratio[weights[(weights != i) & known]]
                if len(others):
                    below = np.median(others) - self.most[self.path[i]]
                    behind[i] = np.nan if at_start and np.isposinf(below) else below
        return behind

    @property
    def _of_one_name(self) -> list[np.ndarray]:
        """The arrays of one name and shape but for the number of their layer, in groups."""
        groups: dict[tuple[tuple[str, int], tuple[int, ...]], list[int]] = {}
        for i, (kind, shape) in enumerate(zip(self._kinds, self.shape, strict=True)):
            groups.setdefault((kind, shape), []).append(i)
        return [np.array(group) for group in groups.values()]


def are_weights(layers: Sequence[int], shapes: Sequence[tuple[int, ...]]) -> np.ndarray:
    """Tell weights, of two axes or more, from vectors that have more axes.

    Example:
        >>> are_weights([1] * 4, [(8, 8, 3, 3), (8, 1, 1), (1, 1, 1, 8), (8,)]).tolist()
        [True, False, False, False]
        >>> are_weights([1, 1, 1, 2], [(8, 8), (1, 8), (1, 8), (1, 8)]).tolist()
        [True, False, False, True]
        >>> are_weights([1, 1], [(8, 4), (1, 4)]).tolist()
        [True, False]
        >>> are_weights([1] * 4, [(1, 1, 1, 8), (1, 8, 1, 1), (1, 8), (3, 3, 1, 8)]).tolist()
        [False, True, True, True]
    """
    # Gain and offset of a batch norm in Haiku are two of (1, n), the vector that a spectral norm
    # keeps is (1, n) next to (m, n), a bias of Equinox's convolutions (n, 1, 1) by (n, m, k, k).
    counts = Counter(zip(layers, shapes, strict=True))
    kernels = {(layer, shape[0], len(shape)) for layer, shape in counts if shape}
    columns = {(layer, shape[1]) for layer, shape in counts if len(shape) == 2 and shape[0] > 1}

    def is_vector(layer: int, shape: tuple[int, ...]) -> bool:
        first, *_, last = shape
        is_one_of_two = counts[layer, shape] > 1 or (layer, last) in columns
        is_gain = math.prod(shape) == last and (len(shape) > 2 or is_one_of_two)
        is_bias = math.prod(shape) == first and (layer, first, len(shape) + 1) in kernels
        return is_gain or is_bias

    return np.array(
        [
            len(shape) > 1 and max(shape) > 1 and not is_vector(layer, shape)
            for layer, shape in zip(layers, shapes, strict=True)
        ],
        bool,
    )


def has_name(path: str) -> bool:
    """Tell whether a path has words, and not numbers alone, as that of an entry of a list.

    Example:
        >>> has_name("layers.3.weight"), has_name("[18]")
        (True, False)
    """
    return re.search("[A-Za-z]", path) is not None


def _last_word(path: str) -> str:
    words = re.findall("[a-z_]+", path.removesuffix(".value").lower())
    return words[-1] if words else ""


def _module_of(path: str) -> str:
    """Return the path of the module that has an array, but for its last signs."""
    return re.sub(r"\w+\W*$", "", path.removesuffix(".value"))


def _has_name_of_bias(path: str) -> bool:
    last = _last_word(path)
    return last in ("b", "beta", "offset", "shift", "mean") or "bias" in last
