"""The mode in which torch runs a replica of the twin, and what is shared, found before.

`module -> a survey: which weights several products share -> replicas, each under a mode of its own`
"""

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from ...errors import NoTwinError
from ..tensors import tensors_in
from ..types import Arguments, Module, Named, OpOverload, Tensor
from .draws import by_blocks, by_mixture, by_root, root_is_quick
from .lockstep import Lockstep
from .products import STATE, Product, Weights, check_operation, product_of

Span = tuple[int, int]  # the first entry of an array that a view of it has, and the last


@dataclass
class Uses:
    """The products that each weight is used in, on the way up.

    spans: of parameters, by their memory, what is used of them each time.
    derived: for parameters that a weight was computed of, how often that was used.
    """

    spans: dict[int, list[Span]] = field(default_factory=dict)
    derived: dict[str, int] = field(default_factory=dict)

    def add(self, w: Tensor, origins: Iterable[str], is_parameter: bool) -> None:
        """Note a product."""
        if is_parameter:
            place = int(w.untyped_storage()._cdata)
            self.spans.setdefault(place, []).append(_span(w))
        else:
            for name in origins:
                self.derived[name] = self.derived.get(name, 0) + 1

    def shared(self) -> set[int]:
        """Return the arrays of which several products have the same entries.

        Raises:
            NoTwinError: they have them of a weight that is computed anew each time.
        """
        several = [name for name, times in self.derived.items() if times > 1]
        if several:
            raise NoTwinError(
                f"module: theory expects a weight that is computed, as of {several[0]}, to be used "
                "once, and it is used several times; measure without theory"
            )
        return {place for place, spans in self.spans.items() if _overlap(spans)}


def _span(w: Tensor) -> Span:
    reach = sum((n - 1) * abs(by) for n, by in zip(w.shape, w.stride(), strict=True))
    first = int(w.storage_offset())
    return first, first + reach


def _overlap(spans: list[Span]) -> bool:
    ordered = sorted(spans)
    return any(after[0] <= before[1] for before, after in pairwise(ordered))


class Replica:
    """What torch's operations are in one replica; without others, in a survey, what they are."""

    def __init__(
        self,
        module: Module,
        inputs: Iterable[Tensor],
        seed: int = 0,
        number: int = 0,
        others: Lockstep | None = None,
        shared: Iterable[int] = (),
    ) -> None:
        self.weights, self.uses = Weights(), Uses()
        self.seed, self.number, self.others = seed, number, others
        self.shared = {place: i for i, place in enumerate(shared)}
        self.products = 0
        self.goes_up = True
        self.is_redrawn: Callable[[], bool] = lambda: False  # whether a product has another draw
        for name, parameter in module.named_parameters():
            if parameter.ndim > 1:
                self.weights.is_kept(parameter, frozenset({name}))
        self.parameters = set(self.weights.of_storage)
        for tensor in inputs:
            self.weights.is_kept(tensor, STATE)

    def mode(self) -> Any:
        """Return torch's mode, a context."""
        run = self.run

        class Mode(sys.modules["torch"].utils._python_dispatch.TorchDispatchMode):  # type: ignore[misc]  # an Any
            def __torch_dispatch__(
                self, func: Any, types: Any, args: Any = (), kwargs: Any = None
            ) -> Any:
                return run(func, args, kwargs or {})

        return Mode()

    def run(self, func: OpOverload, args: Arguments, named: Named) -> Any:
        """Run an operation; a product with weights is a draw."""
        product = product_of(func, args, named, self.weights.is_weight)
        if product is None:
            check_operation(func, args, named, self.weights)
            made = func(*args, **named)
            self.weights.made(tensors_in([args, named]), made)
            return made
        place = int(product.w.untyped_storage()._cdata)
        if self.goes_up:
            self.uses.add(product.w, self.weights.origins(product.w), place in self.parameters)
        if self.others is None:
            made = func(*args, **named)
        else:
            made = product.finish(self._drawn(product, self.others, self.shared.get(place)))
        for tensor in tensors_in(made):
            self.weights.is_kept(tensor, STATE)
        return made

    def _drawn(self, product: Product, others: Lockstep, shared: int | None) -> Any:
        def meet(value: Any, make: Callable[[list[Any]], Any]) -> Any:
            return others.meet(self.number, value, _of_one_shape(make))

        self.products += 1
        x, w, here = product.x, product.w, (self.seed, 2 * self.is_redrawn(), self.products)
        if shared is not None:
            turned = _is_turned(product, self.goes_up)
            of_weight = (self.seed, 1, shared)
            return by_blocks(meet, of_weight, self.number, x, w, product.operator, turned)
        if product.of_matrices and root_is_quick(len(x), len(w), w.shape[1], others.count):
            return by_root(meet, (*here, self.number), x, w)
        return by_mixture(meet, here, self.number, x, w, product.operator)


def _of_one_shape(make: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
    def checked(values: list[Any]) -> Any:
        shapes = {tuple(v.shape for v in tensors_in(value)) for value in values}
        if len(shapes) > 1:
            raise NoTwinError(
                "module: theory expects states of one shape in all replicas, and how many rows a "
                "product has depends on the values of the states, as where tokens choose an expert"
            )
        return make(values)

    return checked


def _is_turned(product: Product, goes_up: bool) -> bool:
    """Tell whether a product has the transpose of a weight, next to one that has it as it lies.

    As it lies means: what is summed over is what lies closest in memory, as in x Wᵀ of a Linear.
    """
    if not product.of_matrices:
        return not goes_up
    below, above = product.w.stride()
    return bool(below > above)
