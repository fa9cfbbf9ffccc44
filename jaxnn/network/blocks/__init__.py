"""Kinds of blocks, a file each: what a layer computes, and its reverse rule by hand."""

from .batch_norm import BatchNorm
from .block import Block, Gradient, rows_meet
from .dense import DENSE, Dense
from .infinite_width import Ensemble, Moments, Theory, theory_of
from .norm import LayerNorm, RMSNorm
from .post_norm import PostNorm
from .residual import Residual

__all__ = [
    "DENSE",
    "BatchNorm",
    "Block",
    "Dense",
    "Ensemble",
    "Gradient",
    "LayerNorm",
    "Moments",
    "PostNorm",
    "RMSNorm",
    "Residual",
    "Theory",
    "rows_meet",
    "theory_of",
]
