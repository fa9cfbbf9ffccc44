"""Records of a flow: data that are broken, named first, and what is left of the examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import draw_batch, draw_layers, gaussian, gradient_flow, said

import jaxnn
from jaxnn.flow.record import example_spread
from jaxnn.flow.record.given import Given
from jaxnn.flow.record.loss import delta_of_loss
from jaxnn.flow.verdict.broken_findings import BLOWN_UP
from jaxnn.trials.cures import Cures

B, N, L = 3, 4, 5
ADVICE = "Mend the data, then measure again."


def layer(w, z):
    return jnp.tanh(z @ w)


def mean_square(output, ys):
    return jnp.mean(jnp.square(output - ys), axis=1)


def broken(v, value):
    v = v.copy()
    v[1, 2] = value
    return v


@pytest.fixture
def handed(rng):
    """Five layers, examples and labels in float32."""
    draw = lambda *shape: np.float32(rng.normal(size=shape))  # noqa: E731
    return [draw(N, N) / 2 for _ in range(L)], draw(B, N), draw(B, N)


def judged(weights, xs, ys, loss=mean_square):
    net, params = jaxnn.as_network([(layer, w) for w in weights])
    return jaxnn.verdict(jaxnn.gradient_flow((net, params), xs, ys, loss=loss))


HOW_BROKEN = (
    (np.nan, "1 of 12 entries is nan or infinite"),
    (np.inf, "1 of 12 entries is infinite"),
    (1e38, "the largest of 12 entries is 1e+38, whose square leaves float32"),
)


@pytest.mark.parametrize(("value", "what"), HOW_BROKEN)
@pytest.mark.parametrize("name", ["xs", "ys"])
def test_data_are_named_and_nothing_that_follows_from_them(handed, name, value, what):
    weights, xs, ys = handed
    data = {"xs": xs, "ys": ys}
    data[name] = broken(data[name], value)
    v = judged(weights, **data)
    assert v.sentences == (f"{name}: {what}.", ADVICE)
    assert (v.word, v.broken, v.remedies, v.closing) == ("unknown", name, (), ())
    assert Cures(v, ()).sentences == (*v.sentences, "Nothing was tried.")


def test_the_first_that_is_broken_is_named(handed):
    """Data, the loss, parameters; these before a loss that follows from them."""
    weights, xs, ys = handed
    nan = [*weights[:2], broken(weights[2], np.nan), *weights[3:]]
    infinite = [*weights[:2], broken(weights[2], np.inf), *weights[3:]]  # tanh is finite

    def negative(output, ys):
        return jnp.log(-mean_square(output, ys))

    def root(output, ys):
        return jnp.sum(jnp.sqrt(output - output), axis=1)

    assert judged(nan, broken(xs, np.nan), broken(ys, np.nan)).broken == "xs"
    assert judged(nan, xs, broken(ys, np.nan)).broken == "ys"
    assert judged(infinite, xs, ys, negative).broken == "loss"
    loss = judged(weights, xs, ys, negative)
    assert loss.findings[0].rule == "loss"
    assert not loss.can_be_cured
    derivative = judged(weights, xs, ys, root)
    assert "derivative of the loss" in derivative.findings[0].text
    for broken_weights, what in ((nan, "nan"), (infinite, "nan or infinite")):
        v = judged(broken_weights, xs, ys)
        first = v.findings[0]
        assert (first.rule, first.layer, first.path) == ("nan", 3, "[2][1]")
        assert first.values["what"] == what
        assert (v.broken, v.word, v.can_be_cured) == ("parameters", "unknown", False)
        assert v.advice == BLOWN_UP


def scaled(output, ys):
    return 1e-12 * mean_square(output, ys)


WHY_ZERO = (
    (
        "float16",
        scaled,
        "the derivative of the loss is below the range of float16; multiply the loss by a power of "
        "two, or compute it in float32",
    ),
    ("float16", lambda output, ys: mean_square(ys, 0), "the loss does not depend on it"),
    (
        "float16",
        lambda output, ys: 0 * mean_square(output, ys),
        "the derivative of the loss is zero, or a constant in it is in float16",
    ),
    (
        "float32",
        lambda output, ys: 1e-60 * mean_square(output, ys),
        "the derivative of the loss is zero, or too small for float32",
    ),
)


@pytest.mark.parametrize(("dtype", "loss", "why"), WHY_ZERO)
def test_independence_a_derivative_of_zero_and_the_range_of_a_format_are_told_apart(
    handed, dtype, loss, why
):
    output, ys = (v.astype(dtype) for v in handed[1:])
    of_output = jax.jit(lambda output, ys: delta_of_loss(loss, ys, lambda top: top[0], [output]))
    of_loss = of_output(output, ys)
    assert not of_loss.delta[0].any()
    assert Given.of({"ys": ys}, of_loss).why_zero(dtype) == why


@pytest.mark.slow
def test_a_verdict_says_why_the_gradient_is_zero_from_the_output_on(handed):
    weights, xs, ys = jax.tree.map(lambda v: v.astype(np.float16), handed)
    net, params = jaxnn.as_network([(layer, w) for w in weights[:2]])
    for pull, why in (
        ({"ys": ys, "loss": scaled}, WHY_ZERO[0][2]),
        ({"cotangent": 0 * ys}, "the cotangent is zero"),
    ):
        v = jaxnn.verdict(jaxnn.gradient_flow((net, params), xs, **pull))
        assert (v.findings[0].rule, v.findings[0].values["why"]) == ("output", why)


@pytest.mark.slow
def test_what_is_meant_so_is_not_broken(handed):
    """Missing labels that the loss leaves out, and masks of the lowest numbers."""
    weights, xs, ys = handed

    def masked(output, ys):
        return jnp.mean(jnp.where(jnp.isnan(ys), 0, output - jnp.nan_to_num(ys)) ** 2, axis=1)

    assert judged(weights, xs, broken(ys, np.nan), masked).broken == ""

    def behind_mask(w, state):
        z, mask = state
        return (layer(w, z) * jnp.exp(mask), mask)

    mask = broken(np.zeros((B, N), np.float32), np.finfo(np.float32).min)
    layers = [(behind_mask, w) for w in weights]
    c = (ys, np.zeros_like(mask))
    d = jaxnn.diagnose(layers, (xs, mask), cotangent=c)
    assert d.verdict.broken == ""


@pytest.mark.slow
def test_a_layer_that_makes_nan_of_finite_numbers_is_looked_at_and_not_its_weights(handed):
    weights, xs, ys = handed
    layers = [(layer, w) for w in weights]
    layers[2] = (lambda w, z: jnp.log(-jnp.square(z @ w)), weights[2])
    v = jaxnn.diagnose(layers, xs, ys, loss=mean_square).verdict
    assert (v.out, v.findings[0].values["why"]) == (3, "computed")
    layers[2] = (lambda w, z: z @ w, weights[2] * np.float32(1e38))
    layers[3] = (lambda w, z: z @ w, weights[3] * np.float32(1e38))
    v = jaxnn.diagnose(layers, xs, ys, loss=mean_square).verdict
    assert (v.out, v.advice) == (4, BLOWN_UP)


@pytest.mark.slow
def test_a_network_of_ours_names_its_data(rng):
    net = jaxnn.Network((N, 8, 8, 1), "tanh", "regression")
    params = jaxnn.init(net, jax.random.key(0), dtype=np.float32)
    xs, ys = np.float32(rng.normal(size=(B, N))), np.ones((B, 1), np.float32)
    ys[1] = 1e38
    assert jaxnn.verdict(jaxnn.gradient_flow((net, params), xs, ys)).broken == "ys"
    for value, what in HOW_BROKEN:
        d = jaxnn.diagnose((net, params), broken(xs, value), ys / 1e38)
        assert d.sentences == (f"xs: {what}.", ADVICE)
    with pytest.raises(ValueError, match=r"^xs: the largest of 12 entries is 1e\+38, whose square"):
        jaxnn.gradient_flow((net, params), broken(xs, 1e38), ys)


# What is left of the examples on the way up


EXAMPLES, WIDTH, LAYERS = 5, 6, 8
SIZES = (3, *[WIDTH] * LAYERS, 2)


def problem(rng, activation, dtype=np.float64, gain=1.2):
    net = jaxnn.Network(SIZES, activation, "binary")
    params = draw_layers(rng, SIZES, gaussian(gain), stacked=True)
    xs, ys = draw_batch(rng, net, EXAMPLES)
    return net, jax.tree.map(lambda v: jnp.asarray(v, dtype), params), xs.astype(dtype), ys


def states_of(net, params, xs):
    """The z of every layer, (EXAMPLES, n) each, by the plain formulas."""
    z, states = xs, []
    for i, (theta, b) in enumerate(jaxnn.network.unstack(params)):
        a = z if i == 0 else net.activation.sigma(z)
        z = a @ theta + b[None]
        states.append(z)
    return states


def by_hand(z):
    """The spread, the mean cosine and the effective rank of a state."""
    deviation = z - z.mean(axis=0)
    units = z / np.linalg.norm(z, axis=1, keepdims=True)
    cosines = (units @ units.T)[np.triu_indices(len(z), 1)]
    eigenvalues = np.linalg.eigvalsh(np.cov(deviation.T, bias=True))
    rank = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    return np.sqrt((deviation**2).mean() / (z**2).mean()), cosines.mean(), rank


def test_the_rank_of_long_rows_is_taken_in_strips_and_one_example_has_none(rng, monkeypatch):
    monkeypatch.setattr(example_spread, "STRIP", 3)
    spread_of = jax.jit(lambda z: example_spread.spread_of(z, 1e-9, None, jnp.mean(z**2)))
    for n in (6, 8):  # of two strips, without a rest and with one
        z = rng.normal(size=(EXAMPLES, n))
        spread = spread_of(z)
        measured = np.exp(spread.log_spread), spread.cosine, spread.rank
        np.testing.assert_allclose(measured, by_hand(z), rtol=1e-9)
    alone = spread_of(z[:1])
    assert np.isnan([alone.log_spread, alone.cosine, alone.rank]).all()


@pytest.mark.parametrize(
    ("activation", "memory"),
    [pytest.param("tanh", "all", marks=pytest.mark.slow), ("relu", "sqrt")],
)
def test_it_measures_spread_cosine_and_rank(rng, activation, memory):
    net, params, xs, ys = problem(rng, activation)
    flow = gradient_flow(net, params, xs, ys, examples=True, memory=memory)
    log_spread, cosine, rank = map(np.asarray, (flow.log_spread, flow.cosine, flow.rank))
    for i, state in enumerate(map(np.asarray, states_of(net, params, xs))):
        measured = np.exp(log_spread[i]), cosine[i], rank[i]
        np.testing.assert_allclose(measured, by_hand(state), rtol=1e-9)


@pytest.mark.slow
def test_layers_that_depth_leaves_out_do_not_count(rng):
    net, params, xs, ys = problem(rng, "tanh")
    flow = gradient_flow(net, params, xs, ys, depth=5, examples=True)
    first, run, last = params
    short = (first, jax.tree.map(lambda v: v[:4], run), last)
    net = jaxnn.Network((3, *[WIDTH] * 5, 2), "tanh", "binary")
    alone = gradient_flow(net, short, xs, ys, examples=True)
    for name in ("log_spread", "cosine", "rank"):
        values = np.asarray(getattr(flow, name))
        assert np.isnan(values[5:-1]).all()
        np.testing.assert_allclose([*values[:5], values[-1]], getattr(alone, name), rtol=1e-9)


@pytest.mark.slow
def test_what_is_left_of_the_examples_is_measured_apart_from_the_gradient(rng):
    net, params, xs, ys = problem(rng, "relu")
    flow = gradient_flow(net, params, xs, ys, examples=True)
    plain = gradient_flow(net, params, xs, ys)
    np.testing.assert_allclose(flow.log_delta, plain.log_delta, rtol=1e-12)
    assert plain.log_spread is None


@pytest.mark.slow
def test_where_examples_become_rounding(rng):
    sizes = (8, *[32] * 60, 1)
    net = jaxnn.Network(sizes, "sigmoid", "binary")
    params = jax.tree.map(jnp.float32, draw_layers(rng, sizes, gaussian(1.0), stacked=True))
    xs, ys = rng.standard_normal((EXAMPLES, 8)).astype(np.float32), np.arange(EXAMPLES) % 2
    flow = gradient_flow(net, params, xs, ys, examples=True)
    verdict = jaxnn.verdict(flow)
    first = verdict.indistinguishable["float32"]
    eps = np.finfo(np.float32).eps
    assert 5 < first < 20
    assert np.exp(flow.log_spread[first - 2]) > 4 * eps > np.exp(flow.log_spread[first - 1])
    assert (np.exp(flow.log_spread[first:]) < 4 * eps).all()
    assert verdict.indistinguishable["bfloat16"] < verdict.indistinguishable["float16"] < first
    assert "float64" not in verdict.indistinguishable
    assert np.isfinite(flow.rank[: first - 1]).all()
    assert np.isnan(flow.rank[first:-1]).all()
    assert ("examples", first) in said(verdict)
