"""The depth sweep: its numbers, its files, its sentences."""

import dataclasses
import json
import subprocess
import sys

import jax
import numpy as np
import polars as pl
import pytest

import jaxnn
from experiments import charts, depth, store
from experiments.__main__ import main

# One worker runs this file: its tests share a finished sweep and compiled programs.
pytestmark = pytest.mark.xdist_group("depth")

SMALL = ["depth", "--depths", "1", "3", "--width", "8", "--batch", "16", "--seeds", "2"]


@pytest.fixture(autouse=True)
def user_s_jax(strict_jax):
    """JAX as a user has it: float32, promotion allowed."""
    with (
        jax.enable_x64(False),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        yield


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("sweep") / "run"
    with jax.enable_x64(False):
        assert main([*SMALL, "--out", str(out)]) == 0
    return out


def measured(**settings):
    plan = depth.prepare(depth.Settings(**settings))
    return pl.concat(depth.measure(plan, cell) for cell in plan.cells)


def test_rates_are_those_of_mean_field_theory(tmp_path):
    """√χ a layer: of a sigmoid by quadrature at its fixed point, of a ReLU ½ and 1 exactly."""
    rows = measured(
        depths=(24,),
        activations=("sigmoid", "relu"),
        weights=("glorot_uniform", "he_normal"),
        width=256,
        seeds=4,
        out=tmp_path / "run",
    )
    rates = {
        depth.name_of(case): np.mean(depth.decades_a_layer(case)) for case in depth.by_case(rows)
    }
    g = np.linspace(-10, 10, 20_001)
    density = np.exp(-(g**2) / 2) / np.sqrt(2 * np.pi)

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    def predicted(variance):
        q = 1.0
        for _ in range(100):
            q = variance * np.trapezoid(density * sigmoid(np.sqrt(q) * g) ** 2, g)
        a = sigmoid(np.sqrt(q) * g)
        return 0.5 * np.log10(variance * np.trapezoid(density * (a * (1 - a)) ** 2, g))

    # A slope over 24 layers of width 256 has a standard deviation of about 0.006 for one seed.
    for name, expected in {
        ("sigmoid", "glorot_uniform"): predicted(1),
        ("sigmoid", "he_normal"): predicted(2),
        ("relu", "glorot_uniform"): 0.5 * np.log10(0.5),
        ("relu", "he_normal"): 0,
    }.items():
        assert rates[name] == pytest.approx(expected, abs=0.015), name


def test_one_program_serves_all_depths_up_to_a_power_of_two(tmp_path):
    """Depths 1 … 9 are at most 8 layers of a run beyond the first: room for 1, 2, 4 or 8."""
    programs = depth._gradient_flow._cache_size()
    settings = {"depths": tuple(range(1, 10)), "activations": ("tanh",), "seeds": 2}
    rows = measured(
        **settings, weights=("he_normal", "lecun_normal"), width=7, out=tmp_path / "run"
    )
    assert depth._gradient_flow._cache_size() - programs == 4
    layers = rows.group_by("depth", "weights", "seed").len()
    assert layers.height == 9 * 2 * 2
    assert (layers["len"] == layers["depth"] + 1).all()


def test_room_for_a_depth_does_not_change_what_is_measured(tmp_path):
    """The first layers of a run are the same numbers however much room it has."""
    out = tmp_path / "run"
    plan = depth.prepare(depth.Settings(depths=(5,), activations=("tanh",), seeds=1, out=out))
    cell = plan.cells[0]
    assert len(cell.net.sizes) - 2 == 1 + 4
    key, key_batch = jax.random.split(jax.random.key(cell.seed))
    layers = jaxnn.init(cell.net, key, cell.weights)
    order = np.asarray(jax.random.permutation(key_batch, 569))[:128]
    flow = jaxnn.gradient_flow(cell.net, layers, plan.dataset.x[order], plan.dataset.y[order])
    rows = depth.measure(plan, cell)
    np.testing.assert_allclose(
        rows["log10_delta_z"], np.asarray(flow.log_delta) / np.log(10), rtol=1e-5
    )


def test_a_square_first_layer_is_one_of_the_run(tmp_path):
    rows = measured(depths=(3, 4), activations=("tanh",), width=30, seeds=1, out=tmp_path / "run")
    assert rows.group_by("weights", "depth").len()["len"].sort().to_list() == [4, 4, 5, 5]


def test_rows_say_what_was_measured(small_run):
    rows = pl.read_parquet(small_run / store.ROWS)
    cells = rows.group_by("activation", "weights", "depth", "seed").len()
    assert cells.height == 3 * 2 * 2 * 2
    assert set(cells["len"]) == {2, 4}  # depth 1 and 3, and the output layer
    assert set(rows["delta_z"]) == {"number"}
    measured_columns = ("log10_delta_z", "log10_delta_theta", "mean_square_a")
    assert all(rows[name].is_finite().all() for name in measured_columns)


def test_the_run_can_be_repeated_from_its_json(small_run, tmp_path):
    run = json.loads((small_run / store.RUN).read_text())
    assert run["finished"]
    assert run["seed"] == 0
    assert run["dtype"] == "float32"
    assert run["data"] == "breast_cancer (569 × 30, binary)"
    assert len(run["verdicts"]) == 6
    assert run["versions"]["jax"] == jax.__version__
    assert run["devices"]
    names = ("depths", "activations", "weights", "width", "batch", "seeds", "seed", "data")
    settings = {name: run["settings"][name] for name in names}
    again = measured(**settings, out=tmp_path / "again")
    assert again.equals(pl.read_parquet(small_run / store.ROWS))


def test_every_chart_file_is_whole(small_run):
    starts = {"png": b"\x89PNG", "svg": b"<svg", "pdf": b"%PDF", "html": b"<!DOCTYPE html>"}
    for name in charts.names(depth.CHART):
        content = (small_run / name).read_bytes()
        assert content.startswith(starts[name.rpartition(".")[2]]), name
    page = (small_run / f"{depth.CHART}.html").read_text()
    assert "<script src=" not in page
    assert "<link" not in page
    picture = (small_run / f"{depth.CHART}.svg").read_text()
    for text in (
        "sigmoid, glorot_uniform",
        "vanishing",
        "breast_cancer (569 × 30, binary)",
        "2 seeds",
    ):
        assert text in picture
    assert not list(small_run.glob(".unfinished*"))


def case(slope, depth_=20, states=()):
    """A case of one network: ‖Δz‖ grows by `slope` decades a layer towards the input."""
    layers = np.arange(1, depth_ + 2)
    sizes = slope * (depth_ + 1 - layers).astype(float)
    delta_z = np.array(["number"] * len(layers), dtype=object)
    for layer, state in dict(states).items():
        sizes[layer - 1], delta_z[layer - 1] = -np.inf, state
    return pl.DataFrame(
        {
            "activation": "tanh",
            "weights": "he_normal",
            "depth": depth_,
            "seed": 0,
            "layer": layers,
            "log10_delta_z": sizes,
            "delta_z": delta_z.tolist(),
        }
    )


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        (case(-0.63), "vanishing, 0.63 decades a layer"),
        (case(0.2), "exploding, 0.2 decades a layer"),
        (case(0.01), "steady, 0.01 decades a layer"),
        (case(-1, 1), "no rate, it takes two hidden layers with a gradient"),
        (
            case(-1, states={1: "underflow", 2: "underflow"}),
            "vanishing, 1 decades a layer; of 20 hidden layers, plain float32 backpropagation "
            "underflows from layer 2 down (1 of 1 seeds)",
        ),
        (
            case(-1, states={1: "zero"}),
            "vanishing, 1 decades a layer; of 20 hidden layers, it is exactly zero, every path "
            "through a dead unit, from layer 1 down (1 of 1 seeds)",
        ),
        (
            case(1, states={1: "overflow"}),
            "exploding, 1 decades a layer; of 20 hidden layers, plain float32 backpropagation "
            "overflows from layer 1 down (1 of 1 seeds)",
        ),
    ],
)
def test_the_verdict_is_one_sentence(rows, verdict):
    assert depth.sentence(rows) == f"tanh, he_normal: {verdict}"


def test_underflow_dead_units_and_overflow_are_told_apart(tmp_path):
    rows = measured(
        depths=(90,), activations=("sigmoid",), weights=("glorot_uniform",), width=16, seeds=1,
        out=tmp_path / "a",
    )  # fmt: skip
    states = rows["delta_z"].to_list()
    assert states[0] == "underflow"
    assert states[-1] == "number"
    rows = measured(
        depths=(5,), activations=("relu",), weights=("zeros",), width=4, seeds=1, out=tmp_path / "b"
    )
    assert rows["delta_z"].to_list() == ["zero"] * 5 + ["number"]
    rows = measured(
        depths=(40,), activations=("identity",), weights=("ones",), width=64, seeds=1,
        out=tmp_path / "c",
    )  # fmt: skip
    assert rows["delta_z"][0] == "overflow"
    for drawn in (rows, rows.with_columns(log10_delta_z=pl.lit(float("nan")))):
        depth.depth_chart.draw(drawn, {depth.name_of(rows): "exploding"}, "").to_dict()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--activations sigmiod", "activation: there is no 'sigmiod'; choose one of identity"),
        ("--weights glorot", "weights: there is no 'glorot'; choose one of glorot_uniform"),
        ("--biases many", "biases: there is no 'many'; choose one of zeros"),
        ("--biases -1", "biases: expected a finite standard deviation >= 0, got -1"),
        ("--data mnist", "data: there is no 'mnist'; choose one of breast_cancer"),
        ("--data nowhere.csv --target y", "data: there is no file nowhere.csv"),
        ("--task ranking", "task: there is no 'ranking'; choose one of regression"),
        (
            "--data diabetes --task binary",
            "expected labels 0 and 1, or two texts in column 'target'",
        ),
        ("--depths 4 0", "depths: expected positive integers, got 0"),
        ("--depths", "depths: expected at least one, got none"),
        ("--width -3", "width: expected positive integers, got -3"),
        ("--batch 0", "batch: expected positive integers, got 0"),
        ("--seeds 0", "seeds: expected positive integers, got 0"),
        ("--seed -1", "seed: expected an integer from 0 to 2^31 - 1, got -1"),
    ],
)
def test_a_user_s_mistake_is_one_sentence(arguments, sentence, tmp_path, capsys, unhooked):
    out = tmp_path / "run"
    assert main(["depth", *arguments.split(), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert sentence in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_a_run_is_not_written_over(small_run, capsys):
    before = {path: path.read_bytes() for path in small_run.iterdir()}
    assert main([*SMALL, "--out", str(small_run)]) == 2
    assert "already holds a run (rows.parquet, " in capsys.readouterr().err
    assert {path: path.read_bytes() for path in small_run.iterdir()} == before


def test_a_user_s_own_file_is_not_written_over(tmp_path, capsys):
    (tmp_path / "gradients.png").write_text("mine")
    assert main([*SMALL, "--out", str(tmp_path)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "gradients.png").read_text() == "mine"


def test_a_folder_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main([*SMALL, "--out", str(tmp_path / "file" / "run")]) == 2
    assert "out: cannot write into" in capsys.readouterr().err


def test_what_was_measured_survives_an_interrupt(tmp_path, capsys, monkeypatch):
    measure, calls = depth.measure, []

    def interrupted(plan, cell):
        calls.append(cell)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return measure(plan, cell)

    monkeypatch.setattr(depth, "measure", interrupted)
    assert main([*SMALL, "--out", str(tmp_path / "run")]) == 130
    assert "3 of 24 measurements are kept" in capsys.readouterr().out
    assert (
        pl.read_parquet(tmp_path / "run" / store.ROWS).group_by("weights", "seed").len().height == 3
    )
    assert not json.loads((tmp_path / "run" / store.RUN).read_text())["finished"]


def test_a_failing_disk_is_one_sentence_and_leaves_no_half_file(tmp_path):
    def write(path):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(
        OSError, match=r"out: cannot write .*rows\.parquet: No space left on device"
    ):
        store.write_file(tmp_path / store.ROWS, write)
    assert not list(tmp_path.iterdir())


def test_the_command_line_as_a_user_calls_it(tmp_path):
    def call(*arguments):
        command = [sys.executable, "-m", "experiments", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    mistake = call("depth", "--activations", "nope", "--out", str(tmp_path / "run"))
    assert mistake.returncode == 2
    assert mistake.stderr.startswith("error: activation: there is no 'nope'")
    assert "Traceback" not in mistake.stderr
    for unparsed in (["depth", "--depths", "deep"], ["depht"], []):
        answer = call(*unparsed)
        assert answer.returncode == 2
        assert "Traceback" not in answer.stderr + answer.stdout
    usage = call("depth", "--help")
    assert usage.returncode == 0
    for field in dataclasses.fields(depth.Settings):
        assert f"--{field.name}" in usage.stdout
    one = ["--activations", "sigmoid", "--weights", "glorot_uniform"]
    run = call(*SMALL, *one, "--data", "wine", "--out", str(tmp_path / "wine"))
    assert run.returncode == 0
    assert "sigmoid, glorot_uniform: " in run.stdout
    assert "decades a layer" in run.stdout
