"""Training that is killed or stopped, as a user calls it: the final network is the same.

Long: `python -m pytest -m slow`. Each test is of processes of their own.
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

from experiments.learning import model
from experiments.runs.store import PARTS, ROWS, RUN
from experiments.train import experiment as train

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
EPOCHS = 60
TRAIN = [
    *("train", "--data", "digits", "--hidden", "4x32", "--epochs", str(EPOCHS), "--looks", "5"),
    *("--optimizer", "adamw", "--checkpoint", "0"),
]


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    """One cache of compiled programs for all tests."""
    cache = tmp_path_factory.mktemp("cache")
    return {**os.environ, "XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, env):
    """The folder of a run that nothing happened to."""
    out = tmp_path_factory.mktemp("whole") / "run"
    with started(out, env) as process:
        _, error = process.communicate(timeout=600)
    assert (process.returncode, error) == (0, "")
    return out


def started(out, env, *more):
    arguments = [sys.executable, "-m", "experiments", *TRAIN, "--quiet", *more, "--out", str(out)]
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


def test_kills_and_a_signal_change_nothing(tmp_path, env, whole):
    """Kills at random moments, while epochs are done and while checkpoints are written."""
    rng, out = random.Random(5), tmp_path / "run"
    for _ in range(2):
        before = epochs_kept(out)
        with started(out, env) as process:
            waited(process, out, before + 3)
            time.sleep(rng.uniform(0, 0.15))
            process.kill()
            _, error = process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert error == ""  # which would say that a checkpoint is broken
        assert before < epochs_kept(out) < EPOCHS
    before = epochs_kept(out)
    with started(out, env) as process:
        waited(process, out, before + 3)
        process.send_signal(signal.SIGTERM)
        said, error = process.communicate(timeout=300)
    assert process.returncode == 130
    assert train.STOPPING in error
    assert "stopped; the same command again goes on" in error
    assert "Stopped after epoch" in said
    rows = pl.read_parquet(out / ROWS)
    assert before + 3 <= rows["epoch"].max() == epochs_kept(out) < EPOCHS
    with started(out, env) as process:
        _, error = process.communicate(timeout=600)
    assert (process.returncode, error) == (0, "")
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
