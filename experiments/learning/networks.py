"""Random networks of one kind, drawn for several seeds side by side, and their gradients' flow.

    seeds -> weights, batches -> gradient_flow -> numbers a seed and layer

A network is the start of a deeper one: equal hidden layers are a run with room for more of them, so
one compiled program and one draw serve every depth up to the room, and networks of several depths
share their way up.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import pairwise
from operator import itemgetter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Int32, PyTree

import jaxnn
from experiments.learning.data import Dataset
from experiments.runs.devices import Mapped, Rounds, SideBySide
from experiments.runs.experiment import Work
from jaxnn.arrays.loops import loop, with_entry
from jaxnn.arrays.spread import zeros
from jaxnn.flow.measure.flow_of_net import flow_of_net
from jaxnn.network.blocks import DENSE
from jaxnn.network.params import Layer, LazyRun, is_run, layer_of

# The fields of a flow that are measured. The others are left out of the program: a fifth of its
# time, a third of its compile time.
FIELDS = (
    *("log_delta", "log_delta_mean", "log_delta_theta", "log_gain", "log_mean_square"),
    *("saturated", "dead", "lost"),
)
OF_EXAMPLES = "log_delta_mean"
PARAMETERS = {"log_delta_theta": 0, "log_delta_b": 1}  # θ and b take turns
EXAMPLES = ("log_spread", "cosine", "rank")  # and these, if what is left of examples is asked for
AT_ONCE = 2**24  # entries that can be set to zero in some milliseconds
LARGE = 2**22  # bytes of a network's parameters from which on each is measured by a call of its own


class Initialisation(NamedTuple):
    """An initialisation: a name, and a scheme times a factor."""

    name: str
    scheme: Any  # an Initializer; that protocol does not say that it is hashable
    factor: float = 1.0


@dataclass(frozen=True)
class Networks:
    """Random networks of one kind, one for each seed and depth, and the batch that goes through."""

    net: jaxnn.Network  # with room for the deepest of them
    depths: tuple[int, ...]  # ascending; the networks of a seed share their first layers
    weights: Initialisation
    sigma_b: float
    batch: int  # examples, drawn by the seed too
    dtype: str
    seeds: tuple[int, ...]
    examples: bool = False  # whether what is left of the examples is measured too
    deepest: int = 0  # hidden layers of the deepest that shares the draw; 0 if it is one of these

    @property
    def depth(self) -> int:
        """Hidden layers of the deepest."""
        return self.depths[-1]

    @property
    def width(self) -> int:
        """The units of a hidden layer."""
        return self.net.sizes[1]


def roomy(
    dataset: Dataset,
    width: int,
    activation: str,
    depth: int,
    batch: int,
    hidden: jaxnn.blocks.Block = DENSE,
    deepest: int = 0,
) -> jaxnn.Network:
    """Return a network whose run of equal layers has room for `depth` hidden layers."""
    # Compiling takes longer than measuring in a room some times too large, so rooms are powers of
    # 16; beyond what can be set to zero in milliseconds, and beyond the deepest network, a larger
    # one only costs.
    run = depth - 1  # the first layer is none of the run
    least = 64
    while 4 * least * batch * width <= AT_ONCE:
        least *= 4
    room = min(_room(run, 16, least), _room(max(run, deepest - 1), 4))
    return network(dataset, width, activation, 1 + room, hidden)


def _room(run: int, factor: int, least: int = 64) -> int:
    room = least
    while room < run:
        room *= factor
    return room


def network(
    dataset: Dataset,
    width: int,
    activation: str | jaxnn.network.Activation,
    layers: int,
    hidden: jaxnn.blocks.Block = DENSE,
) -> jaxnn.Network:
    """Return a network for the data with so many hidden layers of one width."""
    sizes = (dataset.x.shape[1], *[width] * layers, dataset.n_out)
    return jaxnn.Network(sizes, activation, dataset.task, hidden)


def work(networks: Networks) -> Work:
    """Three products a layer for every seed, one shared by its depths; weights and signals."""
    sizes = np.array(networks.net.sizes, np.float64)
    of_room = float(np.sum(sizes[:-1] * sizes[1:]))
    products = 2 * sum(_weights(networks, depth) for depth in networks.depths)
    flops = 2.0 * networks.batch * (products + _weights(networks, networks.depth))
    entry = jnp.dtype(networks.dtype).itemsize
    seeds = len(networks.seeds)
    at_once = min(seeds, jax.local_device_count())  # a device takes its seeds one by one
    signals = 2 * networks.batch * float(np.sum(sizes))
    return Work(seeds * flops, entry * (seeds * of_room + at_once * signals))


def _weights(networks: Networks, depth: int) -> int:
    """The weights of a network of this many hidden layers."""
    sizes = networks.net.sizes
    return sum(n * m for n, m in pairwise(sizes[: 1 + depth] + sizes[-1:]))


class DrawnSeeds(NamedTuple):
    """Parameters, examples and labels, an entry a seed, spread over the devices."""

    params: Rounds
    xs: Rounds
    ys: Rounds


class Draws:
    """Draws of networks, of which the last is kept for networks that share it."""

    def __init__(self) -> None:
        self._last: tuple[Any, DrawnSeeds] | None = None

    def of(self, dataset: Dataset, networks: Networks) -> DrawnSeeds:
        """Return a draw with at least the layers that the networks use."""
        drawn = drawn_for(networks)
        if self._last is None or self._last[0] != (dataset, drawn):
            self._last = None  # first: two draws may not fit where one does
            self._last = (dataset, drawn), _draw(dataset, drawn)
        return self._last[1]


def drawn_for(networks: Networks) -> Networks:
    """Return the networks whose draw these use; by sizes alone, for all activations and σ."""
    deepest, sizes = max(networks.deepest, networks.depth), networks.net.sizes
    if len(sizes) - 2 < deepest:
        sizes = (sizes[0], *[networks.width] * (1 + _room(deepest - 1, 4)), sizes[-1])
    shape = jaxnn.Network(sizes, "identity", networks.net.task)
    return replace(networks, net=shape, depths=(deepest,), deepest=0, examples=False)


def _draw(dataset: Dataset, drawn: Networks) -> DrawnSeeds:
    side_by_side, draw = _drawing(drawn)
    seeds = side_by_side.put(np.asarray(drawn.seeds, np.int32))
    factor, sigma_b = (np.asarray(v, float) for v in (drawn.weights.factor, drawn.sigma_b))
    params = draw(seeds, factor, sigma_b, np.int32(drawn.depth - 1))
    # Shuffled by NumPy: a program for that takes longer to compile.
    orders = [np.random.default_rng(seed).permutation(len(dataset.x)) for seed in drawn.seeds]
    rows = np.stack(orders)[:, : drawn.batch]
    x, y = (v.astype(jax.dtypes.canonicalize_dtype(v.dtype)) for v in (dataset.x, dataset.y))
    return DrawnSeeds(params, side_by_side.put(x[rows]), side_by_side.put(y[rows]))


def _drawing(drawn: Networks) -> tuple[SideBySide, Mapped]:
    side_by_side = _side_by_side(drawn)
    biases = 1.0 if drawn.sigma_b else "zeros"  # which takes no program for random numbers
    return side_by_side, drawing(side_by_side, drawn.net, drawn.weights.scheme, drawn.dtype, biases)


def _side_by_side(drawn: Networks) -> SideBySide:
    weights = sum(n * m for n, m in pairwise(drawn.net.sizes)) * jnp.dtype(drawn.dtype).itemsize
    return SideBySide.over_devices(len(drawn.seeds), apart=weights >= LARGE)


Program = Callable[[SideBySide, jaxnn.Network], Mapped]


def prepare(dataset: Dataset, networks: Networks, program: Program | None = None) -> None:
    """Begin to compile what `measured` calls, if this is inside `ahead.compiling`."""
    program = program or partial(measuring, examples=networks.examples)
    with jax.enable_x64(networks.dtype == "float64"):
        drawn = drawn_for(networks)
        side_by_side, draw = _drawing(drawn)
        like, of_all = side_by_side.like, partial(side_by_side.like, spread=False)
        number, count = np.zeros((), float), np.zeros((), np.int32)
        draw.prepare(like(count), *map(of_all, (number, number, count)))
        rows = (np.broadcast_to(v[:1], (drawn.batch, *v.shape[1:])) for v in (dataset.x, dataset.y))
        params = jax.tree.map(like, _shapes(drawn.net, drawn.dtype))
        depths = np.asarray(networks.depths, np.int32)
        program(side_by_side, networks.net).prepare(params, *map(like, (*rows, depths)))


@cache
def _shapes(shape: jaxnn.Network, dtype: str) -> Any:
    """The parameters of one network, as shapes."""

    def draw(seed: jax.Array) -> Any:
        return jaxnn.init(shape, jax.random.key(seed), "zeros", dtype=dtype, stacked=True)

    return jax.eval_shape(draw, np.int32(0))


def flows(draws: Draws, dataset: Dataset, networks: Networks) -> list[dict[str, np.ndarray]]:
    """Return for each depth `FIELDS` (and `EXAMPLES`) of a flow, float64 (seeds, depth + 1)."""
    flow = measured(draws, dataset, networks, partial(measuring, examples=networks.examples))
    room = len(networks.net.sizes) - 2

    def at(i: int, depth: int) -> dict[str, np.ndarray]:
        layers = np.r_[:depth, room]  # the hidden layers in use, and the output
        return {name: values[:, i, layers].astype(np.float64) for name, values in flow.items()}

    return [at(i, depth) for i, depth in enumerate(networks.depths)]


def measured(draws: Draws, dataset: Dataset, networks: Networks, program: Program) -> Any:
    """Return the results of a program in each network, as NumPy arrays, an entry a seed."""
    with jax.enable_x64(networks.dtype == "float64"):
        params, xs, ys = draws.of(dataset, networks)
        side_by_side = _side_by_side(drawn_for(networks))
        depths, entries = shared_depths(side_by_side.entries, networks.depths)
        of_entries = side_by_side.put_entries(depths)
        results = program(side_by_side, networks.net)(params, xs, ys, of_entries)
        results = side_by_side.get_entries(results)
        if len(networks.depths) == 1:
            return jax.tree.map(lambda values: values[entries[:, 0]], results)
        columns = np.arange(len(networks.depths))
        return jax.tree.map(lambda values: values[entries, columns], results)


def shared_depths(
    seeds: np.ndarray, depths: Sequence[int]
) -> tuple[Int32[np.ndarray, "entries k"], Int[np.ndarray, "seeds k"]]:
    """Divide the depths of each seed among the entries that it has, deepest first.

    The least depth stands for each that another entry measures; and which entry measures each.

    Example:
        >>> depths, entries = shared_depths(np.array([0, 1, 1]), [1, 2, 4, 8])
        >>> depths.tolist(), entries.tolist()
        ([[1, 2, 4, 8], [1, 1, 1, 8], [1, 2, 4, 1]], [[0, 0, 0, 0], [2, 2, 2, 1]])
    """
    # Greedy: each depth goes to the entry of its seed that has least to do so far.
    of_entries = np.full((len(seeds), len(depths)), depths[0], np.int32)
    measured_by = np.empty((seeds.max() + 1, len(depths)), int)
    for seed in range(len(measured_by)):
        layers = dict.fromkeys(np.flatnonzero(seeds == seed).tolist(), 0)
        for i in reversed(range(len(depths))):
            entry = min(layers, key=lambda each: layers[each])
            # Up to its deepest network, and two products a layer down each.
            layers[entry] += depths[i] * (2 if layers[entry] else 3)
            of_entries[entry, i] = depths[i]
            measured_by[seed, i] = entry
    return of_entries, measured_by


def start_of(params: PyTree, net: jaxnn.Network) -> Any:
    """Return the parameters of the first layers of a deeper network, as many as `net` has."""
    room = len(net.sizes) - 3
    cut = (jax.tree.map(itemgetter(slice(room)), v) if is_run(v) else v for v in params)
    return tuple(cut)


@cache
def drawing(
    side_by_side: SideBySide,
    shape: jaxnn.Network,
    scheme: Any,
    dtype: str,
    biases: float | str = 1.0,
) -> Mapped:
    """Compile (seeds, factor, σ_b, layers of the run) -> parameters for each seed."""

    def gradient_draw(
        seed: jax.Array, factor: jax.Array, sigma_b: jax.Array, used: jax.Array
    ) -> tuple[Any, ...]:
        drawn = jaxnn.init(shape, jax.random.key(seed), scheme, biases, dtype, lazy=True)
        layers = (stored_up_to(v, used) if isinstance(v, LazyRun) else v for v in drawn)
        return tuple(
            jaxnn.network.Layer(theta * factor.astype(dtype), b * sigma_b.astype(dtype))
            for theta, b in layers
        )

    return side_by_side.map(gradient_draw, spread=1, shared=3)


@cache
def measuring(side_by_side: SideBySide, net: jaxnn.Network, examples: bool = False) -> Mapped:
    """Compile (parameters, xs, ys, depths) -> fields of the flow for each seed, by name."""

    def gradient_flow(
        params: PyTree, xs: jax.Array, ys: jax.Array, depths: jax.Array
    ) -> dict[str, jax.Array]:
        params = start_of(params, net)
        flow = flow_of_net(net, params, xs, ys, depth=depths, examples=examples)
        fields = (*FIELDS, *EXAMPLES) if examples else FIELDS
        return {name: field(flow, name) for name in fields}

    return side_by_side.map(gradient_flow, spread=4, shared=0)


def field(flow: jaxnn.Flow, name: str) -> jax.Array:
    """Return a field: one of `jaxnn.Flow`, of its units, or log_delta_theta or log_delta_b.

    Or log_delta_mean: the mean of log_delta_example over the examples that have a gradient; -inf if
    none has.
    """
    if name == OF_EXAMPLES:
        has_some = ~jnp.isneginf(flow.log_delta_example)
        mean = jnp.mean(flow.log_delta_example, axis=-1, where=has_some)
        return jnp.where(jnp.any(has_some, axis=-1), mean, -jnp.inf)
    if name in PARAMETERS:
        return flow.parameters.log_delta[..., PARAMETERS[name] :: 2]
    return getattr(flow if hasattr(flow, name) else flow.units, name)


def stored_up_to(run: LazyRun, used: Array | int) -> Layer:
    """Return a run with the numbers of its first layers, and zeros in the rest."""

    def body(j: Array, numbers: Layer) -> Layer:
        theta, b = layer_of(run, j)
        return Layer(with_entry(numbers.theta, j, theta), with_entry(numbers.b, j, b))

    shapes = jax.eval_shape(partial(layer_of, run), 0)
    empty = Layer(*(zeros(run.k, v) for v in shapes))
    # Layers are drawn one after the other because one fits into the cache: on a CPU 64 layers of
    # 256 units take a quarter of the time of drawing them all at once.
    looped: Layer = loop(0, used, body, empty)
    return looped
