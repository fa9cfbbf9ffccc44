"""Plans: the cheapest format of each layer, in words and as rows, and the picture of exponents."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from problems import as_users_have_jax

import jaxnn
from jaxnn.cli import diagnosis


def times(w, z):
    return z * w


@pytest.fixture(scope="module")
def flow():
    """Twelve layers: two that pass Δ, four that shrink it by 2^-20 each, six that pass it."""
    c = np.random.default_rng(0).normal(size=(4, 64)).astype(np.float32)
    sizes = [1.0, 1.0, *[2.0**-20] * 4, *[1.0] * 6]
    with as_users_have_jax():
        layers = [(times, jnp.full(64, size, jnp.float32)) for size in sizes]
        net, params = jaxnn.as_network(layers)
        return jaxnn.gradient_flow((net, params), c, cotangent=c, entries=True)


def test_equal_neighbours_are_one_line(flow):
    """The states of the first two layers are x, and Δ of the last seven is the cotangent."""
    lines = str(jaxnn.plan(flow)).split("\n")
    assert lines[:4] == [
        "Δ, layers 1 to 5: float8_e4m3fn with one scale a tensor",
        "Δ, layers 6 to 12: float8_e4m3fn",
        "states, layers 1 to 2: float8_e4m3fn",
        "states, layers 3 to 12: float8_e4m3fn with one scale a tensor",
    ]
    assert "bfloat16 2^-" in lines[-1]
    assert "float16 at no scale" in lines[-1]
    assert len(lines) < 12


def test_rows_have_the_cheapest_format_that_keeps_enough(flow):
    plan = jaxnn.plan(flow, keep=0.99)
    bits = {row["format"]: row["bits"] for row in plan.rows}
    assert bits == {"float8_e4m3fn": 8}
    rows = {(row["of"], row["layer"]): row for row in plan.rows}
    assert len(rows) == 4 * 12
    kept = {(r["layer"], r["format"], r["scaling"]): r for r in flow.formats()}
    for layer in range(1, 13):
        row = rows["delta", layer]
        same = kept[layer, row["format"], row["scaling"]]
        assert row["kept"] == 1 - same["zero_square"] - same["overflow_square"] >= 0.99
    assert {row["format"] for row in jaxnn.plan(flow, formats=["nvfp4"]).rows} == {"nvfp4"}
    (wide, *_) = jaxnn.plan(flow, formats=["float16"], keep=1.0).rows
    assert (wide["format"], wide["scaling"]) == ("float16", "tensor")


def test_one_scale_of_the_loss_serves_all_layers_or_none(flow):
    """A scaled loss fits where every Δ is below 2^-30, and its scale lies in the window."""
    delta, of_parameters = (
        each._replace(top=np.full(12, -30.0))
        for each in (flow.entries.delta, flow.entries.delta_parameter)
    )
    entries = flow.entries._replace(delta=delta, delta_parameter=of_parameters)
    flow = replace(flow, entries=entries)
    plan = jaxnn.plan(flow)
    low, high = plan.windows["float8_e4m3fn"]
    scales = {row["scale"] for row in plan.rows if row["of"] == "delta"}
    assert {row["scaling"] for row in plan.rows if row["of"] == "delta"} == {"loss"}
    (scale,) = scales
    assert low <= scale <= high
    assert f"float8_e4m3fn with the loss multiplied by 2^{scale}" in str(plan)
    assert "<p>Δ, all layers" in plan._repr_html_()


def test_what_is_asked_for_is_checked(flow):
    with pytest.raises(ValueError, match=r"formats: expected some of float16, .*, got 'half'"):
        jaxnn.plan(flow, formats=["half"])
    with pytest.raises(ValueError, match=r"formats: expected some of .*, got 'float16'"):
        jaxnn.plan(flow, formats="float16")
    with pytest.raises(ValueError, match=r"keep: expected a share above 0, at most 1, got 99.9"):
        jaxnn.plan(flow, keep=99.9)


def test_a_chart_of_one_flow_has_its_entries_and_the_ranges_of_formats(flow):
    spec = jaxnn.chart(flow).to_dict()
    titles = [panel["title"] for panel in spec["vconcat"]]
    assert [title.split(" by")[0] for title in titles[-3:]] == [
        *("Entries of Δ", "Entries of the states", "Entries of parameters")
    ]
    cells, bars, names = (layer["data"]["values"] for layer in spec["vconcat"][-3]["layer"])
    by_layer = {}
    for cell in cells:
        by_layer.setdefault(cell["left"] + 0.5, []).append(cell["share"])
    assert sorted(by_layer) == [*range(1, 13)]
    assert all(sum(shares) > 0.95 for shares in by_layer.values())
    ends = {
        (bar["format"], bar["low"], bar["high"]) for bar in bars if bar["format"] == "float8_e4m3fn"
    }
    low, high = min(v["low"] for v in cells), max(v["high"] for v in cells)
    assert ends == {("float8_e4m3fn", -9, -6), ("float8_e4m3fn", -6, min(9, high))}
    assert low < -80
    assert [each["format"] for each in names] == ["float16", "bfloat16", "e4m3", "e5m2"]
    assert len(jaxnn.chart(flow, flow).to_dict()["vconcat"]) == len(titles) - 3


def test_a_diagnosis_has_the_plan(flow):
    found = jaxnn.Diagnosis(flow, "loss as given")
    plan = f"\n{jaxnn.plan(flow)}\nTo see what would help, "
    assert plan in repr(found)
    assert plan in "\n".join(diagnosis.sentences(found, ""))


@pytest.mark.slow
def test_diagnose_counts_entries_if_asked():
    with as_users_have_jax():
        given = ([(times, jnp.ones(3))], np.ones((2, 3), np.float32))
        assert str(jaxnn.diagnose(*given, entries=True).plan).startswith("Δ, layer 1")
        assert jaxnn.diagnose(*given).plan is None
