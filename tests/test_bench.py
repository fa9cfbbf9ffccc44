"""The benchmark: both sides compute the same; ratios, verdicts, files, messages. No timing."""

import contextlib
import importlib
import importlib.util
import json
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from peers import need
from rich.console import Console

from experiments.__main__ import main
from experiments.bench import bench_report, experiment, inputs, pairs
from experiments.bench.pairs import SideError
from experiments.bench.rows import ROWS, Case, Row, Side
from experiments.runs import schema
from jaxnn.arrays.memory import cores
from jaxnn.distribution import install_command

pytestmark = pytest.mark.usefixtures("users_jax")

# The libraries of each side, before it knows its row; its process must pay for no other.
OWN = {"commands": set(), "of_jax": {"jax"}, "of_torch": {"torch"}}
OWN["ours"] = {"jax", "jaxnn", "polars"}
PEERS = ("jax", "torch")
LIBRARIES = {"optax", "equinox", "flax", "matplotlib", "sklearn"}.union(*OWN.values())
KINDS = ("activation", "stacked", "network")  # of networks
CHEAP = ["bench", "--quick", "--pairs", "1", "--row", "torch-flow", "--quiet"]
TINY = Row("one", "w", "a", "warm", "ours.x", "theirs.x", (Case("tiny", 0.5),))


def cases():
    """Cases of each pair of sides, one of each kind of network; others differ in sizes alone."""
    kinds = set()
    for row in ROWS:
        for case in row.cases:
            kind = (row.ours, row.theirs, *(str(case.arguments.get(k)) for k in KINDS))
            if kind not in kinds:
                kinds.add(kind)
                yield pytest.param(row, case, id=f"{row.name}: {case.name}")


def made(side):
    return getattr(importlib.import_module(f"experiments.bench.{side.module}"), side.function)(
        **side.arguments
    )


# Both sides compute the same


@pytest.mark.slow
@pytest.mark.parametrize(("row", "case"), list(cases()))
def test_both_sides_compute_the_same_numbers(row, case, tmp_path):
    need(*row.needs)
    ours, theirs = ([*made(s).numbers(tmp_path)] for s in row.sides(case, quick=True))
    assert len(ours) == len(theirs) > 0
    assert np.isfinite(ours).all()
    assert pairs.difference(case, ours, theirs) <= pairs.TOLERANCE


def test_two_numbers_of_an_array_tell_a_wrong_one():
    v = np.arange(1.0, 13).reshape(3, 4)
    (log_norm, along) = inputs.in_short([v])
    assert log_norm == pytest.approx(0.5 * math.log(650))
    for wrong in (v[:, ::-1], v.T, np.where(v == 7, -7, v)):
        assert abs(inputs.in_short([wrong])[1] - along) > 1e-3


def test_a_difference_is_refused():
    (case,) = TINY.cases
    assert pairs.difference(case, [1.0, 2.0], [1.0, 2.0005]) == pytest.approx(0.0005)
    for ours, theirs in (([1.0], [1.2]), ([1.0], [math.nan]), ([1.0], [1.0, 1.0]), ([], [])):
        with pytest.raises(SideError, match="tiny: both sides do not compute the same"):
            pairs.difference(case, ours, theirs)


# The table


def test_rows_and_cases_have_names_of_their_own():
    assert len({row.name for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert len({case.name for case in row.cases}) == len(row.cases)


def test_rows_need_the_packages_that_their_peers_import():
    for row in ROWS:
        imported = OWN.get(row.theirs.split(".")[0], set()) & {"torch"}
        imported |= {"matplotlib"} if row.theirs == "of_torch.depth" else set()
        assert set(row.needs) == imported


@pytest.fixture
def sides(monkeypatch):
    """Processes whose first repetition takes 8 times what the others take."""

    @contextlib.contextmanager
    def started(side, folder, *more):
        unit = {"ours": 1.0, "theirs": 4.0}[side.module]
        seconds = iter([8 * unit])

        def ask(word):
            if word == "seconds":
                return next(seconds, unit)
            return [1.0]

        yield ask

    monkeypatch.setattr(pairs, "started", started)


@pytest.mark.parametrize(("kind", "ours"), [("warm", 1.0), ("first", 8.0)])
def test_a_ratio_is_our_seconds_over_theirs(kind, ours, sides):
    row = Row("one", "w", "a", kind, "ours.x", "theirs.x", TINY.cases)
    pair = pairs.measure(row, row.cases[0], pairs=3, quick=True)
    assert (pair["ours"], pair["theirs"], pair["ratio"]) == (ours, 4 * ours, 0.25)
    assert pair["pairs"] == 3


@pytest.mark.parametrize(("goal", "holds"), [(0.3, True), (0.25, True), (0.2, False)])
def test_a_goal_is_met_up_to_its_number(goal, holds, sides, monkeypatch):
    monkeypatch.setattr(experiment, "ROWS", [replace(TINY, cases=(Case("tiny", goal),))])
    cell = experiment.Cell("one", "tiny")
    table = experiment.measure_case(experiment.Settings(), cell)
    schema.check(table, bench_report.COLUMNS)
    assert table["holds"].to_list() == [holds]


def test_sides_take_turns():
    order = []
    clock = iter(range(100))

    def side(name):
        def seconds():
            order.append(name)
            return float(next(clock))

        return seconds

    times = pairs.in_turns(3, side("ours"), side("theirs"))
    assert order == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert times == [(0.0, 1.0), (3.0, 2.0), (4.0, 5.0)]


def measured(name, case, ratio, goal, **more):
    outcome = {"row": name, "case": case, "ratio": ratio, "goal": goal, "holds": ratio <= goal}
    about = {"workload": "w", "against": "a", "kind": "warm", "pairs": 7, "ours": 2e-3}
    row = {**outcome, **about, "ratio_low": ratio, "ratio_high": ratio, **more}
    dtypes = {name: column.dtype for name, column in bench_report.COLUMNS.items()}
    return pl.DataFrame({name: [row.get(name)] for name in dtypes}, dtypes)


def test_a_row_that_misses_a_goal_says_which(snapshot):
    x, y, z = (Case(name, 1.0) for name in "xyz")
    of_cases = {"one": (x, y), "two": (z,), "three": (z, x), "four": (x, z), "five": (z,)}
    known = [Row(name, "w", "a", "warm", "", "", cases) for name, cases in of_cases.items()]
    known[0] = replace(known[0], overall=1.0)
    good, bad = measured("one", "x", 0.5, 1.03), measured("one", "y", 2.5, 1.03)
    others = measured("two", "z", 0.25, 0.5), measured("three", "z", 0.25, 0.5)
    rows = pl.concat([good, bad, *others, measured("four", "x", 9, 1)])
    assert bench_report.verdicts(rows, known) == snapshot
    assert bench_report.overall(pl.concat([good, bad])) == pytest.approx(math.sqrt(1.25))


def test_times_have_a_unit_that_suits_them():
    assert [bench_report.amount(v) for v in (12.345, 0.0123, 4.5e-6, None)] == [
        *("12.3 s", "12.3 ms", "4.5 µs", "–")
    ]


# As a user calls it


@pytest.mark.slow
def test_a_run_leaves_rows_and_the_machine(tmp_path, capsys):
    need("torch")
    out = tmp_path / "run"
    assert main([*CHEAP, "--out", str(out)]) == 0
    assert "torch_flow of a TransformerEncoder / plain hooks" in capsys.readouterr().out
    table = pl.read_parquet(out / "rows.parquet")
    schema.check(table, bench_report.COLUMNS)
    assert (table["difference"] < pairs.TOLERANCE).all()
    about = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert about["machine"]["cores"] == cores()
    assert {"processor", "peers"} <= set(about["machine"])
    assert main(["show", str(out)]) == 0
    assert "24 blocks of 256" in capsys.readouterr().out


@pytest.mark.slow
def test_a_warm_pair_in_processes_of_their_own():
    row = next(row for row in ROWS if row.name == "gradient")
    pair = pairs.measure(row, row.cases[0], pairs=3, quick=True)
    assert pair["pairs"] == 3
    assert 0 < pair["ratio_low"] <= pair["ratio"] <= pair["ratio_high"]


@pytest.mark.parametrize("module", ["nothing_there", "of_jax"])
def test_a_process_that_fails_says_why(module, tmp_path):
    words = {"nothing_there": r"needs .*nothing_there, .*\.\[bench\]", "of_jax": "TypeError"}
    with (
        pytest.raises(SideError, match=words[module]),
        pairs.started(Side(module, "gradient", {}), tmp_path),
    ):
        pass


def test_a_missing_peer_is_one_sentence(monkeypatch, capsys, tmp_path):
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "torch" else there(n))
    assert main(["bench", "--row", "torch-flow", "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err == (
        f"error: row: the peers need torch, which is not installed; {install_command('bench')}, or "
        "choose rows without them by --row\n"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_no_peer_is_imported_by_the_command_line():
    code = (
        "import sys; from experiments.__main__ import read; read(['bench']); "
        "print({'torch', 'equinox', 'flax'} & set(sys.modules))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=pairs.ROOT
    )
    assert answer.stdout.strip() == "set()"


@pytest.mark.parametrize(
    "module",
    ["commands", "ours", *(pytest.param(f"of_{of}", marks=pytest.mark.slow) for of in PEERS)],
)
def test_the_process_of_a_side_imports_no_library_but_its_own(module):
    need(*OWN[module] & {"torch"})
    code = (
        f"import sys, experiments.bench.worker, experiments.bench.{module}\n"
        f"print(*{LIBRARIES} & set(sys.modules))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=pairs.ROOT
    )
    assert {*answer.stdout.split()} == OWN[module]


def test_the_same_number_of_threads_and_no_cache(monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "somewhere")
    given = pairs.environment()
    assert given["OMP_NUM_THREADS"] == given["OPENBLAS_NUM_THREADS"] == str(cores())
    assert given["JAX_ENABLE_COMPILATION_CACHE"] == "false"
    assert "JAX_COMPILATION_CACHE_DIR" not in given


def test_the_table_on_the_terminal(snapshot):
    """All of it fits into 80 characters: a long name is wrapped, numbers are not cut."""
    console, name = Console(width=80, record=True), "64-256-256-256-10, batch 128"
    console.print(bench_report.table(measured("one", name, 0.0123, 1 / 25, theirs=2.0)))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert text == snapshot
