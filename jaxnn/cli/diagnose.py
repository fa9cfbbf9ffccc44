"""One call for any network: measured, judged, and shown in a notebook."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax

from ..adapters.handover import is_array
from ..adapters.layers import Chain
from ..flow.chart import chart, svg
from ..flow.flow import Flow
from ..flow.table import sentences_as_html
from ..flow.verdict import Verdict, verdict
from ..network.network import Network
from ..passes.walk import Memory
from . import contract


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """A network's flow and the verdict on it; `print` it, or let a notebook show it with a chart.

    flow: the measurement.
    verdict: in words.
    loss: what was differentiated, in words.
    note: a sentence on a state that is no finite number; empty if all are.
    """

    flow: Flow
    verdict: Verdict
    loss: str
    note: str

    def __repr__(self) -> str:
        said = (self.note, str(self.verdict), f"{self.loss[:1].upper()}{self.loss[1:]}.")
        return "\n".join(filter(None, said))

    def _repr_html_(self) -> str:
        try:
            picture = svg(chart(self.flow))
        except ImportError:  # without the extra `charts`
            picture = ""
        return sentences_as_html(repr(self)) + picture


def diagnose(
    model: Any,
    xs: Any,
    ys: Any = None,
    *,
    loss: Any = None,
    cotangent: Any = None,
    each: str = "batch",
    cuts: Any = None,
    memory: Memory = "all",
    seed: int = 0,
) -> Diagnosis:
    """Measure the gradient of every layer of a network, whatever it is made of, and judge it.

    Args:
        model: a module of Equinox or of Flax NNX, or any callable pytree with arrays: it is cut
            into layers; a pair (f, params), of f(params, xs), likewise; a list of layers, or a dict
            of them by name, as `jaxnn.from_layers` takes it; a pair (net, params) of ours; or a
            module of PyTorch.
        xs: an example batch; of a module of PyTorch its inputs.
        ys: labels, or whatever the loss takes.
        loss: (output, ys) -> a loss of each example, (B,), or one number. Without it and a
            cotangent, the loss of a Network's task if there are labels, else a random linear one.
        cotangent: instead, Δ of the output.
        each: "example" if a module, function or layer takes one example instead of a batch.
        cuts: of a module of PyTorch, as for `jaxnn.torch_flow`.
        memory: as for `jaxnn.gradient_flow`.
        seed: of the random loss.

    Returns:
        Diagnosis: `.verdict`, `.flow`; it prints the verdict.

    Raises:
        TypeError: something that is none of these.
        ValueError: one sentence on what was given, as the functions above have it.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> keys = jax.random.split(jax.random.key(0), 20)
        >>> layers = [(lambda w, z: jax.nn.sigmoid(z) @ w, jax.random.normal(k, (16, 16)) / 4)
        ...           for k in keys]
        >>> xs = jax.random.normal(jax.random.key(1), (8, 16))
        >>> d = jaxnn.diagnose(layers, xs, loss=lambda output, ys: jnp.mean(output**2))
        >>> d.verdict.word, len(d.flow.names)
        ('vanishing', 20)
    """
    more = {"ys": ys, "loss": loss, "cotangent": cotangent}
    given = _named(model, xs, each, cuts) | {k: v for k, v in more.items() if v is not None}
    found = contract.measured(given, "model", memory, seed)
    return Diagnosis(found.flow, verdict(found.flow), found.top, found.note)


def _named(model: Any, xs: Any, each: str, cuts: Any) -> dict[str, Any]:
    """Return a network as the names of `contract.NEEDS` have it."""
    if hasattr(model, "register_forward_hook"):
        return {"module": model, "inputs": xs, **({} if cuts is None else {"cuts": cuts})}
    if isinstance(model, tuple) and len(model) == 2:
        if isinstance(model[0], Chain | Network):
            return {"net": model[0], "params": model[1], "xs": xs}
        return {"f": model[0], "params": model[1], "xs": xs, "each": each}
    if isinstance(model, Mapping | list):
        return {"layers": model, "xs": xs, "each": each}
    if callable(model) and any(map(is_array, jax.tree.leaves(model))):
        return {"f": _called, "params": model, "xs": xs, "each": each}
    raise TypeError(
        "model: expected a module of Equinox, NNX or PyTorch, a pair (f, params), a list of layers "
        f"or a pair (net, params), got {type(model).__name__}; parameters that a function closes "
        "over have to be handed over with it"
    )


def _called(module: Any, xs: Any) -> Any:
    return module(xs)
