"""Up to which depth does a network train, for each σ_w?

A deep network learns as long as two inputs can still be told apart at its top, and a gradient at
its bottom: up to a few ξ_c layers, the depth scale of correlations, which diverges at the critical
σ_w (Schoenholz et al. 2017, arXiv:1611.01232, figure 5). For every depth and σ_w² a network is
drawn, trained for some steps of SGD with momentum, and its training accuracy recorded; over the map
lie the curves of 1, 3 and 6 ξ_c.

`settings -> rows of the map -> networks, trained side by side -> accuracy; ξ_c -> chart, verdict`
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import polars as pl
from jax import lax
from jax.sharding import Mesh
from rich.console import Console

import jaxnn
from experiments.learning import data
from experiments.pages import charts
from experiments.runs import devices, grid, runtime, store, sweep
from experiments.trainability import chart as trainability_chart
from jaxnn.training import order

CHART = "trainability"
FILES = charts.names(CHART)

TRAINED = 0.5  # of the way from chance to a perfect accuracy


@dataclass(frozen=True)
class Settings(runtime.Options):
    """Training accuracy over depth and σ_w², with the depth scale of mean-field theory over it."""

    depths: tuple[str, ...] = ("10:120:10",)
    """Numbers of hidden layers; a number or start:stop:step."""
    sigma_w_squared: tuple[str, ...] = ("1:3.75:0.25",)
    """Variances σ_w² of the Gaussian weights, times fan_in."""
    sigma_b_squared: float = 0.05
    """Variance σ_b² of the biases."""
    activation: str = "tanh"
    """Activation of the hidden layers, by name."""
    data: str = "digits"
    """digits, breast_cancer, iris, wine, or a .csv, .parquet or .npz file with classes."""
    target: str | None = None
    """The column to predict, for a file."""
    width: int = 100
    """Units in every hidden layer."""
    steps: int = 600
    """Steps of training."""
    rate: float = 1e-3
    """Step size of SGD."""
    momentum: float = 0.9
    """Momentum of SGD."""
    batch: int = 128
    """Examples in a batch."""
    seeds: int = 1
    """How many seeds; each draws its own weights and batches."""
    seed: int = 0
    """The first seed."""
    out: Path = field(default=Path("runs/trainability"), metadata=runtime.HOW)
    """The folder for the results. The same command again goes on with a run that was stopped."""


@dataclass(frozen=True)
class Cell:
    """A row of the map: one depth and seed, all σ_w²."""

    depth: int
    seed: int

    @property
    def key(self) -> str:
        """A name of its own among the cells of a run."""
        return f"{self.depth}-{self.seed}"

    @property
    def shown(self) -> str:
        """For the view."""
        return f"{self.depth} layers".ljust(12)


@dataclass(frozen=True)
class Plan:
    """Checked settings with everything that they name."""

    settings: Settings
    dataset: data.Dataset
    sigma_w: tuple[float, ...]
    cells: tuple[Cell, ...]

    @property
    def what(self) -> dict[str, object]:
        """What the run is: one with other settings is another run."""
        settings = grid.as_dict(self.settings)
        return {"experiment": CHART, "settings": settings, "data": str(self.dataset)}

    def estimate(self) -> str:
        """What the run takes, in words: three products a layer and step."""
        s = self.settings
        layers = sum(cell.depth for cell in self.cells) * len(self.sigma_w)
        return (
            f"{len(self.cells)} cells of {len(self.sigma_w)} networks, "
            f"{6.0 * s.batch * s.width**2 * s.steps * layers:.2g} floating-point operations"
        )


def prepare(settings: Settings) -> Plan:
    """Checks the settings and loads the data.

    Raises:
        ValueError, TypeError, OSError: one sentence; nothing has been written then.
    """
    runtime.check(
        settings,
        several=("depths", "sigma_w_squared"),
        counts=("width", "steps", "batch", "seeds"),
    )
    for name, least in (("sigma_b_squared", 0.0), ("rate", 0.0), ("momentum", 0.0)):
        value = getattr(settings, name)
        if not least <= value < np.inf:
            raise ValueError(f"{name}: expected a finite number >= 0, got {value:g}")
    squares = grid.numbers("sigma_w_squared", settings.sigma_w_squared)
    if min(squares) <= 0:
        raise ValueError(f"sigma_w_squared: expected numbers > 0, got {min(squares):g}")
    jaxnn.find_activation(settings.activation)
    dataset = data.load(settings.data, settings.target, None)
    if dataset.task == "regression":
        raise ValueError(f"data: expected classes to tell apart, got {dataset}")
    depths = sorted(grid.integers("depths", settings.depths))
    seeds = range(settings.seed, settings.seed + settings.seeds)
    cells = tuple(Cell(depth, seed) for seed in seeds for depth in depths)
    return Plan(settings, dataset, tuple(float(v) ** 0.5 for v in sorted(squares)), cells)


def run(plan: Plan, kept: store.Store | None) -> bool:
    """Trains the networks of the cells that are missing, prints the verdict, fills the folder.

    Returns:
        Whether it finished.

    Raises:
        OSError: the disk; the sentence names the file.
    """
    started = datetime.now(UTC)
    frames, finished = sweep.measure(kept, plan.cells, partial(measure, plan), plan.settings.quiet)
    if kept is None or not frames:
        return finished
    rows = pl.concat(frames)
    said = sentence(rows, plan)
    kept.write_rows(rows)
    charts.save(
        trainability_chart.draw(rows, scales(plan), said, subtitle(plan)), kept.folder, CHART
    )
    kept.write_run(runtime.provenance(started, finished=finished, verdicts=[said]))
    Console().print(trainability_chart.table(rows))
    print(said, f"in {kept.folder}: {', '.join((store.ROWS, store.RUN, *FILES))}", sep="\n")
    return finished


def measure(plan: Plan, cell: Cell) -> pl.DataFrame:
    """One row a network: depth, sigma_w_squared, seed; accuracy and loss over all the data."""
    net = roomy(plan, cell.depth)
    mesh = runtime.mesh(len(plan.sigma_w))
    sigma_w = devices.in_a_row(mesh, np.asarray(plan.sigma_w, np.float32))
    s = plan.settings
    train = training(mesh, net, s.rate, s.momentum, s.batch, s.steps)
    x, y = plan.dataset.x, plan.dataset.y
    sigma_b = np.float32(s.sigma_b_squared**0.5)
    loss, accuracy = train(sigma_w, x, y, sigma_b, np.int32(cell.seed), np.int32(cell.depth - 1))
    used = len(plan.sigma_w)
    return pl.DataFrame(
        {
            "depth": [cell.depth] * used,
            "sigma_w_squared": [round(v**2, 12) for v in plan.sigma_w],
            "seed": [cell.seed] * used,
            "accuracy": devices.gathered(accuracy)[:used].astype(np.float64),
            "loss": devices.gathered(loss)[:used].astype(np.float64),
        }
    )


def roomy(plan: Plan, depth: int) -> jaxnn.Network:
    """A network with room for `depth` hidden layers, a power of two beyond the first."""
    room = 1 << max(depth - 2, 0).bit_length()
    n_in, width = plan.dataset.x.shape[1], plan.settings.width
    sizes = (n_in, *[width] * (1 + room), plan.dataset.n_out)
    return jaxnn.Network(sizes, plan.settings.activation, plan.dataset.task)


@cache
def training(
    mesh: Mesh, net: jaxnn.Network, rate: float, momentum: float, batch: int, steps: int
) -> Any:
    """(σ_w, x, y, σ_b, seed, depth of the run) -> loss and accuracy of each network.

    One program for every depth that there is room for.
    """
    sgd = optax.sgd(rate, momentum)

    def train(sigma_w: Any, x: Any, y: Any, sigma_b: Any, seed: Any, depth: Any) -> Any:
        keys = jax.random.split(jax.random.key(seed))
        drawn = jaxnn.init(net, keys[0], jaxnn.gaussian(1.0), 1.0, stacked=True)
        params = tuple(
            jaxnn.Layer(layer.theta * sigma_w, layer.b * sigma_b)
            for layer in drawn
            if isinstance(layer, jaxnn.Layer)
        )
        size = min(batch, len(x))
        per_epoch = len(x) // size

        def epoch(i: Any, state: jaxnn.State) -> jaxnn.State:
            rows = order(state.key, i, len(x))

            def one(j: Any, state: jaxnn.State) -> jaxnn.State:
                of_batch = lax.dynamic_slice_in_dim(rows, j * size, size)
                return jaxnn.step(net, sgd, state, x[of_batch], y[of_batch], depth=depth)[0]

            last = jnp.minimum(per_epoch, steps - i * per_epoch)
            trained: jaxnn.State = lax.fori_loop(0, last, one, state)
            return trained

        state = jaxnn.start(net, sgd, params, keys[1])
        state = lax.fori_loop(0, -(-steps // per_epoch), epoch, state)
        return jaxnn.evaluate(net, state.params, x, y, depth=depth)

    return devices.side_by_side(mesh, train, spread=1, shared=5)


def scales(plan: Plan) -> pl.DataFrame:
    """ξ_c on a fine grid of σ_w² over the map: columns sigma_w_squared, xi_c, in layers."""
    low, high = plan.sigma_w[0] ** 2, plan.sigma_w[-1] ** 2
    squares = np.linspace(low, high, 121)
    of = partial(_xi_c, plan.settings.activation, plan.settings.sigma_b_squared**0.5)
    with jax.enable_x64(True):
        xi = np.asarray(of(np.sqrt(squares)))
    return pl.DataFrame({"sigma_w_squared": squares, "xi_c": xi})


@partial(jax.jit, static_argnums=0)
def _xi_c(activation: str, sigma_b: float, sigma_w: Any) -> Any:
    return lax.map(lambda each: jaxnn.meanfield.xi_c(activation, each, sigma_b), sigma_w)


def trained_depths(rows: pl.DataFrame, chance: float) -> pl.DataFrame:
    """For each σ_w² the largest depth up to which every network reaches the threshold, else 0."""
    enough = pl.col("accuracy").mean() >= chance + TRAINED * (1 - chance)
    of_depth = rows.group_by("sigma_w_squared", "depth").agg(enough.alias("trained"))
    return (
        of_depth.sort("depth")
        .with_columns(pl.col("trained").cum_min().over("sigma_w_squared"))
        .group_by("sigma_w_squared")
        .agg((pl.col("depth") * pl.col("trained")).max().alias("depth"))
        .sort("sigma_w_squared")
    )


def sentence(rows: pl.DataFrame, plan: Plan) -> str:
    """Where the ridge is, measured and predicted."""
    s = plan.settings
    chance = np.unique(plan.dataset.y, return_counts=True)[1].max() / len(plan.dataset.y)
    deepest = trained_depths(rows, chance)
    top = int(deepest["depth"].to_numpy().max())
    at = deepest.filter(pl.col("depth") == top)["sigma_w_squared"].to_list()
    ridge = f"up to depth {top} at σ_w² = {', '.join(f'{v:g}' for v in at)}" if top else "nowhere"
    try:
        critical = float(jaxnn.meanfield.critical_sigma_w(s.activation, s.sigma_b_squared**0.5))
        predicted = f"critical σ_w² by theory {critical**2:.3g}"
    except ValueError:
        predicted = "no critical σ_w by theory"
    return f"{s.activation}, σ_b² = {s.sigma_b_squared:g}: trains {ridge}; {predicted}"


def subtitle(plan: Plan) -> str:
    """What was trained, on what, for how long."""
    s = plan.settings
    seeds = f"{s.seeds} seed{'s' * (s.seeds > 1)} from {s.seed}"
    return (
        f"{plan.dataset}, width {s.width}, σ_b² = {s.sigma_b_squared:g}, SGD {s.rate:g} with "
        f"momentum {s.momentum:g}, batch {s.batch}, {s.steps} steps; {seeds}"
    )
