"""Kinds of blocks between hidden layers, and the parts of one of your own.

A block is a class with the methods of `jaxnn.blocks.Block`, and for theory those of `Theory`. It
computes with `ScaledRows`, which reach beyond the range of a float, by the operations here, so that
it does too. The folder `examples/` has one that is written from scratch, own_block.py.
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
from .network.blocks.batch_norm import BatchNorm
from .network.blocks.block import Block, Gradient, slope
from .network.blocks.dense import Dense
from .network.blocks.layer_norm import LayerNorm
from .network.blocks.post_norm import PostNorm
from .network.blocks.residual import Residual
from .network.blocks.rms_norm import RMSNorm
from .network.blocks.theory import Moments, Theory, theory_of

__all__ = [
    "BatchNorm",
    "Block",
    "Dense",
    "Gradient",
    "LayerNorm",
    "Moments",
    "PostNorm",
    "RMSNorm",
    "Residual",
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


def __dir__() -> list[str]:
    return __all__
