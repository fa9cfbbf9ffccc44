"""Number formats: where a gradient leaves them, and where examples are no longer told apart."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

# Number formats in which networks are trained, the widest first.
FORMATS = ("float64", "float32", "bfloat16", "float16", "float8_e5m2", "float8_e4m3fn")

# Those that a verdict speaks of without being asked: 8 bits have a scale for each tensor.
COMMON = ("float32", "bfloat16", "float16")

# Rounding alone keeps what differs between examples at 0.2 to 2 eps of the signal.
NOISE = 4  # times eps


def highest(used: np.ndarray, where: np.ndarray) -> int | None:
    """Return the highest used layer that a condition holds for, counted from 1."""
    return int(used[where].max()) + 1 if where.any() else None


def range_of(name: str) -> tuple[float, float]:
    """Return ln of the smallest normal number of a format, and of the largest."""
    info = jnp.finfo(name)  # type: ignore[no-untyped-call]
    return math.log(float(info.tiny)), math.log(float(info.max))


def lost_in(name: str, used: np.ndarray, log_largest: np.ndarray) -> int | None:
    """Return the layer from which down a format has no number for Δ, if any."""
    low, high = range_of(name)
    # What is no finite number to begin with is not for a format to lose.
    return highest(used, np.isfinite(log_largest) & ((log_largest < low) | (log_largest > high)))


def loss_scales(name: str, log_largest: np.ndarray) -> tuple[int, int] | None:
    """Return the least and the largest k for which a loss times 2^k loses no layer; or None.

    Example:
        >>> loss_scales("float16", np.log([1e-6, 1.0]))
        (6, 15)
    """
    finite = log_largest[np.isfinite(log_largest)]
    if not len(finite):
        return None
    low, high = range_of(name)
    least = math.ceil((low - finite.min()) / math.log(2))
    most = math.floor((high - finite.max()) / math.log(2))
    return (least, most) if least <= most else None


def not_finite(used: np.ndarray, log_largest: np.ndarray) -> int | None:
    """Return the layer from which down Δ is not a finite number, if any."""
    return highest(used, np.isnan(log_largest) | np.isposinf(log_largest))


def tells_apart(name: str, dtype: jnp.dtype) -> bool:
    """Return whether states of a dtype say what a format would leave of the examples."""
    eps, eps_of_dtype = (float(jnp.finfo(v).eps) for v in (name, dtype))  # type: ignore[no-untyped-call]
    # Of a format as coarse as theirs or coarser, but finer than 8 bits: there the rounding of a
    # single entry is as large as anything that differs.
    return eps_of_dtype <= eps < 1 / 32


def indistinguishable_in(name: str, used: np.ndarray, log_spread: np.ndarray) -> int | None:
    """Return the layer from which up examples differ by the rounding of a format alone, if any."""
    noise = np.log(NOISE * float(jnp.finfo(name).eps))  # type: ignore[no-untyped-call]
    apart = np.flatnonzero(log_spread[used] >= noise)  # not nan, the 0/0 of a state of zeros
    first = int(apart.max()) + 1 if len(apart) else 0
    return int(used[first]) + 1 if first < len(used) else None


def spoken_of(dtype: Any, asked: tuple[str, ...]) -> tuple[str, ...]:
    """Return the formats that a verdict speaks of: the flow's own, common ones, and those asked."""
    return tuple(name for name in FORMATS if name in (*COMMON, *asked, jnp.dtype(dtype).name))
