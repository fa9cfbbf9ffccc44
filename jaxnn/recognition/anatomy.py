"""Anatomy: what is recognised in the program of a layer, and its numbers for one state."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
from jaxtyping import Array, PyTree

from ..jaxpr.interpreter import Jaxpr
from .attention import Attention, Logits, attentions_of, logits_of, unread_of
from .routers import Router, load_of, routers_of
from .skips import Skip, skip_of
from .step_graph import Graph


class Numbers(NamedTuple):
    """Numbers of what is recognised: logits of attentions, and shares of the experts of routers."""

    logits: tuple[Logits, ...] = ()
    loads: tuple[Array, ...] = ()


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The attention, the routers and the skip connection in the program of a layer.

    graph: the program; None of a layer of which nothing is to be recognised.
    attentions, routers: in their order.
    unread: the names of loops and kernels that may be attention, of which no numbers are read.
    skip: the one around the layer; None without one.
    """

    graph: Graph | None = None
    attentions: tuple[Attention, ...] = ()
    routers: tuple[Router, ...] = ()
    unread: tuple[str, ...] = ()
    skip: Skip | None = None

    @classmethod
    def of(cls, closed: Jaxpr, state: PyTree) -> "Anatomy":
        """Return that of a jaxpr, (arrays, state) -> state."""
        graph = Graph.of(closed, state)
        unread = dict.fromkeys(unread_of(graph))
        recognised = tuple(attentions_of(graph)), tuple(routers_of(graph))
        return cls(graph, *recognised, tuple(unread), skip_of(graph, state))

    def numbers(self, arrays: PyTree, state: PyTree) -> Numbers:
        """Return the numbers of all for the arrays and the state of the layer."""
        if self.graph is None:
            return Numbers()
        flat = self.graph.flat
        leaves = jax.tree.leaves((arrays, state))
        known = flat.constants | dict(zip(flat.inputs, leaves, strict=True))
        return Numbers(
            tuple(logits_of(self.graph, part, known) for part in self.attentions),
            tuple(load_of(self.graph, part, known) for part in self.routers),
        )
