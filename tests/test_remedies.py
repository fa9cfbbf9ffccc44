"""The remedies side by side: their theory, the distance of examples, words, files."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from problems import as_users_have_jax
from rich.console import Console

import jaxnn
from experiments.__main__ import main
from experiments.learning import data, descent, networks
from experiments.pages import charts
from experiments.remedies import cells, columns, picture, report, theory
from experiments.remedies import experiment as remedies
from experiments.remedies.table import REMEDIES
from experiments.runs import schema, store

SMALL = [
    *("remedies", "--remedies", "batch_norm", "--depths", "1", "3", "--train-depths", "3"),
    *("--width", "8", "--steps", "5", "--data", "iris", "--batch", "32", "--no-cache", "--quiet"),
    *("--rates", "0.01", "0.3"),
]
INPUTS = theory.Inputs(width=64, batch=128, q0=1.0, c0=0.0)


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("remedies") / "run"
    with as_users_have_jax():
        assert main([*SMALL, "--out", str(out)]) == 0
    return out


def test_each_remedy_is_what_its_name_says():
    blocks = {name: remedy.kind.of(16) for name, remedy in REMEDIES.items()}
    assert blocks["residual_sqrt"] == jaxnn.blocks.Residual(scale=0.25)
    assert blocks["pre_norm"] == jaxnn.blocks.Residual(jaxnn.blocks.LayerNorm())
    assert blocks["layer_norm"] == jaxnn.blocks.LayerNorm()
    assert {REMEDIES[name].weights.factor for name in blocks if "norm" in name} == {2**0.5}
    tailored = REMEDIES["tailored"]
    assert tailored.activation(100) == jaxnn.theory.tailored_relu(100)
    assert tailored.activation(tailored.least).name == "tailored_relu"
    with pytest.raises(ValueError, match="use 13 layers or more"):
        tailored.activation(tailored.least - 1)
    depends = [name for name, remedy in REMEDIES.items() if not remedy.same_at_every_depth]
    assert depends == ["residual_sqrt", "tailored"]
    assert len(picture.COLOURS) == len(set(picture.COLOURS)) == len(REMEDIES)


def test_the_kernel_is_that_of_relu_and_of_linear_units():
    assert theory.kernel(0.0, 0.0) == pytest.approx(1 / math.pi)
    assert theory.kernel(-1.0, 0.0) == pytest.approx(0.0)
    for slope in (0.0, 0.3, 1.0):
        assert theory.kernel(1.0, slope) == 1.0
    assert theory.kernel(0.3, 1.0) == 0.3


SLOW = ("relu", "layer_norm", "residual", "residual_sqrt", "tailored")


@pytest.mark.parametrize(
    "name",
    ["pre_norm", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)],
)
def test_correlations_in_closed_form_are_those_of_the_library_s_map(name):
    """κ carried along the lengths against the quadrature of `correlation_map`, layer by layer."""
    remedy, depth = REMEDIES[name], 16
    block, activation = remedy.kind.of(depth), remedy.activation(depth)
    of = (activation, remedy.weights.factor, 0.0)
    q = [2.0]
    for _ in range(2):
        q.append(float(jaxnn.theory.meanfield.length_map(*of, q[-1], hidden=block)))
    inputs = INPUTS._replace(c0=0.25)
    c = theory.correlations(remedy, depth, np.array([*q, *[q[-1]] * (depth - 3)]), inputs)
    for i in range(2):
        mapped = jaxnn.theory.meanfield.correlation_map(*of, q[i], c[i], hidden=block)
        assert c[i + 1] == pytest.approx(float(mapped), rel=1e-9)


def test_gradients_in_theory_are_those_of_closed_forms():
    """A skip doubles E‖Δz‖² of He's relu networks in each layer, 1/√L multiplies it by e at most.

    And plain He at width n loses 5/4n nats of ‖Δz‖ a layer.
    """
    by_depth = {
        name: dict(theory.predict(REMEDIES[name], (9,), INPUTS)[:, :2].iter_rows())
        for name in ("residual", "residual_sqrt", "relu")
    }
    nats = {name: {n: v * math.log(10) for n, v in of.items()} for name, of in by_depth.items()}
    assert nats["residual"][9] == pytest.approx(8 * math.log(2) / 2)
    assert nats["residual_sqrt"][9] == pytest.approx(8 * math.log(1 + 1 / 9) / 2)
    assert nats["relu"][9] == pytest.approx(-8 * 5 / (4 * 64))


def test_inputs_of_zeros_have_no_correlation_and_their_network_a_theory_where_it_has_one():
    """As of a table whose only column is constant."""
    zeros = INPUTS._replace(q0=0.0, c0=math.nan)
    for name in ("orthogonal", "relu"):  # by quadrature, and in closed form
        predicted = theory.predict(REMEDIES[name], (1, 4), zeros)
        assert predicted["depth"].to_list() == [1, 4]
        assert predicted[columns.DISTANCE].is_nan().all()


def test_a_remedy_that_does_not_exist_at_a_depth_has_no_theory_there():
    assert theory.predict(REMEDIES["tailored"], (1, 12), INPUTS).is_empty()


def test_the_distance_is_one_minus_the_mean_correlation_of_pairs(rng):
    rows = rng.normal(size=(6, 5))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    c = unit @ unit.T
    expected = 1 - (c.sum() - 6) / 30
    assert float(cells.distance(rows)) == pytest.approx(expected)
    near = jnp.asarray([[1.0, 0.0], [1.0, 1e-5]], jnp.float32)  # 1 - c = 5e-11 is below the eps
    assert float(cells.distance(near)) == pytest.approx(5e-11, rel=1e-3)


@pytest.mark.slow
@pytest.mark.usefixtures("users_jax")
def test_what_is_measured_is_the_plain_recursion(small_run):
    """Of the small run's network of three batch-normed layers, written out for `jax.grad`."""
    dataset = data.load("iris")
    sizes = cells.Sizes(8, 32, (0, 1), {cells.FLOW: 3, cells.TRAINING: 3}, 5)
    of = cells.networks_of(dataset, sizes, cells.Cell(cells.FLOW, "batch_norm", 3))
    first_round, *_ = zip(*networks.Draws().of(dataset, of), strict=True)
    layers, x, y = jax.tree.map(lambda v: np.asarray(v)[0], first_round)  # of seed 0
    (first, _), (run, _), (last, _) = layers

    def top(z, theta):
        z = (z - z.mean(axis=0)) / jnp.sqrt(z.var(axis=0))
        return jnp.maximum(z, 0) @ theta

    def loss(shifts):
        z = x @ first + shifts[0]
        for theta, shift in zip(run[:2], shifts[1:], strict=True):
            z = top(z, theta) + shift
        logits = jnp.maximum(z, 0) @ last
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(32), y]), z

    zeros = jnp.zeros((3, 32, 8), jnp.float32)
    gradient, z = jax.jit(jax.grad(loss, has_aux=True))(zeros)
    ratio = np.log10(np.linalg.norm(gradient[0]) / np.linalg.norm(gradient[-1]))
    rows = pl.read_parquet(small_run / store.ROWS).filter(pl.col("depth") == 3, pl.col("seed") == 0)
    measured = dict(rows.select("quantity", "value").iter_rows())
    assert measured[columns.GRADIENT] == pytest.approx(ratio, abs=1e-4)
    assert measured[columns.DISTANCE] == pytest.approx(float(cells.distance(z)), rel=1e-3)


def row(remedy, depth, quantity, value, seed=0, rate=0.01):
    is_trained = quantity == columns.ACCURACY
    return {
        "remedy": remedy, "depth": depth, "seed": seed, "quantity": quantity, "value": value,
        "step": 9 if is_trained else None, "rate": rate if is_trained else None,
    }  # fmt: skip


ROWS = pl.DataFrame(
    [
        *(row("sigmoid", 8, columns.GRADIENT, value, s) for s, value in enumerate((-4.0, -5.0))),
        row("sigmoid", 8, columns.DISTANCE, 1e-15),
        row("sigmoid", 10, columns.ACCURACY, 0.1),
        row("sigmoid", 10, columns.ACCURACY, math.nan, rate=1.0),
        row("layer_norm", 8, columns.GRADIENT, -0.1),
        row("layer_norm", 8, columns.DISTANCE, 0.01),
        row("layer_norm", 10, columns.ACCURACY, 0.2),
        row("pre_norm", 8, columns.GRADIENT, 0.004),
        row("pre_norm", 8, columns.DISTANCE, 0.5),
        *(row("pre_norm", 10, columns.ACCURACY, v, rate=r) for r, v in ((0.1, 0.3), (0.001, 1.0))),
        row("residual", 8, columns.GRADIENT, math.nan),
        row("residual", 8, columns.DISTANCE, math.nan),
    ]
)


def found():
    predicted = pl.DataFrame([(8, -4.25, math.nan)], theory.SCHEMA, orient="row")
    empty = {name: predicted.clear() for name in REMEDIES}
    return report.cases(ROWS, empty | {"sigmoid": predicted})


def test_the_verdicts_name_gradient_correlation_and_accuracy():
    sentences = {case.remedy: report.sentence(case) for case in found()}
    assert sentences["sigmoid"] == (
        "plain sigmoid: vanishing gradient, -4.5 decades over 8 layers, theory -4.2, -0.64 a layer;"
        " examples alike, 1 - correlation below 1e-12; training accuracy 0.10 at 10 layers, "
        "with step size 0.01"
    )
    assert (
        report.Case(
            *("sigmoid", {8: -4.5}, {8: 0.5}, {}, {8: -4.2}, {8: 0.5}),
            errors={("log10_gradient", 8): 0.05, ("distance", 8): 0.1},
        ).by_theory("log10_gradient", 8, str)
        == ", theory -4.2 (6 errors off)"
    )
    assert sentences["pre_norm"].endswith("accuracy 1.00 at 10 layers, with step size 0.001")
    assert "steady gradient, +0.004 decades" in sentences["pre_norm"]
    assert sentences["residual"] == (
        "residual: no finite gradient over 8 layers; no correlation of examples, which are zero in "
        "a layer or leave the range"
    )


def test_the_summary_says_what_trains_and_what_ails_the_others():
    assert report.summary(found(), 0.1) == (
        "10 layers train with: pre-norm residual. They do not with: plain sigmoid (the gradient "
        "vanishes and examples become alike); layer norm (examples become alike)."
    )
    lost = report.Case("residual", {8: math.nan}, {8: math.nan}, {8: 0.1}, {}, {})
    assert report.ailment(lost, 8) == "no finite gradient and no correlation of examples"
    untrained = [case for case in found() if not case.accuracy]
    assert report.summary(untrained, 0.1) == ""


def test_the_table_is_whole_at_80_columns():
    console = Console(width=80, record=True)
    many = [row("pre_norm", depth, columns.ACCURACY, 0.5) for depth in range(100, 1000, 50)]
    values = {"sigmoid": -12345.678, "relu": -math.inf, "residual": math.nan}
    deep = [row(name, 1024, columns.GRADIENT, value) for name, value in values.items()]
    deep.append(row("residual", 1024, columns.DISTANCE, math.nan))
    console.print(report.table(pl.concat([ROWS, pl.DataFrame([*many, *deep])])))
    text = console.export_text()
    assert "…" not in text
    assert "-12345.68" in text
    assert "zero" in text
    assert "nan" not in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.slow
@pytest.mark.parametrize("quantities", [columns.QUANTITIES[:2], columns.QUANTITIES[2:]])
def test_an_unfinished_run_has_a_picture(quantities):
    rows = ROWS.filter(pl.col("quantity").is_in(quantities))
    empty = {name: pl.DataFrame(schema=theory.SCHEMA) for name in REMEDIES}
    drawn = picture.Drawn.of(rows, report.cases(rows, empty), "what", 5)
    svg = charts.rendered(picture.figure(drawn), "remedies")["remedies.svg"].decode()
    assert "pre-norm residual" in svg


def test_names_at_the_ends_of_lines_have_a_sign_unless_they_are_zero():
    assert list(map(picture._decades, (-0.02, 0.02, 1.4, -9.96, 146.5))) == [
        *("0.0", "0.0", "+1.4", "−10", "+146"),
    ]


def test_the_run_is_whole_and_says_what_it_found(small_run):
    rows = pl.read_parquet(small_run / store.ROWS)
    schema.check(rows, columns.COLUMNS)
    assert rows.height == 2 * (2 * 2 + 2)  # two seeds; two numbers at two depths, two trainings
    at_one = rows.filter(pl.col("depth") == 1, pl.col("quantity") == columns.GRADIENT)
    assert at_one["value"].to_list() == [0.0] * 2
    run = json.loads((small_run / store.RUN).read_text())
    assert run["finished"]
    assert [v.partition(":")[0] for v in run["verdicts"]] == [
        *("batch norm", "3 layers train with"),
    ]
    for name in ("remedies.svg", "report.html"):
        assert "What cures vanishing and exploding gradients?" in (small_run / name).read_text()
    (compared,) = report.compare([rows])
    assert set(compared["at"]) == {1, 3}


@pytest.mark.slow
@pytest.mark.usefixtures("users_jax")
def test_what_cures_what():
    """Digits, 40 layers of 32 units: theory holds, and the norm alone is no cure."""
    cured, ill = ("residual_sqrt",), ("batch_norm",)
    size = {"depths": ("40",), "train_depths": ("40",), "width": 32, "batch": 32}
    settings = remedies.Settings(remedies=(*cured, *ill), steps=300, rates=("0.02",), **size)
    plan = remedies.prepare(settings)
    sweep = cells.Sweep(plan.dataset, plan.sizes)
    rows = pl.concat(map(sweep.measure, plan.cells))
    case = {c.remedy: c for c in report.cases(rows, remedies.predictions(plan, rows))}
    for name in ("batch_norm", *cured):
        predicted = case[name].gradient_theory[40]
        assert case[name].gradient[40] == pytest.approx(predicted, rel=0.1, abs=0.3)
    assert all(case[name].accuracy[40] >= 0.8 for name in cured)
    assert all(case[name].accuracy[40] <= 0.6 for name in ill)
    assert case["batch_norm"].distance[40] > report.ALIKE


@pytest.mark.slow
@pytest.mark.usefixtures("users_jax")
def test_networks_that_are_drawn_are_trained_as_those_of_the_map_are():
    """`trained_from` against `trained`, from the same weights and batches."""
    dataset = data.load("iris")
    training = descent.Training(
        net=descent.roomy(dataset, 8, "tanh", 2),
        depth=2,
        sigma_w=(1.0,),
        sigma_b=0.0,
        seed=3,
        descent=descent.Descent(0.1, 0.0, 32),
        steps=5,
    )
    drawn = descent.drawn(training.net, 3, 1.0, 0.0)
    of_seed = jax.tree.map(lambda v: v[None], drawn)
    scores = descent.trained_from(
        dataset, training.net, (of_seed,), 2, (3,), training.descent, training.steps
    )
    expected = descent.trained(dataset, training)
    assert scores.loss == pytest.approx(expected.loss, rel=1e-6)
    assert scores.metric == pytest.approx(expected.metric)
