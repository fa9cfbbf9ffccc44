"""Origins of weights: which entries of which array a product has, so that one weight is one draw.

    a parameter      an array of its own
    a view of it     some of its entries: transposed, reshaped, sliced, scaled
    other functions  a new array: w + a, w - mean(w), and so on

A weight that a layer uses once has a draw of its own. One that it uses several times, such as that
of all steps of a scan, or as W and then as Wᵀ, has one draw for all of them: the same entries have
the same signs. An entry goes from a unit below to a unit above, and in a product with Wᵀ the other
way; of each product the units of an entry are told by its axes, and compared.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations, product
from math import prod
from typing import Any

import numpy as np

from ...errors import NoTwinError

SAME = ("copy", "neg", "convert_element_type", "reduce_precision", "stop_gradient")
# Of the places of entries; what is not here makes a new array.
VIEWS: dict[str, Callable[[np.ndarray, Any], Any]] = {
    **dict.fromkeys(SAME, lambda v, _: v),
    "transpose": lambda v, p: v.transpose(p["permutation"]),
    "reshape": lambda v, p: v.reshape(p["new_sizes"]),
    "squeeze": lambda v, p: v.squeeze(tuple(p["dimensions"])),
    "rev": lambda v, p: np.flip(v, p["dimensions"]),
    "slice": lambda v, p: v[
        tuple(map(slice, p["start_indices"], p["limit_indices"], p["strides"] or [None] * v.ndim))
    ],
    "broadcast_in_dim": lambda v, p: _broadcast(v, p["shape"], p["broadcast_dimensions"]),
    "split": lambda v, p: np.split(v, np.cumsum(p["sizes"])[:-1], p["axis"]),
    "unstack": lambda v, p: list(np.moveaxis(v, p["axis"], 0)),
}
SCALES = ("mul", "div")
# What they make of a weight goes along with no entry of it.
OF_MANY = ("dot_general", "conv_general_dilated", "reduce_")


def _broadcast(v: np.ndarray, shape: Sequence[int], axes: Sequence[int]) -> np.ndarray:
    aligned = [1] * len(shape)
    for axis, size in zip(axes, v.shape, strict=True):
        aligned[axis] = size
    return np.broadcast_to(v.reshape(aligned), shape)


@dataclass(frozen=True, eq=False)
class Root:
    """An array whose entries are drawn.

    number: of it in its layer.
    shape: of it.
    varies: the scans, by how many are around them, in whose steps it differs.
    parts: of what it is a sum, or another function entry by entry.
    """

    number: int
    shape: tuple[int, ...]
    varies: frozenset[int] = frozenset()
    parts: "tuple[Origin, ...]" = ()

    @cached_property
    def is_tangled(self) -> bool:
        """True if some entry is a part of several entries, as those of w - w.T are."""
        return any(a.meets(b) for a, b in combinations(self.parts, 2))


@dataclass(frozen=True, eq=False)
class Origin:
    """The entries of an array that a weight has.

    root: the array.
    made: a function that returns the place of each entry in it, flattened; in scans of step 0.
    scans: of those in whose steps it has other entries, by how many are around it, and the entries
        of all steps.
    """

    root: Root
    made: Callable[[], np.ndarray]
    scans: "tuple[tuple[int, Origin], ...]" = ()

    @classmethod
    def of(cls, root: Root) -> "Origin":
        """Return all entries of an array."""
        return cls(root, lambda: np.arange(prod(root.shape)).reshape(root.shape))

    @cached_property
    def places(self) -> np.ndarray:
        """The place of each entry in the array."""
        return self.made()

    @property
    def strides(self) -> tuple[tuple[int, int], ...]:
        """For each scan its number, and by how many places the next step is further on.

        Raises:
            NoTwinError: by several numbers.
        """
        strides = []
        for scan, steps in self.scans:
            apart = np.unique(np.diff(steps.places, axis=0))
            if len(apart) > 1:
                raise NoTwinError(
                    f"expected a scan over {_told(self)}, whose entries other products have too, "
                    "along one of its axes, got one in another order, which has no wide twin"
                )
            strides.append((scan, int(apart[0]) if len(apart) else 0))
        return tuple(strides)

    def view(self, name: str, params: Mapping[str, Any], i: int) -> "Origin":
        """Return the i-th result of one of `VIEWS`."""

        def made() -> np.ndarray:
            viewed = VIEWS[name](self.places, params)
            return np.asarray(viewed[i] if isinstance(viewed, list) else viewed)

        return Origin(self.root, made, self.scans)

    def at_step(self, scan: int) -> "Origin":
        """Return the entries of a step, given those of all steps."""
        return Origin(self.root, lambda: self.places[0], (*self.scans, (scan, self)))

    def meets(self, other: "Origin") -> bool:
        """Tell whether an entry is in both."""
        if self.root is other.root:
            in_line = self.scans == other.scans
            return not in_line or len(np.intersect1d(self.places, other.places)) > 0
        return any(part.meets(other) for part in self.root.parts) or any(
            self.meets(part) for part in other.root.parts
        )


@dataclass(frozen=True)
class Use:
    """A product of a weight.

    origin: of the weight.
    varies: the scans in whose steps the weight differs.
    below: of each entry the unit below it, as a number; of the weight's shape.
    above: likewise.
    repeated: whether several steps of a scan have it.
    alone: whether no replica takes what is of others.
    is_look_up: whether it is a look-up in a table.
    """

    origin: Origin
    varies: frozenset[int]
    below: Callable[[], np.ndarray]
    above: Callable[[], np.ndarray]
    repeated: bool
    alone: bool
    is_look_up: bool

    def is_shared(self, uses: "Iterable[Use]") -> bool:
        """Tell whether several products, or steps, have an entry of the weight."""
        return self.repeated or any(
            self.origin.meets(use.origin) for use in uses if use is not self
        )

    def is_turned(self, other: "Use") -> bool | None:
        """Tell whether another product has the transpose; None if they have no entry in common.

        Raises:
            NoTwinError: it has neither the weight nor its transpose.
        """
        pairs = np.intersect1d(self.origin.places, other.origin.places, return_indices=True)[1:]
        if not len(pairs[0]):
            return None
        below, above = (units().ravel()[pairs[0]] for units in (self.below, self.above))
        its_below, its_above = (units().ravel()[pairs[1]] for units in (other.below, other.above))
        same = _are_equal(below, its_below) and _are_equal(above, its_above)
        turned = _are_equal(below, its_above) and _are_equal(above, its_below)
        if same != turned or (same and len(np.unique(below)) == 1):
            return not same
        raise NoTwinError(
            f"expected products with a weight, or with it and its transpose, got "
            f"{_told(self.origin)} in products that sum over other axes of it, which have no wide "
            "twin together; give each a parameter of its own"
        )


def _are_equal(units: np.ndarray, others: np.ndarray) -> bool:
    """Tell whether units are the same ones, by other numbers."""
    pairs = len(np.unique(np.stack([units, others]), axis=1).T)
    return pairs == len(np.unique(units)) == len(np.unique(others))


def units(shape: Sequence[int], axes: Sequence[int]) -> Callable[[], np.ndarray]:
    """Return a function that numbers the entries of an array along some of its axes."""

    def made() -> np.ndarray:
        along = [n if i in axes else 1 for i, n in enumerate(shape)]
        return np.broadcast_to(np.arange(prod(along)).reshape(along), shape)

    return made


def _told(origin: Origin) -> str:
    return f"a weight of shape {origin.root.shape}"


@dataclass(frozen=True)
class Entries:
    """The draw of a product whose weight other products have too.

    root: number of the array.
    varies: the scans in whose steps its draw differs.
    places: of the entries, in step 0; None of a product that only several steps share.
    strides: as of `Origin`.
    turned: whether it is the transpose.
    alone: whether no replica takes what is of others.
    """

    root: int
    varies: frozenset[int]
    places: np.ndarray | None
    strides: tuple[tuple[int, int], ...]
    turned: bool
    alone: bool


@dataclass(frozen=True)
class Uses:
    """The products of a layer, by where they are in its program."""

    of_place: dict[Any, Use] = field(default_factory=dict)
    roots: list[Root] = field(default_factory=list)
    of_entries: list[Origin] = field(default_factory=list)  # used entry by entry, as a scale is

    def root(
        self,
        shape: tuple[int, ...],
        varies: frozenset[int] = frozenset(),
        parts: tuple[Origin, ...] = (),
    ) -> Origin:
        """Return the origin of a new array."""
        self.roots.append(Root(len(self.roots), shape, varies, parts))
        return Origin.of(self.roots[-1])

    def entries(self) -> dict[Any, Entries]:
        """Return the draws of the products whose weights are in several, or repeated.

        Raises:
            NoTwinError: weights of which that is not known.
        """
        # A weight that one product has alone is drawn for itself. Those of several get the place of
        # each entry in the array that they are views of, so that equal entries have equal signs.
        # Arrays that are made of the same entries are refused: their draws would be independent.
        by_root: dict[Root, dict[Any, Use]] = {}
        for place, use in self.of_place.items():
            by_root.setdefault(use.origin.root, {})[place] = use
        _check_apart([list(uses.values()) for uses in by_root.values()])
        for origin in self.of_entries:
            if any(origin.meets(use.origin) for use in self.of_place.values()):
                raise NoTwinError(
                    f"expected {_told(origin)} in products, or in sums and scales, got one in both,"
                    " which has no wide twin; give each a parameter of its own"
                )
        entries: dict[Any, Entries] = {}
        for root, uses in by_root.items():
            shared = {place: use for place, use in uses.items() if use.is_shared(uses.values())}
            if not shared:
                continue
            several = list(shared.values())
            if root.is_tangled:
                raise NoTwinError(
                    f"expected independent entries, got {_told(several[0].origin)} in several "
                    "products or steps, whose entries are made of each other's, as those of "
                    "w - w.T are, which has no wide twin; use it once in a layer"
                )
            alone = any(use.alone for use in several) or all(use.is_look_up for use in several)
            if len(shared) == 1:
                ((place, use),) = shared.items()
                entries[place] = Entries(root.number, use.varies, None, (), False, alone)
                continue
            for (place, use), turned in zip(shared.items(), _turns(several), strict=True):
                use_origin = use.origin
                drawn = (
                    root.number,
                    root.varies,
                    use_origin.places,
                    use_origin.strides,
                    turned,
                    alone,
                )
                entries[place] = Entries(*drawn)
        return entries


def _turns(uses: list[Use]) -> list[bool]:
    """Tell of each product whether it is with the transpose of what the first has."""
    turns: list[bool] = []
    for i, use in enumerate(uses):
        pairs = [(turns[j], uses[j].is_turned(use)) for j in range(i)]
        turns.append(next((before != turn for before, turn in pairs if turn is not None), False))
    return turns


def _check_apart(by_root: list[list[Use]]) -> None:
    """Raise a NoTwinError for arrays that are made of the same entries."""
    for several, others in combinations(by_root, 2):
        for one, other in product(several, others):
            if not one.origin.meets(other.origin):
                continue
            raise NoTwinError(
                f"expected weights that are independent or the same, got {_told(one.origin)} and "
                f"{_told(other.origin)} that are made of one parameter, which have no wide twin "
                "together; compute them once, as slices, transposes or multiples of one array, or "
                "use two parameters"
            )
