"""Setups: a program with its batches, as a change takes it and a learner trains it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from ..chain.chain import Chain
from ..evidence.jax_trial import JaxTrial
from ..evidence.torch_trial import TorchTrial
from ..evidence.trial import Trial
from ..flow.record.flow import Flow
from ..flow.verdict.verdict import Verdict
from ..models import Program
from ..patients.jax_patients import ChainPatient, NetworkPatient
from ..patients.patient import Params, Patient, PerLayer
from ..patients.torch_patient import TorchPatient
from ..train.descent import as_function
from ..train.jax_learner import JaxLearner
from ..train.learner import Batch, Known, Learner
from ..train.torch_learner import TorchLearner
from .score import Aim

if TYPE_CHECKING:
    from .tools import Tools

SMALL = 32  # examples of a step, where there are at least twice as many


class Attempt(NamedTuple):
    """A changed network: parameters of a patient, which may have another structure."""

    params: Params | None  # None if there are none, with the reason
    factors: PerLayer | None = None  # on the weights of each layer
    flow: Flow | None = None  # if it was measured already
    patient: Any = None  # that which was changed if None
    reason: str | Callable[[Verdict], str] = ""  # why it is no cure whatever is measured
    # leaves the layers that make signal and examples alone, which then do not count
    is_named: bool = False

    def refusal(self, result: Verdict) -> str:
        """Return why it is no cure whatever is measured; "" if it may be one."""
        return self.reason if isinstance(self.reason, str) else self.reason(result)

    @property
    def program(self) -> Program:
        """The changed network, to be trained."""
        made: Program = self.patient.to_train(self.params)
        return made

    @property
    def code(self) -> str:
        """The lines that make it of the user's own network."""
        return str(self.patient.code(self.params))


def patient_of(program: Program, seed: int = 0) -> Patient:
    """Return a program as what its layers are changed in."""
    if program.of_torch:
        return TorchPatient(program, seed)
    kind = ChainPatient if isinstance(program.network[0], Chain) else NetworkPatient
    return kind(program, seed)


@dataclass(frozen=True)
class Setup:
    """A program, what it is trained on, and how.

    times: the optimiser's steps, times this.
    is_split: whether the batches are trained on in smaller ones.
    words: what the sentences of the change that made it name.
    attempt: its network as a change has it; `formed` is a program of that.
    """

    program: Program
    batches: tuple[Batch, ...]
    times: float = 1.0
    is_split: bool = False
    words: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    attempt: Attempt | None = None
    known: Known = field(default_factory=dict, repr=False)  # programs of JAX, without tracing them

    @classmethod
    def on(cls, patient: Patient) -> "Setup":
        """Return the program of a patient, which is changed by way of it."""
        one = cls(patient.program, (Batch(patient.program.xs, patient.program.ys),))
        vars(one)["patient"] = patient
        return one

    @classmethod
    def of(cls, program: Program, batches: Sequence[Batch] = ()) -> "Setup":
        """Return a program as changes take it, its batches split where they can be."""
        batches = tuple(batches) or (Batch(program.xs, program.ys),)
        program = as_function(program)
        one = cls(program.but(xs=batches[0].xs, ys=batches[0].ys), batches)
        can_split = min(map(_count, batches)) >= 2 * SMALL and one.learner().count > 0
        return replace(one, is_split=can_split)

    def but(self, times: float | None = None, **changes: Any) -> "Setup":
        """Return it with changes of its program, or with another factor of the step."""
        batches = tuple(changes.pop("batches", self.batches))
        xs, ys = batches[0]
        program = self.program.but(**{"xs": xs, "ys": ys} | changes)
        times = self.times if times is None else times
        return replace(self, program=program, batches=batches, times=times)

    def saying(self, **words: Any) -> "Setup":
        """Return it with the words of a change."""
        return replace(self, words=words)

    def of_data(self, xs: Any = None, ys: Any = None) -> "Setup":
        """Return it with each array of its inputs or its labels changed by a function."""

        def changed(f: Any, tree: Any) -> Any:
            return tree if f is None else jax.tree.map(f, tree)

        return self.but(batches=[Batch(changed(xs, b.xs), changed(ys, b.ys)) for b in self.batches])

    @property
    def loss(self) -> Any:
        """The loss, if changes may be made of it: not inside of a step of the user's own."""
        return None if self.program.step is not None else self.program.loss

    @cached_property
    def steps(self) -> list[tuple[Batch, np.ndarray | None]]:
        """The batch of each step, and the examples of it: some, in a random order, or all."""
        if not self.is_split:
            return [(batch, None) for batch in self.batches]
        orders = ((batch, _order(_count(batch))) for batch in self.batches)
        return [(batch, rows) for batch, order in orders for rows in order]

    def batch(self, step: int) -> Batch:
        """Return what a step, from 0, is taken on."""
        batch, rows = self.steps[step % len(self.steps)]
        return batch if rows is None else self.some(batch, rows)

    def some(self, batch: Batch, rows: np.ndarray) -> Batch:
        """Return some examples of a batch."""
        return Batch(*jax.tree.map(partial(self.tools.rows, rows=rows), tuple(batch)))

    def learner(self) -> Learner:
        """Return what trains it."""
        kind = TorchLearner if self.program.of_torch else JaxLearner
        return kind(self.program, self.times, self.known)

    @cached_property
    def tools(self) -> "Tools":
        """The tools of its framework, with which changes are made."""
        from .jax_tools import JaxTools
        from .torch_tools import TorchTools

        return TorchTools() if self.program.of_torch else JaxTools()

    @cached_property
    def trial(self) -> Trial:
        """Its first batch, as it is at the start."""
        kind = TorchTrial if self.program.of_torch else JaxTrial
        return kind(self.program)

    @cached_property
    def output(self) -> np.ndarray | None:
        """The output of its first batch at the start."""
        return self.trial.first

    @cached_property
    def aim(self) -> Aim:
        """What its labels are."""
        return Aim.of(self.output, self.trial.ys)

    @cached_property
    def bare(self) -> "Setup | None":
        """It without its last activation; None without one."""
        return self.tools.headless(self)

    @cached_property
    def patient(self) -> Patient:
        """Its network, as what its layers can be changed in."""
        return patient_of(self.program)

    def attempted(self, attempt: Attempt, **words: Any) -> "Setup":
        """Return it with an attempt, and its words."""
        patient = self.patient if attempt.patient is None else attempt.patient
        return replace(self, attempt=attempt._replace(patient=patient), words=words)

    @property
    def formed(self) -> "Setup":
        """It with the network of the attempt as its program."""
        if self.attempt is None:
            return self
        made = self.attempt.program
        network = {"network": vars(made)["network"]} if "network" in vars(made) else {}
        optimizer = self.tools.optimizer_of(self, made.model)
        formed = self.but(model=made.model, optimizer=optimizer, **network)
        return replace(formed, attempt=None)

    def reformed(self, patient: Patient | None, params: Params = None) -> "Setup | None":
        """Return it with the network of a patient; None without one."""
        if patient is None:
            return None
        return self.attempted(
            Attempt(patient.params if params is None else params, patient=patient)
        ).formed


def _count(batch: Batch) -> int:
    """Return the number of examples of a batch; 0 if it has no axis of them."""
    leaves: list[Any] = jax.tree.leaves(batch.xs if batch.ys is None else batch.ys)
    return len(leaves[0]) if leaves and getattr(leaves[0], "ndim", False) else 0


@cache
def _order(count: int) -> np.ndarray:
    """Return the examples of small batches, (S, b), without those that are left over."""
    order = np.random.default_rng(0).permutation(count)
    return order[: count // SMALL * SMALL].reshape(-1, SMALL)
