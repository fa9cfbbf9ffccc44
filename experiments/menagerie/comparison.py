"""A flow next to plain gradients: pairs of norms, and the largest difference.

    arguments  ->  adapter of JAX or PyTorch  ->  flow, a pair for each number that is known twice
    pairs  ->  the largest relative difference, and where it is

The loss is a random linear one of the output, so that whatever is wrong with its gradient shows.
"""

import math
from typing import NamedTuple

import numpy as np

TINY = 1e-300  # instead of a division by zero


class Pair(NamedTuple):
    """A norm by jaxnn and by plain gradients.

    name: of the array, the state or the input that it is of.
    least: the norm to which the difference is relative, if both are smaller.
    """

    name: str
    ours: float
    plain: float
    least: float = TINY

    @property
    def difference(self) -> float:
        """The relative difference."""
        return abs(self.ours - self.plain) / max(self.ours, self.plain, self.least, TINY)


class Comparison(NamedTuple):
    """The numbers of a network next to plain gradients.

    layers: of the flow.
    arrays: of the parameters that have a gradient.
    compared: those of them whose Δ is of one layer, so that norms can be compared.
    states: those whose Δ is compared.
    difference: the largest relative one of a norm.
    where: the array with it.
    """

    layers: int
    arrays: int
    compared: int
    states: int
    difference: float
    where: str
    dtype: str
    unmeasured: int = 0


def largest(pairs: list[Pair]) -> Pair:
    """Return the pair with the largest difference; one that is nan is larger than all."""

    def size(pair: Pair) -> float:
        return math.inf if math.isnan(pair.difference) else pair.difference

    return max(pairs, key=size)


def rounding(dtype: str) -> float:
    """Return the part of a layer's Δθ below which an array's is rounding, as a bias before a norm.

    Smaller norms are compared relative to this one, √eps.
    """
    return math.sqrt(np.finfo(dtype).eps)
