"""Patients: a network with its data, measured with other parameters, of JAX and of PyTorch.

parameters -> changed -> flow       the network, its data and its loss stay
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ..chain.chain import Chain
from ..chain.parameter_places import are_shared, places
from ..flow.measure.gradient_flow import gradient_flow
from ..flow.measure.torch_flow import torch_flow
from ..flow.record.flow import Flow
from ..flow.verdict.rates import Stretch, gain_of, rate_of, to_change, within
from ..flow.verdict.verdict import decades_of
from ..network.network import Network
from ..pytorch import autograd_parts
from ..theory.tailored import tailored_relu
from . import branches, hooks, kernels, steps, structure, units, weights
from .words import names_in_words, numbers_in_words

WEIGHTS = ("branch scale", "scale", "scale by layer", "orthogonal", "looks-linear")
STRUCTURES = ("skip", "norm", "units")
KINDS = (*WEIGHTS, *STRUCTURES, "router", "numbers")  # of changes

log = logging.getLogger("jaxnn.curing")

Places = set[tuple[int, int]]  # of arrays: the layer, counted from 0, and a number


class Restructured(NamedTuple):
    """A network with other layers.

    kind: of the change.
    where: the layers or modules that are others, in words.
    changed: the number of them.
    patient: the network that it then is.
    layers: the number of each of its layers before, counted from 0; -1 of one that was none.
    """

    kind: str
    where: str
    changed: int
    patient: "Patient"
    layers: np.ndarray


@dataclass(eq=False)
class Patient(ABC):
    """A network with its data.

    params: as they are.
    flow: with them.
    measurements: how often it was measured with others.
    """

    params: Any
    flow: Flow = field(init=False)
    measurements: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.flow = self._flow(self.params)
        if np.ndim(self.flow.log_delta) != 1:
            raise ValueError("params: expected those of one network, got those of several")

    @abstractmethod
    def _flow(self, params: Any, theory: bool = False) -> Flow:
        """Return the flow with other parameters, with theory if asked for."""

    @abstractmethod
    def multiplied(self, params: Any, factors: np.ndarray, only: Places | None = None) -> Any:
        """Return parameters whose weights, or some arrays, are multiplied by a number a layer."""

    @abstractmethod
    def orthogonal(self, seed: int, gain: float | None) -> Any:
        """Return parameters with orthogonal matrices, `matrices`, of a gain or of their own one."""

    @property
    @abstractmethod
    def network(self) -> Any:
        """The network, or the module."""

    @cached_property
    def kernels(self) -> weights.Kernels:
        """The axes of inputs and outputs of each kernel, by layer and number."""
        return {}

    @abstractmethod
    def user(self, params: Any) -> Any:
        """Return parameters as the user has them."""

    @cached_property
    @abstractmethod
    def every_weight(self) -> Places:
        """The weights of all layers."""

    @property
    @abstractmethod
    def vectors(self) -> Places:
        """The arrays of one axis in the layers whose weights are changed."""

    @abstractmethod
    def arrays(self) -> Mapping[tuple[int, int], np.ndarray]:
        """Return the weights of all layers as they are."""

    @cached_property
    def weights(self) -> Places:
        """The weights of the layers that repeat."""
        return {at for at in self.every_weight if self.layers[at[0]]}

    @cached_property
    def matrices(self) -> Places:
        """Those of them that can be orthogonal: matrices, and kernels of convolutions."""
        known = self.arrays()
        return {
            at
            for at in self.weights
            if (known[at].ndim == 2 or at in self.kernels) and not np.iscomplexobj(known[at])
        }

    def stds(self, meant: Places) -> np.ndarray:
        """Return √fan_in times the root mean square of some weights; nan where that is no one."""
        known = self.arrays()
        return np.array(
            [
                weights.std(known[at], self.kernels.get(at, weights.MATRIX))
                if known[at].ndim == 2 or at in self.kernels
                else np.nan
                for at in sorted(meant)
            ]
        )

    @abstractmethod
    def path(self, layer: int, number: int) -> str:
        """Return the name of an array; empty if it has none."""

    def branches(self) -> dict[int, list[set[int]]]:
        """Return the arrays of the last product of each branch by layer, of those that repeat."""
        return {}

    def restructured(self, kinds: Container[str] = STRUCTURES) -> Iterator["Restructured"]:
        """Yield the network with other layers."""
        yield from ()

    @property
    def is_tied(self) -> bool:
        """True if layers share weights, which then have one factor and stay as they are."""
        return False

    @property
    def is_post_norm(self) -> bool:
        """True if a norm follows the sum of a branch and its skip connection."""
        return False

    def step(self, params: Any) -> float:
        """Return the step size from which on Adam's first step raises the loss; nan if unknown."""
        return np.nan

    def looks_linear(self, seed: int) -> Any:
        """Return parameters that make layers of relu linear; None if it is not for them.

        Raises:
            OddError: their widths are odd.
        """
        return None

    def measured(self, params: Any, theory: bool = False) -> Flow | None:
        """Return the flow with other parameters; None where a signal leaves the range."""
        self.measurements += 1
        log.debug("trying what would help: measurement %d", self.measurements)
        try:
            return self._flow(params, theory)
        except ValueError:
            return None

    def decades(self, flow: Flow) -> float:
        """Return the rate over the layers whose weights are changed, in decades a layer."""
        if flow.net is not None:
            return decades_of(flow)
        return within(gain_of(flow, self._used), self._measured_stretches, self._used).decades

    @property
    def _used(self) -> np.ndarray:
        return np.arange(self.flow.unmeasured, len(self.flow.names))

    @cached_property
    def _measured_stretches(self) -> tuple[Stretch, ...]:
        return to_change(gain_of(self.flow, self._used), rate_of(self.flow, self._used))

    @cached_property
    def stretches(self) -> tuple[Stretch, ...]:
        """The layers that repeat, or all if the rest alone is ill; of a Network the hidden ones."""
        if self.flow.net is not None:
            return (Stretch(0, len(self.flow.names) - 1, 1),)
        first = self.flow.unmeasured
        return tuple(
            Stretch(s.start + first, s.stop + first, s.period) for s in self._measured_stretches
        )

    @cached_property
    def layers(self) -> np.ndarray:
        """A mask of the layers whose weights are changed, those of `stretches`, (L,)."""
        return self._within(0)

    @cached_property
    def repeating(self) -> np.ndarray:
        """A mask of the layers that repeat, whose structure may change, (L,)."""
        if self.flow.net is not None:
            return self.layers
        meant, first = np.zeros(len(self.flow.names), bool), self.flow.unmeasured
        for stretch in rate_of(self.flow, self._used).stretches:
            meant[first + stretch.start : first + stretch.stop] = True
        return meant

    @cached_property
    def inside(self) -> np.ndarray:
        """A mask of the layers whose factors make the rate: not the first of a stretch, (L,)."""
        return self._within(1)

    def _within(self, after: int) -> np.ndarray:
        meant = np.zeros(len(self.flow.names), bool)
        for stretch in self.stretches:
            meant[stretch.start + after : stretch.stop] = True
        return meant

    def factors(self, factor: float) -> np.ndarray:
        """Return one factor for all layers that repeat, (L,)."""
        return np.where(self.layers, factor, 1.0)


@dataclass(eq=False)
class OfJax(Patient):
    """A Network or a chain with its data.

    like: the user's pytree, for arrays that no layer has.
    """

    net: Network | Chain
    xs: Any
    ys: Any
    options: dict[str, Any]
    like: Any = None

    @property
    def is_tied(self) -> bool:
        """True if layers share weights."""
        return are_shared(self.net, self.params)

    @property
    def network(self) -> Network | Chain:
        """The network."""
        return self.net

    def _flow(self, params: Any, theory: bool = False) -> Flow:
        more = self.options | {"theory": theory}
        return gradient_flow(self.net, params, self.xs, self.ys, **more)

    def multiplied(self, params: Any, factors: np.ndarray, only: Places | None = None) -> Any:
        """Return parameters whose weights, or some arrays, are multiplied by a number a layer."""
        return weights.multiplied(self.net, params, factors, only)

    def orthogonal(self, seed: int, gain: float | None) -> Any:
        """Return parameters with orthogonal matrices, `matrices`, of a gain or of their own one."""
        of = self.net, self.params, self.matrices, seed, self.kernels
        return weights.orthogonal(*of, gain)

    @cached_property
    def kernels(self) -> weights.Kernels:
        """The axes of inputs and outputs of each kernel, by layer and number."""
        if not isinstance(self.net, Chain):
            return {}
        return kernels.of_chain(self.net, self.params, self.xs)

    def step(self, params: Any) -> float:
        """Return the step size from which on Adam's first step raises the loss, of a chain."""
        loss = self.options["loss"]
        if loss is None or not isinstance(self.net, Chain):
            return np.nan
        return steps.largest(self.net, params, self.xs, self.ys, loss)

    def looks_linear(self, seed: int) -> Any:
        """Return parameters that make layers of relu linear; None if it is not for them."""
        if not isinstance(self.net, Chain) or len(self.weights) != int(self.layers.sum()):
            return None
        for layers, link, arrays, state in self._links():
            if units.are_relu(link, arrays, state) != [True] and self.layers[layers].all():
                return None
        return weights.looks_linear(self.net, self.params, self.layers, seed, self.kernels)

    def _links(self) -> Iterator[tuple[list[int], Any, Any, Any]]:
        assert isinstance(self.net, Chain)
        for layers, *link in branches.links(self.net, self.params, self.xs):
            if self.layers[layers].any():
                yield layers, *link

    @property
    def is_post_norm(self) -> bool:
        """True if a norm follows the sum of a branch and its skip connection."""
        if not isinstance(self.net, Chain):
            return False
        return any(branches.is_post_norm(*link) for _, *link in self._links())

    def user(self, params: Any) -> Any:
        """Return the user's pytree."""
        return self.net.user(params, self.like) if isinstance(self.net, Chain) else params

    @cached_property
    def every_weight(self) -> Places:
        """The weights of all layers."""
        return places(self.net, self.params)

    @property
    def vectors(self) -> Places:
        """The arrays of one axis in the layers whose weights are changed."""
        every = places(self.net, self.params, 1) - self.every_weight
        return {at for at in every if self.layers[at[0]]}

    def arrays(self) -> Mapping[tuple[int, int], np.ndarray]:
        """Return the weights of all layers as they are."""
        return weights.arrays(self.net, self.params)

    def path(self, layer: int, number: int) -> str:
        """Return the path of an array in the user's pytree; empty for a Network."""
        return self.net.paths[layer][number] if isinstance(self.net, Chain) else ""

    def branches(self) -> dict[int, list[set[int]]]:
        """Return the arrays of the last product of each branch by layer, of those that repeat."""
        if not isinstance(self.net, Chain):
            return {}
        found = branches.of_chain(self.net, self.params, self.xs)
        return {layer: of for layer, of in found.items() if self.layers[layer]}

    def restructured(self, kinds: Container[str] = STRUCTURES) -> Iterator[Restructured]:
        """Yield the network with other units, a skip around each layer, or a norm in front."""
        if not isinstance(self.net, Chain):
            return
        meant = structure.keep_their_shape(self.net, self.params, self.xs) & self.repeating
        count = int(meant.sum())
        made: dict[str, Callable[[Any], Any]] = {
            "skip": lambda link: structure.WithSkip(link, count**-0.5),
            "norm": structure.WithNorm,
        }
        if "units" in kinds and all(units.of_link(*link) for _, *link in self._links()):
            for leaky in tailored(count):
                made["units"] = lambda link: units.WithUnits(link, leaky)  # noqa: B023
        for kind, form in made.items():
            if kind not in kinds or not count:
                continue
            net, params, layers = structure.rebuilt(self.net, self.params, self.xs, meant, form)
            where = f"layers {numbers_in_words(np.flatnonzero(meant) + 1)}"
            try:
                patient = OfJax(params, net, self.xs, self.ys, self.options)
            except ValueError:  # the signal leaves the range
                continue
            yield Restructured(kind, where, count, patient, layers)


def tailored(count: int) -> list[Any]:
    """Return the leaky relu that is tailored to a number of layers; none for too few of them."""
    try:
        return [tailored_relu(count).sigma]
    except ValueError:
        return []


def as_numpy(v: Any) -> np.ndarray:
    """Return a tensor as an array, in float64 or complex128."""
    v = v.detach().cpu()
    return np.asarray((v if v.is_complex() else v.double()).numpy())


@dataclass(eq=False)
class OfTorch(Patient):
    """A module of PyTorch with its data; params are its parameters by name."""

    module: Any
    inputs: Any
    ys: Any
    options: dict[str, Any]

    @property
    def network(self) -> Any:
        """The module."""
        return self.module

    def _flow(self, params: Any, theory: bool = False) -> Flow:
        with self._holding(params):
            return torch_flow(self.module, self.inputs, self.ys, **self.options)

    @contextmanager
    def _holding(self, params: Any) -> Iterator[None]:
        """Give the module these parameters, and its own ones back at the end."""
        own = dict(self.module.named_parameters())
        before = {name: v.detach().clone() for name, v in own.items() if params[name] is not v}
        self._put(own, params, before)
        try:
            yield
        finally:
            self._put(own, before, before)

    @staticmethod
    def _put(own: dict[str, Any], params: Any, names: Any) -> None:
        for name in names:
            own[name].data.copy_(params[name].data)

    @cached_property
    def _arrays(self) -> dict[tuple[int, int], str]:
        """The names of arrays by layer, counted from 0, and number."""
        parameters, names = self.flow.parameters, set(self.params)
        return {
            (layer - 1, number): path
            for number, (layer, path) in enumerate(
                zip(parameters.layers, parameters.paths, strict=True)
            )
            if path in names and layer <= len(self.flow.names)
        }

    def multiplied(self, params: Any, factors: np.ndarray, only: Places | None = None) -> Any:
        """Return parameters whose weights, or some arrays, are multiplied by a number a layer."""
        changed = dict(params)
        for (layer, number), name in self._arrays.items():
            meant = self._is_weight(name) if only is None else (layer, number) in only
            if meant and factors[layer] != 1:
                changed[name] = params[name].detach() * float(factors[layer])
        return changed

    def branches(self) -> dict[int, list[set[int]]]:
        """Return the arrays of the last product of each branch by layer, of those that repeat."""
        places = {name: at for at, name in self._arrays.items()}
        found: dict[int, list[set[int]]] = {}
        for names in autograd_parts.branches_of(self.module, self.inputs):
            of = sorted(places[name] for name in names if name in places)
            if of and self.layers[of[0][0]]:
                found.setdefault(of[0][0], []).append({number for _, number in of})
        return found

    def restructured(self, kinds: Container[str] = STRUCTURES) -> Iterator[Restructured]:
        """Yield copies with a skip around each layer that repeats, a norm in front, or units."""
        names = [n for n, is_one in zip(self.flow.names, self.repeating, strict=True) if is_one]
        if not hooks.follow(self.module, names, self.inputs):
            return
        count = len(names)
        made: dict[str, Callable[[], Any]] = {
            "skip": lambda: hooks.with_skips(self.module, names, count**-0.5),
            "norm": lambda: hooks.with_norms(self.module, names),
        }
        for leaky in tailored(count):
            made["units"] = lambda: hooks.with_units(self.module, names, leaky.gain, leaky.slope)  # noqa: B023
        known = [name for name, _ in self.module.named_modules()]
        where = f"the modules {names_in_words(names, known)}"
        for kind, build in made.items():
            module = build() if kind in kinds else None
            if module is None:
                continue
            own = dict(module.named_parameters())
            try:
                patient = OfTorch(own, module, self.inputs, self.ys, self.options)
            except ValueError:  # the signal leaves the range
                continue
            # A loss of derivatives passes fewer layers where units are linear in pieces.
            if patient.flow.names == self.flow.names:
                yield Restructured(kind, where, count, patient, np.arange(len(self.flow.names)))

    def orthogonal(self, seed: int, gain: float | None) -> Any:
        """Return parameters with orthogonal matrices, `matrices`, of a gain or of their own one."""
        rng = np.random.default_rng(seed)
        axes = {
            self._arrays[at]: self.kernels.get(at, weights.MATRIX) for at in sorted(self.matrices)
        }
        return self._redrawn(lambda v, name: weights.delta_like(rng, v, axes[name], gain), axes)

    def _redrawn(self, drawn: Callable[[np.ndarray, str], np.ndarray], names: Any) -> Any:
        """Return parameters some of which are drawn again."""
        changed = dict(self.params)
        for name in names:
            v = self.params[name].detach()
            changed[name] = v.new_tensor(drawn(as_numpy(v), name))
        return changed

    @cached_property
    def kernels(self) -> weights.Kernels:
        """The axes of inputs and outputs of each kernel, by layer and number."""
        axes = autograd_parts.kernels_of(self.module, self.inputs)
        return {at: axes[name] for at, name in self._arrays.items() if name in axes}

    @property
    def is_post_norm(self) -> bool:
        """True if a norm follows the sum of a branch and its skip connection."""
        return autograd_parts.is_post_norm(self.module, self.inputs)

    def looks_linear(self, seed: int) -> Any:
        """Return parameters that make layers of relu linear; None if it is not for them."""
        count = autograd_parts.count_of_relu(self.module, self._repeated, self.inputs)
        if count != len(self.weights):
            return None
        rng = np.random.default_rng(seed)
        axes = {
            name: self.kernels.get(at, weights.MATRIX)
            for at, name in self._arrays.items()
            if self.layers[at[0]]
        }
        return self._redrawn(lambda v, name: weights.mirrored(rng, v, axes[name]), axes)

    @property
    def _repeated(self) -> list[str]:
        """The names of the modules that repeat."""
        return [n for n, meant in zip(self.flow.names, self.layers, strict=True) if meant]

    def user(self, params: Any) -> Any:
        """Return a state dict of the module."""
        state = {name: v.detach().clone() for name, v in self.module.state_dict().items()}
        return state | {name: v.detach().clone() for name, v in params.items() if name in state}

    @cached_property
    def every_weight(self) -> Places:
        """The weights of all layers."""
        return {at for at, name in self._arrays.items() if self._is_weight(name)}

    @property
    def vectors(self) -> Places:
        """The arrays of one axis in the layers whose weights are changed."""
        own = {at: self.params[name].ndim for at, name in self._arrays.items()}
        return {at for at, axes in own.items() if axes == 1 and self.layers[at[0]]}

    def arrays(self) -> Mapping[tuple[int, int], np.ndarray]:
        """Return the weights of all layers as they are."""
        return {at: as_numpy(self.params[self._arrays[at]]) for at in self.every_weight}

    def _is_weight(self, name: str) -> bool:
        v = self.params[name]
        return bool(v.ndim > 1 and v.is_floating_point())

    def path(self, layer: int, number: int) -> str:
        """Return the name of a parameter."""
        return self._arrays[layer, number]
