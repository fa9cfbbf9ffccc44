"""Weights that are computed: whether they are as those that theory draws, by other numbers of them.

Theory gives each entry of a weight a random sign of its own. That is right of parameters, of moved
ones, and of functions that keep signs apart, such as a norm of weights or a product of two of them;
not of a softmax, whose entries are all positive, nor of weights that are centred.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ...errors import NoTwinError
from ..tensors import numbers_of
from ..types import Tensor
from .lockstep import PARTED
from .products import Origins, Product

TIMES = 4  # that a weight is looked at with other numbers
MOST_EQUAL = 0.05  # of the entries may be equal by chance
MOST_OF_MEAN = 0.4  # of the mean square may be that of the mean; of independent numbers 1/TIMES
SUMS = 0.5, 2.0  # the mean square of sums, over that of independent entries
FEWEST_SUMS = 32


class Computed(NamedTuple):
    """A weight that is computed, in a product on the way up."""

    value: np.ndarray  # its entries
    summed: tuple[int, ...]  # the axes over which the product sums them
    names: Origins  # of the parameters that it is made of
    numbers: np.ndarray  # of its entries, see `places.py`

    @classmethod
    def of(cls, product: Product, names: Origins, numbers: Tensor) -> "Computed":
        """Return the weight of a product."""
        w, ends = product.w, (product.below, product.above)
        is_kernel = 0 in ends and w.ndim > 2
        summed = [i for i in range(w.ndim) if i == product.below or (is_kernel and i not in ends)]
        return cls(numbers_of(w).copy(), tuple(summed), names, numbers.cpu().numpy())


def check_computed(known: Sequence[Mapping[int, Computed]]) -> None:
    """Raise NoTwinError for a weight in any of several surveys that is not as theory draws it."""
    for number in known[0]:
        several = [of_survey.get(number) for of_survey in known]
        there = [weight for weight in several if weight is not None]
        if len({weight.value.shape for weight in there}) != 1 or len(there) < len(known):
            raise NoTwinError(PARTED)
        fault = _fault(there[0], np.stack([weight.value for weight in there]).astype(np.float64))
        if fault:
            raise NoTwinError(
                "module: theory expects the entries of a weight to be independent numbers of mean "
                f"zero, and of that computed from {', '.join(sorted(there[0].names))} {fault}; "
                "use it as it is, or measure without theory"
            )


def _fault(weight: Computed, values: np.ndarray) -> str:
    """Return in which respect a weight is unlike those of theory; "" if in none."""
    flat = values.reshape(len(values), -1)
    square = float(np.mean(np.square(flat)))
    if not np.isfinite(square) or square == 0:
        return ""
    if float(np.mean(np.square(flat.mean(axis=0)))) > MOST_OF_MEAN * square:
        return "the mean is not zero"
    sums = values.sum(axis=tuple(axis + 1 for axis in weight.summed))
    terms = flat.shape[1] / (sums.size / len(values))
    least, most = SUMS
    if sums.size >= FEWEST_SUMS and not least <= np.mean(np.square(sums)) / terms / square <= most:
        return "the sums over the units below are not those of independent numbers"
    if _share_of_equal(flat, weight.numbers.ravel()) > MOST_EQUAL:
        return "many are equal whatever its numbers"
    return ""


def _share_of_equal(values: np.ndarray, numbers: np.ndarray) -> float:
    """Return the share of entries that are always equal to another one, of another number."""
    inside = np.flatnonzero(values.any(axis=0))
    keys = np.abs(values[:, inside].astype(np.float32)).view(np.int32) >> 4  # but for rounding
    _, group = np.unique(keys, axis=1, return_inverse=True)
    pairs = np.unique(np.stack([group.ravel(), numbers[inside]]), axis=1)
    times = np.bincount(pairs[0])
    return float(np.mean(times[group.ravel()] > 1)) if len(inside) else 0.0
