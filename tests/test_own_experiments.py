"""Experiments of the user's own: the guide's one from start to show, and mistakes in a file."""

import json
import math
import re
import sys
from pathlib import Path

import polars as pl
import pytest

import jaxnn
from experiments.__main__ import main
from experiments.pages import charts, names, web
from experiments.runs import store

pytestmark = pytest.mark.usefixtures("users_jax")

ROOT = Path(__file__).parent.parent
GUIDE = ROOT / "docs" / "guides" / "own-experiments.md"
SHORT, SPARSE = re.findall(
    r"^```python\n(.*?)^```", GUIDE.read_text("utf-8"), re.DOTALL | re.MULTILINE
)
SMALL = ("--depth", "2", "--seeds", "2", "--quiet", "--no-cache")
# Quick, and with a line of its own for each part that may go wrong.
MINE = """
from dataclasses import dataclass, field
from pathlib import Path

from experiments.runs import runtime
from experiments.runs.axes import Axes
from experiments.runs.schema import COUNT, REAL, Column

UNKNOWN = 3


@dataclass(frozen=True)
class Settings(runtime.Options):
    n: tuple[str, ...] = ("1", "2")
    seeds: int = 1
    seed: int = 0


def check(settings):
    return None


def measure(settings, n, seed):
    return {"half": n / 2}


def sentence(n, half):
    return "done"


EXPERIMENT = Axes(
    "Halves?", Settings, {"n": Column(COUNT, "1", "a number")},
    {"half": Column(REAL, "1", "half of it")}, measure, sentence, check,
).experiment()
"""


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Pictures and Vega take seconds."""
    monkeypatch.setattr(charts, "begin", lambda figure, stem: dict)
    monkeypatch.setattr(web, "library", lambda: "")


def written(folder, code, name="mine.py"):
    path = folder / name
    path.write_text(code, encoding="utf-8")
    return path


def asked(path, *more, name="EXPERIMENT"):
    out = ("--out", str(path.parent / "run"))
    return main([f"{path}:{name}", *out, "--quiet", "--no-cache", *more])


def said(capsys):
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_the_sweep_of_the_guide_finds_the_rate_of_sparse_weights():
    guide = {}
    exec(SHORT, guide)
    found = jaxnn.sweep(guide["build"], share=[1.0, 0.25], seed=range(3), depth=8, width=64)
    full, sparse = (cell.decades for cell in found.cells)
    assert abs(sparse - full - math.log10(0.25) / 2) < 0.05


@pytest.mark.slow
def test_the_experiment_of_the_guide_from_start_to_show(tmp_path, monkeypatch, capsys):
    path, run = written(tmp_path, SPARSE, "sparse.py"), tmp_path / "run"
    command = [f"{path}:EXPERIMENT", "--share", "1", "0.5", *SMALL, "--out", str(run)]
    flow, calls = jaxnn.gradient_flow, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 3:  # in the second cell
            raise KeyboardInterrupt
        return flow(*arguments)

    before = [*sys.path]
    monkeypatch.setattr(jaxnn, "gradient_flow", interrupted)
    assert main(command) == 130
    assert "1 of 2 cells measured. Not measured (? in tables and maps): share 0.5." in (
        capsys.readouterr().out
    )
    show = ["show", str(run), "--experiment", f"{path}:EXPERIMENT"]
    assert main(show) == 0
    assert "The run was stopped" in capsys.readouterr().out
    assert main(command) == 0
    assert len(calls) == 3 + 2  # the first cell was stored
    rows = pl.read_parquet(run / store.ROWS)
    assert rows.select("share", "seed").rows() == [(1, 0), (1, 1), (0.5, 0), (0.5, 1)]
    says = json.loads((run / store.RUN).read_text("utf-8"))
    assert says["finished"]
    assert says["what"]["experiment"] == "sparse.py:EXPERIMENT"
    assert says["what"]["settings"]["share"] == ["1", "0.5"]
    mean = rows.filter(pl.col("share") == 0.5)["rate"].mean()
    verdict = f"share 0.5: {mean:+.3f} decades, expected -0.151"
    assert says["verdicts"][1] == verdict
    page = (run / names.REPORT).read_text("utf-8")
    assert verdict in page
    assert "sparse.py:EXPERIMENT" in page
    capsys.readouterr()
    assert main(show) == 0
    shown = capsys.readouterr().out
    assert verdict in shown
    of_one = rows.filter(pl.col("share") == 1)["rate"].mean()
    assert ["rate", f"{of_one:.4g}", f"{mean:.4g}"] in map(str.split, shown.splitlines())
    assert "has changed" not in shown
    assert sys.path == before
    assert "diagnosed" not in sys.modules


def test_the_help_of_a_file_has_its_settings(tmp_path, capsys):
    path = written(tmp_path, SPARSE, "sparse.py")
    with pytest.raises(SystemExit):
        main([f"{path}:EXPERIMENT", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "[OPTIONS] Does a sparse relu network keep its gradient? The gradient of" in text
    assert "Shares of the weights that are not zero." in text


@pytest.fixture
def run(tmp_path, capsys):
    """The folder of a finished run of `MINE`, in mine.py next to it."""
    assert asked(written(tmp_path, MINE)) == 0
    capsys.readouterr()
    return tmp_path / "run"


def shown(run, path):
    return main(["show", str(run), "--experiment", f"{path}:EXPERIMENT"])


def test_a_file_that_has_changed_is_shown_and_not_gone_on_with(run, capsys):
    path = written(run.parent, MINE.replace('"done"', '"over"'))
    assert shown(run, path) == 0
    assert "mine.py has changed since this run." in capsys.readouterr().out
    assert asked(path) == 2
    assert re.search(r"holds another run \(experiment_sha256 \w+ there, \w+ now\)", said(capsys))


def test_a_file_that_no_longer_has_the_experiment_is_one_sentence(run, capsys):
    path = written(run.parent, MINE.replace("EXPERIMENT = ", "OTHER = "))
    assert shown(run, path) == 2
    assert said(capsys) == (
        f"error: experiment: {path} has no EXPERIMENT; the experiments in it are OTHER"
    )


def test_a_folder_runs_no_code(run, capsys):
    """Whatever its run.json names, it is run if the user names it."""
    path = written(run.parent, f"{MINE}\nPath(__file__).with_name('ran').touch()\n")
    assert main(["show", str(run)]) == 2
    assert said(capsys) == (
        f"error: runs: {run / store.RUN} is of mine.py:EXPERIMENT, in a file of your own; say "
        "where with --experiment FILE.py:NAME, and its code is run"
    )
    assert not (run.parent / "ran").exists()
    assert shown(run, path.rename(path.with_name("moved.py"))) == 0
    assert (run.parent / "ran").exists()
    assert "done" in capsys.readouterr().out


MISTAKES = (  # in the file, before anything is measured
    *(("ABSENT", "", ""), ("UNKNOWN", "", "")),
    (None, "seed: int = 0", "seed: int = "),
    *((None, "UNKNOWN = 3", new) for new in ("import absent_", "1 / 0")),
    (None, "(runtime.Options)", ""),
    (None, "seed: int = 0", "x: 'Absent' = 0"),
    *((None, "seed: int = 0", f"x: int = {new}") for new in ("field(kw_only=True)", "1 / 0")),
    *((None, "return None", new) for new in ("int('a')", "absent", "raise ValueError('n: no')")),
    (None, '("1", "2")', '("x",)'),
)
WHILE_MEASURED = (
    *(('return {"half": n / 2}', new) for new in ("[][1]", "open('absent')")),
    ('return {"half": n / 2}', "raise RuntimeError('no')"),
    ('return "done"', "return 1 / 0"),
)


def test_a_mistake_is_one_sentence_with_its_line(tmp_path, capsys, snapshot):
    sentences = []
    for name, old, new in MISTAKES:
        path = written(tmp_path, MINE.replace(old, new) if old else MINE)
        assert asked(path, name=name or "EXPERIMENT") == 2, (name, new)
        sentences.append(said(capsys))
    assert not (tmp_path / "run").exists()
    for i, (old, new) in enumerate(WHILE_MEASURED):
        path = written(tmp_path, MINE.replace(old, new))
        assert asked(path, "--out", str(tmp_path / str(i))) == 1, new
        sentences.append(said(capsys))
    assert "diagnosed" not in sys.modules
    assert "\n".join(sentences).replace(f"{tmp_path}/", "") == snapshot


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["mine.py"], "experiment: expected FILE.py:NAME, an Experiment in a file, got mine.py"),
        (["no/mine.py:E"], "experiment: cannot read no/mine.py: No such file or directory"),
    ],
)
def test_a_file_that_is_not_there_is_one_sentence(arguments, sentence, capsys):
    assert main(arguments) == 2
    assert said(capsys) == f"error: {sentence}"
