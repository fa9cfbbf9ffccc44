"""The comparison with scikit-learn: the same rows for both, medians and their verdicts."""

import json
import re
import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import polars as pl
import pytest
from scipy import stats
from sklearn import neural_network

import jaxnn
from experiments.__main__ import main
from experiments.learning import data, splits
from experiments.pages import charts
from experiments.peers import columns, picture, report
from experiments.peers import experiment as peers
from experiments.peers.report import OURS, THEIRS
from experiments.runs import schema, store

pytestmark = pytest.mark.usefixtures("users_jax")

SMALL = [
    *("peers", "--data", "wine", "diabetes", "--hidden", "8", "--epochs", "30", "--seeds", "2"),
    *("--batch", "32", "--rate", "0.01", "--quiet", "--no-cache"),
]


def rows_of(ours, theirs, name="wine"):
    frame = {"data": name, "metric": "accuracy", "seconds": 1.0}
    return pl.concat(
        pl.DataFrame({**frame, "library": library, "seed": range(len(values)), "value": values})
        for library, values in ((OURS, ours), (THEIRS, theirs))
    ).select(*columns.COLUMNS)


@pytest.mark.slow
def test_both_are_tested_on_the_rows_that_neither_has_seen(tmp_path, monkeypatch, capsys):
    seen = []
    fit, mlp = peers.jaxnn.fit, neural_network.MLPClassifier.fit

    def ours(net, params, xs, ys, *more, **named):
        seen.append((xs, ys))
        return fit(net, params, xs, ys, *more, **named)

    def theirs(self, xs, ys):
        seen.append((xs, ys))
        fitted = mlp(self, xs, ys)
        assert self.n_iter_ == 30  # no early stop
        assert [c.shape for c in self.coefs_] == [(13, 8), (8, 3)]
        return fitted

    monkeypatch.setattr(peers.jaxnn, "fit", ours)
    monkeypatch.setattr(neural_network.MLPClassifier, "fit", theirs)
    plan = peers.prepare(
        peers.Settings(data=("wine",), hidden=(8,), epochs=30, batch=32, seeds=1, rate=0.01)
    )
    rows = peers.train_both(plan, plan.cells[0])
    schema.check(rows, columns.COLUMNS)
    (x, y), (other_x, other_y) = seen
    assert (x == other_x).all()
    assert (y == other_y).all()
    part = splits.split(data.table("wine"), 0, 0.25, 0)
    assert (x == part.training.x).all()
    assert rows["value"].to_numpy().min() > 0.8


@pytest.mark.parametrize(("activation", "name"), peers.ACTIVATIONS.items())
def test_both_start_from_the_same_distribution(activation, name, key):
    net = jaxnn.Network((200, 300, 100), activation, "regression")
    theirs = neural_network.MLPRegressor(
        hidden_layer_sizes=(300,), activation=name, max_iter=1, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # A step of 0 leaves what was drawn.
        theirs.set_params(learning_rate_init=1e-12).fit(np.ones((2, 200)), np.ones((2, 100)))
    for layer, theta, b in zip(
        peers.start(net, key), theirs.coefs_, theirs.intercepts_, strict=True
    ):
        assert layer.theta.shape == theta.shape
        assert np.max(np.abs(layer.theta)) == pytest.approx(np.max(np.abs(theta)), rel=0.01)
        assert np.std(layer.theta) == pytest.approx(np.std(theta), rel=0.05)
        assert np.max(np.abs(layer.b)) == pytest.approx(np.max(np.abs(b)), rel=0.15)
        assert np.std(layer.b) == pytest.approx(np.std(b), rel=0.3)


@pytest.mark.slow
def test_the_run_is_whole_and_goes_by_paired_differences(tmp_path, capsys):
    out = tmp_path / "run"
    code = main([*SMALL, "--out", str(out)])
    rows = pl.read_parquet(out / store.ROWS)
    assert rows.height == 2 * 2 * 2
    assert rows.filter(pl.col("data") == "diabetes")["metric"].unique().to_list() == ["R²"]
    assert code == int(any(map(report.is_lower, report.summary(rows).rows(named=True))))
    says = json.loads((out / store.RUN).read_text())
    assert says["finished"]
    assert len(says["verdicts"]) == 2
    assert (out / "peers.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        # Differences of -0.1, 0 and -0.05: two standard errors are 0.058.
        ([0.6, 0.7, 0.6], [0.7, 0.7, 0.65], "no difference, median accuracy 0.6000 of jaxnn"),
        ([0.6, 0.6, 0.6], [0.7, 0.69, 0.71], "wine: lower, median accuracy 0.6000 of jaxnn, 0.7"),
        ([0.9, 0.9, 0.91], [0.7, 0.69, 0.71], "wine: higher"),
        ([0.7, 0.7], [0.7, 0.7], "no difference"),
        ([0.1], [0.7], "one seed does not tell them apart"),
        ([-9e120, -9e120], [0.7, 0.7], "lower, median accuracy -9e+120 of jaxnn, 0.7000 of scikit"),
    ],
)
def test_the_verdict_is_one_sentence(ours, theirs, words):
    (row,) = report.summary(rows_of(ours, theirs)).rows(named=True)
    assert words in report.sentence(row)
    assert report.is_lower(row) == ("lower" in words)
    if len(ours) > 1:
        test = stats.ttest_rel(ours, theirs) if np.ptp(np.subtract(ours, theirs)) else None
        if test is not None:
            assert row["difference"] / row["error"] == pytest.approx(test.statistic)
    assert report.table(rows_of(ours, theirs)).row_count == 1


def test_networks_that_blow_up_are_shown(monkeypatch):
    """Each library has an error of its own for it."""
    plan = peers.prepare(peers.Settings(data=("wine",), hidden=(2,), epochs=2, seeds=1))
    plan = replace(plan, settings=replace(plan.settings, rate=1e300))  # floats of 64 bits hold 1e38

    def fit(*_, **__):
        raise jaxnn.errors.NonFiniteError("the loss is inf", 0, "signal", 1, None, np.zeros((0, 0)))

    monkeypatch.setattr(peers.jaxnn, "fit", fit)
    rows = peers.train_both(plan, plan.cells[0])
    schema.check(rows, columns.COLUMNS)
    assert rows["value"].is_nan().all()
    conclusion = peers.conclude(plan, [rows])
    assert conclusion.failure is None
    assert conclusion.verdicts == [
        "wine: no comparison, 1 network of jaxnn left the range of floats and 1 network of "
        "scikit-learn left the range of floats; try a smaller --rate"
    ]
    assert report.table(rows).row_count == 1


def test_seeds_without_both_networks_are_left_out():
    (row,) = report.summary(rows_of([np.nan, 0.6, 0.6], [0.7, 0.7, 0.7])).rows(named=True)
    assert (row["seeds"], row["difference"]) == (2, pytest.approx(-0.1))
    assert report.sentence(row).endswith(
        "over 2 seeds, 2 standard errors count; 1 network of jaxnn left the range of floats"
    )


@pytest.mark.slow  # a picture
def test_a_panel_has_its_own_table_alone():
    """Names are part of an expression, so that a quote in one must not end it."""
    name = "a'\"b.csv"
    rows = pl.concat([rows_of([0.5], [0.7]), rows_of([0.25], [0.125], name=name)])
    svg = charts.rendered(picture.figure(rows, "how"), "peers")["peers.svg"].decode()
    points = re.findall('aria-label="accuracy: ([0-9.]+); library: ([a-z-]+); seed', svg)
    assert points == [("0.5", OURS), ("0.7", THEIRS), ("0.25", OURS), ("0.125", THEIRS)]


def test_lower_beyond_the_noise_is_exit_code_one(tmp_path, capsys, monkeypatch):
    wrong = {"jaxnn_predictions": 9, "sklearn_predictions": 3}  # of the rows held out

    def guess(name, _, table, parts, seed):
        y, count = parts.test.y.copy(), wrong[name] + seed
        y[:count] = (y[:count] + 1) % 3 if table.name == "wine" else 0
        return y

    for name in wrong:
        monkeypatch.setattr(peers, name, partial(guess, name))
    assert main([*SMALL, "--out", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    assert "wine: lower, median accuracy 0.7889 of jaxnn, 0.9222 of scikit-learn" in error
    assert "-0.1333 ± 0.0000 over 2 seeds" in error
    assert (tmp_path / "run" / store.ROWS).exists()
