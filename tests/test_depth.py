"""The depth sweep: its numbers, its files, its sentences."""

import contextlib
import dataclasses
import itertools
import json
import math
import re
from operator import itemgetter
from types import SimpleNamespace

import altair as alt
import jax
import numpy as np
import polars as pl
import polars.testing
import pytest
from problems import as_users_have_jax

import jaxnn
from experiments.__main__ import main
from experiments.depth import cells, depth_report, depth_theory, page, picture
from experiments.depth import experiment as depth
from experiments.learning import data, networks
from experiments.pages import charts, engine, names, web
from experiments.pages import run_page as pages
from experiments.runs import experiment, runtime, store
from experiments.runs.devices import SideBySide
from jaxnn.flow.measure.flow_of_net import flow_of_net
from jaxnn.initializers import find_weights

pytestmark = pytest.mark.usefixtures("users_jax")

SMALL = [
    "depth",
    *("--activations", "relu", "--weights", "he_normal"),
    *("--depths", "1", "3", "--width", "8", "--batch", "16", "--seeds", "2", "--no-cache"),
]


# What else is measured with these, for two depths, shares the programs of that run.
AS_SMALL = {"width": (8,), "batch": (16,), "seeds": 2}


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("sweep") / "run"
    with as_users_have_jax(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(web, "library", lambda: "")  # which takes two seconds to bundle
        assert main([*SMALL, "--out", str(out)]) == 0
    return out


def planned(**settings):
    """Numbers as a user writes them."""
    texts = {
        name: tuple(map(str, value)) if isinstance(value, tuple) else value
        for name, value in settings.items()
    }
    return depth.prepare(depth.Settings(**texts))


def measured(**settings):
    plan = planned(**settings)
    rows = pl.concat(map(cells.DepthSweep(plan.datasets).measure, plan.cells))
    return depth_report.labelled(rows)


@pytest.mark.parametrize(
    ("deepest", "batch", "rooms"),
    [
        (65, 2**16, {65: 64}),
        (66, 2**16, {1: 64, 65: 64, 66: 256}),
        (1024, 2**16, {65: 64, 66: 1024, 1024: 1024}),
        (5000, 2**16, {66: 1024, 1026: 16384, 5000: 16384}),
        (1100, 2**16, {66: 1024, 1025: 1024, 1026: 4096}),
        # Zeros for 1024 layers are cheap with these batches, and one room is enough up to there.
        (1024, 2**13, {1: 1024, 1024: 1024}),
        (5000, 2**13, {1: 1024, 1025: 1024, 1026: 16384}),
        (100, 8, {1: 256, 100: 256}),
    ],
)
def test_few_rooms_and_none_larger_than_the_deepest_network_needs(deepest, batch, rooms):
    dataset = data.load("iris")
    for used, room in rooms.items():
        net = networks.roomy(dataset, 2, "tanh", used, batch, deepest=deepest)
        assert len(net.sizes) - 2 == 1 + room


@pytest.mark.slow
def test_a_kept_draw_is_what_a_cell_would_draw_itself():
    """To the bit, whichever cell came before: one of another depth, other seeds or biases."""
    of = {"depths": (2, 9), "activations": ("relu",), "weights": ("he_normal",), **AS_SMALL}
    plans = [planned(**of), planned(**of, seed=1), planned(**of, sigma_b=("0.1",))]
    plans.append(planned(**of | {"depths": (3, 4)}))  # its draw lacks layers of the others
    datasets, all_cells = plans[0].datasets, [cell for plan in plans for cell in plan.cells]
    alone = [cells.DepthSweep(datasets).measure(cell) for cell in all_cells]
    for before, (cell, expected) in itertools.product(
        all_cells, zip(all_cells, alone, strict=True)
    ):
        sweep = cells.DepthSweep(datasets)
        sweep.measure(before)
        assert sweep.measure(cell).equals(expected)


@pytest.mark.slow
def test_a_network_is_the_start_of_the_deepest_one():
    """With the output layer of that one, and less room."""
    dataset, hidden = data.load("iris"), 4
    net = networks.network(dataset, 3, "tanh", 6)
    scheme = networks.Initialisation("he_normal", find_weights("he_normal"))
    of = networks.Networks(net, (hidden,), scheme, 0.5, 7, "float32", (0, 1), deepest=70)
    draws = networks.Draws()
    drawn, (flow,) = of_seeds(draws.of(dataset, of), 2), networks.flows(draws, dataset, of)
    assert drawn[0][1].theta.shape[1] == 256
    plain = jaxnn.Network((4, *[3] * hidden, 3), "tanh", "multiclass")
    for i in range(2):
        (first, run, last), x, y = jax.tree.map(itemgetter(i), drawn)
        layers = [jaxnn.network.Layer(run.theta[j], run.b[j]) for j in range(hidden - 1)]
        expected = jaxnn.gradient_flow((plain, (first, *layers, last)), x, y)
        np.testing.assert_allclose(flow["log_delta"][i], expected.log_delta, rtol=1e-5)
    others = (dataclasses.replace(of, depths=depths) for depths in ((2,), (2, 5), (70,)))
    assert {networks.drawn_for(other) for other in others} == {networks.drawn_for(of)}


@pytest.mark.slow
def test_a_kept_draw_is_not_that_of_another_table():
    """Tables of one shape: the draw of the first does not serve the second."""
    plan = planned(depths=(2, 3), activations=("relu",), weights=("he_normal",), **AS_SMALL)
    cell, dataset = plan.cells[0], plan.datasets["breast_cancer"]
    other = dataclasses.replace(dataset, x=dataset.x[::-1], y=dataset.y[::-1])
    draws = networks.Draws()
    first, second, again = (
        networks.flows(draws, of, cell.networks)[0]["log_delta"] for of in (dataset, other, dataset)
    )
    assert not np.array_equal(first, second)
    assert np.array_equal(again, first)


@pytest.mark.slow
def test_depths_measured_apart_are_the_same_sweep(monkeypatch):
    """In cells of as many depths each, so that one more program is needed."""
    of = {"depths": (1, 2, 4, 6), "activations": ("relu",), "weights": ("he_normal",)}
    together = planned(**of, **AS_SMALL)
    (whole,) = together.cells
    monkeypatch.setattr(depth, "FLOPS_OF_CELL", networks.work(whole.networks).flops / 1.5)
    apart = planned(**of, **AS_SMALL)
    assert [cell.networks.depths for cell in apart.cells] == [(1, 4), (2, 6)]
    assert apart.cells[1].label == "relu, he_normal, 2 to 6 layers"
    assert whole.place not in [cell.place for cell in apart.cells]
    plans = (together, apart)
    frames = [[cells.DepthSweep(plan.datasets).measure(c) for c in plan.cells] for plan in plans]
    order = ("depth", "seed", "layer")
    ours, theirs = (pl.concat(of_plan).sort(order) for of_plan in frames)
    polars.testing.assert_frame_equal(ours, theirs, rel_tol=1e-5, abs_tol=1e-5)
    said = [depth.conclude(*each) for each in zip(plans, frames, strict=True)]
    assert said[0].verdicts == said[1].verdicts
    tables = [depth_report.table(conclusion.rows) for conclusion in said]
    assert [[*column.cells] for column in tables[0].columns] == [
        [*column.cells] for column in tables[1].columns
    ]
    of_charts = [charts.as_dict(c.figures[depth.CHART].chart, {}, "black", "white") for c in said]
    assert of_charts[0] == of_charts[1]


def test_rows_say_what_was_measured(small_run):
    rows = pl.read_parquet(small_run / store.ROWS)
    cells = rows.group_by("activation", "weights", "depth", "seed").len()
    assert cells.height == 2 * 2
    assert set(cells["len"]) == {2, 4}  # depth 1 and 3, and the output layer
    assert set(rows["delta_z"]) == {"number"}
    for column in ("log10_delta_z", "log10_delta_theta", "log10_mean_square_z"):
        assert rows[column].is_finite().all()
    factors = rows.filter(pl.col("layer") <= pl.col("depth"))
    above = rows.filter(pl.col("layer") > 1)
    np.testing.assert_allclose(
        factors["log10_gain"], factors["log10_delta_z"] - above["log10_delta_z"], atol=1e-5
    )
    # The root of a mean square is no less than what a mean of logarithms is of.
    spread = rows["log10_delta_z"] - rows["log10_delta_z_example"] - np.log10(rows["batch"]) / 2
    assert spread.min() > -1e-6
    assert spread.max() < 1
    assert set(rows["sigma_w"].round(6)) == {round(2**0.5, 6)}


def test_the_run_can_be_repeated_from_its_json(small_run):
    run = json.loads((small_run / store.RUN).read_text())
    assert run["finished"]
    assert run["what"]["experiment"] == "depth"
    assert run["what"]["data"] == {"breast_cancer": "breast_cancer (569 × 30, binary)"}
    assert len(run["verdicts"]) == 1
    assert run["versions"]["jax"] == jax.__version__
    assert run["devices"]
    settings = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in run["what"]["settings"].items()
    }
    again = measured(**settings)
    assert again.drop("label").equals(pl.read_parquet(small_run / store.ROWS))


def test_every_chart_file_is_whole(small_run):
    starts = {"png": b"\x89PNG", "svg": b"<svg", "pdf": b"%PDF"}
    for name in names.of_chart(depth.CHART):
        assert (small_run / name).read_bytes().startswith(starts[name[-3:]]), name
    texts = "How large is the gradient", "decades a layer", "relu, he_normal", "2 seeds"
    picture = (small_run / f"{depth.CHART}.svg").read_text()
    assert all(text in picture for text in (*texts, "breast_cancer (569 × 30, binary)"))
    page = (small_run / names.REPORT).read_text()
    assert "<script src=" not in page
    assert "<link" not in page
    assert not list(small_run.glob(".unfinished*"))


def case(slope, depth_=20, states=(), **columns):
    """A case of one network: ‖Δz‖ grows by `slope` decades a layer towards the input."""
    layers = np.arange(1, depth_ + 2)
    sizes = slope * (depth_ + 1 - layers).astype(float)
    delta_z = np.array(["number"] * len(layers), dtype=object)
    for layer, state in dict(states).items():
        sizes[layer - 1], delta_z[layer - 1] = -np.inf, state
    with np.errstate(invalid="ignore"):
        gain = np.append(sizes[:-1] - sizes[1:], np.nan)
    return pl.DataFrame(
        {
            "activation": "tanh",
            "weights": "he_normal",
            "label": "he_normal",
            "sigma_w": 1.0,
            "dtype": "float32",
            "depth": depth_,
            "seed": 0,
            "layer": layers,
            "log10_delta_z": sizes,
            "log10_delta_z_example": sizes,
            "log10_gain": gain,
            "log10_mean_square_z": np.zeros(len(layers)),
            "log10_spread": pl.Series([None] * len(layers), dtype=pl.Float64),
            "delta_z": delta_z.tolist(),
            **columns,
        }
    )


@pytest.mark.parametrize(
    ("hidden", "about"),
    [("batch_norm", "infinite width"), ("dense", "one example")],
    ids=["norm", "dense"],
)
def test_a_theory_that_is_more_than_three_errors_off_says_so(hidden, about):
    """Behind a batch norm it is of infinite width: no bias of the width is known."""
    predicted = depth_report.predicted(
        depth_theory.predict(case(0, 8, hidden=hidden, sigma_b=0.0, width=16, batch=4))
    )
    assert predicted.about == about
    of = {"hidden": jaxnn.blocks.BatchNorm(), "batch": 4} if hidden == "batch_norm" else {}
    at = jaxnn.theory.meanfield.log_delta("tanh", 1.0, 0.0, 1.0, 8, **of)
    infinite = float(at[0]) / 7 / np.log(10)
    assert predicted.wide == pytest.approx(infinite, rel=1e-4)
    assert (predicted.rate == pytest.approx(infinite, rel=1e-4)) == (about == "infinite width")
    apart = np.linspace(-0.003, 0.003, 9)  # an error of 0.000685, of which nine seeds allow 4.28
    near, far = ([predicted.rate + by + d for d in apart] for by in (0.0028, 0.0031))
    shown = f"{predicted.rate:+.3g}"
    assert depth_report.rate_in_parts(near, 8, predicted)[2] == shown
    assert (
        depth_report.rate_in_parts(far, 8, predicted)[2]
        == f"{shown} (4.5 standard errors off; theory is of {about})"
    )
    joint = predicted._replace(error=0.001)
    assert depth_report.rate_in_parts(far, 8, joint)[2] == shown
    assert depth_report.rate_in_parts(far[:1], 8, predicted)[2] == shown  # no error of one seed


def test_a_signal_that_is_more_than_three_errors_off_theory_says_so():
    rows = pl.concat(
        case(0.0, 4, seed=seed, log10_mean_square_z=np.full(5, value))
        for seed, value in enumerate((-0.1, 0.0, 0.1))
    )
    off = "; the signal of layer 4 is -0.6 decades from theory (21 standard errors off; theory is "
    for expected, bias, text in (
        (1.0, None, ""),  # 17 errors, of three seeds as rare as two
        (1.2, None, off + "of infinite width)"),
        (1.2, 0.0, off + "of this width)"),
        (1.2, -1.0, ""),
        (1.2, -math.inf, ""),  # the law says nothing
    ):
        of_theory = pl.DataFrame(
            {
                "layer": [4],
                "log10_mean_square_z": [expected],
                "signal_bias": pl.Series([bias], dtype=pl.Float64),
                "signal_drift": pl.Series([bias and abs(bias)], dtype=pl.Float64),
            }
        )
        assert depth_report.signal_in_words(rows, of_theory) == text
    assert not depth_report.signal_in_words(rows.filter(pl.col("seed") == 0), of_theory)
    narrow = depth_theory.predict(case(0, 8, hidden="dense", sigma_b=0.0, width=4, batch=4))
    ends = narrow.select("signal_bias", "signal_drift")
    assert ends.row(7) == (-math.inf, math.inf)  # too narrow for the law, not without one
    assert np.isfinite(ends.row(0)).all()


NO_THEORY = depth_theory.predict(case(0).with_columns(sigma_w=None))


CASES = (
    *(case(-0.63), case(0.2), case(0.01), case(0.01, 200)),  # over 200 layers a hundredfold
    case(-1, 1),
    case(-1, states={1: "underflow", 2: "underflow"}),
    case(-1, states={1: "zero"}),
    case(1, states={1: "overflow"}),
    case(1, log10_mean_square_z=[0.0] * 7 + [np.inf] * 14),
    case(0, log10_spread=[-1.0] * 7 + [-7.0] * 14),
    pl.concat([case(-0.5), case(-0.6).with_columns(seed=1)]),
)


def test_the_verdict_is_one_sentence_and_knows_the_depth_that_plain_backprop_reaches(snapshot):
    cases = [depth_report.case_of(rows, NO_THEORY) for rows in CASES]
    assert [case.lost for case in cases] == [*[None] * 5, 18, None, 19, *[None] * 3]
    assert "\n".join(map(depth_report.sentence, cases)) == snapshot


@pytest.mark.parametrize(
    ("name", "factor", "expected"),
    [
        ("glorot_uniform", 1.0, 1.0),
        ("he_normal", 1.0, 2**0.5),
        ("lecun_normal", 1.0, 1.0),
        ("orthogonal", 1.0, 1.0),
        ("normal", 1.0, 0.08),
        ("σ_w = 1.7", 1.7, 1.7),
        ("zeros", 1.0, None),
        ("truncated_normal", 1.0, None),
    ],
)
def test_the_sigma_w_of_an_initialisation_is_that_of_its_draws(key, name, factor, expected):
    assert depth_theory.sigma_w(name, factor, 64) == pytest.approx(expected)
    if expected is not None:
        scheme = jaxnn.initializers.gaussian(1.0) if "=" in name else depth.find_weights(name)
        theta = factor * scheme(key, (64, 64), np.float32)
        # The square of a σ_w from 4096 entries has a relative deviation of √(2/4096).
        assert 64 * np.mean(np.square(theta)) == pytest.approx(expected**2, rel=0.1)


def draw_of(plan, cell):
    of = cell.networks
    return of_seeds(networks.Draws().of(plan.datasets[cell.data], of), len(of.seeds))


def of_seeds(draw, count):
    """Parameters, xs and ys as NumPy arrays, an entry a seed."""
    return SideBySide.over_devices(count).get(tuple(zip(*draw, strict=True)))


def test_each_seed_has_parameters_and_a_batch_of_its_own():
    plan = planned(depths=(2,), activations=("tanh",), weights=("he_normal",), width=(7,))
    dataset = plan.datasets["breast_cancer"]
    params, xs, ys = draw_of(plan, plan.cells[0])
    for theta, _ in params:
        assert len({of_seed.tobytes() for of_seed in theta}) == len(theta) == 5
    assert xs.shape == (5, 128, 30)
    place = {row.astype(np.float32).tobytes(): i for i, row in enumerate(dataset.x)}
    rows = np.array([[place[np.asarray(row).tobytes()] for row in x] for x in xs])
    np.testing.assert_array_equal(ys, dataset.y[rows])
    assert all(len(set(of_seed)) == 128 for of_seed in rows)
    assert len({tuple(of_seed) for of_seed in rows}) == 5


def test_every_axis_of_the_grid_but_depth_is_a_cell_of_its_own():
    axes = {
        "depths": (1, 4), "activations": ("tanh", "relu"), "weights": ("he_normal",),
        "sigma_w": ("1:2:0.5",), "sigma_b": (0, 0.5), "width": (5, 9), "batch": (8, 16),
        "dtype": ("float64", "float16"), "data": ("iris", "wine"),
    }  # fmt: skip
    plan = planned(**axes)
    assert len(plan.cells) == len({str(cell.place) for cell in plan.cells}) == 2 * (1 + 3) * 2**5
    # Those of one network are neighbours: each of its programs is compiled once and then used.
    nets = [(of.net, of.batch, of.dtype) for of in (cell.networks for cell in plan.cells)]
    changes = sum(a != b for a, b in itertools.pairwise(nets))
    assert changes == len(set(nets)) - 1


def test_underflow_dead_units_and_overflow_are_told_apart():
    def deepest(**of):
        rows = measured(**of, **AS_SMALL)
        return rows.filter(pl.col("depth") == pl.col("depth").max())

    rows = deepest(depths=(1, 65), activations=("relu",), sigma_w=(0.1,))
    states = rows["delta_z"].to_list()
    assert states[0] == "underflow"
    assert states[-1] == "number"
    rows = deepest(depths=(1, 5), activations=("relu",), weights=("zeros",))
    assert rows["delta_z"].to_list() == 2 * (["zero"] * 5 + ["number"])
    rows = deepest(depths=(1, 65), activations=("relu",), weights=("ones",))
    assert rows["delta_z"][0] == "overflow"


@pytest.mark.slow
def test_zero_inf_and_nan_stand_at_the_edge():
    """A dead and an exploded network get marks and words, and their data hold what JSON has."""
    zero = case(-1, states=dict.fromkeys(range(1, 21), "zero"))
    exploded = zero.with_columns(
        log10_delta_z=pl.lit(math.nan),
        log10_delta_z_example=pl.lit(math.nan),
        log10_mean_square_z=pl.lit(math.inf),
        label=pl.lit("exploded"),
    )
    rows = pl.concat([zero, exploded])
    cases = [depth_report.case_of(one, NO_THEORY) for one in depth_report.by_case(rows)]
    drawn = picture.Drawn.of(rows, NO_THEORY, cases, "")
    assert drawn.data["layers"]["size_is"].to_list() == ["zero"] * 20 + ["nan"] * 20
    svg = charts.begin(picture.figure(drawn), "p")()["p.svg"].decode()
    assert "at the edge: ▼ zero, ▲ infinite, + not a number" in svg
    assert "zero tanh, he_normal" in svg
    assert "nan tanh, exploded" in svg
    html = page.page(drawn, rows, rows.clear().select("activation", "label", "depth"))
    json.dumps(
        [charts.jsonable(frame).to_dict(as_series=False) for frame in html.data.values()],
        allow_nan=False,
    )


@pytest.mark.parametrize(("apart", "rounds"), [(False, 1), (True, 3)])
def test_measurements_are_one_round_or_each_one_of_its_own(apart, rounds):
    side_by_side = SideBySide(3, SideBySide.over_devices(1).mesh, apart)
    values = side_by_side.put(np.arange(6, dtype=np.float32).reshape(3, 2))
    assert len(values) == rounds
    program = side_by_side.map(lambda v, by: by * v.sum(), spread=1, shared=1)
    assert side_by_side.like(np.zeros(2, np.float32)).shape == values[0].shape
    np.testing.assert_array_equal(side_by_side.get(program(values, np.float32(2))), [2, 10, 18])


def on_devices(count, devices, apart=False):
    """Measurements side by side on devices that need not be there."""
    return SideBySide(count, SimpleNamespace(devices=np.arange(devices)), apart)


@pytest.mark.parametrize(
    ("count", "devices", "by_round", "by_device"),
    [
        (5, 2, [0, 1, 2, 3, 4, 4], [0, 2, 4, 1, 3, 4]),
        (4, 2, [0, 1, 2, 3], [0, 2, 1, 3]),
        (3, 8, [0, 0, 0, 1, 1, 1, 2, 2], [0, 0, 0, 1, 1, 1, 2, 2]),
    ],
)
def test_what_is_left_over_is_on_several_devices(count, devices, by_round, by_device):
    assert on_devices(count, devices, apart=True).entries.tolist() == by_round
    assert on_devices(count, devices).entries.tolist() == by_device


def test_entries_that_only_fill_the_devices_are_dropped():
    """Three measurements on two devices: the last one is on both."""
    one, two = np.arange(4), np.arange(8).reshape(4, 2)
    rounds = tuple({"one": one[part], "two": two[part]} for part in (slice(2), slice(2, 4)))
    results = on_devices(3, 2, apart=True).get(rounds)
    np.testing.assert_array_equal(results["one"], [0, 1, 2])
    np.testing.assert_array_equal(results["two"], [[0, 1], [2, 3], [4, 5]])


def test_a_failure_and_a_picture_that_cannot_be_drawn_take_nothing_with_them(
    tmp_path, monkeypatch, capsys
):
    """Rows, verdicts and report are there, and say so; the picture of a stopped run is not."""

    def no_picture(*_):
        raise ValueError("no font:\n    at draw (vega.js:1)\nfor c\x1b")

    monkeypatch.setitem(engine.FUNCTIONS, "picture", no_picture)
    monkeypatch.setattr(web, "library", lambda: "")
    rows = pl.DataFrame({"number": [1.5]})
    chart = alt.Chart(alt.NamedData("d")).mark_point()
    page = pages.Page(
        *("Title", "", pages.Answer("One."), (), (), (pages.Panel("One", "", chart),), {"d": rows}),
        *(pages.Numbers("d", {}), ()),
    )
    figures = dict.fromkeys(("one", "two"), charts.Figure(chart, {"d": rows}))
    conclusion = experiment.Conclusion(
        rows, ["One verdict."], figures, page=lambda: page, failure="It is off."
    )
    of = dataclasses.replace(
        depth.EXPERIMENT,
        measure=lambda plan, store: ([rows], True),
        conclude=lambda plan, results: conclusion,
        table=lambda rows, missing: str(rows),
    )
    plan, run = depth.prepare(depth.Settings(out=tmp_path / "run")), tmp_path / "run"
    said = "charts: one is not drawn: no font: for c�; charts: two is not drawn: no font: for c�"
    with contextlib.closing(of.open(plan)) as opened:
        opened.write("one.png", b"of before")
        with pytest.raises(runtime.FailedError, match=f"^{re.escape(f'It is off.; {said}')}$"):
            experiment.run(of, plan, opened)
    *_, verdict, listed = capsys.readouterr().out.splitlines()
    assert (verdict, listed) == (
        "One verdict.", f"in {run}: rows.parquet, run.json, report.html"
    )  # fmt: skip
    assert {path.name for path in run.glob("[!.]*.*")} == {store.ROWS, store.RUN, names.REPORT}
    assert pl.read_parquet(run / store.ROWS).equals(rows)
    about = json.loads((run / store.RUN).read_text())
    assert (about["finished"], about["verdicts"]) == (True, ["One verdict."])
    assert about["not_drawn"] == said.split("; ")
    note = '<p class="note">charts: two is not drawn: no font: for c�</p>'
    assert note in (run / names.REPORT).read_text()


def test_the_spread_in_theory_follows_the_correlation_of_a_batch():
    """Two examples at right angles, s² = ½ (1 - c), and relu, which takes c = 0 to 1/π."""
    first = np.log10(0.5) / 2
    rows = case(
        0,
        2,
        activation="relu",
        sigma_w=2**0.5,
        sigma_b=0.0,
        hidden="dense",
        width=8,
        batch=2,
        log10_spread=pl.Series([first, None, None], dtype=pl.Float64),
    )
    spread = depth_theory.predict(rows)["log10_spread"]
    np.testing.assert_allclose(spread, [first, np.log10((1 - 1 / np.pi) / 2) / 2], atol=1e-9)


@pytest.mark.slow
def test_what_is_left_of_the_examples(tmp_path):
    """As the library measures it, with theory next to it and a panel of its own."""
    plan = planned(
        depths=(12,), activations=("sigmoid",), weights=("he_normal",), examples=True, seeds=2
    )  # fmt: skip
    (cell,) = plan.cells
    rows = cells.DepthSweep(plan.datasets).measure(cell)
    params, xs, ys = draw_of(plan, cell)
    of_seed = jax.tree.map(itemgetter(1), (params, xs, ys))
    flow = flow_of_net(cell.networks.net, *of_seed, depth=12)
    mine = rows.filter(pl.col("seed") == 1)
    used = [*range(12), -1]
    for column, expected in (
        ("log10_spread", flow.log_spread / np.log(10)),
        ("cosine", flow.cosine),
        ("rank", flow.rank),
    ):
        np.testing.assert_allclose(mine[column], np.asarray(expected)[used], rtol=1e-3, atol=1e-4)
    rows = depth_report.labelled(rows)
    predicted = depth_theory.predict(rows)
    spread = rows.filter(pl.col("seed") == 0)["log10_spread"].to_numpy()[:12]
    assert spread[11] < -5
    np.testing.assert_allclose(predicted["log10_spread"], spread, atol=0.5)
    drawn = picture.Drawn.of(rows, predicted, [depth_report.case_of(rows, predicted)], "")
    assert {"spread", "spread_theory"} <= {*drawn.head}
    assert picture.SPREAD in picture.figure(drawn).chart.to_json()


@pytest.mark.slow
def test_the_band_has_a_formula_or_is_drawn_and_batch_norms_have_none():
    def predicted(hidden, activation="relu"):
        return depth_theory.predict(
            case(0, hidden=hidden, activation=activation, sigma_b=0.0, width=16, batch=4)
        )

    residual, norm = predicted("residual"), predicted("batch_norm")
    assert norm["sd"].null_count() == norm["bias"].null_count() == norm.height > 0
    assert set(norm["error"]) == {0.0}
    drawn = predicted("residual(rms_norm)")
    assert min(drawn["error"][:-1].to_list()) > 0
    # 100 networks, drawn by the command, have -.016 ± .017 at the first layer.
    assert max((drawn["bias"].abs() - 3 * drawn["error"])[:-1].to_list()) < 0
    assert min(residual["sd"][:-1].to_list()) > 0
    assert max(residual["bias"][:-1].to_list()) < 0
    assert max(predicted("residual", "tanh")["bias"][:-1].to_list()) < 0


def judged(activation, rate, word, **more):
    value = f"{rate:+.3f} ± 0.001"
    return depth_report.Case(activation, "he", "float32", word, value, "", "", None, **more)


def test_a_sweep_is_answered_in_two_sentences(snapshot):
    """With those that vanish and explode, one by its width alone, one network, and a steady one."""
    cases = [judged("a", -0.1, "vanishing"), judged("b", -0.5, "vanishing")]
    cases += [judged("c", 0.2, "exploding"), judged("d", 0.0, "steady")]
    sizes = {"a": -3, "b": -15, "c": 6, "d": 0}
    of_first = {"label": "he", "depth": 30, "layer": 1, "delta_z": "number"}
    rows = pl.DataFrame(
        [{"activation": name, "log10_delta_z": float(v), **of_first} for name, v in sizes.items()]
    )
    narrow = [cases[0], judged("b", -0.5, "vanishing", by_width=True), *cases[2:]]
    answers = [depth_report.answer(each, rows) for each in (cases, narrow, cases[:1], cases[3:])]
    assert "\n".join(" | ".join(answer) for answer in answers) == snapshot
