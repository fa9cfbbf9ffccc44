"""PyTorch: parts of a module that cures change, found in torch's graph: branches, kernels, units.

    v = u + branch(u)       the state itself, or what a layer has made of it

A sum is a skip if one of its terms is needed for the other one. The last product of a branch is the
first that is met on the way back from the sum; what is added between the two is its bias.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from ..interrupts import registered
from .call import recording
from .inputs import called
from .restore import unchanged
from .tensors import tensors_in
from .types import Arguments, Inputs, Module, Named, Node, Output

# By the names of torch's nodes:
SUM, RELU, CONVOLUTION = "AddBackward0", "ReluBackward0", "ConvolutionBackward0"
PRODUCTS = (
    *("AddmmBackward0", "MmBackward0", "BmmBackward0", "BaddbmmBackward0", "LinearBackward0"),
    *(CONVOLUTION, "EmbeddingBackward0"),
)
MOVES = ("TBackward0", "TransposeBackward0", "ViewBackward0", "ToCopyBackward0", "ExpandBackward0")
LINEAR = (
    *(*PRODUCTS, *MOVES, SUM, "torch::autograd::AccumulateGrad", "CloneBackward0"),
    *("UnsafeViewBackward0", "PermuteBackward0", "SqueezeBackward1", "UnsqueezeBackward0"),
)
NORMS = (
    *("NativeLayerNormBackward0", "NativeBatchNormBackward0", "CudnnBatchNormBackward0"),
    *("NativeGroupNormBackward0", "FusedRmsNormBackward0", "RsqrtBackward0", "SqrtBackward0"),
    *("StdBackward0", "StdMeanBackward0"),
)

Below = dict[Any, int]
Axes = tuple[int, int]  # of a kernel: that of its inputs and that of its outputs


def branches_of(module: Module, inputs: Inputs) -> list[set[str]]:
    """Return for each branch of a module the parameters of its last product, by name."""
    with _graph(module, inputs) as (below, names):
        return [product for _, _, product in _skips(below, names)]


def is_post_norm(module: Module, inputs: Inputs) -> bool:
    """Tell whether a norm follows the sum of a branch and its skip connection."""
    with _graph(module, inputs) as (below, names):
        places = _places(below)
        skips = list(_skips(below, names))
        norms = sum(place for node, place in places.items() if node.name() in NORMS)
        # What the next branch adds to, u, is then a sum below with a norm over it.
        for _, u, _ in skips:
            under = [node for node, _, _ in skips if below[u] & places[node]]
            if under and below[u] & ~below[under[-1]] & norms:
                return True
        return False


def kernels_of(module: Module, inputs: Inputs) -> dict[str, Axes]:
    """Return the axes of inputs and outputs of each kernel of a convolution, by name."""
    found: dict[str, Axes] = {}
    with _graph(module, inputs) as (below, names):
        for node in below:
            # Units of a grouped convolution do not all meet.
            if node.name() == CONVOLUTION and node._saved_groups == 1:
                axes = (0, 1) if node._saved_transposed else (1, 0)
                found |= dict.fromkeys(_parameter(node.next_functions[1][0], names), axes)
    return found


def count_of_relu(module: Module, names: Sequence[str], inputs: Inputs) -> int | None:
    """Return how often some modules apply relu; None if they apply anything else but products."""
    known = dict(module.named_modules())
    entered, ends = list[list[Any]](), list[tuple[list[Any], list[Any]]]()
    if not all(name in known for name in names):
        return None

    def enter(_: Any, args: Arguments, named: Named) -> None:
        entered.append([t.grad_fn for t in tensors_in((args, named))])

    def leave(_: Any, args: Arguments, output: Output) -> None:
        del args
        outs = [t.grad_fn for t in tensors_in(output) if t.grad_fn is not None]
        ends.append((entered.pop(), outs))

    modules = [known[name] for name in dict.fromkeys(names)]  # one that is called again too
    hooks = [partial(m.register_forward_pre_hook, enter, with_kwargs=True) for m in modules]
    hooks += [partial(m.register_forward_hook, leave) for m in modules]
    with registered(hooks), _graph(module, inputs):
        inside = [node for ins, outs in ends for node in _between(ins, outs)]
    applied = [node.name() for node in inside]
    is_linear = all(name in (*LINEAR, RELU) for name in applied)
    return applied.count(RELU) if is_linear else None


def _between(ins: list[Any], outs: list[Any]) -> Iterator[Any]:
    """Yield the nodes above some and up to others."""
    seen, waiting = set(ins), list(outs)
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            yield node
            waiting += [part for part, _ in node.next_functions if part is not None]


@contextmanager
def _graph(module: Module, inputs: Inputs) -> Iterator[tuple[Below, dict[int, str]]]:
    """Run a module; give the nodes of its graph, as `_nodes` does, and its parameters' names."""
    torch = sys.modules["torch"]
    with recording(torch), unchanged(torch, module, tensors_in(inputs)):
        output = called(module, inputs)
        below = _nodes([t.grad_fn for t in tensors_in(output) if t.grad_fn is not None])
        yield below, {id(p): name for name, p in module.named_parameters()}


def _nodes(tops: list[Any]) -> Below:
    """Return the nodes of a graph, those below first, each with all below it as bits."""
    below: Below = {}
    waiting = [(top, False) for top in tops]
    while waiting:
        node, is_done = waiting.pop()
        if node in below:
            continue
        parts = [part for part, _ in node.next_functions if part is not None]
        if is_done:
            # The bit of a node is its place.
            mask = 1 << len(below)
            for part in parts:
                mask |= below[part]
            below[node] = mask
        else:
            waiting += [(node, True), *((part, False) for part in parts)]
    return below


def _places(below: Below) -> dict[Any, int]:
    """Return the bit of each node."""
    return {node: 1 << i for i, node in enumerate(below)}


def _skips(below: Below, names: dict[int, str]) -> Iterator[tuple[Any, Any, set[str]]]:
    """Yield of each sum that is a skip its node, what it adds to, and a branch's last product."""
    places = _places(below)
    for node in below:
        terms = [part for part, _ in node.next_functions]
        if node.name() != SUM or len(terms) != 2 or None in terms:
            continue
        for u, v in (terms, terms[::-1]):
            product = _last_product(v, u, names) if below[v] & places[u] else set()
            if u is not v and product:
                yield node, u, product
                break


def _last_product(node: Node, u: Node, names: dict[int, str]) -> set[str]:
    """Return the parameters of the last product before a node and after u, and its bias."""
    if node is None or node is u:
        return set()
    parts = [part for part, _ in node.next_functions]
    direct = set().union(*(_parameter(part, names) for part in parts))
    if node.name() in PRODUCTS:
        return direct
    for part in parts:
        product = set() if _parameter(part, names) else _last_product(part, u, names)
        if product:
            return product | (direct if node.name() == SUM else set())
    return set()


def _parameter(node: Node, names: dict[int, str]) -> set[str]:
    """Return the name of the parameter that a node is, but for its form; empty if it is none."""
    while node is not None and node.name() in MOVES:
        node = node.next_functions[0][0]
    name = names.get(id(getattr(node, "variable", None)))
    return set() if name is None else {name}
