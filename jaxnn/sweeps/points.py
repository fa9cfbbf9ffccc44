"""The points of a grid: each a value for every argument of the function that builds a network."""

import inspect
import itertools
import numbers
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..arrays.arguments import check_seed
from ..texts import listed, told

Point = dict[str, Any]
Axes = Mapping[str, Any]
SEED = "seed"
SEEDS = range(3)


def points_of(
    build: Callable[..., Any], axes: Axes, paired: Axes | None, seed: Iterable[int] | int | None
) -> list[Point]:
    """Return the points: of all axes the product, of paired ones the values side by side."""
    # The seed is the last axis, so that the networks of a cell stand together.
    side_by_side = {name: values_of(name, values) for name, values in (paired or {}).items()}
    crossed = {name: values_of(name, values) for name, values in axes.items()}
    named = {*crossed, *([] if seed is None else [SEED])}
    twice = sorted({*side_by_side} & named)
    if twice:
        raise ValueError(f"{twice[0]}: expected it as an axis or in paired, got both")
    lengths = {name: len(values) for name, values in side_by_side.items()}
    if len({*lengths.values()}) > 1:
        got = ", ".join(f"{name} with {length}" for name, length in lengths.items())
        raise ValueError(f"paired: expected as many values of each argument, got {got}")
    seeds = {} if seed is None else {SEED: values_of(SEED, seed)}
    if seed is None and SEED not in side_by_side:
        seeds = {SEED: [*SEEDS]} if SEED in inspect.signature(build).parameters else {}
    for value in (seeds | side_by_side).get(SEED, ()):
        check_seed(SEED, value)
    check_arguments(build, [*side_by_side, *crossed, *seeds])
    rows = [
        dict(zip(side_by_side, row, strict=True))
        for row in zip(*side_by_side.values(), strict=True)
    ]
    products = itertools.product(rows or [{}], *crossed.values(), *seeds.values())
    names = (*crossed, *seeds)
    return [pair | dict(zip(names, values, strict=True)) for pair, *values in products]


def values_of(name: str, values: Any) -> list[Any]:
    """Return the values of an axis: those of a list, or one that stands alone."""
    is_number = getattr(values, "ndim", None) == 0  # an array of one
    alone = is_number or isinstance(values, str | Mapping) or not isinstance(values, Iterable)
    listed_values = [values] if alone else [*values]
    if not listed_values:
        raise ValueError(f"{name}: expected at least one value, got {told(values)}")
    return [*map(_as_plain, listed_values)]


def _as_plain(value: Any) -> Any:
    """Return an array of one number, of NumPy, JAX or torch, as that number; all else as it is."""
    is_key = isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
    if getattr(value, "ndim", None) != 0 or is_key:
        return value
    number = value.item()
    is_narrow = isinstance(number, float) and value.dtype.itemsize <= 4
    return float(str(np.float32(number))) if is_narrow else number  # .1 as .1


def check_arguments(build: Callable[..., Any], names: list[str]) -> None:
    """Raise unless a function takes these arguments and needs no others."""
    parameters = inspect.signature(build).parameters.values()
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)
    by_name = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    unknown = [name for name in names if name not in by_name and not open_ended]
    if unknown:
        takes = listed(sorted(by_name)) if by_name else "none"
        raise ValueError(f"{unknown[0]}: expected an argument of build, which takes {takes}")
    needed = [p.name for p in parameters if p.default is p.empty and p.name in by_name]
    missing = [name for name in needed if name not in names]
    if missing:
        raise ValueError(f"{missing[0]}: expected values for it, since build needs it, got none")


def shown(value: Any) -> bool | int | float | str | None:
    """Return what stands for a value of an axis in a table: itself, or its name."""
    if value is None or isinstance(value, bool | str | numbers.Integral | numbers.Real):
        return value  # type: ignore[return-value]  # of numbers those of Python
    return str(getattr(value, "__name__", value))


def as_call(point: Point) -> str:
    """Return a point as arguments in a call."""
    return ", ".join(f"{name}={shown(value)}" for name, value in point.items())


def called(build: Callable[..., Any], point: Point) -> str:
    """Return the call of a function at a point, for messages."""
    return f"{getattr(build, '__name__', 'build')}({as_call(point)})"


def check_build(build: Callable[..., Any]) -> Callable[..., Any]:
    """Return what can be called; raise for something else."""
    if not callable(build):
        raise TypeError(f"build: expected a function that builds a network, got {told(build)}")
    return build
