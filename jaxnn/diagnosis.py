"""One call for any network: measured, judged, and shown in a notebook.

`model -> a Chain or Network with its params, or torch's module -> flow -> Diagnosis`
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import jax
import numpy as np

from .arrays.compiled import few_runs, measuring
from .chain.chain import Chain
from .errors import DisagreementError
from .evidence.evidence import Evidence
from .evidence.jax_trial import JaxTrial
from .evidence.torch_trial import TorchTrial
from .flow.gradient_flow import flow_of
from .flow.measure.flow_of_net import known_loss
from .flow.measure.theory_flow import GOAL
from .flow.record.flow import Flow
from .flow.record.loss import random_loss
from .flow.verdict.format_plan import Plan, plan
from .flow.verdict.verdict import Verdict, verdict
from .flow.view.chart import chart, with_picture
from .models import Cuts, Model, Program
from .network.network import Network
from .passes.walk import Memory
from .progress import live
from .pytorch.call import own_loss, prediction_of
from .pytorch.copies import copied
from .pytorch.types import torch
from .trials.cures import Cures, tried_on
from .trials.race import SECONDS_OF_CURES
from .trials.setup import patient_of

log = logging.getLogger("jaxnn.cli")

TRY = "To see what would help"


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """A network's flow and the verdict on it; `print` it, or let a notebook show it with a chart.

    flow: the measurement.
    verdict: in words.
    plan: the number formats, if it was measured with entries=True; else None.
    loss: what was differentiated, in words.
    note: a sentence on a state that is no finite number, or on a float64 that was needed; or empty.
    cures: changes of the network, tried on it; made where it is first asked for, which takes some
        dozens of flows, and with a loss at most a minute of training.
    """

    flow: Flow
    loss: str
    note: str = ""
    program: Program | None = field(default=None, compare=False)
    """The network with its data, on which `cures` are tried; None if they are not known."""
    evidence_of: Callable[[], Evidence] | None = field(default=None, compare=False)
    """The experiments with the batch; None if it is not known."""
    has_loss: bool = field(default=False, compare=False)
    """Whether the loss is that of a training, by which cures are ranked."""

    @cached_property
    def evidence(self) -> Evidence | None:
        """Results of experiments with the batch: its data, the loss, the weights."""
        with few_runs():
            return None if self.evidence_of is None else self.evidence_of()

    @cached_property
    def cures(self) -> Cures:
        """Changes of the network that were tried on it, see `jaxnn.cures`."""
        if self.program is None:
            raise ValueError(
                "cures: expected a diagnosis of jaxnn.diagnose, which knows the network, got one "
                "that was made of a flow; jaxnn.cures takes the network itself"
            )
        with live():
            tried = tried_on(patient_of(self.program), seconds=SECONDS_OF_CURES * self.has_loss)
        return replace(tried, verdict=self.verdict)  # with what the evidence shows

    @cached_property
    def verdict(self) -> Verdict:
        """The verdict on the flow and the evidence."""
        return verdict(self.flow, evidence=self.evidence)

    @cached_property
    def plan(self) -> Plan | None:
        """The cheapest number formats of its layers, if their entries were counted."""
        return None if self.flow.entries is None else plan(self.flow)

    @property
    def sentences(self) -> tuple[str, ...]:
        """The note, the verdict, the plan if there is one, and what may help."""
        return self.ending(f"{TRY}, print diagnosis.cures.")

    def ending(self, to_try: str) -> tuple[str, ...]:
        """Return the sentences, where something can be cured with another last one.

        Args:
            to_try: says how the reader has cures tried; "" for nothing.
        """
        said, formats = self.verdict, [] if self.plan is None else str(self.plan).split("\n")
        can_be_cured = said.can_be_cured and self.program is not None
        closing = (*map(str, said.remedies), to_try) if can_be_cured else said.closing
        note = "" if said.broken else self.note
        return tuple(filter(None, (note, *said.sentences, *formats, *closing)))

    def __repr__(self) -> str:
        return "\n".join((*self.sentences, f"{self.loss[:1].upper()}{self.loss[1:]}."))

    def _repr_html_(self) -> str:
        return with_picture(repr(self).split("\n"), lambda: chart(self.flow))


@measuring
def diagnose(
    model: Model,
    xs: Any,
    ys: Any = None,
    *,
    loss: Any = None,
    cotangent: Any = None,
    each: str = "batch",
    cuts: Cuts = None,
    memory: Memory = "all",
    seed: int = 0,
    entries: bool = False,
    theory: bool = False,
    theory_error: float = GOAL,
) -> Diagnosis:
    """Measure the gradient of every layer of a network, whatever it is made of, and judge it.

    For model, xs, ys, cotangent, each, cuts, memory, entries, theory and theory_error see
    `jaxnn.gradient_flow`; with entries there is a `.plan` of number formats too.

    Args:
        loss: (output, ys) -> the loss, see there. Without it and a cotangent, the loss of a
            Network's task if there are labels, that of a module of PyTorch's own, else a random
            linear one.
        seed: of the random loss.

    Returns:
        Diagnosis: `.verdict`, `.flow`, `.cures`; it prints the verdict.

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
    program = Program.of(**locals())
    if cotangent is not None and (loss is not None or ys is not None):
        raise ValueError("cotangent: expected it, or ys and loss, got both")
    options: dict[str, Any] = {"memory": memory, "entries": entries}
    return diagnosed(program, seed, **options, theory=theory, theory_error=theory_error)


def diagnosed(program: Program, seed: int = 0, **options: Any) -> Diagnosis:
    """Return the diagnosis of a program, given options of `flow_of`."""
    log.debug("measuring the gradient of every layer")
    return (_of_torch if program.of_torch else _of_jax)(program, seed, options)


def _of_torch(program: Program, seed: int, options: dict[str, Any]) -> Diagnosis:
    told = [_loss_in_words(program, seed, labels=False)]

    def own_or_random(output: Any, seed: int) -> Any:
        value = own_loss(output)
        if value is None:
            return _random_loss_of_torch(output, seed)
        told.append("measured with the module's own loss")
        return value

    measured = program
    if program.loss is None and program.cotangent is None:
        measured = program.but(ys=seed, loss=own_or_random)
    try:
        flow, note = flow_of(measured, **options), ""
    except DisagreementError as error:
        flow, note = _in_float64(measured, options, error)
    # Now, since a module is trained in place.
    evidence = Evidence.of(TorchTrial(program, flow.parameters.of_last_layer))
    has_loss = program.loss is not None or len(told) > 1
    return Diagnosis(flow, told[-1], note, measured, lambda: evidence, has_loss)


def _of_jax(program: Program, seed: int, options: dict[str, Any]) -> Diagnosis:
    net, _ = program.network
    words = _loss_in_words(program, seed, labels=isinstance(net, Network))
    program = program.but(loss=known_loss(program))
    trial = JaxTrial(program)
    if program.loss is None and program.cotangent is None:
        if isinstance(net, Chain):
            program = program.but(ys=jax.random.key(seed), loss=random_loss)
        elif program.ys is None:
            shape = (*np.shape(program.xs)[:1], net.sizes[-1])
            cotangent = jax.random.normal(jax.random.key(seed), shape) / shape[0]
            program = program.but(cotangent=cotangent)
    with few_runs():
        flow, note = _with_note(program, options)
    has_loss = program.cotangent is None and program.loss is not random_loss
    return Diagnosis(flow, words, note, program, lambda: Evidence.of(trial), has_loss)


def _loss_in_words(program: Program, seed: int, labels: bool) -> str:
    """Return the loss in words; labels need none where a Network or a module has it."""
    if program.loss is not None:
        return "measured with your loss"
    if program.cotangent is not None:
        return "measured with your cotangent"
    if program.ys is None:
        return f"measured with a random linear loss of seed {seed}, for none was given"
    if not labels:
        raise ValueError("loss: expected loss(output, ys) with ys, got none")
    return "measured with the loss of the task"


def _in_float64(program: Program, options: dict[str, Any], error: ValueError) -> tuple[Flow, str]:
    """Return the flow of a copy of a module of PyTorch in float64, and a note on why."""
    # Where a softmax is saturated, its slope is a difference of numbers that are all but equal.

    def wide(v: Any) -> Any:
        return v.double() if torch.is_tensor(v) and v.is_floating_point() else v

    data = {"xs": program.xs, "ys": program.ys, "cotangent": program.cotangent}
    given = torch.utils._pytree.tree_map(wide, data)
    try:
        flow = flow_of(program.but(model=copied(program.model).double(), **given), **options)
    except Exception:
        raise error from None
    return flow, f"Measured on a copy in float64. In its own float: {error}"


def _random_loss_of_torch(output: Any, seed: int) -> Any:
    first = prediction_of(output)
    generator = torch.Generator().manual_seed(seed)
    c = torch.randn(first.shape, generator=generator).to(first)
    return (c * first).sum() / len(first)


def _with_note(program: Program, options: dict[str, Any]) -> tuple[Flow, str]:
    """Return a flow and an empty note, or, if a state is no finite number, a note that says so."""
    try:
        return flow_of(program, **options), ""
    except ValueError as error:
        sentence = error
    net, params = program.network

    def of(params: Any, xs: Any, ys: Any, cotangent: Any) -> Flow:
        traced = program.but(network=(net, params), xs=xs, ys=ys, cotangent=cotangent)
        return flow_of(traced, **options)

    try:  # by a program, which looks at no values
        flow = jax.jit(of)(params, program.xs, program.ys, program.cotangent)
    except Exception:
        raise sentence from None
    if np.all(np.asarray(flow.log_mean_square) < np.inf):
        raise sentence
    return flow, str(sentence)
