"""Phase diagrams by the wide twin: closed forms, the critical line, words and the map."""

import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from scipy.stats import norm

import jaxnn
from jaxnn.sweeps.phase import Measured, PhaseDiagram
from jaxnn.sweeps.phase_chart import zero_line
from jaxnn.theory import meanfield, phase

LAYERS, WIDTH = 36, 48
AXES = {"s": (1.0, 2.0, 4.0), "b": (0.0, 1.0)}


def _diagram(rate, axes=AXES, left=0):
    (first, xs), (second, ys) = axes.items()
    points = [{first: x, second: y} for x in xs for y in ys]
    return PhaseDiagram(
        axes, tuple(Measured(p, (rate(**p), 0.1, 9.0, 0.5, 0.0)) for p in points), left
    )


def test_the_critical_line_is_where_a_rate_is_zero():
    diagram = _diagram(lambda s, b: s - 2.5 - b)
    assert [(c.at, c.value) for c in diagram.critical] == [(0.0, 2.5), (1.0, 3.5)]
    assert diagram.sentences == (
        "b 0: critical at s 2.5 (between 2 and 4).",
        "b 1: critical at s 3.5 (between 2 and 4).",
    )
    np.testing.assert_allclose(diagram.grid("rate"), [[-1.5, -0.5, 1.5], [-2.5, -1.5, 0.5]])


def test_exponents_have_two_lines():
    points = [{"s": x, "b": y} for x in AXES["s"] for y in AXES["b"]]
    measured = [Measured(p, (p["s"] - 2.5 - p["b"], 0.1, p["s"] - 1.5, 0.1)) for p in points]
    diagram = PhaseDiagram(AXES, tuple(measured), collapsed=True)
    assert diagram.sentences == (
        "b 0: λ of the angle is 0 at s 2.5 (between 2 and 4); λ of the gradient is 0 at s 1.5 "
        "(between 1 and 2).",
        "b 1: λ of the angle is 0 at s 3.5 (between 2 and 4); λ of the gradient is 0 at s 1.5 "
        "(between 1 and 2).",
    )
    assert [c.value for c in diagram.crossings("gradient")] == [1.5, 1.5]
    assert list(diagram[0]) == [
        "s",
        "b",
        "angle",
        "angle_error",
        "gradient",
        "gradient_error",
        "reason",
    ]
    one = PhaseDiagram(AXES, tuple(Measured(p, (-1.0, 0.1, 1.0, 0.1)) for p in points), 0, True)
    assert (
        one.sentences[0]
        == "b 0: what is nearly alike meets throughout; gradients explode throughout."
    )
    _, *lines = diagram.chart().to_dict()["layer"]
    ends = [line["data"]["values"] for line in lines[1::2]]
    assert ends == [
        [{"x": 2.5, "y": 0.0, "x2": 3.5, "y2": 1.0}],
        [{"x": 1.5, "y": 0.0, "x2": 1.5, "y2": 1.0}],
    ]
    with pytest.raises(ValueError, match=r"column: expected one of angle and gradient, got 'rate'"):
        diagram.chart("rate")


def test_one_phase_what_is_missing_and_a_line_twice_are_said():
    diagram = _diagram(lambda s, b: {0.0: -1.0, 1.0: 1.0 - 2 * (s == 2)}[b], left=2)
    assert diagram.sentences == (
        "b 0: gradients vanish throughout.",
        "b 1: critical at s 1.5 (between 1 and 2) and 3 (between 2 and 4).",
        "Stopped: 2 points not measured.",
    )
    unknown = _diagram(lambda s, b: np.nan if b else 1.0)
    assert unknown.sentences == ("b 0: gradients explode throughout.", "b 1: not measured.")


def test_the_line_of_a_map_follows_a_circle():
    at = tuple(np.linspace(-2, 2, 21))
    x, y = np.meshgrid(at, at)
    pieces = list(zero_line(at, at, x**2 + y**2 - 2.0))
    radii = np.hypot(*np.array(pieces).reshape(-1, 2).T)
    np.testing.assert_allclose(radii, 2**0.5, atol=0.01)
    length = sum(np.hypot(*np.subtract(*piece)) for piece in pieces)
    assert length == pytest.approx(2 * np.pi * 2**0.5, rel=0.02)


def test_a_map_has_a_tile_for_each_point_and_the_line():
    diagram = _diagram(lambda s, b: s - 2.5 - b)
    tiles, _, line = diagram.chart().to_dict()["layer"]
    assert len(tiles["data"]["values"]) == 6
    assert line["data"]["values"] == [{"x": 2.5, "y": 0.0, "x2": 3.5, "y2": 1.0}]
    with pytest.raises(ValueError, match=r"column: expected one of rate, .* got 'word'"):
        diagram.chart("word")


def build(sigma_w, sigma_b, seed=0, layers=LAYERS):
    rng = np.random.default_rng(seed)
    weights = rng.choice([-1.0, 1.0], (layers, WIDTH, WIDTH)) * sigma_w / WIDTH**0.5
    # Quantiles of a Gaussian, exactly of this size.
    gaussian = norm.ppf((np.arange(WIDTH) + 0.5) / WIDTH)
    biases = rng.permuted(np.tile(gaussian / gaussian.std(), (layers, 1)), axis=1) * sigma_b
    arrays = jnp.asarray(weights, jnp.float32), jnp.asarray(biases, jnp.float32)
    return [(_layer, p) for p in zip(*arrays, strict=True)], jnp.asarray(
        rng.normal(size=(4, WIDTH)), jnp.float32
    )


def _layer(params, z):
    weights, bias = params
    return jnp.tanh(z) @ weights + bias[None]


def test_two_axes_of_numbers_are_needed():
    with pytest.raises(ValueError, match=r"axes: expected two arguments .* got sigma_w"):
        phase(build, sigma_w=(1.0, 2.0), sigma_b=0.1)
    with pytest.raises(ValueError, match="sigma_b: expected finite numbers"):
        phase(build, sigma_w=(1.0, 2.0), sigma_b=("small", "large"))
    with pytest.raises(ValueError, match="width: expected an argument of build"):
        phase(build, sigma_w=(1.0, 2.0), sigma_b=(0.1, 0.2), width=3)
    with pytest.raises(TypeError, match="build: expected a function"):
        phase(3, sigma_w=(1.0, 2.0), sigma_b=(0.1, 0.2))


@pytest.mark.slow
def test_a_diagram_of_dense_layers_is_that_of_mean_field_theory():
    diagram = phase(build, sigma_w=(1.0, 1.3, 1.7), sigma_b=(0.1, 0.4))
    for row in pl.DataFrame(diagram).to_dicts():
        given = "tanh", row["sigma_w"], row["sigma_b"]
        rate = float(jnp.log10(meanfield.stationary_chi(*given))) / 2
        assert abs(row["rate"] - rate) < 4 * row["rate_error"], row
        assert row["rate_error"] < 2e-3
        q = float(jnp.log10(meanfield.fixed_point(*given)))
        assert abs(row["log10_q"] - q) < 0.02, row
        length = float(meanfield.xi_c(*given))
        if length < LAYERS / 6:  # has settled
            error = 4 * row["correlation_length_error"] + 0.05 * length
            assert abs(row["correlation_length"] - length) < error, row
    for crossing in diagram.critical:
        assert crossing.low < float(meanfield.critical_sigma_w("tanh", crossing.at)) < crossing.high
    assert len(diagram.critical) == 2


@pytest.mark.slow
def test_exponents_over_two_scales_are_those_of_each_network():
    def net(s, gain):
        return build(s * gain, 0.0, layers=12)

    diagram = phase(net, s=(0.8, 2.0), gain=(1.0, 1.5), collapsed=True)
    found = jaxnn.theory.exponents(*net(2.0, 1.0))
    row = next(row for row in diagram if (row["s"], row["gain"]) == (2.0, 1.0))
    assert [row[name] for name in ("angle", "gradient")] == [found.angle, found.gradient]
    assert [c.at for c in diagram.crossings("gradient")] == [1.0]  # below σ_w = 1, and above


@pytest.mark.slow
def test_a_network_of_ours_has_a_diagram_and_what_fails_a_reason():
    def ours(gain, share, seed):
        if share > 2:
            raise ValueError("share: expected 2 at most")
        net = jaxnn.Network((16,) * 10, "relu", "regression")
        rng = np.random.default_rng(seed)
        signs = rng.choice([-1.0, 1.0], (9, 16, 16)).astype("float32") / 4
        return (net, [(gain * share * w, np.zeros(16, "float32")) for w in signs]), signs[0]

    diagram = phase(ours, gain=(1.0, 2.0), share=(1.0, 3.0))
    known, failed = diagram[0], diagram[1]
    assert known["rate"] == pytest.approx(np.log10(0.5) / 2, abs=4 * known["rate_error"])  # σ_w²/2
    assert failed["reason"] == "share: expected 2 at most"
    assert np.isnan(failed["rate"])
    assert diagram.sentences[1] == "share 3: not measured."
