"""PyTorch: what a value is made of, told by the memory that holds it; an axis by its stride.

x (B, T, n) -> x W -> q, of W;   q kᵀ -> logits, of the arrays that q and k are of
without its products: logits if q kᵀ were zero, which are those of masks and biases alone
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

from .types import Tensor

MANY = 1024  # values that are noted before those whose memory is free again are dropped

BATCH, LEFT, RIGHT = "batch", "left", "right"


class Axis(NamedTuple):
    """An axis of memory; kind: of the last product (batch, left, n) times (batch, n, right)."""

    stride: int
    size: int
    kind: str


class Shift(NamedTuple):
    """A subtraction from a value: of the largest of some of its entries."""

    largest: Any
    shape: tuple[int, ...]  # of the difference, as is the stride
    stride: tuple[int, ...]

    def added_to(self, tensor: Tensor) -> Any:
        """Return the value itself, given the difference; None of another view of it."""
        is_same = (tensor.shape, tensor.stride()) == (self.shape, self.stride)
        return tensor.detach() + self.largest.detach() if is_same else None


class Provenance(NamedTuple):
    """The inputs, parameters and products behind a value."""

    depends: bool = False  # it is made of the inputs
    # If it depends, the parameters that its last products are with, else those that it is made of.
    arrays: frozenset[str] = frozenset()
    axes: tuple[Axis, ...] = ()  # of its memory, from the last product
    # Those of the axes, left and right, that come from a factor that depends on the inputs.
    given: frozenset[str] = frozenset()
    # Of a product of two such factors the arrays that they are made of.
    factors: frozenset[str] = frozenset()
    # Of such a product, with what was done to it since, its numbers if it were zero.
    without: Any = None
    softmaxes: frozenset[int] = frozenset()  # the numbers of those that it is made of
    shift: Shift | None = None  # of a value without its largest entry, which that is
    has_largest: bool = False  # it is made of a largest entry, in another way
    powers: int | None = None  # of exp of logits, the number of its softmax

    def kinds(self, tensor: Tensor) -> tuple[str | None, ...]:
        """Return for each axis of a tensor in this memory which one of the product it is."""
        return tuple(
            next((a.kind for a in self.axes if a.stride <= stride < a.stride * a.size), None)
            if size > 1
            else None
            for size, stride in zip(tensor.shape, tensor.stride(), strict=True)
        )

    def without_product(self, tensor: Tensor) -> Any:
        """Return the numbers that a tensor in this memory would have if the product were zero."""
        place = tuple(tensor.shape), tensor.stride(), tensor.storage_offset()
        return self.without.as_strided(*place)


NOTHING = Provenance()
UNKNOWN: tuple[Any, Provenance] = None, NOTHING


def axes_of(tensor: Tensor, kinds: Sequence[str | None]) -> tuple[Axis, ...]:
    """Return the axes of a tensor, given which ones of a product they are."""
    places = zip(tensor.stride(), tensor.shape, kinds, strict=True)
    return tuple(Axis(*place) for place in places if place[2] is not None)  # type: ignore[arg-type]


def together(origins: Sequence[Provenance]) -> Provenance:
    """Return the origin of what is made of values, entry by entry or in another shape."""
    several = [origin for origin in origins if origin.depends] or origins
    first = several[0]
    if all(origin is first for origin in several):
        arrays, factors, softmaxes = first.arrays, first.factors, first.softmaxes
        given, has_largest = first.given, first.has_largest
    else:
        arrays = first.arrays.union(*(origin.arrays for origin in several))
        factors = first.factors.union(*(origin.factors for origin in several))
        softmaxes = first.softmaxes.union(*(origin.softmaxes for origin in several))
        given = next((origin.given for origin in several if origin.given), first.given)
        has_largest = any(origin.has_largest for origin in several)
    return Provenance(
        first.depends, arrays, (), given, factors, None, softmaxes, has_largest=has_largest
    )


class Origins:
    """The origins of all values, by their memory."""

    def __init__(self, torch: ModuleType) -> None:
        self.reference = torch.multiprocessing.reductions.StorageWeakRef
        self.known: dict[int, tuple[Any, Provenance]] = {}
        self.with_zeros: set[int] = set()
        self.most = MANY

    def of(self, tensor: Tensor) -> Provenance:
        """Return the origin of a tensor; `NOTHING` of one that nothing is known of."""
        # A weak reference keeps the address of its memory from being used again.
        return self.known.get(tensor.untyped_storage()._cdata, UNKNOWN)[1]

    def set(self, tensor: Tensor, origin: Provenance) -> None:
        """Note the origin of a tensor."""
        storage = tensor.untyped_storage()
        place = storage._cdata
        if origin.without is not None:
            self._drop([known for known in self.with_zeros if known != place])
            self.with_zeros.add(place)
        elif len(self.known) > self.most:
            self._drop([*self.known])
            self.most = max(MANY, 2 * len(self.known))
        self.known[place] = self.reference(storage), origin

    def _drop(self, places: Sequence[int]) -> None:
        """Forget those whose memory is free again."""
        for place in places:
            if self.known[place][0].expired():
                del self.known[place]
                self.with_zeros.discard(place)
