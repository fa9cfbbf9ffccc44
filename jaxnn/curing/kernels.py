"""Kernels: the arrays of a chain that its convolutions take, and which of their axes are units."""

from typing import Any

import jax
from jax.extend.core import primitives

from ..chain.chain import Chain
from ..jaxpr.program import Flat
from .branches import links
from .weights import Axes


def of_chain(net: Chain, params: Any, xs: Any) -> dict[tuple[int, int], Axes]:
    """Return the axes of inputs and outputs of each kernel, by layer, counted from 0, and number.

    Left out are grouped convolutions, whose units do not all meet.
    """
    found = {}
    for layers, link, arrays, state in links(net, params, xs):
        flat = Flat(jax.make_jaxpr(link)(arrays, state))
        numbers = {v: i for i, v in enumerate(flat.inputs[: len(jax.tree.leaves(arrays))])}
        for step in flat.steps:
            eqn = step.eqn
            if eqn.primitive is not primitives.conv_general_dilated_p:
                continue
            grouped = eqn.params["feature_group_count"] * eqn.params["batch_group_count"] > 1
            if step.inputs[1] in numbers and not grouped:
                out, into, *_ = eqn.params["dimension_numbers"].rhs_spec
                found.update({(i, numbers[step.inputs[1]]): (into, out) for i in layers})
    return found
