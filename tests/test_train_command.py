"""Training as a user calls it: what it leaves, what it says, and what ends it early."""

import json

import jax
import numpy as np
import polars as pl
import pytest
import safetensors.numpy
from problems import as_users_have_jax
from rich.console import Console
from sklearn import metrics

import jaxnn
from experiments.__main__ import main
from experiments.learning import data, model, optimizers
from experiments.pages import charts
from experiments.runs import missing, schema, store
from experiments.train import columns, loop, picture, splits, train_report
from experiments.train import experiment as train

pytestmark = pytest.mark.usefixtures("users_jax")

EPOCHS = 6
SMALL = [
    *("train", "--data", "breast_cancer", "--hidden", "3x6", "--epochs", str(EPOCHS)),
    *("--batch", "100", "--looks", "4", "--quiet", "--no-cache"),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run that nothing happened to, without pictures."""
    out = tmp_path_factory.mktemp("whole") / "run"
    with as_users_have_jax(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(charts, "begin", lambda *_: dict)
        assert main([*SMALL, "--out", str(out)]) == 0
    return out


@pytest.fixture
def undrawn(monkeypatch):
    """Without pictures, which take longer than the rest."""
    monkeypatch.setattr(charts, "begin", lambda *_: dict)


def planned(**settings):
    return train.prepare(
        train.Settings(**{"data": "breast_cancer", "hidden": ("3x6",), **settings})
    )


def looks(dead, sizes):
    """A flow of two hidden layers and an output at steps 0, 10, 20: dead units, log₁₀ ‖Δz[l]‖."""
    steps, layers = np.repeat([0, 10, 20], 3), np.tile([1, 2, 3], 3)
    frame = dict.fromkeys(columns.QUANTITIES, 0.5) | {"log10_delta_z": np.ravel(sizes)}
    return pl.DataFrame(
        {"epoch": steps // 10, "step": steps, "layer": layers, **frame}
        | {"dead_fraction": np.ravel(dead)},
        strict=False,
    )


def test_a_layer_whose_units_are_all_dead_is_named_with_its_step():
    alive, sizes = [0.0, 0.2, 0.0], np.zeros((3, 3))
    dead_layers = train_report.dead_layers
    assert dead_layers(looks([alive] * 3, sizes)) == []
    assert dead_layers(looks([alive, [0, 1, 0], alive], sizes)) == []  # alive again
    since = looks([alive, [1, 1, 0], [0, 1, 0]], sizes)
    assert dead_layers(since) == [
        "All units of layer 2 are dead from step 10 on: nothing passes there"
    ]
    both = looks([[1, 0, 0], [1, 0, 0], [1, 1, 0]], sizes)
    (sentence,) = dead_layers(both)
    assert sentence.startswith(
        "All units of layer 1 are dead from the start, and those of 1 more layer: "
    )


def test_losses_and_gradients_that_are_no_numbers_are_drawn_and_said():
    flow = looks(np.zeros((3, 3)), [[-3, -2, -1], [-np.inf, -np.inf, -1], [np.nan, np.inf, 9]])
    history = pl.DataFrame(
        {
            "epoch": [0, 1, 2, 3],
            "step": [0, 10, 20, 30],
            "set": "training",
            "metric": "R²",
            "loss": [1.0, 0.0, np.inf, np.nan],
            "value": [0.5, 1.0, -np.inf, np.nan],
        }
    )
    figure = picture.figure("rough", history, flow, 0, ["verdict"])
    assert figure.data["curves"]["value_is"].to_list() == [
        *("number", "zero", "inf", "nan"),
        *("number", "number", "zero", "nan"),
    ]
    said = figure.chart.to_json(validate=False, ensure_ascii=False)
    for words in ("at the edge: ▼ zero, ▲ infinite, + not a number", "grey: zero", "red: infinite"):
        assert words in said
    assert train_report.gradient(flow) == (
        "log₁₀ ‖Δz[1]‖ / ‖Δz[3]‖: -2.0 at epoch 0, Δz[1] is not a finite number at epoch 2"
    )


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def by_numpy(folder, x):
    """θ, b and every a of rows, from the file in PyTorch's layout."""
    tensors = safetensors.numpy.load_file(folder / model.TORCH)
    layers = [
        (tensors[f"{2 * i}.weight"].T.astype(float), tensors[f"{2 * i}.bias"].astype(float))
        for i in range(len(tensors) // 2)
    ]
    a = [x]
    for i, (theta, b) in enumerate(layers):
        z = a[-1] @ theta + b
        a.append(np.tanh(z) if i < len(layers) - 1 else sigmoid(z))
    return layers, a


@pytest.mark.slow
def test_what_the_rows_say_is_what_the_exported_network_does(whole):
    """Loss and accuracy of every set at the epoch kept, by NumPy and scikit-learn."""
    rows = pl.read_parquet(whole / store.ROWS)
    schema.check(rows, columns.COLUMNS)
    assert rows.filter(pl.col("set") != "test")["epoch"].to_list() == [
        epoch for epoch in range(EPOCHS + 1) for _ in range(2)
    ]
    steps = -(-len(planned(batch=100).split.parts["training"].x) // 100)
    assert (rows["step"] == rows["epoch"] * steps).all()
    validation = rows.filter(pl.col("set") == "validation", pl.col("epoch") > 0)
    best = validation["epoch"][int(validation["loss"].arg_min())]
    assert rows.filter(pl.col("set") == "test")["epoch"].to_list() == [best]
    for name, part in planned().split.parts.items():
        y_hat = by_numpy(whole, part.x)[1][-1][:, 0]
        row = rows.filter(pl.col("set") == name, pl.col("epoch") == best).row(0, named=True)
        assert row["loss"] == pytest.approx(metrics.log_loss(part.y, y_hat), rel=1e-4)
        assert row["value"] == pytest.approx(metrics.accuracy_score(part.y, y_hat > 0.5))


@pytest.mark.slow
def test_the_flow_is_that_of_the_network_while_it_trains(whole):
    """Four looks, the last at the end: ‖Δz[l]‖ of the first batch, by NumPy, of the export."""
    flow = pl.read_parquet(whole / train.FLOW)
    schema.check(flow, columns.FLOW)
    assert flow["epoch"].unique().to_list() == [0, 2, 4, 6]
    rows = pl.read_parquet(whole / store.ROWS)
    assert rows.filter(pl.col("set") == "test")["epoch"][0] == EPOCHS  # the last look saw it
    _, x, y = (v[:100] for v in planned().split.parts["training"])
    layers, a = by_numpy(whole, x)
    delta, norms = (a[-1] - y[:, None]) / len(x), []
    for i in reversed(range(len(layers))):
        norms.insert(0, np.log10(np.linalg.norm(delta)))
        delta = (delta @ layers[i][0].T) * (1 - a[i] ** 2)
    last = flow.filter(pl.col("epoch") == EPOCHS)
    np.testing.assert_allclose(last["log10_delta_z"], norms, atol=1e-4)


def test_the_run_says_how_it_was_made(whole):
    says = json.loads((whole / store.RUN).read_text())
    assert says["finished"]
    assert says["what"]["settings"]["hidden"] == ["3x6"]
    assert says["looks"]["count"] == 4
    assert any(v.startswith("test: accuracy 0.") for v in says["verdicts"])
    assert {"optax", "safetensors", "skops"} <= set(says["versions"])
    for name in {*train.EXPERIMENT.files, store.ROWS}:
        assert (whole / name).stat().st_size > 0


def test_a_table_with_texts_and_missing_values_is_trained_on_and_predicted(
    tmp_path, undrawn, capsys
):
    """Learned by heart, compared with scikit-learn's network, and predicted from another file."""
    rng = np.random.default_rng(0)
    kinds, x = rng.choice(["a", "b"], 200), rng.normal(size=200)
    y = np.where((kinds == "a") ^ (x > 0), "yes", "no")
    frame = pl.DataFrame({"kind": kinds.tolist(), "x": x, "y": y.tolist()})
    frame[3, "kind"], frame[5, "x"], path, out = None, None, tmp_path / "t.csv", tmp_path / "run"
    frame.write_csv(path)
    more = ("--target", "y", "--hidden", "16", "--rate", "0.03", "--epochs", "30", "--rival")
    asked = ["train", "--data", str(path), *more, "--quiet", "--no-cache", "--out", str(out)]
    assert main(asked) == 0
    ours, theirs, *_ = json.loads((out / store.RUN).read_text())["verdicts"]
    assert float(ours.split()[2]) > 0.9
    assert theirs.startswith("test: accuracy ")
    assert "scikit-learn's MLPClassifier" in theirs
    answers = tmp_path / "answers.csv"
    assert main(["predict", str(out), str(path), "--out", str(answers)]) == 0
    share = np.mean(pl.read_csv(answers)["prediction"].to_numpy() == y)
    assert share > 0.9
    assert f"accuracy {share:.4g} of 200 rows" in capsys.readouterr().out


def test_a_stopped_run_concludes_with_what_was_done(whole, tmp_path, undrawn, monkeypatch, capsys):
    def stop(recipe, params, key, stopped, tell):
        def after(label):
            if label.startswith("epoch 2 "):
                stopped.append(1)

        return trained(recipe, params, key, stopped, after)

    trained, out = loop.train, tmp_path / "run"
    monkeypatch.setattr(loop, "train", stop)
    assert main([*SMALL, "--out", str(out)]) == 130
    says = json.loads((out / store.RUN).read_text())
    assert "Stopped after epoch 2 of 6." in says["verdicts"]
    rows, of_whole = (pl.read_parquet(folder / store.ROWS) for folder in (out, whole))
    seen = rows.filter(pl.col("set") != "test")
    assert seen.equals(of_whole.filter(pl.col("set") != "test", pl.col("epoch") <= 2))
    monkeypatch.setattr(loop, "train", trained)
    assert main([*SMALL, "--out", str(out)]) == 0  # from its beginning
    assert pl.read_parquet(out / store.ROWS).equals(of_whole)


def test_a_run_that_diverges_is_a_sentence_and_keeps_what_was_done(
    whole, tmp_path, undrawn, capsys, monkeypatch
):
    fit = jaxnn.fit

    def diverging(*arguments, callback, **named):
        def after(state):
            callback(state)
            if state.step == 2 * steps:
                error = jaxnn.errors.NonFiniteError
                raise error("step 8: the loss is nan", 8, "signal", 2, state, np.zeros(steps))

        return fit(*arguments, callback=after, **named)

    steps = planned(batch=100).recipe.steps
    monkeypatch.setattr(jaxnn, "fit", diverging)
    out = tmp_path / "run"
    assert main([*SMALL, "--out", str(out)]) == 1
    assert capsys.readouterr().err == "error: epoch 3, step 8: the loss is nan\n"
    rows, of_whole = (pl.read_parquet(folder / store.ROWS) for folder in (out, whole))
    seen = rows.filter(pl.col("set") != "test")
    assert seen.equals(of_whole.filter(pl.col("set") != "test", pl.col("epoch") <= 2))
    says = json.loads((out / store.RUN).read_text())
    assert not says["finished"]
    assert says["verdicts"][-1] == "epoch 3, step 8: the loss is nan"
    left = missing.read(says["missing"], train.EXPERIMENT.columns)
    assert left.sentence == f"The run was stopped: 2 of {EPOCHS} epochs done."  # nor goes it on
    model.read(out)


FAR = ["--data", "diabetes", "--activation", "relu", "--hidden", "6x8"]


@pytest.mark.slow
def test_a_signal_that_leaves_float32_before_the_first_step(tmp_path, capsys, monkeypatch):
    out = tmp_path / "run"
    monkeypatch.setattr(train, "find_weights", lambda _: jaxnn.initializers.gaussian(1e10))
    assert main([*SMALL, *FAR, "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: epoch 1, step 0, counted from 0: the loss is nan; the signal")
    assert error.count("\n") == 1
    assert pl.read_parquet(out / store.ROWS)["loss"].is_nan().all()
    for name in {*train.EXPERIMENT.leaves}:
        assert (out / name).stat().st_size > 0
    assert "log₁₀ ‖Δz[l]‖" in (out / "training.svg").read_text()


@pytest.mark.slow
def test_training_stops_when_validation_no_longer_improves():
    plan = planned(patience=2, rate=0.0, looks=3, batch=100)
    course = loop.train(plan.recipe, *train.begin(plan), [], lambda label: None)
    assert course.ended == "No lower validation loss for 2 epochs."
    assert (course.epochs, course.best.epoch, course.looked) == (3, 1, [0, 3])
    assert planned(looks=4, epochs=6).recipe.looks_at == [0, 2, 4, 6]


def test_what_is_held_out_does_not_reach_the_training_rows():
    """Other values in the held-out rows change no feature and no label of the training rows."""
    table = data.table("diabetes")
    before = splits.split(table, 0.2, 0.3, 0)
    frame, y = table.frame.to_numpy().copy(), table.y.copy()
    held_out = np.concatenate([before.parts[name].rows for name in ("validation", "test")])
    frame[held_out] += 100
    y[held_out] *= 7
    other = data.DataTable(
        "other", "regression", pl.DataFrame(frame, table.frame.columns), "y", (), y
    )
    after = splits.split(other, 0.2, 0.3, 0)
    for one, another in zip(before.parts["training"], after.parts["training"], strict=True):
        np.testing.assert_array_equal(one, another)
    places = np.sort(np.concatenate([part.rows for part in before.parts.values()]))
    np.testing.assert_array_equal(places, np.arange(len(table.y)))
    part = before.parts["test"]
    restored = before.mean + before.spread * part.y
    np.testing.assert_allclose(restored, table.y[part.rows], rtol=1e-12)


def test_classes_have_their_shares_in_every_part():
    table = data.table("wine")
    parts = splits.split(table, 0.2, 0.2, 0).parts
    for part in parts.values():
        shares = np.bincount(part.y) / len(part.y)
        np.testing.assert_allclose(shares, np.bincount(table.y) / len(table.y), atol=0.03)


def test_every_optimiser_makes_a_step_like_its_parameters():
    params = {"theta": jax.ShapeDtypeStruct((2, 3, 3), "float32")}
    for name in optimizers.NAMES:
        made = optimizers.make(name, 0.1)
        assert optimizers.make(name, 0.1) is made
        updates, _ = jax.eval_shape(lambda p, made=made: made.update(p, made.init(p), p), params)
        assert updates["theta"].shape == (2, 3, 3), name


def test_momentum_is_sgd_with_the_usual_one():
    for name, second in (("sgd", -1.0), ("momentum", -1.9)):
        made, gradient = optimizers.make(name, 1.0), np.ones(2, "f4")
        _, state = made.update(gradient, made.init(gradient), gradient)
        update, _ = made.update(gradient, state, gradient)
        assert float(update[0]) == pytest.approx(second)


def test_the_table_and_an_r2_far_below_zero(snapshot):
    row = {"epoch": 0, "set": "test", "metric": "R²", "loss": 4e29, "value": -8.1e29}
    console = Console(width=80, record=True)
    console.print(train_report.table(pl.DataFrame([row])))
    assert console.export_text() == snapshot


def test_layers_are_written_as_counts_and_widths():
    assert train.hidden(("2x64", "10", "3×2")) == (64, 64, 10, 2, 2, 2)
    assert planned(hidden=()).recipe.net.sizes == (30, 1)
    deep, _ = jax.eval_shape(lambda: train.begin(planned(hidden=("300x4",))))
    assert [layer.theta.shape for layer in deep] == [(30, 4), (299, 4, 4), (4, 1)]
