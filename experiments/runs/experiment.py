"""An experiment, and the one way to run it.

`settings -> prepare -> plan;  plan -> measure -> results;  plan, results -> conclude -> conclusion`

An experiment is a question: a folder whose `experiment.py` defines `EXPERIMENT`, and an entry in
the list in `experiments/__init__.py`. Everything the user got wrong shows in `prepare`, before any
file is written. `measure` stores each result as soon as it is there; `run` writes what follows from
the results, prints it, and knows nothing of the question.
"""

import itertools
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import polars as pl
from rich.console import RenderableType

from experiments.pages import names, tables
from experiments.runs import files, grid, progress, runtime
from experiments.runs.missing import NOTHING, Missing
from experiments.runs.schema import Column
from experiments.runs.store import ROWS, RUN, Store, not_as_written
from jaxnn.cli.source import UserCode

if TYPE_CHECKING:
    from experiments.pages import charts, run_page

log = logging.getLogger("jaxnn.experiments")

DATA_NOTES = "data_notes"  # the entry of run.json with sentences on each file's columns

P = TypeVar("P", bound="Plan")
R = TypeVar("R")


class Work(NamedTuple):
    """The cost of a run."""

    flops: float = 0.0  # floating-point operations; 0 if they are not counted
    bytes: float = 0.0  # at most at a time; 0 if that is little
    smaller: str = "the run"  # the settings that bytes grow with

    def __str__(self) -> str:
        operations = f"{self.flops:.2g} floating-point operations" if self.flops else ""
        memory = f"{self.bytes / 1e6:.3g} MB at most at a time" if self.bytes else ""
        return ", ".join(filter(None, (operations, memory)))


@dataclass(frozen=True)
class Plan(ABC):
    """Checked settings with everything that they name; a base for frozen dataclasses."""

    settings: Any  # of a subclass of `runtime.Options`

    @property
    def source(self) -> Mapping[str, object]:
        """Entries of run.json that identify the data of the run, besides the settings.

        Under `DATA_NOTES` sentences by file, which output and report say too.
        """
        return {}

    @property
    def work(self) -> Work:
        """The cost of the run in numbers."""
        return Work()

    @abstractmethod
    def estimate(self) -> str:
        """Return the cost of the run in words."""


class Conclusion(NamedTuple):
    """Everything that follows from the results of a run.

    rows: rows.parquet.
    verdicts: sentences, printed and stored in run.json.
    figures: by stem; each becomes a PNG, SVG and PDF file.
    page: makes report.html, while the pictures are drawn.
    files: further files, by name.
    about: further entries of run.json.
    summary: a last sentence to print.
    failure: a sentence on a result that is not as it should be: exit code 1.
    missing: what a stopped run has not measured.
    """

    rows: pl.DataFrame
    verdicts: list[str]
    figures: "Mapping[str, charts.Figure]" = MappingProxyType({})
    page: "Callable[[], run_page.Page] | None" = None
    files: Mapping[str, bytes] = MappingProxyType({})
    about: Mapping[str, Any] = MappingProxyType({})
    summary: str = ""
    failure: str | None = None
    missing: Missing = NOTHING


@dataclass(frozen=True)
class Experiment(Generic[P, R]):
    """A question, how it is measured, and how its results are read.

    name: of the command, and of the folder of the package.
    settings: the dataclass of its options.
    columns: of rows.parquet.
    figures: the stems of its charts.
    files: the further files that a run leaves.
    report: whether it leaves a report.html.
    prepare: settings -> plan. Raises ValueError, TypeError or OSError with one sentence for a
        user's mistake; nothing has been written then.
    measure: (plan, store) -> the results so far, None where one is missing, and whether that is
        all.
    conclude: (plan, results) -> Conclusion, also of an unfinished run.
    table: (rows, what is missing) -> the table that is printed.
    own: the file of the user's that it was found in; None of an experiment of this repository.
    question: the first line of the help of one in a file.
    """

    name: str
    settings: type[runtime.Options]
    columns: dict[str, Column]
    prepare: Callable[[Any], P]
    measure: Callable[[P, Store], tuple[list[R], bool]]
    conclude: Callable[[P, list[R]], Conclusion]
    table: Callable[[pl.DataFrame, Missing], RenderableType]
    figures: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    report: bool = False
    own: UserCode | None = None
    question: str = ""

    def with_defaults(self, **values: Any) -> Any:
        """Return settings with these values; by default the folder has the experiment's name."""
        if self.settings.out == runtime.Options.out:
            name = self.name if self.own is None else self.own.path.stem
            values = {"out": Path("runs", name), **values}
        return self.settings(**values)

    @property
    def leaves(self) -> tuple[str, ...]:
        """The files of a finished run besides rows.parquet and run.json."""
        pictures = itertools.chain.from_iterable(map(names.of_chart, self.figures))
        return (*self.files, *pictures, *((names.REPORT,) if self.report else ()))

    def identity(self, plan: P) -> dict[str, Any]:
        """Return what distinguishes a run from one that must not be continued as it."""
        settings = grid.as_dict(plan.settings)
        code = {} if self.own is None else {"experiment_sha256": self.own.checksum}
        return {"experiment": self.name, **code, "settings": settings, **plan.source}

    @property
    def defaults(self) -> dict[str, Any]:
        """The settings that have a default, each with it, as in `identity`."""
        known = (f for f in fields(self.settings) if f.default is not MISSING)
        return {f.name: f.default for f in known}

    def open(self, plan: P) -> Store:
        """Open the folder of a run."""
        where = plan.settings
        return Store(where.out, self.identity(plan), self.leaves, where.overwrite)


def run(experiment: Experiment[P, R], plan: P, store: Store) -> bool:
    """Measure what is missing, print table and verdicts, fill the folder.

    Returns:
        Whether the run is finished.
    """
    started = datetime.now(UTC)
    for name in store.changed:
        log.warning("%s; it is written anew", not_as_written(store.folder / name))
    results, finished = experiment.measure(plan, store)
    if all(result is None for result in results):
        return finished
    conclusion = experiment.conclude(plan, results)
    console = tables.console()
    tables.printed(experiment.table(conclusion.rows, conclusion.missing), console)
    stopped = [conclusion.missing.sentence] if conclusion.missing else []
    tables.sentences([*stopped, *conclusion.verdicts, *data_notes(store.what)], console)
    is_drawn = bool(conclusion.figures or conclusion.page)
    with progress.view("drawing", plan.settings.quiet or not is_drawn):  # takes longer
        not_drawn = write(store, conclusion, started, finished, experiment.defaults)
    tables.sentences([f"in {store.folder}: {_listed(conclusion, not_drawn)}"], console)
    failures = [*filter(None, [conclusion.failure]), *dict.fromkeys(not_drawn.values())]
    if failures:
        raise runtime.FailedError("; ".join(failures))
    if conclusion.summary:
        tables.sentences([conclusion.summary], console)
    return finished


def data_notes(what: Mapping[str, Any]) -> list[str]:
    """Return the sentences on the data of a run."""
    return [*itertools.chain.from_iterable(what.get(DATA_NOTES, {}).values())]


def write(
    store: Store,
    conclusion: Conclusion,
    started: datetime,
    finished: bool,
    defaults: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, str]:
    """Fill the folder of a run.

    Returns:
        For each figure that could not be drawn, by its stem, a sentence on it.
    """
    from experiments.pages import charts, engine, run_page  # here, for Altair takes 0.2 s

    not_drawn: dict[str, str] = {}
    store.write(ROWS, files.parquet(conclusion.rows))
    for name, content in conclusion.files.items():
        store.write(name, content)
    missing, page = conclusion.missing, conclusion.page
    drawing = {
        stem: charts.begin(figure._replace(note=missing.sentence), stem)
        for stem, figure in conclusion.figures.items()
    }
    note = ". ".join(filter(None, (missing.sentence.rstrip("."), *data_notes(store.what))))
    html = None if page is None else run_page.Html(page, note).prepare()  # meanwhile
    for stem, drawn in drawing.items():
        try:
            for name, content in drawn().items():
                store.write(name, content)
        except engine.NotDrawnError as error:
            not_drawn[stem] = f"charts: {stem} is not drawn: {error}"
            for name in names.of_chart(stem):
                store.remove(name)  # what a stopped run may have left
    about = runtime.provenance(
        started,
        finished=finished,
        verdicts=conclusion.verdicts,
        **({"missing": missing.as_dict()} if missing else {}),
        **conclusion.about,
    )
    if not_drawn:
        about["not_drawn"] = [*not_drawn.values()]
    if html is not None:
        text = html.written({"what": store.what, **about}, defaults)
        store.write(names.REPORT, text.encode("utf-8"))
    store.write_run(about)
    return not_drawn


def _listed(conclusion: Conclusion, not_drawn: Iterable[str]) -> str:
    """The files that were written; of charts after the first only the stem."""
    stems = [stem for stem in conclusion.figures if stem not in not_drawn]
    charts = itertools.chain(*map(names.of_chart, stems[:1]))
    written = [ROWS, RUN, *conclusion.files, *charts, *(f"{stem}.*" for stem in stems[1:])]
    written += [names.REPORT] if conclusion.page is not None else []
    return ", ".join(written)
