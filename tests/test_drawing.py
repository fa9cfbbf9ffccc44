"""The drawn network has the numbers of the derivation, and charts are SVG for any page."""

import re
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import altair as alt
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn
from jaxnn.flow.view import drawing
from jaxnn.flow.view.chart import svg

NET = jaxnn.Network(sizes=(3, 4, 1), activation="sigmoid", task="binary")
X, Y = np.array([0.5, -1.0, 2.0]), 1


def numbers(text):
    """The numbers of a picture by their names."""
    return {
        node.get("data-name"): node.text.split()[-1].replace("−", "-")
        for node in ElementTree.fromstring(text).iter()
        if node.get("data-name")
    }


@pytest.fixture
def params(rng):
    return tuple(
        jaxnn.network.Layer(jnp.asarray(rng.normal(size=(n, m))), jnp.asarray(rng.normal(size=m)))
        for n, m in ((3, 4), (4, 1))
    )


@pytest.mark.parametrize("narrow", [False, True])
def test_every_number_is_drawn(narrow, params):
    shown = numbers(drawing.draw(NET, params, X, Y, narrow=narrow).svg)
    trace, deltas = jaxnn.trace(NET, params, X), jaxnn.deltas(NET, params, X, Y)
    expected = {"loss": jaxnn.passes.loss(NET, params, X, Y)}
    for name, arrays, first in (
        ("a", trace.a, 0), ("z", trace.z, 1), ("delta_z", deltas.z, 1),
        ("delta_a", deltas.a[:1], 0), ("theta", [theta for theta, _ in params], 0),
        ("b", [b for _, b in params], 0), ("delta_theta", deltas.theta, 0),
    ):  # fmt: skip
        for i, array in enumerate(arrays, first):
            for index in np.ndindex(array.shape):
                expected[" ".join(map(str, (name, i, *index)))] = array[index]
    assert set(shown) == set(expected)
    for name, value in expected.items():
        assert float(shown[name]) == pytest.approx(float(value), abs=5.1e-4), name


def test_the_labels_of_a_layer_do_not_touch(params):
    nodes = [*ElementTree.fromstring(drawing.draw(NET, params, X, Y).svg).iter()]
    for layer in (0, 1):
        heights = sorted(
            float(node.get("y"))
            for node in nodes
            if (node.get("data-name") or "").startswith(f"theta {layer} ")
        )
        assert len(heights) == (12, 4)[layer]
        assert np.diff(heights).min() > 30


def test_a_label_names_its_edge_and_stands_in_front_of_its_unit(params):
    """θ₂₁ leads from unit 2 to unit 1, and the three labels of a unit are a group."""
    nodes = [*ElementTree.fromstring(drawing.draw(NET, params, X, Y).svg).iter()]
    labels = {node.get("data-name"): node for node in nodes if node.get("data-name")}
    assert labels["theta 0 1 0"].text.startswith("θ₂₁ ")
    assert labels["delta_theta 0 2 3"].text.startswith("Δθ₃₄ ")
    assert labels["a 0 1"].text.startswith("x₂ ")
    heights = [[float(labels[f"theta 0 {j} {k}"].get("y")) for j in range(3)] for k in range(4)]
    units = [float(labels[f"a 1 {k}"].get("y")) for k in range(4)]
    inside = max(max(group) - min(group) for group in heights) / 2
    between = min(min(b) - max(a) for a, b in pairwise(heights))
    assert between > 1.5 * inside
    nearest = [min(range(4), key=lambda k: abs(np.median(g) - units[k])) for g in heights]
    assert nearest == [0, 1, 2, 3]


def test_a_run_is_drawn_as_its_layers(key):
    net = jaxnn.Network((2, 3, 3, 3, 1), "tanh", "regression")
    params = jaxnn.init(net, key)
    plain = drawing.draw(net, params, X[:2], 0.5).svg
    assert len(numbers(plain)) > 80
    shared = jaxnn.network.stack(params)
    assert len(shared) < len(params)
    assert drawing.draw(net, shared, X[:2], 0.5).svg == plain


@pytest.mark.parametrize("sizes", [(7, 4, 1), (3, 2), (2, 2, 2, 2, 2, 1)])
def test_a_network_that_is_too_large_is_refused(sizes):
    net = jaxnn.Network(sizes, "tanh", "regression")
    with pytest.raises(ValueError, match=r"^sizes: expected at most 6 units a layer, 4 layers"):
        drawing.draw(net, (), np.ones(sizes[0]), 0)


def test_a_value_that_is_no_number_is_drawn_as_such():
    texts = [drawing.number(value) for value in (np.inf, -np.inf, np.nan, -0.0)]
    assert texts == ["inf", "−inf", "nan", "0"]


def test_charts_stand_on_one_page():
    def chart(size):
        data = alt.Data(values=[{"x": 1, "y": size}])
        marks = alt.Chart(data, title=alt.Title("a title", subtitle="more")).mark_line(clip=True)
        return svg(marks.encode(alt.X("x:Q"), alt.Y("y:Q")))

    one, other = chart(1), chart(2)
    ids = [set(re.findall(r'\bid="([^"]+)"', text)) for text in (one, other)]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert set(re.findall(r"url\(#([^)]+)\)", one)) <= ids[0]
    assert {*re.findall(r'<text[^>]* fill="([^"]+)"', one)} == {"currentColor"}
    assert "010203" not in one
    assert "<script" not in one
    assert "\n" not in one
    ElementTree.fromstring(one)
