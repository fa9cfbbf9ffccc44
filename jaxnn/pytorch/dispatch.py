"""PyTorch: a mode of torch's dispatcher, which hands over each operation, whoever calls it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from types import ModuleType
from typing import Any

from .types import Arguments, Named, OpOverload

Step = Callable[[OpOverload, Arguments, Named], Any]


def each_operation(torch: ModuleType, step: Step) -> AbstractContextManager[Any]:
    """Return a context in which a function stands for each operation.

    step: (operation, its arguments, those by name) -> what it returns.
    """
    context: AbstractContextManager[Any] = _mode_of(torch)(step)
    return context


@cache
def _mode_of(torch: ModuleType) -> Any:
    """Return the class of modes, one for all: a class is in a cycle with what it refers to.

    What one pass up has noted would stay until Python looks for cycles, with torch's graph.
    """

    mode: Any = torch.utils._python_dispatch.TorchDispatchMode

    class Mode(mode):  # type: ignore[misc]  # an Any
        supports_higher_order_operators = True

        def __init__(self, step: Step) -> None:
            super().__init__()
            self.step = step

        def __torch_dispatch__(
            self,
            func: OpOverload,
            types: Arguments,
            args: Arguments = (),
            kwargs: Named | None = None,
        ) -> Any:
            return self.step(func, args, kwargs or {})

        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            # Nothing is compiled here, and what keeps a compiler off takes time at each operation.
            return False

    return Mode
