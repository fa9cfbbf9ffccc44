"""Law 33: nearly equal tokens part or meet, and gradients grow, by two exponents of a block.

Tokens x + ε[t] that are nearly alike, Σ ε = 0, in blocks with a norm after each skip connection,

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
al. 2024, arXiv:2403.02579, whose own blocks have the norm in front of a branch and a skip that
makes room for it,

    z = √(1 - a²) x + a softmax(q kᵀ) v W(N(x)),    x′ = √(1 - m²) z + m σ(N(z) A) B

There the mean squares Q of x and Q′ of z are those that a block gives back, and

    Q′ = (1 - a²) Q + a²,    Q = (1 - m²) Q′ + m² E σ²
    angle       (1 - a²) (1 - m² + m² s_A² E σ′² / Q′)
    gradient    (1 - a² + a² / Q) (1 - m² + m² s_A² E σ′² / Q′)

Theirs are exponents of squares, twice these. The formulas are derived here, for both kinds of
blocks. Measured are drawn networks and the wide twin, which knows the program alone, with tokens
brought together: x + ε δ[t], the mean of an example's positions and ε times what they differ by.
The angle is followed while it is small, from the lower third of the layers up; Δ in the middle of
them, where what enters at the end has found its direction. It enters as after a mean over all
positions, which have it in common. What n channels take from a block with norms behind is derived
in `collapsed_width.py`, and part of what is predicted.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

import jaxnn
from experiments.laws.collapsed_width import taken
from experiments.laws.finite import NEXT
from experiments.laws.law import Measured, Predicted, Setup, Told, mean_of
from jaxnn.arrays.compiled import compiled
from jaxnn.chain.chain import Chain
from jaxnn.flow.formats.ranges import NOISE
from jaxnn.flow.measure.chain_flow import chain_flow
from jaxnn.flow.measure.theory_flow import replicas_of
from jaxnn.flow.record.flow import FlowOptions
from jaxnn.models import Program
from jaxnn.theory import meanfield
from jaxnn.theory.twin.wide import twin_of

LAYERS = 2  # of a block
HEADS = 4
DRAWS = 8  # of the twin
UNITS = 384  # of its replicas together; LAPACK takes 30 times as long for 768
OPTIONS = FlowOptions(examples=True, memory="all")
NEAR = 1e-3  # ε
MOST = 0.1  # of the size of a state, that still counts as near
NETWORKS, TWIN = "networks", "the twin"
OURS, PUBLISHED = "norms behind", "norms in front"
SHOWN = 0.5  # over n: what a finite width took at most from blocks with norms in front, when drawn
REASON = {
    OURS: f"4 standard errors, and {NEXT:g}/n of the bias",
    PUBLISHED: f"4 standard errors, and {SHOWN:g}/n",
}
REASON_TWIN = "4 standard errors, and 1/n: norms are over the channels of a replica"
PREFIX = {OURS: "", PUBLISHED: "Cowsik et al.: "}

Layer = Callable[[Any, jax.Array], jax.Array]


class Strengths(NamedTuple):
    """The scales of a block: of attention, of the MLP, and of its first matrix."""

    a: float
    m: float
    s: float


def kinds(setup: Setup) -> list[tuple[str, str, Strengths]]:
    """Return the name, the kind of block and the strengths of each kind of network."""
    both = ((OURS, setup.ours), (PUBLISHED, setup.published))
    return [
        ("{}a = {:g}, m = {:g}, s_A = {:g}".format(PREFIX[block], *strengths), block, strengths)
        for block, several in both
        for strengths in several
    ]


def normed(x: jax.Array) -> jax.Array:
    """Return x over its root mean square."""
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True))


def _attention(p: Any, x: jax.Array) -> jax.Array:
    queries, keys, values = (
        (x @ p[name]).reshape(*x.shape[:2], HEADS, -1) for name in ("q", "k", "v")
    )
    logits = jnp.einsum("bthc,bshc->bhts", queries, keys) / queries.shape[-1] ** 0.5
    return jnp.einsum("bhts,bshc->bthc", jax.nn.softmax(logits), values).reshape(x.shape) @ p["o"]


def _mlp(p: Any, x: jax.Array) -> jax.Array:
    return jnp.tanh(x @ p["A"]) @ p["B"]


def _around(block: str, branch: Callable[[Any, jax.Array], jax.Array]) -> Layer:
    """Return a layer: a branch with its skip connection and norm."""

    def behind(p: Any, x: jax.Array) -> jax.Array:
        return normed(x + p["scale"] * branch(p, x))

    def in_front(p: Any, x: jax.Array) -> jax.Array:
        return jnp.sqrt(1 - p["scale"] ** 2) * x + p["scale"] * branch(p, normed(x))

    return behind if block == OURS else in_front


LAYERS_OF = {
    block: (_around(block, _attention), _around(block, _mlp)) for block in (OURS, PUBLISHED)
}


def weights_of(key: jax.Array, n: int, s: jax.Array | float) -> tuple[Any, Any]:
    """Draw the matrices of the two layers of a block."""
    drawn = dict(zip("qkvoAB", jax.random.normal(key, (6, n, n)) / n**0.5, strict=True))
    return {name: drawn[name] for name in "qkvo"}, {"A": s * drawn["A"], "B": drawn["B"]}


def scaled(weights: tuple[Any, Any], strengths: Strengths) -> list[Any]:
    """Return the parameters of the two layers of a block, with the strengths of their branches."""
    scales = map(jnp.float32, (strengths.a, strengths.m))
    return [of_layer | {"scale": v} for of_layer, v in zip(weights, scales, strict=True)]


def transformer(
    key: jax.Array, setup: Setup, block: str, strengths: Strengths
) -> list[tuple[Layer, Any]]:
    """Draw a transformer as a list of layers."""
    return [
        pair
        for of_block in jax.random.split(key, setup.blocks)
        for pair in zip(
            LAYERS_OF[block],
            scaled(weights_of(of_block, setup.width, strengths.s), strengths),
            strict=True,
        )
    ]


def in_theory(block: str, strengths: Strengths) -> tuple[float, float, float]:
    """Return λ_angle, λ_gradient and the mean square of a block's input; called in x64."""
    a, m, s = strengths
    square = float(meanfield.length_map("tanh", 1.0, 0.0, s**2))
    slope = s**2 * float(meanfield.chi("tanh", 1.0, s**2))
    if block == OURS:
        mlp = (1 + m**2 * slope) / (1 + m**2 * square)
        angle, gradient, q = mlp / (1 + a**2), mlp, 1.0
    else:
        of_skips = 1 - a**2, 1 - m**2
        q = (of_skips[1] * a**2 + m**2 * square) / (1 - math.prod(of_skips))
        mlp = of_skips[1] + m**2 * slope / (of_skips[0] * q + a**2)
        angle, gradient = of_skips[0] * mlp, (of_skips[0] + a**2 / q) * mlp
    return math.log(angle) / 2, math.log(gradient) / 2, q


def predict(setup: Setup) -> Told:
    """Predict both exponents of a block."""
    for name, block, strengths in kinds(setup):
        *both, _ = in_theory(block, strengths)
        known = taken(*strengths) if block == OURS else (0.0, 0.0)
        for kind, value, bias in zip(("angle", "gradient"), both, known, strict=True):
            left = abs(bias) * NEXT / setup.width if block == OURS else SHOWN
            networks, twin = (
                Predicted(f"{name}: {kind}, {of}", value + bias / n, allowed, reason)
                for of, n, allowed, reason in (
                    (NETWORKS, setup.width, left / setup.width, REASON[block]),
                    (TWIN, math.inf, 1 / setup.width, REASON_TWIN),
                )
            )
            yield networks.about(f"λ of the {kind}", 1.0)
            yield twin.about(f"λ of the {kind}", 1.0)


def measure(setup: Setup, key: jax.Array) -> Told:
    """Measure drawn networks, and ask the twin of one."""
    common, apart = jax.random.normal(key, (2, setup.width), jnp.float32)
    tokens = jnp.stack([normed(common) + apart, normed(common) - apart])[None]
    for place, (name, block, strengths) in enumerate(kinds(setup)):
        with jax.enable_x64(True):
            *_, q = in_theory(block, strengths)
        xs, of_kind = q**0.5 * tokens, jax.random.fold_in(key, place)
        several = [
            jaxnn.as_network(transformer(k, setup, block, strengths), xs)
            for k in jax.random.split(of_kind, setup.seeds)
        ]
        single = [exponents_of(net, [params], xs) for net, params in several]
        angle, gradient = (mean_of([v.value for v in kind]) for kind in zip(*single, strict=True))
        net, params = several[0]
        twin = twin_of(net, params, replicas_of(params, UNITS))
        draws = [twin.with_key(params, k) for k in jax.random.split(of_kind, DRAWS)]
        of_twin = [Measured(*v[:2]) for v in exponents_of(twin, draws, xs)]
        for of, both in ((NETWORKS, (angle, gradient)), (TWIN, of_twin)):
            yield f"{name}: angle, {of}", both[0]
            yield f"{name}: gradient, {of}", both[1]


@compiled
def _paths(net: Chain, params: PyTree, xs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return ln of the spread of positions, and ln ‖Δ‖, by layer."""
    flow = chain_flow(Program((net, params), xs, jax.random.key(1), _pooled_loss), OPTIONS)
    assert flow.log_spread_within is not None
    return flow.log_spread_within, flow.log_delta


def _pooled_loss(output: jax.Array, key: jax.Array) -> jax.Array:
    """Return ⟨c, output⟩ for each example, (B,), with c normal and the same for all positions."""
    (of_output,) = jax.random.split(key, 1)
    c = jax.random.normal(of_output, (len(output), 1, output.shape[-1])).astype(output.dtype)
    return jnp.sum((c * output).reshape(len(output), -1), axis=1)


def exponents_of(net: Chain, several: Sequence[PyTree], x: jax.Array) -> tuple[Measured, Measured]:
    """Return λ of the angle and of the gradient, a block, of a chain with several parameters."""
    mean = jnp.mean(x, axis=1, keepdims=True)
    of_draws = [_paths(net, params, mean + NEAR * (x - mean)) for params in several]
    spreads, deltas = (np.array(v, np.float64) for v in zip(*of_draws, strict=True))
    angles = [slope_while_near(v, NOISE * float(np.finfo(np.float32).eps)) for v in spreads]
    low, high = _whole(deltas.shape[1] // 6, deltas.shape[1] // 2)
    gradients = (deltas[:, low] - deltas[:, high]) / (high - low)
    return mean_of(LAYERS * np.array(angles)), mean_of(LAYERS * gradients)


def _whole(start: int, end: int) -> tuple[int, int]:
    """Return a stretch of layers, shortened to whole blocks if it has some."""
    return start + ((end - start) % LAYERS if end - start >= LAYERS else 0), end


def slope_while_near(log_spread: np.ndarray, floor: float) -> float:
    """Return the change a layer, of the layers where a spread is small and no rounding; or nan."""
    near = (log_spread < np.log(MOST)) & (log_spread > np.log(floor))
    end = len(near) - 2 if near[:-1].all() else int(np.argmin(near)) - 1
    start, end = _whole(min((len(near) - 1) // 3, end // 2), end)
    return (
        float(log_spread[end] - log_spread[start]) / (end - start) if end > start >= 0 else np.nan
    )


BEHIND = (
    *((1.0, 1.0, 1.0), (0.5, 1.0, 2.0), (0.25, 1.0, 3.0), (0.25, 2.0, 4.0), (1.0, 0.25, 1.0)),
    *((0.5, 0.5, 4.0), (0.1, 0.5, 1.0)),
)
IN_FRONT = ((0.2, 0.2, 1.0), (0.5, 0.5, 2.0), (0.35, 0.35, 3.0), (0.2, 0.2, 4.0))
# ours, published: strengths of blocks with norms behind them, and of those of Cowsik et al.
FULL = Setup(
    width=64,
    blocks=12,
    seeds=48,
    ours=tuple(Strengths(*v) for v in BEHIND),
    published=tuple(Strengths(*v) for v in IN_FRONT),
)
SOURCE = "Cowsik et al. 2024; formulas derived here"
QUICK = FULL.but(seeds=24, ours=FULL.ours[1:3], published=FULL.published[1:2])
