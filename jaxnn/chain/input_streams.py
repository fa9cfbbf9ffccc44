"""Roots: floats of xs that a skip carries over the first block, and so are the state below it.

    h = x + f(x)      x depends on no parameter; yet Δ passes f along x

    x'     a copy of x, a stream: of all steps up to the last one of the block that takes it
    x      a rider, of the steps above, such as a head that takes x once more

What most layers take anew is no root; nor is what meets another stream in the same way first, such
as a mask, a bias of attention or a noise level.
"""

from collections import Counter
from collections.abc import Iterable
from copy import copy
from functools import reduce
from operator import or_
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..jaxpr.primitives import JOINED
from ..jaxpr.program import TracedStep, behind, struct
from .dependence import LONGEST, MOST_IN_A_ROW, TracedNetwork


class Root(NamedTuple):
    """A rider that a skip carries over a block."""

    value: int  # the rider
    last: int  # the number of the last main step of the block that takes it


def with_roots(network: TracedNetwork) -> TracedNetwork:
    """Return a network whose roots are streams; the network itself if it has none."""
    root = _first_root(network)
    while root is not None:
        network = _rooted(network, root)
        root = _first_root(network)
    return network


# Sets of riders are integers, with a bit for each.


def _first_root(network: TracedNetwork) -> Root | None:
    """Return the rider that first meets what products have made of it, if a block ends there."""
    riders = _riders(network)
    made_of, multiplied = {**riders}, dict[int, int]()  # of each float, and of it by products
    values, seen, met = [*riders], 0, Counter[str]()  # those taken before; first with what, and how
    # A rider is carried by a skip if a sum adds it to what products have made of it. One that a
    # sum has added to another stream before, as a mask or a noise level is, is no such rider.
    for i, step in enumerate(network.main):
        taken = _union(riders, step.inputs)
        whole, products = _union(made_of, step.inputs), _union(multiplied, step.inputs)
        others = _union(made_of, network.streams.intersection(step.inputs))
        operation = str(step.eqn.primitive)
        if not network.streams.isdisjoint(step.inputs):
            met[operation] |= taken & ~others & ~seen
        common = taken & products & ~met[operation]
        # Of several that a step takes, the last made.
        if common and _is_sum(network, step):
            last = _last_of_block(network, riders, values[common.bit_length() - 1], i)
            if last is not None:
                return Root(values[common.bit_length() - 1], last)
        seen |= taken
        if network.is_product(step):
            products |= whole
        for v in network.floats(step.outputs):
            made_of[v], multiplied[v] = whole, products
    return None


def _riders(network: TracedNetwork) -> dict[int, int]:
    """Return the riders that are floats, each with the bits of those that it is made of."""
    riders = {v: 1 << i for i, v in enumerate(network.floats(network.xs))}
    for step in network.prologue:
        made_of = _union(riders, step.inputs)
        for v in network.floats(network.dependent.intersection(step.outputs) - network.streams):
            riders[v] = made_of | 1 << len(riders)
    return riders


def _union(sets: dict[int, int], values: Iterable[int]) -> int:
    return reduce(or_, (sets.get(v, 0) for v in values), 0)


def _is_concatenation(step: TracedStep) -> bool:
    return step.eqn.primitive.name == JOINED[0]


def _is_sum(network: TracedNetwork, step: TracedStep) -> bool:
    """Tell a sum, a gate or a concatenation: of arrays of one shape, but for the axis of that."""
    along = step.eqn.params["dimension"] if _is_concatenation(step) else None
    shapes = (network.flat.types[v].shape for v in network.dependent.intersection(step.inputs))
    rest = {tuple(n for i, n in enumerate(shape) if i != along) for shape in shapes}
    return not step.is_product and len(rest) == 1


def _last_of_block(
    network: TracedNetwork, riders: dict[int, int], value: int, sum_: int
) -> int | None:
    """Return the number of the last main step that takes a rider in a sum's block, if any."""
    bit = riders[value].bit_length() - 1
    taken = {v for v in riders if riders[v] >> bit & 1}
    types, step = network.flat.types, network.main[sum_]
    shapes = [types[v].shape for v in taken.intersection(step.inputs)]
    # Of a rider that is no state, or of another shape than the sum, there is no block.
    if types[value].shape not in shapes or not network.is_state([value]):
        return None
    uses, height = _uses(network, taken)
    first = MOST_IN_A_ROW if _is_concatenation(step) else LONGEST
    # A block is short, and what is above it at least as high: otherwise all layers take the rider,
    # and it is none's skip. Between the steps that take it some products in a row may be, or else,
    # if the block is too long with these, one.
    for most in (MOST_IN_A_ROW, 1):
        last, at = next(iter(uses.items()))
        for i, above in uses.items():
            if above - at > (first if i <= sum_ else most):
                break
            last, at = i, above
        if last >= sum_ and at <= LONGEST and 2 * at <= height:
            return last
    return None


def _uses(network: TracedNetwork, taken: set[int]) -> tuple[dict[int, int], int]:
    """Return the main steps that take a rider, with the products in a row since; and all those."""
    heights, uses, height = dict.fromkeys(taken, 0), dict[int, int](), 0
    for i, step in enumerate(network.main):
        if not taken.isdisjoint(step.inputs):
            uses[i] = height
        if not heights.keys().isdisjoint(step.inputs):
            above = max(heights.get(v, 0) for v in step.inputs) + network.is_product(step)
            heights |= dict.fromkeys(step.outputs, above)
            height = max(height, above)
    return uses, height


# Roots as streams


def _rooted(network: TracedNetwork, root: Root) -> TracedNetwork:
    """Return a network in which the steps of a block take a stream instead of its root."""
    flat, axes, above = copy(network.flat), network.axes, network.main[root.last + 1 :]
    needs = {*flat.outputs, *(v for step in above for v in step.inputs)}
    riding = behind(needs, network.prologue)[1]
    ends = {v for step in above for v in step.outputs}
    copied = jax.make_jaxpr(jnp.copy)(struct(flat.types[root.value]))
    copies, (stream,) = flat.instead(copied, [root.value], network.main[root.last])
    # From the first step that takes the root up to the last of the block values are renamed; what
    # is made of riders in between is made twice where steps above the block need it too.
    names, steps = {root.value: stream}, list[TracedStep]()
    for step in flat.steps:
        inputs = tuple(names.get(v, v) for v in step.inputs)
        if inputs == step.inputs or not ends.isdisjoint(step.outputs):
            steps.append(step)
            continue
        steps, copies = steps + copies, []
        if not network.streams.isdisjoint(step.outputs):
            steps.append(step._replace(inputs=inputs))
            continue
        steps.append(step)
        has_delta = network.floats(step.outputs) and network.floats({*step.inputs} & {*names})
        if has_delta or riding.isdisjoint(step.outputs):
            outputs = tuple(flat.value(flat.types[v]) for v in step.outputs)
            names |= dict(zip(step.outputs, outputs, strict=True))
            steps.append(step._replace(inputs=inputs, outputs=outputs))
    axes.update((names[v], axes[v]) for v in names if v in axes)
    flat.replace(steps, flat.outputs)
    sources = {v: s for v, s in network.sources.items() if v not in network.entries}
    structures = network.into, network.out
    roots = network.roots | {stream: root.value}
    rooted = TracedNetwork(flat, *structures, network.xs, sources, axes=axes, roots=roots)
    rooted.sort()
    rooted.find_alive()
    return rooted
