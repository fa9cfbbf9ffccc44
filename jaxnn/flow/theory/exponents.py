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
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from ...arrays.compiled import compiled
from ...arrays.rows import floats, is_float
from ...chain.chain import Chain
from ...models import Cuts, Model
from ...texts import told
from ...theory.twin.wide import chain_of, twin_of
from ..formats.ranges import NOISE
from ..measure.chain_flow import chain_flow
from ..measure.theory_flow import replicas_of
from .correlation import FEWEST, OPTIONS, UNITS

DRAWS = 8
NEAR = 1e-3  # ε
MOST = 0.1  # of the size of a state, that still counts as near


@dataclass(frozen=True)
class Exponents:
    """Exponents of the collapsed state, in nats a layer; `str` says them in a sentence.

    angle: λ of the angle between tokens, or examples, that are nearly alike; nan if the network
        tells them apart by itself, as positions that are added do.
    angle_error: its standard error, of the draws.
    gradient: λ of ‖Δ‖, towards the input.
    gradient_error: its standard error.
    among: "positions", or "examples" of a network without.
    """

    angle: float
    angle_error: float
    gradient: float
    gradient_error: float
    among: str

    def __str__(self) -> str:
        angle = (
            f"{self.among} are told apart by the network itself"
            if np.isnan(self.angle)
            else f"the angle of {self.among} {self.angle:+.3g} ± {self.angle_error:.1g}"
        )
        gradient = f"the gradient {self.gradient:+.3g} ± {self.gradient_error:.1g}"
        return f"Exponents, in nats a layer: {angle}, {gradient}."


def exponents(
    model: Model, xs: PyTree, *, each: str = "batch", cuts: Cuts = None, key: Any = None
) -> Exponents:
    """Return the exponents of the collapsed state of a network's wide twin.

    Near zero both, a deep network can be trained: it neither forgets what its tokens differ by nor
    loses its gradient. For weights of these sizes, drawn at random.

    Args:
        model: any model of JAX, as for `jaxnn.as_network`.
        xs: an example batch of floats, (B, …, positions, channels), or (B, channels).
        each: as for `jaxnn.gradient_flow`.
        cuts: likewise.
        key: of the draws; that of seed 0 by default.

    Raises:
        TypeError: something that is no model, or traced arrays.
        ValueError: inputs that are no array of floats, fewer than six layers, or a layer without a
            twin.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> keys = jax.random.split(jax.random.key(0), 12)
        >>> tanh = lambda w, z: jnp.tanh(z) @ w
        >>> layers = [(tanh, 2 * jax.random.normal(key, (32, 32)) / 32**0.5) for key in keys]
        >>> found = jaxnn.theory.exponents(layers, jax.random.normal(keys[0], (4, 32)))
        >>> found.angle > 0 and found.among  # of weights as large as these
        'examples'

    Source: Cowsik et al. 2024, arXiv:2403.02579.
    """
    net, params, xs = chain_of(model, xs, each, cuts, "exponents")
    if len(net.names) < FEWEST:
        raise ValueError(f"net: expected at least {FEWEST} layers, got {len(net.names)}")
    twin = twin_of(net, params, replicas_of(params, UNITS))
    key = jax.random.key(0) if key is None else key
    keys = jax.random.split(key, DRAWS)
    return exponents_of(twin, [twin.with_key(params, key) for key in keys], xs)


def exponents_of(net: Chain, several: Sequence[PyTree], xs: PyTree) -> Exponents:
    """Return the mean exponents of a chain with several parameters, such as draws of a twin."""
    leaves = jax.tree.leaves(xs)
    if len(leaves) != 1 or not is_float(leaves[0]) or np.ndim(leaves[0]) < 2:
        raise ValueError(
            f"xs: expected one array of floats, (B, …, channels), whose positions can be brought "
            f"together, got {told(xs)}; of tokens hand over the layers above the embedding, and "
            "what it returns"
        )
    x = jnp.asarray(leaves[0])
    has_positions = x.ndim > 2
    axes = tuple(range(1, x.ndim - 1)) if has_positions else (0,)
    mean = jnp.mean(x, axis=axes, keepdims=True)
    near = jax.tree.unflatten(jax.tree.structure(xs), [mean + NEAR * (x - mean)])
    of_draws = [_paths(net, params, near) for params in several]
    spreads, deltas = (np.array(v, np.float64) for v in zip(*of_draws, strict=True))
    spreads = spreads[:, int(has_positions)]
    eps = float(jnp.finfo(x.dtype).eps)  # type: ignore[no-untyped-call]
    period = _period(net)
    angles = [_slope_while_near(spread, NOISE * eps, period) for spread in spreads]
    count = deltas.shape[1]
    low, high = _whole(count // 6, count // 2, period)
    gradients = (deltas[:, low] - deltas[:, high]) / (high - low)
    among = "positions" if has_positions else "examples"
    return Exponents(*_mean_and_error(angles), *_mean_and_error(gradients), among)


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


def _slope_while_near(log_spread: np.ndarray, floor: float, period: int) -> float:
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
