"""Skip connections that laws 14 and 15 compare: none, z′ = z + σ(z) θ, and z′ = z + σ(z) θ/√L."""

import math
from typing import NamedTuple

import jaxnn
from experiments.laws.draws import Ensemble

ENSEMBLE = Ensemble("relu", math.sqrt(2))  # κ = 1
PLAIN, FULL, ROOT = "no skip", "α = 1", "α = 1/√L"
NAMES = {"plain": PLAIN, "full": FULL, "root": ROOT}  # by the field of a set-up with their L


def cases(setup: NamedTuple) -> list[tuple[str, int]]:
    """Return every kind and number of blocks, in the order of the set-up's fields."""
    return [
        (NAMES[field], blocks)
        for field in setup._fields
        if field in NAMES
        for blocks in getattr(setup, field)
    ]


def block_of(name: str, blocks: int) -> jaxnn.blocks.Block:
    """Return the library's block."""
    if name == PLAIN:
        return jaxnn.blocks.Dense()
    return jaxnn.blocks.Residual(scale=blocks**-0.5 if name == ROOT else 1.0)


def weights(setup: NamedTuple, width: int) -> int:
    """Return the weights of the largest network."""
    return width**2 * (2 + max(blocks for _, blocks in cases(setup)))
