"""Training as a user calls it: what it leaves, and that it goes on as if nothing had happened."""

import copy
import io
import json
import re
import shutil
import types
from functools import partial

import browser
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
from experiments.learning import data, measures, model, optimizers, splits
from experiments.pages import charts, names, report
from experiments.runs import missing, schema, store
from experiments.train import columns, loop, picture, view
from experiments.train import experiment as train
from experiments.train import page as train_page
from experiments.train import report as train_report
from jaxnn.texts import percent
from jaxnn.train import read_watch
from jaxnn.train.fitting import Best
from jaxnn.train.journal import FILE

pytestmark = pytest.mark.usefixtures("users_jax")

EPOCHS = 6
SMALL = [
    *("train", "--data", "breast_cancer", "--hidden", "3x6", "--epochs", str(EPOCHS)),
    *("--batch", "100", "--looks", "4", "--checkpoint", "0", "--quiet", "--no-cache"),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run that nothing happened to."""
    out = tmp_path_factory.mktemp("whole") / "run"
    with as_users_have_jax():
        assert main([*SMALL, "--out", str(out)]) == 0
    return out


@pytest.fixture
def undrawn(monkeypatch):
    """Without pictures, which take longer than the rest."""
    monkeypatch.setattr(charts, "rendered", lambda *_: {})
    monkeypatch.setattr(report.Html, "_written", lambda self, **more: "")


def planned(**settings):
    return train.prepare(
        train.Settings(**{"data": "breast_cancer", "hidden": ("3x6",), **settings})
    )


def looks(dead, sizes):
    """A flow of two hidden layers and an output at steps 0, 10, 20: dead units, log₁₀ ‖Δz[l]‖."""
    steps, layers = np.repeat([0, 10, 20], 3), np.tile([1, 2, 3], 3)
    frame = dict.fromkeys(train_report.FLOW, 0.5) | {"log10_delta_z": np.ravel(sizes)}
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
            "auc": pl.Series([None] * 4, dtype=pl.Float64),
        }
    )
    table = types.SimpleNamespace(name="rough", classes=(), target="y")
    drawn = picture.Drawn.of(table, history, flow, None, 0, ["verdict"], "how")
    assert drawn.data["curves"]["value_is"].to_list() == [
        *("number", "zero", "inf", "nan"),
        *("number", "number", "zero", "nan"),
    ]
    svg = charts.rendered(picture.figure(drawn), "p")["p.svg"].decode()
    for words in ("at the edge: ▼ zero, ▲ infinite, + not a number", "grey: zero", "red: infinite"):
        assert words in svg
    page = train_page.page(drawn, history)
    inside = {
        name: charts.jsonable(frame).to_dict(as_series=False) for name, frame in page.data.items()
    }
    json.dumps(inside, allow_nan=False)
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
    """Loss, accuracy and AUC of every set at the epoch kept, by NumPy and scikit-learn."""
    rows = pl.read_parquet(whole / store.ROWS)
    schema.check(rows, columns.COLUMNS)
    assert rows.filter(pl.col("set") != "test")["epoch"].to_list() == [
        epoch for epoch in range(EPOCHS + 1) for _ in range(2)
    ]
    steps = -(-len(planned(batch=100).split.training.x) // 100)
    assert (rows["step"] == rows["epoch"] * steps).all()
    validation = rows.filter(pl.col("set") == "validation", pl.col("epoch") > 0)
    best = validation["epoch"][int(validation["loss"].arg_min())]
    assert rows.filter(pl.col("set") == "test")["epoch"].to_list() == [best]
    for name, part in planned().split.parts.items():
        y_hat = by_numpy(whole, part.x)[1][-1][:, 0]
        row = rows.filter(pl.col("set") == name, pl.col("epoch") == best).row(0, named=True)
        assert row["loss"] == pytest.approx(metrics.log_loss(part.y, y_hat), rel=1e-4)
        assert row["value"] == pytest.approx(metrics.accuracy_score(part.y, y_hat > 0.5))
        assert row["auc"] == pytest.approx(metrics.roc_auc_score(part.y, y_hat), abs=1e-6)


@pytest.mark.slow
def test_the_flow_is_that_of_the_network_while_it_trains(whole):
    """Four looks, the last at the end: ‖Δz[l]‖ of the first batch, by NumPy, of the export."""
    flow = pl.read_parquet(whole / train.FLOW)
    schema.check(flow, columns.FLOW)
    assert flow["epoch"].unique().to_list() == [0, 2, 4, 6]
    rows = pl.read_parquet(whole / store.ROWS)
    assert rows.filter(pl.col("set") == "test")["epoch"][0] == EPOCHS  # the last look saw it
    x, y = planned().split.training.x[:100], planned().split.training.y[:100]
    layers, a = by_numpy(whole, x)
    delta, norms = (a[-1] - y[:, None]) / len(x), []
    for i in reversed(range(len(layers))):
        norms.insert(0, np.log10(np.linalg.norm(delta)))
        delta = (delta @ layers[i][0].T) * (1 - a[i] ** 2)
    last = flow.filter(pl.col("epoch") == EPOCHS)
    np.testing.assert_allclose(last["log10_delta_z"], norms, atol=1e-4)


@pytest.mark.slow
def test_each_look_is_recorded_for_the_live_page(tmp_path, undrawn):
    out = tmp_path / "run"
    assert main([*SMALL, "--watch", "--out", str(out)]) == 0
    flow, record = pl.read_parquet(out / train.FLOW), read_watch(out)
    assert [line["step"] for line in record.measurements] == flow["step"].unique().to_list()
    ours = [row["log10_delta"] for row in record.table()]
    np.testing.assert_allclose(ours, flow.sort("step", "layer")["log10_delta_z"], atol=1e-4)
    losses = pl.read_parquet(out / store.ROWS).filter(
        pl.col("set") == "training", pl.col("epoch") == 6
    )
    assert record.measurements[-1]["loss"] == pytest.approx(losses["loss"][0], rel=1e-4)
    assert main(["watch", str(out), "--out", str(tmp_path / "page.html")]) == 0
    assert FILE in train.EXPERIMENT.files  # --overwrite begins it again


@pytest.mark.slow
def test_held_out_rows_are_there_with_their_predictions(whole):
    test, part = pl.read_parquet(whole / train.TEST), planned().split.test
    table = data.table("breast_cancer")
    np.testing.assert_array_equal(test["row"], part.rows)
    assert test["target"].to_list() == np.array(table.classes)[part.y.astype(int)].tolist()
    y_hat = by_numpy(whole, part.x)[1][-1][:, 0]
    assert (
        test["prediction"].to_list() == np.array(table.classes)[(y_hat > 0.5).astype(int)].tolist()
    )
    counts = picture.confusion(table.classes, test)
    assert counts["count"].sum() == test.height


def test_the_run_says_how_it_was_made_and_what_the_looks_took(whole):
    says = json.loads((whole / store.RUN).read_text())
    assert says["finished"]
    assert says["what"]["settings"]["hidden"] == ["3x6"]
    assert says["looks"]["count"] == 4
    assert says["looks"]["share"] == pytest.approx(
        says["looks"]["seconds"] / says["looks"]["of_training_seconds"], rel=0.02
    )
    assert any(v.startswith("test: accuracy 0.") for v in says["verdicts"])
    assert {"optax", "orbax-checkpoint", "safetensors"} <= set(says["versions"])
    for name in {*train.EXPERIMENT.leaves, store.ROWS} - {FILE}:  # without --watch
        assert (whole / name).stat().st_size > 0
    assert "log₁₀ ‖Δz[l]‖" in (whole / "training.svg").read_text()


def test_a_table_with_texts_and_missing_values(tmp_path, monkeypatch, capsys):
    """From the file to a model that says what became of each column, and back by `predict`.

    The network stays as it was drawn, for training takes longest to compile.
    """
    pages = []

    def train_nothing(recipe, progress, saver, stopped, tell, recorder):
        y_hat = model.outputs(recipe.net, progress.params, recipe.test[0])
        flows = np.full((1, len(loop.FLOW), len(recipe.net.sizes) - 1), np.nan)
        return loop.Outcome(
            np.full((1, 2, 3), np.nan), np.zeros(1, int), flows, 0, progress.params,
            measures.Tested((np.nan,) * 3, y_hat), loop.Seconds(0.0, 0.0), "Done.", None,
        )  # fmt: skip

    monkeypatch.setattr(loop, "train", train_nothing)
    monkeypatch.setattr(charts, "rendered", lambda *_: {})
    monkeypatch.setattr(report.Html, "whole", lambda self, run, _: pages.append(run) or "")
    rng, path, out = np.random.default_rng(0), tmp_path / "t.csv", tmp_path / "run"
    x = rng.normal(size=80)
    frame = pl.DataFrame(
        {
            "x": [None if i % 9 == 8 else v for i, v in enumerate(x)],
            "s": [[None, "a", "b"][i] for i in rng.integers(0, 3, 80)],
            "id": [f"row {i}" for i in range(80)],
            "y": ["rare" if i % 10 == 0 else None if i == 5 else "usual" for i in range(80)],
        }
    )
    frame.write_csv(path, separator=";")
    more = ("--target", "y", "--missing", "median", "--drop", "id", "--hidden", "3")
    asked = ["train", "--data", str(path), *more, "--quiet", "--no-cache"]
    assert main([*asked, "--out", str(out)]) == 0
    says = json.loads((out / store.RUN).read_text())
    assert str(tmp_path) not in json.dumps([says, pages])
    assert says["columns"]["s"].startswith("one feature each for a, b, missing values are")
    assert says["notes"] == [
        "columns are separated by ;",
        "left out: 1 of 80 rows, without a label",
    ]
    assert "t.csv (79 × 2, binary): 'y' is one of 2 classes, rare, usual" in says["verdicts"]
    test = pl.read_parquet(out / train.TEST)
    assert test["target"].to_list() == frame["y"].gather(test["row"]).to_list()
    balanced = metrics.balanced_accuracy_score(test["target"], test["prediction"])
    base = test["target"].value_counts()["count"].max() / test.height
    assert f"(base rate {base:.4g}, balanced accuracy {balanced:.4g})" in says["verdicts"][0]
    known = model.read(out)
    assert known.encoder.features == ("x", "s=a", "s=b")
    places = splits.split(data.table(str(path), data.Options(
        target="y", missing="median", drop=("id",))), 0.15, 0.2, 0).training.rows  # fmt: skip
    left = frame.filter(pl.col("y").is_not_null())
    assert known.encoder.columns[0].fill == left[places]["x"].median()
    capsys.readouterr()
    answers = tmp_path / "answers.csv"
    assert main(["predict", str(out), str(path), "--out", str(answers)]) == 0
    predicted = pl.read_csv(answers)["prediction"]
    assert predicted.gather(test["row"]).to_list() == test["prediction"].to_list()
    assert "warning: missing values are filled in as in training: 'x' 8" in capsys.readouterr().err


def same(out, whole):
    """The same network, history and flows, to the last bit."""
    for name in (model.TORCH, model.FLAX, store.ROWS, train.FLOW, train.TEST):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    assert json.loads((out / store.RUN).read_text())["finished"]


def test_a_stopped_run_goes_on_as_if_nothing_had_happened(
    whole, tmp_path, undrawn, monkeypatch, capsys
):
    """By Ctrl-C after two epochs, by a fault after one more, whose checkpoint is then broken."""
    out, whole_loop = tmp_path / "run", loop.train

    def stopped_after(count, raised=None):
        def stop(recipe, progress, saver, stopped, tell, recorder):
            def after(p):
                if p.epoch == count:
                    stopped.append(2)
                    if raised:
                        raise raised

            return whole_loop(recipe, progress, saver, stopped, after)

        monkeypatch.setattr(loop, "train", stop)

    stopped_after(2)
    assert main([*SMALL, "--out", str(out)]) == 130
    said = capsys.readouterr()
    assert "stopped; the same command again goes on" in said.err
    sentence = f"The run was stopped: 2 of {EPOCHS} epochs done. The same command again goes on."
    says = json.loads((out / store.RUN).read_text())
    assert not says["finished"]
    assert f"Stopped after epoch 2 of {EPOCHS}." in says["verdicts"]
    assert says["verdicts"][0].endswith("of lowest validation loss so far")
    assert main(["show", str(out)]) == 0
    for text in (said.out, capsys.readouterr().out):
        assert sentence in text
        assert f"exported network, 2 of {EPOCHS} epochs done" in " ".join(text.split())
    stopped_after(3, RuntimeError("killed"))
    with pytest.raises(RuntimeError):
        main([*SMALL, "--out", str(out)])
    assert [p.name[:8] for p in sorted((out / store.PARTS).iterdir())] == ["00000002", "00000003"]
    newest = max((out / store.PARTS).iterdir())
    biggest = max((p for p in newest.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    biggest.write_bytes(biggest.read_bytes()[:-1])
    monkeypatch.setattr(loop, "train", whole_loop)
    assert main([*SMALL, "--out", str(out)]) == 0
    same(out, whole)
    # Done is done: once more is nothing but pictures.
    monkeypatch.setattr(
        jaxnn.train, "each_epoch", lambda *_, epochs, **__: iter(()) if epochs == 0 else 1
    )
    assert main([*SMALL, "--out", str(out)]) == 0
    same(out, whole)


def test_a_broken_checkpoint_is_said_and_another_run_refused(
    whole, tmp_path, undrawn, capsys, caplog
):
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    for path in (out / store.PARTS).iterdir():
        next(p for p in path.rglob("*") if p.is_file()).write_bytes(b"")
    assert main([*SMALL, "--out", str(out)]) == 0
    assert caplog.text.count("resumed from epoch 0, for checkpoints are corrupt: 00000006.") == 1
    same(out, whole)
    for more, sentence in (
        (("--rate", "0.1"), "holds another run (settings.rate 0.001 there, 0.1 now)"),
        (("--data", "wine"), "settings.data breast_cancer there, wine now"),
    ):
        assert main([*SMALL, *more, "--out", str(out)]) == 2
        assert sentence in capsys.readouterr().err


def test_a_run_that_diverges_is_a_sentence_and_keeps_what_was_done(
    whole, tmp_path, undrawn, capsys, monkeypatch
):
    each_epoch = jaxnn.train.each_epoch

    def diverging(*arguments, **named):
        passes = each_epoch(*arguments, **named)
        yield next(passes)
        state, losses = next(passes)
        yield state, losses
        raise jaxnn.errors.NonFiniteError("step 8: the loss is nan", 8, "signal", 2, state, losses)

    monkeypatch.setattr(jaxnn.train, "each_epoch", diverging)
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


FAR = ["--data", "diabetes", "--activation", "relu", "--sigma-w", "1e10", "--hidden", "6x8"]


@pytest.mark.slow
def test_a_signal_that_leaves_float32_before_the_first_step(tmp_path, capsys):
    out = tmp_path / "run"
    assert main([*SMALL, *FAR, "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: epoch 1, step 0, counted from 0: the loss is nan; the signal")
    assert error.count("\n") == 1
    assert pl.read_parquet(out / store.ROWS)["loss"].is_nan().all()
    for name in {*train.EXPERIMENT.leaves} - {FILE}:  # without --watch
        assert (out / name).stat().st_size > 0


@pytest.mark.slow
def test_the_report_opens_and_its_choices_change_it(whole):
    with browser.launched() as chromium:
        tab = browser.Tab(chromium, whole / names.REPORT).wait()
        assert tab.said == []
        assert tab.asked == [(whole / names.REPORT).as_uri()]
        for name, value, chart in (("curve", "AUC", 0), ("quantity", "dead units", 1)):
            before = tab.drawn(chart)
            tab.choose(name, value)
            assert tab.drawn(chart) != before
        rows = pl.read_parquet(whole / store.ROWS)
        assert float(tab.numbers()[0][2]) == pytest.approx(rows["auc"][0], rel=1e-5)


def test_looks_are_evenly_spaced_and_as_many_as_should_take_their_share():
    """By operations alone, not by a clock: the same settings look at the same epochs."""

    def epochs(**settings):
        return sorted(planned(**settings).recipe.looks_at)

    assert epochs(epochs=5) == [0, 5]  # a look takes as long as many steps of a small network
    assert epochs(epochs=5, looks=3) == [0, 2, 5]
    wide = epochs(epochs=100, hidden=("3x256",), batch=64)
    assert 5 < len(wide) < 40
    assert set(np.diff(wide)) <= {np.ptp(wide) // (len(wide) - 1) + i for i in (0, 1)}
    assert len(epochs(epochs=1000, hidden=("3x256",), batch=64)) == loop.MOST_LOOKS


def test_training_stops_when_validation_no_longer_improves():
    plan = planned(epochs=50, patience=3)
    progress = loop.Progress.begun(plan.recipe, train.begin(plan))
    progress.epoch, progress.best = 9, Best(7, 0.1, 2)
    assert loop.ended(plan.recipe, progress) is None
    progress.epoch, progress.best = 10, progress.best.after(10, 0.1)
    assert loop.ended(plan.recipe, progress) == "No lower validation loss for 3 epochs."


def test_the_best_epoch_is_the_first_of_the_lowest_losses():
    best = Best()
    for epoch, loss in enumerate([np.nan, np.inf, 3.0, 2.0, np.nan, 2.0]):
        best = best.after(epoch, loss)
        assert best.stalled(2) == (
            "No lower validation loss for 2 epochs." if epoch in (1, 5) else None
        )
    assert best == (3, 2.0, 2)
    assert best.stalled(None) is None


def test_what_is_held_out_does_not_reach_the_training_rows():
    """Rows of the other parts may be anything: what is trained on stays the same."""
    table = data.table("diabetes")
    before = splits.split(table, 0.2, 0.25, seed=3)
    x, y = table.frame.to_numpy().copy(), table.y.copy()
    for part in (before.validation, before.test):
        x[part.rows], y[part.rows] = 1e6, -1e6
    frame = pl.DataFrame(x, schema=table.frame.columns)
    after = splits.split(data.Table(**{**vars(table), "frame": frame, "y": y}), 0.2, 0.25, seed=3)
    assert after.encoder == before.encoder
    np.testing.assert_array_equal(after.training.x, before.training.x)
    np.testing.assert_array_equal(after.training.y, before.training.y)
    np.testing.assert_allclose(before.training.x.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(before.training.y.std(), 1, rtol=1e-12)
    assert abs(before.test.x.mean(axis=0)).max() > 1e-3
    every = np.concatenate([part.rows for part in before.parts.values()])
    assert sorted(every) == list(range(442))
    assert [len(part.rows) for part in before.parts.values()] == [244, 88, 110]
    restored = before.y_scaler.restored(before.test.y[:, None])[:, 0]
    np.testing.assert_allclose(restored, table.y[before.test.rows], rtol=1e-12)


def test_auc_is_that_of_scikit_learn_with_ties_too():
    rng = np.random.default_rng(0)
    auc = jax.jit(measures.auc)
    for values in (3, 9, 10**6):
        z, y = rng.integers(0, values, 50).astype("f4"), (np.arange(50) % 3 == 0).astype("f4")
        assert float(auc(z, y)) == pytest.approx(metrics.roc_auc_score(y, z), abs=1e-6)
    assert np.isnan(float(auc(z, np.ones(50, "f4"))))
    alike = np.float32(0.1) * (1 + np.finfo("f4").eps * rng.integers(-3, 4, 50)).astype("f4")
    assert float(auc(alike, y)) == 0.5
    beyond = np.where(y > 0, np.inf, z).astype("f4")
    assert float(auc(beyond, y)) == 1


@pytest.mark.parametrize("name", optimizers.NAMES)
def test_every_optimiser_makes_a_step_like_its_parameters(name):
    params = {"theta": jax.ShapeDtypeStruct((2, 3, 3), "float32")}
    made = optimizers.make(name, 0.1)
    assert optimizers.make(name, 0.1) is made
    updates, _ = jax.eval_shape(lambda p: made.update(p, made.init(p), p), params)
    assert updates["theta"].shape == (2, 3, 3)


def test_momentum_is_for_those_that_have_one():
    trees = [np.ones(2, "f4"), np.ones(2, "f4")]
    for name, momentum, second in (
        ("sgd", None, -1.0),
        ("sgd", 0.5, -1.5),
        ("momentum", None, -1.9),
    ):
        made = optimizers.make(name, 1.0, momentum)
        state = made.init(trees[0])
        for gradient in trees:
            update, state = made.update(gradient, state, trees[0])
        assert float(update[0]) == pytest.approx(second)


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (120, "epoch 9999/9999 ━━━━━━━━━━━━ 00:00 loss 0.000814 | 0.00376, accuracy 0.981 | 1.000, "
              "AUC 0.996 | 1.000"),
        (100, "epoch 9999/9999 ━━━━━━━━━━━━ 00:00 loss 0.000814 | 0.00376, accuracy 0.981 | 1.000"),
        (80, "epoch 9999/9999 00:00 loss 0.000814 | 0.00376, accuracy 0.981 | 1.000"),
        (60, "epoch 9999/9999 00:00 loss 0.000814 | 0.00376"),
        (41, "9999/9999 00:00 loss 0.000814 | 0.00376"),
        (40, "9999/9999 00:00"),
    ],
)  # fmt: skip
def test_the_live_line_leaves_out_what_does_not_fit(width, shown):
    net = jaxnn.Network((2, 1), "tanh", "binary")
    measured = {9999: np.array([[0.000814, 0.981, 0.996], [0.00376, 1, 1]])}
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=True, color_system=None)
    with view._live(console, types.SimpleNamespace(net=net, epochs=9999), 0) as tell:
        tell(types.SimpleNamespace(epoch=9999, measured=measured))
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())
    assert re.split(r"[\r\n]+", plain.strip())[-1].strip() == shown


def test_an_r2_far_below_zero_and_a_long_look_are_short():
    recipe = types.SimpleNamespace(net=jaxnn.Network((2, 1), "tanh", "regression"))
    measured = {0: np.array([[4e29, -8.1e29, np.nan]])}
    progress = types.SimpleNamespace(epoch=0, measured=measured)
    assert view.words(recipe, progress) == "loss 4e+29, R² -8.1e+29"
    row = {"epoch": 0, "set": "test", "metric": "R²", "loss": 4e29, "value": -8.1e29, "auc": None}
    assert train_report.cells(pl.DataFrame([row]))[1] == [("test", "0", "4e+29", "-8.1e+29")]
    assert (percent(0.04), percent(2.8)) == ("4 %", "280 %")


def test_layers_are_written_as_counts_and_widths():
    assert train.hidden(("2x64", "10", "3×2")) == (64, 64, 10, 2, 2, 2)
    assert planned(hidden=()).net.sizes == (30, 1)
    deep = jax.eval_shape(partial(train.begin, planned(hidden=("300x4",))))
    assert [layer.theta.shape for layer in deep.params] == [(30, 4), (299, 4, 4), (4, 1)]


def test_the_dry_run_is_a_config_file(tmp_path, capsys):
    assert main([*SMALL, "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "floating-point operations" in text
    (tmp_path / "run.toml").write_text(text)
    assert main(["train", "--config", str(tmp_path / "run.toml"), "--dry-run"]) == 0
    assert capsys.readouterr().out == text


@pytest.mark.slow
def test_a_resumed_run_ends_in_the_same_best_epoch():
    """From a checkpoint in memory; by a step size so large that the best epoch is an early one."""
    plan, trees = planned(epochs=4, batch=100, rate=0.1, looks=2, seed=3), {}

    def trained(tree=None):
        progress = loop.Progress.begun(plan.recipe, train.begin(plan))
        if tree is not None:
            progress.load(tree)
        saver = loop.Saver(
            lambda epoch, tree: trees.update({epoch: copy.deepcopy(tree)}), 0.0, progress.epoch
        )
        return loop.train(plan.recipe, progress, saver, [], lambda progress: None)

    outcome = trained()
    assert 0 < outcome.best < outcome.epochs == 4
    loss = jaxnn.train.evaluate(plan.net, outcome.params, *plan.recipe.sets[1]).loss
    assert outcome.measured[outcome.best, 1, 0] == pytest.approx(float(loss), rel=1e-6)
    resumed = trained(trees[3])
    for name in ("best", "params", "measured", "flows", "test"):
        jax.tree.map(np.testing.assert_array_equal, getattr(resumed, name), getattr(outcome, name))


def test_a_checkpoint_that_fails_is_not_tried_again():
    """Threads of the first try may still write where a second one would begin by deleting."""
    tried = []

    def full(epoch, tree):
        tried.append(epoch)
        raise OSError("out: no space left")

    plan = planned(epochs=3, batch=100, looks=2)
    progress = loop.Progress.begun(plan.recipe, train.begin(plan))
    with pytest.raises(OSError, match="no space left"):
        loop.train(plan.recipe, progress, loop.Saver(full, 0.0, 0), [], lambda progress: None)
    assert tried == [1]
