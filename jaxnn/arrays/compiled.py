"""Compilation: whole functions as one program each, instead of one operation at a time.

A public function checks its arguments in Python, with NumPy where their values are known, and hands
them to a `compiled` function. Called eagerly that is one program, compiled once for all arguments
of these shapes. Called inside `jax.jit` it is inlined: the enclosing program is the one that plain
Python code would have made.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

Numbers = jax.Array | np.ndarray
Scalar = Float[Array, ""]
Number = float | Scalar
P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function of pytrees: arrays are its data, every other leaf is static.

    So a `depth` given as an integer is a constant of the program, and JAX can differentiate its
    loops; a traced one is data. Static leaves, such as initialisers, must be hashable.
    """

    def program(static: tuple[Any, tuple[Any, ...]], arrays: list[Any]) -> R:
        structure, others = static
        given = iter(arrays)
        leaves = [next(given) if leaf is _DATA else leaf for leaf in others]
        args, kwargs = jax.tree.unflatten(structure, leaves)
        return function(*args, **kwargs)

    program.__name__ = function.__name__  # what logs and profiles call it
    jitted = jax.jit(program, static_argnums=0, inline=True)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        leaves, structure = jax.tree.flatten((args, kwargs))
        is_data = [isinstance(leaf, jax.Array | np.ndarray | np.generic) for leaf in leaves]
        others = (_DATA if data else leaf for leaf, data in zip(leaves, is_data, strict=True))
        arrays = [leaf for leaf, data in zip(leaves, is_data, strict=True) if data]
        result: R = jitted((structure, tuple(others)), arrays)
        return result

    return call


def computed(function: Callable[..., R], *arrays: np.ndarray) -> R:
    """Return function(*arrays) in numbers, also while another program is traced.

    A call of a jitted function would be traced too there, and `ensure_compile_time_eval` compiles a
    program for each of its constants.
    """
    with jax.disable_jit(False):
        result: R = jax.jit(function).lower(*arrays).compile()(*arrays)
    return result


_DATA = object()  # stands among the static leaves where an array goes


def as_array(name: str, value: ArrayLike, hint: str = "") -> Numbers:
    """Return what `jnp.asarray` does, except that NumPy's arrays and plain numbers stay NumPy's.

    A compiled function takes them as they are; `jnp.asarray` compiles a program for each shape.

    Args:
        name: of the argument, for the error message.
        value: an array, a number, or nested lists of them.
        hint: the end of the error message, what to do.

    Raises:
        TypeError: no numbers.
    """
    try:
        if isinstance(value, np.ndarray | np.generic | int | float):
            dtype = jax.dtypes.canonicalize_dtype(np.asarray(value).dtype)
            if jnp.issubdtype(dtype, np.number) or dtype == np.bool:
                return np.asarray(value, dtype)
        return jnp.asarray(value)
    except (TypeError, ValueError):
        kind = type(value).__name__
        got = f"{kind} of {value.dtype}" if hasattr(value, "dtype") else kind
        raise TypeError(f"{name}: expected numbers of one shape, got {got}{hint}") from None
