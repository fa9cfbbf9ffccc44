"""Causes: networks with one planted fault each, whose verdicts name it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from draws import TOKENS, WORDS, embed, norm, scaled_norm
from problems import as_users_have_jax, filled_flow

import jaxnn
from jaxnn.flow import AttentionHeads
from jaxnn.flow.verdict.findings import (
    Arrays,
    alike_where_read,
    cut_at,
    failing_routers,
    far_behind,
    lone_position,
    saturated_attention,
)

BLOCKS, WIDTH, EXPERTS, BATCH = 6, 8, 2, 4
NO_ARRAYS = Arrays(np.zeros(0, int), (), (), *np.zeros((3, 0)))


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
        net, _ = jaxnn.from_layers(healthy())
        rng = np.random.default_rng(9)
        xs = rng.integers(0, WORDS, (BATCH, TOKENS))
        ys = np.float32(rng.normal(size=(BATCH, TOKENS, WORDS)))
        compiled = jax.jit(
            lambda params, size: jaxnn.gradient_flow(
                net, params, xs, cotangent=size * ys, examples=False
            )
        )

        def flow(layers, size=1.0):
            with as_users_have_jax():
                return compiled(net.params(layers), np.float32(size))

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
    """All findings but the rate."""
    return [finding for finding in v.findings if finding.kind != "rate"]


def test_healthy_networks_have_no_alarm(measure):
    for seed in range(10):
        v = jaxnn.verdict(measure(healthy(seed)))
        assert (v.word, v.layers, alarms(v)) == ("steady", BLOCKS, [])
        assert v.sentences[1:] == ("The size of the gradient needs no change.",)


def test_a_zero_head_is_to_be_measured_after_one_step(measure):
    v = jaxnn.verdict(measure(changed(9, p=lambda p: 0 * p)))
    assert v.zero == 8
    assert v.sentences == (
        "The weights of layer 9 (head) are zero: [8][1]. From layer 8 (scaled_norm) down Δ is "
        "exactly zero, but they get a gradient themselves: measure again after one step.",
    )
    assert (v.findings[0].kind, v.findings[0].path) == ("zero weights", "[8][1]")


def test_a_norm_without_gain_is_named(measure):
    v = jaxnn.verdict(measure(changed(8, p=lambda p: 0 * p)))
    assert v.sentences[0].startswith("The weights of layer 8 (scaled_norm) are zero: [7][1]. From")


@pytest.mark.parametrize(
    ("arrays", "layer", "paths"),
    [
        (("q", "k"), 4, ["[3][1]['k']", "[3][1]['q']"]),
        (("down",), 2, ["[1][1]['down']"]),
    ],
)
def test_an_array_of_another_size_is_named(measure, arrays, layer, paths):
    """Queries and keys of one block times 30, attention that is saturated; or one layer."""
    layers = changed(layer, **dict.fromkeys(arrays, lambda p: 30 * p))
    v = jaxnn.verdict(measure(layers))
    named = [f for f in v.findings if f.path]
    assert {f.layer for f in named} == {layer}
    for path in paths:
        assert any(
            path in sentence and "as large as others" in sentence for sentence in v.sentences
        )


def test_saturated_attention_is_named(measure):
    """Its logits are 900 times as large; without a mask, of one head, so that is no word of it."""
    flow = measure(changed(4, q=lambda p: 30 * p, k=lambda p: 30 * p))
    v = jaxnn.verdict(flow)
    (finding,) = (f for f in v.findings if f.kind == "attention")
    assert finding.layer == 4
    assert finding.text in v.sentences
    (row,) = (row for row in flow.attention_table() if row["layer"] == 4)
    assert (row["attention"], row["head"]) == (1, 1)
    assert row["largest_logit"] > 300
    assert 0 <= row["share"] < 0.05
    assert row["share"] == pytest.approx(row["entropy"] / np.log(TOKENS))
    assert finding.text.startswith(
        f"Attention of layer 4 (block) is saturated: largest logit {row['largest_logit']:.3g}, "
        f"entropy {row['entropy']:.2f} of 2.08; [3][1]['k'] and [3][1]['q'] get 10^-"
    )
    assert not [f for f in v.findings if f.kind == "starved"]


def test_a_router_with_little_of_its_experts_gradient_is_named(measure):
    """Experts that differ by 10^-6, so that the router gets that of their gradient or so."""
    alike = {
        name: lambda p: p[[0, 0]] * np.float32([1, 1 + 1e-6])[:, None, None]
        for name in ("up", "down")
    }
    v = jaxnn.verdict(measure(changed(5, **alike)))
    (finding,) = (f for f in v.findings if f.kind == "router")
    assert finding.text in v.sentences
    assert (finding.layer, finding.path) == (5, "[4][1]['router']")
    assert any(f"gets 10^-{n} of the gradient of its experts" in finding.text for n in (5, 6, 7))


def flow_with(names, **fields):
    """Return a flow of layers with these names, ones everywhere else."""
    net = jaxnn.Network((2,) * (len(names) + 1), "tanh", "regression")
    flow = filled_flow(net, np.ones(len(names)))
    return dataclasses.replace(flow, net=None, names=tuple(names), **fields)


@pytest.mark.parametrize(
    ("behind", "named"),
    [
        ((3.8, 4.1, 3.9, 4.0, 4.2, 3.7), []),  # as the decay rates of a Mamba are
        ((0.1, 0.0, 4.5, 0.0, 0.2, 0.1), [3]),
        ((7.0, 7.1, 6.9, 7.0, 7.0, 7.2), [1, 2, 3, 4, 5, 6]),
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
    found = far_behind(arrays)
    assert {arrays.path[i]: below for i, below in found.items()} == {
        f"blocks.{layer - 1}.decay": behind[layer - 1] for layer in named
    }


@pytest.mark.parametrize(
    ("size", "delta", "text"),
    [
        (
            (-np.inf, 0.0), (0.0, -np.inf),
            "The weights of layer 3 (above the last cut) are zero: head.weight. From layer 2 (b) "
            "down Δ is exactly zero, but they get a gradient themselves: measure again after one "
            "step.",
        ),
        (
            (0.0, 0.0), (-np.inf, -np.inf),
            "The gradient is exactly zero from the output on: the loss does not depend on it.",
        ),
    ],
)  # fmt: skip
def test_a_head_of_zeros_above_the_last_cut_is_named(size, delta, text):
    """As in a ViT of torchvision, whose cuts are the blocks of its encoder."""
    paths, shapes = ("head.weight", "norm.weight"), ((4, 4), (4,))
    arrays = Arrays(np.full(2, 3), paths, shapes, np.arange(2), np.array(delta), np.array(size))
    assert cut_at(flow_with("ab"), arrays, 2, None).text == text


def test_a_branch_that_starts_at_zero_leaves_its_weights_without_gradient():
    """A norm whose gain is zero at the end of a branch, as some packages draw residual networks."""
    paths = ("conv.weight", "skip.weight", "norm.weight", "norm.bias")
    shapes = ((4, 4), (4, 4), (4,), (4,))

    def behind(sizes, deltas):
        arrays = Arrays(
            np.ones(4, int), paths, shapes, np.arange(4), np.array(deltas), np.array(sizes)
        )
        return {arrays.path[i] for i in far_behind(arrays)}

    none = -np.inf
    assert behind((0, 0, none, none), (none, 0, 0, 0)) == set()
    for sizes, deltas in (
        ((0, 0, 0, none), (none, 0, 0, 0)),  # a bias may be zero
        ((0, 0, none, none), (none, 0, none, 0)),  # a gain that gets no gradient stays zero
    ):
        assert behind(sizes, deltas) == {"conv.weight"}


@pytest.mark.parametrize(
    ("load", "tokens", "selected", "text"),
    [
        ((0.0, 1.0, 0.0, 0.0), 32, 1, "expert 2"),
        ((0.5, 0.0, 0.0, 0.5), 32, 2, "experts 1 and 4"),
        ((0.001, 0.997, 0.001, 0.001), 32, 4, "expert 2"),
        ((0.0, 0.9, 0.1, 0.0), 32, 1, ""),
        ((0.5, 0.3, 0.1, 0.1), 32, 2, ""),
        ((0.0, 1.0), 8, 1, ""),
    ],
)
def test_experts_that_all_tokens_go_to(load, tokens, selected, text):
    """Routers that weigh all experts and those that select some; too few tokens say nothing."""
    count = len(load)
    routers = jaxnn.flow.Routers(
        jnp.array(load), (2,) * count, (1,) * count, tuple(range(1, count + 1)),
        (tokens,) * count, (selected,) * count, (("['r']",),) * count, ((),) * count,
    )  # fmt: skip
    flow = flow_with("ab", routers=routers)
    findings, _ = failing_routers(flow, NO_ARRAYS, {})
    said = [f.text for f in findings]
    assert said == (
        [f"Router ['r'] of layer 2 (b) sends all tokens to {text} of 4."] if text else []
    )


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
    flow = flow_with("ab", attention=heads)
    (first, second), _ = saturated_attention(flow, NO_ARRAYS, {})
    assert (first.text, second.text) == (
        "Attention 1 of layer 2 (b) is saturated: largest logit 200, entropy 0.00 of 2.00.",
        "Attention 2 of layer 2 (b) is saturated in head 1 of 3: largest logit 7e+04, more than "
        "float16 holds, entropy 0.01 of 2.00.",
    )


def test_an_embedding_times_100_is_named(measure):
    v = jaxnn.verdict(measure(changed(1, words=lambda p: 100 * p)))
    (size,) = (f for f in v.findings if f.kind == "size")
    assert (size.layer, size.path) == (1, "[0][1]['words']")
    assert size.text.startswith("The entries of [0][1]['words'], layer 1 (embed), have a root mean")


def test_a_router_of_equal_experts_does_not_learn(measure):
    equal = changed(3, up=lambda p: p[[0, 0]], down=lambda p: p[[0, 0]])
    v = jaxnn.verdict(measure(equal))
    (starved,) = alarms(v)
    assert (starved.kind, starved.layer, starved.path) == ("router", 3, "[2][1]['router']")
    assert starved.text.startswith("Router [2][1]['router'] of layer 3 (block) gets 10^-")
    assert starved.text.endswith(" of the gradient of its experts: it does not learn.")


def test_dead_units_beside_a_skip_connection_get_no_gradient(measure):
    v = jaxnn.verdict(measure(changed(5, b=lambda p: p - 100)))
    assert [f.path for f in alarms(v)] == ["[4][1]['down']", "[4][1]['router']", "[4][1]['up']"]
    assert "[4][1]['up'] of layer 5 (block) gets no gradient: it does not learn." in v.sentences


def test_a_gradient_too_small_for_float16_needs_a_scale_of_the_loss(measure):
    flow = measure(healthy(), 1e-9)
    assert jaxnn.verdict(flow).sentences[1:] == ("The size of the gradient needs no change.",)
    (asked,) = alarms(jaxnn.verdict(flow, formats="float16"))
    assert asked.text.startswith("In float16 the gradient underflows in every layer, unless the ")
    own = jaxnn.verdict(dataclasses.replace(flow, dtype=np.dtype("float16")))
    assert any("unless the loss is multiplied by 2^" in sentence for sentence in own.sentences)


def test_a_parameter_that_is_nan_is_named(measure):
    v = jaxnn.verdict(measure(changed(3, up=lambda p: p * np.where(p == p.max(), np.nan, 1))))
    assert v.sentences[0] == "Parameters are nan: [2][1]['up'], from layer 3 on."
    assert v.sentences[1] == "From layer 3 (block) up the signal is not a finite number."
    assert v.word == "unknown"


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
        net, params = jaxnn.from_layers([(scale, ones), *((mean, t) for t in theta)])
        flow = jaxnn.gradient_flow(net, params, xs, cotangent=xs)
        v = jaxnn.verdict(flow)

        def above(z):
            for p in theta[1:]:
                z = mean(p, z)
            return z

        (delta,) = jax.vjp(above, mean(theta[0], xs))[1](xs)
    by_position = np.log(np.sqrt(np.sum(np.square(delta), axis=(0, 2))))
    np.testing.assert_allclose(flow.positions.of(2).log_delta, by_position, rtol=1e-5)
    x = np.float64(xs)
    by_position = np.log(np.sqrt(np.sum(np.square(x), axis=(0, 2))))
    np.testing.assert_allclose(flow.positions.of(7).log_delta, by_position, rtol=1e-5)
    apart = np.sqrt(np.mean(np.square(x - x.mean(axis=0)), axis=(0, 2)))
    spread = flow.positions.of(1).log_spread
    some = np.array([0, 1, 3, 4])
    root = np.sqrt(np.mean(np.square(x), axis=(0, 2)))
    np.testing.assert_allclose(spread[some], np.log((apart / root)[some]), rtol=1e-5)
    assert float(spread[2]) < np.log(1e-6)
    assert flow.positions.counts == (5,) * 7
    assert not [f for f in v.findings if "gets a gradient" in f.text]
    assert v.equal_positions == 2
    assert "From layer 2 (mean) up all positions of an example are equal, but for rounding." in (
        v.sentences
    )


@pytest.mark.parametrize(
    ("log_delta", "position"),
    [
        ((-np.inf, -np.inf, -200.0), 3),
        ((-np.inf, 10.0, -20.0), 2),
        ((0.0, -20.0, -np.inf), None),
        ((-np.inf, -np.inf, -np.inf), None),
        ((0.0, np.nan, np.nan), None),
    ],
)
def test_the_only_position_that_gets_a_gradient(log_delta, position):
    log_delta = jnp.array((0.0, *log_delta, *(3 * [0.0])))
    positions = jaxnn.flow.Positions(log_delta, jnp.zeros(7), (1, 3, 3))
    flow = flow_with("abc", positions=positions)
    said = [finding.text for finding in lone_position(flow)]
    text = f"Only position {position} of 3 gets a gradient in layer 2 (b): what the others"
    assert [sentence[: len(text)] for sentence in said] == ([text] if position else [])


@pytest.mark.parametrize(
    ("log_delta", "log_spread", "text"),
    [
        ((0.0, -np.inf, -np.inf), (-20.0, -1.0, -1.0), "position 1 of 3, which alone gets"),
        ((0.0, -30.0, 1.0), (-20.0, -1.0, np.nan), "positions 1 and 3 of 3, which alone get"),
        ((0.0, -19.0, -np.inf), (-20.0, -1.0, -1.0), None),  # some of what differs is read
        ((0.0, -np.inf, -np.inf), (-1.0, -20.0, -20.0), None),
        ((0.0, -np.inf, -np.inf), (-20.0, -20.0, -20.0), None),  # all examples are alike
        ((0.0, -np.inf, -np.inf), (np.nan, np.nan, np.nan), None),  # a single example
        ((-np.inf, -np.inf, -np.inf), (-20.0, -1.0, -1.0), None),
        ((0.0, np.nan, np.nan), (-20.0, -1.0, -1.0), None),
    ],
)
def test_what_differs_between_examples_is_not_read(log_delta, log_spread, text):
    """Causal attention read at the first token, which sees no other."""
    log_delta, log_spread = (jnp.array((*v, 0.0)) for v in (log_delta, log_spread))
    flow = flow_with("ab", positions=jaxnn.flow.Positions(log_delta, log_spread, (3, 1)))
    said = [finding.text for finding in alike_where_read(flow)]
    assert said == (
        [f"Examples differ in layer 1 (a), but not at {text} a gradient: what differs is not read."]
        if text
        else []
    )


def test_a_flow_without_programs_has_no_tables_of_what_is_recognised_in_them():
    read = flow_with("ab")
    assert read.attention_table() == read.router_table() == []
    for table in ("attention_table", "router_table"):
        with pytest.raises(ValueError, match="cannot be followed; flow"):
            getattr(dataclasses.replace(read, is_read=False), table)()


def test_a_single_position_is_no_fault():
    with as_users_have_jax():
        net, params = jaxnn.from_layers([lambda z: 2 * z])
        xs = np.ones((4, 1, 8), np.float32) * np.float32(np.arange(1, 9))
        flow = jaxnn.gradient_flow(net, params, xs, cotangent=xs)
    assert np.isnan(flow.log_spread_within).all()
    assert flow.positions is None
    assert jaxnn.verdict(flow).equal_positions is None


def test_steps_of_a_recurrent_network_are_no_layers():
    theta = np.float32(0.3 * np.eye(4))
    with as_users_have_jax():
        run = jaxnn.Run(lambda p, z: jnp.tanh(z @ p), theta, 9, tied=True)
        net, params = jaxnn.from_layers({"step": run})
        v = jaxnn.verdict(jaxnn.gradient_flow(net, params, theta, cotangent=theta))
    assert "decades a step towards the input" in v.sentences[0]
    assert v.sentences[0].endswith("over all 9 steps.")


def test_weights_that_steps_share_learn_from_any_of_them():
    """The state before the first step is zero: there the weights that multiply it get nothing."""
    rng = np.random.default_rng(3)
    p = {name: np.float32(rng.normal(size=(4, 4)) / 2) for name in ("hh", "ih")}
    ones = np.ones((3, 4), np.float32)
    with as_users_have_jax():
        run = jaxnn.Run(lambda p, z: jnp.tanh(z @ p["hh"] + ones @ p["ih"]), p, 5, tied=True)
        net, params = jaxnn.from_layers({"step": run})
        flow = jaxnn.gradient_flow(net, params, 0 * ones, cotangent=p["hh"][:3], examples=False)
    assert np.isneginf(flow.parameters.log_delta[0])
    assert not [finding for finding in jaxnn.verdict(flow).findings if finding.kind == "starved"]
