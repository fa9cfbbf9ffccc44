"""PyTorch: backward hooks of modules and parameters, of which those that change gradients act.

A hook that returns nothing, as one that writes to a log, is not called at all: what it notes would
be of gradients that no training has.
"""

import dis
from collections.abc import Callable, Iterator
from inspect import unwrap
from types import CodeType
from typing import Any, NamedTuple

from ..interrupts import undivided
from .call import Call, recording
from .cuts import modules_of, parameters_of
from .inputs import entering
from .restore import BACKWARD, unchanged
from .tensors import has_gradient, tensors_in
from .types import Module, torch

Function = Callable[..., Any]


class Acting(NamedTuple):
    """Hooks that change gradients."""

    hooks: frozenset[int] = frozenset()  # identities of their functions
    names: tuple[str, ...] = ()  # of the modules and parameters that they belong to


class _HookPlace(NamedTuple):
    """A hook where torch holds it: by a key among those of a module or a parameter."""

    name: str
    hooks: dict[Any, Any]
    key: Any

    @property
    def function(self) -> Function:
        hook: Function = self.hooks[self.key]
        return hook


def acting_hooks(call: Call) -> Acting:
    """Return the backward hooks that change a gradient, as one plain pass shows."""
    places = [place for place in _places(call.module) if may_return(place.function)]
    if not places:
        return Acting()
    changing: set[int] = set()
    with (
        _noted(places, changing) as noting,
        recording(),
        unchanged(call.module, tensors_in([call.inputs, call.ys]), noting),
    ):
        args, named, x = entering(call.inputs, call.entry)
        top, cotangent = call.top(call.module(*args, **named), len(x))
        leaves = [v for v in (x, *call.module.parameters()) if has_gradient(v)]
        torch.autograd.grad(top, leaves, cotangent, allow_unused=True)
    acting = [place for place in places if id(place.function) in changing]
    names = dict.fromkeys(place.name for place in acting)
    return Acting(frozenset(changing), tuple(names))


def _places(module: Module) -> Iterator[_HookPlace]:
    for name, m in modules_of(module).items():
        for kind in BACKWARD:
            hooks = getattr(m, kind)
            yield from (_HookPlace(name or type(module).__name__, hooks, key) for key in hooks)
    for name, p in parameters_of(module).items():
        hooks = p._backward_hooks or {}
        yield from (_HookPlace(name, hooks, key) for key in hooks)


def may_return(function: Function) -> bool:
    """Tell whether a function may return something else than None, by its code.

    Example:
        >>> def log(module, below, above):
        ...     print(above)
        >>> may_return(log), may_return(lambda module, below, above: below)
        (False, True)
    """
    function = unwrap(getattr(function, "func", function))  # of a partial
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
    if not isinstance(code, CodeType):
        return True
    before = None
    for instruction in dis.get_instructions(code):
        if instruction.opname == "RETURN_CONST" and instruction.argval is not None:
            return True
        if instruction.opname == "RETURN_VALUE":
            is_constant = before is not None and before.opname == "LOAD_CONST"
            if before is None or not is_constant or before.argval is not None:
                return True
        before = instruction
    return False


@undivided
def _noted(places: list[_HookPlace], changing: set[int]) -> Iterator[frozenset[int]]:
    """Have hooks note whether they change a gradient; give the identities of those that note."""
    before = [place.function for place in places]
    try:
        for place in places:
            place.hooks[place.key] = _noting(place.function, changing)
        yield frozenset(id(place.function) for place in places)
    finally:
        for place, hook in zip(places, before, strict=True):
            place.hooks[place.key] = hook


def _noting(hook: Function, changing: set[int]) -> Function:
    def noting(*args: Any) -> Any:
        returned = hook(*args)
        given = tensors_in(args[:2][-1])  # of a module it comes after that
        pairs = zip(tensors_in(returned), given, strict=False)
        if not all(new is old or new.equal(old) for new, old in pairs):
            changing.add(id(hook))
        return returned

    return noting
