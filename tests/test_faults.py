"""Sweeps that are killed, stopped, out of space or started twice, as a user calls them.

Long: `python -m pytest -m slow`. What is killed, stopped or drawn on a terminal is a process of
its own; what only goes on, or only ends, is a call of `main` here, which starts in no time.
"""

import contextlib
import json
import logging
import os
import pty
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from problems import as_users_have_jax

from experiments.__main__ import main
from experiments.pages import charts, run_page
from experiments.runs.store import PARTS, ROWS, RUN

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("users_jax")]

ROOT = Path(__file__).parent.parent
CELLS = 75  # many cheap ones, of few compiled programs
TABLE = "table.csv"  # small; the bundled sets need scikit-learn, which is long to import
ONE = f"depth --data {TABLE} --target y --activations tanh --width 4 --batch 8"
SWEEP = f"{ONE} --depths 2 --sigma-w 1:2.48:0.02 --seeds 1".split()
FEW = f"{ONE} --depths 1:2:1 --sigma-w 1:2.25:0.25".split()
GOES_ON = "stopped; the same command again goes on"
STOPPING = "stopping when this cell is done; again to stop now"

# Pictures take as long as all the rest of a small run.
UNDRAWN = """
import sys
from experiments.pages import charts, run_page
charts.begin = lambda figure, stem: dict
run_page.Html.written = lambda self, *more: ""
"""
PROGRAM = """
from experiments.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
# The same program with a cell that takes its time: {pause} comes before a measurement.
SLOW = """
import time
import jax
from experiments import __main__
from experiments.depth.cells import DepthSweep
measure = DepthSweep.measure
def slow(self, cell):
    print("begin", file=sys.__stdout__, flush=True)
    {pause}
    rows = measure(self, cell)
    print("end", file=sys.__stdout__, flush=True)
    return rows
DepthSweep.measure = slow
sys.exit(__main__.main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    """A home for all tests: a table, and one cache of compiled programs."""
    home = tmp_path_factory.mktemp("home")
    write_table(home / TABLE)
    own = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "PYTHONPATH": str(ROOT)}
    return {**os.environ, **own}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, env):
    """The folder of a sweep that nothing happened to."""
    out = tmp_path_factory.mktemp("whole") / "run"
    with as_users_have_jax(), contextlib.chdir(env["HOME"]):
        assert main([*SWEEP, "--out", str(out), "--no-cache", "--quiet"]) == 0
    assert len(parts(out)) == CELLS
    return out


@pytest.fixture
def undrawn(monkeypatch):
    """No pictures and no report, as `UNDRAWN`."""
    monkeypatch.setattr(charts, "begin", lambda figure, stem: dict)
    monkeypatch.setattr(run_page.Html, "written", lambda self, *more: "")


@pytest.fixture
def here(env, capfd, monkeypatch):
    """Run a command in this process; its exit code, and what it wrote to stderr."""

    def call(arguments, out, *more):
        capfd.readouterr()
        monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's, which take the log
        with contextlib.chdir(env["HOME"]):
            code = main([*arguments, "--out", str(out), "--no-cache", *more])
        return code, capfd.readouterr().err

    return call


def write_table(path):
    """Two features and two classes."""
    x = pl.Series("x", range(40)) * 7 % 41  # in no order: nothing that counts the rows
    pl.DataFrame({"x": x, "square": (x - 20) ** 2, "y": (x % 7 > 3).cast(int)}).write_csv(path)


def command(arguments, out, code=None):
    program = ["-m", "experiments"] if code is None else ["-c", code]
    return [sys.executable, *program, *arguments, "--out", str(out)]


def started(arguments, out, env, *more, code=None, **options):
    """The process, with pipes for what it says."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    return subprocess.Popen(
        command([*arguments, *more], out, code), cwd=env["HOME"], env=env, **pipes
    )


@contextlib.contextmanager
def killed_at_the_end(process):
    """Kill a process that would run for ever if a test failed."""
    try:
        yield
    finally:
        process.kill()


def parts(out):
    """The whole ones."""
    return {path.name for path in (out / PARTS).glob("[0-9]*.parquet")}


def waited_for_parts(process, out, count):
    """Until that many are there; False where the process has ended before."""
    deadline = time.monotonic() + 120
    while len(parts(out)) < count:
        if process.poll() is not None:
            return False
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return True


def assert_whole(out, whole):
    """The results of the uninterrupted run, to the last bit, and nothing half."""
    assert (out / ROWS).read_bytes() == (whole / ROWS).read_bytes()
    assert parts(out) == parts(whole)  # the names hold checksums
    assert json.loads((out / RUN).read_text())["finished"]
    assert {p.name for p in out.iterdir()} == {p.name for p in whole.iterdir()}
    assert not list(out.rglob(".unfinished*"))


def killed(out, env, awaited, delay, code=None):
    """Starts the sweep, and kills it so many seconds after so many parts are there."""
    with started(SWEEP, out, env, "--quiet", code=code) as process:
        assert waited_for_parts(process, out, awaited)
        time.sleep(delay)
        process.kill()
        _, error = process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert error == ""  # which would say that a part is broken


def test_a_kill_loses_nothing(tmp_path, env, whole, here, undrawn):
    """At a random moment while cells are measured."""
    rng, out = random.Random(20), tmp_path / "run"
    killed(out, env, rng.randint(1, 4), rng.uniform(0, 0.02), code=UNDRAWN + PROGRAM)
    assert parts(out) <= parts(whole)
    there = len(parts(out))
    assert 0 < there < CELLS
    code, error = here(SWEEP, out)
    assert code == 0
    assert f"{there} of {CELLS} cells are there already" in error
    assert (out / ROWS).read_bytes() == (whole / ROWS).read_bytes()
    assert parts(out) == parts(whole)  # the names hold checksums


def test_a_kill_after_the_last_cell_loses_nothing(tmp_path, env, whole, here):
    """While rows, charts and report are written."""
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    last = out / PARTS / max(parts(whole))
    for path in {last, *out.glob("[!.]*.*")} - {out / RUN}:
        path.unlink()
    killed(out, env, CELLS, delay=0.4)
    for path in {*out.glob("[!.]*.*")} & {out / ROWS, out / "gradients.png"}:
        assert path.read_bytes() == (whole / path.name).read_bytes()  # or it is not there
    assert here(SWEEP, out, "--quiet") == (0, "")
    assert_whole(out, whole)


def test_a_second_signal_stops_at_once(tmp_path, env):
    """Also while XLA computes, for ever here; and the view gives the cursor back."""
    pause = "jax.lax.while_loop(lambda x: x < 1, lambda x: x / 2, 0.5).block_until_ready()"
    code = UNDRAWN + SLOW.format(pause=pause)
    process, terminal = on_a_terminal(FEW, tmp_path, env, code=code)
    with process, killed_at_the_end(process):
        assert process.stdout.readline() == "begin\n"
        time.sleep(3)  # compiled by then
        process.send_signal(signal.SIGINT)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        sent = time.monotonic()
        text = read_all(terminal)
        process.communicate(timeout=60)
    assert time.monotonic() - sent < 5
    assert process.returncode == 130
    assert STOPPING in text
    assert GOES_ON in text
    assert "Traceback" not in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert not parts(tmp_path)


def test_ctrl_c_while_drawing(tmp_path, env, here, undrawn):
    with started(FEW, tmp_path, env, "--quiet") as process:
        assert waited_for_parts(process, tmp_path, 6)
        while not (tmp_path / ROWS).exists():
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (130, f"{GOES_ON}\n")
    assert here(FEW, tmp_path)[0] == 0


@contextlib.contextmanager
def files_of_at_most(limit):
    """Let no file of this process grow larger than that many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk(tmp_path, whole, here):
    """A limit to the size of files stops it at a larger file each time."""
    size = max(path.stat().st_size for path in (whole / PARTS).iterdir())
    rows = (whole / ROWS).stat().st_size
    assert rows > size + 1000
    smallest = min(path.stat().st_size for path in (whole / PARTS).iterdir())
    steps = [
        ((smallest + size) // 2, rf"{PARTS}/.*\.parquet"),
        (size + 1000, ROWS),
        (rows + 1000, r"gradients\.\w+"),
    ]
    done = set()
    for limit, name in steps:
        with files_of_at_most(limit):
            code, error = here(SWEEP, tmp_path, "--quiet")
        assert code == 1
        sentence = rf"error: out: cannot write {tmp_path}/{name}: File too large\n"
        assert re.fullmatch(sentence, error)
        assert not list(tmp_path.rglob(".unfinished*"))
        assert done <= parts(tmp_path) <= parts(whole)
        done = parts(tmp_path)
    assert done == parts(whole)
    assert here(SWEEP, tmp_path, "--quiet") == (0, "")
    assert_whole(tmp_path, whole)


def on_a_terminal(arguments, out, env, *more, code=None):
    """A process whose stderr is a pseudo-terminal, and the master's side of that."""
    ours, theirs = pty.openpty()
    env = {**env, "TERM": "xterm", "COLUMNS": "120"}
    process = started(arguments, out, env, *more, code=code, stderr=theirs)
    os.close(theirs)
    return process, ours


def read_all(handle):
    found = b""
    while True:
        try:
            found += (piece := os.read(handle, 65536))
        except OSError:  # how Linux ends it
            piece = b""
        if not piece:
            os.close(handle)
            return found.decode()
