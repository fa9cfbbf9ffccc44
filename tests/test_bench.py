"""The benchmark: both sides compute the same; ratios, verdicts, files, messages. No timing."""

import contextlib
import dataclasses
import importlib
import importlib.util
import json
import math
import subprocess
import sys
from contextlib import nullcontext

import jax
import numpy as np
import polars as pl
import pytest
from peers import need
from rich.console import Console

from experiments.__main__ import main
from experiments.bench import (
    columns,
    experiment,
    inputs,
    pairs,
    picture,
    process,
    rates,
    report,
    rows,
)
from experiments.bench.process import Side, SideError
from experiments.bench.rows import Case, Row
from experiments.bench.workload import Floor
from experiments.runs import schema
from jaxnn.distribution import install_command

pytestmark = pytest.mark.usefixtures("users_jax")

QUICK, FULL = rows.rows(quick=True), rows.rows(quick=False)
# The libraries of each peer; its process must pay for no other.
OWN = {
    "sweep_jax": {"jax", "optax"},
    "sweep_equinox": {"jax", "optax", "equinox"},
    "sweep_torch": {"torch"},
    "training_nnx": {"jax", "optax", "flax"},
    "training_sklearn": {"sklearn"},
    "training_torch": {"torch"},
    "trainability_torch": {"torch"},
    "first_command_torch": {"torch", "matplotlib"},
    "capture_nnx": {"jax", "optax", "flax", "matplotlib"},
    "diagnosed_jax": {"jax", "optax", "equinox", "flax"},
    "encoder_torch": {"jax", "jaxnn", "torch"},
    "gradient_words_jax": {"jax"},
}
KINDS = ("activation", "task", "hidden", "memory", "stacked", "network")  # of networks
LIBRARIES = {"jaxnn", "polars"}.union(*OWN.values())
# Of the `bench` extra, which the gate installs for slow tests.
PEERS = {"equinox", "flax", "matplotlib", "torch"}
CHEAP = ["bench", "--quick", "--pairs", "1", "--row", "import", "--quiet"]


@pytest.fixture(autouse=True)
def threads(monkeypatch):
    """As many threads as a worker has."""
    monkeypatch.setenv("OMP_NUM_THREADS", str(process.cores()))


def cases():
    """Cases that have two sides, of each pair of sides one of each block, activation and task.

    Others differ in their sizes alone.
    """
    kinds = set()
    for row in QUICK:
        for case in (case for case in row.cases if case.theirs is not None):
            of = case.ours.arguments
            kind = (case.ours.module, case.theirs.module)
            if kind[0] not in ("flow", "training"):  # hidden: widths
                kind += tuple(str(of.get(k)) for k in KINDS)
            if kind not in kinds:
                kinds.add(kind)
                yield pytest.param(row, case, id=f"{row.name}: {case.name}")


def made(side):
    return importlib.import_module(f"experiments.bench.{side.module}").workload(**side.arguments)


# Both sides compute the same


@pytest.mark.slow
@pytest.mark.parametrize(("row", "case"), list(cases()))
def test_both_sides_compute_the_same_numbers(row, case, tmp_path):
    need(*row.needs)
    ours = made(case.ours).numbers(tmp_path)
    theirs = made(case.theirs).numbers(tmp_path)
    assert len(ours) == len(theirs) > 0
    assert np.isfinite(ours).all()
    assert pairs.difference(case, ours, theirs) <= case.tolerance


@pytest.mark.slow
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


def test_two_numbers_of_an_array_tell_a_wrong_one():
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


def test_quick_rows_are_the_full_ones_at_other_sizes():
    """So that the workloads that tests run take what a full run gives them."""

    def without_sizes(side):
        return None if side is None else (side.module, set(side.arguments))

    def comparable(row):
        cases = [
            (c.name, c.goal, c.tolerance, without_sizes(c.ours), without_sizes(c.theirs))
            for c in row.cases
        ]
        return dataclasses.replace(row, cases=()), cases

    assert list(map(comparable, QUICK)) == list(map(comparable, FULL))
    assert len({row.name for row in FULL}) == len(FULL)
    for row in FULL:
        alone = row.kind in ("floor", "growth", "memory")
        assert all((case.theirs is None) == alone for case in row.cases)


def test_rows_need_the_packages_that_their_peers_import():
    for row in FULL:
        modules = {case.theirs.module for case in row.cases if case.theirs is not None}
        imported = set().union(*(OWN.get(module, set()) for module in modules))
        assert set(row.needs) == imported & PEERS


@pytest.mark.parametrize(("ratio", "holds"), [(0.4, True), (0.5, True), (0.6, False)])
def test_a_goal_is_met_up_to_its_number(ratio, holds, monkeypatch):
    case = Case("tiny", 0.5, Side("one", {}), Side("other", {}))
    row = Row("one", "w", "a", "warm", (case,))
    times = {"ours_seconds": 1.0, "ours_first": 1.0, "ours_import": 1.0, "pairs": 1}
    ratios = dict.fromkeys(("ratio", "ratio_low", "ratio_high"), ratio)
    monkeypatch.setattr(pairs, "measure", lambda *_: times | ratios)
    table = experiment.measure_case(experiment.Settings(), experiment.Cell(row, case))
    schema.check(table, columns.COLUMNS)
    assert table["holds"].to_list() == [holds]


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


def test_a_row_of_bytes_compares_what_programs_take(monkeypatch):
    class Process:
        def __init__(self, taken):
            self.answers = {"numbers": {"numbers": [1.0]}, "memory": {"bytes": taken}, "floor": {}}

        def ask(self, word):
            return self.answers[word]

        def seconds(self):
            return 1.0

    taken = {"one": 5.0, "other": 20.0}
    monkeypatch.setattr(
        pairs, "started", lambda side, _: nullcontext((Process(taken[side.module]), 0.1))
    )
    case = Case("tiny", 0.5, Side("one", {}), Side("other", {}))
    measured = pairs.measure(Row("one", "w", "a", "bytes", (case,)), case, 2, quick=True)
    assert measured["ratio"] == 0.25


def test_a_first_repetition_is_that_of_a_process_of_its_own(monkeypatch):
    class Made:
        def __init__(self, seconds):
            self.left = iter([seconds])

        def ask(self, what):
            return {"numbers": [1.0]} if what == "numbers" else {}

        def seconds(self):
            return next(self.left, 100.0)

    times = {"ours": 1.0, "theirs": 4.0}
    for module in (pairs, process):
        monkeypatch.setattr(
            module, "started", lambda side, _: nullcontext((Made(times[side.module]), 0.0))
        )
    case = Case("made", 1.0, Side("ours", {}), Side("theirs", {}))
    row = Row("made", "made", "other", "first", (case,))
    pair = pairs.measure(row, case, pairs=3, quick=True)
    assert (pair["ratio"], pair["ours_seconds"], pair["theirs_seconds"]) == (0.25, 1.0, 4.0)


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
    outcome = {"row": name, "case": case, "ratio": ratio, "goal": goal, "holds": ratio <= goal}
    about = {"workload": "w", "against": "a", "kind": "warm", "pairs": 7, "ours_seconds": 2e-3}
    times = {"ours_first": 1.0, "ours_import": 1.0, "ratio_low": ratio, "ratio_high": ratio}
    dtypes = {name: column.dtype for name, column in columns.COLUMNS.items()}
    row = {**outcome, **about, **times, **more}
    return pl.DataFrame({name: [row.get(name)] for name in dtypes}, dtypes)


def test_a_row_that_misses_a_goal_says_which():
    known = [Row("one", "w", "a", "warm", (), overall=1.0), Row("two", "w", "a", "warm", ())]
    good, bad = measured("one", "x", 0.5, 1.03), measured("one", "y", 2.5, 1.03)
    verdicts = report.verdicts(pl.concat([good, bad, measured("two", "z", 0.25, 0.5)]), known)
    assert verdicts == [
        "one (w / a) misses its goal: y: 2.5 instead of 1.03; overall 1.12 instead of 1",
        "two (w / a) meets its goal: 0.25 of 0.5",
        "1 of 2 rows meet their goals",
    ]
    assert report.overall(pl.concat([good, bad])) == pytest.approx(math.sqrt(1.25))


def test_markdown_has_a_line_a_case_and_marks_what_is_missed():
    known = [Row("one", "w", "a", "warm", (), overall=1.0)]
    table = pl.concat([measured("one", "x", 0.5, 1.03), measured("one", "y", 2.5, 1.03)])
    lines = report.markdown(table, known).splitlines()
    assert lines[2] == "| w | a | x | 2 ms | – | 0.5 | 0.5–0.5 | 1.03 | – |"
    assert "**2.5**" in lines[3]
    assert lines[4] == "| w | a | all, geometric mean |  |  | **1.12** |  | 1 |  |"


@pytest.mark.parametrize(
    ("value", "text"), [(12.345, "12.3 s"), (0.0123, "12.3 ms"), (4.5e-6, "4.5 µs"), (None, "–")]
)
def test_times_have_a_unit_that_suits_them(value, text):
    assert report.seconds(value) == text


def test_the_picture_has_each_ratio_over_its_goal():
    table = [measured("one", "x", 0.5, 0.25, ratio_high=1.0), measured("two", "y", 0.5, 1.0)]
    figure = picture.figure(pl.concat(table), "how")
    cases = figure.data["cases"]
    assert cases["over_goal"].to_list() == [2.0, 0.5]
    assert cases["high"].to_list() == [4.0, 0.5]
    assert cases["goal_is"].to_list() == ["missed", "met"]
    assert figure.chart.title.text == "1 of 2 comparisons with their goal met"


# As a user calls it


@pytest.mark.slow
def test_a_run_leaves_table_chart_and_the_machine(tmp_path, capsys):
    out = tmp_path / "run"
    assert main([*CHEAP, "--out", str(out)]) == 0
    assert "import jaxnn / import jax" in capsys.readouterr().out
    table = pl.read_parquet(out / "rows.parquet")
    schema.check(table, columns.COLUMNS)
    assert table["difference"].to_list() == [0.0]
    about = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert about["machine"]["cores"] == process.cores()
    assert {"processor", "memory", "load at start", "peers"} <= set(about["machine"])
    for name in experiment.EXPERIMENT.leaves:
        assert (out / name).stat().st_size > 0
    assert main(["show", str(out)]) == 0
    assert "fresh process" in capsys.readouterr().out


@pytest.mark.slow
def test_a_warm_pair_in_processes_of_their_own(tmp_path):
    row = next(row for row in QUICK if row.name == "gradient")
    pair = pairs.measure(row, row.cases[0], pairs=3, quick=True)
    assert pair["pairs"] == 3
    assert 0 < pair["ratio_low"] <= pair["ratio"] <= pair["ratio_high"]
    assert pair["floor_seconds"] > 0
    assert pair["over_floor"] == pytest.approx(pair["ours_seconds"] / pair["floor_seconds"])
    assert {"ours_first", "theirs_first", "ours_import", "theirs_import"} <= set(pair)


@pytest.mark.slow
def test_exponents_of_growth(monkeypatch):
    monkeypatch.setattr(pairs, "FEW_LAYERS", (pairs.FEW_LAYERS[0], pairs.FEW_LAYERS[-1]))
    row = next(row for row in QUICK if row.name == "growth-memory")
    exponents = pairs.measure(row, row.cases[0], pairs=1, quick=True)
    assert 0.2 < exponents["ratio"] < 0.8


@pytest.mark.parametrize("module", ["nothing_there", "growth"])
def test_a_process_that_fails_says_why(module, tmp_path):
    words = {"nothing_there": r"needs .*nothing_there, .*\.\[bench\]", "growth": "TypeError"}
    with (
        pytest.raises(SideError, match=words[module]),
        process.started(Side(module, {}), tmp_path),
    ):
        pass


def test_a_missing_peer_is_one_sentence(monkeypatch, capsys, tmp_path):
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "torch" else there(n))
    assert main(["bench", "--row", "train-torch", "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err == (
        f"error: row: the peers need torch, which is not installed; {install_command('bench')}, or "
        "choose rows without them by --row\n"
    )
    assert not (tmp_path / "run").exists()


def test_the_transformer_whose_verdict_is_timed_has_the_sizes_that_are_asked_for():
    settings = experiment.Settings(row=("verdict-warm",), blocks=24, width=64, words=30)
    (row,) = experiment.prepare(settings).rows
    assert [case.name for case in row.cases] == [
        f"24 blocks of 64 in a {blocks}, 8 × 64 of 30 words" for blocks in ("loop", "scan")
    ]
    sizes = {"blocks": 24, "width": 64, "tokens": 64, "batch": 8, "words": 30}
    for case in row.cases:
        assert case.ours.arguments == case.theirs.arguments
        assert sizes.items() <= case.ours.arguments.items()


@pytest.mark.slow
def test_no_peer_is_imported_by_the_command_line():
    code = (
        "import sys; from experiments.__main__ import read; read(['bench']); "
        "print({'torch', 'equinox', 'flax'} & set(sys.modules))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=process.ROOT
    )
    assert answer.stdout.strip() == "set()"


@pytest.mark.parametrize(
    "modules",
    # Each is imported on top of those before it, whose libraries it has too; one of those that
    # import another one of them.
    [
        ("gradient_words_jax", "sweep_jax"),
        ("training_sklearn",),
        pytest.param(("sweep_equinox",), marks=pytest.mark.slow),
        pytest.param(("diagnosed_jax",), marks=pytest.mark.slow),
        pytest.param(("training_nnx", "capture_nnx"), marks=pytest.mark.slow),
        pytest.param(
            ("training_torch", "trainability_torch", "first_command_torch"), marks=pytest.mark.slow
        ),
        pytest.param(("encoder_torch",), marks=pytest.mark.slow),
    ],
)
def test_the_process_of_a_peer_imports_no_library_but_its_own(modules):
    need(*set().union(*(OWN[module] for module in modules)) & PEERS)
    code = (
        "import importlib, sys, experiments.bench.worker\n"
        f"for module in {modules}:\n"
        "    importlib.import_module('experiments.bench.' + module)\n"
        f"    print(*{LIBRARIES} & set(sys.modules))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=process.ROOT
    )
    assert [set(line.split()) for line in answer.stdout.splitlines()] == [OWN[m] for m in modules]


def test_each_peer_has_a_process_that_looks_at_its_libraries():
    (mark,) = test_the_process_of_a_peer_imports_no_library_but_its_own.pytestmark
    groups = [group for case in mark.args[1] for group in getattr(case, "values", (case,))]
    assert {module for group in groups for module in group} | {"sweep_torch"} == {*OWN}


def test_the_same_number_of_threads_and_no_cache(monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "somewhere")
    given = process.environment()
    assert given["OMP_NUM_THREADS"] == given["OPENBLAS_NUM_THREADS"] == str(process.cores())
    assert given["JAX_ENABLE_COMPILATION_CACHE"] == "false"
    assert "JAX_COMPILATION_CACHE_DIR" not in given


def test_the_table_on_the_terminal():
    """All of it fits into 80 characters: a long name is wrapped, numbers are not cut."""
    console, name = Console(width=80, record=True), "64-256-256-256-10, batch 128"
    console.print(report.table(measured("one", name, 0.0123, 1 / 25, over_floor=2.0)))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].strip() == "one: w / a"
    numbers = ["2", "ms", "–", "0.0123", "0.0123–0.0123", "0.04", "2", "yes"]
    assert lines[4].split()[-len(numbers) :] == numbers
    assert set(name.split()) <= set(" ".join(lines).split())


def test_a_ratio_is_our_seconds_over_theirs(monkeypatch):
    class Made:
        def __init__(self, seconds):
            self.seconds = lambda: seconds

        def ask(self, what):
            return {"numbers": [1.0]} if what == "numbers" else {}

    @contextlib.contextmanager
    def started(side, folder):
        yield Made({"ours": 1.0, "theirs": 4.0}[side.module]), 0.0

    monkeypatch.setattr(pairs, "started", started)
    case = Case("made", 1.0, Side("ours", {}), Side("theirs", {}))
    row = Row("made", "made", "other", "warm", (case,))
    pair = pairs.measure(row, case, pairs=3, quick=True)
    assert pair["ratio"] == pair["ours_seconds"] / pair["theirs_seconds"] == 0.25
