"""Do ten published laws of vanishing and exploding gradients hold in this library?

Each law is a module with a pair of functions: `predict`, which computes what the law says from its
formula, and `measure`, which lets the library's networks show it. What a measurement may differ by
follows from its standard error and from what is known of finite widths; each row says from what. A
law that does not hold is reported as that, with exit code 1.

`settings -> laws; law -> prediction, measurement -> comparisons, points -> table, a chart each`
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console

from experiments.laws import (
    chart,
    gradient_exponent,
    he_xavier,
    jacobian_spectrum,
    layer_jacobian,
    length_correlation,
    orthogonal_learning,
    report,
    self_normalising,
    ten_thousand_layers,
    trainability,
    width_over_depth,
)
from experiments.laws.law import Law, Outcome, examine
from experiments.pages import charts
from experiments.runs import grid, runtime, store, sweep

LAWS: tuple[Law[Any], ...] = (
    gradient_exponent.LAW,
    layer_jacobian.LAW,
    he_xavier.LAW,
    orthogonal_learning.LAW,
    length_correlation.LAW,
    trainability.LAW,
    jacobian_spectrum.LAW,
    self_normalising.LAW,
    width_over_depth.LAW,
    ten_thousand_layers.LAW,
)
POINTS = "points.parquet"
FILES = (POINTS, *(file for law in LAWS for file in charts.names(f"law-{law.name}")))


class BrokenLawError(runtime.FailedError):
    """A law was measured and does not hold; the sentence says which."""


@dataclass(frozen=True)
class Settings(runtime.Options):
    """Ten published laws of vanishing and exploding gradients, predicted and measured."""

    law: tuple[str, ...] = ()
    """Only these laws, by name; all ten without any choice."""
    quick: runtime.Flag = False
    """Smaller networks and fewer seeds: less precise, under two minutes."""
    seed: int = 0
    """What all random numbers follow from."""
    out: Path = field(default=Path("runs/laws"), metadata=runtime.HOW)
    """The folder for the results. The same command again goes on with a run that was stopped."""


@dataclass(frozen=True)
class Plan:
    """Checked settings with the laws that they name."""

    settings: Settings
    laws: tuple[Law[Any], ...]

    @property
    def what(self) -> dict[str, object]:
        """What the run is: one with other settings is another run."""
        return {"experiment": "laws", "settings": grid.as_dict(self.settings)}

    def estimate(self) -> str:
        """What the run takes, in words."""
        most = "two minutes" if self.settings.quick else "fifteen minutes"
        return f"{len(self.laws)} of {len(LAWS)} laws; all take less than {most} on two cores"


def prepare(settings: Settings) -> Plan:
    """Checks the settings.

    Raises:
        ValueError: one sentence; nothing has been written then.
    """
    runtime.check(settings, several=(), counts=())
    names = [law.name for law in LAWS]
    for name in settings.law:
        if name not in names:
            raise ValueError(f"law: there is no {name!r}; choose one of {', '.join(names)}")
    chosen = settings.law or names
    return Plan(settings, tuple(law for law in LAWS if law.name in chosen))


def run(plan: Plan, kept: store.Store | None) -> bool:
    """Examines the laws that are missing, prints the table, fills the folder.

    Returns:
        Whether it finished.

    Raises:
        BrokenLawError: one or more laws do not; the folder is filled nevertheless.
        OSError: the disk; the sentence names the file.
    """
    started, quiet = datetime.now(UTC), plan.settings.quiet
    frames, finished = sweep.measure(kept, plan.laws, partial(measure, plan), quiet)
    if kept is None or not frames:
        return finished
    by_name = {law.name: law for law in plan.laws}
    outcomes = [_outcome(by_name[frame["law"][0]], frame) for frame in frames]
    _write(plan, kept, outcomes)
    closing = report.closing(outcomes)
    about = {"finished": finished, "closing": closing, "verdicts": report.verdicts(outcomes)}
    kept.write_run(runtime.provenance(started, **about))
    Console().print(report.table(outcomes))
    print(f"in {kept.folder}: {store.ROWS}, {store.RUN}, {POINTS}, law-NAME.png, .svg, .pdf, .html")
    if finished and not all(outcome.holds for outcome in outcomes):
        raise BrokenLawError(closing)
    print(closing)
    return finished


def _write(plan: Plan, kept: store.Store, outcomes: list[Outcome]) -> None:
    """The comparisons, the points and the charts."""
    kept.write_rows(pl.concat([outcome.rows for outcome in outcomes]))
    points = pl.concat([outcome.points for outcome in outcomes])
    store.write_parquet(kept.folder / POINTS, points)
    for outcome in outcomes:
        drawn = chart.draw(outcome, subtitle(plan, outcome.law))
        charts.save(drawn, kept.folder, f"law-{outcome.law.name}")


def measure(plan: Plan, law: Law[Any]) -> pl.DataFrame:
    """One row a law: its name, and the lists of its comparisons and of its chart's points."""
    outcome = examine(law, plan.settings.quick, plan.settings.seed)
    columns = {
        "rows": outcome.rows.to_struct().implode(),
        "points": outcome.points.to_struct().implode(),
    }
    return pl.DataFrame({"law": [law.name], **columns})


def _outcome(law: Law[Any], frame: pl.DataFrame) -> Outcome:
    """What `measure` has packed."""
    rows, points = (frame[name].explode().struct.unnest() for name in ("rows", "points"))
    return Outcome(law, rows, points)


def subtitle(plan: Plan, law: Law[Any]) -> str:
    """What was measured."""
    setup = law.setup(plan.settings.quick)._asdict()
    words = "; ".join(f"{name} {_shown(value)}" for name, value in setup.items())
    return f"{words}; {runtime.dtype_name()}, seed {plan.settings.seed}"


def _shown(value: Any) -> str:
    if not isinstance(value, tuple):
        return str(value)
    return ", ".join("×".join(map(str, v)) if isinstance(v, tuple) else f"{v:g}" for v in value)
