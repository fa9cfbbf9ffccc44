"""The contract: a dict whose names are those of the arguments of jaxnn's functions, measured.

    layers, xs            layers in their order           jaxnn.from_layers(layers, each=each)
    f, params, xs         f(params, xs) -> output         jaxnn.from_function(f, params, xs, …)
    net, params, xs       a Chain or a jaxnn.Network      as it is
    module, inputs        a torch.nn.Module               jaxnn.torch_flow(module, inputs, …, cuts)

    ys, loss              loss(output, ys) -> (B,), whose mean is differentiated, or a number
    ys                    labels of a jaxnn.Network, whose task has the loss
    cotangent             instead, Δ of the output

Without these three the loss is a random one: the mean over the examples of ⟨c, output⟩, with c
normal.
"""

import sys
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..adapters.layers import Chain, from_function, from_layers
from ..adapters.torch.hooks import first_tensor
from ..arrays.rows import floats
from ..errors import NoTangentError
from ..flow.flow import Flow
from ..flow.measure import gradient_flow
from ..flow.of_torch import torch_flow
from ..network.network import Network
from ..passes.walk import Memory
from . import allocation, source
from .source import Source

SMALLER = "the network or its batch"

# What each kind of network needs, by the name that it is known by, and what else it takes.
NEEDS = {
    "layers": ("layers", "xs"),
    "f": ("f", "params", "xs"),
    "net": ("net", "params", "xs"),
    "module": ("module", "inputs"),
}
MORE = {
    "layers": ("ys", "loss", "cotangent", "each"),
    "f": ("ys", "loss", "cotangent", "each"),
    "net": ("ys", "loss", "cotangent"),
    "module": ("ys", "loss", "cotangent", "cuts"),
}


class Measured(NamedTuple):
    """A flow, and how it was measured.

    top: the loss in words.
    note: the state that is no number, in words; empty if all are.
    """

    flow: Flow
    top: str
    note: str = ""


def diagnosed(code: Source, memory: Memory, seed: int) -> Measured:
    """Run the user's code and measure the network that its function returns.

    Args:
        code: the function.
        memory: as in `jaxnn.gradient_flow`.
        seed: of the random loss, if the function returns none.

    Raises:
        ValueError, TypeError: one sentence on a mistake, with the file and line of the user's code.
        MemoryError: one sentence, for an allocation that failed.
    """
    with source.running(code):
        try:
            return measured(code.function()(), f"{code}()", memory, seed)
        except (MemoryError, RuntimeError) as error:
            sentence = allocation.sentence(error, SMALLER)
            if sentence is None:
                raise
    raise MemoryError(sentence)


def measured(given: Any, of: str, memory: Memory, seed: int) -> Measured:
    """Measure a network.

    Args:
        given: what the user's function has returned.
        of: the name of that function.
        memory: as in `jaxnn.gradient_flow`.
        seed: of the random loss, where there is none.

    Raises:
        ValueError, TypeError: one sentence on what was given, or whatever the user's code raises.
    """
    kind = check(given, of)
    if kind == "module":
        return _measured_by_torch(given, memory, seed)
    net, params = _network(kind, given)
    top = _top(given, seed, labels=isinstance(net, Network))
    ys, loss, cotangent = (given.get(name) for name in ("ys", "loss", "cotangent"))
    if loss is None and cotangent is None:
        if isinstance(net, Chain):
            ys, loss = jax.random.key(seed), random_loss
        elif ys is None:
            shape = (len(given["xs"]), net.sizes[-1])
            cotangent = jax.random.normal(jax.random.key(seed), shape) / shape[0]

    def flow_of(params: Any, xs: Any, ys: Any, cotangent: Any) -> Any:
        more: dict[str, Any] = {} if loss is None else {"loss": loss}
        more |= {"memory": memory, "cotangent": cotangent}
        try:
            return gradient_flow(net, params, xs, ys, tangent=True, **more)
        except NoTangentError:  # of a layer with a reverse rule alone
            return gradient_flow(net, params, xs, ys, **more)

    return _with_note(flow_of, (params, given["xs"], ys, cotangent), top)


def check(given: Any, of: str) -> str:
    """Return the kind of a network.

    Raises:
        ValueError: one sentence.
    """
    kinds = " or ".join(" + ".join(names) for names in NEEDS.values())
    if not isinstance(given, Mapping):
        got = type(given).__name__
        raise ValueError(f"{of}: expected it to return a dict with {kinds}, got {got}")
    found = [kind for kind in NEEDS if kind in given]
    if len(found) != 1:
        got = ", ".join(map(str, given)) or "none"
        raise ValueError(f"{of}: expected it to return a dict with {kinds}, got {got}")
    (kind,) = found
    known = (*NEEDS[kind], *MORE[kind])
    for name in given:
        if name not in known:
            close = get_close_matches(str(name), known, 1)
            hint = f"; {close[0]} is meant?" if close else ""
            raise ValueError(
                f"{of}: expected with {kind} only {', '.join(known)}, got {name!r}{hint}"
            )
    missing = [name for name in NEEDS[kind] if name not in given]
    if missing:
        raise ValueError(f"{of}: expected with {kind} also {', '.join(missing)}")
    return kind


def _top(given: Mapping[str, Any], seed: int, labels: bool) -> str:
    """Return the loss in words.

    Args:
        given: the contract.
        seed: of a random loss.
        labels: whether ys need no loss.

    Raises:
        ValueError: a loss and a cotangent, or labels and no loss.
    """
    ys, loss, cotangent = (given.get(name) is not None for name in ("ys", "loss", "cotangent"))
    if cotangent and (loss or ys):
        raise ValueError("cotangent: expected it, or ys and loss, got both")
    if ys and not (loss or labels):
        raise ValueError("loss: expected loss(output, ys) with ys, got none")
    if loss:
        return "loss as given"
    if cotangent:
        return "cotangent as given"
    return "loss of the task" if ys else f"no loss given: a random linear one, of seed {seed}"


def _network(kind: str, given: Mapping[str, Any]) -> tuple[Any, Any]:
    each = given.get("each", "batch")
    if kind == "layers":
        return from_layers(given["layers"], each=each)
    if kind == "f":
        return from_function(given["f"], given["params"], given["xs"], each=each)
    net = given["net"]
    if not isinstance(net, Chain | Network):
        raise TypeError(f"net: expected a jaxnn.Network or a Chain, got {type(net).__name__}")
    return net, given["params"]


def random_loss(output: Any, key: jax.Array) -> jax.Array:
    """Return ⟨c, output⟩ for each example, (B,), with c normal."""
    rows = [
        jnp.sum((jax.random.normal(k, v.shape).astype(v.dtype) * v).reshape(len(v), -1), axis=1)
        for v, k in zip(floats(output), jax.random.split(key, len(floats(output))), strict=True)
    ]
    return sum(rows[1:], start=rows[0])


def _measured_by_torch(given: Mapping[str, Any], memory: Memory, seed: int) -> Measured:
    if memory != "all":
        raise ValueError(f"memory: expected all for a module of PyTorch, got {memory}")
    top = _top(given, seed, labels=False)
    ys, loss, cotangent = (given.get(name) for name in ("ys", "loss", "cotangent"))
    if loss is None and cotangent is None:
        ys, loss = seed, _torch_random_loss
    flow = torch_flow(
        given["module"],
        given["inputs"],
        ys,
        loss=loss,
        cotangent=cotangent,
        cuts=given.get("cuts"),
    )
    return Measured(flow, top)


def _torch_random_loss(output: Any, seed: int) -> Any:
    torch, first = sys.modules["torch"], first_tensor(output)
    generator = torch.Generator().manual_seed(seed)
    c = torch.randn(first.shape, generator=generator).to(first)
    return (c * first).sum() / len(first)


def _with_note(flow_of: Callable[..., Flow], of: tuple[Any, ...], top: str) -> Measured:
    """Measure a network of which a state may be no number: then that is the answer."""
    try:
        return Measured(flow_of(*of), top)
    except ValueError as error:
        sentence = error
    try:
        flow = jax.jit(flow_of)(*of)  # which looks at no values
    except Exception:
        raise sentence from None
    if np.all(np.asarray(flow.log_mean_square) < np.inf):
        raise sentence
    return Measured(flow, top, str(sentence))
