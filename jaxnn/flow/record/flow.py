"""The record of a measurement: the size of a gradient, layer by layer, from the loss to the input.

One record for every network: ours, a chain of the user's own layers, a module of PyTorch. An entry
of a layer is about its output, a state: z[l] of ours. What only some layers have is None elsewhere.

One unit for one name: log_… is a natural logarithm, decades_… one to the base of ten.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ...jaxpr.program import Closed
from ...network.network import Network
from ...passes.walk import Memory
from ...pytorch.block_choice import Coverage
from ...pytorch.gradient_reach import Stopped
from ..formats.entries import FlowEntries
from ..view.table import InWords
from .given import Given
from .heads import AttentionHeads, Routers


class FlowOptions(NamedTuple):
    """Options of a flow: what is measured besides, and what is stored."""

    examples: bool
    memory: Memory
    entries: bool = False
    replicas: int = 0  # of the state of a wide twin
    at_end: bool = False  # layers of few numbers are recorded after the way down


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Parameters:
    """Sizes of parameter arrays, those of layer 1 first.

    log_delta: ln of the norm of the array's Δ, the part of it that comes through this layer.
    log_size: ln of its own norm; nan for a run that is stored as a random key.
    paths: of the arrays, in the pytree that was handed over; static.
    layers: of each array its layer, counted from 1; static.
    shapes: of the arrays; of a run that of one layer's; static.
    dtypes: of the arrays, by their names; static.
    tied: whether layers share most of them, as the steps of a recurrent network do; static.
    added: the numbers of those of several axes that are added alone, as biases of heads; static.
    """

    log_delta: Float[Array, "*v P"]
    log_size: Float[Array, "*v P"]
    paths: tuple[str, ...] = field(metadata={"static": True})
    layers: tuple[int, ...] = field(metadata={"static": True})
    shapes: tuple[tuple[int, ...], ...] = field(metadata={"static": True})
    dtypes: tuple[str, ...] = field(metadata={"static": True})
    tied: bool = field(default=False, metadata={"static": True})
    added: tuple[int, ...] = field(default=(), metadata={"static": True})

    @property
    def of_last_layer(self) -> list[str]:
        """Paths of the arrays of the last layer that has some."""
        pairs = zip(self.layers, self.paths, strict=True)
        return [path for layer, path in pairs if layer == max(self.layers)]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Streams:
    """Sizes of Δ of the arrays of each state, where some states have several; layer 1 first.

    The first array of a layer is its main one, which the next product takes.

    log_delta: ln of the norm of Δ over the whole batch.
    types: of the arrays, without the axis of examples; static.
    layers: of each array the layer that returns it, counted from 1; static.
    """

    log_delta: Float[Array, "*v S"]
    types: tuple[str, ...] = field(metadata={"static": True})
    layers: tuple[int, ...] = field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Units:
    """Means over the units of layers with a known activation, as in a Network z = a θ + b.

    Of a module of PyTorch activations are seen where torch computes them; nan of layers without.

    mean_square_z, mean_a, var_a: of z[l] and a[l] over the batch and the units; inf and 0 beyond
        the range of the dtype.
    mean_square_b: of b[l-1] over the units; nan of a module.
    saturated: the fraction of units and examples with |σ′(z[l])| below 1 % of its largest value.
    dead: the fraction of units with σ′(z[l]) = 0 for the whole batch; both are 0 for the output.
    constant: the fraction of units with one value for the whole batch; None for a Network.
    """

    mean_square_z: Float[Array, "*v L"]
    mean_a: Float[Array, "*v L"]
    var_a: Float[Array, "*v L"]
    mean_square_b: Float[Array, "*v L"]
    saturated: Float[Array, "*v L"]
    dead: Float[Array, "*v L"]
    constant: Float[Array, "*v L"] | None = None


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Recurrences:
    """Numbers of the steps of recurrent modules of PyTorch, one call after the other.

    log_delta: ln of the norm of Δ of what enters at each step, over the batch, through this call
        alone; -inf where none comes, nan where it has left the range.
    counts: of each call its steps; static.
    names: of the modules; static.
    both_ways: whether they are bidirectional; static.
    gates: the entries of its biases for the gates that keep its state, first and last + 1; None
        without such biases; static.
    """

    log_delta: Float[Array, "*v T"]
    counts: tuple[int, ...] = field(metadata={"static": True})
    names: tuple[str, ...] = field(metadata={"static": True})
    both_ways: tuple[bool, ...] = field(metadata={"static": True})
    gates: tuple[tuple[int, int] | None, ...] = field(metadata={"static": True})

    def of(self, call: int) -> "Recurrences":
        """Return the steps of one call, counted from 0."""
        start, count = sum(self.counts[:call]), self.counts[call]
        one, steps = slice(call, call + 1), slice(start, start + count)
        return Recurrences(
            self.log_delta[..., steps],
            (count,),
            self.names[one],
            self.both_ways[one],
            self.gates[one],
        )


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False, repr=False)
class Flow(InWords):
    """One entry for each layer, entry l-1 for layer l = 1 … L; nan beyond the depth that is used.

    A state is what a layer returns: z[l] of a Network, the output of a layer of the user's own.
    Logarithms are natural, norms are Euclidean over all float arrays of a state, and Δ belongs to
    the loss, of a batch its mean, or to the given cotangent. Flows of several networks (`jax.vmap`)
    or depths have their axes in front: `flow[i]`, `len(flow)`.

    log_delta: ln ‖Δstate[l]‖ over the whole batch; -inf if it is zero.
    log_delta_example: ln of the norm of each example's part.
    log_largest: ln of the largest |entry|.
    log_delta_input: ln of the norm of Δx; nan if x has no floats.
    log_theta: ln of the norm of Δ of all parameters of the layer; -inf if it has none.
    log_gain: ln ‖Δstate[l]‖ - ln ‖Δstate[l+1]‖, the effect of the layer above; nan for the last.
        Of a function that is cut where several arrays are alive, log_gain, log_largest, lost and
        what is said of examples are about the main one, see `Streams`.
    lost: whether plain backpropagation in this dtype has no number here: Δ has left the normal
        numbers at this layer or above, though in exact arithmetic it is neither zero nor inf. The
        largest entry decides; single entries of plain Δ may be lost a layer sooner or later.
    log_mean_square: ln of the mean square of the state, also beyond the range of the dtype.
    mixes: whether examples meet in the layer.
    linear: whether the layer's reverse rule is linear, without which nothing here is right.
    parameters: of every parameter array, with its path.
    log_spread: ln of the root mean square of what differs between examples, the deviation from
        their mean, relative to that of the state. Below a few eps of the dtype it is rounding. nan
        of a single example; this and the next three are None with examples=False.
    log_spread_within: of states with positions (B, …, channels), the same between the positions of
        an example; nan for others.
    cosine: the mean cosine between two examples.
    rank: the effective rank of the deviations, (tr C)² / tr C² of their Gram matrix C; nan where
        the spread is rounding. Of the first 64 examples.
    log_branch: ln of the root mean square of what the branches of a layer add to the stream that
        goes in, out = stream + branches, relative to that of the stream: -inf if they add nothing,
        nan of a layer without a skip connection around it. None if there is no such layer, and of
        a Network with examples=False, several depths or memory "sqrt".
    streams: of a function that is cut where several arrays are alive; None for others.
    entries: histograms of the exponents of all entries, of Δ, of states, of parameters and of their
        Δ, from which `flow.formats()` has what number formats keep. None unless asked for.
    positions: of each layer the positions (tokens, pixels) of its state (B, …, channels), 0 without
        any; empty of a Network. Static.
    attention: the largest logit and the entropy of each head of every attention, a softmax between
        two products of states, that is recognised in the program of a layer; None without any.
    routers: the share of each expert in what routers select, or in their weights; None likewise.
    given: sizes of what was handed over, and the loss; None of theory.
    time: Δ at the steps of recurrent modules of PyTorch; None without any, and where the steps are
        layers.
    units: of a Network, and of a module of PyTorch with activations that are seen; None for others.
    theory: the flow of the network's wide twin, see `jaxnn.theory.wide`: what theory says of random
        weights of these sizes. None unless asked for.
    errors: of such a theory the standard error of each of its numbers, another Flow; else None.
    replicas: of a wide twin all its replicas together, in all draws; 0 for others. Static.
    draws: of a wide twin, which its errors are known from; 0 for others. Static.
    names: of the layers, as the user knows them; empty for a Network's. Static.
    sizes: entries of a state for each example; static.
    dtype: the float type of the states with the smallest range; static.
    net: the Network; None for others. Static.
    closed: of a function that is cut, the layer that holds most of its products in a program that
        is not taken apart, how many, and what to write instead; None if there is none. Static.
    unmeasured: the number of the lowest layers whose Δ was not measured and is nan; static.
    is_read: whether attention and routers were looked for. They were not in a module of PyTorch
        whose operations cannot be followed, such as on tensors of a class of its own. Static.
    is_of_torch: whether it is of a module of PyTorch. Static.
    drawn: of a module of PyTorch the weights of a head that are zero: below it Δ, and theory, are
        those after random numbers in their place. Static.
    broken: names of parameters and buffers of a module of PyTorch that have no Δ and hold nan or
        inf, where numbers of the network are not finite; static.
    coverage: of a module of PyTorch whose layers were found automatically, the share of the
        parameters that they hold; else None. Static.
    stopped: where the gradient of a module of PyTorch stops, though the loss depends on what lies
        below, as after `detach`, or where it is frozen; else None. Static.
    notes: sentences on how it was measured, and on why what is nan is so. Static.
    """

    log_delta: Float[Array, "*v L"]
    log_delta_example: Float[Array, "*v L B"]
    log_largest: Float[Array, "*v L"]
    log_delta_input: Float[Array, "*v"]
    log_theta: Float[Array, "*v L"]
    log_gain: Float[Array, "*v L"]
    lost: Bool[Array, "*v L"]
    log_mean_square: Float[Array, "*v L"]
    mixes: Bool[Array, "*v L"]
    linear: Bool[Array, "*v L"]
    parameters: Parameters
    names: tuple[str, ...] = field(metadata={"static": True})
    sizes: tuple[int, ...] = field(metadata={"static": True})
    dtype: Any = field(metadata={"static": True})
    log_spread: Float[Array, "*v L"] | None = None
    log_spread_within: Float[Array, "*v L"] | None = None
    cosine: Float[Array, "*v L"] | None = None
    rank: Float[Array, "*v L"] | None = None
    log_branch: Float[Array, "*v L"] | None = None
    entries: FlowEntries | None = None
    streams: Streams | None = None
    attention: AttentionHeads | None = None
    routers: Routers | None = None
    given: Given | None = None
    time: Recurrences | None = None
    units: Units | None = None
    theory: "Flow | None" = None
    errors: "Flow | None" = None
    positions: tuple[int, ...] = field(default=(), metadata={"static": True})
    net: Network | None = field(default=None, metadata={"static": True})
    closed: Closed | None = field(default=None, metadata={"static": True})
    replicas: int = field(default=0, metadata={"static": True})
    draws: int = field(default=0, metadata={"static": True})
    unmeasured: int = field(default=0, metadata={"static": True})
    is_read: bool = field(default=True, metadata={"static": True})
    coverage: Coverage | None = field(default=None, metadata={"static": True})
    stopped: Stopped | None = field(default=None, metadata={"static": True})
    is_of_torch: bool = field(default=False, metadata={"static": True})
    drawn: tuple[str, ...] = field(default=(), metadata={"static": True})
    broken: tuple[str, ...] = field(default=(), metadata={"static": True})
    notes: tuple[str, ...] = field(default=(), metadata={"static": True})

    def __len__(self) -> int:
        """The number of flows, if this is one of several networks or depths."""
        self._check_several()
        return len(self.log_delta)

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, i: Any) -> "Flow":
        """Return flow i, or several, of those of several networks or depths."""
        self._check_several()
        if isinstance(i, int) and not -len(self) <= i < len(self):
            raise IndexError(f"flow: expected an index below {len(self)}, got {i}")
        chosen: Flow = jax.tree.map(lambda v: v[i], self)
        return chosen

    def __iter__(self) -> Iterator["Flow"]:
        return (self[i] for i in range(len(self)))

    def _check_several(self) -> None:
        if jnp.ndim(self.log_delta) < 2:
            raise TypeError(
                "flow: expected flows of several networks or depths, got that of one; its entries "
                "are flow.log_delta[l - 1] and alike"
            )
