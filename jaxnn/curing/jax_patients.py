"""Patients of JAX: a Network of ours, or a chain of the user's own layers."""

from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, PyTree

from ..arrays.compiled import few_runs, measuring
from ..chain.chain import Chain, Function, Link, from_function, from_layers
from ..chain.parameter_places import are_shared
from ..errors import NoTwinError
from ..evidence.jax_trial import JaxTrial
from ..evidence.parameters import KnownParameters
from ..flow.measure.chain_flow import OfWhole
from ..flow.measure.flow_of_net import flow_of_net
from ..flow.record.flow import Flow
from ..flow.record.loss import Loss
from ..models import Model
from ..network.network import Network
from ..train.descent import ADAM
from ..train.trainee import Trainee, trainee_of
from . import branches, code, remade, structure, units, weights
from .draws import Axes
from .jax_training import JaxTraining
from .patient import At, Draw, Form, Leaky, Params, Patient, PerLayer, Places
from .training import Trainable


class NetworkPatient(Patient):
    """A Network with its data, as for `jaxnn.gradient_flow`; of a chain see `ChainPatient`."""

    # like: the user's pytree, for arrays that no layer has; model: as the user hands it over.

    network: Network | Chain

    def __init__(
        self,
        network: Network | Chain,
        params: Params,
        xs: PyTree,
        ys: PyTree = None,
        *,
        loss: Loss | None = None,
        cotangent: PyTree = None,
        like: PyTree = None,
        model: Model | None = None,
        seed: int = 0,
        numbers: Int[np.ndarray, " L"] | None = None,
    ):
        self.network, self.xs, self.ys, self.like = network, xs, ys, like
        self.given = (network, params) if model is None else model
        self.loss, self.cotangent = loss, cotangent
        super().__init__(params, seed, numbers)

    def flow_of(self, params: Params, theory: bool = False) -> Flow:
        given = self.network, params, self.xs, self.ys
        measured = partial(flow_of_net, *given, loss=self.loss, cotangent=self.cotangent)
        with few_runs():
            try:
                return measured(theory=theory)
            except NoTwinError:
                return measured()

    def user(self, params: Params) -> Params:
        """Return the parameters themselves: they are the user's own."""
        return params

    def training(self, params: Params, optimizer: Any) -> Trainable | None:
        trainee = self._trainee(params)
        if trainee is None:
            return None
        return JaxTraining(trainee, self.xs, ADAM if optimizer is None else optimizer)

    def _trainee(self, params: Params) -> Trainee | None:
        """Return the network with other parameters as a training sees it; None without a loss."""
        if self.ys is None:
            return None
        return trainee_of((self.network, params), self.xs, self.ys)

    def model(self, params: Params) -> Model:
        """Return the user's own pytree, or a pair, with these numbers."""
        return remade.with_numbers(self.given, self.network, params, self.user(params))

    def code(self, params: Params) -> str:
        """Return "": the parameters of a Network are made by `jaxnn.init`."""
        return ""

    @cached_property
    def arrays(self) -> Mapping[At, np.ndarray]:
        return weights.arrays(self.network, self.params)

    def path(self, at: At) -> str:
        """Return "": arrays of a Network are named by their layer."""
        return ""

    @cached_property
    def is_tied(self) -> bool:
        return are_shared(self.network, self.params)

    def multiplied(self, params: Params, factors: PerLayer, only: Places | None = None) -> Params:
        meant = self.every_weight if only is None else only
        return weights.multiplied(self.network, params, factors, meant)

    def redrawn(self, meant: Places, draw: Draw) -> Params:
        return weights.redrawn(
            self.network, self.params, meant, lambda v, at: draw(v, self.axes(at))
        )

    def with_arrays(self, new: Mapping[At, np.ndarray]) -> Params:
        return weights.redrawn(self.network, self.params, new.keys(), lambda v, at: new[at])

    def with_params(self, params: Params) -> Patient:
        options: dict[str, Any] = {"loss": self.loss, "cotangent": self.cotangent}
        options |= {"like": self.like, "model": self.given}
        options |= {"seed": self.seed, "numbers": self.numbers}
        made = type(self)(self.network, params, self.xs, self.ys, **options)
        made.at_first = self.at_first
        return made

    @cached_property
    def at_first(self) -> Mapping[At, np.ndarray]:
        """The arrays before all changes."""
        return self.arrays

    def before(self, at: At) -> np.ndarray:
        return self.at_first[at]

    @property
    @measuring
    def parameters(self) -> KnownParameters:
        return KnownParameters.of(JaxTrial(self.network, self.params, self.xs))


class ChainPatient(NetworkPatient):
    """A chain of the user's own layers with its data, whose layers are looked into."""

    network: Chain

    def user(self, params: Params) -> Params:
        """Return the user's pytree."""
        return self.network.user(params, self.like)

    def _trainee(self, params: Params) -> Trainee | None:
        if self.loss is None:
            return None
        return Trainee(self.network, self.user(params), self.loss, self.ys)

    def path(self, at: At) -> str:
        """Return the path of an array in the user's pytree."""
        layer, number = at
        return self.network.paths[layer][number]

    def code(self, params: Params) -> str:
        return "\n".join(self.lines(weights.arrays(self.network, params)))

    def lines(self, arrays: Mapping[At, np.ndarray]) -> list[str]:
        """Return the lines that change numbers of the user's own pytree into others."""
        edits = code.edits_between(self.at_first, arrays, self.path, self.axes)
        lines = remade.dialect_of(self.given, self.like).lines(edits)
        return code.with_keys(lines, len(edits))

    @cached_property
    def _links(self) -> list[branches.TypedLink]:
        """Each different layer: those that are it, its arrays and its state."""
        return list(branches.links(self.network, self.params, self.xs))

    def _changed_links(self) -> Iterator[tuple[Link, Any, Any]]:
        return (link for layers, *link in self._links if self.layers[layers].any())  # type: ignore[misc]

    @cached_property
    def kernels(self) -> Mapping[At, Axes]:
        return {
            (layer, number): axes
            for layers, *link in self._links
            for number, axes in branches.kernels_of(*link).items()
            for layer in layers
        }

    @cached_property
    def branches(self) -> list[Places]:
        return [
            {(layer, number) for number in numbers}
            for layers, *link in self._links
            for numbers in branches.of_link(*link)
            for layer in layers
            if self.layers[layer]
        ]

    @property
    def is_post_norm(self) -> bool:
        return any(branches.is_post_norm(*link) for link in self._changed_links())

    @property
    def is_of_relu(self) -> bool:
        return len(self.weights) == int(self.layers.sum()) and all(
            units.are_relu(*link) == [True]
            for layers, *link in self._links
            if self.layers[layers].all()
        )

    @cached_property
    def rebuildable(self) -> Bool[np.ndarray, " L"]:
        keep = structure.keep_their_shape(self._links, len(self.layers))
        return np.asarray(keep & self.repeating)

    @cached_property
    def blocks(self) -> Patient:
        function, modules = self.network.made_of, structure.outermost(self.network.names)
        is_whole = self.is_tied or self.rebuildable.any() or len(modules) == len(self.layers)
        if is_whole or not isinstance(function, Function):
            return self
        each = "whole" if function.whole else "example" if function.each else "batch"
        options: dict[str, Any] = {"loss": self.loss, "cotangent": self.cotangent}
        options |= {"like": self.like, "model": self.given, "seed": self.seed}
        tree = self.user(self.params)
        try:
            cut = from_function(function.f.value, tree, self.xs, each=each, cuts=modules)
            blocks = ChainPatient(*cut, self.xs, self.ys, **options)
        except ValueError:  # it has no such modules, or no flow
            return self
        return blocks if blocks.rebuildable.any() else self

    def with_form(self, form: Form) -> Patient | None:
        where, takes_one = self.rebuildable_names, remade.takes_one(self.network)
        written = code.of_layers(form, where, self._operations, takes_one)
        return self._rebuilt(structure.Rebuilding(structure.Formed, form), written)

    @property
    def _operations(self) -> list[str]:
        """The operations of most of the layers whose structure may change."""
        _, *most = max(self._links, key=lambda link: int(self.rebuildable[link[0]].sum()))
        return structure.operations(*most)

    def with_units(self, sigma: Leaky) -> Patient | None:
        if not all(units.of_link(*link) for link in self._changed_links()):
            return None
        written = code.of_units(sigma, self.rebuildable_names)
        return self._rebuilt(structure.Rebuilding(units.WithUnits, sigma), written)

    def opened(self) -> Patient | None:
        if not any(structure.stops(*link) for _, *link in self._links):
            return None
        written = ["# the forward pass without jax.lax.stop_gradient"]
        return self._rebuilt(structure.Open, written, np.ones(len(self.layers), bool))

    opening = "Take stop_gradient away."

    def _rebuilt(
        self,
        form: structure.Rebuild,
        written: list[str],
        meant: Bool[np.ndarray, " L"] | None = None,
    ) -> Patient | None:
        meant = self.rebuildable if meant is None else meant
        state = self.network.state(self.xs)
        made = structure.rebuilt(self.network, self.params, state, meant, form)
        try:
            call = remade.Reformed(self.network, tuple(meant), form)
            return ReformedPatient(self, call, written, *made)
        except ValueError:  # the signal leaves the range
            return None


class ReformedPatient(ChainPatient):
    """A chain some of whose layers have another form."""

    # origin: the chain that it was made of; call: the same as a function of the origin's pytree;
    # written: the form in Python.

    def __init__(
        self,
        origin: ChainPatient,
        call: remade.Reformed,
        written: list[str],
        network: Chain,
        params: Params,
        numbers: Int[np.ndarray, " L"],
    ):
        self.origin, self.call, self.written = origin, call, written
        whole, loss = origin.network, origin.loss
        xs, cotangent = map(whole.state, (origin.xs, origin.cotangent))
        options: dict[str, Any] = {"cotangent": cotangent, "seed": origin.seed, "numbers": numbers}
        options["loss"] = OfWhole(loss) if whole.whole and loss else loss
        super().__init__(network, params, xs, origin.ys, **options)

    def with_params(self, params: Params) -> Patient:
        origin = self.origin, self.call, self.written
        made = type(self)(*origin, self.network, params, self.numbers)
        made.at_first = self.at_first
        return made

    def code(self, params: Params) -> str:
        return "\n".join([*self.written, *self.origin.lines(self._of_origin(params))])

    def _of_origin(self, params: Params) -> dict[At, np.ndarray]:
        """Return the arrays of the origin's layers with these numbers."""
        return {
            (int(number), i): np.asarray(v)
            for number, (_, parts) in zip(self.numbers, self.network.user(params), strict=True)
            for i, v in enumerate(v for arrays in parts for v in arrays)
            if (int(number), i) in self.origin.arrays
        }

    def model(self, params: Params) -> Model:
        """Return a function of the user's own pytree with these numbers, or such a module."""
        return remade.with_structure(self.origin.given, self.call, self._tree(params))

    def _tree(self, params: Params) -> PyTree:
        """Return the user's own pytree with these numbers."""
        return self.origin.user(self.origin.with_arrays(self._of_origin(params)))

    def _trainee(self, params: Params) -> Trainee | None:
        """Return it as one layer that takes batches of any size, if the origin is a function."""
        made_of = self.origin.network.made_of
        if self.loss is None or not isinstance(made_of, Function) or made_of.whole:
            return super()._trainee(params)
        layers = [(self.call, self._tree(params))]
        each = "example" if remade.takes_one(self.origin.network) else "batch"
        return Trainee(from_layers(layers, each=each)[0], layers, self.loss, self.ys)


def jax_patient(
    network: Network | Chain, params: Params, xs: PyTree, ys: PyTree = None, **options: Any
) -> Patient:
    """Return a Network or a chain with its data, of the options that `NetworkPatient` has."""
    kind = ChainPatient if isinstance(network, Chain) else NetworkPatient
    return kind(network, params, xs, ys, **options)
