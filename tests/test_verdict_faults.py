"""Networks with one planted fault each, whose verdicts name it, and some once misjudged."""

import dataclasses
import re
from itertools import pairwise
from pathlib import Path

import draws
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from draws import TOKENS, WORDS, embed, norm, scaled_norm
from problems import as_users_have_jax, filled_flow

import jaxnn
from jaxnn.arrays.compiled import few_runs
from jaxnn.flow import AttentionHeads
from jaxnn.flow.verdict.arrays import Arrays

BLOCKS, WIDTH, EXPERTS, BATCH = 6, 8, 2, 4


def block(p, z):
    """Attention, and two experts whose outputs a router weighs."""
    h = norm(z)
    scores = jnp.einsum("btn,bsn->bts", h @ p["q"], h @ p["k"]) / WIDTH**0.5
    z = z + jax.nn.softmax(scores) @ (h @ p["v"]) @ p["out"]
    h = norm(z)
    share = jax.nn.softmax(h @ p["router"])
    inside = jax.nn.relu(jnp.einsum("btn,enm->btem", h, p["up"]) + p["b"])
    return z + jnp.einsum("btem,emn,bte->btn", inside, p["down"], share)


def head(p, z):
    return z @ p


def healthy(seed=0):
    rng = np.random.default_rng(seed)
    wide = 4 * WIDTH

    def draw(*shape):
        return np.float32(rng.normal(size=shape) / shape[-2] ** 0.5)

    def of_block():
        square = {name: draw(WIDTH, WIDTH) for name in ("q", "k", "v", "out")}
        up, down = draw(EXPERTS, WIDTH, wide), draw(EXPERTS, wide, WIDTH)
        b = np.zeros(wide, np.float32)
        return square | {"router": draw(WIDTH, EXPERTS), "up": up, "b": b, "down": down}

    table = {"words": draw(WORDS, WIDTH) * WORDS**0.5, "places": 0.1 * draw(TOKENS, WIDTH)}
    table = {name: np.float32(v) for name, v in table.items()}
    return [
        (embed, table),
        *((block, of_block()) for _ in range(BLOCKS)),
        (scaled_norm, np.ones(WIDTH, np.float32)),
        (head, draw(WIDTH, WORDS)),
    ]


@pytest.fixture(scope="module")
def measure():
    """Layers like the healthy ones -> their flow; compiled once for all faults."""
    with as_users_have_jax():
        net, _ = jaxnn.as_network(healthy())
        rng = np.random.default_rng(9)
        xs = rng.integers(0, WORDS, (BATCH, TOKENS))
        ys = np.float32(rng.normal(size=(BATCH, TOKENS, WORDS)))

        def flow(layers, size=1.0):
            with as_users_have_jax(), few_runs():
                params = net.params(layers)
                return jaxnn.gradient_flow((net, params), xs, cotangent=np.float32(size) * ys)

        yield flow


def changed(layer, **arrays):
    """The healthy network with other arrays in a layer, functions of those it has."""
    layers = healthy()
    f, p = layers[layer - 1]
    if not isinstance(p, dict):
        (new,) = arrays.values()
        layers[layer - 1] = (f, np.float32(new(p)))
    else:
        layers[layer - 1] = (f, p | {k: np.float32(v(p[k])) for k, v in arrays.items()})
    return layers


def alarms(v):
    """Rule, layer and array of all findings but the rate."""
    return [(f.rule, f.layer, f.path) for f in v.findings if f.rule != "rate"]


def test_healthy_networks_have_no_alarm(measure):
    for seed in range(10):
        v = jaxnn.verdict(measure(healthy(seed)))
        assert (v.word, v.layers, alarms(v), v.well) == ("steady", BLOCKS, [], True)


def times(factor):
    return lambda p: factor * p


def alike(difference):
    """Experts that differ by this, so that the router gets that of their gradient or so."""
    return lambda p: p[[0, 0]] * np.float32([1, 1 + difference])[:, None, None]


def with_nan(p):
    return p * np.where(p == p.max(), np.nan, 1)


# The layer that is changed, how, and what is found.
FAULTS = {
    "a zero head": (9, {"p": times(0)}, [("zero", 9, "[8][1]")]),
    "a norm without gain": (8, {"p": times(0)}, [("zero", 8, "[7][1]")]),
    "an embedding times 100": (
        1,
        {"words": times(100)},
        [("largest", 1, "[0][1]['words']"), ("once", 8, "")],
    ),
    "a weight times 30": (
        2,
        {"down": times(30)},
        [(rule, 2, "[1][1]['down']") for rule in ("size", "once")] + [("once", 8, "")],
    ),
    "a nan": (
        3,
        {"up": with_nan},
        [("nan", 3, "[2][1]['up']"), ("signal", 3, ""), ("undefined", 7, "")],
    ),
    "queries and keys times 30": (
        4,
        {"q": times(30), "k": times(30)},
        [("attention", 4, "[3][1]['k']"), ("size", 4, "[3][1]['k']"), ("size", 4, "[3][1]['q']")],
    ),
    "equal experts": (3, {"up": alike(0), "down": alike(0)}, [("router", 3, "[2][1]['router']")]),
    "experts that are alike": (
        5,
        {"up": alike(1e-6), "down": alike(1e-6)},
        [("router", 5, "[4][1]['router']")],
    ),
    "dead units": (
        5,
        {"b": lambda p: p - 100},
        [("starved", 5, f"[4][1]['{name}']") for name in ("down", "router", "up")],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_named(measure, fault):
    layer, arrays, found = FAULTS[fault]
    assert alarms(jaxnn.verdict(measure(changed(layer, **arrays)))) == found


def test_numbers_of_a_saturated_attention_are_those_of_its_table(measure):
    """Its logits are 900 times as large; it is without a mask, and of one head."""
    flow = measure(changed(4, q=times(30), k=times(30)))
    (finding,) = (f for f in jaxnn.verdict(flow).findings if f.rule == "attention")
    (row,) = (row for row in flow.attention_table() if row["layer"] == 4)
    assert (row["attention"], row["head"]) == (1, 1)
    assert row["largest_logit"] == finding.values["logit"] > 300
    assert row["share"] == pytest.approx(row["entropy"] / np.log(TOKENS))
    assert {*finding.values["starved"]} == {"[3][1]['k']", "[3][1]['q']"}


def flow_with(names, **fields):
    """Return a flow of layers with these names, ones everywhere else."""
    net = jaxnn.Network((2,) * (len(names) + 1), "tanh", "regression")
    flow = filled_flow(net, np.ones(len(names)))
    return dataclasses.replace(flow, net=None, names=tuple(names), **fields)


@pytest.mark.parametrize(
    ("behind", "named"),
    [
        ((3.8, 4.1, 3.9, 4.0, 4.2, 3.7), []),  # as the decay rates of a Mamba are
        ((6.5, 5.1, 5.5, 5.4), []),  # as those of a small one
        ((0.1, 0.0, 4.5, 0.0, 0.2, 0.1), [3]),
        ((9.0, 9.1, 8.9, 9.0, 9.0, 9.2), [1, 2, 3, 4, 5, 6]),
        ((4.0, 3.9, 4.0, 5.9, np.inf, 4.1), [5]),
        ((4.4, 4.3), []),
        ((4.4, 0.1), [1]),
    ],
)
def test_what_gets_little_in_every_layer_is_named_if_it_is_next_to_nothing(behind, named):
    """Whatever else the lowest layer has, such as an embedding."""
    layers = np.repeat(np.arange(1, len(behind) + 1), 3)
    names = ("up", "down", "decay")
    paths = [f"blocks.{i}.{name}" for i in range(len(behind)) for name in names]
    delta = np.zeros(len(paths))
    delta[2::3] = -np.array(behind)
    place = np.tile(np.arange(3), len(behind))
    arrays = Arrays(
        np.append(1, layers),
        ("embedding", *paths),
        ((4, 4),) * (1 + len(paths)),
        np.append(3, place),
        np.append(0.0, delta),
        np.zeros(1 + len(paths)),
    )
    assert {arrays.path[i]: below for i, below in arrays.starved.items()} == {
        f"blocks.{layer - 1}.decay": behind[layer - 1] for layer in named
    }


@pytest.mark.parametrize(
    ("size", "delta", "found"),
    [
        ((-np.inf, 0.0), (0.0, -np.inf), ("zero", 3, "head.weight")),
        ((0.0, 0.0), (-np.inf, -np.inf), ("output", 2, "")),
    ],
)
def test_a_head_of_zeros_above_the_last_cut_is_named(size, delta, found):
    """As in a ViT of torchvision, whose cuts are the blocks of its encoder."""
    paths, shapes = ("head.weight", "norm.weight"), ((4, 4), (4,))
    parameters = jaxnn.flow.Parameters(
        jnp.array(delta), jnp.array(size), paths, (3, 3), shapes, ("float32",) * 2
    )
    flow = flow_with("ab", log_delta=jnp.full(2, -jnp.inf), parameters=parameters)
    assert alarms(jaxnn.verdict(flow))[0] == found


def test_a_branch_that_starts_at_zero_leaves_its_weights_without_gradient():
    """A norm whose gain is zero at the end of a branch, as some packages draw residual networks."""
    paths = ("conv.weight", "skip.weight", "norm.weight", "norm.bias")
    shapes = ((4, 4), (4, 4), (4,), (4,))

    def behind(sizes, deltas):
        arrays = Arrays(
            np.ones(4, int), paths, shapes, np.arange(4), np.array(deltas), np.array(sizes)
        )
        return {arrays.path[i] for i in arrays.starved}

    none = -np.inf
    assert behind((0, 0, none, none), (none, 0, 0, 0)) == set()
    for sizes, deltas in (
        ((0, 0, 0, none), (none, 0, 0, 0)),  # a bias may be zero
        ((0, 0, none, none), (none, 0, none, 0)),  # a gain that gets no gradient stays zero
    ):
        assert behind(sizes, deltas) == {"conv.weight"}


@pytest.mark.parametrize(
    ("name", "shape", "size", "delta", "is_named"),
    [
        ("gamma", (4,), -6.0, 0.0, False),
        ("layer_scale", (4, 1, 1), -6.0, 0.0, False),  # of images
        ("gamma", (4,), -2.0, 0.0, True),
        ("gamma", (4,), -6.0, -np.inf, True),  # gets no gradient, so that it stays
        ("bias", (4,), -6.0, 0.0, True),
        ("kernel", (4, 4), -6.0, 0.0, True),
    ],
)
def test_weights_behind_a_layer_scale_near_zero_are_not_named(name, shape, size, delta, is_named):
    """As in ConvNeXt and EdgeNeXt, which start with 10^-6."""
    paths, shapes = ("inside", "skip", "beside", name), ((4, 4), (4, 4), (4, 4), shape)
    deltas, sizes = np.array((-7.0, 0.0, 0.0, delta)), np.array((0.0, 0.0, 0.0, size))
    arrays = Arrays(np.ones(4, int), paths, shapes, np.arange(4), deltas, sizes)
    assert [arrays.path[i] for i in arrays.starved] == ["inside"] * is_named


@pytest.mark.parametrize(
    ("load", "tokens", "selected", "experts"),
    [
        ((0.0, 1.0, 0.0, 0.0), 32, 1, (2,)),
        ((0.5, 0.0, 0.0, 0.5), 32, 2, (1, 4)),
        ((0.001, 0.997, 0.001, 0.001), 32, 4, (2,)),
        ((0.0, 0.9, 0.1, 0.0), 32, 1, None),
        ((0.5, 0.3, 0.1, 0.1), 32, 2, None),
        ((0.0, 1.0), 8, 1, None),
    ],
)
def test_experts_that_all_tokens_go_to(load, tokens, selected, experts):
    """Routers that weigh all experts and those that select some; too few tokens say nothing."""
    count = len(load)
    routers = jaxnn.flow.Routers(
        jnp.array(load), (2,) * count, (1,) * count, tuple(range(1, count + 1)),
        (tokens,) * count, (selected,) * count, (("['r']",),) * count, ((),) * count,
    )  # fmt: skip
    found = values_of("router", flow_with("ab", routers=routers))
    assert [(layer, values["experts"]) for layer, values in found] == [(2, experts)] * bool(experts)


def values_of(rule, flow):
    """Layer and numbers of what a rule finds."""
    return [(f.layer, f.values) for f in jaxnn.verdict(flow).findings if f.rule == rule]


def test_heads_that_are_saturated_are_numbered():
    heads = AttentionHeads(
        jnp.array([1.0, 2.0, 200.0, 7e4, 200.0, 200.0]),
        jnp.array([1.0, 1.0, 0.001, 0.01, jnp.nan, 1.0]),
        jnp.full(6, 2.0),
        layers=(1, 1, 2, 2, 2, 2),
        attentions=(1, 1, 1, 2, 2, 2),
        heads=(1, 2, 1, 1, 2, 3),
        paths=((),) * 6,
    )
    found = values_of("attention", flow_with("ab", attention=heads))
    assert [(layer, v["number"], v["heads"], v["count"]) for layer, v in found] == [
        (2, 1, [1], 1),
        (2, 2, [1], 3),
    ]


def test_a_gradient_too_small_for_float16_needs_a_scale_of_the_loss(measure):
    flow = measure(healthy(), 1e-9)
    assert alarms(jaxnn.verdict(flow)) == []
    asked = jaxnn.verdict(flow, formats="float16")
    own = jaxnn.verdict(dataclasses.replace(flow, dtype=np.dtype("float16")))
    for v in (asked, own):
        assert ("format", 9, "") in alarms(v)


@pytest.mark.slow
def test_layers_that_average_all_tokens_make_them_equal():
    rng = np.random.default_rng(0)

    def scale(p, z):
        return p * z

    def mean(p, z):
        return jnp.mean(z @ p, axis=1, keepdims=True) + 0 * z

    ones = np.ones(8, np.float32)
    theta = np.float32(rng.normal(size=(6, 8, 8)) / 8**0.5)
    xs = np.float32(rng.normal(size=(4, 5, 8)))
    xs[:, 1] *= 1e-25  # its squares are out of range
    xs[:, 2] = xs[0, 2]
    with as_users_have_jax():
        net, params = jaxnn.as_network([(scale, ones), *((mean, t) for t in theta)])
        flow = jaxnn.gradient_flow((net, params), xs, cotangent=xs)
        v = jaxnn.verdict(flow)
    assert flow.positions == (5,) * 7
    assert v.equal_positions == 2
    assert ("positions", 2, "") in alarms(v)


def test_a_flow_without_programs_has_no_tables_of_what_is_recognised_in_them():
    read = flow_with("ab")
    assert read.attention_table() == read.router_table() == []
    for table in ("attention_table", "router_table"):
        with pytest.raises(ValueError, match="cannot be followed; flow"):
            getattr(dataclasses.replace(read, is_read=False), table)()


@pytest.mark.slow
def test_a_single_position_is_no_fault():
    with as_users_have_jax():
        net, params = jaxnn.as_network([lambda z: 2 * z])
        xs = np.ones((4, 1, 8), np.float32) * np.float32(np.arange(1, 9))
        flow = jaxnn.gradient_flow((net, params), xs, cotangent=xs)
    assert np.isnan(flow.log_spread_within).all()
    assert flow.positions == (0,)
    assert jaxnn.verdict(flow).equal_positions is None


def test_steps_are_no_layers_and_weights_that_they_share_learn_from_any_of_them():
    """The state before the first step is zero: there the weights that multiply it get nothing."""
    rng = np.random.default_rng(3)
    p = {name: np.float32(rng.normal(size=(4, 4)) / 2) for name in ("hh", "ih")}
    ones = np.ones((3, 4), np.float32)
    with as_users_have_jax():
        run = jaxnn.Run(lambda p, z: jnp.tanh(z @ p["hh"] + ones @ p["ih"]), p, 5, tied=True)
        net, params = jaxnn.as_network({"step": run})
        flow = jaxnn.gradient_flow((net, params), 0 * ones, cotangent=p["hh"][:3])
    assert np.isneginf(flow.parameters.log_delta[0])
    assert values_of("starved", flow) == []
    v = jaxnn.verdict(flow)
    assert (v.step, v.layers) == (True, 5)


# Networks that an early verdict misjudged, each with today's sentence: the table of a page


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


def rows(measure):
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
def test_the_page_has_today_s_sentences(measure):
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
