"""The measurement of a step as a program of its own, known by its network, its loss and its types.

    network, loss, types of a step -> traced once -> compiled at its first run
    numbers of a step -> its flow, its update, the order of its labels

What comes out is NumPy's, in any thread. A program of small arrays is compiled for few runs.
"""

from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from ..arrays.compiled import KEPT, Statics, are_few, measuring, split_static
from ..arrays.spread import on_mesh_of, whole
from ..chain.chain import Chain, Function, Lowered
from ..chain.parameter_handover import Handover, is_array
from ..flow.measure.flow_of_net import flow_of_net, known_loss
from ..flow.measure.updates import Update, update_of
from ..flow.record.flow import Flow
from ..flow.record.loss import Loss
from ..jaxpr.numpy_programs import Parted, for_the_end, parted
from ..models import Program
from ..network.network import Network
from .label_order import LabelOrder, label_order

Measured = tuple[Flow, Update | None, LabelOrder | None]


class StepArrays(NamedTuple):
    """The arrays of a step: parameters before it, its batch, parameters after it if known."""

    params: PyTree
    xs: PyTree
    ys: PyTree
    after: PyTree


class StepProgram(NamedTuple):
    """The measurement of a step of these types."""

    parts: Parted  # the program, of the arrays of the loss, if it has some, and of a step
    loss: Loss | None
    # whether it was traced with floats of 64 bits; each thread has a setting of its own
    is_wide: bool

    @classmethod
    def of(cls, net: Network | Chain, loss: Loss | None, given: StepArrays) -> "StepProgram":
        """Return the program for a step that has these arrays, traced or not."""
        params, xs, ys, _ = given
        if isinstance(net, Chain) and isinstance(net.made_of, Function):
            net = _first_like(_Cut.of(net, net.made_of, xs))
        before = net.params(params) if isinstance(net, Chain) else params
        loss = known_loss(Program((net, before), xs, ys, loss))
        static, arrays = split_static((net, loss, given))
        is_wide: bool = jax.config.jax_enable_x64
        settings = is_wide, jax.config.jax_default_matmul_precision
        types = tuple(map(jax.typeof, arrays))
        return cls(_in_parts(static, types, are_few(arrays), settings), loss, is_wide)

    @measuring
    def __call__(self, given: StepArrays) -> Measured:
        """Measure a step of numbers; compiles at the first."""
        _, arrays = split_static((self.loss, given))
        with jax.enable_x64(self.is_wide), on_mesh_of(arrays):
            measured: Measured = self.parts(arrays)
        return measured


@dataclass(frozen=True)
class _Cut:
    """A chain that was cut from a function, equal to others that compute the same with a batch."""

    lowered: Lowered  # what it computes
    handover: Handover
    batch: Any  # of the xs what is static, and types of arrays
    options: tuple[Any, ...]  # how it was cut
    net: Chain = field(compare=False)

    @classmethod
    def of(cls, net: Chain, function: Function, xs: PyTree) -> "_Cut":
        """Return a chain with what it is compared by."""
        # A function that is written anew may do something else with other shapes.
        static, arrays = split_static((xs,))
        batch = static, tuple(map(jax.typeof, arrays))
        options = function.each, function.streams, function.whole, function.cuts
        return cls(net.for_batch(net.state(xs)), net.handover, batch, options, net)


@lru_cache(maxsize=KEPT)
def _first_like(cut: _Cut) -> Chain:
    """Return the first chain that equals this one."""
    return cut.net


@lru_cache(maxsize=KEPT)
def _in_parts(static: Statics, types: tuple[Any, ...], is_few: bool, settings: Any) -> Parted:
    """Return the program of `measured_step`; settings of JAX are those that it depends on."""

    def function(*given: Any) -> Measured:
        return measured_step(*given, at_end=is_few)

    return parted(function, static, types, is_light=is_few)


def measured_step(
    net: Network | Chain,
    loss: Loss | None,
    given: StepArrays,
    *,
    at_end: bool = False,
) -> Measured:
    """Return the flow before a step, what the step did if that is known, and the labels' order."""
    params, xs, ys, after = given
    chain = net if isinstance(net, Chain) else None
    before = params if chain is None else chain.params(params)
    flow = flow_of_net(net, before, xs, ys, loss=loss, at_end=at_end)
    with for_the_end() if at_end else nullcontext():
        update = None
        if after is not None:
            moved = after if chain is None else chain.params(after)
            update = update_of(net, before, moved, flow.log_delta.dtype)
        labels = [v for v in jax.tree.leaves(ys) if is_array(v)]
        order = label_order(whole(jnp.asarray(labels[0])), jnp) if len(labels) == 1 else None
    return flow, update, order
