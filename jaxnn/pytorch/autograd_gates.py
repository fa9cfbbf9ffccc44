"""PyTorch: where the gradient passes, read from torch's graph alone, whatever the numbers are.

A gate is a state that everything passes through: from gate to gate a gradient may be scaled, since
all of it is there. At the other states, such as those inside a skip connection, it is recorded and
goes on as it is. What leads around a state to the input or to parameters is added up.
"""

from collections import Counter
from typing import Any, NamedTuple

from ..graph.steps import below_first
from .hooks import CutState
from .types import GradientEdge, Node


class Survey(NamedTuple):
    """States and parameters in torch's graph; states count from 1, the input is 0, the top L+1."""

    reached: list[bool]  # for each state whether the gradient comes to it
    # For each state the numbers of those of its parts that belong to it.
    parts: list[tuple[int, ...]]
    gates: list[bool]  # for each state whether it is one
    # (state, one below it) that a path with no other state between joins.
    links: set[tuple[int, int]]
    parameters: dict[int, set[int]]  # by the id of each leaf the layers that it is used in
    # Nodes of the user's own autograd.Function, each with its layers.
    functions: dict[Any, set[int]]
    uses: Counter[int]  # of each leaf the number of nodes that take it

    def own_parts(self, states: list[CutState]) -> list[CutState]:
        """Return the states with those of their parts that belong to them."""
        pairs = zip(states, self.parts, strict=True)
        return [state._replace(parts=tuple(state.parts[j] for j in on)) for state, on in pairs]

    def times(self, leaf: int) -> int:
        """Return how many layers share a leaf; paths around states lead others to it too."""
        count = len(self.parameters.get(leaf, ()))
        return count if all(self.gates) else min(count, self.uses[leaf] or 1)


def survey(top: GradientEdge, states: list[CutState], bottom: GradientEdge | None) -> Survey:
    """Survey the graph below the edge of a loss, or of an output with a cotangent."""
    main: list[tuple[int, ...]] = [(0,)] * len(states)
    found = _walked(top, states, main, bottom)
    needed = _needed(found, states)
    if not needed:
        return found
    joined = [
        (0, *(j for j in range(1, len(state.parts)) if (state.kind, j) in needed))
        for state in states
    ]
    with_parts = _walked(top, states, joined, bottom)
    return with_parts if sum(with_parts.gates) > sum(found.gates) else found


def _needed(found: Survey, states: list[CutState]) -> set[tuple[type, int]]:
    """Return the parts, by class and number, that a path goes through around the first part."""
    # They belong to a state of each call of that class, so that all states are alike: an LSTMCell's
    # c goes around its h at every step but the first.
    return {
        (state.kind, j)
        for at, state in enumerate(states)
        if found.reached[at] and not found.gates[at]
        for j in range(1, len(state.parts))
        if state.parts[j].shape[:1] == state.parts[0].shape[:1]
    }


def _walked(
    top: GradientEdge,
    states: list[CutState],
    parts: list[tuple[int, ...]],
    bottom: GradientEdge | None,
) -> Survey:
    count = len(states)
    places: dict[Any, list[int]] = {}  # a cut may return what comes in, so that edges are shared
    for at in range(count, 0, -1):
        for j in parts[at - 1]:
            places.setdefault(states[at - 1].parts[j].edge, []).append(at)
    if bottom is not None:
        places.setdefault(tuple(bottom[:2]), []).append(0)
    below = _Below(places)
    reached = [False] * (count + 1) + [True]
    links: set[tuple[int, int]] = set()
    parameters: dict[int, set[int]] = {}
    functions: dict[Any, set[int]] = {}
    # From the top down: what is reached from a state is all known before that one's turn comes,
    # since paths lead to states that were made before.
    for above in range(count + 1, 0, -1):
        if not reached[above]:
            continue
        if above > count:
            going = below.first([tuple(top[:2])])
        else:
            for j in parts[above - 1]:
                node = states[above - 1].parts[j].edge[0]
                if is_own_function(node):
                    functions.setdefault(node, set()).add(above)
            going = below.first(_next_edges(states[above - 1], parts[above - 1]))
        seen: set[Any] = set()
        while going:
            edge = going.pop()
            if edge in seen:
                continue
            seen.add(edge)
            at = above
            # States that share an edge are passed one after the other, the later one first.
            for state in places.get(edge, ()):
                if state < at:
                    links.add((at, state))
                    reached[state] = True
                    at = state
            if at == above and hasattr(edge[0], "variable"):
                parameters.setdefault(id(edge[0].variable), set()).add(above)
            elif at == above:  # a function, a state that is this one again, or one above it
                if is_own_function(edge[0]):
                    functions.setdefault(edge[0], set()).add(above)
                going += below.first(edge[0].next_functions)
    gates = [reached[at] and _passed(at, links) for at in range(1, count + 1)]
    return Survey(reached[1 : count + 1], parts, gates, links, parameters, functions, below.uses)


def nodes_below(node: Node) -> list[Node]:
    """Return the nodes that a node hands its gradient to."""
    return [below for below, _ in node.next_functions if below is not None]


def is_own_function(node: Node) -> bool:
    """Tell a node of a user's own autograd.Function, whose backward may be anything."""
    return hasattr(node, "_forward_cls")


def _next_edges(state: CutState, parts: tuple[int, ...]) -> list[Any]:
    return [edge for j in parts for edge in state.parts[j].edge[0].next_functions]


def _passed(at: int, links: set[tuple[int, int]]) -> bool:
    """Tell whether no path leads around a state to one below it."""
    return not any(above > at > below > 0 for above, below in links)


class _Below:
    """The edges of states and leaves that come first below each node, as bits of an integer."""

    def __init__(self, places: dict[Any, list[int]]) -> None:
        self.places = places
        self.ends: list[Any] = []
        self.numbers: dict[Any, int] = {}
        self.of_node: dict[Any, int] = {}
        self.uses = Counter[int]()

    def first(self, edges: Any) -> list[Any]:
        """Return the edges of states and leaves that paths through these edges meet first."""
        bits = 0
        for edge in edges:
            if edge[0] is not None:
                bits |= self._bits(edge)
        return [end for i, end in enumerate(self.ends) if bits >> i & 1]

    def _bits(self, edge: GradientEdge) -> int:
        if self._is_end(edge):
            return self._bit(edge)
        for node in below_first([edge[0]], self._inner, self.of_node):
            bits = 0
            for below in node.next_functions:
                if below[0] is not None:
                    bits |= self._bit(below) if self._is_end(below) else self.of_node[below[0]]
            self.of_node[node] = bits
        return self.of_node[edge[0]]

    def _inner(self, node: Node) -> list[Node]:
        edges = node.next_functions
        return [edge[0] for edge in edges if edge[0] is not None and not self._is_end(edge)]

    def _is_end(self, edge: GradientEdge) -> bool:
        node = edge[0]
        return edge in self.places or hasattr(node, "variable") or is_own_function(node)

    def _bit(self, edge: GradientEdge) -> int:
        """Return the bit of an end that one more node leads to."""
        if hasattr(edge[0], "variable"):
            self.uses[id(edge[0].variable)] += 1
        if edge not in self.numbers:
            self.numbers[edge] = len(self.ends)
            self.ends.append(edge)
        return 1 << self.numbers[edge]
