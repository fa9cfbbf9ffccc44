"""PyTorch: where a module adds something to a state, recognised in torch's graph.

    v = u + branch(u)       the state itself, or what a layer has made of it

As `jaxnn.curing.branches` has it for programs: a sum is a skip if one of its terms is needed for
the other one. The last product of a branch is the first that is met on the way back from the sum;
what is added between the two is its bias.
"""

import sys
from typing import Any

from .module import entering, recording
from .restoring import unchanged
from .tensors import tensors_in

SUM = "AddBackward0"
PRODUCTS = (  # by the names of torch's nodes
    *("AddmmBackward0", "MmBackward0", "BmmBackward0", "BaddbmmBackward0", "LinearBackward0"),
    *("ConvolutionBackward0", "EmbeddingBackward0"),
)
MOVES = ("TBackward0", "TransposeBackward0", "ViewBackward0", "ToCopyBackward0", "ExpandBackward0")


def branches_of(module: Any, inputs: Any) -> list[set[str]]:
    """Return for each branch of a module the parameters of its last product, by name.

    The module is run once, in the mode that it is in, and left as it was.

    Args:
        module: a torch.nn.Module.
        inputs: as for `jaxnn.torch_flow`.
    """
    torch = sys.modules["torch"]
    with recording(torch), unchanged(torch, module, tensors_in(inputs)):
        args, named, _ = entering(inputs)
        output = module(*args, **named)
        nodes = _nodes([t.grad_fn for t in tensors_in(output) if t.grad_fn is not None])
        names = {id(p): name for name, p in module.named_parameters()}
        return _branches(nodes, names)


def _nodes(tops: list[Any]) -> dict[Any, int]:
    """Return the nodes of a graph, those below first, each with all below it as an integer's bits.

    The bit of a node is its place.
    """
    below: dict[Any, int] = {}
    waiting = [(top, False) for top in tops]
    while waiting:
        node, is_done = waiting.pop()
        if node in below:
            continue
        parts = [part for part, _ in node.next_functions if part is not None]
        if is_done:
            mask = 1 << len(below)
            for part in parts:
                mask |= below[part]
            below[node] = mask
        else:
            waiting += [(node, True), *((part, False) for part in parts)]
    return below


def _branches(below: dict[Any, int], names: dict[int, str]) -> list[set[str]]:
    places = {node: 1 << i for i, node in enumerate(below)}
    found = []
    for node in below:
        terms = [part for part, _ in node.next_functions]
        if node.name() != SUM or len(terms) != 2 or None in terms:
            continue
        for u, v in (terms, terms[::-1]):
            product = _last_product(v, u, names) if below[v] & places[u] else set()
            if u is not v and product:
                found.append(product)
                break
    return found


def _last_product(node: Any, u: Any, names: dict[int, str]) -> set[str]:
    """Return the parameters of the last product before a node and after u, and its bias."""
    if node is None or node is u:
        return set()
    parts = [part for part, _ in node.next_functions]
    own = set().union(*(_parameter(part, names) for part in parts))
    if node.name() in PRODUCTS:
        return own
    for part in parts:
        product = set() if _parameter(part, names) else _last_product(part, u, names)
        if product:
            return product | (own if node.name() == SUM else set())
    return set()


def _parameter(node: Any, names: dict[int, str]) -> set[str]:
    """Return the name of the parameter that a node is, but for its form; empty if it is none."""
    while node is not None and node.name() in MOVES:
        node = node.next_functions[0][0]
    name = names.get(id(getattr(node, "variable", None)))
    return set() if name is None else {name}
