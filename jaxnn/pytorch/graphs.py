"""PyTorch: what a module computes as a graph, and what is read in it of torch alone.

How often modules apply relu; what branches add to the state below, of which a state is the sum.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import numpy as np

from ..graph.steps import KEEPING
from ..interrupts import registered
from ..jaxpr.interpreter import Jaxpr
from ..jaxpr.primitives import KINDS
from ..jaxpr.program import Flat
from ..recognition.branches import terms_of
from ..recognition.step_graph import Graph
from .aten import PROGRAMS, RELU
from .call import recording
from .cuts import parameters_of
from .hooks import CutState
from .inputs import entered, entering
from .operations import Operations, Recorded
from .restore import unchanged
from .tensors import numbers_of, tensors_in
from .types import Inputs, Module, Tensor


def graph_of(module: Module, inputs: Inputs) -> Graph:
    """Return the graph of a module; one without values if its operations cannot be followed."""
    operations, output = _recorded(module, inputs)
    outputs = [] if operations.failure else operations.values(tensors_in(output))
    graph, names, _ = operations.graph(outputs)
    return replace(graph, names=names)


def _recorded(module: Module, inputs: Inputs, hooks: Any = lambda _: ()) -> tuple[Operations, Any]:
    """Return the record of a module's operations, and its output."""

    def run(entry: str) -> tuple[Operations, Any]:
        args, named, _ = entering(inputs, entry)
        operations = Operations(parameters_of(module), tensors_in([args, named]))
        with registered(hooks(operations)), operations.seen():
            return operations, module(*args, **named)

    with recording(), unchanged(module, tensors_in(inputs)):
        return entered(run)


def count_of_relu(module: Module, names: Sequence[str], inputs: Inputs) -> int | None:
    """Return how often some modules apply relu; None if they apply anything else but products."""
    known = dict(module.named_modules())
    if not all(name in known for name in names):
        return None
    begins, inside = list[int](), dict[int, Recorded]()

    def hooks_for(operations: Operations) -> Any:
        def enter(*_: Any) -> None:
            begins.append(len(operations.recorded))

        def leave(*_: Any) -> None:
            begin = begins.pop()
            inside.update(enumerate(operations.recorded[begin:], begin))

        for name in dict.fromkeys(names):  # one that is called again too
            yield partial(known[name].register_forward_pre_hook, enter)
            yield partial(known[name].register_forward_hook, leave)

    operations, _ = _recorded(module, inputs, hooks_for)
    if operations.failure:
        return None
    others = [operation for operation in inside.values() if operation.name != RELU]
    kinds = frozenset[str]().union(*(_kinds_in(operation.program) for operation in others))
    return len(inside) - len(others) if kinds <= {*KEEPING, "addition", "product"} else None


def log_branches(
    states: Sequence[CutState], x: Tensor, operations: Operations
) -> np.ndarray | None:
    """Return for each state ln of the norm of what is added to the one below, relative to that.

    nan of one without a skip connection around its cut, and where the state below is zero; -inf
    where nothing is added. None if no cut has one.
    """
    logs, numbers = np.full(len(states), np.nan), [state.parts[0].number for state in states]
    values = [v for v in numbers if v is not None]
    if operations.failure or len(values) < len(states):
        return None
    graph, _, places = operations.graph(values)
    streams = [places[v] for v in operations.inputs if v in places]
    before = numbers_of(x) if x.is_floating_point() else None
    for at, v in enumerate(values):
        found, has_others = terms_of(graph, places[v], streams)
        after = states[at].parts[0].value
        if found and has_others and before is not None and before.shape == after.shape:
            wide = np.float64 if after.dtype.itemsize == 8 else np.float32
            stream = _norm(before.astype(wide))
            branch = _norm(np.subtract(after.astype(wide), before.astype(wide)))
            with np.errstate(divide="ignore"):
                logs[at] = np.log(branch / stream) if stream else np.nan
        streams, before = [places[v]], after
    return None if np.isnan(logs).all() else logs


def _norm(values: np.ndarray) -> float:
    return float(np.sqrt(np.sum(np.square(values, dtype=np.float64))))


@lru_cache(maxsize=PROGRAMS)
def _kinds_in(program: Jaxpr) -> frozenset[str]:
    steps = Flat(program).steps
    return frozenset(KINDS.get(step.eqn.primitive.name, "other") for step in steps)
