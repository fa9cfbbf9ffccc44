"""Routers, recognised in the program of a layer: what weighs or selects experts.

    product of the state and a parameter  ->  softmax, sigmoid, top_k  ->  experts

Experts are arrays of three axes or more, the first of which counts them, and which a selection or
the weights of the router meet; or a list: values that weights are multiplied with.
"""

from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.extend.core import primitives
from jaxtyping import Array, Float

from ..jaxpr.axis_kinds import Axis, AxisFactor
from ..jaxpr.interpreter import types_of
from ..jaxpr.primitives import CASTS, JOINED, SHAPES
from ..jaxpr.program import TracedStep
from .step_graph import Graph, passes

SELECTING = (primitives.top_k_p, primitives.argmax_p)


class Router(NamedTuple):
    """A router."""

    # The numbers of the arrays of the layer that the state is a product with.
    arrays: tuple[int, ...]
    experts: tuple[int, ...]  # those of its experts
    total: int  # the number of experts
    tokens: int  # the number of times that it routes
    selected: int  # of how many experts each token has some; all without a selection
    value: int  # the numbers of the experts that are selected, or the weights of all
    axis: int | None  # of the experts in these weights; None of a selection

    def load(self, value: Array) -> Float[Array, " experts"]:
        """Return the share of each expert in what is selected, or in the weights."""
        if self.axis is None:
            numbers = jnp.arange(self.total, dtype=value.dtype)
            expert = jnp.expand_dims(numbers, range(1, value.ndim + 1))
            return jnp.mean(value[None] == expert, axis=range(1, value.ndim + 1))
        weights = jnp.moveaxis(value, self.axis, -1)
        shares = weights / jnp.sum(weights, axis=-1, keepdims=True)
        return jnp.mean(shares, axis=range(value.ndim - 1))


def routers_of(graph: Graph) -> Iterator[Router]:
    """Yield all routers of a layer, in their order."""
    taken = ((v, i) for v, i in graph.numbers.items() if v in graph.taken)
    shapes = {i: graph.flat.types[v].shape for v, i in taken}
    stacks = {i: shape[0] for i, shape in shapes.items() if len(shape) > 2}
    matrices = sum(len(shape) > 1 for shape in shapes.values())
    for step in graph.flat.steps:
        if step.eqn.primitive is not primitives.dot_general_p:
            continue
        weights = [v for v in step.inputs if not graph.depends(v)]
        (out,) = step.outputs
        if len(weights) == 1 and graph.depends(out):
            axes = graph.axes.known[out]
            outputs = {v for axis in graph.axes.others[weights[0]] for v in axis}
            for axis in axes:
                if len(axis) == 1 and axis[0] in outputs:
                    experts = tuple(i for i, size in stacks.items() if size == axis[0].size)
                    if experts or axis[0].size < matrices:
                        yield from _router(graph, weights[0], out, axis[0], experts)


def _router(
    graph: Graph, weight: int, out: int, expert: AxisFactor, stacks: tuple[int, ...]
) -> Iterator[Router]:
    """Yield the router whose products are `out`, if it is one; stacks have as many entries."""
    arrays, tokens = graph.arrays([weight]), prod(graph.flat.types[out].shape) // expert.size
    softmaxes = {softmax.powers: softmax for softmax in graph.softmaxes()}
    # The first selection along the axis of experts decides. Without one it is the first softmax or
    # sigmoid along that axis, if its weights meet experts: those of a head over classes do not.
    weighted: tuple[int, int] | None = None
    for step in _steps_above(graph, out):
        (v, *_) = step.outputs
        (axis, *_) = (*_places(graph, step.inputs[0], expert), None)
        if axis is None:
            continue
        if step.eqn.primitive in SELECTING and _along(step) == axis:
            value = step.outputs[-1]
            selected = graph.flat.types[value].shape[axis] if len(step.outputs) > 1 else 1
            named = next((arrays for count, arrays in graph.lists if count == expert.size), ())
            experts = stacks or _listed(graph, out, expert.size) or named
            if experts:
                yield Router(arrays, experts, expert.size, tokens, selected, value, None)
            return
        is_softmax = v in softmaxes and softmaxes[v].keys == (axis,)
        if weighted is None and (is_softmax or step.eqn.primitive is primitives.logistic_p):
            weighted = v, axis
    same = graph.axes.are_same(expert)
    met = [v for v, axes in graph.axes.others.items() if v != weight and _is_stack(axes, same)]
    total = expert.size
    if weighted is not None:
        experts = graph.arrays(met) if met else _listed(graph, out, total)
        if experts:
            yield Router(arrays, experts, total, tokens, total, *weighted)


def _listed(graph: Graph, out: int, count: int) -> tuple[int, ...]:
    """Return the arrays of experts that are a list of so many; none without one."""
    before, waiting, seen = graph.made_of[out], [out], {out}
    experts = dict[frozenset[int], None]()
    for u in waiting:
        for step in graph.taken.get(u, ()):
            # Each makes a value with arrays of its own that is multiplied by what comes from the
            # router, by itself or stacked with the others.
            others = [v for v in step.inputs if v not in seen and graph.depends(v)]
            new = [v for v in others if graph.made_of.get(v, before) - before]
            for piece in (w for v in new for w in _pieces(graph, v, count)):
                experts[graph.made_of.get(piece, frozenset()) - before] = None
            if not new and not step.is_product:
                waiting += [w for w in step.outputs if w not in seen]
                seen.update(step.outputs)
    shapes: dict[Any, list[frozenset[int]]] = {}
    for arrays in experts:
        types = (graph.flat.types[graph.flat.inputs[i]].shape for i in sorted(arrays))
        shapes.setdefault(tuple(types), []).append(arrays)
    for several in shapes.values():
        together = frozenset[int]().union(*several)
        if len(several) == count and len(together) == sum(map(len, several)) > 0:
            return tuple(sorted(together))
    return ()


def _pieces(graph: Graph, v: int, count: int) -> tuple[int, ...]:
    """Return the values that one is a stack of, if it is one of so many; else itself."""
    made = graph.made.get(v)
    while made is not None and made.eqn.primitive.name in CASTS | SHAPES:
        made = graph.made.get(made.inputs[0])
    if made is None or made.eqn.primitive.name not in JOINED:
        return (v,)
    return made.inputs if len(made.inputs) == count else (v,)


def _is_stack(axes: tuple[Axis, ...], same: set[AxisFactor]) -> bool:
    return len(axes) > 2 and len(axes[0]) == 1 and axes[0][0] in same


def _along(step: TracedStep) -> int:
    """Return the axis along which a step selects."""
    params, last = step.eqn.params, len(types_of(step.eqn.invars)[0].shape) - 1
    (axis,) = params.get("axes", (params.get("axis", last),))
    return int(axis)


def _places(graph: Graph, v: int, factor: AxisFactor) -> list[int]:
    """Return the axes of a value that count the same as a factor."""
    same = graph.axes.are_same(factor)
    axes = graph.axes.known.get(v, ())
    return [i for i, axis in enumerate(axes) if len(axis) == 1 and axis[0] in same]


def _steps_above(graph: Graph, v: int) -> list[TracedStep]:
    """Return the steps from a value to the next products or selections, and these selections."""
    steps = {id(step): step for step in graph.above(v, passes)}
    return [s for s in steps.values() if passes(s) or s.eqn.primitive in SELECTING]


def load_of(graph: Graph, router: Router, known: dict[int, Any]) -> Float[Array, " experts"]:
    """Return the loads of a router; known are the constants and inputs of the program."""
    return router.load(graph.value(router.value, known))
