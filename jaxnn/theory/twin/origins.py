"""Origins of weights: which entries of which array a product has, so that one weight is one draw.

    a parameter      an array of its own
    a view of it     some of its entries: transposed, reshaped, sliced, scaled
    other functions  a new array: w + a, w - mean(w), and so on

A weight that is used once has a draw of its own. One that is used several times, such as that of
all steps of a scan, or as W and then as Wᵀ, has one draw for all of them: the same entries have the
same signs. An entry goes from a unit below to a unit above, and in a product with Wᵀ the other way;
of each product the units of an entry are told by its axes, and compared.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations, product
from math import prod
from typing import Any

import numpy as np

from ...errors import NoTwinError
from ...jaxpr.numpy_programs import OPERATIONS
from ...jaxpr.primitives import CASTS, CONVOLUTION, DOT, STOPPED, VIEWS

SAME = (*CASTS, "neg", "reduce_precision", STOPPED)
# Of the places of entries; what is not here makes a new array.
MOVED: dict[str, Callable[[np.ndarray, Any], Any]] = {
    **dict.fromkeys(SAME, lambda v, _: v),
    **{name: OPERATIONS[name] for name in VIEWS},
}
SCALES = ("mul", "div")
# What they make of a weight goes along with no entry of it.
OF_MANY = (DOT, CONVOLUTION, "reduce_")


@dataclass(frozen=True, eq=False)
class DrawnArray:
    """An array whose entries are drawn."""

    number: int  # among all
    shape: tuple[int, ...]
    # the scans, by how many are around them, in whose steps it differs
    varies: frozenset[int] = frozenset()
    parts: "tuple[WeightOrigin, ...]" = ()  # of what it is a sum, or a function entry by entry
    name: str = ""  # path of a parameter in the user's pytree
    is_mixed: bool = False  # made of what differs in steps that share their arrays

    @cached_property
    def is_tangled(self) -> bool:
        """True if some entry is a part of several entries, as those of w - w.T are."""
        return self.is_mixed or any(a.meets(b) for a, b in combinations(self.parts, 2))


@dataclass(frozen=True, eq=False)
class WeightOrigin:
    """The entries of an array that a weight has."""

    root: DrawnArray
    # makes the place of each entry in the root, flattened; in scans of step 0
    made: Callable[[], np.ndarray]
    # around it, in whose steps it has other entries; these of all steps
    scans: "tuple[tuple[int, WeightOrigin], ...]" = ()
    is_simple: bool = True  # it is known to have no entry twice

    @classmethod
    def of(cls, root: DrawnArray) -> "WeightOrigin":
        """Return all entries of an array."""
        return cls(root, lambda: np.arange(prod(root.shape)).reshape(root.shape))

    @cached_property
    def places(self) -> np.ndarray:
        """The place of each entry in the array."""
        return self.made()

    @property
    def shifts(self) -> tuple[tuple[int, np.ndarray], ...]:
        """For each scan its number, and by how many places each step is further on than step 0."""
        shifts = []
        for scan, steps in self.scans:
            flat = steps.places.reshape(len(steps.places), -1)
            apart = flat - flat[:1]
            if np.any(apart != apart[:, :1]):
                raise NoTwinError(
                    f"expected a scan over {_told(self)}, whose entries other products have too, "
                    "along one of its axes, got one in another order, which has no wide twin"
                )
            shifts.append((scan, apart[:, 0]))
        return tuple(shifts)

    def distances(self, other: "WeightOrigin") -> list[int]:
        """Return how much further on entries of the other are, in steps that may have the same."""
        (own, least, most), (its, lowest, highest) = (
            (origin.starts, int(origin.places.min()), int(origin.places.max()))
            for origin in (self, other)
        )
        firsts = np.searchsorted(its, own + least - highest)
        lasts = np.searchsorted(its, own + most - lowest, "right")
        near = zip(own, firsts, lasts, strict=True)
        return sorted({int(v) for at, i, j in near for v in its[i:j] - at})

    @property
    def starts(self) -> np.ndarray:
        """By how many places steps of all scans are further on than step 0, in order, each once."""
        starts = np.zeros(1, int)
        for _, shifts in self.shifts:
            starts = np.unique(np.add.outer(starts, shifts))
        return starts

    def view(self, name: str, params: Mapping[str, Any], i: int) -> "WeightOrigin":
        """Return the i-th result of one of `MOVED`."""

        def made() -> np.ndarray:
            viewed = MOVED[name](self.places, params)
            return np.asarray(viewed[i] if isinstance(viewed, list) else viewed)

        is_simple = self.is_simple and name != "broadcast_in_dim"
        return WeightOrigin(self.root, made, self.scans, is_simple)

    def joined(self, others: "Sequence[WeightOrigin]", axis: int) -> "WeightOrigin | None":
        """Return it with others along an axis; None if they are of several arrays or steps."""
        if any((v.root, v.scans) != (self.root, self.scans) for v in others):
            return None
        parts = (self, *others)
        return WeightOrigin(
            self.root, lambda: np.concatenate([v.places for v in parts], axis), self.scans, False
        )

    def at_step(self, scan: int) -> "WeightOrigin":
        """Return the entries of a step, given those of all steps."""
        steps = (*self.scans, (scan, self))
        return WeightOrigin(self.root, lambda: self.places[0], steps, self.is_simple)

    @cached_property
    def copies(self) -> np.ndarray:
        """The number of entries before each, flattened, that are the same; empty of simple ones."""
        flat = np.zeros(0, int) if self.is_simple else self.places.ravel()
        order = np.argsort(flat, kind="stable")
        ordered = flat[order]
        starts = np.flatnonzero(np.diff(ordered, prepend=-1))
        before = np.arange(len(flat)) - np.repeat(starts, np.diff(starts, append=len(flat)))
        copies = np.zeros(len(flat), int)
        copies[order] = before
        return copies

    def meets(self, other: "WeightOrigin") -> bool:
        """Tell whether an entry is in both."""
        if self.root is other.root:
            in_line = self.scans == other.scans
            return not in_line or len(_common(self.places, other.places)[0]) > 0
        return any(part.meets(other) for part in self.root.parts) or any(
            self.meets(part) for part in other.root.parts
        )


@dataclass(frozen=True)
class WeightUse:
    """A product of a weight."""

    origin: WeightOrigin
    varies: frozenset[int]  # the scans in whose steps the weight differs
    below: Callable[[], np.ndarray]  # the unit below each entry, a number; of the weight's shape
    above: Callable[[], np.ndarray]  # likewise
    repeated: bool  # several steps of a scan have it
    alone: bool  # no replica takes what is of others
    is_look_up: bool  # in a table

    def is_shared(self, uses: "Iterable[WeightUse]") -> bool:
        """Tell whether several products, steps or parts of it have an entry of the weight."""
        return (
            self.repeated
            or bool(np.any(self.origin.copies))
            or any(self.origin.meets(use.origin) for use in uses if use is not self)
        )

    @property
    def has_places(self) -> bool:
        """True if its own steps, or parts, have entries in common, so that their places count."""
        return bool(self.origin.scans) or bool(np.any(self.origin.copies))

    def check_copies(self) -> None:
        """Raise a NoTwinError if entries that are there twice go from and to unlike units."""
        copies, places = self.origin.copies, self.origin.places.ravel()
        if not np.any(copies):
            return
        firsts = np.flatnonzero(copies == 0)
        firsts = firsts[np.argsort(places[firsts])]
        for copy in range(1, 1 + int(copies.max())):
            here = np.flatnonzero(copies == copy)
            same = firsts[np.searchsorted(places[firsts], places[here])]
            for units in (self.below().ravel(), self.above().ravel()):
                if not _are_equal(units[same], units[here]):
                    raise _over_other_axes(self.origin)

    def is_like(self, other: "WeightUse") -> bool:
        """Tell whether another product has the same entries, from and to the same units."""
        pairs = (
            (self.origin.places, other.origin.places),
            (self.below(), other.below()),
            (self.above(), other.above()),
        )
        return all(np.array_equal(*pair) for pair in pairs)

    def is_turned(self, other: "WeightUse") -> bool | None:
        """Tell whether another product has the transpose; None if they have no entry in common."""
        # Runs may take the same matrices in another order, so entries of all steps are compared.
        turns = set()
        for apart in self.origin.distances(other.origin):
            pairs = _common(self.origin.places, other.origin.places + apart)
            if not len(pairs[0]):
                continue
            below, above = (units().ravel()[pairs[0]] for units in (self.below, self.above))
            its_below, its_above = (v().ravel()[pairs[1]] for v in (other.below, other.above))
            same = _are_equal(below, its_below) and _are_equal(above, its_above)
            turned = _are_equal(below, its_above) and _are_equal(above, its_below)
            if same == turned and not (same and len(np.unique(below)) == 1):
                raise _over_other_axes(self.origin)
            turns.add(not same)
        if len(turns) > 1:
            raise _over_other_axes(self.origin)
        return turns.pop() if turns else None


def _common(places: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where entries are that are in both, in the one and in the other."""
    if places.shape == others.shape and np.array_equal(places, others):
        every = np.arange(places.size)
        return every, every
    _, of_one, of_other = np.intersect1d(places, others, return_indices=True)
    return of_one, of_other


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


def _over_other_axes(origin: WeightOrigin) -> NoTwinError:
    return NoTwinError(
        f"expected products with a weight, or with it and its transpose, got {_told(origin)} in "
        "products that sum over other axes of it, which have no wide twin together; give each a "
        "parameter of its own"
    )


def _told(origin: WeightOrigin) -> str:
    name = f"the weight {origin.root.name}" if origin.root.name else "a weight"
    return f"{name} of shape {origin.root.shape}"


@dataclass(frozen=True)
class SharedDraw:
    """The draw of a product whose weight other products have too."""

    root: int  # number of the array
    varies: frozenset[int]  # the scans in whose steps its draw differs
    # of the entries, in step 0; None of a product that only several steps share
    places: np.ndarray | None
    shifts: tuple[tuple[int, np.ndarray], ...]  # as of `WeightOrigin`
    turned: bool  # it is the transpose
    alone: bool  # no replica takes what is of others


@dataclass(frozen=True)
class Uses:
    """The products of a layer, or of several, by where they are in its program."""

    of_place: dict[Any, WeightUse] = field(default_factory=dict)
    roots: list[DrawnArray] = field(default_factory=list)
    of_entries: list[WeightOrigin] = field(
        default_factory=list
    )  # used entry by entry, as a scale is

    def root(
        self,
        shape: tuple[int, ...],
        varies: frozenset[int] = frozenset(),
        parts: tuple[WeightOrigin, ...] = (),
        name: str = "",
        is_mixed: bool = False,
    ) -> WeightOrigin:
        """Return the origin of a new array."""
        self.roots.append(DrawnArray(len(self.roots), shape, varies, parts, name, is_mixed))
        return WeightOrigin.of(self.roots[-1])

    def entries(self) -> dict[Any, SharedDraw]:
        """Return the draws of the products whose weights are in several, or repeated."""
        # A weight that one product has alone is drawn for itself. Those of several get the place of
        # each entry in the array that they are views of, so that equal entries have equal signs.
        # Arrays that are made of the same entries are refused: their draws would be independent.
        by_root: dict[DrawnArray, dict[Any, WeightUse]] = {}
        for place, use in self.of_place.items():
            by_root.setdefault(use.origin.root, {})[place] = use
        _check_apart([list(uses.values()) for uses in by_root.values()])
        for origin in self.of_entries:
            if any(origin.meets(use.origin) for use in self.of_place.values()):
                raise NoTwinError(
                    f"expected {_told(origin)} in products, or in sums and scales, got one in both,"
                    " which has no wide twin; give each a parameter of its own"
                )
        entries: dict[Any, SharedDraw] = {}
        for root, uses in by_root.items():
            shared = {place: use for place, use in uses.items() if use.is_shared(uses.values())}
            entries.update(_entries_of(root, shared))
        return entries


def _entries_of(root: DrawnArray, shared: dict[Any, WeightUse]) -> dict[Any, SharedDraw]:
    """Return the draws of the products that have entries of an array that others have too."""
    several = list(shared.values())
    for use in several:
        use.check_copies()
    if several and root.is_tangled:
        raise NoTwinError(
            f"expected independent entries, got {_told(several[0].origin)} in several products or "
            "steps, whose entries are made of each other's, as those of w - w.T are, which has no "
            "wide twin; use it once in a layer"
        )
    alone = any(use.alone for use in several) or all(use.is_look_up for use in several)
    if len(several) == 1 and not several[0].has_places:
        return {
            at: SharedDraw(root.number, use.varies, None, (), False, alone)
            for at, use in shared.items()
        }
    entries = {}
    for (at, use), turned in zip(shared.items(), _turns(several), strict=True):
        places, shifts = use.origin.places, use.origin.shifts
        entries[at] = SharedDraw(root.number, root.varies, places, shifts, turned, alone)
    return entries


def _turns(uses: list[WeightUse]) -> list[bool]:
    """Tell of each product whether it is with the transpose of what the first has."""
    turns: list[bool] = []
    distinct: list[tuple[WeightUse, bool]] = []
    for use in uses:
        like = next((turn for other, turn in distinct if other.is_like(use)), None)
        if like is None:
            pairs = [(turn, other.is_turned(use)) for other, turn in distinct]
            like = next((before != turn for before, turn in pairs if turn is not None), False)
            distinct.append((use, like))
        turns.append(like)
    return turns


def _check_apart(by_root: list[list[WeightUse]]) -> None:
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
