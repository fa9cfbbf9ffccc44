"""Patients: a network with its data, measured with other parameters, whatever it is made of.

parameters -> changed -> flow       the network, its data and its loss stay
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import Bool, Float, Int

from ..evidence.evidence import Evidence
from ..evidence.parameters import KnownParameters
from ..flow.gradient_flow import flow_of
from ..flow.record.flow import Flow
from ..flow.verdict.arrays import are_weights
from ..flow.verdict.rates import RepeatedStretch, gain_of, rate_of, to_change, within
from ..flow.verdict.verdict import Verdict, decades_of, verdict
from ..graph.steps import Axes
from ..models import Model, Program
from ..texts import are_own, labels
from . import search
from .draws import MATRIX, Normal, Source, fan_in_gain
from .words import names_in_words, numbers_in_words, order_of, to_digits

log = logging.getLogger("jaxnn.patients")

Params = Any  # a pytree of arrays, or tensors by name
AnyNet = Any  # a Network, a chain, or a module of PyTorch
State = Any  # an array of JAX, or a tensor
At = tuple[int, int]  # the layer of an array, counted from 0, and a number
Places = Set[At]
Draw = Callable[[Source, At], np.ndarray]
PerLayer = Float[np.ndarray, " L"]


class Form(Protocol):
    """A structure around a layer f, such as a skip: out(state, f(into(state)))."""

    def into(self, state: State, /) -> State:
        """Return what the layer is given instead of its state."""

    def out(self, state: State, y: State, /) -> State:
        """Return what comes out, given the state and what the layer makes of what it is given."""

    def code(self, layer: str, first: int, /) -> str:
        """Return all of that in Python, given a layer's name and the first axis of an example."""


class Leaky(Protocol):
    """A leaky relu, g (max(z, 0) + s min(z, 0))."""

    gain: float
    slope: float

    def __call__(self, z: State, /) -> State:
        """Return it of each entry."""


class ScaledWeights(NamedTuple):
    """Weights times one factor, with the factors on each layer, (L,), and their flow."""

    factor: float
    params: Params
    factors: PerLayer
    flow: Flow | None


class Patient(ABC):
    """A network with its data."""

    # numbers: of a network that was made of another one, the number, from 0, that each layer had
    # there; -1 of one that was none.

    network: AnyNet

    def __init__(
        self,
        program: Program,
        params: Params,
        seed: int = 0,
        numbers: Int[np.ndarray, " L"] | None = None,
    ):
        self.program, self.params, self.seed, self.measurements = program, params, seed, 0
        self._numbers = numbers
        self.normal: dict[At, Normal] = {}

    @cached_property
    def flow(self) -> Flow:
        """Its flow, measured when it is first asked for.

        Raises:
            ValueError: a signal leaves the range.
        """
        flow = self.flow_of(self.params)
        if np.ndim(flow.log_delta) != 1:
            raise ValueError("params: expected those of one network, got those of several")
        return flow

    @property
    def in_range(self) -> bool:
        """True if its signal does not leave the range."""
        try:
            return self.flow is not None
        except ValueError:
            return False

    @cached_property
    def numbers(self) -> Int[np.ndarray, " L"]:
        """The number of each layer in the network that it was made of."""
        return np.arange(len(self.flow.names)) if self._numbers is None else self._numbers

    # What it is made of

    @abstractmethod
    def holding(self, params: Params) -> AbstractContextManager[Program]:
        """Have the program with other parameters for a while."""

    def flow_of(self, params: Params) -> Flow:
        """Return the flow with other parameters."""
        with self.holding(params) as program:
            return flow_of(program)

    @abstractmethod
    def user(self, params: Params) -> Params:
        """Return parameters as the user has them."""

    @abstractmethod
    def model(self, params: Params) -> Model:
        """Return the network with other parameters as its user hands it over, and trains it."""

    @abstractmethod
    def code(self, params: Params) -> str:
        """Return the lines that make of the user's own network what has these parameters."""

    @property
    @abstractmethod
    def arrays(self) -> Mapping[At, np.ndarray]:
        """The arrays of all layers that are trained."""

    @abstractmethod
    def before(self, at: At) -> np.ndarray:
        """Return an array as it was before all changes."""

    @abstractmethod
    def path(self, at: At) -> str:
        """Return the name of an array; empty if it has none."""

    @property
    def kernels(self) -> Mapping[At, Axes]:
        """The axes of inputs and outputs of each kernel of a convolution."""
        return {}

    @property
    def branches(self) -> list[Places]:
        """The arrays of the last product of each branch, of the layers that repeat."""
        return []

    @property
    def is_post_norm(self) -> bool:
        """True if a norm follows the sum of a branch and its skip connection."""
        return False

    @property
    def is_tied(self) -> bool:
        """True if layers share weights, which then have one factor and stay as they are."""
        return False

    @property
    def gates(self) -> Mapping[At, slice]:
        """The entries of biases that are gates which keep a state, where that is known."""
        return {}

    @property
    def is_of_relu(self) -> bool:
        """True if each layer that repeats is relu and one product."""
        return False

    # What can be changed

    @abstractmethod
    def multiplied(self, params: Params, factors: PerLayer, only: Places | None = None) -> Params:
        """Return parameters whose weights, or some arrays, are multiplied by a number a layer."""

    def redrawn(self, meant: Places, draw: Draw) -> Params:
        """Return parameters some of whose arrays are drawn, as and in the order as lines do it."""
        places: dict[str, At] = {}
        for at in sorted(meant):
            places.setdefault(self.path(at) or str(at), at)
        kinds = {path: self.arrays[at].ndim for path, at in places.items()}
        new: dict[At, np.ndarray] = {}
        with self.source(len(places)) as source:
            for path in order_of(kinds):
                at = places[path]
                new[at] = draw(source, at)
                if source.std is not None:
                    self.normal[at], source.std = Normal(new[at], source.std), None
        return self.with_arrays(new)

    @abstractmethod
    def source(self, count: int) -> AbstractContextManager[Source]:
        """Have what lines of code draw from, so many arrays at most."""

    @abstractmethod
    def with_arrays(self, new: Mapping[At, np.ndarray]) -> Params:
        """Return parameters with other numbers in some arrays; a shared one is named once."""

    @abstractmethod
    def with_params(self, params: Params) -> "Patient":
        """Return a patient like this one with other parameters."""

    @property
    def rebuildable(self) -> Bool[np.ndarray, " L"]:
        """A mask of the layers that repeat and keep the shape of their state."""
        return np.zeros(len(self.flow.names), bool)

    @property
    def rebuildable_names(self) -> str:
        """Those layers in words."""
        layers, names = np.flatnonzero(self.rebuildable), self.flow.names
        if not are_own(names):
            return f"layers {numbers_in_words(layers + 1)}"
        known = labels(names)
        return f"the layers {names_in_words([known[layer] for layer in layers], known)}"

    @property
    def blocks(self) -> "Patient":
        """The network with modules as layers where no part keeps its state's shape, else itself."""
        return self

    def with_form(self, form: Form) -> "Patient | None":
        """Return the network with those layers in another form; None if it has no flow."""
        return None

    def with_units(self, sigma: Leaky, everywhere: bool = False) -> "Patient | None":
        """Return the network with other units in those layers; None if they have none."""
        # everywhere: in all layers that have some, but for the last.
        return None

    @property
    @abstractmethod
    def has_loss(self) -> bool:
        """True if there is a loss to train it by."""

    @abstractmethod
    def to_train(self, params: Params) -> Program:
        """Return the program with these parameters, to be trained."""

    def opened(self) -> "Patient | None":
        """Return the network without what stops its gradient; None if nothing is seen to."""
        return None

    @property
    def opening(self) -> str:
        """What that takes, as a sentence."""
        return ""

    # Measured

    @property
    def parameters(self) -> KnownParameters | None:
        """What is known of its parameters beside their sizes."""
        return None

    @cached_property
    def verdict(self) -> Verdict:
        """The verdict on the network as it is."""
        return verdict(self.flow, evidence=Evidence(parameters=self.parameters))

    def label(self, layer: int) -> str:
        """Return a layer, counted from 1, in words."""
        return self.verdict.label(layer)

    def measured(self, params: Params) -> Flow | None:
        """Return the flow with other parameters; None where a signal leaves the range."""
        self.measurements += 1
        log.debug("trying what would help: measurement %d", self.measurements)
        try:
            return self.flow_of(params)
        except ValueError:
            return None

    def decades(self, flow: Flow) -> float:
        """Return the rate over the layers whose weights are changed, in decades a layer."""
        if flow.net is not None:
            return decades_of(flow)
        return within(gain_of(flow, self._used), self._measured_stretches, self._used).decades

    def scaled(
        self, params: Params, start: float = 1.0, only: Places | None = None, unit: float = 1.0
    ) -> ScaledWeights:
        """Return some arrays, or weights, times the factor of no rate; 1 where no rate is known."""
        # start: the first factor that is tried; unit: a sentence says the factor times this.
        tried: dict[float, ScaledWeights] = {}

        def rate(factor: float) -> float:
            factors = self.factors(factor) if only is None else np.full(len(self.layers), factor)
            changed = self.multiplied(params, factors, only)
            as_it_is = factor == 1 and params is self.params
            flow = self.flow if as_it_is else self.measured(changed)
            tried[factor] = ScaledWeights(factor, changed, factors, flow)
            return np.nan if flow is None else self.decades(flow)

        factor = search.root(rate, start)
        if factor is None:
            return ScaledWeights(1.0, params, self.factors(1.0), None)
        # What is said has so few digits that it is exact.
        factor = to_digits(factor * unit) / unit
        if factor not in tried:
            rate(factor)
        return tried[factor]

    @cached_property
    def by_one_factor(self) -> ScaledWeights:
        """The weights times one factor; as they are if no rate is known."""
        return self.scaled(self.params)

    # Its layers

    @property
    def _used(self) -> Int[np.ndarray, " n"]:
        return np.arange(self.flow.unmeasured, len(self.flow.names))

    @cached_property
    def _measured_stretches(self) -> tuple[RepeatedStretch, ...]:
        """Those that repeat, or all if the rest alone is ill, counted from the first measured."""
        return to_change(gain_of(self.flow, self._used), rate_of(self.flow, self._used))

    def _shifted(self, stretches: Iterable[RepeatedStretch]) -> tuple[RepeatedStretch, ...]:
        """Return stretches of the layers measured as those of all; of a Network its hidden ones."""
        if self.flow.net is not None:
            return (RepeatedStretch(0, len(self.flow.names) - 1, 1),)
        first = self.flow.unmeasured
        return tuple(RepeatedStretch(s.start + first, s.stop + first, s.period) for s in stretches)

    def _mask(self, stretches: Iterable[RepeatedStretch], after: int = 0) -> Bool[np.ndarray, " L"]:
        meant = np.zeros(len(self.flow.names), bool)
        for stretch in stretches:
            meant[stretch.start + after : stretch.stop] = True
        return meant

    @cached_property
    def stretches(self) -> tuple[RepeatedStretch, ...]:
        """The layers whose weights are changed: those that repeat, or all if the rest is ill."""
        return self._shifted(self._measured_stretches)

    @cached_property
    def layers(self) -> Bool[np.ndarray, " L"]:
        """A mask of the layers whose weights are changed."""
        return self._mask(self.stretches)

    @cached_property
    def inside(self) -> Bool[np.ndarray, " L"]:
        """A mask of the layers whose factors make the rate: not the first of a stretch."""
        return self._mask(self.stretches, after=1)

    @cached_property
    def repeating(self) -> Bool[np.ndarray, " L"]:
        """A mask of the layers that repeat, whose structure may change."""
        return self._mask(self._shifted(rate_of(self.flow, self._used).stretches))

    def factors(self, factor: float) -> PerLayer:
        """Return one factor for all layers whose weights are changed, (L,)."""
        return np.where(self.layers, factor, 1.0)

    # Its arrays

    def is_changed(self, at: At) -> bool:
        """Tell whether an array is in a layer whose weights are changed."""
        return at[0] < len(self.layers) and bool(self.layers[at[0]])

    @cached_property
    def weights_anywhere(self) -> Places:
        """The weights of all layers, and of torch those above the last cut."""
        places = sorted(self.arrays)
        are = are_weights([layer for layer, _ in places], [self.arrays[at].shape for at in places])
        return {at for at, is_weight in zip(places, are, strict=True) if is_weight} - self.added

    @property
    def added(self) -> Places:
        """The biases of several axes, which are no weights."""
        known = self.flow.parameters
        added = {(known.layers[i] - 1, known.paths[i]) for i in known.added}
        return {at for at in self.arrays if (at[0], self.path(at)) in added}

    @property
    def biases(self) -> Places:
        """The vectors that are added, of all layers, where that is known."""
        return set()

    @cached_property
    def every_weight(self) -> Places:
        """The weights of all layers."""
        return {at for at in self.weights_anywhere if at[0] < len(self.names)}

    @property
    def names(self) -> Sequence[str]:
        """The names of its layers."""
        return self.flow.names

    @cached_property
    def weights(self) -> Places:
        """The weights of the layers whose weights are changed."""
        return {at for at in self.every_weight if self.is_changed(at)}

    @cached_property
    def vectors(self) -> Places:
        """The arrays of one axis in those layers."""
        return {at for at, v in self.arrays.items() if v.ndim == 1 and self.is_changed(at)}

    @cached_property
    def matrices(self) -> Places:
        """The weights that can be orthogonal: matrices, and kernels of convolutions."""
        return {
            at for at in self.weights if self.has_units(at) and not np.iscomplexobj(self.arrays[at])
        }

    def has_units(self, at: At) -> bool:
        """Tell whether an array is a matrix, or a kernel of a convolution."""
        return self.arrays[at].ndim == 2 or at in self.kernels

    def axes(self, at: At) -> Axes:
        """Return the axes of inputs and of outputs of a matrix or a kernel."""
        return self.kernels.get(at, MATRIX)

    def gains(self, meant: Places) -> Float[np.ndarray, " n"]:
        """Return √fan_in times the root mean square of some weights; nan where that is no one."""
        return np.array(
            [
                fan_in_gain(self.arrays[at], self.axes(at)) if self.has_units(at) else np.nan
                for at in sorted(meant)
            ]
        )

    @property
    def gain(self) -> float:
        """The median over all matrices and kernels of √fan_in times the root mean square."""
        known = ((self.arrays[at], self.axes(at)) for at in self.every_weight if self.has_units(at))
        gains = [np.sqrt(np.sum(np.square(np.abs(v))) / v.shape[out]) for v, (_, out) in known]
        return float(np.median(gains)) if gains else np.nan

    def named(self, meant: Places, one_each: bool = False) -> str:
        """Return some arrays by their names; those of a Network by their layers."""
        # one_each: a name with a * stands for one array of each layer, not for several.
        layers = [layer for layer, _ in sorted(meant)]
        by_turn: dict[int, list[str]] = {}  # the first array of each layer, the second ones …
        count = dict.fromkeys(layers, 0)
        for at in sorted(meant):
            by_turn.setdefault(count[at[0]] * one_each, []).append(self.path(at))
            count[at[0]] += 1
        if not all(map(all, by_turn.values())):
            return f"of layer{'s' * (len(count) > 1)} {numbers_in_words(n + 1 for n in count)}"
        known = self.flow.parameters.paths
        return ", ".join(names_in_words(names, known) for names in by_turn.values())
