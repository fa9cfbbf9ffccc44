"""The parts of a block of your own: rows, operations on them, and the protocols.

A block is a class with the methods of `jaxnn.Block`, and for theory those of `Theory`. It computes
with `ScaledRows`, which reach beyond the range of a float, by the operations here, so that it does
too. The folder `examples/` has one that is written from scratch, own_block.py.
"""

from .arrays.rows import (
    ScaledRows,
    alignment,
    exponent_of,
    in_range,
    matmul,
    outer,
    plus,
    power_of_two,
    renormalised,
    rounded,
    scaled,
    shifted,
    sum_rows,
    with_exponents,
)
from .network.activations import apply_activation
from .network.blocks.block import Gradient, slope
from .network.blocks.theory import Moments, Theory, theory_of

__all__ = [
    "Gradient",
    "Moments",
    "ScaledRows",
    "Theory",
    "alignment",
    "apply_activation",
    "exponent_of",
    "in_range",
    "matmul",
    "outer",
    "plus",
    "power_of_two",
    "renormalised",
    "rounded",
    "scaled",
    "shifted",
    "slope",
    "sum_rows",
    "theory_of",
    "with_exponents",
]
