"""PyTorch: functions of the user's own that go down by themselves, as reversible blocks do.

    backward(dy):  torch.autograd.backward(f(x), dy)      which adds to .grad of the parameters of f

No path of the graph leads to these parameters. So `.grad` is empty while passes go down, what is
found there after one is Δ that came through such functions, and the user's own is put back.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from ..interrupts import registered, undivided
from .autograd_gates import Survey
from .types import Node, Tensor, torch


class Inner(NamedTuple):
    """A parameter whose Δ comes through functions of the user's own."""

    layers: set[int]  # of the functions
    edges: list[Any]  # below the functions: a pass that is to come there passes these


@undivided
def own_gradients(tensors: Iterable[Any]) -> Iterator[None]:
    """Put back `.grad` of leaves, which have none meanwhile."""
    kept = [(leaf, leaf.grad) for leaf in tensors if leaf.is_leaf]
    try:
        for leaf, _ in kept:
            leaf.grad = None
        yield
    finally:
        for leaf, grad in kept:
            leaf.grad = grad


def taken(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Take what was added to `.grad` of parameters since the last time."""
    grads = {name: p.grad for name, p in parameters.items() if p.grad is not None}
    for name in grads:
        parameters[name].grad = None
    return grads


def inner_parameters(
    top: Tensor, cotangent: Tensor | None, survey: Survey, parameters: Mapping[str, Any]
) -> dict[str, Inner]:
    """Return the parameters that functions of the user's own give a gradient to, by a pass down."""
    of_nodes: dict[Any, set[str]] = {}

    def note(node: Node, *_: Any) -> None:
        of_nodes.setdefault(node, set()).update(taken(parameters))

    edges = {node: _edge_below(node) for node in survey.functions}
    edges = {node: edge for node, edge in edges.items() if edge is not None}
    if not edges:
        return {}
    hooks = (partial(node.register_hook, partial(note, node)) for node in edges)
    with registered(hooks), blamed(survey.functions):
        torch.autograd.grad(
            [top], [*edges.values()], [cotangent], retain_graph=True, allow_unused=True
        )
    inner: dict[str, Inner] = {}
    for node, names in of_nodes.items():
        for name in names:
            layers, below = inner.setdefault(name, Inner(set(), []))
            layers |= survey.functions[node]
            below.append(edges[node])
    return inner


@contextmanager
def blamed(functions: Iterable[Any]) -> Iterator[None]:
    """Name the user's own functions if a pass down fails, which they may do a second time."""
    try:
        yield
    except Exception as error:
        names = ", ".join(sorted({node.name() for node in functions}))
        if not names:
            raise
        first = str(error).partition("\n")[0]
        raise ValueError(
            f"module: expected that backward of its own functions ({names}) can be run several "
            f"times, and a pass down ends with: {first}; let them keep what they need, or call the "
            "layers inside without them, which has the same gradient"
        ) from error


def _edge_below(node: Node) -> Any:
    """Return an edge that a gradient passes as soon as it has passed a node; None without any."""
    edge = torch.autograd.graph.GradientEdge
    return next((edge(*below) for below in node.next_functions if below[0] is not None), None)


@undivided
def no_checkpoints() -> Iterator[None]:
    """Let torch's checkpoints that go down by themselves be plain calls, of the same numbers."""
    module = torch.utils.checkpoint
    before = module.CheckpointFunction
    try:
        module.CheckpointFunction = PlainCall
        yield
    finally:
        module.CheckpointFunction = before


class PlainCall:
    """A stand-in for `torch.utils.checkpoint.CheckpointFunction`, which stores what it computes."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve_rng_state: bool, *args: Any) -> Any:
        """Call the function."""
        del preserve_rng_state
        return function(*args)
