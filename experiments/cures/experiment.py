"""Cures of gradients that vanish or explode: which of them work, and what do they cost?

Of the article's remedies (a skip connection, a norm, tailored units, weights at the edge of chaos)
networks are drawn at many depths: by how much does the gradient shrink or grow from the last hidden
layer to the first, and how alike have all examples become? Networks of some depths are trained. Of
networks of `dense.py`, and of one's own, the best cures are made and trained next to the network as
it is, those of `dense.py` next to rivals, too. All have the best of some step sizes.

`options -> cells (network, change, depth, step size) -> columns, a row a number
rows -> means over seeds at the best step size; with theory -> one table, one picture, sentences`
"""

import importlib.util
import inspect
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any

import numpy as np
import polars as pl
import tyro

from experiments.cures import cures_report, cures_theory, dense, networks, remedies
from experiments.cures.columns import BEFORE, CHART, COLUMNS, CURE
from experiments.cures.networks import OPTIMIZERS, Cell, IllNetwork, dense_in
from experiments.cures.remedies import FLOW, REMEDIES, TRAINING, RemedySweep
from experiments.learning import data
from experiments.learning.data import base_rate
from experiments.runs import cell_sweep, experiment, grid, own, progress, runtime
from experiments.runs.experiment import Conclusion, Experiment, Work
from experiments.runs.store import Store
from jaxnn.cli import contract, source
from jaxnn.models import Program, is_of_torch
from jaxnn.returned import arguments
from jaxnn.texts import counted

ALL = "all"


@dataclass(frozen=True)
class RemedyOptions(data.DataOptions):
    """Without a network: the remedies of the article, at depth."""

    remedies: tuple[str, ...] = tuple(REMEDIES)
    """Some of sigmoid, relu, layer_norm, batch_norm, residual, residual_sqrt, pre_norm, tailored,
    orthogonal."""
    depths: tuple[str, ...] = ("1:1024:*2",)
    """Numbers of hidden layers at which the gradient is measured; numbers or ranges."""
    train_depths: tuple[str, ...] = ("10", "20", "50", "100")
    """Numbers of hidden layers of networks that are trained."""
    data: str = "digits"
    """digits, breast_cancer, iris, wine, or a .csv or .parquet file with classes."""
    width: int = 64
    """Units in every hidden layer."""


@dataclass(frozen=True)
class Settings(RemedyOptions, runtime.Options):
    """Cures of gradients that vanish or explode: skips, norms, units, weights, of any network.

    Or with FILE.py:NAME, a function without arguments, or with a seed that has a default, which is
    run here, with all of its file: name only code that you trust. It returns what jaxnn.diagnose
    takes, such as a dict with model, xs, ys and loss. The network is trained as it is and as its
    best cures make it, each with the best of some step sizes; with a cotangent instead of ys and
    loss they are measured alone.
    """

    network: tyro.conf.Positional[Annotated[str | None, tyro.conf.arg(metavar="FILE.py:NAME")]] = (
        None
    )
    """FILE.py:NAME, the function that returns a network of your own."""
    networks: runtime.Names = ()
    """Names of dense networks that are ill, such as "tanh, 20 layers, gain 3", or all: in each
    framework that is installed, of Equinox and PyTorch, they are trained on the digits, as they are
    and cured, and in PyTorch as rivals make them."""
    cures: int = field(default=2, metadata={"least": 0})
    """Number of the best cures of a network that are made; of 0 none are tried."""
    optimizer: str = "adam"
    """adam or sgd, of a network; remedies are trained by sgd."""
    rates: tuple[str, ...] = ("0.0003:0.3:*10",)
    """Step sizes that are tried on each network, which counts with its best; numbers or ranges."""
    batch: int = 128
    """Examples in a batch."""
    steps: int = 600
    """Steps of training."""
    seeds: int = 2
    """Number of seeds; each draws its own weights and batches."""
    seed: int = 0
    """The first seed."""


OF_REMEDIES = {each.name for each in fields(RemedyOptions)}
NOT_OF = {  # the settings that do not apply, with what is said of them
    "remedies": ({"optimizer", "cures"}, "expected with FILE.py:NAME or --networks alone"),
    "networks": (OF_REMEDIES, "expected without --networks, with remedies alone"),
    "network": (OF_REMEDIES | {"networks"}, "expected without FILE.py:NAME"),
}
ARGUMENTS = {*Program.__dataclass_fields__, "seed"} - {"optimizer"}


@dataclass(frozen=True)
class Plan(experiment.Plan):
    """Checked settings with the cells that they name.

    words: one line on what is measured.
    remedies: measures the cells of remedies; None where they are of networks.
    networks: by name and framework.
    code: of a network of the user's own.
    """

    settings: Settings
    words: str
    cells: tuple[Any, ...] = ()
    remedies: RemedySweep | None = None
    networks: dict[tuple[str, str], IllNetwork] = field(default_factory=dict, compare=False)
    code: source.UserCode | None = None

    @property
    def source(self) -> dict[str, object]:
        """The shape and task of the data, and a checksum; of a user's file its own alone."""
        if self.code is not None:
            return {"file_sha256": self.code.checksum}
        return {} if self.remedies is None else data.source([self.remedies.dataset.table])

    @property
    def work(self) -> Work:
        """The cost of remedies; a network's is not known."""
        known = self.remedies
        return Work(smaller=contract.SMALLER) if known is None else known.work(self.cells)

    def estimate(self) -> str:
        """Return the cost of the run in words."""
        seeds = counted(self.settings.seeds, "seed")
        return f"{counted(len(self.cells), 'cell')} of {seeds}, {self.work}".rstrip(", ")


def prepare(settings: Settings) -> Plan:
    """Check the settings and load the data, or run the user's code."""
    runtime.check(settings, several=("remedies", "depths", "train_depths", "rates"))
    runtime.check_known("optimizer", (settings.optimizer,), OPTIMIZERS)
    for rate in (rates := grid.numbers("rates", settings.rates)):
        if not 0 < rate < np.inf:
            raise ValueError(f"rates: expected finite numbers > 0, got {rate:g}")
    best = f"the best of {len(rates)} step sizes" if len(rates) > 1 else f"step size {rates[0]:g}"
    trained = (
        f"{counted(settings.seeds, 'seed')} from {settings.seed}; "
        f"{counted(settings.steps, 'step')} of {{}} with {best}"
    )
    kind = "network" if settings.network else "networks" if settings.networks else "remedies"
    others, said = NOT_OF[kind]
    known = {each.name for each in fields(Settings)}
    runtime.check_only(settings, known - others, said)
    if kind == "remedies":
        return _of_remedies(settings, rates, trained.format("SGD"))
    prepare_networks = _of_networks if kind == "networks" else _of_user
    return prepare_networks(settings, trained.format(settings.optimizer))


def _of_remedies(settings: Settings, rates: tuple[float, ...], trained: str) -> Plan:
    runtime.check_known("remedies", settings.remedies, REMEDIES)
    dataset = data.load(settings.data, settings)
    if dataset.task == "regression":
        raise ValueError(f"data: expected classes to tell apart, got {dataset}")
    depths = {
        FLOW: sorted(grid.integers("depths", settings.depths)),
        TRAINING: sorted(grid.integers("train_depths", settings.train_depths)),
    }
    each = {FLOW: (0.0,), TRAINING: rates}
    grid.check_cells(len(REMEDIES), sum(len(depths[what]) * len(each[what]) for what in depths))
    of = RemedySweep(
        dataset=dataset,
        width=settings.width,
        batch=min(settings.batch, len(dataset.x)),
        seeds=runtime.seeds_of(settings),
        rooms={what: max(of_kind) for what, of_kind in depths.items()},
        steps=settings.steps,
    )
    cells = tuple(  # those that share a program come together
        remedies.Cell(what, remedy, depth, rate)
        for what, of_kind in depths.items()
        for remedy in dict.fromkeys(settings.remedies)
        for depth in of_kind
        if depth >= REMEDIES[remedy].least
        for rate in each[what]
    )
    if not cells:
        raise ValueError("depths: expected some at which the remedies exist; tailored needs 13")
    words = f"{dataset}, width {of.width}, batch {of.batch}, no biases; {trained}"
    return Plan(replace(settings, data=dataset.name), words, cells, of)


def _of_networks(settings: Settings, trained: str) -> Plan:
    names = list(dense.ILL) if ALL in settings.networks else settings.networks
    runtime.check_known("networks", names, (ALL, *dense.ILL))
    there = [name for name in dense.MODULES if importlib.util.find_spec(name) is not None]
    if not there:
        raise ValueError(f"networks: expected one of {', '.join(dense.MODULES)} to be installed")
    made = [dense_in(dense.ILL[name], one) for name in dict.fromkeys(names) for one in there]
    return _with_cells(Plan(settings, trained), made)


def _with_cells(plan: Plan, made: Iterable[IllNetwork]) -> Plan:
    """Return a plan of networks as they are, with their best cures, and as rivals make them."""
    of = {(one.name, one.framework): one for one in made}
    changes = (BEFORE, *[CURE] * (plan.settings.cures > 0))
    cells = (Cell(*at, change) for at, one in of.items() for change in (*changes, *one.rivals))
    return replace(plan, cells=tuple(cells), networks=of)


def _of_user(settings: Settings, trained: str) -> Plan:
    of = ("a function in a file", "; see diagnose --help")
    code = own.read(settings.network, source.NETWORK, *of)
    settings, words = replace(settings, network=str(code)), f"{code}, whose code was run; {trained}"
    plan = Plan(settings, words, code=code)
    if settings.dry_run:
        return plan
    with source.imported(code) as module:
        make = code.function()

        def given(**options: int) -> dict[str, Any]:
            with source.running(code, module):
                returned = arguments(make(**options), f"{code}()")
            if not returned:
                raise ValueError(
                    f"{code}(): expected it to return a network with its data, got a Diagnosis; "
                    "return what jaxnn.diagnose was given"
                )
            return {name: value for name, value in returned.items() if name in ARGUMENTS}

        first = given()
        framework = "torch" if is_of_torch(first["model"]) else "jax"
        takes_seed = "seed" in inspect.signature(make).parameters
        made = IllNetwork(
            str(code),
            framework,
            lambda seed, _: given(**{"seed": seed} if takes_seed else {}),
            takes_seed=takes_seed,
        )
    return _with_cells(plan, [made])


def measure(plan: Plan, store: Store) -> tuple[list[pl.DataFrame | None], bool]:
    """Measure and train the networks of the cells that are missing.

    Raises:
        FailedError: one sentence on a mistake in the user's code that only training shows.
    """
    if plan.remedies is not None:
        data.say([plan.remedies.dataset.table])
        return cell_sweep.measure(plan, store, plan.remedies.measure, plan.remedies.prepare)

    def measured(cell: Cell) -> pl.DataFrame:
        network = plan.networks[cell.network, cell.framework]
        return networks.measured(network, cell.change, plan.settings)

    try:
        return cell_sweep.measure(plan, store, measured)
    except (ValueError, TypeError) as mistake:
        if plan.code is None:
            raise
        raise runtime.FailedError(str(mistake)) from None


def conclude(plan: Plan, frames: list[pl.DataFrame | None]) -> Conclusion:
    """Compare the measurements, with theory if there is one, in words and a picture."""
    from experiments.cures import picture  # here, for it imports Altair

    rows, missing = cell_sweep.gathered(plan, frames)
    predicted = predictions(plan, rows)
    chance = 0.0 if plan.remedies is None else base_rate(plan.remedies.dataset.y)
    verdicts = cures_report.sentences(cures_report.lines(rows, missing), predicted, chance)
    figures = {CHART: picture.figure(rows, predicted, missing, plan.words)}
    return Conclusion(rows, verdicts, figures, about=runtime.frameworks(), missing=missing)


def predictions(plan: Plan, rows: pl.DataFrame) -> dict[str, cures_theory.Predicted]:
    """Return for each remedy of the rows what theory predicts at every depth of the sweep."""
    if plan.remedies is None:
        return {}
    x, depths = plan.remedies.dataset.x, [cell.depth for cell in plan.cells if cell.what == FLOW]
    q0, c0 = np.mean(np.square(x)), 1 - remedies.distance(np.asarray(x, np.float32))
    inputs = cures_theory.Inputs(plan.remedies.width, plan.remedies.batch, float(q0), float(c0))
    predicted, names = {}, [name for name in REMEDIES if name in {*rows["change"]}]
    with progress.view("theory of infinite width", plan.settings.quiet) as tell:
        for i, name in enumerate(names, 1):
            tell(f"{REMEDIES[name].name}, {i} of {len(names)}")
            predicted[name] = cures_theory.predict(REMEDIES[name], depths, inputs)
    return predicted


EXPERIMENT = Experiment(
    name="cures",
    settings=Settings,
    columns=COLUMNS,
    figures=(CHART,),
    prepare=prepare,
    measure=measure,
    conclude=conclude,
    table=cures_report.table,
)
