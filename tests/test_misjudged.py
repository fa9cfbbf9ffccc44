"""Networks that an early verdict misjudged, each with today's sentence: the table of a page."""

import re
from itertools import pairwise
from pathlib import Path

import draws
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import as_users_have_jax
from test_causes import changed, measure  # noqa: F401, a fixture

import jaxnn

PAGE = Path(__file__).parents[1] / "docs" / "verdicts.md"
HEAD = "| network | verdict |\n|---|---|\n"
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def first(flow, **options):
    return jaxnn.verdict(flow, **options).sentences[0]


def finding(rule, flow, **options):
    (text,) = (f.text for f in jaxnn.verdict(flow, **options).findings if f.rule == rule)
    return text


def of_family(name, width, depth):
    """The first sentence on the first of two draws of a family."""
    (family,) = (family for family in draws.FAMILIES if family.name == name)
    return first(family.flows(width, depth, jax.random.split(jax.random.key(0), 2))[0])


def chain(layers, xs, cotangent=None, **options):
    net, params = jaxnn.as_network(layers)
    given = xs if cotangent is None else cotangent
    return jaxnn.gradient_flow((net, params), xs, cotangent=given, **options)


def product(p, z):
    return z @ p


def doubled(z):
    return 2 * z


def mean_of_tokens(p, z):
    return jnp.mean(z @ p, axis=1, keepdims=True) + 0 * z


def lstm(p, state):
    h, c = state
    i, f, g, o = jnp.split(h @ p, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def scales(*gains):
    return [(product, np.float32(gain * np.eye(4))) for gain in gains]


def network(activation, sizes, sigma_w, seed):
    rng = np.random.default_rng(seed)
    params = tuple(
        jaxnn.network.Layer(
            np.float32(sigma_w * rng.normal(size=(n, m)) / n**0.5), np.zeros(m, np.float32)
        )
        for n, m in pairwise(sizes)
    )
    net = jaxnn.Network(sizes, activation, "binary")
    xs, ys = np.float32(rng.normal(size=(9, sizes[0]))), rng.integers(0, 2, 9)
    return jaxnn.gradient_flow((net, params), xs, ys)


def advised(activation):
    """The verdict on weights of the σ_w that the verdict on others advises."""
    sizes = (40, *[40] * 12, 1)
    before = jaxnn.verdict(network(activation, sizes, 0.7, 0))
    return jaxnn.verdict(network(activation, sizes, before.network.critical_sigma_w, 0))


def rows(measure):  # noqa: F811
    """Yield the networks in words, and their sentences."""
    rng = np.random.default_rng(0)
    relu = network("relu", (32, *[32] * 24, 1), 2**0.5, 1)
    yield "24 critical relu layers", first(relu)
    yield "GPT-2's shape at its initialisation, 2 blocks", of_family("GPT-2's shape", 16, 2)
    yield "a pre-norm transformer of 200 blocks", of_family("pre-norm transformer", 16, 200)
    residual = of_family("residual tanh, branch × 1", 32, 1000)
    yield "1000 residual layers of tanh", residual
    gains = chain(scales(300, 300, 300, 1, 300, 300), np.ones((2, 4), np.float32))
    yield "five linear layers of gain 300, one of gain 1", first(gains)
    zero = measure(changed(9, p=lambda p: 0 * p))
    yield "a transformer with a zero head", first(zero)
    averaged = [(mean_of_tokens, np.float32(rng.normal(size=(8, 8)) / 8**0.5)) for _ in range(6)]
    xs = np.float32(rng.normal(size=(4, 5, 8)))
    yield "six layers that average all tokens", finding("positions", chain(averaged, xs))
    large = {name: lambda p: 30 * p for name in ("q", "k")}
    yield "queries and keys of a block × 30", finding("attention", measure(changed(4, **large)))
    near = np.float32([1, 1 + 1e-7])[:, None, None]
    alike = {name: lambda p: p[[0, 0]] * near for name in ("up", "down")}
    yield "experts that differ by 10⁻⁷", finding("router", measure(changed(5, **alike)))
    said = jaxnn.verdict(relu)
    yield "the same: no 8-bit format is used, none is spoken of", said.sentences[-1]
    asked = finding("format", relu, formats="float8_e4m3fn")
    yield "the same, if float8_e4m3fn is asked for", asked
    small = np.float32(np.where(np.arange(1000) > 0, 1e-14, 1.0))[None]
    counted = chain([doubled], small, entries=True)
    yield "a cotangent of which 99.9 % is small", finding("entries", counted)
    yield "σ_w as an earlier verdict advised", advised("tanh").sentences[-1]
    yield "the article's 3-4-1 network", first(network("sigmoid", (3, 4, 1), 1.0, 0))
    run = jaxnn.Run(lstm, np.float32(rng.normal(size=(4, 16)) / 4), 9, tied=True)
    h = np.float32(rng.normal(size=(2, 4)))
    yield "an LSTM of nine steps", first(chain({"step": run}, (h, h)))
    nan = changed(3, up=lambda p: p * np.where(p == p.max(), np.nan, 1))
    yield "weights with a nan", first(measure(nan))


@pytest.mark.slow
def test_the_page_has_today_s_sentences(measure):  # noqa: F811
    with as_users_have_jax():
        now = list(rows(measure))
    whole = HEAD + "".join(f"| {name} | {text} |\n" for name, text in now)
    page = PAGE.read_text("utf-8").replace("\\[", "[")  # else a link for Markdown
    table = page[page.find(HEAD) :].partition("\n\n")[0] if HEAD in page else ""
    assert NUMBER.sub("#", table.strip()) == NUMBER.sub("#", whole.strip()), whole
    old, new = (
        [float(v) for v in NUMBER.findall(re.sub("10[⁻⁰-⁹¹²³]+", "", text))]
        for text in (table, whole)
    )
    np.testing.assert_allclose(new, old, rtol=0.1, atol=0.02, err_msg=whole)
