"""Setups: a program with its batches, as a change takes it and a learner trains it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ..curing.cures import patient_of
from ..curing.patient import Params, Patient
from ..evidence.jax_trial import JaxTrial
from ..evidence.torch_trial import TorchTrial
from ..evidence.trial import Trial
from ..models import Program
from ..train.jax_learner import JaxLearner
from ..train.learner import Batch, Known, Learner
from ..train.torch_learner import TorchLearner
from .score import Aim

if TYPE_CHECKING:
    from .tools import Tools

SMALL = 32  # examples of a step, where there are at least twice as many


@dataclass(frozen=True)
class Setup:
    """A program, what it is trained on, and how.

    times: the optimiser's steps, times this.
    is_split: whether the batches are trained on in smaller ones.
    words: what the sentences of the change that made it name.
    """

    program: Program
    batches: tuple[Batch, ...]
    times: float = 1.0
    is_split: bool = False
    words: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    known: Known = field(default_factory=dict, repr=False)  # programs of JAX, without tracing them

    def but(self, times: float | None = None, **changes: Any) -> "Setup":
        """Return it with changes of its program, or with another factor of the step."""
        batches = changes.pop("batches", self.batches)
        words = changes.pop("words", self.words)
        xs, ys = batches[0]
        program = self.program.but(**{"xs": xs, "ys": ys} | changes)
        times = self.times if times is None else times
        return Setup(program, tuple(batches), times, self.is_split, words, self.known)

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
    def small_batches(self) -> list[Batch]:
        """The batches of the steps: some examples of each batch, in a random order."""
        if not self.is_split:
            return [*self.batches]
        return [small for batch in self.batches for small in self._split(batch)]

    def _split(self, batch: Batch) -> Iterator[Batch]:
        """Yield the small batches of one."""
        count = len(jax.tree.leaves(batch.ys)[0])
        order = np.random.default_rng(0).permutation(count)
        for rows in order[: count // SMALL * SMALL].reshape(-1, SMALL):
            yield Batch(*jax.tree.map(partial(self.tools.rows, rows=rows), tuple(batch)))

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

    def reformed(self, patient: Patient | None, params: Params = None) -> "Setup | None":
        """Return it with the network of a patient; None without one."""
        if patient is None:
            return None
        made = patient.to_train(patient.params if params is None else params)
        network = {"network": vars(made)["network"]} if "network" in vars(made) else {}
        optimizer = self.tools.optimizer_of(self, made.model)
        return self.but(model=made.model, optimizer=optimizer, **network)
