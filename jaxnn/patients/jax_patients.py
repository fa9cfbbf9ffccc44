"""Patients of JAX: a Network of ours, or a chain of the user's own layers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int, PyTree

from ..arrays.compiled import few_runs, measuring
from ..chain.chain import Chain, Function, Link, from_function, from_layers
from ..chain.links import TypedLink, links
from ..chain.parameter_places import are_shared, arrays
from ..evidence.jax_trial import JaxTrial
from ..evidence.parameters import KnownParameters
from ..flow.measure.chain_flow import OfWhole
from ..graph.steps import Axes
from ..models import Model, Program, own_pytree
from ..network.network import Network
from ..recognition.branches import branches_of, is_post_norm, kernels_of
from ..recognition.layer_arrays import added_arrays_of
from ..recognition.step_graph import Graph
from . import code, remade, structure, units, weights
from .draws import JaxSource, Source
from .links import graph_of
from .patient import At, Form, Leaky, Params, Patient, PerLayer, Places


class NetworkPatient(Patient):
    """A Network with its data; of a chain see `ChainPatient`."""

    network: Network | Chain

    def __init__(
        self, program: Program, seed: int = 0, numbers: Int[np.ndarray, " L"] | None = None
    ):
        self.network, params = program.network
        super().__init__(program, params, seed, numbers)

    @contextmanager
    def holding(self, params: Params) -> Iterator[Program]:
        with few_runs():
            yield self.program.but(network=(self.network, params))

    def user(self, params: Params) -> Params:
        """Return the parameters themselves: they are the user's own."""
        return params

    @property
    def has_loss(self) -> bool:
        return self.program.ys is not None or self.program.loss is not None

    def to_train(self, params: Params) -> Program:
        pair = self.network, params
        return self.program.but(model=pair, network=pair)

    def model(self, params: Params) -> Model:
        """Return the user's own pytree, or a pair, with these numbers."""
        return remade.with_numbers(self.program.model, self.network, params, self.user(params))

    def code(self, params: Params) -> str:
        """Return "": the parameters of a Network are made by `jaxnn.init`."""
        return ""

    @cached_property
    def arrays(self) -> Mapping[At, np.ndarray]:
        return arrays(self.network, self.params)

    def path(self, at: At) -> str:
        """Return "": arrays of a Network are named by their layer."""
        return ""

    @cached_property
    def is_tied(self) -> bool:
        return are_shared(self.network, self.params)

    def multiplied(self, params: Params, factors: PerLayer, only: Places | None = None) -> Params:
        meant = self.every_weight if only is None else only
        return weights.multiplied(self.network, params, factors, meant)

    @contextmanager
    def source(self, count: int) -> Iterator[Source]:
        yield JaxSource(self.seed, count)

    def with_arrays(self, new: Mapping[At, np.ndarray]) -> Params:
        return weights.redrawn(self.network, self.params, new.keys(), lambda v, at: new[at])

    def with_params(self, params: Params) -> Patient:
        program = self.program.but(network=(self.network, params))
        made = type(self)(program, self.seed, self._numbers)
        made.at_first, made.normal = self.at_first, self.normal
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
        return KnownParameters.of(JaxTrial(self.program))


class ChainPatient(NetworkPatient):
    """A chain of the user's own layers with its data, whose layers are looked into."""

    network: Chain

    def user(self, params: Params) -> Params:
        """Return the user's pytree."""
        return self.network.user(params, own_pytree(self.program.model))

    @property
    def has_loss(self) -> bool:
        return self.program.loss is not None

    def to_train(self, params: Params) -> Program:
        model = super().model(params)  # of these layers, whatever form they have been given
        return self.program.but(model=model, network=(self.network, params))

    def path(self, at: At) -> str:
        """Return the path of an array in the user's pytree."""
        layer, number = at
        return self.network.paths[layer][number]

    def code(self, params: Params) -> str:
        return "\n".join(self.lines(arrays(self.network, params)))

    def lines(self, arrays: Mapping[At, np.ndarray]) -> list[str]:
        """Return the lines that change numbers of the user's own pytree into others."""
        edits = code.edits_between(self.at_first, arrays, self.path, self.axes, self.normal)
        model = self.program.model
        lines = remade.dialect_of(model, own_pytree(model)).lines(edits)
        return code.seeded(lines, edits, self.seed, of_torch=False)

    @cached_property
    def _links(self) -> list[TypedLink]:
        """Each different layer: those that are it, its arrays and its state."""
        state = jax.eval_shape(self.network.state, jax.tree.map(jnp.asarray, self.program.xs))
        return list(links(self.network.for_batch(state), self.params, state))

    def _changed_links(self) -> Iterator[tuple[Link, Any, Any]]:
        return (link for layers, *link in self._links if self.layers[layers].any())  # type: ignore[misc]

    @cached_property
    def kernels(self) -> Mapping[At, Axes]:
        return {
            (layer, number): axes
            for layers, *link in self._links
            for number, axes in kernels_of(graph_of(*link)).items()
            for layer in layers
        }

    @property
    def names(self) -> Sequence[str]:
        return self.network.names

    @property
    def added(self) -> Places:
        # A flow knows them too, but of a copy that is only trained none is measured.
        return self._added(are_vectors=False)

    @property
    def biases(self) -> Places:
        """The vectors that are added, of all layers."""
        return self._added(are_vectors=True)

    def _added(self, are_vectors: bool) -> Places:
        graphs = (
            (layers, Graph.of(jax.make_jaxpr(link)(arrays, state), state))
            for layers, link, arrays, state in self._links
        )
        return {
            (layer, number)
            for layers, graph in graphs
            for number in added_arrays_of(graph, are_vectors)
            for layer in layers
        }

    @cached_property
    def branches(self) -> list[Places]:
        return [
            {(layer, number) for number in numbers}
            for layers, *link in self._links
            for numbers in branches_of(graph_of(*link))
            for layer in layers
            if self.layers[layer]
        ]

    @property
    def is_post_norm(self) -> bool:
        return any(
            is_post_norm(graph_of(*link, is_repeated=True)) for link in self._changed_links()
        )

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
        tree, xs = self.user(self.params), self.program.xs
        try:
            cut = from_function(function.f.value, tree, xs, each=each, cuts=modules)
            blocks = ChainPatient(self.program.but(network=cut), self.seed)
        except ValueError:  # it has no such modules, or no flow
            return self
        return blocks if blocks.in_range and blocks.rebuildable.any() else self

    def with_form(self, form: Form) -> Patient | None:
        where, takes_one = self.rebuildable_names, remade.takes_one(self.network)
        written = code.of_layers(form, where, self._operations, takes_one)
        return self._rebuilt(structure.Rebuilding(structure.Formed, form), written)

    @property
    def _operations(self) -> list[str]:
        """The operations of most of the layers whose structure may change."""
        _, *most = max(self._links, key=lambda link: int(self.rebuildable[link[0]].sum()))
        return structure.operations(*most)

    def with_units(self, sigma: Leaky, everywhere: bool = False) -> Patient | None:
        found = [units.of_link(*link) for link in self._changed_links()]
        form: structure.Rebuild = structure.Rebuilding(units.WithUnits, sigma)
        meant = None
        if everywhere:
            found = [sum(units.of_link(*link) for _, *link in self._links)]
            *_, (layers, last, _, _) = self._links
            meant = np.ones(len(self.names), bool)
            form = units.Everywhere(sigma, last if len(layers) == 1 else None)
        if not all(found):
            return None
        written = code.of_units(sigma, self.rebuildable_names)
        return self._rebuilt(form, written, meant)

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
        state = self.network.state(self.program.xs)
        made = structure.rebuilt(self.network, self.params, state, meant, form)
        call = remade.Reformed(self.network, tuple(meant), form)
        return ReformedPatient(self, call, written, *made)


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
        numbers: Int[np.ndarray, " L"] | None,
    ):
        self.origin, self.call, self.written = origin, call, written
        whole, given = origin.network, origin.program
        xs, cotangent = map(whole.state, (given.xs, given.cotangent))
        loss = OfWhole(given.loss) if whole.whole and given.loss else given.loss
        program = Program((network, params), xs, given.ys, loss, cotangent)
        super().__init__(program, origin.seed, numbers)

    def with_params(self, params: Params) -> Patient:
        origin = self.origin, self.call, self.written
        made = type(self)(*origin, self.network, params, self._numbers)
        made.at_first, made.normal = self.at_first, self.normal
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
        return remade.with_structure(self.origin.program.model, self.call, self._tree(params))

    def _tree(self, params: Params) -> PyTree:
        """Return the user's own pytree with these numbers."""
        return self.origin.user(self.origin.with_arrays(self._of_origin(params)))

    def to_train(self, params: Params) -> Program:
        """Return it as one layer that takes batches of any size, if the origin is a function."""
        made_of, given = self.origin.network.made_of, self.origin.program
        if not isinstance(made_of, Function):
            return super().to_train(params)
        layers = [(self.call, self._tree(params))]
        each = "whole" if made_of.whole else "example" if made_of.each else "batch"
        return given.but(model=layers, network=from_layers(layers, each=each))
