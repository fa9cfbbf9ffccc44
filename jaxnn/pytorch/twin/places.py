"""Places: which entries of which parameter a weight has, so that the same entry is drawn once.

    a parameter           its entries have numbers, which those of an equal parameter have too
    a view of it          the same memory, so the same numbers
    cat, stack, w[i], …   done with the numbers as with the entries
    -w, 2 w               its numbers
    other functions       new numbers, equal ones where what is made is

All of it is found in a survey, before anything is drawn.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ...arrays.rows import told_by
from ...errors import NoTwinError
from ..tensors import ByMemory, is_tensor, memory_of, numbers_of, tensors_in
from ..types import Arguments, Module, Named, OpOverload, Tensor, torch
from .draws import generator
from .products import KnownWeights, Origins, Product

MOVES = {
    *("cat", "stack", "index", "index_select", "embedding", "gather", "select_scatter"),
    *("slice_scatter", "repeat", "clone", "copy_", "roll", "flip", "rot90", "block_diag", "tril"),
    *("triu", "diag_embed", "index_put", "index_put_"),
}
SAME = {"neg", "mul", "div", "_to_copy"}  # of one weight and constants
Span = tuple[int, int]  # the first and the last of numbers in line


class EntrySource(NamedTuple):
    """The numbers of the entries of a memory."""

    start: int  # of the first, if they are in line
    moved: Tensor | None = None  # each of them, if they are not; of constants none that is positive
    computed: int = 0  # the number of the function that made the entries; 0 of a parameter's own

    def of(self, w: Tensor) -> Tensor:
        """Return the numbers of the entries of a view of the memory, in its shape."""
        flat = self.moved
        if flat is None:
            end = self.start + _entries(w)
            flat = torch.arange(self.start, end, device=w.device)
        return flat.as_strided(w.shape, w.stride(), w.storage_offset())


class EntryDraw(NamedTuple):
    """The draw of a product that has entries several times, or that other products have too."""

    source: EntrySource
    turned: bool


@dataclass
class EntryPlaces:
    """The numbers of all weights."""

    weights: KnownWeights  # what is one
    of_memory: ByMemory[Any] = field(default_factory=partial(ByMemory, None))  # of each weight
    end: int = 1  # the first number that is free
    computed: int = 0  # how many functions have made new ones

    @classmethod
    def of(cls, module: Module, weights: KnownWeights) -> "EntryPlaces":
        """Return those of a module's parameters; of equal ones the same."""
        places, firsts = cls(weights), dict[Any, int]()
        for parameter in module.parameters():
            if parameter in places.of_memory or not weights.is_weight(parameter):
                continue
            source = EntrySource(places.end)
            if parameter.numel() == _entries(parameter) and parameter.any():
                told = told_by(numbers_of(parameter)), parameter.stride()
                source = EntrySource(firsts.setdefault(told, places.end))
            places.of_memory[parameter] = source
            places.end += _entries(parameter)
        return places

    def other_numbers(self, parameters: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """Return other numbers for parameters with entries: normal ones times their own."""
        others = {}
        for name, p in parameters.items():
            if self.weights.is_weight(p) and p in self.of_memory:
                source = self.of_memory[p]
                normal = torch.randn(
                    _entries(p), generator=generator(seed, source.start), dtype=p.dtype
                )
                factors = normal.to(p.device).as_strided(p.shape, p.stride(), p.storage_offset())
                others[name] = p.detach() * factors
        return others

    def made(self, func: OpOverload, args: Arguments, named: Named, outputs: Any) -> None:
        """Note the numbers of what an operation makes."""
        inputs = [v for v in tensors_in([args, named]) if v in self.of_memory]
        made = [v for v in tensors_in(outputs) if self.weights.is_weight(v)]
        name = func.overloadpacket.__name__
        is_same = name.removesuffix("_") in SAME and len(inputs) == 1
        if not func._schema.is_mutable or is_same:
            known = {memory_of(v) for v in inputs}
            made = [v for v in made if memory_of(v) not in known]  # no views
        if made and name in MOVES:
            self._move(func, args, named, made, max(self.of_memory[v].computed for v in inputs))
            return
        for output in made:
            if is_same:
                source = self.of_memory[inputs[0]]
                numbers = source.of(inputs[0]).broadcast_to(output.shape)
                self._keep(output, numbers, source.computed)
            else:
                self._compute(output, inputs, torch.Tag.pointwise in func.tags)

    def _move(
        self, func: OpOverload, args: Arguments, named: Named, made: list[Any], computed: int
    ) -> None:
        """Do with the numbers what an operation does with the entries."""

        def numbers(v: Any) -> Any:
            if is_tensor(v) and v in self.of_memory:
                return self.of_memory[v].of(v).clone()
            is_constant = is_tensor(v) and v.is_floating_point()
            return _of_constants(v.numel(), v.device).reshape(v.shape) if is_constant else v

        tree_map = torch.utils._pytree.tree_map
        moved = func(*tree_map(numbers, args), **tree_map(numbers, named))
        for output, its_numbers in zip(made, tensors_in(moved), strict=True):
            self._keep(output, its_numbers, computed)

    def _compute(self, output: Tensor, inputs: list[Any], is_pointwise: bool) -> None:
        """Give new numbers, equal ones where what a function is of, entry by entry, is equal."""
        start, self.end, self.computed = self.end, self.end + _entries(output), self.computed + 1
        if is_pointwise and not any(self._is_in_line(v, output) for v in inputs):
            numbers = [self.of_memory[v].of(v).broadcast_to(output.shape) for v in inputs]
            flat = torch.stack([v.flatten() for v in numbers])
            inverse = torch.unique(flat, dim=1, return_inverse=True)[1]
            self._keep(output, start + inverse.reshape(output.shape), self.computed)
        else:
            self.of_memory[output] = EntrySource(start, computed=self.computed)

    def _is_in_line(self, w: Tensor, output: Tensor) -> bool:
        """Tell whether a weight of the shape of an output is known to have no entry twice."""
        has_numbers_of_memory = self.of_memory[w].moved is None and not _is_repeated(w)
        return w.shape == output.shape and has_numbers_of_memory

    def _keep(self, output: Tensor, numbers: Tensor, computed: int) -> None:
        whole = output.as_strided((_entries(output),), (1,), 0)
        before = self.of_memory[output]
        flat = before.of(whole).clone() if before else _of_constants(len(whole), output.device)
        self.of_memory[output] = source = EntrySource(0, flat, computed)
        source.of(output).copy_(numbers)


class ProductUse(NamedTuple):
    """A product with a weight."""

    number: int  # of the product
    spans: list[Span]  # of the numbers of its entries
    has_copies: bool  # it has some of them several times
    names: Origins  # of the parameters that it is made of
    draw: EntryDraw  # if it is not by itself
    goes_up: bool  # it is on the way up


def use_of(
    number: int, product: Product, source: EntrySource, names: Origins, goes_up: bool
) -> ProductUse:
    """Return what a product has of its weight; NoTwinError for copies from and to unlike units."""
    w, copies = product.w, False
    steps = [_step(w, source, axis) for axis in (product.below, product.above)]
    spans = [_span(w, source.start)]
    if source.moved is not None or _is_repeated(w):
        numbers = source.of(w).cpu().numpy().ravel()
        drawn = np.flatnonzero(numbers > 0)
        spans = _spans(numbers[drawn])
        copies = sum(last - first + 1 for first, last in spans) < len(drawn)
        if copies:
            _check_copies(numbers, drawn, product, names)
    return ProductUse(number, spans, copies, names, EntryDraw(source, steps[0] > steps[1]), goes_up)


def draws_of(uses: Iterable[ProductUse]) -> dict[int, EntryDraw]:
    """Return the draws of products that share entries; NoTwinError for weights computed anew."""
    uses = list(uses)
    up = [use for use in uses if use.goes_up]
    computed: dict[str, set[int]] = {}
    for use in up:
        for name in use.names:
            computed.setdefault(name, set()).add(use.draw.source.computed)
    several = [name for name, times in computed.items() if len(times) > 1]
    if several:
        raise NoTwinError(
            f"module: theory expects a weight that is computed, as of {several[0]}, to be computed "
            "once and used as that alone, and it is computed several times, or used as it is too; "
            "measure without theory"
        )
    shared = _several([span for use in up for span in use.spans])
    shared += [span for use in up if use.has_copies for span in use.spans]
    merged = _merged(shared)
    return {use.number: use.draw for use in uses if _meet(use.spans, merged)}


def _several(spans: list[Span]) -> list[Span]:
    """Return what several of some spans have."""
    shared, end = list[Span](), -1
    for first, last in sorted(spans):
        if first <= end:
            shared.append((first, min(last, end)))
        end = max(end, last)
    return shared


def _merged(spans: list[Span]) -> list[Span]:
    """Return spans in order, those that overlap as one."""
    merged: list[Span] = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1]:
            first, last = merged[-1][0], max(last, merged.pop()[1])
        merged.append((first, last))
    return merged


def _meet(spans: list[Span], others: list[Span]) -> bool:
    """Tell whether some spans overlap with others, which are in order."""
    if not spans or not others:
        return False
    (first, last), (other_first, other_last) = np.array(spans).T, np.array(others).T
    at = np.searchsorted(other_last, first)
    within = at < len(others)
    return bool(np.any(other_first[at[within]] <= last[within]))


def _entries(v: Tensor) -> int:
    """Return how many entries the memory of a tensor has."""
    return int(v.untyped_storage().nbytes() // v.element_size())


def _of_constants(count: int, device: Any) -> Tensor:
    numbers: Tensor = -torch.arange(count, device=device)
    return numbers


def _spans(numbers: np.ndarray) -> list[Span]:
    """Return runs of numbers that are in line."""
    ordered = np.unique(numbers)
    runs = np.split(ordered, np.flatnonzero(np.diff(ordered) > 1) + 1)
    return [(int(run[0]), int(run[-1])) for run in runs if len(run)]


def _span(w: Tensor, start: int) -> Span:
    reach = sum((n - 1) * by for n, by in zip(w.shape, w.stride(), strict=True))
    first = start + int(w.storage_offset())
    return first, first + reach


def _step(w: Tensor, source: EntrySource, axis: int) -> float:
    """Return by how much the numbers of a weight's entries differ at least along an axis."""
    if source.moved is None:
        return w.stride(axis) if w.shape[axis] > 1 and w.stride(axis) else math.inf
    apart = source.of(w).diff(dim=axis).abs()
    apart = apart[apart > 0]
    return float(apart.min()) if len(apart) else math.inf


def _is_repeated(w: Tensor) -> bool:
    return any(n > 1 and not by for n, by in zip(w.shape, w.stride(), strict=True))


def _check_copies(numbers: np.ndarray, drawn: np.ndarray, product: Product, names: Origins) -> None:
    """Raise a NoTwinError if entries that are there twice go from and to unlike units."""
    places = np.unravel_index(np.arange(len(numbers)), product.w.shape)
    units = places[product.below], places[product.above]
    known, firsts = np.unique(numbers[drawn], return_index=True)
    firsts, others = drawn[firsts], np.delete(drawn, firsts)
    while len(others):
        these, at = np.unique(numbers[others], return_index=True)
        here, others = others[at], np.delete(others, at)
        same = firsts[np.searchsorted(known, these)]
        for along in units:
            pairs = np.unique(np.stack([along[same], along[here]]), axis=1)
            if not all(len(np.unique(side)) == pairs.shape[1] for side in pairs):
                raise NoTwinError(
                    "module: theory expects a weight that a product has twice to be summed over "
                    f"the same axis, as in torch.cat([w, -w]), and {', '.join(sorted(names))} is "
                    "not, as in torch.cat([w, w.T]); use two parameters, or measure without theory"
                )
