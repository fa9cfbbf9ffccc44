"""Branches: where a layer adds something to a state, recognised in its program.

v = u + branch(u)       the state itself, or what a layer has made of it
"""

from collections.abc import Iterator
from typing import Any

import jax
from jax.extend.core import primitives

from ..arrays.rows import is_float
from ..chain.chain import Chain, Link
from ..jaxpr.primitives import CASTS, MULTIPLYING, SHAPES, SUMS
from ..jaxpr.program import Flat, TracedStep
from ..network.params import is_run
from .draws import Axes

NORMS = ("rsqrt", "sqrt")  # which a norm divides by

Tree = Any  # of arrays, or of their types
TypedLink = tuple[list[int], Link, Tree, Tree]  # layers, counted from 0, with arrays and state


def links(net: Chain, params: Tree, xs: Tree) -> Iterator[TypedLink]:
    """Yield each different layer of a chain: the layers, from 0, its arrays and state as types."""
    state, first = jax.eval_shape(net.state, jax.tree.map(jax.numpy.asarray, xs)), 0
    lowered = net.for_batch(state)
    for pattern, k, entry in zip(lowered.kinds, lowered.lengths, params, strict=True):
        one = jax.eval_shape(lambda e: e.at(0), entry) if is_run(entry) else entry
        p = len(pattern.links)
        for j, (link, arrays) in enumerate(zip(pattern.links, one.arrays, strict=True)):
            if not pattern.between:
                yield [first + j + p * i for i in range(max(k, 1))], link, arrays, state
            state = jax.eval_shape(link, arrays, state)
        first += 0 if pattern.between else p * max(k, 1)


def of_link(link: Link, arrays: Tree, state: Tree) -> list[set[int]]:
    """Return the arrays of the last product of each branch: the numbers of weights and bias."""
    return [arrays for _, _, arrays in _skips(*_above(link, arrays, state))]


def is_post_norm(link: Link, arrays: Tree, state: Tree) -> bool:
    """Tell whether a norm follows what a branch adds: below the first sum, or above the last."""
    flat, inputs, above = _above(link, arrays, state)
    skips = list(_skips(flat, inputs, above))
    norms = [v for step in flat.steps if step.eqn.primitive.name in NORMS for v in step.outputs]
    if not skips:
        return False
    (_, first, _), (last, _, _) = skips[0], skips[-1]
    return any(v in above[first] or last in above[v] for v in norms)


def _above(link: Link, arrays: Tree, state: Tree) -> tuple[Flat, list[int], dict[int, set[int]]]:
    """Return the program of a layer, its arrays, and of each value those that it is made of."""
    flat = Flat(jax.make_jaxpr(link)(arrays, state))
    inputs = flat.inputs[: len(jax.tree.leaves(arrays))]
    return flat, inputs, _needed(flat, set(inputs))


def _skips(
    flat: Flat, inputs: list[int], above: dict[int, set[int]]
) -> Iterator[tuple[int, int, set[int]]]:
    """Yield of each sum that is a skip its value, what it adds to, and the arrays of a branch."""
    makers = {v: step for step in flat.steps for v in step.outputs}
    numbers = {v: i for i, v in enumerate(inputs)}
    for step in flat.steps:
        if step.eqn.primitive.name not in SUMS or not is_float(flat.types[step.outputs[0]]):
            continue
        for u, v in (step.inputs, step.inputs[::-1]):
            # u + v is a skip if v is made of u: v is then what the branch adds to the state u.
            # A product lies between the two terms, and what is added on the way is its bias.
            last = _last_product(v, u, makers, numbers) if u in above[v] else set()
            if last:
                yield step.outputs[0], u, last
                break


def _needed(flat: Flat, apart: set[int]) -> dict[int, set[int]]:
    """Return for each value those that it is made of, arrays apart."""
    above: dict[int, set[int]] = {v: set() for v in range(len(flat.types))}
    for step in flat.steps:
        made_of = {u for u in step.inputs if u not in apart}
        made_of.update(*(above[u] for u in step.inputs))
        for v in step.outputs:
            above[v] = made_of
    return above


def _last_product(
    v: int, u: int, makers: dict[int, TracedStep], numbers: dict[int, int]
) -> set[int]:
    """Return the numbers of the arrays of the last product before v and after u, and its bias."""
    step = makers.get(v)
    if step is None or v == u:
        return set()
    if step.eqn.primitive.name in MULTIPLYING:
        return {i for w in step.inputs for i in _array(w, makers, numbers)}
    # Down through steps that are no product, and on the way what is added of arrays: the bias.
    of_arrays = [(w, _array(w, makers, numbers)) for w in step.inputs]
    bias: set[int] = set()
    if step.eqn.primitive.name in SUMS:
        bias = bias.union(*(arrays for _, arrays in of_arrays))
    for w, arrays in of_arrays:
        below = set() if arrays else _last_product(w, u, makers, numbers)
        if below:
            return bias | below
    return set()


def _array(v: int, makers: dict[int, TracedStep], numbers: dict[int, int]) -> set[int]:
    """Return the number of the array that a value is, but for its form; empty if it is none."""
    while v not in numbers:
        step = makers.get(v)
        if step is None or step.eqn.primitive.name not in CASTS | SHAPES:
            return set()
        v = step.inputs[0]
    return {numbers[v]}


def kernels_of(link: Link, arrays: Tree, state: Tree) -> dict[int, Axes]:
    """Return the axes of inputs and outputs of each kernel of a layer, by its number."""
    flat = Flat(jax.make_jaxpr(link)(arrays, state))
    numbers = {v: i for i, v in enumerate(flat.inputs[: len(jax.tree.leaves(arrays))])}
    axes = {}
    for step in flat.steps:
        eqn = step.eqn
        if eqn.primitive is not primitives.conv_general_dilated_p:
            continue
        # Units of a grouped convolution do not all meet.
        grouped = eqn.params["feature_group_count"] * eqn.params["batch_group_count"] > 1
        if step.inputs[1] in numbers and not grouped:
            out, into, *_ = eqn.params["dimension_numbers"].rhs_spec
            axes[numbers[step.inputs[1]]] = into, out
    return axes
