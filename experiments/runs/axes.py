"""An experiment as data: axes, a function from a point to numbers, a sentence; one picture.

`settings -> a cell each point of the axes -> a row each seed -> means over seeds -> table, chart`
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import polars as pl
from rich.table import Table

from experiments.pages import tables
from experiments.runs import cell_sweep, experiment, grid, runtime
from experiments.runs.experiment import Conclusion, Experiment
from experiments.runs.missing import Missing
from experiments.runs.schema import COUNT, TEXT, Column
from experiments.runs.store import Store
from jaxnn.texts import counted

CHART, MEAN = "measured", "Line: mean over seeds. Points: each seed."
SEED = Column(COUNT, "1", "draws what is random")


class Cell(cell_sweep.Point):
    """A point of the axes."""

    def __init__(self, **values: Any) -> None:
        vars(self).update(values)


@dataclass(frozen=True)
class Plan(experiment.Plan):
    """Checked settings with the cells that they name."""

    cells: tuple[Cell, ...]

    def estimate(self) -> str:
        """Return the cost of the run in words."""
        return f"{counted(len(self.cells), 'cell')} of {counted(self.settings.seeds, 'seed')}"


@dataclass(frozen=True)
class Axes:
    """A question that means over seeds answer.

    question: the title of its page, and the first line of its help.
    settings: options with `seeds`, `seed` and the axes by their names, texts as `grid` reads them.
    axes: the columns of the axes; the first is the horizontal one of table and chart.
    measures: the columns of what is measured; the first is drawn.
    measure: (settings, seed=, and each axis by its name) -> the measures by their names.
    sentence: (each axis and each measure by its name) -> what is said of a point.
    check: raises ValueError, with one sentence, for settings that cannot be.
    """

    question: str
    settings: type[Any]
    axes: Mapping[str, Column]
    measures: Mapping[str, Column]
    measure: Callable[..., Mapping[str, Any]]
    sentence: Callable[..., str]
    check: Callable[[Any], None] = lambda settings: None

    @property
    def title(self) -> str:
        """The title of the table."""
        return f"{self.value}, {self.measures[self.value].unit}, by {self.at} (mean over seeds)"

    @property
    def at(self) -> str:
        """The horizontal axis."""
        return next(iter(self.axes))

    @property
    def value(self) -> str:
        """The measure that is shown."""
        return next(iter(self.measures))

    def prepare(self, settings: Any) -> Plan:
        """Check the settings, before a file is written."""
        runtime.check(settings, several=(*self.axes,))
        values = [_values(name, column, settings) for name, column in self.axes.items()]
        self.check(settings)
        grid.check_cells(*map(len, values))
        points = itertools.product(*values)
        cells = (Cell(**dict(zip(self.axes, point, strict=True))) for point in points)
        return Plan(settings, tuple(cells))

    def rows(self, plan: Plan, store: Store) -> tuple[list[pl.DataFrame | None], bool]:
        """Measure the cells that are missing."""
        return cell_sweep.measure(plan, store, partial(self._rows_of, plan.settings))

    def _rows_of(self, settings: Any, cell: Cell) -> pl.DataFrame:
        rows = [
            cell.place | {"seed": seed} | {**self.measure(settings, seed=seed, **cell.place)}
            for seed in runtime.seeds_of(settings)
        ]
        return pl.DataFrame(rows, {name: of.dtype for name, of in self.columns.items()})

    @property
    def columns(self) -> dict[str, Column]:
        """The columns of the rows."""
        return {**self.axes, "seed": SEED, **self.measures}

    def means(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return a row a point, with means over seeds."""
        return rows.group_by(*self.axes, maintain_order=True).agg(pl.col(*self.measures).mean())

    def _named(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Add a column `line`: the other axes in words, or what is measured if there is none."""
        others = [pl.format(f"{name} {{}}", name) for name in self.axes if name != self.at]
        line = pl.concat_str(others, separator=", ") if others else pl.lit(self.value)
        return rows.with_columns(line=line)

    def conclude(self, plan: Plan, frames: list[pl.DataFrame | None]) -> Conclusion:
        """Say and draw what follows from the rows."""
        import altair as alt  # here and below, for it takes 0.2 s

        from experiments.pages import charts, run_page

        rows, missing = cell_sweep.gathered(plan, frames)
        data = {"means": self._named(self.means(rows)), "rows": self._named(rows)}
        said = tuple(self.sentence(**row) for row in self.means(rows).iter_rows(named=True))
        words = grid.as_dict(plan.settings).items()
        subtitle = "; ".join(f"{name} {run_page.words(value)}" for name, value in words)
        kind = "N" if self.axes[self.at].dtype == TEXT else "Q"
        x, y = f"{self.at}:{kind}", alt.Y(f"{self.value}:Q", title=self.measures[self.value].unit)
        chart = alt.layer(
            alt.Chart(alt.NamedData("rows")).mark_point().encode(x=x, y=y, color="line:N"),
            alt.Chart(alt.NamedData("means")).mark_line().encode(x=x, y=y, color="line:N"),
        )
        page = run_page.Page(
            title=self.question,
            subtitle=subtitle,
            answer=run_page.Answer(said[0]),
            verdicts=said[1:],
            choices=(),
            panels=(run_page.Panel(self.value, MEAN, chart),),
            data=data,
            numbers=run_page.Numbers("means", {name: name for name in data["means"].columns[:-1]}),
            tables=(),
        )
        figure = chart.properties(title=charts.titled(self.question, subtitle))
        figures = {CHART: charts.Figure(figure, data)}
        return Conclusion(rows, [*said], figures, page=lambda: page, missing=missing)

    def table(self, rows: pl.DataFrame, missing: Missing) -> Table:
        """Return the means of the first measure, a column a value of the first axis."""
        gaps = self._named(missing.rows(rows, *self.axes)).with_columns(text=pl.lit("?"))
        means = self._named(self.means(rows))
        numbers = pl.Series([f"{value:.4g}" for value in means[self.value]], dtype=pl.String)
        at = ("line", self.at, "text")
        known = pl.concat([means.with_columns(text=numbers).select(at), gaps.select(at)])
        values = tables.fitting(known[self.at].unique(maintain_order=True).to_list())
        made = tables.table(
            self.title, "", *(f"{v:g}" if isinstance(v, float) else str(v) for v in values)
        )
        for (line,), of_line in known.group_by("line", maintain_order=True):
            texts = dict(of_line.select(self.at, "text").iter_rows())
            made.add_row(str(line), *(texts.get(value, "") for value in values))
        return made

    def experiment(self, name: str = "") -> Experiment[Plan, pl.DataFrame | None]:
        """Return the experiment."""
        return Experiment(
            name=name,
            question=self.question,
            settings=self.settings,
            columns=self.columns,
            figures=(CHART,),
            report=True,
            prepare=self.prepare,
            measure=self.rows,
            conclude=self.conclude,
            table=self.table,
        )


def _values(name: str, column: Column, settings: Any) -> tuple[Any, ...]:
    """Return the values of an axis that texts stand for."""
    texts = getattr(settings, name)
    if column.dtype == TEXT:
        return tuple(dict.fromkeys(texts))
    return grid.integers(name, texts) if column.dtype == COUNT else grid.numbers(name, texts)
