"""How does the size of a gradient change with depth?

For every activation, initialisation and depth a network of equal hidden layers is drawn, and one
batch of real data sent forward and back through it. Recorded is, for each layer l, how large
Δz[l] and Δθ[l-1] of the batch's mean loss are; the network is not trained. A sweep is repeated
over seeds, each with weights and a batch of its own.

`settings -> data, networks -> gradient_flow -> rows -> rates, verdicts, table, chart`
"""

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import jax
import numpy as np
import polars as pl
import tyro
from jax.nn.initializers import Initializer
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import jaxnn
from experiments import charts, data, depth_chart, runtime, store
from jaxnn.initializers import find_biases, find_weights

# A gradient that needs more than 64 layers to change by a factor of ten is called steady.
STEADY_DECADES_A_LAYER = 1 / 64

CHART = "gradients"
FILES = (store.ROWS, store.RUN, *charts.names(CHART))


@dataclass(frozen=True)
class Settings:
    """How the size of a gradient changes with depth, by activation and initialisation."""

    depths: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    """Numbers of hidden layers."""
    activations: tuple[str, ...] = ("sigmoid", "tanh", "relu")
    """Activations of the hidden layers, by name."""
    weights: tuple[str, ...] = ("glorot_uniform", "he_normal")
    """Initialisers of the weights, by their names in jax.nn.initializers."""
    biases: str = "zeros"
    """Initialiser of the biases: a name, or a number for normal biases of that deviation."""
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
class Cell:
    """One measurement: a network, how its weights are drawn, and a seed."""

    net: jaxnn.Network  # with room for at least `depth` hidden layers
    depth: int
    weights: str
    seed: int


@dataclass(frozen=True)
class Plan:
    """Checked settings with everything that they name."""

    settings: Settings
    dataset: data.Dataset
    draw_weights: dict[str, Initializer]
    draw_biases: Initializer
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
    for name in ("depths", "activations", "weights"):
        if not getattr(settings, name):
            raise ValueError(f"{name}: expected at least one, got none")
    for name in ("depths", "width", "batch", "seeds"):
        values = np.atleast_1d(getattr(settings, name))
        if np.any(values < 1):
            raise ValueError(f"{name}: expected positive integers, got {values.min()}")
    if not 0 <= settings.seed < 2**31:
        raise ValueError(f"seed: expected an integer from 0 to 2^31 - 1, got {settings.seed}")
    for activation in settings.activations:
        jaxnn.find_activation(activation)
    draw_weights = {name: find_weights(name) for name in settings.weights}
    draw_biases = find_biases(_number_or_name(settings.biases))
    dataset = data.load(settings.data, settings.target, settings.task)
    cells = tuple(_cells(settings, dataset))
    store.claim(settings.out, FILES, settings.overwrite)
    return Plan(settings, dataset, draw_weights, draw_biases, cells)


def _number_or_name(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _cells(settings: Settings, dataset: data.Dataset) -> Iterator[Cell]:
    """The cells, those of one network together: they share its compiled program."""
    for activation in dict.fromkeys(settings.activations):
        for depth in sorted(set(settings.depths)):
            net = roomy(dataset, settings.width, activation, depth)
            for weights in dict.fromkeys(settings.weights):
                for seed in range(settings.seed, settings.seed + settings.seeds):
                    yield Cell(net, depth, weights, seed)


def roomy(dataset: data.Dataset, width: int, activation: str, depth: int) -> jaxnn.Network:
    """A network whose run of equal layers has room for `depth` hidden ones.

    The room is a power of two, so that one compiled program serves every depth up to it.
    """
    n_in = dataset.x.shape[1]
    apart = 0 if n_in == width else 1  # the first layer is one of the run only if it is square
    room = 1 << max(depth - apart - 1, 0).bit_length()
    return jaxnn.Network((n_in, *[width] * (apart + room), dataset.n_out), activation, dataset.task)


def run(plan: Plan) -> bool:
    """Measures every cell, prints table and verdicts, fills the folder.

    Returns:
        Whether it finished. Interrupted (Ctrl-C), it keeps what it has measured and says so.

    Raises:
        OSError: the disk; the sentence names the file.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    frames: list[pl.DataFrame] = []
    finished = False
    try:
        with Progress(console=Console(stderr=True)) as progress:
            bar = progress.add_task("measuring", total=len(plan.cells))
            for cell in plan.cells:
                shown = f"{cell.net.activation.name}, {cell.depth} layers".ljust(24)
                progress.update(bar, description=shown)
                frames.append(measure(plan, cell))
                progress.advance(bar)
        finished = True
    except KeyboardInterrupt:
        print(f"interrupted: {len(frames)} of {len(plan.cells)} measurements are kept")
    if not frames:
        return finished
    rows = pl.concat(frames)
    verdicts = [sentence(case) for case in by_case(rows)]
    rates = {name_of(case): rate_in_words(case) for case in by_case(rows)}
    store.write_rows(plan.settings.out, rows)
    store.write_run(
        plan.settings.out,
        {
            "experiment": "depth",
            "finished": finished,
            "settings": dataclasses.asdict(plan.settings),
            "seed": plan.settings.seed,
            "data": str(plan.dataset),
            "dtype": runtime.dtype_name(),
            "verdicts": verdicts,
            "versions": runtime.versions(),
            "devices": runtime.devices(),
            "started": started.isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - clock, 1),
        },
    )
    charts.save(depth_chart.draw(rows, rates, subtitle(plan)), plan.settings.out, CHART)
    Console().print(table(rows))
    print(*verdicts, f"in {plan.settings.out}: {', '.join(FILES)}", sep="\n")
    return finished


_init = jax.jit(jaxnn.init, static_argnames=("weights", "biases", "stacked"))
_gradient_flow = jax.jit(jaxnn.gradient_flow)


def measure(plan: Plan, cell: Cell) -> pl.DataFrame:
    """One row a layer of one network.

    Columns: activation, weights, depth (hidden layers), seed, layer (1 … depth + 1, the last is the
    output); log10_delta_z = log₁₀ ‖Δz[layer]‖, log10_delta_theta = log₁₀ ‖Δθ[layer - 1]‖, also
    beyond the range of the dtype, -inf for zero; mean_square_a, the mean of a[layer]² over batch
    and units; delta_z, which says whether Δz is a number to plain backpropagation too, or lost to
    it by underflow or overflow, or a true zero.
    """
    key_params, key_batch = jax.random.split(jax.random.key(cell.seed))
    # The draw depends on the sizes alone: one program for all activations.
    shape = jaxnn.Network(cell.net.sizes, "identity", cell.net.task)
    draw = {"weights": plan.draw_weights[cell.weights], "biases": plan.draw_biases}
    params = _init(shape, key_params, **draw, stacked=True)
    order = np.asarray(jax.random.permutation(key_batch, len(plan.dataset.x)))[: plan.batch]
    xs, ys = plan.dataset.x[order], plan.dataset.y[order]
    used = cell.depth - sum(layer.theta.ndim == 2 for layer in params[:-1])
    flow = _gradient_flow(cell.net, params, xs, ys, depth=used)
    kept = np.r_[: cell.depth, len(flow.log_delta) - 1]  # the hidden layers in use, and the output
    flow = jax.tree.map(lambda values: np.asarray(values[kept], np.float64), flow)
    states = np.select(
        [np.isneginf(flow.log_delta), (flow.lost == 1) & (flow.log_delta < 0), flow.lost == 1],
        ["zero", "underflow", "overflow"],
        "number",
    )
    layers = len(kept)
    return pl.DataFrame(
        {
            "activation": [cell.net.activation.name] * layers,
            "weights": [cell.weights] * layers,
            "depth": [cell.depth] * layers,
            "seed": [cell.seed] * layers,
            "layer": np.arange(1, layers + 1),
            "log10_delta_z": flow.log_delta / np.log(10),
            "log10_delta_theta": flow.log_theta / np.log(10),
            "mean_square_a": flow.mean_a**2 + flow.var_a,
            "delta_z": states,
        }
    )


def name_of(case: pl.DataFrame) -> tuple[str, str]:
    """The activation and the initialisation of a case."""
    return case["activation"][0], case["weights"][0]


def by_case(rows: pl.DataFrame) -> list[pl.DataFrame]:
    """The rows of each activation and initialisation."""
    return rows.partition_by("activation", "weights", maintain_order=True)


def decades_a_layer(case: pl.DataFrame) -> list[float]:
    """The slope of log₁₀ ‖Δz[l]‖ over the hidden layers of the deepest network, one a seed.

    Counted towards the input: negative where the gradient vanishes on its way down. Layers whose
    Δz is zero are left out; a seed with fewer than two layers left gives none. The output layer has
    another width and another activation and is left out too.
    """
    deepest = case.filter(pl.col("depth") == pl.col("depth").max())
    usable = deepest.filter(
        (pl.col("layer") <= pl.col("depth")) & pl.col("log10_delta_z").is_finite()
    )
    return [
        -float(np.polyfit(seed["layer"], seed["log10_delta_z"], 1)[0])
        for seed in usable.partition_by("seed")
        if seed.height > 1
    ]


def sentence(case: pl.DataFrame) -> str:
    """The verdict on one activation and initialisation."""
    return f"{', '.join(name_of(case))}: {rate_in_words(case)}{_loss_of_gradient(case)}"


def rate_in_words(case: pl.DataFrame) -> str:
    """Vanishing, exploding or steady, and by how much a layer."""
    rates = decades_a_layer(case)
    if not rates:
        return "no rate, it takes two hidden layers with a gradient"
    rate = float(np.mean(rates))
    word = "exploding" if rate > 0 else "vanishing"
    word = "steady" if abs(rate) <= STEADY_DECADES_A_LAYER else word
    return f"{word}, {abs(rate):.2g} decades a layer"


def _loss_of_gradient(case: pl.DataFrame) -> str:
    """Where plain backpropagation has no number for Δz, and why; empty if nowhere."""
    depth, seeds = int(case["depth"].to_numpy().max()), case["seed"].n_unique()
    gone = case.filter((pl.col("depth") == depth) & (pl.col("delta_z") != "number"))
    parts = []
    for state, reason in (
        ("underflow", f"plain {runtime.dtype_name()} backpropagation underflows"),
        ("overflow", f"plain {runtime.dtype_name()} backpropagation overflows"),
        ("zero", "it is exactly zero, every path through a dead unit,"),
    ):
        found = gone.filter(pl.col("delta_z") == state)
        if found.height:
            first = np.median(found.group_by("seed").agg(pl.col("layer").max())["layer"])
            parts.append(
                f"; of {depth} hidden layers, {reason} from layer {first:.0f} down "
                f"({found['seed'].n_unique()} of {seeds} seeds)"
            )
    return "".join(parts)


def table(rows: pl.DataFrame) -> Table:
    """log₁₀ ‖Δz[1]‖ by depth, the median over seeds; narrow enough for 80 characters."""
    depths = sorted(rows["depth"].unique())
    shown = Table(
        title="log₁₀ ‖Δz[1]‖, the first layer's gradient, by hidden layers (median over seeds)",
        title_justify="left",
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
    )
    shown.add_column("activation, weights", no_wrap=True)
    for depth in depths:
        shown.add_column(str(depth), justify="right", no_wrap=True)
    for case in by_case(rows):
        first = case.filter(pl.col("layer") == 1)
        cells = [_median(first.filter(pl.col("depth") == depth)) for depth in depths]
        shown.add_row(", ".join(name_of(case)), *cells)
    return shown


def _median(first: pl.DataFrame) -> str:
    median = np.median(first["log10_delta_z"])
    if np.isfinite(median):
        return f"{median:.1f}"
    return str(first.filter(pl.col("delta_z") != "number")["delta_z"].mode().sort()[0])


def subtitle(plan: Plan) -> str:
    """What was measured, on what, with how many seeds."""
    settings = plan.settings
    return (
        f"{plan.dataset}, batch {plan.batch}, width {settings.width}, biases {settings.biases}, "
        f"{runtime.dtype_name()}, untrained; {settings.seeds} seeds from {settings.seed}: "
        "line the median, band all of them"
    )
