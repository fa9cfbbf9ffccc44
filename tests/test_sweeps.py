"""Sweeps: the points of a grid, and the rows, words and chart of what is measured there."""

import math
from types import SimpleNamespace
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import polars as pl
import pytest
import vl_convert
from problems import refusals

import jaxnn
from jaxnn.sweeps import sweep as sweeps
from jaxnn.sweeps.points import points_of, shown


def build(depth, gain, seed=0):
    return None


def test_axes_are_crossed_and_pairs_stand_side_by_side():
    points = points_of(build, {"gain": [1.0, 2.0]}, {"depth": [3, 5]}, [7])
    assert points == [
        {"depth": 3, "gain": 1.0, "seed": 7},
        {"depth": 3, "gain": 2.0, "seed": 7},
        {"depth": 5, "gain": 1.0, "seed": 7},
        {"depth": 5, "gain": 2.0, "seed": 7},
    ]


def test_one_value_is_an_axis_and_seeds_are_three_where_build_has_one():
    assert len(points_of(build, {"depth": 3, "gain": np.arange(2.0)}, None, None)) == 6
    assert points_of(lambda word: word, {"word": "relu"}, None, None) == [{"word": "relu"}]


@pytest.mark.parametrize(
    "values",
    [
        np.float32([0.1]),
        np.array(0.1),
        jnp.array([0.1], "float32"),
        jnp.array(0.1),
        [jnp.float32(0.1)],
    ],
)
def test_arrays_are_the_numbers_in_them(values):
    (point,) = points_of(lambda **axes: axes, {"gain": values}, None, None)
    assert type(point["gain"]) is float
    assert point["gain"] == 0.1


REFUSED = """
points_of(build, {"depth": [1]}, None, None)
points_of(build, {"depth": [1], "gain": []}, None, None)
points_of(build, {"depth": [1], "gain": 1, "width": 2}, None, None)
points_of(build, {"gain": 1}, {"depth": [1], "gain": [1]}, None)
points_of(build, {}, {"depth": [1, 2], "gain": [1]}, None)
points_of(build, {"depth": 1, "gain": 1}, None, -1)
points_of(build, {}, {"depth": [1], "gain": [1], "seed": [1]}, 2)
points_of(lambda word: word, {"word": "relu"}, None, [1])
jaxnn.sweep(lambda **axes: axes, paired={"layers": [1, 2]})
jaxnn.sweep(lambda **axes: axes, paired={"total": [1, 2]})
jaxnn.sweep(lambda **axes: axes, paired={"word": [1, 2]})
jaxnn.sweep(lambda **axes: axes, paired={"name": [1, 2]})
jaxnn.sweep(lambda **axes: axes, paired={"log10_theta": [1, 2]})
jaxnn.sweep(lambda **axes: axes, paired={"rank": [1, 2]})
jaxnn.sweep(3, depth=[1])
"""


def test_a_mistake_in_an_axis_is_one_sentence(snapshot):
    assert refusals(REFUSED, globals()) == snapshot


@pytest.mark.parametrize("axis", ["width", "depth"])
def test_a_plain_network_that_no_memory_holds_is_refused_before_it_is_made(axis):
    with pytest.raises(ValueError, match=r"memory: a network of .* needs .* GB at a time, and"):
        jaxnn.sweep(**{axis: 10**9})
    with pytest.raises(ValueError, match="memory: this network needs 8,000 GB at a time, and the"):
        jaxnn.init(
            jaxnn.Network((10**6,) * 3, "tanh", "binary"), jax.random.key(0), dtype="float32"
        )


def test_a_function_is_shown_by_its_name():
    assert [shown(value) for value in (3, 0.5, True, None, "relu", build)] == [
        *(3, 0.5, True, None, "relu", "build")
    ]


def scaled(gain, depth=4):
    def layer(matrix, z):
        return z @ matrix

    layers = [(layer, gain * jnp.eye(3))] * depth
    return layers, jnp.ones((2, 3))


@pytest.fixture(scope="module")
def found():
    return jaxnn.sweep(scaled, gain=[0.1, 1.0, 10.0])


def test_the_rate_is_that_of_the_gain(found):
    """Δ of a layer is the gain times that of the layer above."""
    frame = pl.DataFrame(found)
    np.testing.assert_allclose(frame["decades"], [-1, 0, 1], atol=1e-6)
    np.testing.assert_allclose(frame["total"], [-3, 0, 3], atol=1e-6)
    assert frame["word"].to_list() == ["vanishing", "steady", "exploding"]
    pd.testing.assert_frame_equal(pd.DataFrame(found), frame.to_pandas(), check_dtype=False)
    layers = pl.DataFrame(found.layers())
    assert layers.filter(pl.col("gain") == 10)["layer"].to_list() == [1, 2, 3, 4]


def test_a_sweep_is_told_in_a_line_a_cell(found):
    assert repr(found).split("\n")[0].startswith("gain 0.1: vanishing, -1")
    assert "-3 over the whole network" in found.sentences[0]
    chart = found.chart().to_dict()
    assert chart["title"].startswith("log")
    labels = set(ElementTree.fromstring(vl_convert.vegalite_to_svg(chart)).itertext())
    assert {"0.1", "1", "10"} <= labels
    with pytest.raises(ValueError, match="x: expected one of the axes gain, got 'depth'"):
        found.chart("depth")


def stub(word, decades):
    verdict = SimpleNamespace(word=word, decades=decades, standard_error=0.1, total=decades)
    return SimpleNamespace(flow=None, verdict=verdict)


def test_seeds_are_a_cell_with_their_standard_error(monkeypatch):
    def diagnosis_of(made, *arguments, **options):
        return stub("steady" if made else "vanishing", -0.1 * made)

    monkeypatch.setattr(sweeps, "diagnosis_of", diagnosis_of)
    (cell,) = jaxnn.sweep(lambda seed: seed, seed=range(3)).cells
    assert cell.decades == pytest.approx(-0.1)
    assert cell.error == pytest.approx(0.1 / math.sqrt(3))
    assert str(cell).startswith("All seeds: steady or vanishing, -0.1 ± 0.06 decades a layer")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("depth: expected 2 at most"), "depth: expected 2 at most"),
        (RuntimeError("Out of memory:\n8 GB"), "RuntimeError: Out of memory: 8 GB"),
        (SystemExit(3), "SystemExit: 3"),
        (Exception(), "Exception"),
    ],
)
def test_what_fails_later_has_a_reason_and_the_first_mistake_is_raised(monkeypatch, error, reason):
    monkeypatch.setattr(sweeps, "diagnosis_of", lambda *args, **options: stub("steady", 0.0))

    def failing(depth):
        if depth == 2:
            raise error

    swept = jaxnn.sweep(failing, depth=[1, 2, 3])
    assert [row["reason"] for row in swept] == ["", reason, ""]
    assert math.isnan(swept[1]["decades"])
    assert swept.sentences[1] == f"depth 2: not measured. {reason}"
    with pytest.raises(type(error)):
        jaxnn.sweep(failing, depth=[2, 1])


def test_ctrl_c_ends_a_sweep_with_what_was_measured(monkeypatch):
    monkeypatch.setattr(sweeps, "diagnosis_of", lambda *args, **options: stub("steady", 0.0))

    def stopping(depth):
        if depth == 2:
            raise KeyboardInterrupt

    swept = jaxnn.sweep(stopping, depth=[1, 2, 3])
    assert (len(swept), swept.left) == (1, 2)
    assert swept.sentences[-1] == "Stopped: 2 networks not measured."
