"""Scans as runs: the body of a scan as a layer, with a state of all that it carries on.

carries   the state of the body, the one that its first product takes in front
outputs   of each step: arrays with a place for each, which the layers fill
held      streams that the body takes, whole or an entry at each step, or that are needed later
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jax.extend import core

from ..arrays.rows import is_float
from ..jaxpr.interpreter import Scan
from ..jaxpr.program import Flat, TracedStep
from .dependence import TracedNetwork


class Scanned(NamedTuple):
    """A scan that is a run."""

    step: TracedStep
    scan: Scan
    order: tuple[int, ...]  # of the carries in the state, the main one first
    blank: tuple[int, ...]  # values for the outputs before the first step, zeros
    held: tuple[int, ...]  # streams that pass

    @property
    def into(self) -> list[int]:
        """The values of the state that goes in."""
        carries = self.carries(self.step.inputs[self.scan.consts :])
        return [*carries, *self.blank, *self.held]

    @property
    def out(self) -> list[int]:
        """The values of the state that comes out."""
        carries = self.carries(self.step.outputs)
        return [*carries, *self.step.outputs[self.scan.carries :], *self.held]

    def carries(self, values: Sequence[Any]) -> list[Any]:
        """Return carries in the order of the state."""
        return [values[i] for i in self.order]

    @property
    def consts(self) -> tuple[int, ...]:
        """The values that every step takes whole."""
        return self.step.inputs[: self.scan.consts]

    @property
    def stacks(self) -> tuple[int, ...]:
        """The values of which every step takes an entry."""
        return self.step.inputs[self.scan.consts + self.scan.carries :]

    @property
    def rows(self) -> tuple[int, ...]:
        """The entry of a stack that each layer takes, and of an output that it fills."""
        return tuple(range(self.scan.k))[:: -1 if self.scan.reverse else 1]


def scanned(network: TracedNetwork, i: int) -> Scanned | None:
    """Return main step i as a run; None if it is no scan, or its state no state."""
    step, axes, types = network.main[i], network.axes, network.flat.types
    scan = step.scan
    if scan is None or scan.carries == 0:
        return None
    learns = not network.parameters.isdisjoint(step.inputs)
    if not learns and (scan.carries > 1 or len(step.outputs) > 1):
        return None
    # Its carries are the state of a layer: their floats have the examples along one axis, before a
    # step and behind it. What has a place for each step may not have the examples there.
    carries = step.inputs[scan.consts : scan.consts + scan.carries]
    same = all(
        not is_float(types[v]) or axes.get(v) == axes.get(w)
        for v, w in zip(carries, step.outputs, strict=False)
    )
    stacks = step.inputs[scan.consts + scan.carries :]
    outputs = step.outputs[scan.carries :]
    by_steps = [*outputs, *network.dependent.intersection(stacks)]
    if not same or any(axes.get(v) == 0 for v in by_steps):
        return None
    # What later steps need, and the streams that the body takes, pass through every layer.
    alive = network.alive[i] | network.entering(i, i + 1)
    passing = alive & network.alive[i + 1]
    taken = alive.intersection((*step.inputs[: scan.consts], *stacks))
    held = tuple(sorted(passing | taken))
    if not network.is_state((*step.outputs, *held)):
        return None
    blank = []
    for v in outputs:
        w = network.flat.value(types[v])
        blank.append(w)
        axes.update({w: axes[v]} if v in axes else {})
        network.blank.add(w)
    return Scanned(step, scan, _main_first(scan), tuple(blank), held)


def _main_first(scan: Scan) -> tuple[int, ...]:
    """Return the carries with the one that the first product takes in front."""
    body = Flat(scan.body)
    carries = body.inputs[scan.consts : scan.consts + scan.carries]
    floats = [i for i, v in enumerate(carries) if is_float(body.types[v])]
    behind_it = {carries[i]: {i} for i in floats}
    main = floats[:1]
    for step in body.steps:
        into = {i for v in step.inputs for i in behind_it.get(v, ())}
        if into and step.is_product:
            is_program = any(True for _ in core.jaxprs_in_params(step.eqn.params))
            size = {i: body.types[carries[i]].size for i in into}
            # Of several the last. Of those that a whole program takes, such as both branches of a
            # condition, the first of the largest: a solver's state, not its time or step size.
            main = [max(into, key=lambda i: (size[i], -i)) if is_program else max(into)]
            break
        behind_it |= dict.fromkeys(step.outputs, into)
    first = [*main, *(i for i in floats if i not in main)]
    return (*first, *(i for i in range(len(carries)) if i not in floats))
