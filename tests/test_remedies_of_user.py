"""The remedies of a network of the user's own: data, training, best step sizes, words, files."""

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
from rich.console import Console

import jaxnn
from experiments.__main__ import main
from experiments.learning import data
from experiments.learning.descent import rows_of_steps
from experiments.pages import charts, web
from experiments.remedies import columns, rates
from experiments.remedies.of_user import networks, report
from experiments.remedies.of_user.training import Data, Rule, optimizer_of, trained
from experiments.runs import schema, store
from jaxnn import as_network
from jaxnn.curing import cures
from jaxnn.curing.changes import CURES, Change
from jaxnn.curing.jax_patients import jax_patient

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


def narrow():
    given = vanishing()
    return given["model"], given["xs"]


def made():
    return object.__new__(jaxnn.Diagnosis)  # as one that is already made


def with_theory():
    return vanishing() | {"theory": True}
"""
SMALL = ("--steps", "40", "--rates", "0.01", "0.1", "--cures", "1", "--batch", "20", "--quiet")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("users") / "net.py"
    path.write_text(CODE)
    return path


@pytest.mark.slow
def test_a_training_is_that_of_a_plain_loop(rng, users_jax):
    """Steps of SGD by hand, with `jax.grad` of the plain network; two layers share a matrix."""
    f = lambda w, z: jnp.tanh(z @ w)  # noqa: E731
    shared, first = (rng.normal(size=(4, 4)).astype(np.float32) for _ in range(2))
    layers = {"a": (f, first), "b": (f, shared), "c": (f, shared)}
    net, params = as_network(layers)
    xs, ys = rng.normal(size=(12, 4)).astype(np.float32), rng.integers(0, 4, 12)

    def loss(output, ys):
        return -jax.nn.log_softmax(output)[jnp.arange(len(ys)), ys]

    rule, of_data = Rule("sgd", 5, 3), Data(jnp.asarray(xs), jnp.asarray(ys), loss, 12)
    patient = jax_patient(net, params, xs[:5], ys[:5], loss=loss)
    training = patient.training(params, optimizer_of(rule, of_torch=False))
    curve = trained(training, of_data, rule, 0.3, 1)

    def plain(weights, rows):
        first, b, c = weights
        return loss(f(c, f(b, f(first, xs[rows]))), ys[rows]).mean()

    weights, every = [first, shared, shared], np.arange(12)
    expected = [plain(weights, every)]
    for rows in rows_of_steps(12, 1, 5, 3):
        of = jax.grad(plain)(weights, rows)
        weights = [w - 0.3 * g for w, g in zip(weights, of, strict=True)]
        expected.append(plain(weights, every))
    assert curve.steps == [0, 1, 2, 3]
    assert curve.loss == pytest.approx(list(map(float, expected)), rel=1e-5)
    assert all(0 <= v <= 1 for v in curve.accuracy)


def row(remedy, quantity, value, seed=0, rate=0.1, step=10, layer=None):
    place = {"remedy": remedy, "depth": 2, "seed": seed, "quantity": quantity}
    return place | {"layer": layer, "step": step, "rate": rate, "value": value}


BEFORE = columns.BEFORE
ROWS = pl.DataFrame(
    [
        *(
            row(BEFORE, columns.DELTA, v, rate=0.0, step=None, layer=n)
            for n, v in ((1, -7.0), (2, -2.0))
        ),
        row(BEFORE, columns.ACCURACY, 0.9, step=5),  # on the way is not at the end
        row(BEFORE, columns.ACCURACY, 0.1),
        row(BEFORE, columns.LOSS, 2.5),
        *(row("scale", columns.ACCURACY, v, s, 0.1) for s, v in enumerate((0.9, 0.7))),
        *(row("scale", columns.ACCURACY, v, s, 1.0) for s, v in enumerate((1.0, 0.0))),
        *(row("scale", columns.LOSS, v, s, r) for s in (0, 1) for r, v in ((0.1, 0.5), (1.0, 0.1))),
    ],
    columns.DTYPES,
)


def test_the_best_step_size_is_that_of_the_mean_over_seeds():
    before, cured = report.cases(ROWS)
    assert (before.decades, before.rate, cured.rate) == (-5.0, 0.1, 0.1)
    reached = cured.reached[columns.ACCURACY]
    assert reached.mean == pytest.approx(0.8)
    assert reached.error == pytest.approx(0.1)  # (0.9 - 0.7) / √2 / √2
    said = report.sentences([before, cured], {"scale": "Multiply."})
    assert said == [
        "as it is: the gradient changes by -5.0 decades over 2 layers; training reaches accuracy "
        "0.1, loss 2.5 with step size 0.1.",
        "scale: training reaches accuracy 0.8 ± 0.1, loss 0.5 ± 0 with step size 0.1. Multiply.",
        "After training, accuracy 0.8 ± 0.1 cured by scale, 0.1 as it is.",
    ]
    without = ROWS.filter(pl.col("quantity") != columns.ACCURACY)
    assert best_of(without) == 1.0
    is_one = (pl.col("rate") == 1.0) & (pl.col("seed") == 1)
    lost = without.with_columns(pl.when(is_one).then(math.nan).otherwise("value").alias("value"))
    assert best_of(lost) == 0.1


def best_of(rows):
    """The step size with which the cured network counts."""
    ((rate,),) = rates.best(rows).filter(remedy="scale", depth=2).select("rate").rows()
    return rate


def test_the_table_is_whole_at_80_columns():
    console = Console(width=80, record=True)
    console.print(report.table(ROWS))
    text = console.export_text()
    assert "0.8 ± 0.1" in text
    assert "…" not in text


@pytest.mark.parametrize(
    ("name", "more", "sentence"),
    [
        ("vanishing", ["--depths", "3"], "depths: expected without FILE.py:NAME alone"),
        (
            "vanishing",
            ["--optimizer", "lion"],
            "optimizer: there is no 'lion'; choose one of sgd, adam",
        ),
        ("vanishing", ["--rates", "0"], "rates: expected finite numbers > 0, got 0"),
        (None, ["--cures", "1"], "cures: expected with FILE.py:NAME alone"),
        ("narrow", [], "inputs of 64 numbers and outputs of 10 or more, for digits; got no loss"),
        ("made", [], "expected it to return a network with its data, got a Diagnosis"),
        ("with_theory", [], "expected model, xs, ys, loss, each and cuts alone"),
    ],
)
def test_a_mistake_is_one_sentence(name, more, sentence, file, tmp_path, capsys, users_jax):
    named = [] if name is None else [f"{file}:{name}"]
    out = tmp_path / "run"
    assert main(["remedies", *named, *more, "--no-cache", "--out", str(out)]) == 2
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
        given = ("scale", "Multiply the weights by 2.", Change(params, factors))
        return cures.Cures(patient.verdict, (cures.judged(patient, *given),))

    monkeypatch.setattr(networks, "tried_on", tried_on)
    return tried


@pytest.mark.slow
@pytest.mark.usefixtures("users_jax")
def test_a_network_is_trained_as_it_is_and_cured(file, tmp_path, capsys, monkeypatch, one_cure):
    monkeypatch.setattr(charts, "rendered", lambda figure, stem, page: {})
    monkeypatch.setattr(web, "library", lambda: "")
    out = tmp_path / "run"
    command = ["remedies", f"{file}:vanishing", *SMALL, "--no-cache", "--out", str(out)]
    assert main(command) == 0
    assert one_cure == [tuple(CURES), ["scale"]]  # of the second seed what the first one chose
    rows = pl.read_parquet(out / store.ROWS)
    schema.check(rows, columns.COLUMNS)
    assert rows["remedy"].unique(maintain_order=True)[0] == BEFORE
    assert rows.height == 2 * 2 * (9 + 2 * 2 * 21)  # changes, seeds; layers; rates, quantities
    before, cured = report.cases(rows)
    assert before.decades < -2
    assert abs(cured.decades) < 1
    assert cured.reached[columns.ACCURACY].mean > before.reached[columns.ACCURACY].mean
    says = json.loads((out / store.RUN).read_text())
    assert says["verdicts"][-1].startswith("After training, accuracy ")
    assert "Multiply the weights" in says["verdicts"][1]
    assert says["advice"] == {BEFORE: "", "scale": "Multiply the weights by 2."}
    first = capsys.readouterr().out
    monkeypatch.setattr(networks, "trained", pytest.fail)  # all is there already
    assert main(command) == 0
    assert capsys.readouterr().out == first
    assert main(["show", str(out)]) == 0
    assert "data of its own" in (out / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_a_network_of_ours_has_the_loss_and_the_accuracy_of_its_task(task, rng, users_jax):
    net = jaxnn.Network((4, 5, 1 if task == "binary" else 3), "tanh", task)
    params = jaxnn.init(net, jax.random.key(0))
    xs, ys = rng.normal(size=(9, 4)), rng.integers(0, 2, 9)
    _, of_data, words = networks._of_jax({"model": (net, params), "xs": xs, "ys": ys}, None, "net")
    (first, b), (second, c) = params
    z = np.tanh(np.float32(xs) @ first + b) @ second + c
    expected = jaxnn.train.evaluate(net, params, xs, ys)
    assert np.mean(of_data.loss(z, of_data.ys)) == pytest.approx(float(expected.loss), rel=1e-5)
    assert float(of_data.accuracy(z, of_data.ys)) == pytest.approx(float(expected.metric))
    assert (words, of_data.size) == (networks.OWN, 9)


@pytest.mark.slow
@pytest.mark.usefixtures("users_jax", "one_cure")
def test_a_module_of_torch_is_trained_by_digits_and_left_as_it_was():
    need("torch")
    import torch

    digits, rule = data.load("digits"), Rule("adam", 64, 60)
    torch.manual_seed(0)
    layers = [torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.Tanh()) for _ in range(6)]
    module = torch.nn.Sequential(torch.nn.Linear(64, 16), *layers, torch.nn.Linear(16, 10))
    state = {name: v.clone() for name, v in module.state_dict().items()}
    given = {"model": module, "xs": torch.randn(4, 64)}
    made = networks.networks(given, digits, rule, "net()")
    assert [*made.variants(made.best(0))] == [BEFORE]
    assert "cures" not in vars(made)  # nothing is tried that is not asked for
    before, cured = made.variants(made.best(1)).values()
    of_before, of_cured = (variant.trained(0.01, 0) for variant in (before, cured))
    assert of_before.accuracy[-1] < of_cured.accuracy[-1]
    assert of_cured.loss[-1] < of_cured.loss[0]
    for name, v in module.state_dict().items():
        assert torch.equal(v, state[name])


def test_the_rivals_of_the_example_are_orthogonal_and_of_their_sizes():
    """LSUV has outputs of unit deviation, the other one the gain that PyTorch recommends."""
    names = runpy.run_path(str(Path(__file__).parent.parent / "examples" / "a_hundred_layers.py"))
    layers, z = names["tanh_lsuv"](seed=1)
    for i, (_, p) in enumerate(layers[:3]):
        z = (np.tanh(z) if i else z) @ p["w"] + p["b"]
        assert np.std(z) == pytest.approx(1, rel=1e-5)
        gram = p["w"].T @ p["w"]
        np.testing.assert_allclose(gram, gram[0, 0] * np.eye(64), atol=1e-5)
    assert len(layers) == len(names["tanh"]()[0]) == 101
    for name, gain in (("tanh", 5 / 3), ("relu", 2**0.5), ("sigmoid", 1)):
        (_, p), *_ = names[f"{name}_orthogonal"](seed=1)[0]
        np.testing.assert_allclose(p["w"].T @ p["w"], gain**2 * np.eye(64), atol=1e-5)
