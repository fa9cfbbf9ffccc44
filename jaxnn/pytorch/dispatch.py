"""PyTorch: operations, as a mode of torch's dispatcher hands over each, whoever calls it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, NamedTuple

from ..recognition.attention import WORDS
from .types import Arguments, Named, OpOverload, torch

FUSED = "_scaled_dot_product_"  # in the names of kernels of attention

Step = Callable[[OpOverload, Arguments, Named], Any]


class OperationKind(NamedTuple):
    """An operation, whatever it is given."""

    name: str  # bmm of aten::bmm, also of that in place
    is_view: bool  # its outputs are views alone
    is_in_place: bool  # it writes into its first argument
    writes: tuple[tuple[int, str], ...]  # numbers and names of arguments that it writes into
    is_drawn: bool  # it draws random numbers, or cannot be called again
    may_attend: bool  # it has attention in its name
    is_of_torch: bool  # one of torch's own
    is_entrywise: bool  # torch says that each entry is made of those at its place


class Done(NamedTuple):
    """An operation that has returned, with the tensors among its arguments."""

    kind: OperationKind
    func: OpOverload
    args: Arguments
    kwargs: Named
    given: list[Any]
    out: Any


def by_name(func: OpOverload, args: Arguments, kwargs: Named) -> Named:
    """Return all arguments by name, those that are not given by their defaults."""
    arguments = func._schema.arguments
    defaults = {a.name: a.default_value for a in arguments if a.has_default_value()}
    given = dict(zip((a.name for a in arguments), args, strict=False)) | kwargs
    return given | {name: v for name, v in defaults.items() if name not in given}


def each_operation(step: Step) -> AbstractContextManager[Any]:
    """Return a context in which step(operation, arguments, named) stands for each operation."""
    context: AbstractContextManager[Any] = _mode_of()(step)
    return context


@cache
def _mode_of() -> Any:
    """Return the class of modes, one for all."""
    mode: Any = torch.utils._python_dispatch.TorchDispatchMode

    # A class is in a cycle with what it refers to: what one pass up has noted would stay until
    # Python looks for cycles, with torch's graph.
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


@cache
def kind_of(func: OpOverload) -> OperationKind:
    """Return what is known of an operation, whatever it is given."""
    schema = getattr(func, "_schema", None)
    name = str(schema.name if schema is not None else func).rsplit("::", 1)[-1]
    aliases = [argument.alias_info for argument in schema.returns] if schema is not None else [None]
    arguments = schema.arguments if schema is not None else ()
    writes = tuple(
        (i, argument.name)
        for i, argument in enumerate(arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    )
    is_view = bool(aliases) and not writes and all(argument is not None for argument in aliases)
    tags = [str(tag).rpartition(".")[2] for tag in getattr(func, "tags", ())]
    lower = name.lower()
    return OperationKind(
        name.rstrip("_"),
        is_view,
        bool(writes) and writes[0][0] == 0,
        writes,
        schema is None or "nondeterministic_seeded" in tags,
        any(word in lower for word in WORDS) and not name.startswith(FUSED),
        schema is not None and schema.name.startswith("aten::"),
        "pointwise" in tags,
    )
