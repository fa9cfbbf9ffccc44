"""Kernels: the arrays of a layer that its convolutions take, and which of their axes are units."""

import jax
from jax.extend.core import primitives

from ..chain.chain import Link
from ..jaxpr.program import Flat
from .branches import Tree
from .draws import Axes


def of_link(link: Link, arrays: Tree, state: Tree) -> dict[int, Axes]:
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
