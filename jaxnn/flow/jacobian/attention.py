"""Spectra of attention matrices: the gap below the largest singular value, and the rank left.

A softmax matrix A over T tokens has rows that sum to 1. Where its entries are independent it has
one singular value near 1 and all others within 2σ/√T, σ their standard deviation over their mean:
what tokens differ by is lost as T grows, the *rank collapse in width* (Nait Saada et al. 2024,
arXiv:2410.07799).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ...arrays.rows import at_least_float32
from ...recognition.attention import Logits
from .stretches import Stretch, fold


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class AttentionSpectra:
    """Spectra of attention matrices, means over examples; one entry a head, H in all.

    second: s₂/s₁, the second largest singular value over the largest.
    rank: stable rank of A Aᵀ, Σ s⁴/s₁⁴: 1 if all tokens get the same.
    tokens: T, that a row of A is over.
    layers: of each head, counted from 1.
    heads: number of each head in its attention.
    """

    second: Float[Array, " H"]
    rank: Float[Array, " H"]
    tokens: Int[Array, " H"]
    layers: tuple[int, ...] = field(metadata={"static": True})
    heads: tuple[int, ...] = field(metadata={"static": True})


def attention_spectra(stretches: Sequence[Stretch], first: int) -> AttentionSpectra | None:
    """Return those of all attentions recognised in layers from `first` on; None without any."""
    parts: list[tuple[Array, Array, Array]] = []
    labels: list[tuple[int, int]] = []
    for stretch in stretches:
        if any(anatomy.attentions for anatomy in stretch.anatomies):
            parts.append(_of_stretch(stretch))
            labels += [
                (first + layer, head)
                for layer in range(stretch.layers)
                for attention in stretch.anatomies[layer % len(stretch.links)].attentions
                for head in range(1, attention.heads + 1)
            ]
        first += stretch.layers
    if not parts:
        return None
    second, rank, tokens = (jnp.concatenate(v) for v in zip(*parts, strict=True))
    return AttentionSpectra(second, rank, tokens, *zip(*labels, strict=True))


def _of_stretch(stretch: Stretch) -> tuple[Array, Array, Array]:
    """Return the numbers of all heads of a stretch, in the order of its layers."""

    def step(_: None, layers: list[Any]) -> tuple[None, tuple[Array, ...]]:
        several = [
            _of_logits(logits, len(jax.tree.leaves(state)[0]))
            for anatomy, (_, arrays, state) in zip(stretch.anatomies, layers, strict=True)
            for logits in anatomy.numbers(arrays, state).logits
        ]
        return None, tuple(jnp.concatenate(v) for v in zip(*several, strict=True))

    second, rank, tokens = (v.ravel() for v in fold(step, None, stretch)[1])
    return second, rank, tokens


def _of_logits(logits: Logits, examples: int) -> tuple[Array, Array, Array]:
    """Return the numbers of the heads of one attention, whose rows are examples and queries."""
    values = jnp.where(logits.seen, at_least_float32(logits.values), -jnp.inf)
    heads, rows, keys = values.shape
    queries = keys if rows % keys == 0 else rows // examples
    matrices = jax.nn.softmax(values).reshape(heads, -1, queries, keys)
    s = jnp.linalg.svd(matrices, compute_uv=False)
    relative = s / s[..., :1]
    second = relative[..., 1] if s.shape[-1] > 1 else jnp.zeros_like(s[..., 0])
    rank = jnp.sum(relative**4, axis=-1)
    return second.mean(axis=1), rank.mean(axis=1), jnp.full(heads, keys, jnp.int32)
