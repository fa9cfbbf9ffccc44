"""The experiment of cures: remedies of the article, dense networks with rivals, and one's own."""

import json
import math
import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from peers import need
from problems import as_users_have_jax
from rich.console import Console

import jaxnn
from experiments.__main__ import main
from experiments.cures import columns, cures_report, cures_theory, dense, networks, remedies
from experiments.cures.columns import ACCURACY, BEFORE, DELTA, DISTANCE, GRADIENT, LOSS
from experiments.cures.remedies import REMEDIES
from experiments.learning import data
from experiments.learning.descent import rows_of_steps
from experiments.runs import schema, store
from jaxnn.models import Program
from jaxnn.trials import cures
from jaxnn.trials.setup import Attempt, patient_of

INPUTS = cures_theory.Inputs(width=64, batch=128, q0=1.0, c0=0.0)

# Remedies of the article


def test_each_remedy_is_what_its_name_says():
    blocks = {name: remedy.kind.of(16) for name, remedy in REMEDIES.items()}
    assert blocks["residual_sqrt"] == jaxnn.blocks.Residual(scale=0.25)
    assert blocks["pre_norm"] == jaxnn.blocks.Residual(jaxnn.blocks.LayerNorm())
    assert {REMEDIES[name].weights.factor for name in blocks if "norm" in name} == {2**0.5}
    tailored = REMEDIES["tailored"]
    assert tailored.activation(100) == jaxnn.theory.tailored_relu(100)
    with pytest.raises(ValueError, match="use 13 layers or more"):
        tailored.activation(tailored.least - 1)
    depends = [name for name, remedy in REMEDIES.items() if not remedy.same_at_every_depth]
    assert depends == ["residual_sqrt", "tailored"]


def test_gradients_in_theory_are_those_of_closed_forms():
    """A skip doubles E‖Δz‖² of He's relu networks in each layer, 1/√L multiplies it by e at most.

    And plain He at width n loses 5/4n nats of ‖Δz‖ a layer.
    """
    for name, nats in {
        "residual": 8 * math.log(2) / 2,
        "residual_sqrt": 8 * math.log(1 + 1 / 9) / 2,
        "relu": -8 * 5 / (4 * 64),
    }.items():
        predicted = cures_theory.predict(REMEDIES[name], (9,), INPUTS)[GRADIENT, 9]
        assert predicted * math.log(10) == pytest.approx(nats), name
    assert cures_theory.predict(REMEDIES["tailored"], (1, 12), INPUTS) == {}


def test_a_bias_of_finite_width_that_has_no_number_leaves_theory_without_one(monkeypatch):
    """And the sentence says so: not that it is the theory of infinite width."""
    band = jaxnn.theory.meanfield.log_delta_band

    def unknown(*arguments, **named):
        return band(*arguments, **named)._replace(bias=jnp.full(4, jnp.nan))

    cures_theory._mean_field.clear_cache()
    monkeypatch.setattr(cures_theory.meanfield, "log_delta_band", unknown)
    predicted = cures_theory.predict(REMEDIES["relu"], (4,), INPUTS)
    cures_theory._mean_field.clear_cache()
    assert math.isnan(predicted[GRADIENT, 4])
    assert predicted[DISTANCE, 4] > 0
    rows = pl.concat([row("relu", 4, GRADIENT, -1.0), row("relu", 4, DISTANCE, 0.5)])
    (said,) = cures_report.sentences(cures_report.lines(rows), {"relu": predicted}, 0.1)
    assert "in theory unknown: the formula of this width has no number" in said


def test_inputs_of_zeros_have_no_correlation_and_their_network_a_theory_where_it_has_one():
    """As of a table whose only column is constant."""
    zeros = INPUTS._replace(q0=0.0, c0=math.nan)
    for name in ("orthogonal", "relu"):
        predicted = cures_theory.predict(REMEDIES[name], (1, 9), zeros)
        assert all(math.isnan(predicted[DISTANCE, depth]) for depth in (1, 9))


def test_the_distance_is_one_minus_the_mean_correlation_of_pairs(rng):
    rows = rng.normal(size=(6, 5))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    expected = 1 - ((unit @ unit.T).sum() - 6) / 30
    assert float(remedies.distance(rows)) == pytest.approx(expected)
    near = jnp.asarray([[1.0, 0.0], [1.0, 1e-5]], jnp.float32)  # 1 - c = 5e-11 is below the eps
    assert float(remedies.distance(near)) == pytest.approx(5e-11, rel=1e-3)


def row(change, depth, quantity, value, seed=0, rate=None, **more):
    place = {"network": columns.OF_ARTICLE, "framework": "jaxnn", "advice": None} | more
    place |= {"change": change, "depth": depth, "seed": seed, "rate": rate}
    return columns.rows_of({quantity: value}, **place, step=None if rate is None else 9)


ROWS = pl.concat(
    [
        *(row("sigmoid", 8, GRADIENT, value, s) for s, value in enumerate((-4.0, -5.0))),
        row("sigmoid", 8, DISTANCE, 1e-15),
        row("sigmoid", 10, ACCURACY, 0.1, rate=0.01),
        row("sigmoid", 10, ACCURACY, math.nan, rate=1.0),
        row("layer_norm", 8, GRADIENT, -0.1),
        row("layer_norm", 8, DISTANCE, 0.01),
        row("layer_norm", 10, ACCURACY, 0.2, rate=0.01),
        row("pre_norm", 8, GRADIENT, 0.004),
        row("pre_norm", 8, DISTANCE, 0.5),
        *(row("pre_norm", 10, ACCURACY, v, rate=r) for r, v in ((0.1, 0.3), (0.001, 1.0))),
        row("residual", 8, GRADIENT, math.nan),
        row("residual", 8, DISTANCE, math.nan),
    ]
)


def test_sentences_name_gradient_correlation_and_accuracy_and_what_ails(snapshot):
    predicted = {"sigmoid": {(GRADIENT, 8): -4.25, (DISTANCE, 8): math.nan}}
    assert cures_report.sentences(cures_report.lines(ROWS), predicted, 0.1) == snapshot
    for value, off in ((0.0, False), (113.5, True)):  # 9 errors, and 236: of two seeds 235 are rare
        predicted = {"sigmoid": {(GRADIENT, 8): value}}
        said = cures_report.sentences(cures_report.lines(ROWS), predicted, 0.1)[0]
        assert ("(2.4e+02 standard errors off)" in said) == off


def test_the_table_is_whole_at_80_columns(snapshot):
    many = [row("pre_norm", depth, ACCURACY, 0.5, rate=0.1) for depth in range(100, 1000, 50)]
    values = {"sigmoid": -12345.678, "relu": -math.inf, "residual": math.nan}
    deep = [row(name, 1024, GRADIENT, value) for name, value in values.items()]
    for name, rows in {"article": pl.concat([ROWS, *many, *deep]), "networks": OF_NETWORKS}.items():
        console = Console(width=80, record=True)
        console.print(cures_report.table(rows))
        assert console.export_text() == snapshot(name=name)


SMALL = [
    *("cures", "--remedies", "batch_norm", "--depths", "1", "3", "--train-depths", "3"),
    *("--width", "8", "--steps", "5", "--data", "iris", "--batch", "32", "--no-cache", "--quiet"),
    *("--rates", "0.01", "0.3"),
]


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("cures") / "run"
    with as_users_have_jax():
        assert main([*SMALL, "--out", str(out)]) == 0
    return out


@pytest.mark.slow
def test_the_run_is_whole_and_says_what_it_found(small_run):
    rows = pl.read_parquet(small_run / store.ROWS)
    schema.check(rows, columns.COLUMNS)
    assert rows.height == 2 * (2 * 2 + 2)  # two seeds; two numbers at two depths, two trainings
    assert rows.filter(pl.col("depth") == 1, quantity=GRADIENT)["value"].to_list() == [0.0] * 2
    run = json.loads((small_run / store.RUN).read_text())
    assert run["finished"]
    assert [v.partition(":")[0] for v in run["verdicts"]] == ["batch norm", "3 layers train with"]
    picture = (small_run / "cures.svg").read_text()
    assert "What cures vanishing and exploding gradients?" in picture


@pytest.mark.slow
@pytest.mark.usefixtures("users_jax")
def test_what_is_measured_is_the_plain_recursion(small_run):
    """Of the small run's network of three batch-normed layers, written out for `jax.grad`."""
    dataset, cell = data.load("iris"), remedies.Cell(remedies.FLOW, "batch_norm", 3)
    rooms = {remedies.FLOW: 3, remedies.TRAINING: 3}
    sweep = remedies.RemedySweep(dataset, 8, 32, seeds=(0, 1), rooms=rooms, steps=5)
    draws = sweep.draws.of(dataset, sweep.networks(cell))
    first_round, *_ = zip(*draws, strict=True)
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
    assert measured[GRADIENT] == pytest.approx(ratio, abs=1e-4)
    assert measured[DISTANCE] == pytest.approx(float(remedies.distance(z)), rel=1e-3)


@pytest.mark.slow
@pytest.mark.usefixtures("users_jax")
def test_what_cures_what():
    """Digits, 40 layers of 32 units: theory holds, and the norm alone is no cure."""
    from experiments.cures import experiment

    size = {"depths": ("40",), "train_depths": ("40",), "width": 32, "batch": 32, "steps": 300}
    names = ("residual_sqrt", "batch_norm")
    plan = experiment.prepare(experiment.Settings(remedies=names, rates=("0.02",), **size))
    rows = pl.concat(map(plan.remedies.measure, plan.cells))
    predicted = experiment.predictions(plan, rows)
    of = {line.change: line.at for line in cures_report.lines(rows)}
    for name in names:
        theirs = predicted[name][GRADIENT, 40]
        assert of[name][GRADIENT, 40].value == pytest.approx(theirs, rel=0.1, abs=0.3)
    assert of["residual_sqrt"][ACCURACY, 40].value >= 0.8
    assert of["batch_norm"][ACCURACY, 40].value <= 0.6
    assert of["batch_norm"][DISTANCE, 40].value > 0.05


# Networks of packages, and one's own


def of_mlp(change, quantity, value, seed=0, rate=None, **more):
    named = {
        "network": "mlp",
        "framework": "torch",
        "advice": "Do." if change == "orthogonal" else "",
    }
    return row(change, 2, quantity, value, seed, rate, **named | more)


# A cure may be called as a remedy is.
OF_NETWORKS = pl.concat(
    [
        columns.rows_of(
            {DELTA: [-7.0, -2.0]}, network="mlp", framework="torch", change=BEFORE, advice="",
            depth=2, seed=0, layer=[1, 2],
        ),
        of_mlp(BEFORE, ACCURACY, 0.1, rate=0.1),
        of_mlp(BEFORE, LOSS, 2.5, rate=0.1),
        *(of_mlp("orthogonal", ACCURACY, v, s, 0.1) for s, v in enumerate((0.9, 0.7))),
        *(of_mlp("orthogonal", ACCURACY, v, s, 1.0) for s, v in enumerate((1.0, 0.0))),
        *(of_mlp("orthogonal", LOSS, v, s, r) for s in (0, 1) for r, v in ((0.1, 0.5), (1.0, 0.1))),
    ]
)  # fmt: skip


def test_the_best_step_size_is_that_of_the_mean_over_seeds(snapshot):
    before, cured = cures_report.lines(OF_NETWORKS)
    assert before.at[GRADIENT, 2].value == -5.0
    assert cured.at[ACCURACY, 2] == pytest.approx((0.8, 0.1, 0.1, 2))  # (0.9 - 0.7) / √2 / √2
    assert cures_report.sentences([before, cured], {}, 0.0) == snapshot
    without = OF_NETWORKS.filter(pl.col("quantity") != ACCURACY)
    assert cures_report.lines(without)[1].at[LOSS, 2].rate == 1.0
    is_one = (pl.col("rate") == 1.0) & (pl.col("seed") == 1)
    lost = without.with_columns(value=pl.when(is_one).then(math.nan).otherwise("value"))
    assert cures_report.lines(lost)[1].at[LOSS, 2].rate == 0.1


@pytest.mark.parametrize(
    ("cure", "holds"), [([0.80, 0.80], 0), ([0.80, 0.94], 1), ([0.91, 0.93], 1)]
)
def test_the_first_cure_holds_within_an_error_of_the_difference(cure, holds):
    """Against the best rival, which may be of another framework; the second cure plays no part."""
    values = {"skip": cure, "norm": [1.0, 1.0], "He": [0.89, 0.91], "LSUV": [0.5, 0.9]}
    rows = pl.concat(
        [
            of_mlp(change, ACCURACY, v, s, 0.1, framework="flax" if change == "skip" else "torch")
            for change, of in {BEFORE: [0.1, 0.1], **values}.items()
            for s, v in enumerate(of)
        ]
    )
    other = rows.filter(pl.col("change").is_in(["skip", BEFORE])).with_columns(
        network=pl.lit("other"), framework=pl.lit("flax")
    )
    said = cures_report.sentences(cures_report.lines(pl.concat([rows, other])), {}, 0.0)
    assert f"mlp in flax: accuracy {np.mean(cure):.3g}" in said[1]
    assert "by He" in said[1]
    assert said[-1].endswith(f"on {holds + 1} of 2 networks.")  # torch's own first cure holds


def test_dense_networks_have_names_of_their_own():
    assert len(dense.ILL) == len(dense.NETWORKS)


@pytest.mark.slow
@pytest.mark.usefixtures("users_jax")
@pytest.mark.parametrize("of", dense.NETWORKS, ids=lambda of: of.name)
def test_a_dense_network_is_what_its_frameworks_make_of_it(of):
    need("torch")
    of = of._replace(depth=3)
    x = np.random.default_rng(0).normal(size=(5, 64)).astype(np.float32)
    (w, b), *blocks, (w1, b1) = of.drawn(0)
    z = x @ w + b
    for w, b in blocks:
        z = of.sigma(z) @ w + b + z * of.skip
    expected = of.sigma(z) @ w1 + b1
    for framework in dense.MODULES:
        given = of.built(framework, 0)
        found = given["model"](type(given["xs"])(x) if framework == "torch" else jnp.asarray(x))
        found = found.detach().numpy() if framework == "torch" else found
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5, err_msg=framework)


@pytest.mark.slow
@pytest.mark.usefixtures("users_jax")
def test_rivals_are_of_their_sizes_and_an_error_of_a_package_is_told(monkeypatch):
    """He's mean square, orthogonal columns, unit outputs, a norm and a skip; each is trained."""
    need("torch", "anyinit", "lsuv", "gradinit")
    from experiments.cures import experiment, rivals_torch

    monkeypatch.setattr(rivals_torch, "STEPS", 2)
    of = dense.IllDense("relu", 4, 3.0)
    made = {name: rivals_torch.made(of, 0, name)["model"] for name in rivals_torch.CHANGES}
    assert [*rivals_torch.CHANGES] == [*columns.RIVALS]
    w = {name: model[1][-1].weight.detach().numpy() for name, model in made.items()
         if name != rivals_torch.RESIDUAL}  # fmt: skip
    assert np.mean(w["He"] ** 2) * 24 == pytest.approx(2, rel=0.2)
    np.testing.assert_allclose(w["orthogonal weights"] @ w["orthogonal weights"].T, np.eye(24),
                               atol=1e-5)  # fmt: skip
    xs = of.built("torch", 0)["xs"][: rivals_torch.EXAMPLES]
    assert float(made["LSUV"][0](xs).detach().std()) == pytest.approx(1, abs=0.11)
    residual = made[rivals_torch.RESIDUAL][1]
    assert [type(part).__name__ for part in residual.branch] == ["LayerNorm", "ReLU", "Linear"]

    def fail(*given):
        raise RuntimeError("not for this\nmodule")

    monkeypatch.setitem(rivals_torch.CHANGES, "LSUV", fail)
    network = networks.dense_in(of, "torch")
    settings = experiment.Settings(seeds=1, steps=2, rates=("0.01",))
    (error, he) = (networks.measured(network, name, settings) for name in ("LSUV", "He"))
    assert {*error["advice"]} == {"RuntimeError: not for this"}
    schema.check(pl.concat([error, he]), columns.COLUMNS)
    assert {*he["quantity"]} >= {DELTA, LOSS, ACCURACY}


CODE = """
import jax
import jax.numpy as jnp
import numpy as np

import jaxnn


def tanh(w, z):
    return jnp.tanh(z) @ w


def linear(w, z):
    return z @ w


def cross_entropy(output, ys):
    return -jnp.take_along_axis(jax.nn.log_softmax(output), ys[:, None], 1)[:, 0]


def vanishing(seed=0):
    rng = np.random.default_rng(seed)
    f32 = lambda v: v.astype(np.float32)
    layers = [f32(rng.normal(size=(8, 8)) / 32**0.5) for _ in range(9)]
    xs = f32(rng.normal(size=(40, 8)))
    model = [(linear, layers[0]), *((tanh, w) for w in layers[1:])]
    return {"model": model, "xs": xs, "ys": (xs[:, 0] > 0).astype(int), "loss": cross_entropy}


def made():
    return object.__new__(jaxnn.Diagnosis)  # as one that is already made
"""
OF_USER = ("--steps", "40", "--rates", "0.01", "0.1", "--cures", "1", "--batch", "20", "--quiet")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("users") / "net.py"
    path.write_text(CODE)
    return path


@pytest.mark.parametrize(
    ("name", "more", "sentence"),
    [
        ("vanishing", ["--depths", "3"], "depths: expected without FILE.py:NAME"),
        ("made", [], "expected it to return a network with its data, got a Diagnosis"),
    ],
)
def test_a_mistake_is_one_sentence(name, more, sentence, file, tmp_path, capsys, users_jax):
    out = tmp_path / "run"
    assert main(["cures", f"{file}:{name}", *more, "--no-cache", "--out", str(out)]) == 2
    err = capsys.readouterr().err
    assert sentence in err.splitlines()[-1], err
    assert not out.exists()


@pytest.fixture
def one_cure(monkeypatch):
    """One factor on the weights, for all cures together take dozens of flows and programs."""
    tried = []

    def tried_on(patient, kinds, seconds):
        tried.append(kinds)
        factors = patient.factors(2.0)
        params = patient.multiplied(patient.params, factors)
        given = ("scale", "Multiply the weights by 2.", Attempt(params, factors))
        return cures.Cures(patient.verdict, (cures.judged(patient, *given),))

    monkeypatch.setattr(networks, "tried_on", tried_on)
    return tried


@pytest.mark.slow
@pytest.mark.usefixtures("users_jax")
def test_a_network_is_trained_as_it_is_and_cured(file, tmp_path, capsys, monkeypatch, one_cure):
    out = tmp_path / "run"
    command = ["cures", f"{file}:vanishing", *OF_USER, "--no-cache", "--out", str(out)]
    assert main(command) == 0
    assert one_cure == [[], ["scale"]]  # of the second seed what the first one chose
    rows = pl.read_parquet(out / store.ROWS)
    schema.check(rows, columns.COLUMNS)
    assert rows.height == 2 * 2 * (9 + 2 * 2)  # changes, seeds; layers; trainings
    before, cured = cures_report.lines(rows)
    assert before.at[GRADIENT, 9].value < -2
    assert abs(cured.at[GRADIENT, 9].value) < 1
    assert cured.accuracy.value > before.accuracy.value
    says = json.loads((out / store.RUN).read_text())
    assert says["verdicts"][1].endswith(". Multiply the weights by 2.")
    assert "cured by scale" in says["verdicts"][-1]
    first = capsys.readouterr().out
    monkeypatch.setattr(networks, "measured", pytest.fail)  # all is there already
    assert main(command) == 0
    assert capsys.readouterr().out == first
    assert main(["show", str(out)]) == 0


@pytest.mark.slow
@pytest.mark.usefixtures("users_jax")
def test_a_training_is_that_of_a_plain_loop(file):
    """Steps of SGD by hand, with `jax.grad` of the plain network, and the accuracy at their end."""
    from experiments.cures import experiment

    given = runpy.run_path(str(file))["vanishing"]()
    settings = experiment.Settings(optimizer="sgd", batch=5, steps=3, rates=("0.3",), seeds=1)
    network = networks.IllNetwork("net", "jax", lambda seed, change: given, takes_seed=False)
    rows = networks.measured(network, BEFORE, settings)
    (_, w), *others = given["model"]

    def out(weights, xs):
        z = xs @ weights[0]
        for w in weights[1:]:
            z = jnp.tanh(z) @ w
        return z

    def loss(weights, of):
        return given["loss"](out(weights, given["xs"][of]), given["ys"][of]).mean()

    weights = [w, *(w for _, w in others)]
    for of in rows_of_steps(40, 0, 5, 3):
        weights = [w - 0.3 * g for w, g in zip(weights, jax.grad(loss)(weights, of), strict=True)]
    reached = dict(rows.filter(rate=0.3).select("quantity", "value").iter_rows())
    assert reached[LOSS] == pytest.approx(float(loss(weights, np.arange(40))), rel=1e-5)
    named = np.argmax(out(weights, given["xs"]), axis=1) == given["ys"]
    assert reached[ACCURACY] == pytest.approx(named.mean())


@pytest.mark.slow
@pytest.mark.usefixtures("users_jax")
def test_of_a_network_that_nothing_cures_it_is_told_why(monkeypatch, rng):
    """Its cell is lost, not the run: of each seed all changes are tried."""
    f = lambda w, z: jnp.tanh(z @ w)  # noqa: E731
    model = [(f, np.float32(np.linalg.qr(rng.normal(size=(6, 6)))[0])) for _ in range(4)]
    given = dict(zip(("xs", "cotangent"), np.float32(rng.normal(size=(2, 8, 6))), strict=True))
    given["model"] = model
    patient = patient_of(Program.of(**given))
    nothing, asked = cures.Cures(patient.verdict, ()), []
    tried_on = lambda *_, kinds, **__: asked.append([*kinds]) or nothing  # noqa: E731
    monkeypatch.setattr(networks, "tried_on", tried_on)
    network = networks.IllNetwork("net", "jax", lambda seed, change: given, takes_seed=True)
    from experiments.cures import experiment

    rows = networks.measured(network, columns.CURE, experiment.Settings(seeds=2))
    assert asked == [[], []]
    assert {*rows["change"]} == {columns.NONE}
    assert "Nothing was tried" in rows["advice"][0]


def test_the_rivals_of_the_example_are_orthogonal_and_of_their_sizes():
    """LSUV has outputs of unit deviation, the other one the gain that PyTorch recommends."""
    names = runpy.run_path(str(Path(__file__).parent.parent / "examples" / "a_hundred_layers.py"))
    layers, z = names["tanh_lsuv"](seed=1)["model"], names["examples"](1)
    for i, (_, p) in enumerate(layers[:3]):
        z = (np.tanh(z) if i else z) @ p["w"] + p["b"]
        assert np.std(z) == pytest.approx(1, rel=1e-5)
        gram = p["w"].T @ p["w"]
        np.testing.assert_allclose(gram, gram[0, 0] * np.eye(64), atol=1e-5)
    assert len(layers) == len(names["tanh"]()["model"]) == 101
    for name, gain in (("tanh", 5 / 3), ("relu", 2**0.5), ("sigmoid", 1)):
        (_, p), *_ = names[f"{name}_orthogonal"](seed=1)["model"]
        np.testing.assert_allclose(p["w"].T @ p["w"], gain**2 * np.eye(64), atol=1e-5)
