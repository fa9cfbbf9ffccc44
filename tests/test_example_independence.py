"""Programs of reverse rules: examples that meet, and rules that are not linear."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from jaxnn.jaxpr.example_independence import keeps_apart

pytestmark = pytest.mark.usefixtures("users_jax")

B = 4
W = jnp.ones((5, 5))
KERNEL = jnp.ones((3, 3, 3, 4))


def convolved(v):
    return lax.conv_general_dilated(
        v, KERNEL, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def attended(v):
    scores = jnp.einsum("bid,bjd->bij", v @ W, v @ W)
    return jax.nn.softmax(scores) @ v


def with_rule(rule):
    f = jax.custom_vjp(lambda v: v)
    f.defvjp(lambda v: (v, None), lambda _, delta: (rule(delta),))
    return f


def dropped(v):
    return jnp.where(jax.random.bernoulli(jax.random.key(0), 0.5, v.shape), 2 * v, 0)


def pooled(v):
    return lax.reduce_window(v, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


APART = {
    "a dense layer": lambda v: jnp.tanh(v @ W),
    "a dense layer of each example": jax.vmap(lambda v: jnp.tanh(v @ W).sum(0)),
    "attention": attended,
    "a layer norm": lambda v: (v - v.mean(-1, keepdims=True)) / jnp.sqrt(v.var(-1, keepdims=True)),
    "gelu, recomputed": jax.checkpoint(jax.nn.gelu),
    "dropout": dropped,
    "the last token": lambda v: v[:, -1] @ W,
    "all channels in one": lambda v: v.reshape(B, -1),
    "a sum that runs along the tokens": lambda v: jnp.cumsum(v, 1),
    "tokens one further": lambda v: jnp.roll(v, 1, 1),
    "two in one": lambda v: jnp.concatenate([v, jnp.tanh(v)], -1),
    "a linear rule": with_rule(lambda delta: 2 * delta),
}
APART_OF_IMAGES = {
    "a convolution": convolved,
    "a convolution of each example": jax.vmap(lambda v: convolved(v[None])[0]),
    "a pool": pooled,
}
NOT_KNOWN = {
    "a batch norm": lambda v: v - v.mean(0),
    "the largest of a batch": lambda v: v - v.max(0),
    "examples one further": lambda v: jnp.roll(v, 1, 0),
    "examples back to front": lambda v: v[::-1],
    "a sum that runs along the examples": lambda v: jnp.cumsum(v, 0),
    "a sum over the examples behind": lambda v: v + jnp.pad(v[1:], ((0, 1), (0, 0), (0, 0))),
    "a reshape across examples": lambda v: v.reshape(6, B, 5).swapaxes(0, 1),
    "products of examples": lambda v: (v[:, 0] @ v[:, 0].T) @ v[:, 0],
    "attention over the batch": lambda v: attended(v.swapaxes(0, 1)).swapaxes(0, 1),
    "clipping": with_rule(lambda delta: jnp.clip(delta, -1, 1)),
    "a square": with_rule(jnp.square),
    "a number that is added": with_rule(lambda delta: delta + 1),
    "a rule that is a constant": with_rule(jnp.ones_like),
    "a division by it": with_rule(lambda delta: 1 / delta),
    "a scan": lambda v: lax.scan(lambda c, _: (jnp.tanh(c @ W), None), v, None, length=2)[0],
}
NOT_KNOWN_OF_SQUARES = {
    "tokens for examples": lambda v: v.swapaxes(0, 1),
    "sums over the examples for tokens": with_rule(
        lambda delta: jnp.broadcast_to(delta.sum(0)[:, None], delta.shape)
    ),
}
NOT_KNOWN_OF_IMAGES = {
    "rows for examples": lambda v: convolved(v.swapaxes(0, 1)).swapaxes(0, 1),
    "a pool over the examples": lambda v: pooled(v.swapaxes(0, 1)[:B]),
}


def known(f, *shape):
    told = []

    def traced(v):
        out, pull = jax.vjp(f, v)
        told.append(keeps_apart(lambda delta: list(pull(*delta)), [out]))

    jax.eval_shape(traced, jax.ShapeDtypeStruct(shape, jnp.float32))
    return told[0]


@pytest.mark.parametrize("name", [*APART, *APART_OF_IMAGES])
def test_examples_that_stay_apart_are_known_to(name):
    assert (
        known(APART[name], B, 6, 5) if name in APART else known(APART_OF_IMAGES[name], B, 8, 8, 3)
    )


@pytest.mark.parametrize("name", [*NOT_KNOWN, *NOT_KNOWN_OF_SQUARES, *NOT_KNOWN_OF_IMAGES])
def test_nothing_is_known_of_examples_that_meet_and_of_rules_that_are_not_linear(name):
    if name in NOT_KNOWN:
        assert not known(NOT_KNOWN[name], B, 6, 5)
    elif name in NOT_KNOWN_OF_SQUARES:
        assert not known(NOT_KNOWN_OF_SQUARES[name], B, B, 5)
    else:
        assert not known(NOT_KNOWN_OF_IMAGES[name], B, 8, 8, 3)
