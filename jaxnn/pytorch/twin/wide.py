"""The mode in which torch runs a replica of the twin, and what is shared, found before.

`module -> a survey: which entries of weights are there several times -> replicas, each in a mode`
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ...errors import NoTwinError
from ..dispatch import each_operation
from ..tensors import tensors_in
from ..types import Arguments, Module, Named, OpOverload, Tensor
from .computed import Computed
from .draws import by_blocks, by_mixture, by_root, root_is_quick
from .lockstep import Lockstep
from .places import EntryDraw, EntryPlaces, ProductUse, use_of
from .products import STATE, KnownWeights, Product, check_operation, product_of


class Replica:
    """Torch's operations in one replica; in a survey, without others, as they are."""

    def __init__(
        self,
        module: Module,
        inputs: Iterable[Tensor],
        seed: int = 0,
        number: int = 0,
        others: Lockstep | None = None,
        draws: Mapping[int, EntryDraw] | None = None,
    ) -> None:
        self.weights = KnownWeights()
        self.seed, self.number, self.others = seed, number, others
        self.draws = draws or {}
        self.uses: list[ProductUse] = []  # that a survey has seen
        self.computed: dict[int, Computed] = {}  # weights, by the numbers of their products
        self.products = 0
        self.goes_up = True
        for name, parameter in module.named_parameters():
            if parameter.ndim > 1:
                self.weights[parameter] = frozenset({name})
        self.places = EntryPlaces.of(module, self.weights) if others is None else None
        for tensor in inputs:
            self.weights[tensor] = STATE

    def mode(self) -> Any:
        """Return torch's mode, a context."""
        return each_operation(self.run)

    def run(self, func: OpOverload, args: Arguments, named: Named) -> Any:
        """Run an operation; a product with weights is a draw."""
        product = product_of(func, args, named, self.weights.is_weight)
        if product is None:
            check_operation(func, args, named, self.weights)
            made = func(*args, **named)
            self.weights.made(tensors_in([args, named]), made)
        else:
            self.products += 1
            if self.others is None:
                self._surveyed(product)
                made = func(*args, **named)
            else:
                made = product.finish(self._drawn(product, self.others))
            for tensor in tensors_in(made):
                self.weights[tensor] = STATE
        if self.places:
            self.places.made(func, args, named, made)
        return made

    def _surveyed(self, product: Product) -> None:
        w, places = product.w, self.places
        if places:
            source, names = places.of_memory[w], self.weights[w]
            self.uses.append(use_of(self.products, product, source, names, self.goes_up))
            if source.computed and self.goes_up:
                self.computed[self.products] = Computed.of(product, names, source.of(w))

    def _drawn(self, product: Product, others: Lockstep) -> Any:
        def meet(value: Any, make: Callable[[list[Any]], Any]) -> Any:
            return others.meet(self.number, value, _of_one_shape(make))

        x, w, here = product.x, product.w, (self.seed, 0, self.products)
        draw = self.draws.get(self.products)
        if draw is not None:
            of_all, entries = (self.seed, 1), draw.source.of(w)
            return by_blocks(
                meet, of_all, self.number, x, w, product.operator, entries, draw.turned
            )
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
