"""Arrays in the program of a layer that are no weights: of norms in eval mode, held ones, biases.

(x - mean) / √(variance + ε)    mean and variance are arrays of the layer, not made of x
stop_gradient(array)            an array that is to stay as it was drawn
y + array                       a bias, of as many axes as it may have
"""

from collections.abc import Collection, Iterator

from ..jaxpr.primitives import CASTS, DIFFERENCE, MOVE, ROOTS, SHAPES, STOPPED, SUMS, names
from ..jaxpr.program import TracedStep
from .step_graph import Graph

KEEPING = CASTS | SHAPES  # what leaves an array what it is
MOVING = names(MOVE)  # what takes a part of it, or stacks several


def running_norms_of(graph: Graph) -> Iterator[tuple[int, int]]:
    """Yield the numbers of the arrays with mean and variance of each norm, in their order."""
    means = [v for v in graph.numbers if _ends_in(graph, v, {DIFFERENCE}, KEEPING)]
    for v, number in graph.numbers.items():
        if _ends_in(graph, v, ROOTS, KEEPING | SUMS):
            shape = graph.flat.shape(v)
            alike = [mean for mean in means if mean != v and graph.flat.shape(mean) == shape]
            if alike:
                means.remove(alike[0])
                yield graph.numbers[alike[0]], number


def stopped_arrays_of(graph: Graph) -> Iterator[int]:
    """Yield the numbers of the arrays that nothing but `stop_gradient` takes."""
    for v, number in graph.numbers.items():
        taking = {step.eqn.primitive.name for step in graph.flat.steps if v in step.inputs}
        if taking == {STOPPED} and v not in graph.flat.outputs:
            yield number


def added_arrays_of(graph: Graph, are_vectors: bool = False) -> Iterator[int]:
    """Yield the numbers of the arrays of several axes, or the vectors, that are biases alone."""

    def keeps(step: TracedStep) -> bool:
        return step.eqn.primitive.name in KEEPING | MOVING

    def adds(step: TracedStep) -> bool:
        return step.eqn.primitive.name in SUMS | {DIFFERENCE} and graph.depends(step.outputs[0])

    for v, number in graph.numbers.items():
        if (len(graph.flat.shape(v)) == 1) if are_vectors else (len(graph.flat.shape(v)) > 1):
            ends = [step for step in graph.above(v, keeps) if not keeps(step)]
            # So are the biases of attention, of heads and units. An array that is added to another
            # one, as the two of an adapter to the weights that it adapts, is none.
            if ends and all(map(adds, ends)):
                yield number


def _ends_in(graph: Graph, v: int, ends: Collection[str], between: frozenset[str]) -> bool:
    """Tell whether one of some steps takes an array, with no more than others between."""

    def goes_on(step: TracedStep) -> bool:
        return step.eqn.primitive.name in between

    return any(step.eqn.primitive.name in ends for step in graph.above(v, goes_on))
