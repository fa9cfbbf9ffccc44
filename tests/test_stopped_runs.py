"""Runs that were stopped: what was not measured is said as that, and never as a result.

Each experiment is a command as a user types it, on the smallest settings; its cells are made up,
the run stops after some of them, and no picture is drawn.
"""

import contextlib
import json
import re
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest

from experiments import EXPERIMENTS, find
from experiments.__main__ import main
from experiments.cures import columns
from experiments.cures import experiment as cures
from experiments.depth import experiment as depth
from experiments.pages import engine, names, web
from experiments.runs import cell_sweep, missing, signals, store
from experiments.runs.missing import Missing
from experiments.runs.schema import COUNT, FLAG, REAL, TEXT, Column

pytestmark = pytest.mark.usefixtures("users_jax")


DEFAULT = {COUNT: 1, REAL: 0.5, TEXT: "x", FLAG: True}


def made_up(name, **values):
    """Rows of an experiment; what is not given is the same in each, or missing if it may be."""
    known = find(name).columns
    rows = {
        column: [None] if of.optional else [*of.known, DEFAULT.get(of.dtype)][:1]
        for column, of in known.items()
    }
    rows |= values
    longest = max(len(v) for v in rows.values() if not isinstance(v, str | float | int))
    whole = {k: v * longest if isinstance(v, list) and len(v) == 1 else v for k, v in rows.items()}
    return pl.DataFrame(whole, {column: of.dtype for column, of in known.items()})


def cures_cell(cell):
    place = {"network": columns.OF_ARTICLE, "framework": "jaxnn", "change": cell.remedy}
    place |= {"depth": cell.depth, "seed": 0}
    if cell.what == "flow":
        values = {columns.GRADIENT: -0.5 * (cell.depth - 1), columns.DISTANCE: 0.5}
        return columns.rows_of(values, **place)
    return columns.rows_of({columns.ACCURACY: 0.25}, **place, step=600, rate=cell.rate)


def depth_cell(cell):
    (deep,) = cell.networks.depths
    layers = np.arange(1, deep + 2)
    sizes = {"log10_delta_z": -0.5 * (deep + 1 - layers), "log10_gain": -0.5}
    place = cell.place | {"depth": deep, "seed": 0, "layer": layers}
    return made_up("depth", **place, **sizes, log10_mean_square_z=0.0, delta_z="number")


def laws_cell(law):
    numbers = {"predicted": 1.0, "measured": 1.125, "factor": ""}
    return made_up("laws", law=law.name, case=["one"], **numbers)


def menagerie_cell(cell):
    return made_up("menagerie", **vars(cell), difference=[1e-15], message="")


def casebook_cell(cell):
    empty = dict.fromkeys(("before", "during", "others", "records"), "")
    return made_up("casebook", **vars(cell), **empty, losses=["[1.0, 0.5]"], at=-1.0)


def bench_cell(cell):
    return made_up("bench", **vars(cell), goal=1.0, ratio=[0.5])


SMALL = "--data iris --width 8 --seeds 1"
COMMANDS = {
    "cures": (
        f"--remedies sigmoid residual tailored --depths 1 16 --train-depths 4 13 "
        f"--rates 0.01 0.1 {SMALL}",
        cures_cell,
    ),
    "depth": (f"--activations tanh --depths 1 4 16 --batch 16 {SMALL}", depth_cell),
    "laws": ("--law residual tailored step-size", laws_cell),
    "menagerie": ("--packages jax linen --networks dense convolutions", menagerie_cell),
    "casebook": ("--cases softmax_over_one_unit rate_far_too_large", casebook_cell),
    "bench": ("--quick --row gradient watch-first", bench_cell),
}
SIGN = "? in tables and maps"
NUMBER = {
    "cures": 15,  # of cells; tailored relu takes 13 layers
    "depth": 6,
    "laws": 3,
    "menagerie": 4,
    "casebook": 4,
    "bench": 7,
}


@dataclass
class Folder:
    """What a command has said and written."""

    code: int
    text: str
    says: dict
    charts: dict


@pytest.fixture
def stopped(monkeypatch, tmp_path, capsys):
    """A function that runs an experiment's command and stops it after some cells."""
    measure, flags = cell_sweep.measure, []

    @contextlib.contextmanager
    def interruptible(_):
        yield flags

    specs = []

    def begin(_, spec, scale):
        specs.append(spec)
        return lambda: (b"", b"", b"")

    monkeypatch.setattr(signals, "interruptible", interruptible)
    monkeypatch.setattr(engine, "begin", begin)
    monkeypatch.setattr(web, "library", lambda: "")
    monkeypatch.setattr(depth, "FLOPS_OF_CELL", 1.0)  # a cell for each depth
    monkeypatch.setattr(cures, "predictions", lambda *_: {})

    def run(name, after):
        arguments, rows_of = COMMANDS[name]
        done = []

        def one(cell):
            done.append(cell)
            flags.extend([2] * (len(done) == after))
            return rows_of(cell)

        monkeypatch.setattr(
            cell_sweep,
            "measure",
            lambda plan, kept, *_, **options: measure(plan, kept, one, **options),
        )
        flags[:] = [2] * (after == 0)
        specs.clear()
        out = tmp_path / name
        code = main([name, *arguments.split(), "--no-cache", "--quiet", "--out", str(out)])
        says = json.loads((out / store.RUN).read_text())
        stems = [stem for stem in find(name).figures if (out / f"{stem}.svg").exists()]
        charts = dict(zip(stems, specs, strict=True))
        return Folder(code, capsys.readouterr().out, says, charts)

    return run


def header(path):
    """The text of a page above its first section."""
    top = re.search(r"<header>(.*?)</header>", path.read_text(), re.DOTALL)[1]
    return re.sub(r"<[^>]*>|\s+", " ", top)


@pytest.mark.parametrize(
    "name",
    [
        "depth",
        *(pytest.param(name, marks=pytest.mark.slow) for name in COMMANDS if name != "depth"),
    ],
)
def test_a_stopped_run_says_everywhere_what_is_missing(name, stopped, tmp_path, capsys):
    folder = stopped(name, 1)
    count = f"The run was stopped: 1 of {NUMBER[name]} cells measured. Not measured ({SIGN}): "
    assert (folder.code, folder.says["finished"]) == (130, False)
    assert count in folder.text
    assert "The same command again goes on." in folder.text
    for chart in folder.charts.values():
        assert count in " ".join(chart["title"]["subtitle"])
    pages = [*tmp_path.glob("*/*.html")]
    assert bool(pages) == find(name).report
    for page in pages:
        assert count in header(page)
    out = tmp_path / name
    assert main(["show", str(out)]) == 0
    assert count in (shown := capsys.readouterr().out)
    table = folder.text.partition("The run was stopped")[0]
    assert " ".join(table.split()) in " ".join(shown.split())
    assert "?" in table or "not measured" in table
    # Going on leaves no trace of it.
    whole = stopped(name, None)
    assert (whole.code, whole.says["finished"]) == (0, True)
    written = [whole.text, json.dumps(whole.says), *(page.read_text() for page in pages)]
    titles = [json.dumps(chart["title"], ensure_ascii=False) for chart in whole.charts.values()]
    for text in [*written, *titles]:
        assert "not measured" not in text.lower()
        assert "was stopped" not in text


def test_all_experiments_are_here_or_have_no_cells():
    assert {*COMMANDS, "train"} == set(EXPERIMENTS)


def test_a_run_that_was_stopped_before_its_first_cell_concludes_nothing(stopped, tmp_path, capsys):
    folder = stopped("laws", 0)
    assert (folder.code, folder.text, folder.charts) == (130, "", {})
    assert "verdicts" not in folder.says
    assert main(["show", str(tmp_path / "laws")]) == 2
    assert "has no rows.parquet yet; its command again goes on" in capsys.readouterr().err


def rows_of_tables(page):
    """The rows of the tables in a page."""
    part = page.read_text().partition('aria-label="Tables"')[2].partition("</section>")[0]
    for row in part.split("<tr>")[1:]:
        yield " | ".join(re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row))


@pytest.mark.parametrize(
    ("name", "after"),
    [
        ("cures", 3),  # the residual remedy at depth 1 alone
        ("cures", 10),  # all flows, all trainings of the sigmoid, of the residual of two step sizes
        ("depth", 2),
        ("laws", 2),
        ("bench", 2),
    ],
)
def test_what_was_not_measured_is_no_result(name, after, stopped, tmp_path, snapshot):
    """As it is printed, in tables of the page, and in charts: tiles and legends."""
    folder = stopped(name, after)
    lines = [line.rstrip() for line in folder.text.replace(str(tmp_path), "").splitlines()]
    lines += [row for page in tmp_path.glob(f"*/{names.REPORT}") for row in rows_of_tables(page)]
    for chart in folder.charts.values():
        tiles = chart["datasets"].get("tiles", ())
        lines += [f"tile {t['name']} {t['at']}" for t in tiles if t.get("value", 0) is None]
        legend = re.search(r"−[^\"]+\(at \d+\)", json.dumps(chart, ensure_ascii=False))
        lines += [legend[0]] if legend else []
    assert "\n".join(lines) == snapshot


PLACES = [{"activation": a, "depth": d, "seed": 0} for a in ("tanh", "relu") for d in (1, 2, 4)]


def test_places_name_only_what_differs_and_stand_for_rows():
    gap = Missing.of(PLACES, [True, True, False, True, False, False])
    assert gap.places == (
        {"activation": "tanh", "depth": 4},
        *({"activation": "relu", "depth": d} for d in (2, 4)),
    )
    assert gap.sentence == (
        "The run was stopped: 3 of 6 cells measured. Not measured (? in tables and maps): tanh, "
        "depth 4; relu, depth 2, 4. The same command again goes on."
    )
    measured = pl.DataFrame({"activation": "tanh", "depth": [1, 2], "layer": [1, 2], "seed": 0})
    assert gap.rows(measured, "activation", "depth", "layer").rows() == [
        *(("tanh", 4, layer) for layer in (1, 2)),
        *(("relu", depth, layer) for depth in (2, 4) for layer in (1, 2)),
    ]
    whole = Missing.of(PLACES, [True] * 6)
    assert not whole
    assert whole.sentence == ""
    assert whole.rows(measured, "depth").is_empty()


def test_many_missing_cells_are_named_in_few_words():
    many = [{"name": f"n{i}", "depth": d} for i in range(9) for d in range(1, 20)]
    sentence = Missing.of(many, [True, *[False] * (len(many) - 1)]).sentence
    assert "n0, depth 2, 3, …, 19; n1, depth 1, 2, …, 19; " in sentence
    assert "; and 3 more. The same" in sentence
    laws = [{"law": f"l{i}"} for i in range(9)]
    cases = [{"row": "r", "case": name} for name in ("a, 1", "b, 2", "c")]
    assert ": “b, 2”, c. The" in Missing.of(cases, [True, False, False]).sentence
    assert "l1, l2, l3, l4, l5 and 3 more" in Missing.of(laws, [True, *[False] * 8]).sentence


KNOWN = {"depth": Column(COUNT, "1", "d"), "data": Column(TEXT, "name", "n")}
GAP = Missing(1, 2, places=({"data": "iris\x1b", "depth": [1, 2]},))


def test_what_is_stored_is_read_without_what_steers_a_terminal():
    read = missing.read(json.loads(json.dumps(GAP.as_dict())), KNOWN)
    assert read.places == ({"data": "iris�", "depth": [1, 2]},)
    assert (read.measured, read.planned, read.what) == (1, 2, "cells measured")


@pytest.mark.parametrize(
    "wrong",
    [
        *(None, 3, [], {}, {"measured": 1}),
        *({"measured": n} for n in (-1, "1")),
        *({"places": p} for p in (None, [1], [{}], [{"depth": "1"}], [{"data": 1}])),
        *({"places": [{"depth": n}]} for n in (-1, 1.5, 2**70, None)),
        {"places": [{"depth": 1}, {"data": "x"}]},
        {"what": 1},
        {"more": 1},
    ],
)
def test_anything_else_is_refused(wrong, tmp_path, capsys):
    entry = {**GAP.as_dict(), **wrong} if isinstance(wrong, dict) and len(wrong) == 1 else wrong
    entry = wrong if wrong == {"measured": 1} else entry
    with pytest.raises(ValueError, match="expected cells"):
        missing.read(entry, KNOWN)
