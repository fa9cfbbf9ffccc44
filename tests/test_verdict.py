"""Verdicts: on flows whose answer is known, and the words for them."""

from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import draw_batch, draw_layers, filled_flow, gaussian, gradient_flow, replaced, said

import jaxnn
from jaxnn.flow.formats.ranges import FORMATS
from jaxnn.flow.verdict.rate_text import _scope
from jaxnn.flow.verdict.rates import (
    ERRATIC,
    POWER_LAW,
    STRETCHED,
    UNCLEAR,
    RepeatedStretch,
    judge,
    repeated,
    to_change,
    word_of,
)


def made(factors, biases=0.0, activation="tanh", top=-1.0, hidden=None):
    """A flow whose hidden layers' factors, log₁₀ and from the first on, are given."""
    layers = len(factors) + 2  # the last hidden layer and the output stand above
    sizes = top + np.append(np.cumsum(np.asarray(factors)[::-1])[::-1], [0.0, 0.0])
    log = sizes * np.log(10)
    same = np.zeros(layers)
    gain = np.append(log[:-1] - log[1:], np.nan)
    return filled_flow(
        jaxnn.Network((3, 3, 1), activation, "binary", hidden or jaxnn.blocks.Dense()), same,
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
    assert (v.network.saturated, v.network.dead) == (0.25, 0.125)


@pytest.mark.parametrize(
    ("rate", "total", "error", "word"),
    [
        (-0.5, -0.99, 0.01, "steady"),
        (-0.5, -1.01, 0.01, "vanishing"),
        (0.01, 1.01, np.nan, "exploding"),
        (np.nan, np.nan, np.nan, "unknown"),
        (-1.86, -3.72, 2.0, UNCLEAR),
        (0.1, 1.2, 0.051, UNCLEAR),
        (0.1, 1.2, 0.049, "exploding"),
        (0.02, 1.2, 0.0014, "steady"),  # slow layers, of which chance may make more than ten
        (0.02, 1.2, 0.0013, "exploding"),
        (0.02, 2.51, 0.01, "exploding"),
    ],
)
def test_a_word_takes_a_factor_of_ten_and_two_standard_errors(rate, total, error, word):
    assert word_of(rate, total, error) == word


def rate_of(factors, period=1):
    """The rate of layers that repeat in patterns; the factor of the first is an interface."""
    places = np.arange(len(factors) + 1)
    stretches = repeated([i % period for i in places])
    return judge(np.asarray(factors, float), stretches, places)


def test_one_or_two_layers_are_no_rate():
    rng = np.random.default_rng(0)
    factors = 0.02 * rng.normal(size=30)
    factors[11] = 1.5
    one = rate_of(factors)
    assert (one.word, one.outliers) == (ERRATIC, ((13, 1.5),))
    assert abs(one.decades) < 0.01
    assert one.total == one.repeated == pytest.approx(np.sum(factors))
    factors[11] = 0.6  # less than ten, and steady
    assert (rate_of(factors).word, rate_of(factors).outliers) == ("steady", ((13, 0.6),))
    factors[[3, 11, 20]] = 1.5  # three are no accident
    assert rate_of(factors).outliers == ()
    falling = factors - 0.3
    falling[[3, 11, 20]] = -0.3, 4.0, -0.3  # as much as all others take, which go on falling
    assert rate_of(falling).word == "vanishing"


def test_five_of_six_layers_are_not_the_odd_one():
    """Five of gain 300 and one of gain 1: the five explode."""
    rate = rate_of(np.log10([300, 300, 1.03, 300, 300]))
    assert (rate.word, rate.outliers) == ("exploding", ((4, pytest.approx(0.0128, abs=1e-4)),))


def test_a_power_law_of_depth_is_no_exponential():
    places = np.arange(1, 300)
    noise = 0.003 * np.random.default_rng(1).normal(size=299)
    rate = rate_of(np.log10(1 + 1 / places) + noise)
    assert rate.word == POWER_LAW
    assert rate.law.constant == pytest.approx(1, abs=0.2)
    assert rate_of(np.full(299, np.log10(300) / 299) + noise).word == "exploding"
    at_all = rate_of(np.log10(1 + 1 / places))  # without noise the constant is found again
    assert at_all.law == (POWER_LAW, pytest.approx(1), pytest.approx(0, abs=1e-9), 0)


@cache
def of_deepest(hidden):
    log_delta = jaxnn.theory.meanfield.log_delta("tanh", 1.0, 0.0, 1.0, 1024, hidden=hidden)
    log = np.asarray(log_delta) / np.log(10)
    return log[:-1] - log[1:]


def of_tanh(depth, hidden=jaxnn.blocks.Dense()):  # noqa: B008
    """Theory's factors of hidden layers of a critical network of tanh, the same at any depth."""
    return of_deepest(hidden)[: depth - 1]


@pytest.mark.parametrize("depth", [250, 1000])
def test_bounded_residual_layers_grow_as_a_stretched_exponential(rng, depth):
    """Between power and exponential, told from both: e^(c √L) (Yang & Schoenholz 2017)."""
    factors = of_tanh(depth, jaxnn.blocks.Residual())
    law = rate_of(factors).law
    assert law.word == STRETCHED
    # What it makes is the total, 3.69 and 7.44 decades; at infinite depth c is (4/3)/√(2π).
    made = law.constant * (np.sqrt(depth + law.offset) - np.sqrt(1 + law.offset)) / np.log(10)
    assert abs(made / np.sum(factors) - 1) < 0.06
    assert 0.5 < abs(law.constant - 4 / 3 / np.sqrt(2 * np.pi)) / law.error < 2
    drawn = [rate_of(factors + 0.005 * rng.normal(size=depth - 1)) for _ in range(20)]
    assert {rate.word for rate in drawn} == {STRETCHED}
    off = [(rate.law.constant - law.constant) / rate.law.error for rate in drawn]
    assert 0.3 < np.std(off) < 3
    exponential = np.full(depth - 1, np.mean(factors)) + 0.005 * rng.normal(size=depth - 1)
    assert rate_of(exponential).word == "exploding"


def test_a_critical_signal_falls_as_the_root_of_depth_within_its_error(rng):
    factors = of_tanh(100)
    laws = [rate_of(factors + 0.01 * rng.normal(size=99)).law for _ in range(100)]
    laws = [law for law in laws if law is not None]  # others make less than ten, or are not told
    assert len(laws) > 10
    assert {law.word for law in laws} == {POWER_LAW}
    # Theory's own constant at this depth is .55, for the logarithm in 1 / q[l].
    assert np.mean([abs(law.constant + 0.55) < 3 * law.error for law in laws]) > 0.7
    assert all(abs(law.constant + 0.5) < 0.2 for law in laws)


def test_a_law_that_does_not_make_the_total_is_none():
    """Factors like l^-¾: a power makes 0.4 of their sum, a stretched exponential twice as much."""
    rate = rate_of(0.3 * np.arange(1, 1000) ** -0.75)
    assert (rate.word, rate.law) == ("exploding", None)


def test_a_law_that_leaves_a_rate_is_none():
    """A stretched exponential fits 0.3/√l - 0.02 too, but would go on at -0.02 a layer."""
    root = 0.3 * np.arange(1, 101) ** -0.5
    assert rate_of(root).law.word == STRETCHED
    assert rate_of(root - 0.02).word == "exploding"  # the power's constant is not told from zero


@pytest.mark.parametrize("depth", [64, 256, 1024])
def test_a_critical_network_has_one_word_whatever_the_draw(depth):
    """Glorot's tanh of 64 units: theory, the drift of finite width, and scatter, as measured."""
    rng, factors = np.random.default_rng(0), of_tanh(depth) - 0.0025
    drawn = [rate_of(factors + 0.04 * rng.normal(size=depth - 1)) for _ in range(60)]
    word = "vanishing" if depth > 256 else "steady"
    assert sum(rate.word == word for rate in drawn) > 0.7 * len(drawn)
    laws = [rate.law for rate in drawn if rate.law]
    assert all(abs(law.constant) >= 3 * law.error for law in laws)


def test_all_layers_count_where_those_that_repeat_are_few():
    """A KAN of five layers of which three repeat; an encoder and a decoder that repeat."""
    places, middle = np.arange(6), (RepeatedStretch(1, 4, 1),)
    kan = judge(np.array([-0.57, -0.49, -0.49, -0.56]), middle, places)
    assert (kan.word, kan.layers) == ("vanishing", 5)
    assert judge(np.array([0.3, -0.49, -0.49, 0.3]), middle, places).word == "steady"
    two = (RepeatedStretch(0, 2, 1), RepeatedStretch(2, 5, 1))
    vae = judge(np.array([-0.52, 0.5, -0.51, -0.52]), two, places)
    assert (vae.word, vae.is_short) == (UNCLEAR, True)


def test_a_law_is_ill_from_a_thousand_on():
    residual = jaxnn.blocks.Residual()
    deep, shallow = (
        jaxnn.verdict(made(of_tanh(depth, residual), hidden=residual)) for depth in (1000, 100)
    )
    assert (deep.word, deep.law.offset) == (STRETCHED, 1)
    assert deep.law.constant == pytest.approx(0.595, abs=0.001)
    assert (deep.ill, deep.well, deep.can_be_cured) == (True, False, True)
    assert (shallow.word, shallow.ill) == (STRETCHED, False)


def test_a_saw_tooth_that_ends_where_it_began_is_steady():
    """Its restoring steps are a part of the rate, unless one alone makes ten."""
    teeth = rate_of([*[-0.3] * 4, 0.9, *[-0.31] * 4, 0.85, -0.3])
    assert (teeth.word, teeth.outliers) == ("steady", ())
    assert teeth.repeated == pytest.approx(-0.99)
    assert teeth.decades == pytest.approx(-0.09)
    one = rate_of([*[-0.1] * 15, 3.0, *[-0.1] * 15])
    assert (one.word, one.outliers) == (ERRATIC, ((17, 3.0),))


def test_two_to_four_layers_are_no_rate_below_a_hundred():
    """Such networks train: what their factors make is said, and what it means."""
    for factors, word in (([-1.2], UNCLEAR), ([-0.6, -0.7], UNCLEAR), ([-2.2], "vanishing")):
        assert rate_of(factors).word == word
    assert rate_of([-0.5, -0.5, -0.5]).word == UNCLEAR
    assert rate_of([-0.4] * 4).word == "vanishing"
    flow = made([-0.6, -0.7])
    v = jaxnn.verdict(replaced(flow, dead=0 * flow.units.dead))
    assert (said(v), v.advice) == ([("rate", None)], "")


def test_a_pattern_has_one_rate_and_no_error_of_its_own():
    """Attention and MLP in turn: what differs between them is no scatter."""
    rate = rate_of([0.3, 0.1] * 10 + [0.3], period=2)
    assert rate.word == "exploding"
    assert rate.decades == pytest.approx(0.2, abs=0.01)
    assert rate.standard_error == pytest.approx(0, abs=1e-9)
    assert rate.outliers == ()


def test_a_pattern_that_begins_with_a_branch_counts_in_whole_patterns():
    """Attention beside a recurrent state: its Δ is small at each step, and the same at all."""
    rate = rate_of([-0.5, -1.5, 0.2, 1.8] * 9 + [-0.5, -1.5, 0.2], period=4)
    assert rate.word == "steady"
    assert (rate.repeated, rate.rest) == (pytest.approx(0), pytest.approx(-1.8))
    assert (rate.layers, rate.others) == (40, ())


def test_layers_that_repeat_are_found_among_others():
    kinds = [*"e", *"ab" * 4, *"n", *"ccc", *"h"]
    assert repeated(kinds) == ((1, 9, 2), (10, 13, 1))
    assert repeated([*"abcdefgh"]) == ((0, 8, 1),)  # none: all are taken
    assert repeated([*"abcdefgg"]) == ((0, 8, 1),)  # too few
    assert repeated([*"aaaa"]) == ((0, 4, 1),)


def of_layers(gain, names):
    """A flow of the user's own layers, whose factors in decades and whose names are given."""
    log = np.append(np.cumsum(np.asarray(gain, float)[::-1])[::-1], 0.0) * np.log(10)
    net = jaxnn.Network((3,) * (len(log) + 1), "tanh", "binary")
    flow = filled_flow(
        net, 0 * log, log_delta=log, log_gain=np.append(log[:-1] - log[1:], np.nan),
        log_delta_example=log[:, None], log_largest=log,
    )  # fmt: skip
    return replace(flow, net=None, units=None, names=tuple(names), dtype=np.dtype("float64"))


# torchvision's VGG-19 with weights of deviation 0.01, features.0 to features.36
VGG = [
    -0.15, -0.62, -0.03, 0, -0.63, -0.13, -0.48, -0.07, 0, -0.49, -0.15, -0.34, -0.13, -0.34, -0.14,
    -0.34, -0.1, 0, -0.38, -0.16, -0.23, -0.16, -0.23, -0.15, -0.23, -0.06, 0, -0.34, -0.15, -0.34,
    -0.15, -0.35, -0.15, -0.34, -0.03, 0,
]  # fmt: skip
LETTERS = "abcdefghijk" + "xy" * 3 + "xlm" + "uv" * 3 + "u" + "st" * 4 + "sn"


def test_the_whole_network_is_told_and_what_the_rest_adds():
    """Convolutions that repeat make 4.3 of 7.6 decades, changes of width and pooling the others."""
    v = jaxnn.verdict(of_layers(VGG, LETTERS))
    assert (v.word, v.layers, said(v)) == ("vanishing", 23, [("rate", None)])
    assert v.total == pytest.approx(sum(VGG))
    assert v.repeated == pytest.approx(-4.3)
    assert sum(c.decades for c in v.others) == pytest.approx(v.total - v.repeated)
    assert v.others[0] == (6, pytest.approx(-0.63))


def test_what_is_done_once_is_steady_up_to_a_thousand_and_then_erratic():
    """An embedding of deviation 0.02 and its norm make 1.7 decades in a healthy network."""
    names = ["e", *"b" * 8, "h"]
    embedding = jaxnn.verdict(of_layers([1.7, *[0.02, 0.01] * 3, 0.02, -0.2], names))
    assert (embedding.word, embedding.well) == ("steady", True)
    assert said(embedding) == [("rate", None), ("once", 2)]
    head = jaxnn.verdict(of_layers([0.1, *[0.02, 0.01] * 3, 0.02, -5.0], names))
    assert (head.word, head.well) == (ERRATIC, False)
    assert said(head) == [("rate", None), ("once", 10)]


def test_a_head_above_layers_that_all_differ_is_no_alarm():
    """As in a RegNet of timm, cut at its stages."""
    stages = [0.1, 0.08, 0.1, 0.09, 0.1, 0.11, 0.1]
    healthy = jaxnn.verdict(of_layers([*stages, -1.1], "abcdefghi"))
    assert (healthy.word, healthy.well) == ("steady", True)
    assert healthy.others == ((9, pytest.approx(-1.1)),)
    assert jaxnn.verdict(of_layers([*stages, -1.1], "b" * 9)).word == ERRATIC
    for gain in ([*stages, -3.1], [*stages[:4], -1.6, *stages[4:], -1.6]):
        ill = jaxnn.verdict(of_layers(gain, "abcdefghij"[: len(gain) + 1]))
        assert (ill.word, ill.well) == (ERRATIC, False)


def test_a_rest_that_vanishes_between_steady_layers_is_no_steady_network():
    rng = np.random.default_rng(3)
    of_rest = -0.35 + 0.05 * rng.normal(size=6)
    gain = [*of_rest[:3], *0.02 * rng.normal(size=20), *of_rest[3:]]
    assert abs(np.mean(gain)) < 3 * np.std(gain) / 26**0.5  # the rest alone is told from zero
    v = jaxnn.verdict(of_layers(gain, [*"abc", *"r" * 21, *"xyz"]))
    assert (v.word, v.layers, v.others) == ("vanishing", 27, ())
    assert v.repeated == v.total == pytest.approx(sum(gain))
    # Neither the repeated layers nor the rest make ten, all together do.
    both = np.full(25, -0.07) + 0.02 * rng.normal(size=25)
    rate = judge(both, (RepeatedStretch(5, 18, 1),), np.arange(26))
    assert (rate.word, rate.layers) == ("vanishing", 26)
    # What scatters as much as it adds up is no verdict on steady layers.
    scattered = judge(
        np.array([0.9, -0.5, 0.8, *[0.01, -0.01] * 8, -0.3, 0.8]),
        (RepeatedStretch(3, 20, 1),), np.arange(22),
    )  # fmt: skip
    assert scattered.word == "steady"


def test_the_layers_to_change_are_all_if_the_rest_alone_is_ill():
    gain = np.array(VGG)
    rate = judge(gain, repeated(list(LETTERS)), np.arange(37))
    assert to_change(gain, rate) == (RepeatedStretch(0, 37, 1),)
    steady = np.where(np.isin(np.arange(36), [c.layer - 2 for c in rate.others]), 0.01, gain)
    rate = judge(steady, rate.stretches, np.arange(37))
    assert (rate.word, to_change(steady, rate)) == ("vanishing", rate.stretches)


@pytest.mark.parametrize(
    ("decades", "found", "sentence"),
    [
        (-0.3, [("no rate", None)], "The size of the gradient needs no change."),
        (
            -7.0,
            [("no rate", None), ("once", 2)],
            "Layer 2, which does not repeat, changes the gradient by -7 ",
        ),
    ],
)
def test_one_hidden_layer_has_no_rate_and_is_well_unless_a_head_is_nearly_nothing(
    decades, found, sentence
):
    """As the network of the article."""
    net = jaxnn.Network((3, 4, 1), "sigmoid", "binary")
    gain = np.array([decades * np.log(10), np.nan])
    v = jaxnn.verdict(filled_flow(net, np.zeros(2), log_gain=gain))
    assert (said(v), v.total, v.well) == (found, pytest.approx(decades), decades > -1)
    assert v.sentences[1].startswith(sentence)


def test_layers_whose_delta_was_not_measured_have_no_rate_and_no_verdict():
    flow = of_layers([0.1, 0.1], "abc")
    for unmeasured in (2, 3):
        v = jaxnn.verdict(replace(flow, unmeasured=unmeasured))
        assert (v.word, v.well, said(v)) == ("unknown", False, [("no rate", None)])
    assert not jaxnn.verdict(replace(flow, unmeasured=1)).well


def test_what_is_not_told_from_zero_is_no_verdict_on_the_weights():
    flow = made([0.5, -1.4, -0.9, 0.6, -0.5])
    v = jaxnn.verdict(replaced(flow, dead=0 * flow.units.dead))
    assert (v.word, v.remedies) == (UNCLEAR, ())
    assert v.advice.startswith("The factors of the layers scatter more than they add up")
    assert "change" not in v.advice


@pytest.mark.slow
def test_what_is_no_number_is_not_lost_by_a_format(rng):
    flow = made([-0.1] * 9)
    log = np.where(np.arange(11) < 6, [np.nan, np.inf] * 5 + [0], flow.log_largest)
    v = jaxnn.verdict(replaced(flow, log_largest=log))
    assert v.undefined == 6
    assert set(v.lost.values()) == {None}
    assert said(v) == [("undefined", 6), ("rate", None)]
    net = jaxnn.Network((6, *[8] * 5, 1), "tanh", "binary")
    first, *params = draw_layers(rng, net.sizes, gaussian(1.0))
    broken = (first._replace(theta=first.theta.at[0, 0].set(np.nan)), *params)
    v = jaxnn.verdict(gradient_flow(net, broken, *draw_batch(rng, net, 9)))
    assert v.lost["float64"] is None
    assert (v.findings[0].rule, v.findings[0].path) == ("nan", "[0].theta")


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
    assert v.network.sigma_w == pytest.approx(weights, rel=0.07)
    assert v.network.sigma_b == pytest.approx(biases, rel=0.07)
    if critical is None:
        assert v.network.critical_sigma_w is None
        relu = "set the biases to zero and initialise with std 1.414/√fan_in"
        words = relu if activation == "relu" else "choose another"
        assert f"No σ_w makes χ = 1 at a finite signal for {activation}" in v.advice
        assert words in v.advice
    else:
        if critical == "theory":
            critical = float(jaxnn.theory.meanfield.critical_sigma_w(activation, biases))
        assert v.network.critical_sigma_w == pytest.approx(critical, rel=0.02)
        assert f"Initialise with std {v.network.critical_sigma_w:.4g}/√fan_in (now" in v.advice


def test_following_the_advice_keeps_the_gradient(rng):
    """Half a decade a layer becomes less than a factor of ten over all 30."""
    before = judged(rng, "tanh", 0.4, 0.2)
    assert (before.word, before.decades < -0.3) == ("vanishing", True)
    after = judged(rng, "tanh", before.network.critical_sigma_w, 0.2)
    assert (after.word, after.well) == ("steady", True)


def test_critical_weights_are_told_that_width_is_what_is_left():
    v = jaxnn.verdict(replaced(made([-0.2] * 9, activation="identity"), var_a=np.full(11, 2.0)))
    assert v.network.sigma_w == pytest.approx(1)
    assert "The weights are critical already, of std 1/√fan_in; what is left" in v.advice
    assert not any("weights with σ_w" in remedy.change for remedy in v.remedies)


def test_a_gradient_that_changes_by_less_than_a_hundred_does_so_mildly():
    for factors, start in (([0.11, 0.1, 0.09] * 4, "Mildly exploding, "), ([0.2] * 12, "Expl")):
        v = jaxnn.verdict(made(factors))
        assert v.word == "exploding"
        assert v.rate_text.startswith(start)
        assert v.rate_text.endswith("; Adam makes up for it, SGD does not.")


@pytest.mark.parametrize(("count", "but"), [(1, "one"), (2, "two"), (3, "3")])
def test_layers_that_all_repeat_may_stand_apart_at_several_places(count, but):
    """As stages of several widths do, and layers that stand out among unlike ones."""
    rate = SimpleNamespace(layers=8, others=count * [None])
    judged = SimpleNamespace(network=None, names=8 * ("",), rate=rate)
    assert _scope(judged, "layers") == f"over all layers but {but}"


def test_it_is_sentences():
    v = jaxnn.verdict(made([-0.7, -0.9, -0.8]))
    assert v.sentences == (
        "Vanishing, -0.8 ± 0.06 decades a layer towards the input, -2.4 over all 4 hidden layers; "
        "Adam makes up for it, SGD does not.",
        "Initialise with std 1/√fan_in (now 2/√fan_in): that makes χ = 1 for tanh and σ_b = 0.",
    )
    assert len(v.remedies) == 3
    tried = "To see what would help, print jaxnn.cures(model, xs, …)"
    *said, last = str(v).splitlines()
    assert said == [*v.sentences, *map(str, v.remedies)]
    assert last.startswith(tried)
    assert tried not in str(jaxnn.verdict(made([0.0] * 9)))
    page = v._repr_html_()
    assert page.startswith("<p><b>Vanishing</b>, -0.8 ± 0.06 decades")


def test_a_format_is_spoken_of_where_scaling_the_loss_is_no_help():
    """Two decades a layer from 10^0: float16 has nine at best, whatever the loss is."""
    few = jaxnn.verdict(made([-1.0] * 6))
    assert few.lost["float16"] == 4  # ½ · 10^-4
    assert few.scales["float16"] == (11, 20)  # ½ · 10^-7 · 2^11 > 2^-14, ½ · 10^-1 · 2^20 < 65504
    assert said(few) == [("rate", None)]
    asked = jaxnn.verdict(made([-1.0] * 6), formats="float16")
    assert asked.findings[1].values["lost"] == {"float16": 4}
    for factor, verb in ((-2.0, "underflows"), (2.0, "overflows")):
        many = jaxnn.verdict(made([factor] * 199, top=0.0))
        found = many.findings[1]
        assert (found.rule, found.layer) == ("format", many.lost["float16"])
        assert (found.values["verb"], [*found.values["lost"]]) == (
            verb, ["float32", "bfloat16", "float16"],
        )  # fmt: skip
    with pytest.raises(ValueError, match=r"formats: expected some of .*, got 'half'"):
        jaxnn.verdict(made([-1.0] * 6), formats=("half",))


@pytest.mark.slow
def test_zeros_and_layers_left_out(rng):
    net = jaxnn.Network((6, *[8] * 9, 1), "relu", "binary")
    params = draw_layers(rng, net.sizes, gaussian(2**0.5), 0.1, stacked=True)
    xs, ys = draw_batch(rng, net, 9)
    v = jaxnn.verdict(gradient_flow(net, params, xs, ys, depth=6))
    assert v.layers == 6
    cut = jax.tree.map(jnp.zeros_like, params)
    v = jaxnn.verdict(gradient_flow(net, cut, xs, ys, depth=9))
    assert (v.word, v.zero) == ("unknown", 9)
    found = v.findings[0]
    assert (found.rule, found.layer, found.path) == ("zero", 10, "[2].theta")
    assert found.values["then"] == "stay"
    shallow = jaxnn.Network((6, 1), "relu", "binary")
    v = jaxnn.verdict(gradient_flow(shallow, draw_layers(rng, (6, 1), gaussian(1.0)), xs, ys))
    assert (v.word, v.layers, v.zero) == ("unknown", 0, None)
    assert said(v) == [("no rate", None)]


def test_steady_gradients_through_few_units_are_no_good_network():
    flow = made([0.0] * 9)
    well = jaxnn.verdict(replaced(flow, dead=0 * flow.units.dead))
    assert well.well
    many = jaxnn.verdict(replaced(flow, dead=np.full(11, 0.65)))
    assert "dead units pass nothing on and learn nothing from this batch" in many.advice
    saturated = replaced(flow, dead=0 * flow.units.dead, saturated=np.full(11, 0.8))
    assert "the rest are saturated" in jaxnn.verdict(saturated).advice


def test_a_layer_of_dead_units_is_named_and_no_weights_are_advised(rng):
    flow = made([-0.5, -0.7, -0.6])
    dead = replaced(flow, dead=np.array([0, 1.0, 0.5, 0, 0]))
    v = jaxnn.verdict(dead)
    assert v.network.all_dead == 2
    assert v.advice.startswith("Draw the weights of layer 2 again")


@pytest.mark.slow
def test_weights_that_have_blown_up_are_no_ground_for_advice(rng):
    """Too large for any scheme, or beyond the range: σ_w = … would be advice on accident."""
    flow = replaced(made([-0.5, -0.7, -0.6]), mean_square_z=np.full(5, 2e6))
    v = jaxnn.verdict(flow)
    assert v.network.sigma_w == pytest.approx(2000)
    assert v.advice.startswith("The weights have blown up: they act like σ_w = 2e+03, and σ_w = 1")
    net = jaxnn.Network((6, *[8] * 5, 1), "tanh", "binary")
    params = draw_layers(rng, net.sizes, gaussian(1.0), 0.1, jnp.float32)
    xs, ys = draw_batch(rng, net, 9, jnp.float32)
    for place, value in ((2, 1e38), (3, np.nan)):
        layer = params[place]._replace(b=jnp.full_like(params[place].b, value))
        broken = (*params[:place], layer, *params[place + 1 :])
        v = jaxnn.verdict(gradient_flow(net, broken, xs, ys))
        assert v.out == place + 1
        rules = [rule for rule, _ in said(v)]
        assert rules[:2] == (["nan", "signal"] if np.isnan(value) else ["signal", "cut"])


def test_it_wants_one_flow_with_values():
    flow = made([-0.5, -0.7])
    with pytest.raises(
        TypeError, match=r"flow: expected that of one network with its values known"
    ):
        jax.jit(lambda log: jaxnn.verdict(replaced(flow, log_delta=log)).decades)(flow.log_delta)
    several = jax.tree.map(lambda v: jnp.stack([v, v]), flow)
    with pytest.raises(TypeError, match="of network i"):
        jaxnn.verdict(several)


@pytest.mark.slow
def test_other_blocks_have_no_effective_sigma_w(rng):
    """The recursion that σ_w is read from is that of the article's layer."""
    net = jaxnn.Network((64, *[64] * 30, 1), "relu", "binary", hidden=jaxnn.blocks.Residual())
    params = draw_layers(rng, net.sizes, gaussian(1.0), 0.0, stacked=True)
    v = jaxnn.verdict(gradient_flow(net, params, *draw_batch(rng, net, 16)))
    assert v.word == "exploding"
    assert np.isnan(v.network.sigma_w)
    assert v.network.critical_sigma_w is None
    assert "With Residual(inner=Dense(), scale=1.0) between hidden layers" in v.advice
    assert any("scale=30**-0.5" in remedy.change for remedy in v.remedies)


@pytest.mark.slow
def test_behind_a_norm_the_critical_sigma_w_is_that_of_the_norm():
    """χ = σ_w² E[σ′²] / (σ_w² E[σ²] + σ_b²) at q = 1; the first layer's q is not yet q*."""
    v = jaxnn.verdict(made([-0.2] * 9, biases=0.3, hidden=jaxnn.blocks.RMSNorm()))
    assert v.network.sigma_w == pytest.approx(((2 - 0.09) / 0.5) ** 0.5)
    g, weights = np.polynomial.hermite_e.hermegauss(100)
    weights /= weights.sum()
    square, slope = weights @ np.tanh(g) ** 2, weights @ (1 - np.tanh(g) ** 2) ** 2
    sigma_w = 0.3 / (slope - square) ** 0.5
    (remedy,) = (r for r in v.remedies if "critical" in r.change)
    assert remedy.change == f"weights with σ_w = {sigma_w:.4g}, critical after this norm"
    # Nine factors from the first layer to the last: one at q[1] = σ_w² + σ_b², the rest 1.
    first = 0.5 * np.log10(sigma_w**2 * slope / (sigma_w**2 + 0.09))
    assert remedy.decades == pytest.approx(first / 9, rel=1e-6)
    sizes = [abs(r.decades) for r in v.remedies]
    assert sizes == sorted(sizes)
    at_it = made([-0.2] * 9, biases=0.3, hidden=jaxnn.blocks.RMSNorm())
    square_z = np.full(11, sigma_w**2 * 0.5 + 0.09)
    at_it = jaxnn.verdict(replaced(at_it, mean_square_z=square_z))
    assert at_it.network.sigma_w == pytest.approx(sigma_w)
    without_biases = jaxnn.verdict(made([-0.2] * 9, hidden=jaxnn.blocks.LayerNorm()))
    for each in (at_it, without_biases):
        assert not any("critical" in remedy.change for remedy in each.remedies)
