"""Kinds of blocks between hidden layers, and the parts of one of your own.

A block is a class with the methods of `jaxnn.blocks.Block`, and for theory those of `Theory`. It
computes with `ScaledRows`, which reach beyond the range of a float, by the operations here, so that
it does too. The folder `examples/` has one that is written from scratch, own_block.py.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .arrays.rows import ScaledRows as ScaledRows
    from .arrays.rows import matmul as matmul
    from .arrays.rows import outer as outer
    from .arrays.rows import plus as plus
    from .arrays.rows import renormalised as renormalised
    from .arrays.rows import scaled as scaled
    from .arrays.rows import shifted as shifted
    from .arrays.rows import sum_rows as sum_rows
    from .arrays.rows import with_exponents as with_exponents
    from .network.activations import apply_activation as apply_activation
    from .network.blocks import BatchNorm as BatchNorm
    from .network.blocks import Block as Block
    from .network.blocks import Dense as Dense
    from .network.blocks import Gradient as Gradient
    from .network.blocks import LayerNorm as LayerNorm
    from .network.blocks import Moments as Moments
    from .network.blocks import PostNorm as PostNorm
    from .network.blocks import Residual as Residual
    from .network.blocks import RMSNorm as RMSNorm
    from .network.blocks import Theory as Theory
    from .network.blocks import theory_of as theory_of
    from .network.blocks.block import slope as slope
else:
    from .exports import on_demand

    __getattr__, __dir__, __all__ = on_demand(__name__)
