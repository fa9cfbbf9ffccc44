"""Transformers that have a bounded function instead of a norm, computed token by token.

T tokens, as many inputs as channels, f an RMS norm, tanh(αx) (DyT) or erf(αx) (Derf), and blocks

    z = x + mean over tokens of f(x) V,    x′ = z + relu(f(z) A) B

V and B of variance 1/n, A of 2/n; queries are zero, so that attention is the mean. All tokens have
the mean square q, any two of them the correlation c, and with h = E f², o = E f f̃, w = E f′²,
t = E f′f̃′ at both of these, J and J′ relu's kernel and its slope,

    attention   q and q c gain (h + (T - 1) o)/T        MLP   q gains h, q c gains h J(o/h)

Of Δ, S = Σ |Δ|² over the tokens and C = |Σ Δ|² become, on the way down,

    attention   S + w C/T,  C + C (w + (T - 1) t)/T     MLP   S (1 + w),  C - S times 1 + t J′(o/h)

Bounded f have h → 1, and w → k/√q with k = (4/3) α/√(2π) of DyT and 2α/π of Derf. t fades faster,
so that tokens' Δ lose what they have in common, C → S, and with q ~ g l, g = 1 + (1 + (T - 1) u)/T,

    ‖Δ[l]‖ ~ e^(-c √l),  c = k (1 + 1/T)/√g,    u = (2/π) arcsin c*,  g c* = g - 1 + J(u)

Alekseev 2026, arXiv:2604.11890, has the word and recursions for its blocks; these are derived here.
"""

import math
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from scipy import optimize

import jaxnn
from experiments.laws.collapsed import normed
from jaxnn.network.activations import find_activation
from jaxnn.theory.ensemble import Ensemble

TOKENS = 8

Bounded = jaxnn.network.Activation | None  # None is an RMS norm


@cache
def derf(alpha: float) -> jaxnn.network.Activation:
    """Return erf(αz), one activation for each α."""
    return jaxnn.network.Activation(
        f"erf({alpha:g} z)",
        lambda z: jax.scipy.special.erf(alpha * z),
        lambda z: 2 * alpha / math.sqrt(math.pi) * jnp.exp(-jnp.square(alpha * z)),
        increasing=True,
    )


@cache
def _block(bounded: Bounded) -> Any:
    """Return a block, one function for each bounded one: the networks share a program."""
    function = normed if bounded is None else bounded.sigma

    def block(p: Any, x: jax.Array) -> jax.Array:
        z = x + jnp.mean(function(x), axis=1, keepdims=True) @ p["V"]
        return z + jax.nn.relu(function(z) @ p["A"]) @ p["B"]

    return block


def log_delta(bounded: Bounded, keys: jax.Array, n: int, blocks: int) -> np.ndarray:
    """Return ln ‖Δ‖ of each block of networks, from random cotangents, (networks, blocks)."""

    def one(key: jax.Array) -> np.ndarray:
        of_weights, of_tokens, of_delta = jax.random.split(key, 3)
        xs, cotangent = (jax.random.normal(k, (1, TOKENS, n)) for k in (of_tokens, of_delta))
        drawn = jax.random.normal(of_weights, (3, blocks, n, n)) / n**0.5
        weights = {"V": drawn[0], "A": 2**0.5 * drawn[1], "B": drawn[2]}
        network = jaxnn.as_network([jaxnn.Run(_block(bounded), weights, blocks)])
        flow = jaxnn.gradient_flow(network, xs, cotangent=cotangent)
        return np.asarray(flow.log_delta, np.float64)

    return np.array([one(key) for key in keys])


def in_theory(bounded: Bounded, blocks: int) -> np.ndarray:
    """Return ln ‖Δ‖ of each block but for a constant, (blocks,); called in x64."""
    return np.asarray(_in_theory(bounded, blocks), np.float64)


@partial(jax.jit, static_argnames=("bounded", "blocks"))
def _in_theory(bounded: Bounded, blocks: int) -> jax.Array:
    relu = Ensemble(find_activation("relu"), 1.0, 0.0)

    def of(q: jax.Array, p: jax.Array) -> tuple[jax.Array, ...]:
        """Return h, o, w and t."""
        c = jnp.minimum(p / q, 1.0)
        if bounded is None:
            return jnp.ones(()), c, 1 / q, 1 / q
        f = Ensemble(bounded, 1.0, 0.0)
        return f.square(q), f.product(q, c), f.slope_square(q), f.slope_product(q, c)

    def up(state: tuple[jax.Array, jax.Array], _: None) -> tuple[Any, Any]:
        q, p = state
        h, o, *of_attention = of(q, p)
        mean = (h + (TOKENS - 1) * o) / TOKENS
        q, p = q + mean, p + mean
        h, o, w, t = of(q, p)
        angle = jnp.minimum(o / h, 1.0)
        state = q + h, p + 2 * h * relu.product(1.0, angle)
        return state, (*of_attention, w, 2 * t * relu.slope_product(1.0, angle))

    def down(state: tuple[jax.Array, jax.Array], slopes: Any) -> tuple[Any, jax.Array]:
        (total, common), (w, t, of_mlp, between) = state, slopes
        apart = (common - total) * (1 + between)
        total = total * (1 + of_mlp)
        common = total + apart
        total = total + w * common / TOKENS
        common = common * (1 + (w + (TOKENS - 1) * t) / TOKENS)
        return (total, common), jnp.log(total) / 2

    start = jnp.ones(()), jnp.zeros(())
    slopes = lax.scan(up, start, None, length=blocks)[1]
    above = jax.tree.map(lambda v: v[1:], slopes)
    sizes = lax.scan(down, (jnp.ones(()), jnp.ones(())), above, reverse=True)[1]
    return jnp.append(sizes, 0.0)


def at_infinite_depth(k: float) -> float:
    """Return c of e^(-c √l), of bounded functions with w → k/√q."""

    def shared(c: float) -> float:
        return 2 / math.pi * math.asin(c)

    def gained(c: float) -> float:
        return (1 + (TOKENS - 1) * shared(c)) / TOKENS

    def excess(c: float) -> float:
        u = shared(c)
        kernel = (math.sqrt(1 - u**2) + u * (math.pi - math.acos(u))) / math.pi
        return gained(c) + kernel - c * (gained(c) + 1)

    c = optimize.brentq(excess, 0.0, 0.999)
    return k * (1 + 1 / TOKENS) / math.sqrt(gained(c) + 1)
