"""PyTorch: the multiplications and additions of each module on the way up, by torch's formulas."""

import importlib
from collections import Counter
from collections.abc import Iterable
from math import prod
from typing import Any

from .cuts import holders_of
from .module_calls import Calls
from .types import Arguments, Named, OpOverload, Output


class MultiplyAdds:
    """The operations of matrix products, convolutions and attention, by the innermost module."""

    def __init__(self, calls: Calls) -> None:
        self.calls = calls
        self.made = Counter[str]()
        self.formulas = importlib.import_module("torch.utils.flop_counter").flop_registry
        self.known: dict[Any, int] = {}  # by what the formula is given

    def note(self, func: OpOverload, args: Arguments, kwargs: Named, out: Output) -> None:
        """Note an operation that has returned."""
        formula = self.formulas.get(func._overloadpacket)
        if formula is not None:
            given = func, _shapes([args, kwargs, out])
            if given not in self.known:
                self.known[given] = formula(*args, **kwargs, out_val=out)
            self.made[self.calls.running[-1]] += self.known[given]
        elif "rnn" in func._schema.name:
            sizes = (v.numel() for v in args[1:] if getattr(v, "ndim", 0) == 2)
            self.made[self.calls.running[-1]] += 2 * prod(args[0].shape[:-1]) * sum(sizes)

    def share(self, names: Iterable[str]) -> float:
        """Return the share of modules; 1 if there are no products."""
        holders = {*names}
        inside = sum(
            count for name, count in self.made.items() if not holders.isdisjoint(holders_of(name))
        )
        total = sum(self.made.values())
        return inside / total if total else 1.0


def _shapes(given: Any) -> Any:
    """Return what a formula is given, with the shapes of tensors, so that it can be compared."""
    if hasattr(given, "shape"):
        return tuple(given.shape)
    if isinstance(given, dict):
        given = [*given.items()]
    return tuple(map(_shapes, given)) if isinstance(given, tuple | list) else given
