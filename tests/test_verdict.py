"""Verdicts: on flows whose answer is known, and the words for them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import draw_batch, draw_layers, filled_flow, gaussian, gradient_flow, replaced

import jaxnn
from jaxnn.flow.formats import FORMATS, UNCLEAR, word_of


def made(factors, biases=0.0, activation="tanh", top=-1.0, hidden=None):
    """A flow whose hidden layers' factors, log₁₀ and from the first on, are given."""
    layers = len(factors) + 2  # the last hidden layer and the output stand above
    sizes = top + np.append(np.cumsum(np.asarray(factors)[::-1])[::-1], [0.0, 0.0])
    log = sizes * np.log(10)
    same = np.zeros(layers)
    gain = np.append(log[:-1] - log[1:], np.nan)
    return filled_flow(
        jaxnn.Network((3, 3, 1), activation, "binary", hidden or jaxnn.Dense()), same,
        log_delta=log, log_delta_example=log[:, None], log_largest=log - np.log(2),
        log_theta=log, mean_square_z=same + 2.0,
        var_a=same + 0.5, mean_square_b=same + biases**2, saturated=same + 0.25, dead=same + 0.125,
        log_gain=gain, lost=same > 0,
    )  # fmt: skip


def test_the_rate_is_the_mean_of_the_factors_and_its_error_theirs():
    factors = np.array([-0.5, -0.7, -0.6, -0.4, -0.8])
    v = jaxnn.verdict(made(factors))
    assert (v.word, v.layers) == ("vanishing", 6)
    assert v.decades == pytest.approx(-0.6)
    assert v.standard_error == pytest.approx(np.std(factors, ddof=1) / 5**0.5)
    assert (v.saturated, v.dead) == (0.25, 0.125)


@pytest.mark.parametrize(
    ("rate", "layers", "error", "word"),
    [
        (-1 / 65, 10, np.nan, "steady"),
        (-1 / 63, 10, np.nan, "vanishing"),
        (1 / 63, 64, np.nan, "exploding"),
        (1 / 65, 130, np.nan, "exploding"),  # a hundredfold over all of them
        (0.0, 10_000, np.nan, "steady"),
        (np.nan, 3, np.nan, "unknown"),
        (-1.86, 3, 2.0, UNCLEAR),
        (0.02, 60, 0.011, UNCLEAR),
        (0.02, 60, 0.009, "exploding"),
        (-0.01, 60, 0.011, "steady"),
    ],
)
def test_steady_is_a_factor_of_ten_over_64_layers_or_over_all(rate, layers, error, word):
    """What is more has to be told from zero, by two standard errors."""
    assert word_of(rate, layers, error) == word


def test_what_is_not_told_from_zero_is_no_verdict_on_the_weights():
    flow = made([0.5, -0.7, -0.4, 0.6, -0.5])
    v = jaxnn.verdict(replaced(flow, dead=0 * flow.units.dead))
    assert v.word == UNCLEAR
    assert str(v).startswith("Not distinguishable from steady, -0.1 ± 0.3 decades a layer")
    assert v.advice.startswith("The factors of the layers scatter more than they add up")
    assert "change" not in v.advice
    assert v.remedies == ()


def test_the_network_of_the_article_is_well(rng):
    """One hidden layer has no rate, and nothing is wrong with that."""
    net = jaxnn.Network((3, 4, 1), "sigmoid", "binary")
    params, data = draw_layers(rng, net.sizes, gaussian(1.0)), draw_batch(rng, net, 9)
    v = jaxnn.verdict(gradient_flow(net, params, *data))
    assert str(v).startswith("No rate: it takes two hidden layers, and there is one. Plain backp")
    assert str(v).endswith("dead. Nothing needs to change.")
    cut = jaxnn.verdict(gradient_flow(net, jax.tree.map(jnp.zeros_like, params), *data))
    assert cut.advice.startswith("Look for dead units, zero weights")


def test_what_is_no_number_is_not_lost_by_a_format(rng):
    flow = made([-0.1] * 9)
    log = np.where(np.arange(11) < 6, [np.nan, np.inf] * 5 + [0], flow.log_largest)
    v = jaxnn.verdict(replaced(flow, log_largest=log))
    assert v.undefined == 6
    assert set(v.lost.values()) == {None}
    assert v.loss_text == "From layer 6 down Δz is not a finite number, whatever the format."
    net = jaxnn.Network((6, *[8] * 5, 1), "tanh", "binary")
    first, *params = draw_layers(rng, net.sizes, gaussian(1.0))
    broken = (first._replace(theta=first.theta.at[0, 0].set(np.nan)), *params)
    v = jaxnn.verdict(gradient_flow(net, broken, *draw_batch(rng, net, 9)))
    assert v.lost["float64"] is None
    assert "float64" not in v.loss_text


def test_each_format_loses_the_gradient_where_its_normal_numbers_end():
    """Two decades a layer from 10^0: the largest entry, half the norm, against numpy's limits."""
    v = jaxnn.verdict(made([-2.0] * 199, top=0.0))
    sizes = -2.0 * np.arange(199, -1, -1) + np.log10(0.5)
    for name, tiny in (("float64", 1e-308), ("float32", 1.2e-38), ("float16", 6.1e-5)):
        expected = int(np.flatnonzero(sizes < np.log10(tiny)).max()) + 1
        assert v.lost[name] == expected, name
    assert v.lost["bfloat16"] == v.lost["float32"]
    assert v.lost["float8_e4m3fn"] > v.lost["float8_e5m2"] == v.lost["float16"]
    assert set(v.lost) == set(FORMATS)
    assert set(jaxnn.verdict(made([0.0] * 9, top=0.0)).lost.values()) == {None}
    growing = jaxnn.verdict(made([2.0] * 199, top=0.0))
    assert growing.lost["float16"] == 200 - 3  # 10^6 > 65504
    assert growing.word == "exploding"


def judged(rng, activation, sigma_w, sigma_b):
    """The verdict on a network of 30 layers of 64 units."""
    net = jaxnn.Network((64, *[64] * 30, 1), activation, "binary")
    params = draw_layers(rng, net.sizes, gaussian(sigma_w), sigma_b, stacked=True)
    return jaxnn.verdict(gradient_flow(net, params, *draw_batch(rng, net, 16)))


@pytest.mark.parametrize(
    ("weights", "activation", "biases", "critical"),
    [
        pytest.param(1.0, "sigmoid", 0.0, 10.15, marks=pytest.mark.slow),
        (2.5, "tanh", 0.3, "theory"),
        pytest.param(1.0, "relu", 0.0, 2**0.5, marks=pytest.mark.slow),
        pytest.param(1.0, "relu", 0.5, None, marks=pytest.mark.slow),
        pytest.param(1.0, "softplus", 0.0, None, marks=pytest.mark.slow),
    ],
)
def test_it_finds_out_what_the_weights_are_and_should_be(
    rng, weights, activation, biases, critical
):
    """σ_w from the signal alone, σ_b from the biases.

    The square of a σ_w has a relative deviation of √(2/64) a layer, where the examples are much
    alike; of 29 layers' mean 3 %, so four of the root's are 7 %. Of σ_b it is 1 / √(2 · 30 · 64).
    """
    v = judged(rng, activation, weights, biases)
    assert v.sigma_w == pytest.approx(weights, rel=0.07)
    assert v.sigma_b == pytest.approx(biases, rel=0.07)
    if critical is None:
        assert v.critical_sigma_w is None
        words = (
            "set the biases to zero and σ_w = 1.414" if activation == "relu" else "choose another"
        )
        assert f"No σ_w makes χ = 1 at a finite signal for {activation}" in v.advice
        assert words in v.advice
    else:
        if critical == "theory":
            critical = float(jaxnn.theory.meanfield.critical_sigma_w(activation, biases))
        assert v.critical_sigma_w == pytest.approx(critical, rel=0.02)
        assert f"Draw the weights with σ_w = {v.critical_sigma_w:.4g}" in v.advice


def test_following_the_advice_keeps_the_gradient(rng):
    """Half a decade a layer becomes less than a factor of ten over all 30."""
    before = judged(rng, "tanh", 0.4, 0.2)
    assert (before.word, before.decades < -0.3) == ("vanishing", True)
    after = judged(rng, "tanh", before.critical_sigma_w, 0.2)
    assert after.word == "steady"
    assert after.advice == "Nothing needs to change."


def test_critical_weights_are_told_that_width_is_what_is_left():
    v = jaxnn.verdict(replaced(made([-0.1] * 9, activation="identity"), var_a=np.full(11, 2.0)))
    assert v.sigma_w == pytest.approx(1)
    assert "The weights are critical already (they act like σ_w = 1)" in v.advice


def test_it_is_sentences():
    sentences, *remedies = str(jaxnn.verdict(made([-0.5, -0.7, -0.6]))).splitlines()
    assert len(remedies) == 3
    assert sentences == (
        "Vanishing, -0.6 ± 0.06 decades a layer towards the input, over 4 hidden layers. Plain "
        "backpropagation loses Δz in float8_e4m3fn from layer 3 down; nowhere in float64, float32, "
        "bfloat16, float16, float8_e5m2. Of the hidden units 25.0% are saturated, 12.5% dead. Draw "
        "the weights with σ_w = 1, of variance σ_w²/fan_in: for tanh and σ_b = 0 that makes χ = 1; "
        "now they act like σ_w = 2."
    )


def test_zeros_and_layers_left_out(rng):
    net = jaxnn.Network((6, *[8] * 9, 1), "relu", "binary")
    params = draw_layers(rng, net.sizes, gaussian(2**0.5), 0.1, stacked=True)
    xs, ys = draw_batch(rng, net, 9)
    v = jaxnn.verdict(gradient_flow(net, params, xs, ys, depth=6))
    assert v.layers == 6
    cut = jax.tree.map(jnp.zeros_like, params)
    v = jaxnn.verdict(gradient_flow(net, cut, xs, ys, depth=9))
    assert (v.word, v.zero) == ("unknown", 9)
    assert "From layer 9 down it is exactly zero" in v.loss_text
    shallow = jaxnn.Network((6, 1), "relu", "binary")
    v = jaxnn.verdict(gradient_flow(shallow, draw_layers(rng, (6, 1), gaussian(1.0)), xs, ys))
    assert (v.word, v.layers, v.zero) == ("unknown", 0, None)
    assert str(v).startswith("No rate: it takes two hidden layers")


def test_steady_gradients_through_few_units_are_no_good_network():
    flow = made([0.0] * 9)
    assert (
        jaxnn.verdict(replaced(flow, dead=0 * flow.units.dead)).advice == "Nothing needs to change."
    )
    many = jaxnn.verdict(replaced(flow, dead=np.full(11, 0.415)))
    assert "dead units pass nothing on and learn nothing from this batch" in many.advice
    saturated = replaced(flow, dead=0 * flow.units.dead, saturated=np.full(11, 0.8))
    assert "the rest are saturated" in jaxnn.verdict(saturated).advice


def test_a_layer_of_dead_units_is_named_and_no_weights_are_advised(rng):
    flow = made([-0.5, -0.7, -0.6])
    dead = replaced(flow, dead=np.array([0, 1.0, 0.5, 0, 0]))
    v = jaxnn.verdict(dead)
    assert v.all_dead == 2
    assert v.units_text.endswith("dead, all of layer 2.")
    assert v.advice.startswith("Nothing passes layer 2: draw its weights again")


def test_weights_that_have_blown_up_are_no_ground_for_advice(rng):
    """Too large for any scheme, or beyond the range: σ_w = … would be advice on accident."""
    flow = replaced(made([-0.5, -0.7, -0.6]), mean_square_z=np.full(5, 2e6))
    v = jaxnn.verdict(flow)
    assert v.sigma_w == pytest.approx(2000)
    assert v.advice.startswith("The weights have blown up: they act like σ_w = 2e+03, and σ_w = 1")
    net = jaxnn.Network((6, *[8] * 5, 1), "tanh", "binary")
    params = draw_layers(rng, net.sizes, gaussian(1.0), 0.1, jnp.float32)
    xs, ys = draw_batch(rng, net, 9, jnp.float32)
    for place, value in ((2, 1e38), (3, np.nan)):
        layer = params[place]._replace(b=jnp.full_like(params[place].b, value))
        broken = (*params[:place], layer, *params[place + 1 :])
        v = jaxnn.verdict(gradient_flow(net, broken, xs, ys))
        assert v.out == place + 1
        assert f"not a finite number from layer {place + 1} on" in v.advice
        assert "nan" not in str(v)


def test_it_wants_one_flow_with_values():
    flow = made([-0.5, -0.7])
    with pytest.raises(
        TypeError, match=r"flow: expected that of one network with its values known"
    ):
        jax.jit(lambda log: jaxnn.verdict(replaced(flow, log_delta=log)).decades)(flow.log_delta)
    several = jax.tree.map(lambda v: jnp.stack([v, v]), flow)
    with pytest.raises(TypeError, match="of network i"):
        jaxnn.verdict(several)


def test_remedies_are_those_of_theory_best_first(rng):
    """A network of relu that is drawn too small, and what it would be with other blocks."""
    v = judged(rng, "relu", 1.0, 0.0)
    assert v.word == "vanishing"
    assert [round(remedy.decades, 4) for remedy in v.remedies][:2] == [0, 0]
    changes = [remedy.change for remedy in v.remedies]
    assert changes[0] == "weights with σ_w = 1.414"
    assert "jaxnn.tailored_relu(30)" in changes[1]
    residual, pre_norm = (r for r in v.remedies if "Residual" in r.change)
    # ½ log₁₀ (1 + ½ σ_w² / L) a layer, and ½ Σ log₁₀ (1 + w / q[l]) with q[l + 1] = q[l] + w.
    assert residual.change == "hidden=jaxnn.Residual(scale=1 / √L)"
    assert residual.decades == pytest.approx(0.5 * np.log10(1 + v.sigma_w**2 / 60), rel=1e-5)
    w = v.sigma_w**2 / 2
    q = 2 * w + w * np.arange(29)
    assert pre_norm.decades == pytest.approx(np.mean(0.5 * np.log10(1 + w / q)), rel=1e-5)
    assert str(v).splitlines()[1:] == [str(remedy) for remedy in v.remedies]
    assert jaxnn.verdict(made([-0.001] * 9)).remedies == ()


@pytest.mark.slow
def test_other_blocks_have_no_effective_sigma_w(rng):
    """The recursion that σ_w is read from is that of the article's layer."""
    net = jaxnn.Network((64, *[64] * 30, 1), "relu", "binary", hidden=jaxnn.Residual())
    params = draw_layers(rng, net.sizes, gaussian(1.0), 0.0, stacked=True)
    v = jaxnn.verdict(gradient_flow(net, params, *draw_batch(rng, net, 16)))
    assert v.word == "exploding"
    assert np.isnan(v.sigma_w)
    assert v.critical_sigma_w is None
    assert "With Residual(inner=Dense(), scale=1.0) between hidden layers" in v.advice
    assert any("scale=1 / √L" in remedy.change for remedy in v.remedies)


@pytest.mark.slow
def test_behind_a_norm_the_critical_sigma_w_is_that_of_the_norm():
    """χ = σ_w² E[σ′²] / (σ_w² E[σ²] + σ_b²) at q = 1; the first layer's q is not yet q*."""
    v = jaxnn.verdict(made([-0.2] * 9, biases=0.3, hidden=jaxnn.RMSNorm()))
    assert v.sigma_w == pytest.approx(((2 - 0.09) / 0.5) ** 0.5)
    g, weights = np.polynomial.hermite_e.hermegauss(100)
    weights /= weights.sum()
    square, slope = weights @ np.tanh(g) ** 2, weights @ (1 - np.tanh(g) ** 2) ** 2
    sigma_w = 0.3 / (slope - square) ** 0.5
    (remedy,) = (r for r in v.remedies if "critical" in r.change)
    assert remedy.change == f"weights with σ_w = {sigma_w:.4g}, critical behind this norm"
    # Nine factors from the first layer to the last: one at q[1] = σ_w² + σ_b², the rest 1.
    first = 0.5 * np.log10(sigma_w**2 * slope / (sigma_w**2 + 0.09))
    assert remedy.decades == pytest.approx(first / 9, rel=1e-6)
    sizes = [abs(r.decades) for r in v.remedies]
    assert sizes == sorted(sizes)
    at_it = made([-0.2] * 9, biases=0.3, hidden=jaxnn.RMSNorm())
    square_z = np.full(11, sigma_w**2 * 0.5 + 0.09)
    at_it = jaxnn.verdict(replaced(at_it, mean_square_z=square_z))
    assert at_it.sigma_w == pytest.approx(sigma_w)
    without_biases = jaxnn.verdict(made([-0.2] * 9, hidden=jaxnn.LayerNorm()))
    for each in (at_it, without_biases):
        assert not any("critical" in remedy.change for remedy in each.remedies)
