"""Law 25: with tanh(αz) instead of a norm a gradient grows by exp(A √L), not by a power of L.

z′ = z + f(z) θ, of L blocks, with f an RMS norm (pre-norm) or tanh(αz) (DyT). The norm divides by
√q, and q grows by σ_w² in each block, so that with q[1] = σ_w²

    E‖Δz[1]‖² / E‖Δz[L+1]‖² = Π (1 + σ_w²/q[l]) = Π (1 + 1/l) = 1 + L

DyT has the slope α sech²(αz), which most units have lost once α²q > 1, and a block multiplies by

    1 + w,  w = σ_w² α² E[sech⁴(α√q g)] → (4/3) σ_w² α / √(2πq),  q → σ_w² l

so that the logarithm grows as A √L with A = (8/3) α σ_w / √(2π), and the smaller α, the less.
Source: Alekseev 2026, arXiv:2604.11890; by block derived here. At a finite width the mean of
ln ‖Δz‖² is lower by half of the lag of `finite_width.py`.
"""

import math
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxnn
from experiments.laws.draws import Ensemble, square_network
from experiments.laws.law import Law, Panel, Predicted, Told, curve, mean_of, points
from experiments.laws.passes import gradients, log_spread, path

GROWTH = Panel("Gradient over L blocks", "blocks L", "ln ‖Δz[1]‖² / ‖Δz[L+1]‖²", log_x=True)
SIGMA_W = 1.0
PRE_NORM = "pre-norm"

LEFT_OUT = 2 / 3  # of the bias, by which the derived one is off at most; see `finite_width.py`
REASON = "4 standard errors, and ⅔ of the bias of a mean of logarithms"
REASON_NORM = "4 standard errors, and ¼ Var, for q varies too"


class Setup(NamedTuple):
    """Width, networks, blocks, and the α of DyT."""

    width: int
    seeds: int
    blocks: int
    alpha: tuple[float, ...]


def _scaled(alpha: float, z: jax.Array) -> jax.Array:
    return jnp.tanh(alpha * z)


def _slope(alpha: float, z: jax.Array) -> jax.Array:
    return alpha / jnp.square(jnp.cosh(jnp.clip(alpha * z, -40, 40)))


@cache
def dyt(alpha: float) -> jaxnn.network.Activation:
    """Return tanh(αz), one activation for each α."""
    name = f"tanh({alpha:g} z)"
    return jaxnn.network.Activation(
        name, partial(_scaled, alpha), partial(_slope, alpha), increasing=True
    )


def kinds(setup: Setup) -> list[tuple[str, Ensemble, jaxnn.blocks.Block]]:
    """Return the series, what is drawn, and the block."""
    scaled = [
        (f"DyT, α = {alpha:g}", Ensemble(dyt(alpha), SIGMA_W), jaxnn.blocks.Residual())
        for alpha in setup.alpha
    ]
    norm = jaxnn.blocks.Residual(jaxnn.blocks.RMSNorm())
    return [(PRE_NORM, Ensemble("identity", SIGMA_W), norm), *scaled]


def predict(setup: Setup) -> Told:
    """Predict the logarithm of the ratio over L blocks, block by block."""
    last = setup.blocks
    at = np.unique(np.geomspace(1, last, 16).round().astype(int))
    for name, ensemble, block in kinds(setup):
        q, factor = path(ensemble, block, 1.0, 0.0, last + 1, ("q", "factor"))
        ratio = np.append(0.0, np.cumsum(np.log(factor[:-1])))
        normed = name == PRE_NORM
        s = SIGMA_W**2 / (q if normed else 1.0)
        lag, variance = log_spread(ensemble.activation, s, np.log(q), setup.width, normed=normed)
        allowed = variance / 4 if normed else LEFT_OUT * lag / 2
        gain = float(np.sum((factor[:-1] - 1) / factor[:-1]))  # of w at the q that is there
        yield Predicted(
            f"{name}, L = {last}",
            float(ratio[-1]) - lag / 2,
            allowed,
            REASON_NORM if normed else REASON,
        ).about("w", gain)
        yield curve(GROWTH, name, at, ratio[at])


def measure(setup: Setup, key: jax.Array) -> Told:
    """Measure the ratio in the library's blocks, from a random cotangent."""
    keys, last = jax.random.split(key, setup.seeds), setup.blocks
    at = np.unique(np.append(2 ** np.arange(int(math.log2(last)) + 1), last))
    for name, ensemble, block in kinds(setup):
        net = square_network(setup.width, last + 1, ensemble.activation, block)
        (log_delta,) = gradients(keys, net, ensemble, 1.0, fields=("log_delta",))
        ratio = 2 * (log_delta[:, :1] - log_delta[:, : last + 1])
        yield f"{name}, L = {last}", mean_of(ratio[:, last])
        yield points(GROWTH, name, at, ratio[:, at])


LAW = Law(
    number=25,
    name="dynamic-tanh",
    source="Alekseev 2026; by block derived here",
    statement="gradients grow by a power of depth behind a norm, by exp(A √L) behind tanh(αz)",
    predict=predict,
    measure=measure,
    weights=lambda s: s.width**2 * (s.blocks + 2),
    full=Setup(width=200, seeds=90, blocks=100, alpha=(0.5, 1.0, 2.0)),
    quick=Setup(width=100, seeds=40, blocks=30, alpha=(1.0,)),
    panels=(GROWTH,),
)
