"""Rates and number formats in words: what verdicts on any network share."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

# Number formats in which networks are trained, the widest first.
FORMATS = ("float64", "float32", "bfloat16", "float16", "float8_e5m2", "float8_e4m3fn")

# Up to a factor of ten over 64 layers, or over all if there are more, is called steady.
STEADY_LAYERS = 64

# Below it, in standard errors, a rate is not told from zero.
CLEAR = 2
UNCLEAR = "not distinguishable from steady"

# Rounding alone keeps what differs between examples at 0.2 to 2 eps of the signal.
NOISE = 4  # times eps


def word_of(rate: float, layers: int, error: float) -> str:
    """Return the word for a rate in decades per layer.

    Args:
        rate: in decades per layer.
        layers: their number.
        error: the standard error of the rate; nan if it is not known.
    """
    if np.isnan(rate):
        return "unknown"
    if abs(rate) * max(layers, STEADY_LAYERS) <= 1:
        return "steady"
    if abs(rate) < CLEAR * error:
        return UNCLEAR
    return "exploding" if rate > 0 else "vanishing"


def rate_of(gain: np.ndarray) -> tuple[float, float]:
    """Return the mean factor of a layer in decades, of gains in ln, and its standard error."""
    factors = gain / np.log(10)
    factors = factors[np.isfinite(factors)]
    rate = float(np.mean(factors)) if len(factors) else np.nan
    few = len(factors) < 2
    return rate, np.nan if few else float(np.std(factors, ddof=1) / np.sqrt(len(factors)))


def highest(used: np.ndarray, where: np.ndarray) -> int | None:
    """Return the highest used layer that a condition holds for, counted from 1."""
    return int(used[where].max()) + 1 if where.any() else None


def lost_in(name: str, used: np.ndarray, log_largest: np.ndarray) -> int | None:
    """Return the layer from which down a format has no number for Δ, if any.

    What is no finite number to begin with is not for a format to lose.
    """
    info = jnp.finfo(name)  # type: ignore[no-untyped-call]
    low, high = np.log(float(info.tiny)), np.log(float(info.max))
    return highest(used, np.isfinite(log_largest) & ((log_largest < low) | (log_largest > high)))


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


def loss_in_words(
    delta: str, lost: dict[str, str | None], zero: str | None, undefined: str | None
) -> str:
    """Return the sentence on layers in which a gradient is zero or has no number.

    Args:
        delta: what is lost, Δz or Δ.
        lost: for each format the layer from which down, in words, or None.
        zero: the layer from which down it is exactly zero, in words, or None.
        undefined: the layer from which down it is not a finite number, in words, or None.
    """
    cut = f"From layer {zero} down it is exactly zero, every path being cut. " if zero else ""
    if undefined:
        cut += f"From layer {undefined} down {delta} is not a finite number, whatever the format. "
    given_up = [f"{name} from layer {top} down" for name, top in lost.items() if top]
    intact = [name for name, top in lost.items() if not top]
    if not given_up and undefined:
        return cut.strip()
    if not given_up:
        return f"{cut}Plain backpropagation has a number for {delta} everywhere in every format."
    nowhere = f"; nowhere in {', '.join(intact)}" if intact else ""
    return f"{cut}Plain backpropagation loses {delta} in {', in '.join(given_up)}{nowhere}."


def examples_in_words(
    found: dict[str, int | None],
    lost: dict[str, int | None],
    name_of: Callable[[int], str],
    layers: int,
) -> str:
    """Return the sentence on layers whose examples are no longer told apart; empty if not judged.

    Args:
        found: for each format that is judged the layer from which up they are not, or None.
        lost: for each format the layer from which down the gradient is lost, or None.
        name_of: the name of a layer that is counted from 1.
        layers: their number.
    """
    if not found:
        return ""
    alike = {name: layer for name, layer in found.items() if layer}
    if not alike:
        return "What differs between examples is more than rounding in every layer."
    where = ", ".join(f"in {name} from layer {name_of(i)} up" for name, i in alike.items())
    name, first = next(iter(alike.items()))
    top = lost[name]
    lower = f", and its gradient is lost from layer {name_of(top)} down" if top else ""
    apart = min(first, layers) - 1
    above = (
        "nothing above can learn to tell them apart"
        if min(alike.values()) < layers
        else ("the output is the same for all of them")
    )
    return (
        f"What differs between examples is rounding, not input, {where}: {above}. In {name} that "
        f"leaves {apart} of {layers} layers with examples that differ{lower}."
    )
