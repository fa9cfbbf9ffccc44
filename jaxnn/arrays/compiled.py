"""Compilation: whole functions as one program each, instead of one operation at a time.

A public function checks its arguments in Python, with NumPy where their values are known, and hands
them to a `compiled` function. Called eagerly that is one program, compiled once for all arguments
of these shapes. Called inside `jax.jit` it is inlined: the enclosing program is the one that plain
Python code would have made.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from functools import lru_cache, partial, wraps
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from ..interrupts import undivided
from .arguments import check_data
from .spread import are_spread, on_mesh_of, on_no_mesh

Numbers = jax.Array | np.ndarray
Scalar = Float[Array, ""]
Number = float | Scalar
Statics = tuple[Any, tuple[Any, ...]]  # the structure of arguments, and their leaves but arrays
P = ParamSpec("P")
R = TypeVar("R")

KEPT = 32  # programs of a function, by what is static in its arguments, such as a network
MOST_LIGHT = 2**22  # numbers that go into a small program
LIGHTLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
# Kernels of convolutions are six times slower at level 0, and compile as fast at level 1; those of
# a long loop run often: of an LSTM of 500 steps a flow takes 10 s of level 0, 2.8 of level 1.
LESS_LIGHTLY = LIGHTLY | {"xla_backend_optimization_level": 1}
AXES_OF_PICTURES, MANY_TURNS = 4, 100


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function of pytrees: arrays are its data, every other leaf is static.

    So a `depth` given as an integer is a constant of the program, and JAX can differentiate its
    loops; a traced one is data. Static leaves, such as initialisers, must be hashable.
    """
    jitted = _by_static(function, inline=True)
    jitted_lightly = _by_static(function, compiler_options=LIGHTLY)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        static, arrays = split_static(args, kwargs)
        with transfers():
            result: R = (jitted_lightly if is_light(arrays) else jitted)(static)(arrays)
        return result

    return call


def typed(function: Callable[P, R]) -> Callable[P, R]:
    """Return the types of what a function would return, traced once for all arguments of theirs."""
    jitted = _by_static(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        static, arrays = split_static(args, kwargs)
        types: R = jitted(static).eval_shape(arrays)
        return types

    return call


def _by_static(function: Callable[..., Any], **options: Any) -> Callable[[Statics], Any]:
    """Return the jitted function for what is static in its arguments."""
    program = with_static(function)

    # Those of the last few networks stay. With `static_argnums` JAX would hold the programs of all.
    @lru_cache(maxsize=KEPT)
    def jitted(static: Statics) -> Any:
        of_arrays: Callable[[list[Numbers]], Any] = partial(program, static)
        return jax.jit(wraps(program)(of_arrays), **options)

    return jitted


def split_static(args: Any, kwargs: Any = None) -> tuple[Statics, list[Numbers]]:
    """Return what is static in arguments, hashable, and their arrays."""
    leaves, structure = jax.tree.flatten((args, kwargs or {}))
    is_data = [isinstance(leaf, jax.Array | np.ndarray | np.generic) for leaf in leaves]
    others = (_DATA if data else leaf for leaf, data in zip(leaves, is_data, strict=True))
    arrays = [leaf for leaf, data in zip(leaves, is_data, strict=True) if data]
    return (structure, tuple(others)), arrays


def with_static(function: Callable[..., R]) -> Callable[[Statics, list[Numbers]], R]:
    """Return a function of what `split_static` returns."""

    def program(static: Statics, arrays: list[Numbers]) -> R:
        structure, others = static
        given = iter(arrays)
        leaves = [next(given) if leaf is _DATA else leaf for leaf in others]
        args, kwargs = jax.tree.unflatten(structure, leaves)
        with on_mesh_of(arrays), many_runs():
            return function(*args, **kwargs)

    program.__name__ = function.__name__  # what logs and profiles call it
    return program


@undivided
def setting(variable: ContextVar[bool], value: bool) -> Iterator[None]:
    """Have another value of a variable meanwhile."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def few_runs() -> AbstractContextManager[None]:
    """Return a context in which programs are compiled for few runs, if they are small ones."""
    # On a CPU that takes two thirds of the time; the kernels are slower, up to twice.
    return setting(_LIGHT, True)


def light_options(types: Iterable[Any], turns: int) -> dict[str, Any]:
    """Return the options of a program for few runs, by its types and its longest loop."""
    has_pictures = any(v.ndim >= AXES_OF_PICTURES for v in types)
    return LESS_LIGHTLY if has_pictures or turns >= MANY_TURNS else LIGHTLY


def many_runs() -> AbstractContextManager[None]:
    """Return a context in which programs are compiled as ever, within one for few runs."""
    return setting(_LIGHT, False)


def is_light(arrays: Sequence[Numbers]) -> bool:
    """Tell whether a program of these arrays is compiled for few runs."""
    is_traced = any(isinstance(v, jax.core.Tracer) for v in arrays)
    return _LIGHT.get() and not is_traced and are_few(arrays)


def are_few(arrays: Sequence[Numbers]) -> bool:
    """Tell whether arrays, traced or not, are small and on the host, where NumPy has them too."""
    is_small = sum(map(np.size, arrays)) <= MOST_LIGHT
    return is_small and jax.default_backend() == "cpu" and not are_spread(arrays)


def computed(function: Callable[..., R], *arrays: np.ndarray) -> R:
    """Return function(*arrays) in numbers, also while another program is traced."""
    # A call of a jitted function would be traced too, and `ensure_compile_time_eval` compiles a
    # program for each of its constants. On a mesh that is set it would be compiled for all devices,
    # of which there may be none yet.
    with jax.disable_jit(False), on_no_mesh(), transfers():
        result: R = jax.jit(function).lower(*arrays).compile()(*arrays)
    return result


def transfers() -> AbstractContextManager[None]:
    """Return a context in which NumPy's arrays are handed to a device, as `compiled` does."""
    if getattr(jax.config, _GUARD, None) in (None, "allow"):
        return nullcontext()
    # Whoever sets the guard looks for transfers by mistake, and these are none.
    return jax.transfer_guard("allow")


def transferring(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function, such as a jitted one, take NumPy's arrays whatever the guard is."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with transfers():
            return function(*args, **kwargs)

    return call


def measuring(function: Callable[P, R]) -> Callable[P, R]:
    """Let a measurement work whatever JAX is set to stop at: nan and inf are results here."""
    of_guard = transferring(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if not any(getattr(jax.config, name) for name in _STOPS):
            return of_guard(*args, **kwargs)
        with _unstopped():
            return of_guard(*args, **kwargs)

    return call


@undivided
def _unstopped() -> Iterator[None]:
    with jax.debug_nans(False), jax.debug_infs(False):
        yield


_LIGHT = ContextVar("_LIGHT", default=False)
_STOPS = ("jax_debug_nans", "jax_debug_infs")
_GUARD = "jax_transfer_guard_host_to_device"
_DATA = object()  # stands among the static leaves where an array goes


def as_array(name: str, value: ArrayLike, hint: str = "") -> Numbers:
    """Return what `jnp.asarray` does, except that NumPy's arrays and plain numbers stay NumPy's."""
    check_data(name, value)
    try:
        # A compiled function takes these as they are; `jnp.asarray` compiles a program for each
        # shape.
        if isinstance(value, np.ndarray | np.generic | int | float):
            dtype = jax.dtypes.canonicalize_dtype(np.asarray(value).dtype)
            if jnp.issubdtype(dtype, np.number) or dtype == np.bool:
                return np.asarray(value, dtype)
        return jnp.asarray(value)
    except (TypeError, ValueError):
        kind = type(value).__name__
        got = f"{kind} of {value.dtype}" if hasattr(value, "dtype") else kind
        raise TypeError(f"{name}: expected numbers of one shape, got {got}{hint}") from None
