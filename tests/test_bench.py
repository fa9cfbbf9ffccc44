"""The benchmark: both sides compute the same; ratios, verdicts and files; sentences. No timing."""

import importlib
import json
import math
import subprocess
import sys

import jax
import numpy as np
import polars as pl
import pytest
from peers import need
from rich.console import Console

from experiments.__main__ import main
from experiments.bench import chart, experiment, inputs, pairs, process, rates, report, rows
from experiments.bench.process import Side, SideError
from experiments.bench.rows import Case, Row
from experiments.bench.workload import Floor
from experiments.runs import columns

pytestmark = pytest.mark.xdist_group("bench")

QUICK = rows.rows(quick=True)
CHEAP = ["bench", "--quick", "--pairs", "2", "--row", "import", "--quiet"]


@pytest.fixture(autouse=True)
def user_s_jax(strict_jax, monkeypatch):
    """JAX as a user has it: float32, promotion allowed; and as many threads as a worker has."""
    monkeypatch.setenv("OMP_NUM_THREADS", str(process.cores()))
    with (
        jax.enable_x64(False),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        yield


def cases():
    """All that have two sides; slow where another one has the same two modules, or nearly so."""
    seen = {("flow", "flow_plain"), ("trainability", "trainability_torch")}
    for row in QUICK:
        for case in (case for case in row.cases if case.theirs is not None):
            sides = (case.ours.module, case.theirs.module)
            marks = [pytest.mark.slow] if sides in seen else []
            seen.add(sides)
            yield pytest.param(row, case, id=f"{row.name}: {case.name}", marks=marks)


def made(side):
    return importlib.import_module(f"experiments.bench.{side.module}").workload(**side.arguments)


# What is compared is the same


@pytest.mark.parametrize(("row", "case"), list(cases()))
def test_both_sides_compute_the_same_numbers(row, case, tmp_path):
    need(*row.needs)
    ours = made(case.ours).numbers(tmp_path)
    theirs = made(case.theirs).numbers(tmp_path)
    assert len(ours) == len(theirs) > 0
    assert np.isfinite(ours).all()
    assert pairs.difference(case, ours, theirs) <= case.tolerance


def test_numbers_of_a_sweep_are_those_of_numpy(tmp_path):
    """Δz of every layer, written out."""
    case = next(row for row in QUICK if row.name == "sweep-cold").cases[0]
    ours = made(case.ours).numbers(tmp_path)
    params, given = inputs.read(tmp_path)
    signals, x = [], given["x"].astype(float)
    for theta, b in params[:-1]:
        x = 1 / (1 + np.exp(-(x @ theta + b)))
        signals.append(x)
    z = x @ params[-1][0] + params[-1][1]
    delta = (1 / (1 + np.exp(-z)) - given["y"][:, None]) / len(z)
    norms = [np.linalg.norm(delta)]
    for (theta, _), a in zip(params[:0:-1], signals[::-1], strict=True):
        delta = delta @ theta.T * a * (1 - a)
        norms.append(np.linalg.norm(delta))
    assert ours == pytest.approx(np.log10(norms[::-1]), abs=1e-4)


def test_two_numbers_of_an_array_show_what_is_wrong_with_it():
    v = np.arange(1.0, 13).reshape(3, 4)
    (log_norm, along) = inputs.in_short([v])
    assert log_norm == pytest.approx(0.5 * math.log(650))
    for wrong in (v[:, ::-1], v.T, np.where(v == 7, -7, v)):
        assert abs(inputs.in_short([wrong])[1] - along) > 1e-3


def test_a_difference_is_refused():
    case = Case("tiny", 1.0, Side("one", {}), Side("other", {}), tolerance=0.1)
    assert pairs.difference(case, [1.0, 2.0], [1.0, 2.05]) == pytest.approx(0.05)
    for ours, theirs in (([1.0], [1.2]), ([1.0], [math.nan]), ([1.0], [1.0, 1.0]), ([], [])):
        with pytest.raises(SideError, match="tiny: one and other do not compute the same"):
            pairs.difference(case, ours, theirs)


# The table


def test_the_table_holds_every_goal_of_the_issue():
    table = rows.rows(quick=False)
    goals = {row.name: [case.goal for case in row.cases] for row in table}
    assert goals["gradient"] == [1.03] * 5
    assert next(row for row in table if row.name == "gradient").overall == 1.0
    assert goals["sweep-64"] == [1 / 7] * 2
    assert goals["train-sklearn"] == [1 / 3, 1 / 2]
    assert goals["train-nnx"] == [1 / 6, 1 / 2]
    assert len(table) == len(goals) == 17
    assert [len(row.cases) for row in QUICK] == [len(row.cases) for row in table]


def test_sides_take_turns_and_the_ratio_is_a_median_with_quartiles():
    order = []
    clock = iter(range(100))

    def side(name):
        def seconds():
            order.append(name)
            return float(next(clock))

        return seconds

    times = [pairs._times(side("ours"), side("theirs"), i) for i in range(3)]
    assert order == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert times == [(0.0, 1.0), (3.0, 2.0), (4.0, 5.0)]
    assert pairs.summary([1.0, 4.0, 2.0, 3.0, 5.0]) == {
        "ratio": 3.0,
        "ratio_low": 2.0,
        "ratio_high": 4.0,
    }


def test_a_floor_adds_products_and_random_numbers():
    assert Floor(flops=6e9, flop_rate=2e9, randoms=1e6, random_rate=2e6).seconds == 3.5


@pytest.mark.parametrize("at_once", [1, 2])
def test_rates_are_those_of_what_is_counted(at_once, monkeypatch):
    """A pass of the loop that takes a second: the rate is what one pass computes."""
    monkeypatch.setattr(
        rates, "_rate", lambda run: float(jax.block_until_ready(run(2)) is not None)
    )
    devices = min(at_once, jax.device_count())
    assert rates.products(4, 3, 5, at_once) == devices * 6 * 4 * 3 * 5
    assert rates.randoms(lambda key: jax.random.uniform(key, (3, 5)), at_once) == devices * 15


def measured(name, case, ratio, goal, **more):
    found = {"row": name, "case": case, "ratio": ratio, "goal": goal, "holds": ratio <= goal}
    about = {"workload": "w", "against": "a", "kind": "warm", "pairs": 7, "ours_seconds": 2e-3}
    times = {"ours_first": 1.0, "ours_import": 1.0, "ratio_low": ratio, "ratio_high": ratio}
    schema = {name: column.dtype for name, column in columns.BENCH.items()}
    row = {**found, **about, **times, **more}
    return pl.DataFrame({name: [row.get(name)] for name in schema}, schema)


def test_a_row_that_misses_a_goal_says_which():
    known = [Row("one", "w", "a", "warm", (), overall=1.0), Row("two", "w", "a", "warm", ())]
    good, bad = measured("one", "x", 0.5, 1.03), measured("one", "y", 2.5, 1.03)
    said = report.verdicts(pl.concat([good, bad, measured("two", "z", 0.25, 0.5)]), known)
    assert said == [
        "one (w / a) misses its goal: y: 2.5 in the place of 1.03; overall 1.12 in the place of 1",
        "two (w / a) meets its goal: 0.25 of 0.5",
        "1 of 2 rows meet their goals",
    ]
    assert report.overall(pl.concat([good, bad])) == pytest.approx(math.sqrt(1.25))


def test_markdown_has_a_line_a_case_and_marks_what_is_missed():
    known = [Row("one", "w", "a", "warm", (), overall=1.0)]
    of = pl.concat([measured("one", "x", 0.5, 1.03), measured("one", "y", 2.5, 1.03)])
    lines = report.markdown(of, known).splitlines()
    assert lines[2] == "| w | a | x | 2 ms | – | 0.5 | 0.5–0.5 | 1.03 | – |"
    assert "**2.5**" in lines[3]
    assert lines[4] == "| w | a | all, geometric mean |  |  | **1.12** |  | 1 |  |"


@pytest.mark.parametrize(
    ("value", "text"), [(12.345, "12.3 s"), (0.0123, "12.3 ms"), (4.5e-6, "4.5 µs"), (None, "–")]
)
def test_times_have_a_unit_that_suits_them(value, text):
    assert report.seconds(value) == text


def test_the_chart_shows_a_ratio_over_its_goal():
    drawn = chart.draw(measured("one", "x", 0.5, 0.25, ratio_high=1.0), "how").to_dict()
    (values,) = [v for v in drawn["datasets"].values() if "over_goal" in v[0]]
    assert (values[0]["over_goal"], values[0]["high"]) == (2.0, 4.0)
    assert values[0]["the goal is"] == "missed"
    assert drawn["title"]["text"] == "0 of 1 comparisons with their goal met"


# As a user calls it


def test_a_run_leaves_table_chart_and_the_machine(tmp_path, capsys):
    out = tmp_path / "run"
    assert main([*CHEAP, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "import jaxnn / import jax" in said
    found = pl.read_parquet(out / "rows.parquet")
    columns.check(found, columns.BENCH)
    assert found["difference"].to_list() == [0.0]
    about = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert about["machine"]["cores"] == process.cores()
    assert {"processor", "memory", "load at start", "peers"} <= set(about["machine"])
    for name in experiment.FILES:
        assert (out / name).stat().st_size > 0
    assert main(["show", str(out)]) == 0
    assert "fresh process" in capsys.readouterr().out


@pytest.mark.slow
def test_a_warm_pair_in_processes_of_their_own(tmp_path):
    row = next(row for row in QUICK if row.name == "gradient")
    found = pairs.measure(row, row.cases[0], pairs=3, quick=True)
    assert found["pairs"] == 3
    assert 0 < found["ratio_low"] <= found["ratio"] <= found["ratio_high"]
    assert found["floor_seconds"] > 0
    assert found["over_floor"] == pytest.approx(found["ours_seconds"] / found["floor_seconds"])
    assert {"ours_first", "theirs_first", "ours_import", "theirs_import"} <= set(found)


@pytest.mark.slow
def test_exponents_of_growth():
    row = next(row for row in QUICK if row.name == "growth-memory")
    found = pairs.measure(row, row.cases[0], pairs=2, quick=True)
    assert 0.2 < found["ratio"] < 0.8


@pytest.mark.parametrize("module", ["nothing_there", "growth"])
def test_a_process_that_fails_says_why(module, tmp_path):
    words = {"nothing_there": r"needs .*nothing_there, .*\.\[bench\]", "growth": "TypeError"}
    with (
        pytest.raises(SideError, match=words[module]),
        process.started(Side(module, {}), tmp_path),
    ):
        pass


def test_a_missing_peer_is_one_sentence(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(experiment.importlib.util, "find_spec", lambda name: None)
    assert main(["bench", "--row", "train-torch", "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err == (
        'error: row: the peers need torch, which is not installed; pip install -e ".[bench]", or '
        "choose rows without them by --row\n"
    )
    assert not (tmp_path / "run").exists()


def test_an_unknown_row_is_one_sentence(capsys, tmp_path):
    assert main(["bench", "--row", "x", "--out", str(tmp_path / "run")]) == 2
    assert "row: there is no 'x'; choose some of gradient, products," in capsys.readouterr().err


def test_no_peer_is_imported_by_the_command_line():
    code = (
        "import sys, experiments.__main__; print({'torch', 'equinox', 'flax'} & set(sys.modules))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=process.ROOT
    )
    assert answer.stdout.strip() == "set()"


def test_the_process_of_a_torch_peer_has_no_jax(tmp_path):
    need("torch")
    code = (
        "import sys, experiments.bench.worker, experiments.bench.sweep_torch; "
        "print('jax' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=process.ROOT
    )
    assert answer.stdout.strip() == "False"


def test_the_same_number_of_threads_and_no_cache(monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "somewhere")
    given = process.environment()
    assert given["OMP_NUM_THREADS"] == given["OPENBLAS_NUM_THREADS"] == str(process.cores())
    assert given["JAX_ENABLE_COMPILATION_CACHE"] == "false"
    assert "JAX_COMPILATION_CACHE_DIR" not in given


def test_the_table_on_the_terminal():
    """All of it fits into 80 characters."""
    console, name = Console(width=80, record=True), "64-256-256-256-10, batch 128"
    console.print(report.table(measured("one", name, 0.0123, 1 / 25, over_floor=2.0)))
    title, _, line, *_ = console.export_text().splitlines()
    assert title == "one: w / a"
    assert line.split()[3:] == ["2", "ms", "–", "0.0123", "0.0123–0.0123", "0.04", "2", "yes"]
