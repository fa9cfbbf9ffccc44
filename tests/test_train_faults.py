"""Training that is killed or stopped, as a user calls it: the final network is the same.

Long: `python -m pytest -m slow`. What is killed or stopped is a process of its own; what only goes
on is a call of `main` here.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from problems import as_users_have_jax

from experiments.__main__ import main
from experiments.learning import model
from experiments.pages import charts, report
from experiments.runs.store import PARTS, ROWS, RUN
from experiments.train import experiment as train

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
EPOCHS = 60
TRAIN = [
    *("train", "--data", "digits", "--hidden", "4x32", "--epochs", str(EPOCHS), "--looks", "5"),
    *("--optimizer", "adamw", "--checkpoint", "0", "--quiet"),
]
# Pictures take as long as all the rest.
UNDRAWN = """
import sys
from experiments.pages import charts, report
charts.rendered = lambda figure, stem, page: {}
report.Html._written = lambda self, **more: ""
from experiments.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    """One cache of compiled programs for all tests."""
    cache = tmp_path_factory.mktemp("cache")
    return {**os.environ, "XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run that nothing happened to."""
    out = tmp_path_factory.mktemp("whole") / "run"
    run_here(out)
    return out


def run_here(out):
    with as_users_have_jax(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(charts, "rendered", lambda figure, stem, page: {})
        patch.setattr(report.Html, "_written", lambda self, **more: "")
        assert main([*TRAIN, "--no-cache", "--out", str(out)]) == 0


def started(out, env):
    arguments = [sys.executable, "-c", UNDRAWN, *TRAIN, "--out", str(out)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(arguments, cwd=ROOT, env=env, **pipes)


def epochs_kept(out):
    return max((int(path.name[:8]) for path in (out / PARTS).glob("[0-9]*")), default=0)


def waited(process, out, epochs):
    """Until a checkpoint of that many epochs is there."""
    deadline = time.monotonic() + 300
    while epochs_kept(out) < epochs:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)


def assert_same(out, whole):
    for name in (model.TORCH, model.FLAX, ROWS, train.FLOW, train.TEST):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    assert json.loads((out / RUN).read_text())["finished"]
    assert not list(out.rglob(".unfinished*"))
    assert {p.name for p in out.iterdir()} == {p.name for p in whole.iterdir()}


def test_a_kill_and_a_signal_change_nothing(tmp_path, env, whole, capfd):
    """A kill at a random moment, while epochs are done and while checkpoints are written."""
    out = tmp_path / "run"
    with started(out, env) as process:
        waited(process, out, 3)
        time.sleep(random.Random(5).uniform(0, 0.15))
        process.kill()
        _, error = process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert error == ""
    assert 0 < epochs_kept(out) < EPOCHS
    before = epochs_kept(out)
    with started(out, env) as process:
        waited(process, out, before + 3)
        process.send_signal(signal.SIGTERM)
        said, error = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "corrupt" not in error  # a checkpoint after the kill
    assert train.STOPPING in error
    assert "stopped; the same command again goes on" in error
    assert "Stopped after epoch" in said
    rows = pl.read_parquet(out / ROWS)
    assert before + 3 <= rows["epoch"].max() == epochs_kept(out) < EPOCHS
    capfd.readouterr()
    run_here(out)
    assert capfd.readouterr().err == ""
    assert_same(out, whole)


def test_a_full_disk_is_one_sentence(tmp_path, env):
    """A file size limit ends in one sentence, without a traceback of the checkpoint library."""
    limited = (
        "import resource, runpy, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))\n"
        "runpy.run_module('experiments', run_name='__main__')\n"
    )
    arguments = [
        "train",
        "--data",
        "iris",
        "--hidden",
        "2x64",
        "--epochs",
        "3",
        "--checkpoint",
        "0",
    ]
    arguments += ["--quiet", "--no-cache", "--out", str(tmp_path / "run")]
    answer = subprocess.run(
        [sys.executable, "-c", limited, *arguments],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    sentence = f"error: out: cannot write a checkpoint into {tmp_path}/run/parts: File too large\n"
    assert (answer.returncode, answer.stderr) == (1, sentence)
