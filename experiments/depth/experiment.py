"""How does the size of a gradient change with depth?

For every point of a grid (activation, initialisation, depth, width, …) networks of equal hidden
layers are drawn, and batches of real data sent forward and back through them. Recorded is, for each
layer l, how large Δz[l] and Δθ[l-1] of the batch's mean loss and the signal z[l] are; the networks
are not trained. A point is repeated over seeds, each with weights and a batch of its own. Next to
the measurement stands the mean-field theory of infinite width, and by how much a finite one may
differ.

`settings -> cells -> networks -> gradient_flow -> rows; rows, theory -> verdicts, table, chart`
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, product
from operator import itemgetter

import polars as pl

import jaxnn
from experiments.depth import depth_report, depth_theory
from experiments.depth.cells import Cell, DepthSweep
from experiments.depth.columns import COLUMNS
from experiments.learning import data, kinds
from experiments.learning.networks import Initialisation, Networks, roomy, work
from experiments.runs import ahead, cell_sweep, experiment, grid, runtime
from experiments.runs.experiment import Conclusion, Experiment, Work
from experiments.runs.store import Store
from jaxnn.initializers import find_weights
from jaxnn.texts import counted

CHART = "gradients"
DEFAULT_WEIGHTS = ("glorot_uniform", "he_normal")
DTYPES = ("float64", "float32", "bfloat16", "float16")
FLOPS_OF_CELL = 3e11  # some seconds of two cores: what a run that is stopped may lose


@dataclass(frozen=True)
class NetworkOptions:
    """The layers, and how they are drawn."""

    hidden: tuple[str, ...] = ("dense",)
    """Blocks between hidden layers: dense, residual, rms_norm, layer_norm, batch_norm, post_norm,
    or one in another, such as "residual(rms_norm)"."""
    scale: tuple[str, ...] = ("1",)
    """Scales of the residual blocks: numbers, or 1/sqrt(L), L hidden layers."""
    sigma_w: runtime.Names = ()
    """Gaussian weights of variance σ_w²/fan_in, one initialisation for each σ_w."""
    critical: runtime.Flag = False
    """Gaussian weights with the σ_w at which, in theory, gradients of a plain network keep their
    size."""
    sigma_b: tuple[str, ...] = ("0",)
    """Standard deviation of the biases, which are normal."""
    width: tuple[str, ...] = ("64",)
    """Units in every hidden layer."""


@dataclass(frozen=True)
class GridOptions:
    """The measurement of each point of the grid."""

    batch: tuple[str, ...] = ("128",)
    """Examples in a batch; all examples of a data set that has fewer."""
    dtype: tuple[str, ...] = ("float32",)
    """float64, float32, bfloat16, float16."""
    seeds: int = 5
    """Number of seeds; each draws its own weights and batch."""
    seed: int = 0
    """The first seed."""


@dataclass(frozen=True)
class Settings(NetworkOptions, GridOptions, data.DataOptions, runtime.Options):
    """The size of a gradient by depth, activation and initialisation.

    Every setting that takes several values is an axis of the grid. Numbers may be ranges:
    start:stop:step, or start:stop:*factor.
    """

    depths: tuple[str, ...] = ("1:1024:*2",)
    """Numbers of hidden layers."""
    activations: tuple[str, ...] = ("sigmoid", "tanh", "relu")
    """Activations of the hidden layers, by name."""
    weights: runtime.Names = ()
    """Initialisers of the weights, by their names in jax.nn.initializers; without any choice
    glorot_uniform and he_normal."""
    data: tuple[str, ...] = ("breast_cancer",)
    """breast_cancer, digits, iris, wine, diabetes, or a .csv or .parquet file."""
    examples: runtime.Flag = False
    """Also measure what is left of the examples in each layer: how far apart they are, their cosine
    and rank. Takes a few per cent to a half more time."""


@dataclass(frozen=True)
class Plan(experiment.Plan):
    """The checked settings of a sweep, with the data and cells that they name."""

    settings: Settings
    datasets: dict[str, data.Dataset]
    cells: tuple[Cell, ...]

    @property
    def source(self) -> dict[str, object]:
        """The shape and task of each data set, by name, and a checksum."""
        return data.source(d.table for d in self.datasets.values())

    @property
    def work(self) -> Work:
        """The cost of all cells, which come one after the other."""
        works = [work(cell.networks) for cell in self.cells]
        most = max(each.bytes for each in works)
        return Work(sum(each.flops for each in works), most, "width, depths, batch or seeds")

    def estimate(self) -> str:
        """Return the cost of the run in words."""
        cells, seeds = counted(len(self.cells), "cell"), counted(self.settings.seeds, "seed")
        return f"{cells} of {seeds}, {self.work}"


def prepare(settings: Settings) -> Plan:
    """Check the settings and load the data."""
    axes = ("depths", "activations", "hidden", "scale", "sigma_b", "width", "batch", "dtype")
    runtime.check(settings, several=(*axes, "data"))
    runtime.check_known("dtype", settings.dtype, DTYPES)
    loaded = data.by_name(data.load, settings.data, settings)
    cells = tuple(_cells(settings, loaded))
    return Plan(replace(settings, data=tuple(loaded)), loaded, cells)


def _scales(name: str, settings: Settings) -> tuple[float, ...]:
    values = grid.numbers(name, getattr(settings, name))
    for dtype in settings.dtype:
        runtime.check_range(name, values, dtype)
    for value in values:
        if value < 0:
            raise ValueError(f"{name}: expected numbers >= 0, got {value:g}")
    return values


def weights_for(settings: Settings, activation: str, sigma_b: float) -> list[Initialisation]:
    """Return the initialisations to compare; the critical one depends on activation and biases."""
    jaxnn.network.find_activation(activation)
    chosen = settings.weights or settings.sigma_w or settings.critical
    names = dict.fromkeys(settings.weights if chosen else DEFAULT_WEIGHTS)
    weights = [Initialisation(name, find_weights(name)) for name in names]
    # One scheme for all σ_w, and a factor: so one program draws for all of them.
    unit = jaxnn.initializers.gaussian(1.0)
    weights += [Initialisation(f"σ_w = {s:g}", unit, s) for s in _scales("sigma_w", settings)]
    if settings.critical:
        sigma_w = float(jaxnn.theory.meanfield.critical_sigma_w(activation, sigma_b))
        weights.append(Initialisation("critical", unit, sigma_w))
    return weights


def _cells(settings: Settings, datasets: dict[str, data.Dataset]) -> Iterator[Cell]:
    """Yield the product of all axes."""
    depths = sorted(grid.integers("depths", settings.depths))
    widths, sizes = (grid.integers(n, getattr(settings, n)) for n in ("width", "batch"))
    batches = {n: sorted({min(b, len(d.x)) for b in sizes}) for n, d in datasets.items()}
    biases = _scales("sigma_b", settings)
    seeds = runtime.seeds_of(settings)
    activations, dtypes = dict.fromkeys(settings.activations), dict.fromkeys(settings.dtype)
    schemes = len(settings.weights) + len(_scales("sigma_w", settings)) + settings.critical
    draws = len(activations) * (schemes or len(DEFAULT_WEIGHTS))
    blocks = kinds.kinds(settings.hidden, settings.scale)
    axes = (depths, widths, biases, dtypes, blocks)
    grid.check_cells(sum(map(len, batches.values())), draws, *map(len, axes))
    weights = {(a, b): weights_for(settings, a, b) for a in activations for b in biases}
    for (name, dataset), dtype in product(datasets.items(), dtypes):
        for batch, width, activation, block in product(batches[name], widths, activations, blocks):
            kind = (dataset, width, activation)
            nets = [
                (roomy(*kind, depth, batch, block.of(depth), depths[-1]), depth) for depth in depths
            ]
            for net, of_net in groupby(nets, key=itemgetter(0)):
                in_room = tuple(depth for _, depth in of_net)
                for sigma_b in biases:
                    how = (sigma_b, batch, dtype, seeds, settings.examples, depths[-1])
                    for each in weights[activation, sigma_b]:
                        parts = _parts(Networks(net, in_room, each, *how))
                        yield from (Cell(name, part, block.text) for part in parts)


def _parts(networks: Networks) -> Iterator[Networks]:
    """Yield the networks in parts that take some seconds, each with shallow and deep ones.

    They differ in the number of depths by one at most, since each number takes a program.
    """
    parts = min(math.ceil(work(networks).flops / FLOPS_OF_CELL), len(networks.depths))
    for first in range(parts):
        yield replace(networks, depths=networks.depths[first::parts])


def measure(plan: Plan, store: Store) -> tuple[list[pl.DataFrame | None], bool]:
    """Measure the cells that are missing."""
    data.say(dataset.table for dataset in plan.datasets.values())
    cells = DepthSweep(plan.datasets)
    programs = (cells.prepare, cells.share, partial(_prepare_conclusion, plan))
    return cell_sweep.measure(plan, store, cells.measure, *programs, depth_report.in_words)


def _prepare_conclusion(plan: Plan) -> None:
    for cell in plan.cells:
        if cell.networks.depth == cell.networks.deepest:
            depth_theory.prepare(cell.networks, cell.hidden)
    ahead.load("experiments.depth.page")


def conclude(plan: Plan, frames: list[pl.DataFrame | None]) -> Conclusion:
    """Compare the measurements with theory, in words and pictures."""
    from experiments.depth import page, picture  # here, for they import Altair

    rows, missing = cell_sweep.gathered(plan, frames)
    labelled, gaps = depth_report.with_gaps(rows, missing)
    predicted = depth_theory.predict(labelled)
    cases = [depth_report.case_of(case, predicted, gaps) for case in depth_report.by_case(labelled)]
    drawn = picture.Drawn.of(labelled, predicted, cases, subtitle(plan))
    return Conclusion(
        rows,
        depth_report.verdicts(cases, gaps),
        {CHART: picture.figure(drawn)},
        page=partial(page.page, drawn, labelled, gaps),
        missing=missing,
    )


def subtitle(plan: Plan) -> str:
    """Say in one line what was measured, on what, with how many seeds."""
    settings = plan.settings
    datasets = ", ".join(str(dataset) for dataset in plan.datasets.values())
    return (
        f"{datasets}, batch {' '.join(settings.batch)}, width {' '.join(settings.width)}, "
        f"σ_b = {' '.join(settings.sigma_b)}, {' '.join(settings.dtype)}, untrained; "
        f"{counted(settings.seeds, 'seed')} from {settings.seed}"
    )


EXPERIMENT = Experiment(
    name="depth",
    settings=Settings,
    columns=COLUMNS,
    figures=(CHART,),
    report=True,
    prepare=prepare,
    measure=measure,
    conclude=conclude,
    table=depth_report.table,
)
