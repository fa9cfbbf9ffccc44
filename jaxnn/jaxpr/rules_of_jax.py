"""Rules of JAX's own, such as that of `jax.nn.relu`, told from those that users write.

JAX prints a function with a rule of its own without the rule. A user's rule may read what changes
from call to call, so it is traced each time; one of JAX's does not, and its name stands for it.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import jax

from .interpreter import Equation

OF_JAX = str(Path(jax.__file__).parent)
DATA = (bool, int, float, str, type(None), jax.core.ShapedArray, jax.tree_util.PyTreeDef)


def name_of_rule(eqn: Equation) -> str | None:
    """Return the code that stands for the rule of an equation if it is JAX's own; else None."""
    rule = {key: v for key, v in eqn.params.items() if key != "call_jaxpr"}
    made_of = [*_behind([*rule.values()], set())]
    codes = [v for v in made_of if isinstance(v, CodeType)]
    is_of_jax = all(code.co_filename.startswith(OF_JAX) for code in codes)
    if not codes or not is_of_jax or not all(isinstance(v, (CodeType, *DATA)) for v in made_of):
        return None
    return str([*rule, *(_described(v) for v in made_of)])


def _described(v: Any) -> str:
    return f"{v.co_qualname} {id(v)}" if isinstance(v, CodeType) else str(v)


def _behind(value: Any, known: set[int]) -> Iterator[Any]:
    """Yield the code of functions and the data that something holds, each function once."""
    if isinstance(value, FunctionType):
        if id(value) not in known:
            known.add(id(value))
            yield value.__code__
            yield from _behind([c.cell_contents for c in value.__closure__ or ()], known)
            yield from _behind(value.__defaults__ or (), known)
    elif isinstance(value, tuple | list):
        for v in value:
            yield from _behind(v, known)
    elif isinstance(value, partial):
        yield from _behind([value.func, value.args, *value.keywords.values()], known)
    elif isinstance(value, DATA) or not _is_object_of_jax(value):
        yield value
    elif hasattr(value, "__wrapped__"):  # a jitted function, or one with a rule
        yield from _behind(value.__wrapped__, known)
    elif hasattr(value, "transforms"):  # a function with what is done before and after it
        yield from _behind([value.f, *value.transforms], known)


def _is_object_of_jax(value: object) -> bool:
    """Tell objects that hold no more than a function, or what differs from trace to trace."""
    kind = type(value)
    if isinstance(value, jax.Array):
        return False
    is_empty = kind is object or (kind is dict and not value)
    return is_empty or kind.__module__.startswith(("jax.", "jaxlib."))
