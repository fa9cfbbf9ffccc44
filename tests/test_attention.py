"""Attention: recognised however it is written, its logits and entropy as computed by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import pallas
from problems import mostly_slow, numbers_of_heads

import jaxnn
from jaxnn.flow.record.heads import HeadRecord
from jaxnn.recognition.anatomy import Anatomy

pytestmark = pytest.mark.usefixtures("users_jax")

BATCH, TOKENS, HEADS, OF_HEAD = 2, 6, 4, 5
WIDTH = HEADS * OF_HEAD
CAUSAL = np.tril(np.ones((TOKENS, TOKENS), bool))
ALL = np.ones((TOKENS, TOKENS), bool)
ODD = (
    np.array([[*2 * "110"], [*"111000"], [*"000111"], [*"000101"], [*"010010"], [*"111111"]]) == "1"
)


def heads_of(p, z, names="qkv", heads=HEADS):
    return ((z @ p[name]).reshape(*z.shape[:-1], heads, OF_HEAD) for name in names)


def by_einsum(p, z):
    q, k, v = heads_of(p, z)
    scores = jnp.einsum("bthd,bshd->bhts", q, k) / OF_HEAD**0.5
    scores = jnp.where(CAUSAL, scores, -1e9)
    return jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(scores), v).reshape(z.shape)


def of_a_window(p, z):
    """Positions along two axes, as of a picture."""
    return by_einsum(p, z.reshape(BATCH, 2, TOKENS // 2, WIDTH).reshape(z.shape))


def by_hand(p, z):
    """Exp and sum, an added mask, divided after the product; heads and examples in one axis."""
    q, k, v = (
        x.transpose(0, 2, 1, 3).reshape(BATCH * HEADS, TOKENS, OF_HEAD) for x in heads_of(p, z)
    )
    scores = jnp.matmul(q, k.transpose(0, 2, 1)) / OF_HEAD**0.5
    mask = jnp.where(CAUSAL, 0.0, -jnp.inf).astype(z.dtype)
    scores = scores.reshape(BATCH, HEADS, TOKENS, TOKENS) + mask[None, None]
    scores = scores.reshape(q.shape[0], TOKENS, TOKENS)
    weights = jnp.exp(scores)
    out = (weights @ v) / jnp.sum(weights, -1)[..., None]
    return out.reshape(BATCH, HEADS, TOKENS, OF_HEAD).transpose(0, 2, 1, 3).reshape(z.shape)


def by_jax(p, z):
    q, k, v = heads_of(p, z)
    return jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(z.shape)


def grouped(p, z):
    """Two heads of queries for each of keys and values."""
    (q,) = heads_of(p, z, "q")
    k, v = (x[:, :, ::2] for x in heads_of(p, z, "kv"))
    return jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(z.shape)


def of_one_example(p, z):
    def one(z):
        q, k, v = heads_of(p, z)
        scores = jnp.einsum("thd,shd->hts", q, k) / OF_HEAD**0.5
        weights = jax.nn.softmax(scores, where=CAUSAL)
        return jnp.einsum("hts,shd->thd", weights, v).reshape(z.shape)

    return jax.vmap(one)(z)


@jax.custom_vjp
def own_rule(q, k, v):
    weights = jax.nn.softmax(jnp.einsum("bthd,bshd->bhts", q, k) / OF_HEAD**0.5)
    return jnp.einsum("bhts,bshd->bthd", weights, v)


own_rule.defvjp(lambda *args: (own_rule(*args), args), lambda args, delta: args)


def with_own_rule(p, z):
    return jax.checkpoint(own_rule)(*heads_of(p, z)).reshape(z.shape)


def learned(p, z):
    """Queries are parameters, of which all examples have the same."""
    q = (p["latents"] @ p["q"]).reshape(TOKENS, HEADS, OF_HEAD)
    k, v = heads_of(p, z, "kv")
    weights = jax.nn.softmax(jnp.einsum("thd,bshd->bhts", q, k) / OF_HEAD**0.5)
    return jnp.einsum("bhts,bshd->bthd", weights, v).reshape(z.shape)


def in_blocks(p, z):
    """Two blocks of keys in a scan, of which a query sees the first, the second or both."""
    q, k, v = heads_of(p, z)
    k, v, mask = (
        jnp.moveaxis(x.reshape(*x.shape[:1], 2, TOKENS // 2, *x.shape[2:]), 1, 0)
        for x in (k, v, jnp.where(ODD, 0.0, -1e9).astype(z.dtype))
    )

    def step(carry, block):
        most, total, out = carry
        k, v, mask = block
        scores = jnp.einsum("bthd,bshd->bhts", q, k) / OF_HEAD**0.5 + mask
        above = jnp.maximum(most, jnp.max(scores, axis=-1))
        weights, scale = jnp.exp(scores - above[..., None]), jnp.exp(most - above)
        out = scale[..., None] * out + jnp.einsum("bhts,bshd->bhtd", weights, v)
        return (above, scale * total + weights.sum(-1), out), None

    zero = jnp.zeros((BATCH, HEADS, TOKENS), z.dtype)
    start = zero - jnp.inf, zero, jnp.zeros((*zero.shape, OF_HEAD), z.dtype)
    (_, total, out), _ = jax.lax.scan(step, start, (k, v, mask))
    return (out / total[..., None]).swapaxes(1, 2).reshape(z.shape)


def drawn(seed=0):
    rng = np.random.default_rng(seed)
    p = {name: np.float32(rng.normal(size=(WIDTH, WIDTH)) / WIDTH**0.5) for name in "qkv"}
    p["latents"] = np.float32(rng.normal(size=(TOKENS, WIDTH)))
    return p, np.float32(rng.normal(size=(BATCH, TOKENS, WIDTH)))


def anatomy(f, p, z):
    closed, out = jax.make_jaxpr(f, return_shape=True)(p, z)
    return Anatomy.of(closed, z, out)


@mostly_slow(
    "f, seen, by",
    [
        (by_einsum, "causal", 1),
        (by_hand, "causal", 1),
        (of_a_window, "causal", 1),
        (by_jax, "causal", 1),
        (grouped, "causal", 2),
        (of_one_example, "causal", 1),
        (with_own_rule, "all", 1),
        (learned, "all", 1),
        (in_blocks, "odd", 1),
    ],
    *((by_einsum, "causal", 1), (by_jax, "causal", 1), (with_own_rule, "all", 1)),
)
def test_attention_is_recognised(f, seen, by):
    seen = {"causal": CAUSAL, "all": ALL, "odd": ODD}[seen]
    p, z = drawn()
    layer, are_known = anatomy(f, p, z), []

    @jax.jit
    def measured(p, z):
        out, known = layer.call(f, p, z)
        are_known.append(bool(known))
        (logits,) = layer.numbers(p, z, known).logits
        assert logits.values.shape == (HEADS, BATCH * TOKENS, TOKENS)
        return out, f(p, z), [*HeadRecord.of(logits, np.dtype("float32"))]

    out, expected, found = measured(p, z)
    np.testing.assert_allclose(out, expected, rtol=1e-6)
    assert are_known == [f not in (in_blocks, with_own_rule)]
    queries = np.broadcast_to(p["latents"], z.shape) if f is learned else z
    (q,), (k,) = heads_of(p, queries, "q"), heads_of(p, z, "k")
    np.testing.assert_allclose(np.transpose(found), numbers_of_heads(q, k, seen, by), rtol=2e-5)


def test_a_layer_with_its_logits_has_the_reverse_rules_that_it_has_without():
    """A rule around what passes unchanged is no step of the opened program, and would be lost."""
    p, z = drawn()
    halved = jax.custom_vjp(lambda v: v)
    halved.defvjp(lambda v: (v, None), lambda _, g: (0.5 * g,))
    relu = jax.nn.relu  # which has a rule, and changes what goes in

    def gradient(f):
        return jax.jit(jax.grad(lambda z: jnp.sum(f(p, z) ** 2)))(z)

    for f, is_known in (
        (lambda p, z: relu(by_einsum(p, relu(z))), True),
        (lambda p, z: by_einsum(p, halved(z)), False),
        (lambda p, z: jax.jit(lambda z: halved(by_einsum(p, z)))(z), False),
    ):
        layer = anatomy(f, p, z)
        assert bool(layer.call(f, p, z)[1]) == is_known
        own = gradient(lambda p, z, f=f, layer=layer: layer.call(f, p, z)[0])
        np.testing.assert_allclose(own, gradient(f), rtol=1e-5)


@pytest.mark.slow
def test_blocks_of_queries_are_attentions_of_their_own():
    p, z = drawn()

    def of_queries(p, z):
        q, k, v = heads_of(p, z)
        own = jnp.moveaxis(q.reshape(BATCH, 2, TOKENS // 2, HEADS, OF_HEAD), 1, 0)
        out = jax.lax.map(lambda q: jax.nn.dot_product_attention(q, k, v), own)
        return jnp.moveaxis(out, 0, 1).reshape(z.shape)

    q, k = heads_of(p, z, "qk")
    several = anatomy(of_queries, p, z).numbers(p, z).logits
    for i, logits in enumerate(several):
        half = slice(i * TOKENS // 2, (i + 1) * TOKENS // 2)
        found = np.transpose(HeadRecord.of(logits, np.dtype("float32")))
        np.testing.assert_allclose(found, numbers_of_heads(q[:, half], k, ALL), rtol=2e-5)
    assert len(several) == 2


def test_tokens_are_pooled_by_a_learned_query():
    p, z = drawn()
    one = anatomy(lambda p, z: jnp.einsum("bt,btn->bn", jax.nn.softmax(z @ p["q"][0]), z), p, z)
    (attention,), (logits,) = one.attentions, one.numbers(p, z).logits
    assert [sorted(p)[i] for i in attention.arrays] == ["q"]
    np.testing.assert_allclose(logits.values[0], z @ p["q"][0], rtol=1e-5)


def test_what_is_no_attention():
    p, z = drawn()

    def of_features(p, z):
        powers = jnp.exp(z @ p["q"])
        return jnp.einsum("btn,btm->bnm", powers / jnp.sum(powers, -1, keepdims=True), z)

    for f in (
        lambda p, z: jax.nn.softmax(z @ p["q"]) @ p["k"],  # a product of the state and weights
        lambda p, z: jax.nn.softmax(jnp.einsum("btn,bsn->bts", z @ p["q"], z)),  # no product above
        lambda p, z: jnp.einsum("btn,bsn->bts", z @ p["q"], z) @ z,  # linear
        lambda p, z: jnp.exp(z @ p["q"]) @ p["k"],
        of_features,
    ):
        assert not anatomy(f, p, z).attentions


def kernel(q_ref, k_ref, out_ref):
    scores = q_ref[...] @ k_ref[...].T
    out_ref[...] = jnp.exp(scores) @ k_ref[...]


def test_loops_and_kernels_that_may_attend_are_named():
    """Longer loops than are opened, and kernels; no recurrence, solver, or short loop."""
    p, z = drawn()

    def in_a_loop(p, z):
        def of_one(q):
            return jax.nn.softmax(q @ z[0].T) @ z[0]

        rows = jax.lax.map(of_one, jnp.concatenate([z @ p["q"]] * 9))
        return rows[: len(z)]

    def in_a_kernel(p, z):
        out = jax.ShapeDtypeStruct(z.shape[1:], z.dtype)
        return z + pallas.pallas_call(kernel, out, interpret=True, name="mine")(z[0] @ p["q"], z[0])

    def recurrence(p, z):
        def step(h, x):
            h = jax.nn.sigmoid(h @ p["q"] + x @ p["k"])
            return h, jnp.tanh(h)

        return jax.lax.scan(step, z[:, 0], jnp.concatenate([z.swapaxes(0, 1)] * 9))[1][: len(z)]

    def solved(p, z):
        def step(_, z):
            return z + 0.01 * jax.nn.softplus(z @ p["q"]) @ p["k"]

        return jax.lax.fori_loop(0, 40, step, z)

    for f, names in (
        (solved, ()),
        (in_a_loop, ("a loop of 18 steps",)),
        (in_a_kernel, ("the kernel mine",)),
        (recurrence, ()),
        (in_blocks, ()),
    ):
        assert anatomy(f, p, z).unread == names


@pytest.mark.slow
def test_a_flow_says_where_it_may_attend_without_being_read():
    p, z = drawn()

    def loop(p, z):
        states = jnp.concatenate([z @ p] * 9)
        return z + jax.lax.map(lambda q: jax.nn.softmax(q @ z[0].T) @ z[0], states)[: len(z)]

    net, params = jaxnn.as_network([(loop, p["q"]), (loop, p["k"])])
    flow = jaxnn.gradient_flow((net, params), z, cotangent=z)
    assert flow.attention is None
    assert flow.notes == (
        "Layers 1 (loop), 2 (loop) may attend in a loop of 18 steps, whose logits are not read: "
        "it is not in flow.attention_table().",
    )
    assert flow.notes[0] in jaxnn.verdict(flow).sentences


def test_arrays_of_several_axes_that_are_added_alone_are_biases():
    """Those of heads and of places; not an adapter's, nor what is also a factor."""
    shapes = {"places": (3, 4), "base": (4, 2, 2), "down": (4, 1), "up": (1, 2, 2)}
    shapes |= {"heads": (2, 2), "both": (2, 2), "vector": (4,), "unused": (2, 2)}
    p = {name: jnp.ones(shape) for name, shape in shapes.items()}

    def f(p, z):
        w = p["base"] + jnp.einsum("nr,rhd->nhd", p["down"], p["up"])
        z = z + p["places"][None] - p["vector"][None, None]
        heads = jnp.einsum("btn,nhd->bthd", z, w) + p["heads"][None, None]
        return heads * p["both"][None, None] + p["both"][None, None]

    z = jnp.ones((5, 3, 4))
    added = anatomy(f, p, z).added
    assert [sorted(p)[i] for i in added] == ["heads", "places"]
    net, params = jaxnn.as_network([(lambda w, z: z * w, jnp.ones(4)), (f, p)], z)
    measure = partial(jaxnn.gradient_flow, cotangent=jnp.ones((5, 3, 2, 2)))
    known = jax.eval_shape(lambda params: measure((net, params), z), params).parameters
    assert [known.paths[i] for i in known.added] == ["[1][1]['heads']", "[1][1]['places']"]
