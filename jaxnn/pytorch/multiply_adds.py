"""PyTorch: the multiplications and additions that each module of a network makes in the pass up.

Formulas are those of torch's own counter. Steps of a recurrent kernel multiply each of its matrices
once with each input.
"""

import importlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from math import prod
from typing import Any

from .cuts import lies_in, modules_of
from .types import Arguments, Module, Named, OpOverload, Output


class MultiplyAdds:
    """The operations of matrix products, convolutions and attention, by modules.

    made: by each module itself, outside of the modules that it calls.
    """

    def __init__(self) -> None:
        self.made = Counter[str]()
        self.inside = [""]  # the modules that are running, the innermost last
        self.formulas = importlib.import_module("torch.utils.flop_counter").flop_registry

    @contextmanager
    def by_modules(self, module: Module) -> Iterator[None]:
        """Note which modules are running."""

        def entered(name: str, *_: Any) -> None:
            self.inside.append(name)

        def left(*_: Any) -> None:
            self.inside.pop()

        handles = []
        try:
            for name, m in modules_of(module).items():
                if not hasattr(m, "_c"):  # of torch.jit, which takes no hooks
                    handles.append(m.register_forward_pre_hook(partial(entered, name)))
                    handles.append(m.register_forward_hook(left, always_call=True))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def note(self, func: OpOverload, args: Arguments, kwargs: Named, out: Output) -> None:
        """Note an operation that has returned."""
        formula = self.formulas.get(func._overloadpacket)
        if formula is not None:
            self.made[self.inside[-1]] += formula(*args, **kwargs, out_val=out)
        elif "rnn" in func._schema.name:
            sizes = (v.numel() for v in args[1:] if getattr(v, "ndim", 0) == 2)
            self.made[self.inside[-1]] += 2 * prod(args[0].shape[:-1]) * sum(sizes)

    def share(self, names: Iterable[str]) -> float:
        """Return the share of modules; 1 if there are no products."""
        names = tuple(names)
        inside = sum(
            count
            for name, count in self.made.items()
            if any(lies_in(name, holder) for holder in names)
        )
        total = sum(self.made.values())
        return inside / total if total else 1.0
