"""Kinds of blocks by name, as on the command line: dense, residual(rms_norm), post_norm.

A kind goes into another in brackets. The scale of a residual block is a number or 1/sqrt(L), where
L counts the hidden layers.
"""

import math
import re
from collections.abc import Callable, Iterable
from itertools import product
from typing import NamedTuple

import jaxnn

BLOCKS: dict[str, Callable[..., jaxnn.blocks.Block]] = {
    "dense": jaxnn.blocks.Dense,
    "residual": jaxnn.blocks.Residual,
    "rms_norm": jaxnn.blocks.RMSNorm,
    "layer_norm": jaxnn.blocks.LayerNorm,
    "batch_norm": jaxnn.blocks.BatchNorm,
    "post_norm": jaxnn.blocks.PostNorm,
}
BY_DEPTH = "1/sqrt(L)"


class BlockKind(NamedTuple):
    """A kind of block, and the scale of its residual branches; `text` names both.

    Example:
        >>> kind = kinds(["residual"], [BY_DEPTH])[0]
        >>> kind.text, kind.of(16)
        ('residual, 1/sqrt(L)', Residual(inner=Dense(), scale=0.25))
    """

    name: str
    scale: str = "1"

    @property
    def text(self) -> str:
        """The name, with the scale unless that is 1."""
        return self.name if self.scale == "1" else f"{self.name}, {self.scale}"

    def of(self, depth: int) -> jaxnn.blocks.Block:
        """Return the block in a network of so many hidden layers."""
        scale = 1 / math.sqrt(depth) if self.scale == BY_DEPTH else float(self.scale)
        return _block(self.name, scale)


def kind_of(text: str) -> BlockKind:
    """Return the kind whose `text` this is."""
    name, _, scale = text.partition(", ")
    return BlockKind(name, scale or "1")


def kinds(names: Iterable[str], scales: Iterable[str]) -> tuple[BlockKind, ...]:
    """Return every name with every scale; those without a residual branch once."""
    scales = tuple(dict.fromkeys(map(_scale, scales)))
    found = []
    for name, scale in product(dict.fromkeys(text.replace(" ", "") for text in names), scales):
        block = _block(name, 1.0)
        found.append(BlockKind(name, scale if "Residual" in repr(block) else "1"))
    return tuple(dict.fromkeys(found))


def _scale(text: str) -> str:
    if text.replace(" ", "") in (BY_DEPTH, "1/√L"):
        return BY_DEPTH
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"scale: expected numbers or {BY_DEPTH}, got {text!r}")
    return f"{value:g}"


def _block(name: str, scale: float) -> jaxnn.blocks.Block:
    parts = re.fullmatch(r"(\w+)(?:\((.+)\))?", name)
    kind = BLOCKS.get(parts[1]) if parts else None
    if parts is None or kind is None or (parts[2] and kind is jaxnn.blocks.Dense):
        raise ValueError(
            f"hidden: there is no {name!r}; choose some of {', '.join(BLOCKS)}, or one in "
            "another such as 'residual(rms_norm)'"
        )
    inner = _block(parts[2], scale) if parts[2] else None
    if kind is jaxnn.blocks.Residual:
        return jaxnn.blocks.Residual(inner or jaxnn.blocks.Dense(), scale)
    if kind is jaxnn.blocks.PostNorm:
        return jaxnn.blocks.PostNorm(inner or jaxnn.blocks.Residual(scale=scale))
    return kind() if inner is None else kind(inner)
