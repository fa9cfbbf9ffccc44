"""Attention of a flow: the largest logit of each head, and the entropy of what it attends to.

    logits s[i, j] of query i and key j,   p[i] = softmax s[i] over the keys that are not masked
    entropy   mean over i of - sum over j of p[i, j] ln p[i, j],   at most ln (number of keys)

A head whose entropy is near zero attends to one key for each query: softmax is saturated then, and
hands down little of Δ to queries and keys. A query that sees one key, such as the first of a causal
mask, has no choice and does not count.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..adapters.attention import Attention, Logits
from ..arrays.rows import at_least_float32


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class AttentionHeads:
    """Numbers of the heads of all attentions that are recognised, those of layer 1 first.

    largest_logit: the largest before the softmax, over the batch, of keys that are not masked.
    entropy: of what a query attends to, the mean over the batch and all queries that see two keys
        or more, in nats; nan if there are none.
    most_entropy: the mean of ln of the number of keys that these see, which is their largest.
    layers: of each head its layer, counted from 1; static.
    attentions: its attention, counted from 1 in each layer; static.
    heads: its number, counted from 1 in each attention; static.
    paths: of the parameter arrays that its queries and keys are products with; static.
    """

    largest_logit: Float[Array, "*v H"]
    entropy: Float[Array, "*v H"]
    most_entropy: Float[Array, "*v H"]
    layers: tuple[int, ...] = field(metadata={"static": True})
    attentions: tuple[int, ...] = field(metadata={"static": True})
    heads: tuple[int, ...] = field(metadata={"static": True})
    paths: tuple[tuple[str, ...], ...] = field(metadata={"static": True})

    @property
    def share(self) -> Float[Array, "*v H"]:
        """The entropy as a share of its largest."""
        return self.entropy / self.most_entropy


class HeadRecord(NamedTuple):
    """Numbers of the heads of one attention; of a run (k, heads)."""

    largest_logit: Float[Array, "*k heads"]
    entropy: Float[Array, "*k heads"]
    most_entropy: Float[Array, "*k heads"]

    @classmethod
    def of(cls, logits: Logits, dtype: Any) -> "HeadRecord":
        """Return those of logits, (heads, rows, keys)."""
        seen = logits.seen
        values = jnp.where(seen, at_least_float32(logits.values).astype(dtype), -jnp.inf)
        largest = jnp.max(values, axis=-1, keepdims=True)
        below = jnp.where(seen, values - largest, 0)
        weights = jnp.where(seen, jnp.exp(below), 0)
        total = jnp.sum(weights, axis=-1)
        # - Σ p ln p, with p = weights / total, ln p = below - ln total
        entropy = jnp.log(total) - jnp.sum(weights * below, axis=-1) / total
        entropy = jnp.maximum(entropy, 0)  # the largest weight is 1 but for rounding
        count = jnp.sum(seen, axis=-1)
        choice = count > 1
        rows = jnp.sum(choice, axis=-1).astype(dtype)

        def mean(v: Array) -> Array:
            return jnp.sum(jnp.where(choice, v, 0), axis=-1) / rows

        return cls(jnp.max(largest, axis=(1, 2)), mean(entropy), mean(jnp.log(count.astype(dtype))))


class OfEntry(NamedTuple):
    """The heads of an entry of the parameters of a chain.

    times: the number of times that its pattern of layers is repeated.
    recognised: of each layer of the pattern its attentions.
    heads: the numbers of each; of a run (times, heads).
    """

    times: int
    recognised: Sequence[Sequence[Attention]]
    heads: Sequence[Sequence[HeadRecord]]


def attention_of(
    entries: Sequence[OfEntry], paths: Sequence[Sequence[str]]
) -> AttentionHeads | None:
    """Return the attention of a flow, None if there is none; paths are those of all layers."""
    parts = [[heads for of_layer in entry.heads for heads in of_layer] for entry in entries]
    joined = [
        jax.tree.map(lambda *v: jnp.concatenate(v, axis=-1).ravel(), *part)
        for part in parts
        if part
    ]
    if not joined:
        return None
    whole: HeadRecord = jax.tree.map(lambda *v: jnp.concatenate(v), *joined)
    return AttentionHeads(*whole, *zip(*_places(entries, paths), strict=True))


def _places(entries: Sequence[OfEntry], paths: Sequence[Sequence[str]]) -> Iterator[Any]:
    """Yield of each head its layer, its attention, its number, and its paths."""
    number = 0
    for entry in entries:
        for recognised in [*entry.recognised] * entry.times:
            number += 1
            for i, attention in enumerate(recognised, 1):
                own = tuple(filter(None, (paths[number - 1][j] for j in attention.arrays)))
                yield from ((number, i, head, own) for head in range(1, attention.heads + 1))
