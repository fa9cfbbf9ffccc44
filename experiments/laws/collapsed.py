"""Law 33: two exponents of the collapsed state say what a deep transformer does to its tokens.

Tokens x + ε[t] that are nearly alike, Σ ε = 0, in blocks with a norm behind each skip connection,

    z = N(x + a softmax(q kᵀ) v W),    x′ = N(z + m σ(z A) B)

W_V W_O, A and B of sizes s_V, s_A and s_B, and σ = tanh. All weights of the softmax are 1/T, and
what they change by meets values that are alike: attention adds the same to all tokens, and the norm
divides what they differ by,

    angle       |ε|² → |ε|² (1 + m² s_A² s_B² E σ′²) / ((1 + m² s_B² E σ²) (1 + a² s_V²))
    gradient    |Δ|² → |Δ|² (1 + m² s_A² s_B² E σ′²) / (1 + m² s_B² E σ²)

at q = s_A². Of Δ the part that all tokens have in common goes down through attention too, which
gives it as much as the norm takes. So, in nats a block,

    λ_angle = λ_gradient - ½ ln (1 + a² s_V²)

and tokens part (λ_angle > 0) only where the gradient grows. The exponents are those of Cowsik et
al. 2024, arXiv:2403.02579; the formula is derived here, for blocks of this kind. Measured are drawn
networks, whose tokens are brought together, and `jaxnn.theory.exponents`, which knows the program
alone.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import jaxnn
from experiments.laws.law import Law, Measured, Panel, Predicted, Told, curve, mean_of, point
from jaxnn.flow.theory.exponents import Exponents, exponents_of
from jaxnn.network.activations import find_activation
from jaxnn.theory import meanfield
from jaxnn.theory.quadrature import expectation

LAYERS = 2  # of a block
TOKENS, HEADS = 6, 4
PLANE = Panel("Exponents of drawn transformers", "λ of the angle, a block", "λ of the gradient")
REASON = "4 standard errors, and what a finite width leaves"
NETWORKS, TWIN = "networks", "the twin"
BIAS = 1.0  # over n: of a block's exponents, of drawn networks of n units


class Setup(NamedTuple):
    """Channels, blocks and networks of each kind, and the strengths of the kinds.

    strengths: a, m and s_A.
    """

    width: int
    blocks: int
    seeds: int
    strengths: tuple[tuple[float, float, float], ...]


def name_of(strengths: tuple[float, float, float]) -> str:
    """Return the name of a kind."""
    return "a = {:g}, m = {:g}, s_A = {:g}".format(*strengths)


def _norm(x: jax.Array) -> jax.Array:
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True))


def _attention(params: Any, x: jax.Array) -> jax.Array:
    queries, keys, values = (
        (x @ params[name]).reshape(*x.shape[:2], HEADS, -1) for name in ("q", "k", "v")
    )
    logits = jnp.einsum("bthc,bshc->bhts", queries, keys) / queries.shape[-1] ** 0.5
    mixed = jnp.einsum("bhts,bshc->bthc", jax.nn.softmax(logits), values).reshape(x.shape)
    return _norm(x + params["a"] * (mixed @ params["o"]))


def _mlp(params: Any, x: jax.Array) -> jax.Array:
    return _norm(x + params["m"] * (jnp.tanh(x @ params["A"]) @ params["B"]))


def transformer(
    key: jax.Array, setup: Setup, strengths: tuple[float, float, float]
) -> list[tuple[Any, Any]]:
    """Draw a transformer as a list of layers."""
    n, (a, m, of_mlp) = setup.width, strengths

    def drawn(key: jax.Array, size: float = 1.0) -> jax.Array:
        return size * n**-0.5 * jax.random.normal(key, (n, n), jnp.float32)

    layers: list[tuple[Any, Any]] = []
    for of_block in jax.random.split(key, setup.blocks):
        q, k, v, o, up, down = jax.random.split(of_block, 6)
        attention = {"q": drawn(q), "k": drawn(k), "v": drawn(v), "o": drawn(o)}
        mlp = {"A": drawn(up, of_mlp), "B": drawn(down)}
        layers.append((_attention, {**attention, "a": jnp.float32(a)}))
        layers.append((_mlp, {**mlp, "m": jnp.float32(m)}))
    return layers


def in_theory(strengths: tuple[float, float, float]) -> tuple[float, float]:
    """Return λ_angle and λ_gradient of a block, by the formula; called in x64."""
    a, m, of_mlp = strengths
    tanh, q = find_activation("tanh"), of_mlp**2
    square = float(meanfield.length_map("tanh", 1.0, 0.0, q))
    slope = float(expectation(tanh, q, lambda f, z, g: f.prime(z) ** 2))
    gradient = 0.5 * math.log((1 + m**2 * of_mlp**2 * slope) / (1 + m**2 * square))
    return gradient - 0.5 * math.log(1 + a**2), gradient


def predict(setup: Setup) -> Told:
    """Predict both exponents of a block."""
    for strengths in setup.strengths:
        name, both = name_of(strengths), in_theory(strengths)
        for measured in (NETWORKS, TWIN):
            for kind, value in zip(("angle", "gradient"), both, strict=True):
                allowed = BIAS / setup.width
                yield Predicted(f"{name}: {kind}, {measured}", value, allowed, REASON).about(
                    f"λ of the {kind}", 1.0
                )
        yield curve(PLANE, name, both[0], both[1])


def measure(setup: Setup, key: jax.Array) -> Told:
    """Measure drawn networks, and ask the twin of one."""
    xs = jax.random.normal(key, (2, TOKENS, setup.width), jnp.float32)
    for strengths in setup.strengths:
        name = name_of(strengths)
        several = [
            jaxnn.as_network(transformer(k, setup, strengths), xs)
            for k in jax.random.split(key, setup.seeds)
        ]
        single = [exponents_of(net, [params], xs) for net, params in several]
        angle, gradient = (
            mean_of([LAYERS * getattr(found, kind) for found in single])
            for kind in ("angle", "gradient")
        )
        yield f"{name}: angle, {NETWORKS}", angle
        yield f"{name}: gradient, {NETWORKS}", gradient
        found = jaxnn.theory.exponents(several[0], xs)
        yield from _of_twin(name, found)
        yield point(PLANE, name, angle.value, gradient)


def _of_twin(name: str, found: Exponents) -> Told:
    yield f"{name}: angle, {TWIN}", Measured(LAYERS * found.angle, LAYERS * found.angle_error)
    both = LAYERS * found.gradient, LAYERS * found.gradient_error
    yield f"{name}: gradient, {TWIN}", Measured(*both)


STRENGTHS = (
    *((1.0, 1.0, 1.0), (0.5, 1.0, 2.0), (0.25, 1.0, 3.0), (0.25, 2.0, 4.0), (1.0, 0.25, 1.0)),
    *((0.5, 0.5, 4.0), (0.1, 0.5, 1.0)),
)
LAW = Law(
    number=33,
    name="collapsed",
    source="Cowsik et al. 2024; of these blocks derived here",
    statement="nearly equal tokens part or meet, and gradients grow, by two exponents of a block",
    predict=predict,
    measure=measure,
    weights=lambda s: 6 * s.blocks * s.width**2,
    full=Setup(width=64, blocks=12, seeds=12, strengths=STRENGTHS),
    quick=Setup(width=64, blocks=12, seeds=6, strengths=STRENGTHS[1:3]),
    panels=(PLANE,),
)
