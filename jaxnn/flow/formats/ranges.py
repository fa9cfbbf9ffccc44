"""Number formats: where a gradient leaves them, and where examples are no longer told apart."""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

# Number formats in which networks are trained, the widest first.
FORMATS = ("float64", "float32", "bfloat16", "float16", "float8_e5m2", "float8_e4m3fn")

# Those that a verdict speaks of without being asked: 8 bits have a scale for each tensor.
COMMON = ("float32", "bfloat16", "float16")

# Rounding alone keeps what differs between examples at 0.2 to 2 eps of the signal.
NOISE = 4  # times eps

Lost = dict[str, int | None]


def highest(used: np.ndarray, where: np.ndarray) -> int | None:
    """Return the highest used layer that a condition holds for, counted from 1."""
    return int(used[where].max()) + 1 if where.any() else None


def range_of(name: str) -> tuple[float, float]:
    """Return ln of the smallest normal number of a format, and of the largest."""
    info = jnp.finfo(name)  # type: ignore[no-untyped-call]
    return math.log(float(info.tiny)), math.log(float(info.max))


def lost_in(name: str, used: np.ndarray, log_largest: np.ndarray) -> int | None:
    """Return the layer from which down a format has no number for Δ, if any.

    What is no finite number to begin with is not for a format to lose.
    """
    low, high = range_of(name)
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


def tells_apart(name: str, dtype: Any) -> bool:
    """Return whether states of a dtype say what a format would leave of the examples.

    That is a format as coarse as theirs or coarser, but finer than 8 bits: there the rounding of
    a single entry is as large as anything that differs.
    """
    eps, own = (float(jnp.finfo(v).eps) for v in (name, dtype))  # type: ignore[no-untyped-call]
    return own <= eps < 1 / 32


def indistinguishable_in(name: str, used: np.ndarray, log_spread: np.ndarray) -> int | None:
    """Return the layer from which up examples differ by the rounding of a format alone, if any.

    That is where what differs stays below `NOISE` eps of the signal in all layers above.
    """
    noise = np.log(NOISE * float(jnp.finfo(name).eps))  # type: ignore[no-untyped-call]
    apart = np.flatnonzero(log_spread[used] >= noise)  # not nan, the 0/0 of a state of zeros
    first = int(apart.max()) + 1 if len(apart) else 0
    return int(used[first]) + 1 if first < len(used) else None


def spoken_of(dtype: Any, asked: tuple[str, ...]) -> tuple[str, ...]:
    """Return the formats that a verdict speaks of: the flow's own, common ones, and those asked."""
    return tuple(name for name in FORMATS if name in (*COMMON, *asked, jnp.dtype(dtype).name))


def loss_in_words(
    lost: Lost,
    scales: dict[str, tuple[int, int] | None],
    small: bool,
    own: tuple[str, ...],
    above: Callable[[int], str],
) -> str:
    """Return the sentence on formats that have no number for a gradient; empty if all have.

    Args:
        lost: for each format to speak of the layer from which down it has none, or None.
        scales: for each format the powers of two that the loss may be scaled by to keep all layers.
        small: whether the gradient is too small there, rather than too large.
        own: formats that are used here. Others are left out if a scaled loss keeps all layers.
        above: the words for where a layer and all below it are.
    """
    by_place: dict[str, list[str]] = {}
    for name, layer in lost.items():
        scaled = scales[name]
        if layer is None or (scaled is not None and name not in own):
            continue
        rescue = (
            f", unless the loss is multiplied by 2^{scaled[0]} to 2^{scaled[1]}"
            if scaled
            else ", whatever the scale of the loss"
            if name == "float16"
            else ""
        )
        by_place.setdefault(above(layer) + rescue, []).append(name)
    parts = [(" and ".join(names), place) for place, names in by_place.items()]
    if not parts:
        return ""
    verb = "underflows" if small else "overflows"
    first = f"In {parts[0][0]} the gradient {verb} {parts[0][1]}"
    return "; ".join((first, *(f"in {names} {place}" for names, place in parts[1:]))) + "."


def examples_in_words(
    found: Lost, own: tuple[str, ...], name_of: Callable[[int], str], layers: int
) -> str:
    """Return the sentence on layers whose examples are no longer told apart; empty if they are.

    Args:
        found: for each format that is judged the layer from which up they are not, or None.
        own: the formats that are used here.
        name_of: the name of a layer that is counted from 1.
        layers: their number.
    """
    alike = {name: layer for name, layer in found.items() if layer}
    if not any(name in alike for name in own):
        return ""
    name, first = next((n, i) for n, i in alike.items() if n in own)
    others = [f"{n} from layer {name_of(i)}" for n, i in alike.items() if i < first]
    coarser = f" ({', '.join(others)})" if others else ""
    if min(alike.values()) == layers:
        return f"At the output, {name} cannot tell examples apart{coarser}: it is the same for all."
    return (
        f"From layer {name_of(first)} up, {name} can no longer tell examples apart{coarser}: "
        "nothing above can learn to."
    )
