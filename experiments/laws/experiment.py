"""Do thirty-four laws of vanishing and exploding gradients hold in this library?

Laws are published; what is derived here instead is said to be, in its source. Each law is a module
with a pair of functions: `predict`, which computes what the law says from its formula, and
`measure`, which lets the library's networks show it. What a measurement may differ by follows from
its standard error and from what is known of finite widths; each row gives the reason. A law that
does not hold is reported, with exit code 1.

`settings -> laws; law -> prediction, measurement -> comparisons -> table`
"""

import importlib
from dataclasses import dataclass

import polars as pl
from rich.console import Group

from experiments.laws import laws_report
from experiments.laws.columns import COLUMNS
from experiments.laws.law import Law, Outcome, examine
from experiments.runs import cell_sweep, experiment, runtime
from experiments.runs.experiment import Conclusion, Experiment, Work
from experiments.runs.missing import NOTHING, Missing
from experiments.runs.store import Store

MODULES = (  # of a law each, by their numbers
    *("gradient_exponent", "layer_jacobian", "he_xavier", "orthogonal_learning"),
    *("length_correlation", "trainability", "jacobian_spectrum", "self_normalising"),
    *("width_over_depth", "ten_thousand_layers", "batch_norm", "norm_with_skip", "residual"),
    *("width_alone", "shattered_gradients", "norm_place", "tailored", "step_size", "forgetting"),
    *("attention_length", "dropout", "skip_init", "delta_orthogonal", "recurrence", "dynamic_tanh"),
    *("deep_norm", "rank_collapse", "transformer_moments", "wide_twin", "narrow"),
    *("one_draw", "slow_growth", "collapsed", "any_spectrum"),
)
LAWS: tuple[Law, ...] = tuple(
    Law.of(importlib.import_module(f"experiments.laws.{module}")) for module in MODULES
)
LARGEST = 64**2 * 10_001  # weights, of ten thousand layers; other laws have fewer


@dataclass(frozen=True)
class Settings(runtime.Options):
    """Thirty-four laws of vanishing and exploding gradients, predicted and measured."""

    law: runtime.Names = ()
    """Only these laws, by name; all of them by default."""
    quick: runtime.Flag = False
    """Smaller networks and fewer seeds: less precise, under six minutes."""
    seed: int = 0
    """The seed of all random numbers."""


@dataclass(frozen=True)
class Plan(experiment.Plan):
    """Checked settings with the laws that they name."""

    settings: Settings
    cells: tuple[Law, ...]

    @property
    def work(self) -> Work:
        """The memory of the largest network: θ as drawn, θ times σ_w, and what is made of it."""
        return Work(bytes=12.0 * LARGEST, smaller="the run (--quick, --law)")

    def estimate(self) -> str:
        """Return the cost of the run in words."""
        most = "six minutes" if self.settings.quick else "forty minutes"
        laws = f"{len(self.cells)} of {len(LAWS)} laws"
        absent = [] if self.settings.law else [law for law in LAWS if law.lacking]
        without = "".join(f"; without {_need(law)}" for law in absent)
        return f"{laws}; all take less than {most} on two cores, {self.work}{without}"


def prepare(settings: Settings) -> Plan:
    """Check the settings."""
    runtime.check(settings)
    names = [law.name for law in LAWS]
    runtime.check_known("law", settings.law, names)
    absent = [law for law in LAWS if law.lacking]
    for law in absent:
        if law.name in settings.law:
            raise ValueError(f"law: {_need(law)}")
    chosen = settings.law or [law.name for law in LAWS if law not in absent]
    return Plan(settings, tuple(law for law in LAWS if law.name in chosen))


def _need(law: Law) -> str:
    """Say which packages a law needs that are not installed."""
    return (
        f"{law.name}, which needs {', '.join(law.lacking)}: "
        "python -m pip install 'jaxnn-flow[bench]'"
    )


def measure(plan: Plan, store: Store) -> tuple[list[pl.DataFrame | None], bool]:
    """Examine the laws that are missing."""
    of = plan.settings
    return cell_sweep.measure(plan, store, lambda law: examine(law, of.quick, of.seed))


def conclude(plan: Plan, frames: list[pl.DataFrame | None]) -> Conclusion:
    """Say which laws hold."""
    rows, missing = cell_sweep.gathered(plan, frames)
    outcomes = _outcomes(rows)
    closing = laws_report.closing(outcomes, missing)
    broken = not missing and not all(outcome.holds for outcome in outcomes)
    return Conclusion(
        rows,
        verdicts=[laws_report.sentence(outcome) for outcome in outcomes],
        about={"closing": closing},
        summary=closing,
        failure=closing if broken else None,
        missing=missing,
    )


def _outcomes(rows: pl.DataFrame) -> list[Outcome]:
    """The outcome of each law that rows hold; names that are no law are left out."""
    by_name = {law.name: law for law in LAWS}
    frames = rows.partition_by("law", as_dict=True, maintain_order=True)
    return [Outcome(by_name[name], frame) for (name,), frame in frames.items() if name in by_name]


def table(rows: pl.DataFrame, missing: Missing = NOTHING) -> Group:
    """Return a table a law that rows hold, and the names of those that are missing."""
    names = missing.rows(rows, "law")["law"].to_list()
    unmeasured = [law.label for law in LAWS if law.name in names]
    return laws_report.table(_outcomes(rows), unmeasured)


EXPERIMENT = Experiment(
    name="laws",
    settings=Settings,
    columns=COLUMNS,
    prepare=prepare,
    measure=measure,
    conclude=conclude,
    table=table,
)
