"""PyTorch: torch's graph as steps, between its edges, with what is read in it of torch alone.

How often modules apply relu; what branches add to the state below, of which a state is the sum.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..graph.branches import terms_of
from ..graph.steps import KEEPING, Graph, Kind, Step
from ..interrupts import registered
from .call import recording
from .hooks import CutState
from .inputs import called
from .restore import unchanged
from .tensors import tensors_in
from .types import Arguments, Inputs, Module, Named, Node, Output, torch

CONVOLUTION = "Convolution"
NAMES: dict[Kind, tuple[str, ...]] = {  # of nodes, in front of Backward
    "addition": ("Add",),
    "product": ("Addmm", "Mm", "Bmm", "Baddbmm", "Linear", CONVOLUTION, "Embedding"),
    "copy": ("ToCopy", "Clone", "Alias"),
    "shape": ("View", "UnsafeView", "ReshapeAlias", "Squeeze", "Unsqueeze", "Expand"),
    "transpose": ("T", "Transpose", "Permute"),
    "norm": (
        *("NativeLayerNorm", "NativeBatchNorm", "CudnnBatchNorm", "NativeGroupNorm"),
        *("FusedRmsNorm", "Rsqrt", "Sqrt", "Std", "StdMean"),
    ),
    "relu": ("Relu",),
}
KINDS = {name: kind for kind, names in NAMES.items() for name in names}
SCALED = -1  # of an edge: alpha times the second term of a sum

Edge = tuple[Node | None, int]  # a node and the number of its output; no node of a constant


def graph_of(module: Module, inputs: Inputs) -> Graph[Edge]:
    """Return the graph of a module."""
    with recording(), unchanged(module, tensors_in(inputs)):
        output = called(module, inputs)
        return graph_below(_edges(output), {id(p): name for name, p in module.named_parameters()})


def graph_below(outputs: Sequence[Edge], names: Mapping[int, str] | None = None) -> Graph[Edge]:
    """Return the graph below edges; names: those of parameters, by their ids."""

    def array(value: Edge) -> Any:
        leaf = getattr(value[0], "variable", None)
        is_parameter = isinstance(leaf, torch.nn.Parameter)
        return (names or {}).get(id(leaf), id(leaf)) if is_parameter else None

    return Graph(outputs, _made, array, lambda value: value[0] is not None)


def _made(value: Edge) -> Step[Edge] | None:
    node: Any = value[0]
    if node is None or hasattr(node, "variable"):
        return None
    name, inputs, kernel = node.name().partition("Backward")[0], node.next_functions, None
    kind = KINDS.get(name, "other")
    if value[1] == SCALED:
        return Step("other", inputs[1:])
    # torch.add(u, v, alpha=c) is u + c v.
    if kind == "addition" and len(inputs) > 1 and getattr(node, "_saved_alpha", 1) != 1:
        inputs = inputs[0], (node, SCALED)
    # Units of a grouped convolution do not all meet.
    if name == CONVOLUTION and node._saved_groups == 1:
        kernel = (0, 1) if node._saved_transposed else (1, 0)
    return Step(kind, inputs, kernel)


def _edges(values: Output) -> list[Edge]:
    return [(t.grad_fn, t.output_nr) for t in tensors_in(values) if t.grad_fn is not None]


def count_of_relu(module: Module, names: Sequence[str], inputs: Inputs) -> int | None:
    """Return how often some modules apply relu; None if they apply anything else but products."""
    known = dict(module.named_modules())
    entered, ends = list[list[Edge]](), list[tuple[list[Edge], list[Edge]]]()
    if not all(name in known for name in names):
        return None

    def enter(_: Any, args: Arguments, named: Named) -> None:
        entered.append(_edges((args, named)))

    def leave(_: Any, args: Arguments, output: Output) -> None:
        del args
        ends.append((_edges(output), entered.pop()))

    modules = [known[name] for name in dict.fromkeys(names)]  # one that is called again too
    hooks = [partial(m.register_forward_pre_hook, enter, with_kwargs=True) for m in modules]
    hooks += [partial(m.register_forward_hook, leave) for m in modules]
    with registered(hooks):
        graph = graph_of(module, inputs)
    inside = [graph.made(v) for outs, ins in ends for v in {*graph.behind(outs, ins)} - {*ins}]
    kinds = [step.kind for step in inside if step is not None]
    is_linear = all(kind in (*KEEPING, "addition", "product", "relu") for kind in kinds)
    return kinds.count("relu") if is_linear else None


def log_branches(states: Sequence[CutState]) -> np.ndarray | None:
    """Return for each state ln of the norm of what is added to the one below, relative to that.

    nan of the first, of one without a skip connection around its cut, and where the state below is
    zero; -inf where nothing is added. None if no cut has one.
    """
    logs = np.full(len(states), np.nan)
    skips = [at for at in range(1, len(states)) if _is_skip(states[at - 1], states[at])]
    for at in skips:
        before, after = (state.parts[0].value for state in states[at - 1 : at + 1])
        wide = np.float64 if after.dtype.itemsize == 8 else np.float32
        stream = _norm(before.astype(wide))
        branch = _norm(np.subtract(after.astype(wide), before.astype(wide)))
        with np.errstate(divide="ignore"):
            logs[at] = np.log(branch / stream) if stream else np.nan
    return logs if skips else None


def _norm(values: np.ndarray) -> float:
    return float(np.sqrt(np.sum(np.square(values, dtype=np.float64))))


def _is_skip(below: CutState, state: CutState) -> bool:
    """Tell whether a state is the sum of the one below, as it is, and of something else."""
    if below.parts[0].shape != state.parts[0].shape:
        return False
    stream, top = (v.parts[0].edge for v in (below, state))
    streams, others = terms_of(graph_below((top,)), top, (stream,))
    return bool(streams) and others
