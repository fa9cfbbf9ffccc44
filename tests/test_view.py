"""Flows as rows, scalars, words and charts."""

import builtins
import dataclasses

import jax
import numpy as np
import pandas as pd
import polars as pl
import pytest
from problems import filled_flow, replaced

import jaxnn
from jaxnn.cli import printing


def network_flow(layers=20, lowest=-60.0):
    """A flow that falls evenly, of made-up numbers; its last layer has no gain."""
    log_delta = np.linspace(lowest, 0, layers) * np.log(10)
    return filled_flow(
        jaxnn.Network((2, *[3] * (layers - 1), 1), "tanh", "binary"),
        np.zeros(layers),
        log_delta=log_delta,
        log_delta_example=log_delta[:, None] - np.array([[1.0, 2.0]]),
        log_gain=np.append(log_delta[:-1] - log_delta[1:], np.nan),
        lost=np.zeros(layers, bool),
    )


@pytest.fixture(scope="module")
def chain_flow():
    net, params = jaxnn.as_network(
        {f"<{i}>": (lambda p, z: z @ p, np.float32(np.eye(3) / 2)) for i in range(3)}
    )
    xs = np.float32(np.random.default_rng(0).normal(size=(4, 3)))
    return jaxnn.gradient_flow((net, params), xs, cotangent=xs)


def test_rows_are_what_data_frames_take(chain_flow):
    rows = chain_flow.table()
    frame = pl.DataFrame(rows)
    assert frame["name"].to_list() == ["<0>", "<1>", "<2>"]
    assert pd.DataFrame(rows).shape == frame.shape
    np.testing.assert_allclose(frame["log10_gain"][:2], np.log10(0.5), rtol=1e-6)
    np.testing.assert_allclose(
        frame["log10_delta"], np.log10(np.exp(np.float64(chain_flow.log_delta))), rtol=1e-6
    )
    assert (frame["log10_delta_smallest"] < frame["log10_delta_largest"]).all()
    third = network_flow().table()[2]
    assert (third["layer"], third["name"]) == (3, "")


def test_scalars_are_flat_and_in_order(chain_flow):
    scalars = network_flow().scalars()
    assert scalars["gradient/01/log10_delta"] == pytest.approx(-60)
    assert list(scalars) == sorted(scalars, key=lambda name: name.split("/")[1])
    assert all(type(value) is float for value in scalars.values())
    assert set(chain_flow.scalars()) > {
        "gradient/2 _1_/log10_gain",
        "gradient/2 _1_/log10_spread",
        "gradient/3 _2_/rank",
    }
    assert set(dataclasses.replace(chain_flow, names=("b[0].w",) * 3).scalars()) > {
        "gradient/1 b.0.w/log10_delta"
    }


def test_a_flow_and_a_verdict_in_a_notebook(chain_flow):
    """Names are escaped, and of many layers the first and the last are shown."""
    assert repr(network_flow()).startswith("Flow of 20 layers: log10 ‖Δ‖ -60 at the first, 0 at")
    page = chain_flow._repr_html_()
    assert "&lt;1&gt;" in page
    assert "<1>" not in page
    long = network_flow()._repr_html_()
    assert long.count("<tr>") == 1 + 12 + 1
    assert jaxnn.verdict(chain_flow)._repr_html_().startswith("<p><b>Steady</b>, -0.301")
    assert jaxnn.verdict(network_flow())._repr_html_().startswith("<p><b>Vanishing</b>, -3.16")


def test_sentences_are_bold_and_coloured_in_a_terminal_alone(monkeypatch):
    said = "Vanishing, -0.5 decades a layer."
    assert printing.emphasised(said, "red") == said
    monkeypatch.setattr(printing.sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert printing.emphasised(said, "red") == "\x1b[1;31mVanishing\x1b[0m, -0.5 decades a layer."
    monkeypatch.setenv("NO_COLOR", "1")
    assert printing.emphasised(said, "red") == said


def test_a_single_example_has_none_to_be_told_from(chain_flow):
    one = dataclasses.replace(chain_flow, log_delta_example=chain_flow.log_delta_example[:, :1])
    assert jaxnn.verdict(one).indistinguishable == {}
    assert set(jaxnn.verdict(chain_flow).indistinguishable.values()) == {None}


def test_a_traced_flow_has_a_line_and_no_table(chain_flow):
    def traced(log_delta):
        flow = replaced(network_flow(), log_delta=log_delta)
        assert repr(flow) == "Flow that is traced"
        assert "traced" in flow._repr_html_()
        with pytest.raises(TypeError, match="flow: expected that of one network"):
            flow.table()
        return log_delta

    jax.eval_shape(traced, np.zeros(20))


def test_a_chart_has_panels_and_the_formats_that_matter(chain_flow):
    spec = jaxnn.chart(chain_flow, chain_flow, names=["a", "b"]).to_dict()
    titles = [panel["title"] for panel in spec["vconcat"]]
    assert titles[0].startswith("Gradient of an example")
    assert titles[-1] == "What differs between examples; dotted: rounding"
    rows = spec["data"]["values"]
    assert {row["flow"] for row in rows} == {"a", "b"}
    assert rows[2]["log10_gain"] is None  # nan is not drawn
    assert rows[0]["name"] == "<0>"
    alone = jaxnn.chart(network_flow()).to_dict()
    assert len(alone["vconcat"]) == 2
    text = str(alone)
    assert "float32, bfloat16" in text  # one label for two lines in one place
    assert "float64" not in text


def test_mistakes_with_charts(chain_flow, monkeypatch):
    with pytest.raises(ValueError, match="flows: expected at least one"):
        jaxnn.chart()
    with pytest.raises(ValueError, match="names: expected a name of its own for each of 2 flows"):
        jaxnn.chart(chain_flow, chain_flow, names=["a", "a"])
    imported = builtins.__import__

    def without_altair(name, *more):
        if name == "altair":
            raise ImportError
        return imported(name, *more)

    monkeypatch.setattr(builtins, "__import__", without_altair)
    with pytest.raises(
        ImportError, match=r"expected Altair to be installed; python -m pip install "
    ):
        jaxnn.chart(chain_flow)
