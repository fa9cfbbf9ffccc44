"""Replicas of a module, run side by side up and down.

    module, its call -> a survey, one plain pass -> for each seed R replicas under their modes
    -> of each the states and Δ, as exponents and norms -> their mean squares

States are recorded and gone down from as those of the module itself are; all replicas and examples
are brought to one power of two at a gate, since draws mix them.
"""

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...arrays.rows import ZERO_EXPONENT
from ...errors import NoTwinError
from ..autograd_gates import Survey
from ..backward_passes import Descent, Pass, Rule, scaled_pass
from ..block_choice import reached_states
from ..call import Call, recording
from ..cuts import listed, modules_of, parameters_of, unwrapped
from ..hooks import CutState, StateRecorder, numbered
from ..inputs import entered, entering
from ..restore import holding, unchanged
from ..tensors import tensors_in
from ..types import Arguments, Module, Output, Tensor, torch
from .computed import TIMES, check_computed
from .lockstep import Lockstep
from .places import draws_of
from .products import STATE
from .wide import Replica

CHECKPOINTS = (
    "module: theory expects layers that are called on the way up alone, and {name} is called again "
    "on the way down, as under torch.utils.checkpoint; measure without checkpoints"
)


class TwinStates(NamedTuple):
    """Measurements of one draw of the twin; row 0 of Δ is of no use."""

    # Of each state its parts, replicas behind the examples, (B, R, …).
    values: list[list[np.ndarray]]
    # Δ of each state and example as m 2^exponent, its mean square over the replicas.
    exponent: np.ndarray
    largest: np.ndarray
    norm: np.ndarray


class _SurveyedLayers(NamedTuple):
    """The layers, as a survey has found them: places of states among all, and their graph."""

    places: list[int]
    survey: Survey


class _OfOneReplica(NamedTuple):
    layers: _SurveyedLayers
    states: list[CutState]
    down: Pass


class _OfThisThread(StateRecorder):
    """Hooks that write into the recorder of the thread, each of which runs a replica."""

    def __init__(self) -> None:
        super().__init__(strict=False)
        self.local = threading.local()

    def _up(self, name: str, module: Module, args: Arguments, output: Output) -> Any:
        recorder: StateRecorder = self.local.recorder
        if not recorder.open:
            raise NoTwinError(CHECKPOINTS.format(name=name))
        return recorder._up(name, module, args, output)


class Twin:
    """The wide twin of a module of PyTorch, of R replicas.

    Raises:
        NoTwinError: an operation that theory does not know, or a weight that is used in ways for
            which there is no one draw.
    """

    def __init__(self, call: Call, cuts: tuple[str, ...], replicas: int) -> None:
        module = unwrapped(call.module)
        _check_autocast(module)
        self.call, self.cuts = call._replace(module=module), cuts
        self.chosen = {name: m for name, m in modules_of(module).items() if name in cuts}
        self.replicas = replicas
        self.layers: _SurveyedLayers | None = None
        replica, plain = self._survey()
        self.draws = draws_of(replica.uses)
        self.layers = plain.layers
        if replica.computed:
            self._check_computed(replica)

    def _survey(self) -> tuple[Replica, _OfOneReplica]:
        """Run the module as it is, to see which weights are shared and what its layers are."""

        def alone(entry: str) -> tuple[Replica, _OfOneReplica]:
            self.call = self.call._replace(entry=entry)
            return self._run(lambda _: Replica(self.call.module, self._tensors()))[0]

        return entered(alone)

    def _check_computed(self, replica: Replica) -> None:
        """Look at computed weights again, with other numbers in the parameters."""
        parameters, known = parameters_of(self.call.module), [replica.computed]
        for seed in range(1, TIMES):
            others = replica.places.other_numbers(parameters, seed) if replica.places else {}
            with holding(parameters, others):
                known.append(self._survey()[0].computed)
        check_computed(known)

    def draw(self, seed: int) -> TwinStates:
        """Return a draw of the states and of Δ."""
        together = Lockstep(self.replicas)

        def replica(number: int) -> Replica:
            given = self.call.module, self._tensors()
            return Replica(*given, seed, number, together, self.draws)

        return _mean([result for _, result in self._run(replica, together)])

    def _tensors(self) -> list[Any]:
        return tensors_in([self.call.inputs, self.call.ys, self.call.cotangent])

    def _run(
        self, replica_of: Callable[[int], Replica], together: Lockstep | None = None
    ) -> list[tuple[Replica, _OfOneReplica]]:
        """Run replicas up and down; a survey, without others, is one."""
        module = self.call.module
        meeting, recorders = together or Lockstep(1), _OfThisThread()

        def task(number: int) -> tuple[Replica, _OfOneReplica]:
            replica = replica_of(number)
            recorder = recorders.local.recorder = StateRecorder(strict=False)
            with replica.mode(), torch.enable_grad():
                return replica, self._up_and_down(replica, recorder)

        with (
            recording(),
            unchanged(module, tensors_in([self.call.inputs, self.call.ys])),
            recorders.hooked(self.chosen),
        ):
            return meeting.run(task)

    def _up_and_down(self, replica: Replica, recorder: StateRecorder) -> _OfOneReplica:
        args, named, x = entering(self.call.inputs, self.call.entry)
        for tensor in tensors_in([args, named, x]):
            replica.weights[tensor] = STATE
        output = self.call.module(*args, **named)
        recorder.closed()
        top, cotangent = self.call.top(output, len(x))
        replica.goes_up = False
        layers = self.layers or self._surveyed(recorder, x, top)
        places, survey = layers
        states = [recorder.states[place] for place in places]
        shifts = dict.fromkeys(range(len(states) + 2), 0)
        descent = Descent(top, cotangent, None, numbered(states), survey, {})
        return _OfOneReplica(
            layers, survey.own_parts(states), scaled_pass(descent, _together(replica), shifts)
        )

    def _surveyed(self, recorder: StateRecorder, x: Tensor, top: Tensor) -> _SurveyedLayers:
        """Return the layers, which are those of the module itself."""
        edge = torch.autograd.graph.get_gradient_edge
        ends = edge(top), edge(x) if x.requires_grad else None
        chosen, survey = reached_states(recorder.states, *ends, strict=False)
        if tuple(state.cut for state in chosen) != self.cuts:
            raise NoTwinError(
                "module: theory expects modules whose calls are all layers, and some calls of "
                f"{listed(self.chosen)} are none; choose others with cuts"
            )
        if survey.functions:
            names = ", ".join(sorted({node.name() for node in survey.functions}))
            raise NoTwinError(
                f"module: theory expects operations of torch alone, and {names} has a backward of "
                "its own; measure without theory"
            )
        places = [i for i, s in enumerate(recorder.states) if any(s is state for state in chosen)]
        return _SurveyedLayers(places, survey)


def _check_autocast(module: Module) -> None:
    devices = {v.device.type for v in module.parameters()}
    for device in sorted(devices):
        if torch.is_autocast_enabled(device):
            raise NoTwinError(
                "module: theory is of numbers as they are, and torch.autocast is on, for "
                f"{device}; measure with theory outside of it"
            )


def _together(replica: Replica) -> Rule:
    """Return the rule that brings all examples and replicas to one power of two at a gate."""

    def by(at: int, k: np.ndarray, total: np.ndarray, exponent: np.ndarray) -> np.ndarray:
        highest = int(np.max(exponent))
        if replica.others is not None:
            highest = replica.others.meet(replica.number, highest, max)
        return np.asarray(total - (0 if highest == ZERO_EXPONENT else highest))

    return by


def _mean(replicas: list[_OfOneReplica]) -> TwinStates:
    """Return the mean squares over the replicas."""
    states = list(zip(*(replica.states for replica in replicas), strict=True))
    values = [
        [np.stack(parts, axis=1) for parts in zip(*map(_values, of_state), strict=True)]
        for of_state in states
    ]
    exponents = np.stack([replica.down.exponent for replica in replicas])
    exponent = exponents.max(axis=0)
    by = np.ldexp(1.0, np.maximum(exponents - exponent, -2000))
    largest, norm = (
        np.stack([getattr(replica.down, name) for replica in replicas]) * by
        for name in ("largest", "norm")
    )
    return TwinStates(values, exponent, largest.max(axis=0), np.sqrt(np.square(norm).mean(axis=0)))


def _values(state: CutState) -> list[np.ndarray]:
    return [part.value for part in state.parts]
