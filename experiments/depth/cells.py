"""One cell of the depth sweep: networks of one kind, measured for all seeds side by side.

The seeds lie in a row over the devices; each device takes its own one after the other.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jax.sharding import Mesh

import jaxnn
from experiments.depth import theory as depth_theory
from experiments.learning import data
from experiments.runs import devices, runtime
from jaxnn.layers import Drawn

# What is kept of a flow, as its logarithm to the base ten.
LOGS = {
    "log_delta": "log10_delta_z",
    "log_theta": "log10_delta_theta",
    "gain": "log10_gain",
    "log_mean_square_z": "log10_mean_square_z",
}
FRACTIONS = {"saturated": "saturated_fraction", "dead": "dead_fraction"}
KEPT = (*LOGS, *FRACTIONS, "lost")


class Weights(NamedTuple):
    """An initialisation: a name for it, and a scheme times a factor."""

    name: str
    scheme: Any  # an Initializer; that protocol does not say that it is hashable
    factor: float = 1.0


@dataclass(frozen=True)
class Cell:
    """A point of the grid."""

    net: jaxnn.Network  # with room for at least `depth` hidden layers
    depth: int
    weights: Weights
    sigma_b: float
    batch: int
    dtype: str
    data: str
    seeds: tuple[int, ...]

    @property
    def width(self) -> int:
        """Of the hidden layers."""
        return self.net.sizes[1]

    @property
    def key(self) -> str:
        """A name of its own among the cells of a sweep."""
        parts = (self.data, self.dtype, self.batch, self.width, self.net.activation.name)
        text = "-".join(map(str, (*parts, self.weights.name, f"{self.sigma_b:g}", self.depth)))
        short = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in text)
        # Paths may be long, and differ in what a file name cannot hold.
        return f"{short[-100:]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    @property
    def shown(self) -> str:
        """For the view."""
        return f"{self.net.activation.name}, {self.weights.name}, {self.depth} layers".ljust(36)


def roomy(dataset: data.Dataset, width: int, activation: str, depth: int) -> jaxnn.Network:
    """A network whose run of equal layers has room for `depth` hidden ones.

    The room is a power of four from 64 on, so that one compiled program serves every depth up to
    it: compiling takes longer than to measure in a room that is a few times too large.
    """
    n_in, room = dataset.x.shape[1], 64
    below = apart((n_in, width))
    while room < depth - below:
        room *= 4
    return jaxnn.Network((n_in, *[width] * (below + room), dataset.n_out), activation, dataset.task)


class Work(NamedTuple):
    """What a cell takes."""

    flops: float
    bytes: float


def work(cell: Cell) -> Work:
    """Three products a layer for every seed; the weights and signals of the seeds on a device."""
    sizes = np.array(cell.net.sizes, np.float64)
    products = float(np.sum(sizes[:-1] * sizes[1:]))
    used = cell.net.sizes[: 1 + cell.depth] + cell.net.sizes[-1:]
    flops = 6.0 * cell.batch * sum(n * m for n, m in pairwise(used))
    size = jnp.dtype(cell.dtype).itemsize
    each = size * (products + 2 * cell.batch * float(np.sum(sizes)))
    return Work(len(cell.seeds) * flops, len(cell.seeds) * each)


def measure(datasets: dict[str, data.Dataset], cell: Cell) -> pl.DataFrame:
    """One row a seed and layer.

    Columns: activation, weights; sigma_w, that the weights of a hidden layer have, null where they
    are not independent of mean zero; sigma_b, width, depth (hidden layers), batch, dtype, data;
    seed, layer (1 … depth + 1, the last is the output); log10_delta_z = log₁₀ ‖Δz[layer]‖ and
    log10_delta_theta = log₁₀ ‖Δθ[layer - 1]‖, also beyond the range of the dtype, -inf for zero;
    log10_gain, log10_delta_z less that of the layer above; log10_mean_square_z, of z[layer] over
    batch and units, inf where the forward pass has left the range of the dtype;
    saturated_fraction, dead_fraction, of the units; delta_z, which says whether Δz is a number to
    plain backpropagation too, or lost to it by underflow or overflow, or a true zero.
    """
    dataset = datasets[cell.data]
    with jax.enable_x64(cell.dtype == "float64"):
        flow = _flows(dataset, cell)
    hidden_room = len(cell.net.sizes) - 2
    kept = np.r_[: cell.depth, hidden_room]  # the hidden layers in use, and the output
    return _rows(cell, {name: values[:, kept].ravel() for name, values in flow.items()})


def _rows(cell: Cell, flow: dict[str, np.ndarray]) -> pl.DataFrame:
    layers = cell.depth + 1
    log_delta, lost = flow["log_delta"], flow["lost"] == 1
    states = [np.isneginf(log_delta), lost & (log_delta < 0), lost]
    of = depth_theory.sigma_w(cell.weights.name, cell.weights.factor, cell.width)
    frame = pl.DataFrame(
        {
            "seed": np.repeat(np.asarray(cell.seeds), layers),
            "layer": np.tile(np.arange(1, layers + 1), len(cell.seeds)),
            **{column: flow[field] / np.log(10) for field, column in LOGS.items()},
            **{column: flow[field] for field, column in FRACTIONS.items()},
            "delta_z": np.select(states, ["zero", "underflow", "overflow"], "number"),
        }
    )
    return frame.select(
        pl.lit(cell.net.activation.name).alias("activation"),
        pl.lit(cell.weights.name).alias("weights"),
        pl.lit(of, pl.Float64).alias("sigma_w"),
        pl.lit(cell.sigma_b).alias("sigma_b"),
        pl.lit(cell.width, pl.Int64).alias("width"),
        pl.lit(cell.depth, pl.Int64).alias("depth"),
        pl.lit(cell.batch, pl.Int64).alias("batch"),
        pl.lit(cell.dtype).alias("dtype"),
        pl.lit(cell.data).alias("data"),
        pl.all(),
    )


def _flows(dataset: data.Dataset, cell: Cell) -> dict[str, np.ndarray]:
    """The fields that are kept, (seeds, layers with room) each, as float64."""
    params, xs, ys = drawn(dataset, cell)
    used = np.int32(cell.depth - apart(cell.net.sizes))
    flow = measuring(runtime.mesh(len(cell.seeds)), cell.net)(params, xs, ys, used)
    return {
        name: devices.gathered(values)[: len(cell.seeds)].astype(np.float64)
        for name, values in flow.items()
    }


_held: dict[Any, Any] = {}  # the last draw


def drawn(dataset: data.Dataset, cell: Cell) -> tuple[Any, Any, Any]:
    """Parameters, examples and labels for each seed, with at least the layers that the cell uses.

    A network is the start of a deeper one, so a cell of another depth goes on with what was drawn
    for the last. A power of two: at most twice what the deepest needs is drawn on the way to it.
    """
    # The draw depends on the sizes alone: one program for all activations, σ_w and σ_b.
    shape = jaxnn.Network(cell.net.sizes, "identity", cell.net.task)
    mesh, below = runtime.mesh(len(cell.seeds)), apart(shape.sizes)
    used, room = cell.depth - below, len(shape.sizes) - 2 - below
    layers = min(1 << max(used - 1, 0).bit_length(), room)
    drawn_of = (shape, cell.weights, cell.sigma_b, cell.batch, cell.dtype, cell.seeds, layers)
    key = (mesh, id(dataset.x), *drawn_of)
    if key not in _held:
        _held.clear()  # first: two may not fit where one does
        biases = 1.0 if cell.sigma_b else "zeros"  # which takes no program for random numbers
        draw = drawing(mesh, shape, cell.weights.scheme, cell.dtype, biases)
        seeds = devices.in_a_row(mesh, np.asarray(cell.seeds, np.int32))
        factor, sigma_b = (jnp.asarray(v, float) for v in (cell.weights.factor, cell.sigma_b))
        params = draw(seeds, factor, sigma_b, np.int32(layers))
        of = (params, *_examples(mesh, dataset, cell))
        _held[key] = (of, dataset)  # which keeps its id from being another's
    found: tuple[Any, Any, Any] = _held[key][0]
    return found


def _examples(mesh: Mesh, dataset: data.Dataset, cell: Cell) -> tuple[jax.Array, jax.Array]:
    """A batch for each seed, shuffled by NumPy: a program for that takes longer to compile."""
    shuffled = [np.random.default_rng(seed).permutation(len(dataset.x)) for seed in cell.seeds]
    rows = np.stack(shuffled)[:, : cell.batch]
    x, y = (v.astype(jax.dtypes.canonicalize_dtype(v.dtype)) for v in (dataset.x, dataset.y))
    return devices.in_a_row(mesh, x[rows]), devices.in_a_row(mesh, y[rows])


def apart(sizes: tuple[int, ...]) -> int:
    """The hidden layers below the run: the first, unless it is square and so one of the run."""
    return 0 if sizes[0] == sizes[1] else 1


@cache
def drawing(
    mesh: Mesh,
    shape: jaxnn.Network,
    scheme: Any,
    dtype: str,
    biases: float | str = 1.0,
) -> Callable[..., Any]:
    """(seeds, factor, σ_b, layers of the run) -> parameters for each seed."""

    def gradient_draw(seed: jax.Array, factor: Any, sigma_b: Any, used: Any) -> tuple[Any, ...]:
        drawn = jaxnn.init(shape, jax.random.key(seed), scheme, biases, dtype, stored=False)
        layers = (v.stored_up_to(used) if isinstance(v, Drawn) else v for v in drawn)
        return tuple(
            jaxnn.Layer(theta * factor.astype(dtype), b * sigma_b.astype(dtype))
            for theta, b in layers
        )

    return devices.side_by_side(mesh, gradient_draw, spread=1, shared=3)


@cache
def measuring(mesh: Mesh, net: jaxnn.Network) -> Callable[..., Any]:
    """(parameters, xs, ys, depth) -> what is kept of the flow for each seed, by name.

    The rest of it is left out of the program: a fifth of its time, a third of its compile time.
    """

    def gradient_flow(params: Any, xs: Any, ys: Any, depth: Any) -> dict[str, jax.Array]:
        flow = jaxnn.gradient_flow(net, params, xs, ys, depth=depth)
        return {name: getattr(flow, name) for name in KEPT}

    return devices.side_by_side(mesh, gradient_flow, spread=3, shared=1)
