"""Heads of attention and experts of routers in the layers of a flow.

    logits s[i, j] of query i and key j,   p[i] = softmax s[i] over the keys that are not masked
    entropy   mean over i of - sum over j of p[i, j] ln p[i, j],   at most ln (number of keys)

A head whose entropy is near zero attends to one key for each query: softmax is saturated then, and
hands down little of Δ to queries and keys. A query that sees one key, such as the first of a causal
mask, has no choice and does not count. An expert's load is its share in what the router selects, or
in its weights if it selects none.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...arrays.rows import at_least_float32
from ...arrays.spread import whole
from ...recognition.anatomy import Anatomy, LayerNumbers
from ...recognition.attention import Logits
from ...texts import clean, labels


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


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Routers:
    """Numbers of the experts of all routers that are recognised, those of layer 1 first.

    load: the expert's share in what its router selects, over the batch, or in the router's weights
        if it selects none; those of one router sum to 1.
    layers: of each expert its layer, counted from 1; static.
    routers: its router, counted from 1 in each layer; static.
    experts: its number, counted from 1 for each router; static.
    tokens: the number of times that its router routes in the batch; static.
    selected: the number of experts that its router selects for a token, all if it weighs; static.
    paths: of the router's parameter arrays; static.
    paths_of_experts: of the arrays that hold all experts, an entry each; static.
    """

    load: Float[Array, "*v E"]
    layers: tuple[int, ...] = field(metadata={"static": True})
    routers: tuple[int, ...] = field(metadata={"static": True})
    experts: tuple[int, ...] = field(metadata={"static": True})
    tokens: tuple[int, ...] = field(metadata={"static": True})
    selected: tuple[int, ...] = field(metadata={"static": True})
    paths: tuple[tuple[str, ...], ...] = field(metadata={"static": True})
    paths_of_experts: tuple[tuple[str, ...], ...] = field(metadata={"static": True})


class HeadRecord(NamedTuple):
    """Numbers of the heads of one attention; of a run (k, heads)."""

    largest_logit: Float[Array, "*k heads"]
    entropy: Float[Array, "*k heads"]
    most_entropy: Float[Array, "*k heads"]

    @classmethod
    def of(cls, logits: Logits, dtype: jnp.dtype) -> "HeadRecord":
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
        keys = jnp.sum(seen, axis=-1)
        choice = keys > 1
        rows = jnp.sum(choice, axis=-1).astype(dtype)

        def mean_of(v: Array) -> Array:
            return jnp.sum(jnp.where(choice, v, 0), axis=-1) / rows

        most = mean_of(jnp.log(keys.astype(dtype)))
        return cls(jnp.max(largest, axis=(1, 2)), mean_of(entropy), most)


class RecognisedRecord(NamedTuple):
    """The record of what is recognised in a layer: of each attention its heads, of each router."""

    heads: tuple[HeadRecord, ...]
    loads: tuple[Float[Array, "*k experts"], ...]

    @classmethod
    def of(cls, numbers: LayerNumbers, dtype: jnp.dtype) -> "RecognisedRecord":
        """Return that of the numbers of a layer."""
        heads = tuple(HeadRecord.of(logits, dtype) for logits in numbers.logits)
        loads = tuple(at_least_float32(load).astype(dtype) for load in numbers.loads)
        return cls(heads, loads)


MOST = 6  # layers that a note counts


def unread_notes(unread: Iterable[tuple[int, str]], names: Sequence[str]) -> tuple[str, ...]:
    """Say of kernels and loops that may be attention that their logits are not read."""
    layers: dict[str, dict[int, None]] = {}
    for layer, name in unread:
        layers.setdefault(name, {})[layer] = None
    return tuple(
        f"{_some_layers(list(on), names)} may attend in {name}, whose logits are not read: "
        "it is not in flow.attention_table()."
        for name, on in layers.items()
    )


def _some_layers(layers: list[int], names: Sequence[str]) -> str:
    """Return layers in words: Layer h.3, or Layers h.1, h.2, h.4 and more."""
    known = labels(names)
    some = ", ".join(clean(known[layer - 1]) for layer in layers[:MOST])
    return f"Layer{'s' * (len(layers) > 1)} {some}{' and more' * (len(layers) > MOST)}"


def recognised_of(
    anatomies: Sequence[Anatomy],
    records: Sequence[Sequence[RecognisedRecord]],
    paths: Sequence[Sequence[str]],
) -> dict[str, Any]:
    """Return the fields of a flow on attention and routers, None without any."""
    heads = joined([[h for record in entry for h in record.heads] for entry in records])
    loads = joined([[v for record in entry for v in record.loads] for entry in records])
    return fields_of(heads, loads, [*zip(count(1), anatomies, paths)])


def fields_of(
    heads: HeadRecord | None,
    loads: Float[Array, " E"] | None,
    layers: Sequence[tuple[int, Anatomy, Sequence[str]]],
) -> dict[str, Any]:
    """Return the fields of a flow: numbers of all heads and experts in a row, and their layers."""
    fields: dict[str, Any] = {"attention": None, "routers": None}

    def named(paths: Sequence[str], arrays: Sequence[int]) -> tuple[str, ...]:
        return tuple(filter(None, (paths[i] for i in arrays)))

    if heads is not None:
        of_heads = [
            (layer, number, head, named(paths, attention.arrays))
            for layer, anatomy, paths in layers
            for number, attention in enumerate(anatomy.attentions, 1)
            for head in range(1, attention.heads + 1)
        ]
        fields["attention"] = AttentionHeads(*heads, *zip(*of_heads, strict=True))
    if loads is not None:
        of_experts = [
            (
                *(layer, number, expert, router.tokens, router.selected),
                *(named(paths, arrays) for arrays in (router.arrays, router.experts)),
            )
            for layer, anatomy, paths in layers
            for number, router in enumerate(anatomy.routers, 1)
            for expert in range(1, router.total + 1)
        ]
        fields["routers"] = Routers(loads, *zip(*of_experts, strict=True))
    return fields


def joined(of_entries: Sequence[Sequence[Any]]) -> Any:
    """Return the records of all entries in the order of layers; None without any."""

    def beside(*v: Array) -> Array:
        return jnp.concatenate([*map(whole, v)], axis=-1).ravel()

    parts = [jax.tree.map(beside, *part) for part in of_entries if part]
    return jax.tree.map(lambda *v: jnp.concatenate(v), *parts) if parts else None
