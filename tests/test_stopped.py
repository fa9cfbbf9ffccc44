"""Runs that were stopped: what was not measured is said as that, and never as a result.

Each experiment is a command as a user types it, on the smallest settings; its cells are made up,
the run stops after some of them, and no picture is drawn.
"""

import contextlib
import json
import re
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from experiments import EXPERIMENTS, find
from experiments.__main__ import main
from experiments.cures import columns
from experiments.cures import experiment as cures
from experiments.depth import experiment as depth
from experiments.pages import engine, names, web
from experiments.runs import missing, signals, store, sweep
from experiments.runs.missing import Missing
from experiments.runs.schema import COUNT, TEXT, Column
from experiments.spectrum import experiment as spectrum
from experiments.trainability import picture, report
from experiments.trainability import theory as trainability_theory

pytestmark = pytest.mark.usefixtures("users_jax")


def table_of(name, **values):
    """Rows of an experiment; numbers stand for the same number in each row."""
    dtypes = {column: of.dtype for column, of in find(name).columns.items()}
    return pl.DataFrame({column: values.get(column) for column in dtypes}, dtypes)


def cures_cell(cell):
    place = {"network": columns.OF_ARTICLE, "framework": "jaxnn", "change": cell.remedy}
    place |= {"depth": cell.depth, "seed": 0}
    if cell.what == "flow":
        values = {columns.GRADIENT: -0.5 * (cell.depth - 1), columns.DISTANCE: 0.5}
        return columns.rows_of(values, **place)
    return columns.rows_of({columns.ACCURACY: 0.25}, **place, step=600, rate=cell.rate)


def trainability_cell(cell):
    """Networks that train up to depth 30 at σ_w² = 2, and up to depth 10 at 1."""
    trained = [cell.depth <= 10, cell.depth <= 30]
    return table_of(
        "trainability",
        depth=cell.depth,
        sigma_w_squared=[1.0, 2.0],
        seed=cell.seed,
        accuracy=[0.95 if each else 0.3 for each in trained],
        loss=0.5,
    )


def depth_cell(cell):
    (deep,) = cell.networks.depths
    layers = np.arange(1, deep + 2)
    return table_of(
        "depth",
        activation=cell.networks.net.activation.name,
        weights=cell.networks.weights.name,
        hidden=cell.hidden,
        sigma_b=0.0,
        width=8,
        depth=deep,
        batch=16,
        dtype="float32",
        data="iris",
        seed=0,
        layer=layers,
        log10_delta_z=-0.5 * (deep + 1 - layers),
        log10_delta_theta=0.0,
        log10_gain=-0.5,
        log10_mean_square_z=0.0,
        saturated_fraction=0.0,
        dead_fraction=0.0,
        delta_z="number",
    )


def spectrum_cell(cell):
    return table_of(
        "spectrum",
        activation=cell.activation,
        weights=cell.weights,
        depth=[1, 4],
        seed=cell.seed,
        example=0,
        log10_singular_values=[[0.0, -1.0]] * 2,
        log10_mean=0.0,
        variance=[2.25, 4.5],
        predicted=[2.0, 4.0],
        comparable=True,
    )


def laws_cell(law):
    rows = table_of(
        "laws",
        law=law.name,
        case=["one"],
        source="s",
        relation="=",
        predicted=1.0,
        measured=1.125,
        tolerance=0.5,
        reason="r",
        holds=True,
        factor="",
    )
    point = {"law": law.name, "panel": law.panels[0].title, "series": "s", "x": 1.0}
    points = pl.DataFrame([{**point, "measured": 1.0, "error": 0.1, "predicted": 1.0}])
    packed = {"rows": rows.to_struct().implode(), "points": points.to_struct().implode()}
    return pl.DataFrame({"law": [law.name], **packed})


def menagerie_cell(cell):
    return table_of(
        "menagerie",
        package=cell.package,
        network=cell.network,
        title="nn.X",
        result=["measured"],
        layers=8,
        arrays=2,
        compared=2,
        states=3,
        difference=1e-15,
        where="a",
        dtype="float64",
        unmeasured=0,
        seconds=1.0,
        message="",
    )


def casebook_cell(cell):
    return table_of(
        "casebook",
        **vars(cell),
        framework="jax",
        source="so-1",
        fault="end",
        part="write",
        wrong="w",
        fix="f",
        before="",
        during="",
        cause=["right"],
        advice="none",
        place="none",
        at=-1.0,
        others="",
        losses="[1.0, 0.5]",
        score=0.5,
        seconds=1.0,
        records="",
    )


def bench_cell(cell):
    return table_of(
        "bench",
        **vars(cell),
        workload="w",
        against="a",
        kind="warm",
        goal=1.0,
        ratio=[0.5],
        ratio_low=0.5,
        ratio_high=0.5,
        holds=True,
        pairs=7,
        ours=0.5,
        theirs=1.0,
        difference=0.0,
    )


SMALL = "--data iris --width 8 --seeds 1"
COMMANDS = {
    "cures": (
        f"--remedies sigmoid residual tailored --depths 1 16 --train-depths 4 13 "
        f"--rates 0.01 0.1 {SMALL}",
        cures_cell,
    ),
    "trainability": (f"--depths 10:50:10 --sigma-w-squared 1 2 {SMALL}", trainability_cell),
    "depth": (f"--activations tanh --depths 1 4 16 --batch 16 {SMALL}", depth_cell),
    "spectrum": ("--depths 1 4 --activations relu --width 8 --seeds 2", spectrum_cell),
    "laws": ("--law residual tailored step-size", laws_cell),
    "menagerie": ("--packages jax linen --networks dense convolutions", menagerie_cell),
    "casebook": ("--cases softmax_over_one_unit rate_far_too_large", casebook_cell),
    "bench": ("--quick --row gradient products", bench_cell),
}
SIGN = "? in tables and maps"
NUMBER = {
    "cures": 15,  # of cells; tailored relu takes 13 layers
    "trainability": 5,
    "depth": 6,
    "spectrum": 4,
    "laws": 3,
    "menagerie": 4,
    "casebook": 4,
    "bench": 10,
}


@dataclass
class Folder:
    """What a command has said and written."""

    code: int
    text: str
    says: dict
    charts: dict

    @property
    def lines(self):
        return [line.split() for line in self.text.splitlines()]


@pytest.fixture
def stopped(monkeypatch, tmp_path, capsys):
    """A function that runs an experiment's command and stops it after some cells."""
    measure, flags = sweep.measure, []

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
    monkeypatch.setattr(trainability_theory, "critical", lambda *_: None)
    scale = pl.DataFrame({"sigma_w_squared": [1.0, 2.0], "xi_c": [5.0, 10.0]})
    monkeypatch.setattr(trainability_theory, "depth_scale", lambda *_: scale)
    slopes = lambda *arguments: np.ones(arguments[-1])  # noqa: E731
    monkeypatch.setattr(spectrum, "slope_variance", slopes)

    def run(name, after):
        arguments, rows_of = COMMANDS[name]
        done = []

        def one(cell):
            done.append(cell)
            flags.extend([2] * (len(done) == after))
            return rows_of(cell)

        monkeypatch.setattr(
            sweep, "measure", lambda plan, kept, *_, **options: measure(plan, kept, one, **options)
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
    assert bool(pages) == bool(find(name).figures)
    for page in pages:
        assert count in header(page)
    out = tmp_path / name
    assert main(["show", str(out)]) == 0
    assert count in (shown := capsys.readouterr().out)
    table = folder.text.partition("The run was stopped")[0]
    assert " ".join(table.split()) in " ".join(shown.split())
    assert "?" in table or "not measured" in table
    assert main(["show", str(out), str(out)]) == 0
    assert f"1: {count}" in (both := capsys.readouterr().out)
    assert f"2: {count}" in both
    assert both.count("2 - 1") >= 1
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


def test_a_remedy_that_was_not_trained_is_no_failure(stopped, tmp_path):
    # All flows, all trainings of the sigmoid, of the residual one of two step sizes.
    folder = stopped("cures", 10)
    assert (
        "13 layers train with: none. They do not with: plain sigmoid. "
        "Not measured: residual; tailored relu."
    ) in folder.text
    assert "accuracy not measured at 4, 13 layers" in folder.text
    assert ["residual", "-7.50", "0.5", "?", "?"] in folder.lines
    assert ["tailored", "relu", "-7.50", "0.5", "?"] in folder.lines
    tiles = folder.charts["cures"]["datasets"]["tiles"]
    unmeasured = [(t["name"], t["at"], t["text"]) for t in tiles if t["value"] is None]
    assert unmeasured == [
        *(("residual", depth, "?") for depth in ("4", "13")),
        ("tailored relu", "13", "?"),
    ]


def page_of(tmp_path):
    (page,) = tmp_path.glob(f"*/{names.REPORT}")
    return page.read_text()


def cells_of(page):
    return re.findall(r"<td[^>]*>(.*?)</td>", page)


def test_a_remedy_that_was_measured_in_part_has_no_number_at_the_deepest(stopped):
    folder = stopped("cures", 3)  # the residual at depth 1 alone
    assert "gradient and correlation not measured at 16 layers" in folder.text
    assert "tailored relu: gradient and correlation not measured at 16 layers" in folder.text
    assert ["residual", "?", "?", "?", "?"] in folder.lines


@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        (3, "trains at least up to depth 30 at σ_w² = 2, for depth 40 is not measured"),
        (4, "trains up to depth 30 at σ_w² = 2"),
    ],
)
def test_a_map_ends_where_networks_do_not_train_or_says_that_it_may_go_on(after, verdict, stopped):
    folder = stopped("trainability", after)
    (line,) = folder.says["verdicts"]
    assert line == f"tanh, σ_b² = 0.05: {verdict}; no critical σ_w by theory"
    assert ["50", "?", "?"] in folder.lines


def test_a_depth_between_others_that_is_missing_is_no_part_of_the_map():
    """As of a part that was damaged: its neighbours do not reach over its place."""
    cells = [SimpleNamespace(depth=d, seed=0) for d in (10, 20, 30)]
    gap = Missing.of([vars(cell) for cell in cells], [True, False, True])
    rows = pl.concat([trainability_cell(cells[0]), trainability_cell(cells[2])])
    assert report.ridge(rows, 0.1, gap) == (
        "trains at least up to depth 10 at σ_w² = 1, 2, for depth 20 is not measured"
    )
    lowest = Missing.of([vars(cell) for cell in cells], [False, True, True])
    rest = pl.concat(map(trainability_cell, cells[1:]))
    assert report.ridge(rest, 0.1, lowest) == (
        "up to which depth it trains is not known, for depth 10 is not measured"
    )
    tiles = picture._tiles(rows, gap).sort("depth", "sigma_w_squared")
    assert tiles.select("depth", "low", "high", "measured").unique(maintain_order=True).rows() == [
        *((10, 5.0, 15.0, True), (20, 15.0, 25.0, False), (30, 25.0, 35.0, True)),
    ]
    assert tiles.filter(~pl.col("measured"))["accuracy"].is_null().all()


def test_a_second_seed_that_is_missing_leaves_no_gap_in_the_map():
    cells = [SimpleNamespace(depth=d, seed=s) for s in (0, 1) for d in (10, 20)]
    one = Missing.of([vars(cell) for cell in cells], [True, True, True, False])
    rows = pl.concat(map(trainability_cell, cells[:3]))
    assert report.gaps(rows, one).is_empty()
    assert one.sentence.startswith(
        "The run was stopped: 3 of 4 cells measured. Not measured (? in tables and maps): "
    )
    assert "depth 20, seed 1" in one.sentence or "seed 1, depth 20" in one.sentence


def test_a_rate_says_which_depth_it_is_of(stopped, tmp_path):
    folder = stopped("depth", 2)
    one, other = folder.says["verdicts"]
    assert one == (
        "tanh, glorot_uniform: vanishing, -0.5 decades a layer; measured up to 4 hidden layers, "
        "not at 16"
    )
    assert other == "tanh, he_normal: not measured"
    assert ["tanh,", "glorot_uniform", "-0.5", "-2.0", "?"] in folder.lines
    assert ["tanh,", "he_normal", "?", "?", "?"] in folder.lines
    (name,) = folder.charts["gradients"]["datasets"]["names"]
    assert name["text"] == "−0.500 tanh, glorot_uniform (at 4)"
    cells = cells_of(page_of(tmp_path))
    assert "vanishing; measured up to 4 hidden layers, not at 16" in cells
    assert "not measured" in cells


def test_one_hidden_layer_of_many_planned_has_no_rate_yet(stopped):
    folder = stopped("depth", 1)
    assert folder.says["verdicts"][0].endswith(
        "no rate, it takes two hidden layers with a gradient; measured up to 1 hidden layer, "
        "not at 16"
    )


def test_a_spectrum_of_some_seeds_says_of_how_many(stopped, tmp_path):
    one = stopped("spectrum", 1)
    gaussian, orthogonal = one.says["verdicts"]
    assert gaussian.endswith("; 1 of 2 seeds")
    assert orthogonal == "relu, orthogonal: not measured"
    assert ["relu,", "orthogonal", "?", "?"] in one.lines
    assert "not measured" in cells_of(page_of(tmp_path))
    three = stopped("spectrum", 2)
    gaussian, orthogonal = three.says["verdicts"]
    assert "seeds" not in gaussian
    assert orthogonal.endswith("; 1 of 2 seeds")


def test_laws_that_were_not_measured_are_counted_as_that(stopped):
    folder = stopped("laws", 2)
    assert folder.says["closing"] == "2 of 2 measured laws hold, 1 of 3 not measured"
    assert "2 of 2 measured laws hold, 1 of 3 not measured" in folder.text
    assert "18 step-size: not measured" in folder.text
    assert set(folder.charts) == {"law-residual", "law-tailored"}


def test_a_row_with_cases_that_were_not_timed_has_met_no_goal(stopped):
    folder = stopped("bench", 2)
    gradient, products, count = folder.says["verdicts"]
    assert "has not missed its goal so far: " in gradient
    assert gradient.endswith("(2 of 5 cases measured)")
    assert products.endswith(": not measured")
    assert count == "0 of 2 rows meet their goals, 2 not measured in full"


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
