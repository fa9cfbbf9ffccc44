"""PyTorch: the calls of modules on one pass up: which ones are running, and when each returns."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from ..interrupts import registered


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
