"""PyTorch: what a value is made of, told by the memory that holds it; an axis by its stride.

x (B, T, n) -> x W -> q, of W;   q kᵀ -> logits, of the arrays that q and k are of
without its products: logits if q kᵀ were zero, which are those of masks and biases alone
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from .tensors import ByMemory, memory_of
from .types import Tensor

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


class Origins(ByMemory[Provenance]):
    """The origins of all values; `NOTHING` of one that nothing is known of."""

    def __init__(self) -> None:
        super().__init__(NOTHING)
        self.with_zeros: set[int] = set()

    def __setitem__(self, tensor: Tensor, origin: Provenance) -> None:
        super().__setitem__(tensor, origin)
        if origin.without is not None:  # numbers, which go with those of the value
            gone = {at for at in self.with_zeros if at not in self.known or self._is_free(at)}
            self.known = {at: v for at, v in self.known.items() if at not in gone}
            self.with_zeros = self.with_zeros - gone | {memory_of(tensor)}

    def _is_free(self, at: int) -> bool:
        return bool(self.known[at][0].expired())
