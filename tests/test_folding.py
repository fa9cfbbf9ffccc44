"""What XLA computes while it compiles: nothing that grows with the batch.

A step that depends on no argument is a constant, which XLA works out by an interpreter: of a
reduction of zeros for each example, head, query and key that takes longer than all the rest.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import ClosedJaxpr, Jaxpr, Var

import jaxnn

BATCH = 13  # no other axis is as long
COMBINING = ("reduce_", "arg", "dot_", "conv_", "cum", "sort", "top_k", "gather", "scatter")
BARRIER = "optimization_barrier"


def bodies(eqn):
    """The programs inside of a step."""
    values = (v for value in eqn.params.values() for v in jax.tree.leaves(value, is_leaf=callable))
    for value in values:
        if isinstance(value, ClosedJaxpr | Jaxpr):
            yield getattr(value, "jaxpr", value)


def folded(jaxpr, known=None):
    """The constant steps that combine entries of the whole batch; each with the shape of these."""
    found, varies = [], {*jaxpr.invars} if known is None else {*known}
    for eqn in jaxpr.eqns:
        depends = [isinstance(v, Var) and v in varies for v in eqn.invars]
        for body in bodies(eqn):
            # Of a loop or a branch all that it takes, if it takes anything that varies.
            own = depends[-len(body.invars) :] if eqn.primitive.name == "jit" else [any(depends)]
            own = own if len(own) > 1 else own * len(body.invars)
            found += folded(body, [v for v, flag in zip(body.invars, own, strict=False) if flag])
        if any(depends) or eqn.primitive.name == BARRIER:
            varies |= {*eqn.outvars}
        elif eqn.primitive.name.startswith(COMBINING):
            shapes = [v.aval.shape for v in eqn.invars if BATCH in v.aval.shape and v.aval.size]
            found += [(eqn.primitive.name, shape) for shape in shapes]
    return found


def attends(w, z):
    q = (z @ w).reshape(*z.shape[:2], 2, 2).transpose(0, 2, 1, 3)
    values = jax.nn.softmax(q @ jnp.swapaxes(q, 2, 3), -1) @ q
    return z + values.transpose(0, 2, 1, 3).reshape(z.shape)


def sees_what_was(w, z):
    logits = (z @ w) @ jnp.swapaxes(z, 1, 2)
    seen = jnp.tril(jnp.ones(logits.shape[1:], bool))
    return z + jax.nn.softmax(jnp.where(seen, logits, -jnp.inf), -1) @ z


def routes(p, z):
    share = jax.nn.softmax(z @ p["router"], -1)
    return z + jnp.einsum("bte,btde->btd", share, jnp.tanh(jnp.einsum("btd,dfe->btfe", z, p["w"])))


OF_EXPERTS = {"router": np.ones((4, 3)), "w": np.ones((4, 4, 3))}


@pytest.mark.parametrize(
    ("layer", "params"),
    [(attends, np.eye(4)), (sees_what_was, np.eye(4)), (routes, OF_EXPERTS)],
)
def test_nothing_of_a_flow_that_grows_with_the_batch_is_a_constant(layer, params):
    net, layers = jaxnn.as_network([(layer, params)] * 2)

    def flow(layers, z, cotangent):
        return jaxnn.gradient_flow(
            (net, layers), z, cotangent=cotangent, tangent=True, entries=True
        )

    z = jnp.ones((BATCH, 6, 4))
    assert folded(jax.make_jaxpr(flow)(layers, z, z).jaxpr) == []


def test_a_constant_is_seen():
    def f(z):
        return z + jax.jit(lambda: jnp.max(jnp.zeros((BATCH, 5)), axis=1))()

    assert folded(jax.make_jaxpr(f)(jnp.ones(BATCH)).jaxpr) == [("reduce_max", (BATCH, 5))]
