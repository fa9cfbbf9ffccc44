"""Patients of PyTorch: a module with its data."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool

from ..evidence.parameters import KnownParameters
from ..evidence.torch_trial import TorchTrial
from ..graph.steps import Axes
from ..models import Program
from ..pytorch import recurrent
from ..pytorch.copies import copied
from ..pytorch.cuts import unwrapped
from ..pytorch.graphs import count_of_relu, graph_of
from ..pytorch.restore import holding, same_random_states
from ..recognition.branches import branches_of, is_post_norm, kernels_of
from ..texts import clean, listed
from . import code, hooks
from .draws import MATRIX, Source, TorchSource
from .patient import At, Form, Leaky, Patient, PerLayer, Places
from .words import names_in_words

Tensor = Any  # of torch, which is not imported
Module = Any
Tensors = Mapping[str, Tensor]


class TorchPatient(Patient):
    """A module of PyTorch with its data; params by their names."""

    network: Module

    def __init__(self, program: Program, seed: int = 0):
        self.network, self.inputs = unwrapped(program.model), program.xs
        params = dict(self.network.named_parameters())
        super().__init__(program.but(model=self.network), params, seed)
        self.written: list[str] = []  # of what makes this structure of the user's own module
        self.at_first = self.params  # before all changes

    @contextmanager
    def holding(self, params: Tensors) -> Iterator[Program]:
        """Give the module these parameters, and its own ones back at the end."""
        parameters = dict(self.network.named_parameters())
        changed = {name: params[name] for name, v in parameters.items() if params[name] is not v}
        with holding(parameters, changed):
            yield self.program

    def user(self, params: Tensors) -> Tensors:
        """Return a state dict of the module."""
        state = {name: v.detach().clone() for name, v in self.network.state_dict().items()}
        return state | {name: v.detach().clone() for name, v in params.items() if name in state}

    @property
    def has_loss(self) -> bool:
        return self.program.cotangent is None

    def to_train(self, params: Tensors) -> Program:
        return self.program.but(model=self.model(params))

    def model(self, params: Tensors) -> Module:
        """Return a copy of the module with these parameters."""
        module = copied(self.network)
        module.load_state_dict(self.user(params))
        return module

    def code(self, params: Tensors) -> str:
        after = {at: _as_numpy(params[self.path(at)]) for at in self.arrays}
        before = {at: self.before(at) for at in after}
        edits = code.edits_between(before, after, self.path, self.axes, self.normal)
        lines = code.seeded(code.OfTorch("model").lines(edits), edits, self.seed, of_torch=True)
        # Numbers first: another structure gives modules other names.
        return "\n".join([*lines, *self.written])

    @cached_property
    def _names(self) -> dict[At, str]:
        """The names of the parameters that are in a layer."""
        parameters = self.flow.parameters
        return {
            (layer - 1, number): path
            for number, (layer, path) in enumerate(
                zip(parameters.layers, parameters.paths, strict=True)
            )
            if path in self.params
        }

    @cached_property
    def arrays(self) -> Mapping[At, np.ndarray]:
        return {
            at: _as_numpy(self.params[name])
            for at, name in self._names.items()
            if self.params[name].is_floating_point()
        }

    def path(self, at: At) -> str:
        return self._names[at]

    def before(self, at: At) -> np.ndarray:
        return _as_numpy(self.at_first[self.path(at)])

    @cached_property
    def kernels(self) -> Mapping[At, Axes]:
        axes = kernels_of(graph_of(self.network, self.inputs))
        return {at: axes[name] for at, name in self._names.items() if name in axes}

    def axes(self, at: At) -> Axes:
        """Return the axes of inputs and of outputs of a matrix, (1, 0) in torch, or a kernel."""
        return self.kernels.get(at, MATRIX[::-1])

    @cached_property
    def branches(self) -> list[Places]:
        places = {name: at for at, name in self._names.items()}
        branches = (
            {places[name] for name in names if name in places}
            for names in branches_of(graph_of(self.network, self.inputs))
        )
        return [branch for branch in branches if branch and self.is_changed(min(branch))]

    @property
    def is_tied(self) -> bool:
        return self.flow.parameters.tied

    @property
    def is_post_norm(self) -> bool:
        return is_post_norm(graph_of(self.network, self.inputs))

    @cached_property
    def gates(self) -> Mapping[At, slice]:
        places = {name: at for at, name in self._names.items()}
        named = recurrent.gates_of(self.network).items()
        return {places[name]: slice(*entries) for name, entries in named if name in places}

    @property
    def is_of_relu(self) -> bool:
        modules = self._modules(self.layers)
        count = count_of_relu(self.network, modules, self.inputs)
        return count == len(self.weights)

    def _modules(self, layers: Bool[np.ndarray, " L"]) -> list[str]:
        """Return the names of some layers, which are those of their modules."""
        return [name for name, meant in zip(self.flow.names, layers, strict=True) if meant]

    def multiplied(self, params: Tensors, factors: PerLayer, only: Places | None = None) -> Tensors:
        meant = self.every_weight if only is None else only
        changed = {
            self._names[at]: params[self._names[at]].detach() * float(factors[at[0]])
            for at in meant
            if factors[at[0]] != 1
        }
        return {**params, **changed}

    @contextmanager
    def source(self, count: int) -> Iterator[Source]:
        with same_random_states(self.params.values()):
            yield TorchSource(self.seed, next(iter(self.params.values())))

    def with_arrays(self, new: Mapping[At, np.ndarray]) -> Tensors:
        changed = {
            self._names[at]: self.params[self._names[at]].detach().new_tensor(v)
            for at, v in new.items()
        }
        return {**self.params, **changed}

    def with_params(self, params: Tensors) -> Patient:
        made = TorchPatient(self.program.but(model=self.model(params)), self.seed)
        made.written, made.at_first, made.normal = self.written, self.at_first, self.normal
        return made

    @property
    def parameters(self) -> KnownParameters:
        return KnownParameters.of(TorchTrial(Program(self.network, self.inputs)))

    def opened(self) -> Patient | None:
        if self.flow.stopped is None or self.flow.stopped.why not in ("frozen", "detached"):
            return None
        if self._is_frozen:
            written = ["model.requires_grad_(True)"]
            return self._rebuilt(copied(self.network).requires_grad_(True), written)
        written = ["# the forward pass without detach and torch.no_grad"]
        return self._rebuilt(hooks.opened(self.network), written)

    @property
    def _is_frozen(self) -> bool:
        return self.flow.stopped is not None and self.flow.stopped.why == "frozen"

    @property
    def opening(self) -> str:
        parts = listed(map(clean, self.flow.stopped.parts)) if self.flow.stopped else ""
        return (
            f"Set requires_grad=True for {parts}."
            if self._is_frozen
            else f"Take detach or no_grad away, so that {parts} get a gradient."
        )

    @cached_property
    def _layers(self) -> list[hooks.Layer]:
        return hooks.layers_of(self.network, self.flow.names)

    @property
    def _rebuildable(self) -> list[hooks.Layer]:
        return [layer for layer, meant in zip(self._layers, self.rebuildable, strict=True) if meant]

    @cached_property
    def rebuildable(self) -> Bool[np.ndarray, " L"]:
        """A mask of the layers that repeat and keep the shape of their state."""
        keep = hooks.keep_their_shape(self.network, self._layers, self.inputs)
        return np.asarray(self.repeating & keep)

    @property
    def rebuildable_names(self) -> str:
        known = [name for name, _ in self.network.named_modules()]
        names = names_in_words([layer.name for layer in self._rebuildable], known)
        are_wide = any(layer.between for layer in self._rebuildable)
        more = " (each together with the modules between it and the one before)" if are_wide else ""
        return f"the modules {names}{more}"

    def with_form(self, form: Form) -> Patient | None:
        layers = self._rebuildable
        written = code.of_modules(layers, form.code("self.layer", 1))
        if hooks.are_overwriting(self.network, layers):
            written = ["for m in model.modules():", f"{code.INDENT}m.inplace = False", *written]
        return self._rebuilt(hooks.with_form(self.network, layers, form), written)

    def with_units(self, sigma: Leaky, everywhere: bool = False) -> Patient | None:
        layers = self._rebuildable
        if everywhere:
            layers = [*map(hooks.Layer, hooks.hidden_activations(self.network))]
        leaky = f"torch.nn.functional.leaky_relu(z, {sigma.slope:.6g})"
        inside = [*map(hooks.Layer, hooks.activations(self.network, layers))]
        written = code.of_modules(inside, f"{sigma.gain:.6g} * {leaky}", holds=False)
        made = self._rebuilt(hooks.with_units(self.network, layers, sigma), written)
        # A loss of derivatives passes fewer layers where units are linear in pieces.
        if everywhere:
            return made
        return made if made and made.in_range and made.flow.names == self.flow.names else None

    def _rebuilt(self, module: Module | None, written: list[str]) -> "TorchPatient | None":
        if module is None:
            return None
        made = TorchPatient(self.program.but(model=module), self.seed)
        made.written, made.at_first = [*self.written, *written], self.at_first
        made.normal = self.normal
        return made


def _as_numpy(v: Tensor) -> np.ndarray:
    return np.asarray(v.detach().cpu().double().numpy())
