"""What was handed over, nan or too large: named before the network is blamed for it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn
from jaxnn.curing.cures import Cures
from jaxnn.flow.record.given import Given
from jaxnn.flow.record.loss import delta_of_loss
from jaxnn.flow.verdict.broken_findings import BLOWN_UP

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
    of_loss = delta_of_loss(loss, ys, lambda top: top[0], [output])
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


def test_torch_names_them_too(torch):
    torch.manual_seed(0)
    linear = [torch.nn.Sequential(torch.nn.Linear(N, N), torch.nn.Tanh()) for _ in range(L)]
    module, mse = torch.nn.Sequential(*linear), torch.nn.functional.mse_loss
    xs, ys = torch.randn(2, B, N)
    for value, what in HOW_BROKEN:
        wrong = torch.tensor(broken(ys.numpy(), value))
        v = jaxnn.verdict(jaxnn.gradient_flow(module, xs, wrong, loss=mse))
        assert v.sentences[:2] == (f"ys: {what}.", ADVICE)
        assert not v.can_be_cured
    huge = torch.tensor(broken(xs.numpy(), 1e38))
    assert jaxnn.verdict(jaxnn.gradient_flow(module, huge, ys, loss=mse)).broken == "xs"
    negative = jaxnn.gradient_flow(module, xs, ys, loss=lambda o, y: torch.log(-mse(o, y)))
    assert jaxnn.verdict(negative).findings[0].rule == "loss"
