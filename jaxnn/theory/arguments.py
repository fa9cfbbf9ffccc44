"""Arguments of the formulas of infinite width: checked in Python, converted, then one program.

Numbers may be arrays, which are broadcast together: a formula is then computed for each entry.
"""

import inspect
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ..arrays.compiled import Number, as_array, transfers
from ..network.activations import Activation, find_activation
from ..network.blocks import DENSE, Block, rows_meet
from ..network.lists import check_count, each, is_list, one_if_equal
from ..texts import told

P = ParamSpec("P")
R = TypeVar("R")
Name = str | Activation
Names = Name | Sequence[Name]
Numbers = Number | Sequence[Number] | Float[Array, " depth"]
Blocks = Block | Sequence[Block]
Widths = int | Sequence[int]

STATIC = ("activation", "width", "depth", "hidden", "batch")
OF_LAYERS = (
    "activation",
    "sigma_w",
    "sigma_b",
    "hidden",
    "width",
)  # what a layer may have of its own
LEAST, LARGEST = float(np.finfo(float).tiny), float(np.finfo(float).max)
BELOW_ONE = float(np.nextafter(1, 0))
RANGES = {  # of numbers that are not any finite one >= 0
    "c": (-1.0, 1.0, "a correlation from -1 to 1"),
    "c0": (-1.0, 1.0, "a correlation from -1 to 1"),
    "eta": (LEAST, BELOW_ONE, "a correlation between 0 and 1"),
    "keep": (LEAST, 1.0, "a probability above 0, up to 1"),
}


def check_argument(name: str, value: Any) -> Any:
    """Check an argument and convert it to the type that the formulas use."""
    if name == "activation":
        return find_activation(value)
    if name == "hidden":
        if value is not None and (isinstance(value, type) or not isinstance(value, Block)):
            raise TypeError(
                f"hidden: expected a block such as jaxnn.blocks.Residual(), got {told(value)}"
            )
        return DENSE if value is None else value
    if name == "batch" and value is None:
        return None
    if name in ("depth", "width", "batch", "layers", "draws"):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}: expected an integer >= 1, got {told(value)}")
        return value
    number: Any = value if isinstance(value, jax.Array) else np.asarray(value)
    if not (np.isrealobj(number) and jnp.issubdtype(number.dtype, jnp.number)):
        raise TypeError(f"{name}: expected real numbers, got {told(value)}")
    if isinstance(number, jax.core.Tracer):
        return number.astype(jnp.result_type(float))
    entries = np.asarray(number, np.float64)
    low, high, wanted = RANGES.get(name, (0.0, LARGEST, "a finite number >= 0"))
    outside = entries[~((low <= entries) & (entries <= high))]
    if outside.size:
        raise ValueError(f"{name}: expected {wanted}, got {outside.flat[0]:g}")
    return as_array(name, entries)


def _list(name: str, values: Sequence[object] | Array, depth: int) -> Any:
    """Check a list with what each layer has, as `check_argument` checks one for all."""
    if name == "hidden":
        check_count(name, values, depth - 1, "hidden layer after the first")
        blocks = each(name, values, partial(check_argument, name))
        meeting = next(filter(rows_meet, blocks), None)
        if meeting is not None and len(set(blocks)) > 1:
            raise ValueError(
                f"hidden: expected no {meeting!r} among other blocks: its formulas hold for a Δ "
                "whose sum over the rows is 0, which others do not leave; give one block for all, "
                "or measure with jaxnn.gradient_flow"
            )
        return one_if_equal(blocks) if blocks else DENSE
    check_count(name, values, depth, "hidden layer")
    if isinstance(values, jax.core.Tracer):
        return values.astype(jnp.result_type(float))
    checked = each(name, values, partial(check_argument, name))
    return one_if_equal(checked) if name in ("activation", "width") else jnp.stack(checked)


def one_for_all(name: str, value: object) -> Any:
    """Check an argument of a function that has no layers of several kinds."""
    if name in OF_LAYERS and _is_list(name, value) and not hasattr(value, "dtype"):
        raise TypeError(
            f"{name}: expected one for all layers, got a list: what is asked for belongs to layers "
            "that are all alike; an array is computed entry by entry, and lengths, log_delta and "
            "log_delta_band take a list"
        )
    return check_argument(name, value)


def _of_path(name: str, value: Any, depth: int) -> Any:
    """Check an argument of a function that follows a network layer by layer."""
    if name in OF_LAYERS and _is_list(name, value):
        return _list(name, value, depth)
    checked = check_argument(name, value)
    if getattr(checked, "ndim", 0):
        raise TypeError(
            f"{name}: expected one real number, got an array of shape {checked.shape}; use jax.vmap"
        )
    return checked


def _is_list(name: str, value: object) -> bool:
    return is_list(value) and not (name == "hidden" and isinstance(value, Block))


def check_keep(keep: Numbers | float, hidden: Block | Sequence[Block] | None) -> None:
    """Raise for dropout after a norm over the rows, for which there is no formula here."""
    blocks = [hidden] if isinstance(hidden, Block) or hidden is None else hidden
    meeting = next(filter(rows_meet, blocks), None)
    if meeting is not None and not isinstance(keep, jax.core.Tracer) and np.any(keep != 1):
        raise ValueError(
            f"keep: expected 1 with {meeting!r}, got {float(np.min(keep)):g}: dropout and a norm "
            "over rows have no formula together; measure with jaxnn.gradient_flow"
        )


def formula(f: Callable[P, R]) -> Callable[P, R]:
    """Compile a formula of layers all alike, for each entry of its checked, broadcast numbers."""

    def check(given: dict[str, Any]) -> dict[str, Any]:
        checked = {name: one_for_all(name, value) for name, value in given.items()}
        _common_shape(_arrays(checked))
        return checked

    return _compiled(_by_entry(f), f, check)


def path_formula(f: Callable[P, R]) -> Callable[P, R]:
    """Compile a formula whose layers may have what is `OF_LAYERS` of their own, in lists."""
    return _compiled(f, f, lambda given: check_path(**given))


def check_path(**given: Any) -> dict[str, Any]:
    """Check the arguments of a function that follows a network layer by layer, `depth` of them."""
    depth = check_argument("depth", given["depth"])
    return {name: _of_path(name, value, depth) for name, value in given.items()}


def _compiled(
    program: Callable[..., R], f: Callable[P, R], check: Callable[[dict[str, Any]], dict[str, Any]]
) -> Callable[P, R]:
    signature = inspect.signature(f)
    static = [name for name in signature.parameters if name in STATIC]

    def narrowed(dtype: Any, **arguments: Any) -> R:
        result: R = jax.tree.map(lambda v: v.astype(dtype), program(**arguments))
        return result

    compiled = jax.jit(narrowed, static_argnames=["dtype", *static])

    @wraps(f)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        dtype = jnp.result_type(float)
        # Fixed points cancel: in float32 a c* within 1e-3 of 1 could not be told from it. Tracers
        # have the types that they have.
        is_traced = any(isinstance(v, jax.core.Tracer) for v in jax.tree.leaves(bound.arguments))
        with transfers(), nullcontext() if is_traced else jax.enable_x64(True):
            arguments = check(bound.arguments)
            if "keep" in arguments:
                check_keep(arguments["keep"], arguments.get("hidden"))
            result: R = compiled(dtype, **arguments)
        return result

    return checked


def _by_entry(f: Callable[P, R]) -> Callable[..., R]:
    """Compute f for each entry of those of its arguments that are arrays, one after the other."""

    @wraps(f)
    def every(**given: Any) -> R:
        arrays = _arrays(given)
        if not arrays:
            return f(**given)  # type: ignore[call-arg]
        shape = _common_shape(arrays)
        flat = {name: jnp.broadcast_to(v, shape).ravel() for name, v in arrays.items()}
        result = lax.map(lambda entries: f(**{**given, **entries}), flat)  # type: ignore[call-arg]
        whole: R = jax.tree.map(lambda v: v.reshape(*shape, *v.shape[1:]), result)
        return whole

    return every


def _arrays(given: dict[str, Any]) -> dict[str, Any]:
    return {name: v for name, v in given.items() if getattr(v, "ndim", 0)}


def _common_shape(arrays: dict[str, Any]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(*(v.shape for v in arrays.values()))
    except ValueError:
        shapes = ", ".join(f"{name} {v.shape}" for name, v in arrays.items())
        raise ValueError(
            f"{next(iter(arrays))}: expected arrays whose shapes broadcast, got {shapes}"
        ) from None
