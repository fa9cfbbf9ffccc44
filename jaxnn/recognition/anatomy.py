"""Anatomy: what is recognised in the program of a layer, and its numbers for one state."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, PyTree

from ..arrays.spread import ArrayOrType, spec_of, varying
from ..jaxpr.interpreter import Jaxpr
from ..jaxpr.program import behind, evaluated
from .attention import Attention, Logits, attentions_of, logits_of, unread_of
from .layer_arrays import added_arrays_of
from .routers import Router, load_of, routers_of
from .skips import Skip, skip_of
from .step_graph import Graph


class LayerNumbers(NamedTuple):
    """Numbers of what is recognised: logits of attentions, and shares of the experts of routers."""

    logits: tuple[Logits, ...] = ()
    loads: tuple[Array, ...] = ()


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The attention, the routers, the skip connection and the biases in the program of a layer."""

    graph: Graph | None = None  # the program; None of a layer of which nothing is to be recognised
    attentions: tuple[Attention, ...] = ()
    routers: tuple[Router, ...] = ()
    # Names of loops and kernels that may be attention, of which no numbers are read.
    unread: tuple[str, ...] = ()
    skip: Skip | None = None  # the one around the layer
    added: tuple[int, ...] = ()  # the numbers of the arrays of several axes that are biases
    structure: Any = None  # of the state that comes out; None if it is not known

    @classmethod
    def of(cls, closed: Jaxpr, state: PyTree, out: PyTree = None) -> "Anatomy":
        """Return that of a jaxpr, (arrays, state) -> state, given what goes in and comes out."""
        graph = Graph.of(closed, state)
        return replace(
            cls.of_graph(graph),
            skip=skip_of(graph, state),
            added=tuple(added_arrays_of(graph)),
            structure=None if out is None else jax.tree.structure(out),
        )

    @classmethod
    def of_graph(cls, graph: Graph) -> "Anatomy":
        """Return that of a program, without what is told of its state."""
        unread = dict.fromkeys(unread_of(graph))
        return cls(graph, tuple(attentions_of(graph)), tuple(routers_of(graph)), tuple(unread))

    @cached_property
    def logits(self) -> tuple[int, ...]:
        """The values that are logits; none if some are not on the outside of the program."""
        outer = None if self.graph is None or self.structure is None else self.graph.flat.outer
        values = {b.softmax.logits for attention in self.attentions for b in attention.blocks}
        made = {v for step in outer or () for v in step.outputs}
        return tuple(sorted(values)) if values <= made else ()

    def call(
        self, f: Callable[[Any, Any], Any], arrays: PyTree, state: PyTree
    ) -> tuple[Any, dict[int, Any]]:
        """Return f(arrays, state) of the layer's function, and the logits that it computes."""
        given = jax.tree.leaves((arrays, state))
        if not self.logits or self.graph is None:
            return f(arrays, state), {}
        flat = self.graph.flat
        if list(map(_kind, given)) != [_kind(flat.types[v]) for v in flat.inputs]:
            return f(arrays, state), {}
        # Computed apart they would cost products a second time: XLA does not see that they are
        # equal where a reverse rule has other layouts.
        wanted = [*flat.outputs, *self.logits]
        steps, _ = behind(wanted, flat.outer or [])
        values = evaluated(
            wanted, steps, flat.constants | dict(zip(flat.inputs, given, strict=True))
        )
        count = len(flat.outputs)
        out = jax.tree.unflatten(self.structure, values[:count])
        return out, dict(zip(self.logits, values[count:], strict=True))

    def numbers(
        self, arrays: PyTree, state: PyTree, logits: dict[int, Any] | None = None
    ) -> LayerNumbers:
        """Return the numbers of all for the arrays and the state of the layer."""
        if self.graph is None:
            return LayerNumbers()
        flat = self.graph.flat
        leaves = jax.tree.leaves((arrays, state))
        return self.read(dict(zip(flat.inputs, leaves, strict=True)) | (logits or {}))

    def read(self, known: dict[int, Any]) -> LayerNumbers:
        """Return the numbers of all from values of the program that are known."""
        if self.graph is None:
            return LayerNumbers()
        known = self.graph.flat.constants | known
        return LayerNumbers(
            tuple(logits_of(self.graph, part, known) for part in self.attentions),
            tuple(load_of(self.graph, part, known) for part in self.routers),
        )


def _kind(v: ArrayOrType) -> tuple[Any, ...]:
    return v.shape, v.dtype, spec_of(v), varying(v)
