"""Arguments of public functions, refused in one sentence before anything is computed."""

import math
import operator
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from ..texts import told

MOST_SEED = 2**63 - 1
Shape = tuple[int, ...]


def check_arguments(of_torch: bool, **arguments: Any) -> None:
    """Raise one sentence on the first of the arguments, by their names, that cannot be meant."""
    for name, value in arguments.items():
        if name in DATA:
            check_data(name, value, of_torch)
        elif name in CHECKS:
            CHECKS[name](name, value)


def check_integer(name: str, value: Any, least: int, most: float = math.inf) -> int:
    """Return an argument as an integer; raise unless it is one of at least `least`."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise TypeError(f"{name}: expected an integer, got {told(value)}")
    if not least <= number <= most:
        limit = f"at least {least}" if number < least else f"at most {most:g}"
        raise ValueError(f"{name}: expected {limit}, got {number}")
    return number


def check_seed(name: str, value: Any) -> int:
    """Return a seed of random numbers; raise unless it is one that every framework takes."""
    return check_integer(name, value, 0, MOST_SEED)


def _check_number(name: str, value: Any, unit: str, is_one: Callable[[Any], bool]) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(f"{name}: expected a number of {unit}, got {told(value)}")
    if not is_one(value):
        raise ValueError(f"{name}: expected {unit}, got {value}")


def _check_flag(name: str, value: Any) -> None:
    if not isinstance(value, bool | np.bool_):
        of_error = name == "theory" and isinstance(value, float)
        hint = "; its error in decades is theory_error" if of_error else ""
        raise ValueError(f"{name}: expected True or False, got {told(value)}{hint}")


DATA = ("xs", "ys", "cotangent")
CHECKS: dict[str, Callable[[str, Any], object]] = {
    "seed": check_seed,
    "steps": lambda name, value: check_integer(name, value, 1),
    "entries": _check_flag,
    "theory": _check_flag,
    "theory_error": partial(_check_number, unit="more than 0 decades", is_one=lambda v: v > 0),
    "seconds": partial(_check_number, unit="0 seconds or more", is_one=lambda v: 0 <= v < np.inf),
}


def check_data(name: str, values: PyTree, of_torch: bool = False) -> None:
    """Raise for texts, tensors of the other framework, and numbers that JAX does not have."""
    for value in jax.tree.leaves(values):
        kind = getattr(getattr(value, "dtype", None), "kind", "")
        may_hold_text = of_torch or name == "ys"
        is_text = isinstance(value, str) and not (may_hold_text and value is not values)
        if is_text or kind in ("U", "S", "T"):
            what = "expected numbers"
            hint = f"np.unique({name}, return_inverse=True)[1] gives classes numbers from 0"
        elif kind == "O":
            what, hint = "expected numbers of one shape", "make an array of numbers"
        elif not of_torch and hasattr(value, "register_hook"):
            what, hint = "expected arrays of JAX or NumPy", f"hand over {name}.numpy()"
        elif isinstance(value, np.ndarray | np.generic) and value.dtype.char in "gG":
            what = "expected numbers that JAX has"
            hint = "cast them, such as with .astype(numpy.float64)"
        else:
            continue
        got = "a tensor of torch" if hasattr(value, "register_hook") else told(value)
        raise TypeError(
            f"{name}: {what}, got {got}{'' if values is value and is_text else '; ' + hint}"
        )


def check_outside_of_jit(name: str, *given: PyTree) -> None:
    """Raise inside of `jax.jit`, where a function that trains or reads numbers has none."""
    if any(isinstance(v, jax.core.Tracer) for v in jax.tree.leaves(given)):
        raise TypeError(
            f"{name}: expected numbers, got traced arrays; call it outside of jax.jit and jax.vmap"
        )


def misfit(takes: Callable[[Shape], bool], given: Shape, sizes: Iterable[int]) -> str | None:
    """Return what an array's shape should be, if another one that differs in one axis is taken.

    takes: tells whether a function takes a shape; sizes: of axes that may be meant.
    """
    known = sorted({*sizes} - {0})
    ends = [(given[:i], given[i:]) for i in reversed(range(1, len(given) + 1))]
    changed = [(*a, n, *b[1:]) for a, b in ends[1:] for n in known if n != b[0]]
    inserted = [(*a, n, *b) for a, b in ends for n in known]
    for shape in (*changed, *inserted, *((*a, *b[1:]) for a, b in ends[1:])):
        if takes(shape):
            return f"expected an array of shape {shape}, got one of shape {given}"
    return None
