"""The spectrum experiment: its numbers, its predictions, its files, its sentences."""

import json
import os
import subprocess
import sys
from functools import partial

import jax
import numpy as np
import polars as pl
import pytest
from problems import as_users_have_jax
from rich.console import Console

import jaxnn
from experiments.__main__ import main
from experiments.runs import schema, store
from experiments.spectrum import experiment as spectrum
from experiments.spectrum import picture, report
from experiments.spectrum.experiment import slope_variance

pytestmark = pytest.mark.usefixtures("users_jax")

SMALL = [
    *("spectrum", "--depths", "1", "3", "--activations", "relu", "--width", "8", "--seeds", "2"),
    *("--quiet", "--no-cache"),
]


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("spectra") / "run"
    with as_users_have_jax():
        assert main([*SMALL, "--out", str(out)]) == 0
    return out


def measured(**settings):
    texts = {
        name: tuple(map(str, value)) if isinstance(value, (tuple, list)) else value
        for name, value in settings.items()
    }
    plan = spectrum.prepare(spectrum.Settings(**texts))
    return pl.concat(spectrum.measure_cell(plan, cell) for cell in plan.cells)


@pytest.mark.slow
def test_the_measured_variance_is_the_predicted_one():
    """Law 7's tolerance: 15 %, of which finite width takes 5 %, 8 seeds a standard error of 3 %."""
    rows = measured(depths=(1, 4), activations=("identity", "relu"), width=90, seeds=8)
    summary = report.summary(rows)
    assert summary.height == 2 * 2 * 2
    for row in summary.rows(named=True):
        # Of θ and of σ′², each layer.
        layer = {"gaussian": 1, "orthogonal": 0}[row["weights"]] + (row["activation"] == "relu")
        expected = layer * row["depth"]
        assert row["predicted"] == pytest.approx(expected, rel=1e-5, abs=1e-6), row
        assert row["variance"] == pytest.approx(expected, rel=0.15, abs=1e-6), row
        assert row["error"] <= 0.06 * expected + 1e-6, row
        assert row["comparable"]


@pytest.mark.slow
def test_a_tanh_network_is_predicted_along_the_length_map():
    """Orthogonal, at criticality: q falls, and so does what each layer adds."""
    rows = measured(
        depths=(1, 4), activations=("tanh",), weights=("orthogonal",), width=90, seeds=8
    )
    first, last = report.summary(rows).rows(named=True)
    for row in (first, last):
        assert row["variance"] == pytest.approx(row["predicted"], rel=0.06), row
    assert 1.5 * first["predicted"] < last["predicted"] < 2 * first["predicted"]


def test_predictions_in_closed_form():
    """For erf all of it: σ′^2k = (4/π)^k exp(-2k z²), and the length map is an arcsine."""
    sigma_w, sigma_b, q = 1.7, 0.3, 2.0
    expected, total = [], 0.0
    for _ in range(6):
        total += (1 + 4 * q) / np.sqrt(1 + 8 * q) - 1
        expected.append(total)
        q = sigma_w**2 * 2 / np.pi * np.arcsin(2 * q / (1 + 2 * q)) + sigma_b**2
    variance = slope_variance("erf", sigma_w, sigma_b, 2.0, 6)
    np.testing.assert_allclose(variance, expected, rtol=1e-5)
    half = slope_variance("relu", 1.4, 0.1, 1.0, 6)
    np.testing.assert_allclose(half, np.arange(1, 7), rtol=1e-5)
    linear = slope_variance("identity", 1.0, 0.0, 1.0, 1000)
    np.testing.assert_allclose(linear, 0, atol=1e-9)


FAR = {"depths": (1000,), "activations": ("identity",), "width": 16, "seeds": 1}


@pytest.mark.slow
def test_linear_orthogonal_networks_keep_every_singular_value_at_one():
    rows = measured(weights=("orthogonal",), examples=1, **FAR)
    logs = np.array(rows["log10_singular_values"].to_list())
    assert logs.shape == (1, 16)
    np.testing.assert_allclose(logs, 0, atol=1000 * np.finfo(np.float32).eps)
    assert (rows["variance"] < 1e-9).all()


@pytest.mark.slow
def test_a_thousand_factors():
    """An SVD of their product finds zeros alone; the sum of the logs is the determinant's."""
    rows = measured(weights=("gaussian",), sigma_w=0.4, examples=1, **FAR)
    logs = np.array(rows["log10_singular_values"][0])
    assert np.isfinite(logs).all()
    assert np.all(np.diff(logs) <= 0)
    assert np.ptp(logs) > 200
    net = jaxnn.Network((16,) * 1002, "identity", "regression")
    key, _ = jax.random.split(jax.random.key(0))
    draw = partial(jaxnn.init, net, weights=jaxnn.initializers.gaussian(0.4), stacked=True)
    layers = jax.device_get(jax.jit(draw)(key))
    factors = np.concatenate([layers[1].theta, layers[2].theta[None]]).astype(np.float64)
    product = np.eye(16)
    for factor in factors:
        product = product @ factor
    assert not np.any(np.linalg.svd(product, compute_uv=False))
    log_det = np.sum(np.linalg.slogdet(factors)[1]) / np.log(10)
    assert logs.sum() == pytest.approx(log_det, abs=0.5)  # of -7000: float32 with these factors


@pytest.mark.slow
def test_a_shallower_network_is_the_start_of_a_deeper_one():
    """And both are the network that `jaxnn.init` draws with that σ_w and σ_b."""
    settings = {"activations": ("tanh",), "weights": ("orthogonal",), "width": 8, "seeds": 1}
    settings |= {"sigma_w": 1.5, "sigma_b": 0.2}
    both = measured(depths=(1, 3), **settings)
    alone = measured(depths=(1,), **settings)
    assert alone.equals(both.filter(pl.col("depth") == 1))
    key, key_x = jax.random.split(jax.random.key(0))
    xs = np.asarray(jax.random.normal(key_x, (2, 8)))
    xs = xs / np.sqrt(np.mean(xs**2, axis=1))[:, None]
    net = jaxnn.Network((8,) * 5, "tanh", "regression")
    draw = partial(
        jaxnn.init, net, weights=jaxnn.initializers.orthogonal(1.5), biases=0.2, stacked=True
    )
    expected = jax.jit(jaxnn.spectrum)((net, jax.jit(draw)(key)), xs)
    rows = both.filter(pl.col("depth") == 3)
    logs = np.array(rows["log10_singular_values"].to_list()) * np.log(10)
    np.testing.assert_allclose(logs, expected.log_singular_values, atol=2e-4)
    np.testing.assert_allclose(rows["variance"], expected.variance, rtol=1e-4)
    mean = np.mean(np.exp(2 * logs), axis=1)
    np.testing.assert_allclose(rows["log10_mean"], np.log10(mean), atol=1e-6)


@pytest.mark.slow
def test_a_run_is_whole_and_can_be_repeated_from_its_json(small_run):
    rows = pl.read_parquet(small_run / store.ROWS)
    schema.check(rows, report.COLUMNS)
    cells = rows.group_by("activation", "weights", "depth", "seed").len()
    assert (cells.height, {*cells["len"]}) == (2 * 2 * 2, {2})  # examples
    assert set(rows["log10_singular_values"].list.len()) == {8}
    # Width 8: predictions up to 2 can be compared with.
    assert (rows["comparable"] == (rows["predicted"] <= 2)).all()
    assert set(rows["comparable"]) == {True, False}
    run = json.loads((small_run / store.RUN).read_text())
    assert run["sigma_w"] == pytest.approx({"relu": 2**0.5}, abs=1e-5)
    assert len(run["verdicts"]) == 2
    assert measured(**run["what"]["settings"]).equals(rows)
    drawn = (small_run / f"{spectrum.CHART}.svg").read_text()
    for text in ("relu, orthogonal", "decades at depth 3", "relu: variance", "2 seeds"):
        assert text in drawn


def test_the_chart_shows_quantiles_and_where_an_svd_ends():
    logs = [*np.linspace(0, -10, 11), -np.inf]
    rows = pl.DataFrame(
        {"activation": "relu", "weights": "gaussian", "depth": 4, "log10_singular_values": [logs]}
    )
    quantiles = picture.quantiles(rows).row(0, named=True)
    shares = [quantiles[name] for name in picture.SHARES]
    assert shares == pytest.approx([-10, -9, -5, -1, 0])
    assert quantiles["resolved"] == pytest.approx(np.log10(2.0**-23))


def case(logs, variances, predicted=4.0, comparable=True, activation="relu", weights="gaussian"):
    """Jacobians of two singular values each, one a seed, at depth 4."""
    seeds = len(variances)
    return pl.DataFrame(
        {
            "activation": [activation] * seeds,
            "weights": [weights] * seeds,
            "depth": [4] * seeds,
            "seed": np.arange(seeds),
            "log10_singular_values": [logs] * seeds,
            "variance": pl.Series(variances, dtype=pl.Float64),
            "predicted": [predicted] * seeds,
            "comparable": [comparable] * seeds,
        }
    )


CASES = {
    "plain": case([0.0, -2.0], [3.8, 4.4]),
    "off": case([0.0, -2.0], [3.8, 4.4], predicted=5.2),
    "some zeros": case([0.0, -np.inf], [4.0]),
    "wide": case([0.0, -9.0], [60.0], 99.0, comparable=False),
    "zeros": case([-np.inf, -np.inf], [None, None]),
    "no numbers": case([np.nan, np.nan], [None]),
}


def test_verdicts_and_the_table(snapshot):
    verdicts = {name: report.sentence(report.case_of(rows)) for name, rows in CASES.items()}
    assert verdicts == snapshot
    assert all(report.table(rows).row_count == 3 for rows in CASES.values())
    console = Console(width=80, record=True)
    console.print(report.table(CASES["wide"]))
    assert console.export_text() == snapshot(name="wide")


def test_a_picture_has_spans_and_the_end_of_an_svd_where_a_case_reaches_it():
    """Those without numbers are drawn too."""
    no_numbers = CASES["no numbers"].with_columns(activation=pl.lit("tanh"))
    zeros = CASES["zeros"].with_columns(activation=pl.lit("sine"))
    near = case([0.0, -5.0], [4.0], weights="orthogonal")
    figure = picture.figure(pl.concat([CASES["wide"], near, no_numbers, zeros]), "what")
    said = figure.chart.to_json(validate=False, ensure_ascii=False)
    assert said.count("below: lost to an SVD in float32") == 1
    for text in ("9.0 decades at depth 4", "the forward pass leaves float32", "all are 0"):
        assert text in said


def test_zero_and_overflow_have_no_variance():
    settings = {"activations": ("relu",), "width": 8, "seeds": 1, "depths": (3,)}
    # z overflows, first, for it was while compiling that a warning came; and underflows.
    for sigma_w, value in ((1e30, np.nan), (1e-30, -np.inf)):
        rows = measured(sigma_w=sigma_w, **settings)
        np.testing.assert_array_equal(np.array(rows["log10_singular_values"].to_list()), value)
        assert rows["variance"].null_count() == len(rows) == 4
    unknown = rows.with_columns(predicted=pl.lit(np.nan))
    assert "nan" not in str(report.lines(report.summary(unknown), [3]))


@pytest.mark.slow
def test_the_command_line_as_a_user_calls_it():
    code = (
        "import os; from experiments.__main__ import main; "
        "print('LAPACK threads', os.environ['OPENBLAS_NUM_THREADS']); main(['--help'])"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    for text in ("LAPACK threads 1", "depth", "spectrum"):
        assert text in answer.stdout
