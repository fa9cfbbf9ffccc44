"""Findings on parameter arrays: their gradient and their size."""

from collections.abc import Iterator

import numpy as np

from ...rules import Sight
from .findings import ARRAYS, FINDINGS, less_gradient, times_as_large
from .judged import Judged

LARGE_ENTRIES, LARGEST_OF_ALL = 10.0, 30.0  # root mean square, and times the next largest


@FINDINGS.rule("starved", "{path} of layer {name} gets {less}: it does not learn.", rank=ARRAYS)
def starved(judged: Judged) -> Iterator[Sight]:
    """An array that gets no gradient, or 10⁻⁴ of it.

    Each gradient is taken relative to the size of its array, and compared with the other weights of
    the layer. Between 10⁻⁴ and 10⁻⁸ it must also be a hundred times further behind than the array
    of the same name in other layers: the decay rates of a healthy Mamba get 10⁻⁴ in all of them.
    Not named are weights in a layer with a zero array that gets a gradient itself, such as the last
    gain of a branch, since they learn after the first step; weights in a layer with such a gain
    below 10⁻³, such as a layer scale; and queries and keys whose logits are below 0.1 in all heads,
    since their gradient grows with them.
    """
    for i, decades in judged.starved.items():
        values = {"decades": decades, "less": less_gradient(decades)}
        yield Sight(int(judged.arrays.layer[i]), judged.arrays.path[i], values)


@FINDINGS.rule(
    "largest",
    "The entries of {path}, layer {name}, have a root mean square of {size:.3g}, all other weights "
    "{next_size:.2g} or less.",
    rank=ARRAYS,
    unless="signal undefined",
)
def largest(judged: Judged) -> Iterator[Sight]:
    """An array that is larger than all others.

    Its entries have a root mean square above ten, and thirty times that of all other weights.
    """
    arrays = judged.arrays
    sizes = np.where(arrays.weights & np.isfinite(arrays.size), arrays.size, -np.inf)
    if len(sizes) < 2:
        return
    next_size, size = np.sort(sizes)[-2:]
    is_far = np.isfinite(next_size) and size - next_size >= np.log10(LARGEST_OF_ALL)
    if is_far and size >= np.log10(LARGE_ENTRIES):
        i = int(np.argmax(sizes))
        layer, path = int(arrays.layer[i]), arrays.path[i]
        values = {"size": 10**size, "next_size": 10**next_size}
        yield Sight(layer, path, values, frozenset({("size", layer, path)}))


@FINDINGS.rule(
    "size",
    "{path} of layer {name} is {times} others like it.",
    rank=ARRAYS,
    unless="signal undefined",
)
def size(judged: Judged) -> Iterator[Sight]:
    """An array of another size.

    It is ten times larger or smaller than the same array in the other layers that repeat.
    """
    for i, decades in judged.resized.items():
        values = {"decades": decades, "times": times_as_large(decades)}
        yield Sight(int(judged.arrays.layer[i]), judged.arrays.path[i], values)
