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


class NormComparison(NamedTuple):
    """The numbers of a network next to plain gradients, as `columns` names them."""

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
    return max(pairs, key=lambda pair: (math.isnan(pair.difference), pair.difference))


def rounding(dtype: str) -> float:
    """Return the part of a layer's Δθ, √eps, below which an array's is rounding."""
    return math.sqrt(np.finfo(dtype).eps)
