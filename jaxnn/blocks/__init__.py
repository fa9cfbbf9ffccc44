"""Kinds of blocks, a file each: what a layer computes, and its reverse rule by hand."""

from .block import Block, Gradient
from .dense import Dense

__all__ = ["Block", "Dense", "Gradient"]
