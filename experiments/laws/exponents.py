"""Exponents of the collapsed state: whether tokens that are nearly alike part, and gradients there.

    tokens  x + ε δ[t],  ε → 0      angle between them      e^(λ_angle l)
    Δ of their states               norm, towards the input e^(λ_gradient l)

Both are of the wide twin, whose inputs are brought together: the mean of an example's positions,
and ε times what they differ by. Of a network without positions its examples are brought together.
Below zero a λ_angle is order, in which tokens end alike; above it is chaos. Cowsik et al. 2024,
arXiv:2403.02579.

The angle is followed while it is small, from the lower third of the layers up; Δ in the middle of
them, where what enters at the end has found its direction. It enters as behind a mean over all
positions, which have it in common.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from jaxnn.arrays.compiled import compiled
from jaxnn.arrays.rows import floats
from jaxnn.chain.chain import Chain
from jaxnn.flow.formats.ranges import NOISE
from jaxnn.flow.measure.chain_flow import chain_flow
from jaxnn.flow.measure.theory_flow import replicas_of
from jaxnn.flow.theory.correlation import OPTIONS, UNITS
from jaxnn.theory.twin.wide import twin_of

DRAWS = 8
NEAR = 1e-3  # ε
MOST = 0.1  # of the size of a state, that still counts as near


class Exponents(NamedTuple):
    """Exponents of the collapsed state, in nats a layer, with the standard errors of the draws.

    angle: λ of the angle between tokens, or examples, that are nearly alike; nan if the network
        tells them apart by itself, as positions that are added do.
    gradient: λ of ‖Δ‖, towards the input.
    """

    angle: float
    angle_error: float
    gradient: float
    gradient_error: float


def of_twin(net: Chain, params: PyTree, xs: jax.Array, key: jax.Array) -> Exponents:
    """Return the exponents of the wide twin of a chain."""
    twin = twin_of(net, params, replicas_of(params, UNITS))
    keys = jax.random.split(key, DRAWS)
    return exponents_of(twin, [twin.with_key(params, key) for key in keys], xs)


def exponents_of(net: Chain, several: Sequence[PyTree], x: jax.Array) -> Exponents:
    """Return the mean exponents of a chain with several parameters, such as draws of a twin.

    Args:
        net: the chain.
        several: its parameters.
        x: (B, …, positions, channels), or (B, channels), whose examples are brought together.
    """
    has_positions = x.ndim > 2
    mean = jnp.mean(x, axis=tuple(range(1, x.ndim - 1)) or (0,), keepdims=True)
    near = mean + NEAR * (x - mean)
    of_draws = [_paths(net, params, near) for params in several]
    spreads, deltas = (np.array(v, np.float64) for v in zip(*of_draws, strict=True))
    eps = float(jnp.finfo(x.dtype).eps)  # type: ignore[no-untyped-call]
    period = _period(net)
    angles = [slope_while_near(v, NOISE * eps, period) for v in spreads[:, int(has_positions)]]
    count = deltas.shape[1]
    low, high = _whole(count // 6, count // 2, period)
    gradients = (deltas[:, low] - deltas[:, high]) / (high - low)
    return Exponents(*_mean_and_error(angles), *_mean_and_error(gradients))


@compiled
def _paths(net: Chain, params: PyTree, xs: PyTree) -> tuple[Array, Array]:
    """Return ln of the spread of examples, and of positions, (2, L); and ln ‖Δ‖, (L,)."""
    flow = chain_flow(net, params, xs, jax.random.key(1), None, _pooled_loss, OPTIONS)
    spread = jnp.asarray(flow.log_spread)
    within = (
        jnp.full_like(spread, jnp.nan) if flow.log_spread_within is None else flow.log_spread_within
    )
    return jnp.stack([spread, within]), flow.log_delta


def _pooled_loss(output: PyTree, key: Array) -> Array:
    """Return ⟨c, output⟩ for each example, (B,), with c normal and the same for all positions."""
    rows = []
    for v, k in zip(floats(output), jax.random.split(key, len(floats(output))), strict=True):
        shape = len(v), *(1,) * (v.ndim - 2), *v.shape[1:][-1:]
        c = jax.random.normal(k, shape).astype(v.dtype)
        rows.append(jnp.sum((c * v).reshape(len(v), -1), axis=1))
    return sum(rows[1:], start=rows[0])


def _period(net: Chain) -> int:
    """Return the number of layers after which the longest run of a chain begins anew."""
    runs = [
        (len(kind.links) * k, len(kind.links))
        for kind, k in zip(net.kinds, net.lengths, strict=True)
    ]
    return max(runs)[1]


def _whole(start: int, end: int, period: int) -> tuple[int, int]:
    """Return a stretch of layers, shortened to whole patterns if it has some."""
    return start + ((end - start) % period if end - start >= period else 0), end


def slope_while_near(log_spread: np.ndarray, floor: float, period: int) -> float:
    """Return the change a layer, of the layers where a spread is small and no rounding; or nan."""
    near = (log_spread < np.log(MOST)) & (log_spread > np.log(floor))
    end = len(near) - 2 if near[:-1].all() else int(np.argmin(near)) - 1
    start, end = _whole(min((len(near) - 1) // 3, end // 2), end, period)
    return (
        float(log_spread[end] - log_spread[start]) / (end - start) if end > start >= 0 else np.nan
    )


def _mean_and_error(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    error = float(np.std(values, ddof=1)) / len(values) ** 0.5 if len(values) > 1 else np.nan
    return float(np.mean(values)), error
