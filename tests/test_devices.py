"""One sweep on many devices: the rows are those of one."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from problems import as_users_have_jax

from experiments.__main__ import main
from experiments.pages import charts, run_page

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
TABLE = "table.csv"  # small; the bundled sets need scikit-learn, which is long to import
SWEEP = ["depth", "--data", TABLE, "--target", "y", "--width", "9", "--seeds", "5", "--quiet"]
SMALL = ["--depths", "1", "3", "--activations", "relu"]
# Pictures take as long as all the rest of a small run.
UNDRAWN = """
import sys
from experiments.pages import charts, run_page
charts.begin = lambda figure, stem: dict
run_page.Html.written = lambda self, *more: ""
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
        patch.setattr(run_page.Html, "written", lambda self, *more: "")
        assert main([*arguments, "--no-cache"]) == 0
    return pl.read_parquet(out / "rows.parquet")


def test_three_devices_measure_what_one_does(tmp_path, environment, expected):
    """Five seeds: two of the devices have the fourth, and divide its depths."""
    out = tmp_path / "run"
    three = {**environment, "JAX_NUM_CPU_DEVICES": "3"}
    command = [sys.executable, "-c", UNDRAWN, *SWEEP, *SMALL, "--out", str(out)]
    subprocess.run(command, cwd=environment["HOME"], env=three, check=True, timeout=300)
    rows = pl.read_parquet(out / "rows.parquet")
    assert len(json.loads((out / "run.json").read_text())["devices"]) == 3
    assert rows.equals(expected)
