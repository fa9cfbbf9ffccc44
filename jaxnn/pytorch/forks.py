r"""PyTorch: forks on the way from gate to gate, where a path leads off to parameters or the input.

    gate -> node -> fork -> node -> gate below
                      \-> no state lies below here

Asked for a parameter that is used below a gate too, as in each step of a recurrent network, torch
would go all the way down from each gate. So a fork is called by itself, with what has come to it.
"""

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

from ..graph.steps import below_first
from ..interrupts import registered, undivided
from .autograd_gates import Survey, nodes_below
from .hooks import CutState
from .types import GradientEdge, Node, Tensor, torch

Pairs = list[tuple[GradientEdge, Tensor]]  # a place in torch's graph, and the gradient there


class Fork(NamedTuple):
    """A node on the way between two gates."""

    node: Node
    off: tuple[int, ...]  # the numbers of its edges below which no state lies


def forks_of(
    top: GradientEdge, states: list[CutState], survey: Survey, gates: list[int]
) -> dict[int, list[Fork]]:
    """Return the forks between each gate, from the top down, and the next, by the upper one."""
    edges = {gates[0]: {tuple(top[:2])}}
    for at, state in enumerate(states, 1):
        edges[at] = {state.parts[j].edge for j in survey.parts[at - 1]}
    ends = {edge for at in range(1, len(states) + 1) for edge in edges[at]}
    leading = _leading(top[0], ends)
    custom: set[int] = set().union(*survey.functions.values())  # layers with such a function
    # Left out are the lowest gate, and those above a function of the user's own, which cannot be
    # called by itself.
    return {
        upper: list(_between(edges[upper], edges[lower], leading))
        for upper, lower in pairwise(gates[:-1])
        if custom.isdisjoint(range(lower + 1, upper + 1))
    }


def _leading(top: Node, ends: set[Any]) -> set[Any]:
    """Return the nodes from which a path leads to an end."""
    leading = set[Any]()
    for node in below_first([top], nodes_below):
        if any(edge in ends or edge[0] in leading for edge in node.next_functions):
            leading.add(node)
    return leading


def _between(upper: set[Any], lower: set[Any], leading: set[Any]) -> Iterator[Fork]:
    """Yield the forks on the way from some edges to others."""
    seen, waiting = set[Any](), [edge[0] for edge in upper - lower]
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        off = []
        for i, edge in enumerate(node.next_functions):
            if edge[0] is None or edge in lower:
                continue
            if edge[0] in leading:
                waiting.append(edge[0])
            else:  # also a state below which there is none: torch stops there
                off.append(i)
        if off:
            yield Fork(node, tuple(off))


@undivided
def leading_off(forks: list[Fork]) -> Iterator[Pairs]:
    """Give the gradients at the edges that lead off, once a pass has come through the forks."""
    come: dict[Any, Any] = {}
    # Once torch's own hooks on tensors, such as the user's, have acted.
    hooks = (partial(v.register_prehook, partial(come.__setitem__, v)) for v, _ in forks)
    pairs: Pairs = []
    with registered(hooks):
        yield pairs
    with torch.no_grad():
        for node, off in forks:
            if any(grad is not None for grad in come.get(node, ())):
                grads = node(*come[node])
                several = grads if isinstance(grads, tuple) else (grads,)
                pairs += [_pair(node, i, several[i]) for i in off if several[i] is not None]


def _pair(node: Node, i: int, grad: Tensor) -> tuple[GradientEdge, Tensor]:
    """Return an edge, and the gradient there in its shape, which a node alone need not give it."""
    edge = torch.autograd.graph.GradientEdge(*node.next_functions[i])
    shape = edge.node._input_metadata[edge.output_nr].shape
    return edge, grad if grad.shape == shape else grad.sum_to_size(shape)
