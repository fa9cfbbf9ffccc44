"""One sweep on many devices and in many processes: the rows are those of one device."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from problems import as_users_have_jax

from experiments.__main__ import main
from experiments.pages import charts, report

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
TABLE = "table.csv"  # small; the bundled sets need scikit-learn, which is long to import
SWEEP = ["depth", "--data", TABLE, "--target", "y", "--width", "9", "--seeds", "5", "--quiet"]
SMALL = ["--depths", "1", "3", "--activations", "relu"]
# Pictures take as long as all the rest of a small run.
UNDRAWN = """
import sys
from experiments.pages import charts, report
charts.begin = lambda figure, stem: dict
report.Html.written = lambda self, *more: ""
from experiments.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A home for all of them: a table, and one cache of compiled programs."""
    home = tmp_path_factory.mktemp("home")
    pl.DataFrame({"x": range(40), "y": [0, 1, 1, 0] * 10}).write_csv(home / TABLE)
    own = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "PYTHONPATH": str(ROOT)}
    return {**os.environ, **own, "JAX_PLATFORMS": "cpu"}


@pytest.fixture(scope="module")
def expected(tmp_path_factory, environment):
    """The rows of one device."""
    out = tmp_path_factory.mktemp("one") / "run"
    return run_here([*SWEEP, *SMALL, "--out", str(out)], environment, out)


def run_here(arguments, environment, out):
    """Rows of a sweep in this process, on its one device."""
    with (
        as_users_have_jax(),
        contextlib.chdir(environment["HOME"]),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(charts, "begin", lambda figure, stem: dict)
        patch.setattr(report.Html, "written", lambda self, *more: "")
        assert main([*arguments, "--no-cache"]) == 0
    return pl.read_parquet(out / "rows.parquet")


def start(program, arguments, count, environment):
    """The processes of one sweep on this machine."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    shared = ["--distributed", "--coordinator", f"localhost:{port}", "--processes", str(count)]
    return [
        subprocess.Popen(
            [sys.executable, *program, *arguments, *shared, "--process", str(i)],
            cwd=environment["HOME"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(count)
    ]


def test_three_devices_measure_what_one_does(tmp_path, environment, expected):
    """Five seeds: two of the devices have the fourth, and divide its depths."""
    out = tmp_path / "run"
    three = {**environment, "JAX_NUM_CPU_DEVICES": "3"}
    command = [sys.executable, "-c", UNDRAWN, *SWEEP, *SMALL, "--out", str(out)]
    subprocess.run(command, cwd=environment["HOME"], env=three, check=True, timeout=300)
    rows = pl.read_parquet(out / "rows.parquet")
    assert len(json.loads((out / "run.json").read_text())["devices"]) == 3
    assert rows.equals(expected)


def test_processes_share_a_sweep(tmp_path, environment, expected):
    """Two of them, for five seeds: one repeats a seed, and these rows are dropped."""
    count, out = 2, tmp_path / "run"
    processes = start(["-c", UNDRAWN], [*SWEEP, *SMALL, "--out", str(out)], count, environment)
    said = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0] * count, said
    assert pl.read_parquet(out / "rows.parquet").equals(expected)
    assert "relu, he_normal: " in said[0][0]
    for stdout, _ in said[1:]:  # one of them writes and speaks, beside what JAX talks through
        assert [line for line in stdout.splitlines() if not line.startswith("[Gloo] ")] == []


@pytest.mark.parametrize("program", [["-m", "experiments"], ["-c", UNDRAWN]], ids=["-m", "-c"])
def test_a_killed_worker_ends_the_others_and_the_sweep_goes_on(tmp_path, environment, program):
    out = tmp_path / "run"
    cells = ("--depths", "2", "--sigma-w", "1:2.15:0.05", "--activations", "tanh")
    sweep = [*SWEEP, *cells, "--out", str(out)]
    one, other = start(program, sweep, 2, environment)
    deadline = time.monotonic() + 240
    while len(list(out.glob("parts/*.parquet"))) < 3:
        assert time.monotonic() < deadline
        assert one.poll() is None
        time.sleep(0.1)
    other.kill()
    other.communicate()
    _, said = one.communicate(timeout=60)
    assert one.returncode == 1
    assert "error: distributed: process 0 has lost another one" in said
    assert "start all of them again, and the sweep goes on" in said
    assert "Traceback" not in said
    done = {path.name for path in out.glob("parts/*.parquet")}
    assert len(done) >= 3
    alone = run_here(sweep, environment, out)
    assert done < {path.name for path in out.glob("parts/*.parquet")}
    assert alone["weights"].n_unique() == 24


def test_processes_that_do_not_find_each_other_say_so(tmp_path, environment):
    arguments = [*SWEEP, "--distributed", "--out", str(tmp_path / "run")]
    answer = subprocess.run(
        [sys.executable, "-m", "experiments", *arguments],
        cwd=environment["HOME"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert answer.returncode == 2
    assert answer.stderr.startswith("error: distributed: the processes did not find each other")
    assert "Traceback" not in answer.stderr
