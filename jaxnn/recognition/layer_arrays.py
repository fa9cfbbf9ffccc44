"""Arrays in the program of a layer that are no weights: of norms in eval mode, held ones, biases.

(x - mean) / √(variance + ε)    mean and variance are arrays of the layer, not made of x
stop_gradient(array)            an array that is to stay as it was drawn
y + array                       a bias, of as many axes as it may have
"""

from collections.abc import Iterator

from ..jaxpr.primitives import CASTS, MOVE, SHAPES, SUMS, names
from ..jaxpr.program import TracedStep
from .step_graph import Graph

ROOTS = {"rsqrt", "sqrt"}
KEEPING = CASTS | SHAPES  # what leaves an array what it is
MOVING = names(MOVE)  # what takes a part of it, or stacks several


def running_norms_of(graph: Graph) -> Iterator[tuple[int, int]]:
    """Yield the numbers of the arrays with mean and variance of each norm, in their order."""
    arrays = graph.flat.inputs[: len(graph.flat.inputs) - len(graph.states)]
    means = [i for i, v in enumerate(arrays) if _ends_in(graph, v, {"sub"}, KEEPING)]
    for i, v in enumerate(arrays):
        if _ends_in(graph, v, ROOTS, KEEPING | SUMS):
            shape = graph.flat.shape(v)
            alike = [m for m in means if m != i and graph.flat.shape(arrays[m]) == shape]
            if alike:
                means.remove(alike[0])
                yield alike[0], i


def stopped_arrays_of(graph: Graph) -> Iterator[int]:
    """Yield the numbers of the arrays that nothing but `stop_gradient` takes."""
    arrays = graph.flat.inputs[: len(graph.flat.inputs) - len(graph.states)]
    for i, v in enumerate(arrays):
        taking = {step.eqn.primitive.name for step in graph.flat.steps if v in step.inputs}
        if taking == {"stop_gradient"} and v not in graph.flat.outputs:
            yield i


def added_arrays_of(graph: Graph) -> Iterator[int]:
    """Yield the numbers of the arrays of several axes that are biases alone."""

    def keeps(step: TracedStep) -> bool:
        return step.eqn.primitive.name in KEEPING | MOVING

    def adds(step: TracedStep) -> bool:
        return step.eqn.primitive.name in SUMS | {"sub"} and graph.depends(step.outputs[0])

    arrays = graph.flat.inputs[: len(graph.flat.inputs) - len(graph.states)]
    for i, v in enumerate(arrays):
        if len(graph.flat.shape(v)) > 1:
            ends = [step for step in graph.above(v, keeps) if not keeps(step)]
            # So are the biases of attention, of heads and units. An array that is added to another
            # one, as the two of an adapter to the weights that it adapts, is none.
            if ends and all(map(adds, ends)):
                yield i


def _ends_in(graph: Graph, v: int, ends: set[str], between: frozenset[str]) -> bool:
    """Tell whether one of some steps takes an array, with no more than others between."""

    def goes_on(step: TracedStep) -> bool:
        return step.eqn.primitive.name in between

    return any(step.eqn.primitive.name in ends for step in graph.above(v, goes_on))
