"""PyTorch: the calls of modules on the one pass up, and the multiplications and additions in each.

Formulas are those of torch's own counter; a recurrent kernel's steps multiply each of its matrices.
"""

import importlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from math import prod
from typing import Any

from ..interrupts import registered
from .cuts import holders_of
from .types import Arguments, Named, OpOverload, Output


class Calls:
    """The calls of the modules of a network: those running, innermost last, and their returns."""

    def __init__(self) -> None:
        self.running = [""]
        self.first: dict[str, int] = {}
        self.last: dict[str, int] = {}
        self.count = 0

    def noted(self, known: Mapping[str, Any]) -> AbstractContextManager[None]:
        """Note the calls of modules, given by name."""
        return registered(self._hooks(known))

    def _hooks(self, known: Mapping[str, Any]) -> Iterator[Callable[[], Any]]:
        for name, m in known.items():
            if not hasattr(m, "_c"):  # of torch.jit, which takes no hooks
                yield partial(m.register_forward_pre_hook, partial(self._enter, name))
                leave = partial(self._leave, name)
                yield partial(m.register_forward_hook, leave, always_call=True)

    def _enter(self, name: str, *_: Any) -> None:
        self.running.append(name)

    def _leave(self, name: str, *_: Any) -> None:
        self.running.pop()
        self.count += 1
        self.first.setdefault(name, self.count)
        self.last[name] = self.count


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
