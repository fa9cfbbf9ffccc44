"""The map of trainability: the training of its networks, the ridge in theory, the files."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import polars as pl
import pytest
from problems import as_users_have_jax
from rich.console import Console

import jaxnn
from experiments.__main__ import main
from experiments.learning import descent
from experiments.pages import charts, palette
from experiments.runs import schema, store
from experiments.runs.devices import SideBySide
from experiments.trainability import experiment as trainability
from experiments.trainability import picture, report, theory
from jaxnn.train.steps import permutation_of_epoch

pytestmark = pytest.mark.usefixtures("users_jax")

SMALL = [
    *("trainability", "--depths", "1", "2", "--sigma-w-squared", "1", "2", "3", "--width", "8"),
    *("--steps", "7", "--data", "iris", "--batch", "32", "--no-cache", "--quiet"),
]


@pytest.fixture(autouse=True, scope="module")
def few_points():
    """Few points of the curve ξ_c: each is found by iterating."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch.setattr(theory, "POINTS", 5)


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("map") / "run"
    with as_users_have_jax():
        assert main([*SMALL, "--out", str(out)]) == 0
    return out


def planned(**settings):
    return trainability.prepare(trainability.Settings(**settings))


@pytest.mark.slow
def test_a_network_is_trained_as_a_plain_loop_of_jax_grad_trains_it():
    """SGD with momentum, written out, on the plain loss; the same draws and batches."""
    width = 4  # as many as iris has features: all hidden layers are one run
    settings = {"depths": ("3",), "sigma_w_squared": ("2.25",), "data": "iris"}
    plan = planned(**settings, width=width, steps=7, batch=32, rate=0.1)
    rows = trainability.measure_cell(plan, plan.cells[0])
    x, y = plan.dataset.x, plan.dataset.y
    room = descent.roomy(plan.dataset, width, "tanh", 3)
    keys = jax.random.split(jax.random.key(0))

    @jax.jit
    def drawn(key):
        layers = jaxnn.network.unstack(
            jaxnn.init(room, key, jaxnn.initializers.gaussian(1.0), 1.0, stacked=True)
        )
        return [(1.5 * theta, 0.05**0.5 * b) for theta, b in (*layers[:3], layers[-1])]

    def loss(params, xs, ys):
        a = xs
        for theta, b in params[:-1]:
            a = jnp.tanh(a @ theta + b)
        z = a @ params[-1][0] + params[-1][1]
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(z, ys)), z

    @jax.jit
    def moved(params, velocity, xs, ys):
        gradient = jax.grad(loss, has_aux=True)(params, xs, ys)[0]
        velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, gradient)
        return jax.tree.map(lambda p, v: p - 0.1 * v, params, velocity), velocity

    params = drawn(keys[0])
    velocity = jax.tree.map(jnp.zeros_like, params)
    for step in range(7):
        epoch, j = divmod(step, len(x) // 32)
        batch = np.asarray(permutation_of_epoch(keys[1], epoch, len(x)))[32 * j : 32 * (j + 1)]
        params, velocity = moved(params, velocity, x[batch], y[batch])
    expected, z = jax.jit(loss)(params, x, y)
    assert rows["loss"][0] == pytest.approx(float(expected), rel=1e-4)
    assert rows["accuracy"][0] == pytest.approx(np.mean(np.argmax(z, axis=1) == y))


@pytest.mark.slow
def test_deep_networks_train_near_the_critical_variance_only():
    """Digits: at σ_w² = 1.76, not at 1; ξ_c at 1 is 4.2 layers."""
    size = {"depths": ("30",), "width": 30, "steps": 100, "batch": 64, "rate": 1e-2}
    plan = planned(sigma_w_squared=("1", "1.76"), **size)
    rows = trainability.measure_cell(plan, plan.cells[0])
    assert rows["accuracy"][0] < 0.3
    assert rows["accuracy"][1] > 0.6


@pytest.mark.slow
def test_the_depth_scale_diverges_at_the_critical_variance():
    critical = theory.critical("tanh", 0.05)
    assert critical == pytest.approx(1.76, abs=0.005)
    near = theory.depth_scale("tanh", 0.05, 1.72, 1.8)
    peak = near.sort("xi_c")["sigma_w_squared"][-1]
    assert peak == pytest.approx(critical, abs=0.01)
    assert near["sigma_w_squared"].to_list() == pytest.approx([1.72, 1.74, 1.76, 1.78, 1.8])
    first = float(jaxnn.theory.meanfield.xi_c("tanh", 1.72**0.5, 0.05**0.5))
    assert near["xi_c"][0] == pytest.approx(first, rel=1e-4)
    assert theory.critical("relu", 0.05) is None


@pytest.mark.parametrize("xi_c", [[4.0, math.inf, 3.0], [math.inf] * 3, [math.nan] * 3])
def test_the_picture_has_the_curves_of_the_depth_scale(xi_c):
    squares = [1.0, 2.0, 3.0]
    points = [(square, depth) for square in squares for depth in (10, 20)]
    rows = pl.DataFrame(points, ["sigma_w_squared", "depth"], orient="row").with_columns(
        accuracy=pl.lit(0.5), loss=pl.lit(math.nan)
    )
    depth_scale = pl.DataFrame({"sigma_w_squared": squares, "xi_c": xi_c})
    figure = picture.figure(rows, depth_scale, "verdict", "what")
    tile = figure.data["map"].row(0, named=True)
    assert [tile[name] for name in ("left", "right", "low", "high")] == [0.5, 1.5, 5, 15]
    curve = figure.data["curves"].filter(pl.col("multiple") == "3 ξ_c")
    finite = [(square, 3 * xi) for square, xi in zip(squares, xi_c, strict=True) if xi < math.inf]
    assert curve.select("sigma_w_squared", "depth").rows() == finite


@pytest.fixture
def uneven():
    """The picture of an uneven grid whose networks of one σ_w² have exploded."""
    squares, depths = [1.0, 2.0, 4.0], [1, 10, 100]
    points = [(square, depth) for square in squares for depth in depths]
    rows = pl.DataFrame(points, ["sigma_w_squared", "depth"], orient="row").with_columns(
        accuracy=pl.lit(0.5),
        loss=pl.when(pl.col("sigma_w_squared") == 4).then(math.inf).otherwise(1.0),
    )
    depth_scale = pl.DataFrame({"sigma_w_squared": squares, "xi_c": [1.0] * 3})
    return picture.figure(rows, depth_scale, "a verdict", "what")


def test_tiles_of_an_uneven_grid_touch(uneven):
    tiles = uneven.data["map"]
    assert tiles.select("left", "right").unique(maintain_order=True).rows() == [
        *((0.5, 1.5), (1.5, 3.0), (3.0, 5.0)),
    ]
    edges = tiles.select("low", "high").unique(maintain_order=True).rows()
    assert edges == [(0.0, 5.5), (5.5, 55.0), (55.0, 145.0)]


@pytest.mark.slow
def test_tiles_of_exploded_networks_are_red(uneven):
    svg = charts.begin(uneven, "map")()["map.svg"].decode()
    for text in ("a verdict", "what", "hidden layers", "red: the loss is not a finite number"):
        assert text in svg
    assert svg.count(f'fill="{palette.ALARM}"') == 3


@pytest.mark.slow
def test_one_program_trains_every_depth_up_to_a_power_of_two():
    for compiled in (descent.drawing, descent.descending):
        compiled.cache_clear()
    squares = ("1", "2", "3")  # these cells are those of the small run
    plan = planned(
        depths=("1", "2"), sigma_w_squared=squares, width=8, steps=7, data="iris", batch=32
    )
    rooms = [descent.roomy(plan.dataset, 8, "tanh", depth) for depth in range(1, 10)]
    assert [len(net.sizes) - 3 for net in rooms] == [1, 1, 2, 4, 4, 8, 8, 8, 8]
    for cell in plan.cells:
        trainability.measure_cell(plan, cell)
    for compiled in (descent.drawing, descent.descending):
        program = compiled(SideBySide.over_devices(len(plan.sigma_w)), rooms[0])
        assert program.program.jitted._cache_size() == 1


def test_the_ridge_is_found():
    rows = pl.DataFrame(
        {
            "sigma_w_squared": [1.0, 1.0, 2.0, 2.0, 3.0, 3.0],
            "depth": [10, 20] * 3,
            "accuracy": [0.9, 0.2, 0.9, 0.8, 0.2, 0.9],  # the last one trains by chance
        }
    )
    deepest = report.trained_depths(rows, 0.1)
    assert deepest["depth"].to_list() == [10, 20, 0]
    assert report.ridge(rows, 0.1) == "trains up to depth 20 at σ_w² = 2"
    assert report.ridge(rows, 0.9) == "trains nowhere"
    assert report.sentence("relu", 0.5, "trains nowhere", report.critical(None)) == (
        "relu, σ_b² = 0.5: trains nowhere; no critical σ_w by theory"
    )


def test_the_table_has_a_line_a_depth_the_deepest_first(snapshot):
    rows = pl.DataFrame(
        {
            "depth": [10, 10, 20],
            "sigma_w_squared": [1.0, 1.0, 2.0],
            "seed": [0, 1, 0],
            "accuracy": [0.5, 0.7, 0.1],
            "loss": [1.0, 1.0, 1.0],
        }
    )
    console = Console(width=80, record=True)
    console.print(report.table(rows))
    assert console.export_text() == snapshot
    (compared,) = report.compare([rows])
    assert compared.select("name", "at", "value").rows() == [("10", 1.0, 0.6), ("20", 2.0, 0.1)]


@pytest.mark.slow
def test_the_run_is_whole_and_says_what_it_found(small_run):
    rows = pl.read_parquet(small_run / store.ROWS)
    schema.check(rows, report.COLUMNS)
    assert rows.height == 2 * 3
    run = json.loads((small_run / store.RUN).read_text())
    assert run["finished"]
    assert "critical σ_w² by theory 1.76" in run["verdicts"][0]
    assert "training accuracy" in (small_run / "trainability.svg").read_text()
    assert rows["accuracy"].is_between(0, 1).all()
