"""How does the size of a gradient change with depth?

For every activation, initialisation and depth a network of equal hidden layers is drawn, and one
batch of real data sent forward and back through it. Recorded is, for each layer l, how large
Δz[l] and Δθ[l-1] of the batch's mean loss and the signal z[l] are; the network is not trained. A
sweep is repeated over seeds, each with weights and a batch of its own. Beside the measurement
stands what mean-field theory says of infinite width, and by how much a finite one may differ.

`settings -> data, networks -> gradient_flow -> rows; rows, theory -> verdicts, table, chart`
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import jax
import numpy as np
import polars as pl
import tyro
from jax.nn.initializers import Initializer
from rich.console import Console

import jaxnn
from experiments import charts, data, depth_chart, depth_report, depth_theory, runtime, store
from jaxnn.initializers import find_weights

CHART = "gradients"
FILES = (store.ROWS, store.RUN, *charts.names(CHART))

DEFAULT_WEIGHTS = ("glorot_uniform", "he_normal")
CRITICAL = "critical"


@dataclass(frozen=True)
class Settings:
    """How the size of a gradient changes with depth, by activation and initialisation."""

    depths: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
    """Numbers of hidden layers."""
    activations: tuple[str, ...] = ("sigmoid", "tanh", "relu")
    """Activations of the hidden layers, by name."""
    weights: tuple[str, ...] = ()
    """Initialisers of the weights, by their names in jax.nn.initializers; without any choice
    glorot_uniform and he_normal."""
    sigma_w: tuple[float, ...] = ()
    """Gaussian weights of variance σ_w²/fan_in, one initialisation for each σ_w."""
    critical: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Gaussian weights with the σ_w at which theory says that gradients keep their size."""
    sigma_b: float = 0.0
    """Standard deviation of the biases, which are normal."""
    width: int = 64
    """Units in every hidden layer."""
    batch: int = 128
    """Examples in a batch; all there are, where the data has fewer."""
    seeds: int = 5
    """How many seeds; each draws its own weights and batch."""
    seed: int = 0
    """The first seed."""
    data: str = "breast_cancer"
    """breast_cancer, digits, iris, wine, diabetes, or a .csv, .parquet or .npz file."""
    target: str | None = None
    """The column to predict, for a file."""
    task: str | None = None
    """regression, binary or multiclass; read off the target by default."""
    out: Path = Path("runs/depth")
    """The folder for the results."""
    overwrite: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Replace a run that the folder already holds."""


@dataclass(frozen=True)
class Weights:
    """An initialisation: a name for it, and a scheme times a factor."""

    name: str
    scheme: Initializer
    factor: float = 1.0


@dataclass(frozen=True)
class Cell:
    """One measurement: a network, how its weights are drawn, and a seed."""

    net: jaxnn.Network  # with room for at least `depth` hidden layers
    depth: int
    weights: Weights
    seed: int


@dataclass(frozen=True)
class Plan:
    """Checked settings with everything that they name."""

    settings: Settings
    dataset: data.Dataset
    cells: tuple[Cell, ...]

    @property
    def batch(self) -> int:
        """The examples in a batch."""
        return min(self.settings.batch, len(self.dataset.x))


def prepare(settings: Settings) -> Plan:
    """Checks the settings, loads the data and claims the folder.

    Raises:
        ValueError, TypeError, OSError: one sentence; nothing has been written then.
    """
    runtime.check(
        settings,
        several=("depths", "activations"),
        counts=("depths", "width", "batch", "seeds"),
    )
    for name, value in (*(("sigma_w", v) for v in settings.sigma_w), ("sigma_b", settings.sigma_b)):
        if not 0 <= value < math.inf:
            raise ValueError(f"{name}: expected a finite number >= 0, got {value:g}")
    weights = {name: weights_for(settings, name) for name in settings.activations}
    dataset = data.load(settings.data, settings.target, settings.task)
    cells = tuple(_cells(settings, weights, dataset))
    store.claim(settings.out, FILES, settings.overwrite)
    return Plan(settings, dataset, cells)


def weights_for(settings: Settings, activation: str) -> list[Weights]:
    """The initialisations to compare; the critical one depends on the activation.

    Raises:
        ValueError: an unknown name, or an activation without a critical σ_w.
    """
    jaxnn.find_activation(activation)
    asked = settings.weights or settings.sigma_w or settings.critical
    names = settings.weights if asked else DEFAULT_WEIGHTS
    found = [Weights(name, find_weights(name)) for name in dict.fromkeys(names)]
    # One scheme for all σ_w, and a factor: so one program draws for all of them.
    unit = jaxnn.gaussian(1.0)
    found += [Weights(f"σ_w = {s:g}", unit, s) for s in dict.fromkeys(settings.sigma_w)]
    if settings.critical:
        sigma_w = float(jaxnn.meanfield.critical_sigma_w(activation, settings.sigma_b))
        found.append(Weights(CRITICAL, unit, sigma_w))
    return found


def _cells(
    settings: Settings, weights: dict[str, list[Weights]], dataset: data.Dataset
) -> Iterator[Cell]:
    """The cells, those of one network together: they share its compiled program."""
    for activation, of_activation in weights.items():
        for depth in sorted(set(settings.depths)):
            net = roomy(dataset, settings.width, activation, depth)
            for each in of_activation:
                for seed in range(settings.seed, settings.seed + settings.seeds):
                    yield Cell(net, depth, each, seed)


def roomy(dataset: data.Dataset, width: int, activation: str, depth: int) -> jaxnn.Network:
    """A network whose run of equal layers has room for `depth` hidden ones.

    The room is a power of four, so that one compiled program serves every depth up to it: compiling
    takes longer than to measure in a room that is a few times too large.
    """
    n_in = dataset.x.shape[1]
    apart = 0 if n_in == width else 1  # the first layer is one of the run only if it is square
    room = 1
    while room < depth - apart:
        room *= 4
    return jaxnn.Network((n_in, *[width] * (apart + room), dataset.n_out), activation, dataset.task)


def run(plan: Plan) -> bool:
    """Measures every cell, prints table and verdicts, fills the folder.

    Returns:
        Whether it finished. Interrupted (Ctrl-C), it keeps what it has measured and says so.

    Raises:
        OSError: the disk; the sentence names the file.
    """
    started, out = datetime.now(UTC), plan.settings.out
    frames, finished = runtime.measure_each(
        plan.cells,
        partial(measure, plan),
        lambda cell: f"{cell.net.activation.name}, {cell.depth} layers",
    )
    if not frames:
        return finished
    rows = pl.concat(frames)
    theory = depth_theory.predict(rows, plan.settings.sigma_b, plan.settings.width)
    cases = [depth_report.case_of(case, theory) for case in depth_report.by_case(rows)]
    verdicts = [depth_report.sentence(case) for case in cases]
    store.write_rows(out, rows)
    about = {"experiment": "depth", "finished": finished, "data": str(plan.dataset)}
    store.write_run(out, runtime.record(plan.settings, started, **about, verdicts=verdicts))
    charts.save(depth_chart.draw(rows, theory, cases, subtitle(plan)), out, CHART)
    Console().print(depth_report.table(rows))
    print(*verdicts, f"in {out}: {', '.join(FILES)}", sep="\n")
    return finished


_init = jax.jit(jaxnn.init, static_argnames=("weights", "biases", "stacked"))
_gradient_flow = jax.jit(jaxnn.gradient_flow)


def measure(plan: Plan, cell: Cell) -> pl.DataFrame:
    """One row a layer of one network.

    Columns: activation, weights; sigma_w, that the weights of a hidden layer have, null where they
    are not independent of mean zero; depth (hidden layers), seed, layer (1 … depth + 1, the last is
    the output); log10_delta_z = log₁₀ ‖Δz[layer]‖ and log10_delta_theta = log₁₀ ‖Δθ[layer - 1]‖,
    also beyond the range of the dtype, -inf for zero; log10_gain, log10_delta_z less that of the
    layer above; log10_mean_square_z, of z[layer] over batch and units, inf where the forward pass
    has left the range of the dtype; delta_z, which says whether Δz is a number to plain
    backpropagation too, or lost to it by underflow or overflow, or a true zero.
    """
    key_params, key_batch = jax.random.split(jax.random.key(cell.seed))
    params = draw(cell, key_params, plan.settings.sigma_b)
    order = np.asarray(jax.random.permutation(key_batch, len(plan.dataset.x)))[: plan.batch]
    xs, ys = plan.dataset.x[order], plan.dataset.y[order]
    used = cell.depth - sum(layer.theta.ndim == 2 for layer in params[:-1])
    flow = _gradient_flow(cell.net, params, xs, ys, depth=used)
    kept = np.r_[: cell.depth, len(flow.log_delta) - 1]  # the hidden layers in use, and the output
    f = {n: np.asarray(v)[kept].astype(np.float64) for n, v in flow._asdict().items() if n in LOGS}
    lost, layers = np.asarray(flow.lost)[kept], len(kept)
    states = [np.isneginf(f["log_delta"]), lost & (f["log_delta"] < 0), lost]
    width = plan.settings.width
    return pl.DataFrame(
        {
            "activation": [cell.net.activation.name] * layers,
            "weights": [cell.weights.name] * layers,
            "sigma_w": [depth_theory.sigma_w(cell.weights.name, cell.weights.factor, width)]
            * layers,
            "depth": [cell.depth] * layers,
            "seed": [cell.seed] * layers,
            "layer": np.arange(1, layers + 1),
            **{column: f[field] / np.log(10) for field, column in LOGS.items()},
            "delta_z": np.select(states, ["zero", "underflow", "overflow"], "number"),
        },
        schema_overrides={"sigma_w": pl.Float64},
    )


LOGS = {
    "log_delta": "log10_delta_z",
    "log_theta": "log10_delta_theta",
    "gain": "log10_gain",
    "log_mean_square_z": "log10_mean_square_z",
}


def draw(cell: Cell, key: jax.Array, sigma_b: float) -> tuple[jaxnn.Layer, ...]:
    """The parameters of a cell. The draw depends on the sizes alone: one program for all σ."""
    shape = jaxnn.Network(cell.net.sizes, "identity", cell.net.task)
    params = _init(shape, key, weights=cell.weights.scheme, biases=1.0, stacked=True)
    return tuple(jaxnn.Layer(cell.weights.factor * theta, sigma_b * b) for theta, b in params)


def subtitle(plan: Plan) -> str:
    """What was measured, on what, with how many seeds."""
    settings = plan.settings
    return (
        f"{plan.dataset}, batch {plan.batch}, width {settings.width}, σ_b = {settings.sigma_b:g}, "
        f"{runtime.dtype_name()}, untrained; {settings.seeds} seeds from {settings.seed}"
    )
