"""Law 25: gradients grow by a power of depth after a norm, by exp(A √L) after tanh(αz).

z′ = z + f(z) θ, of L blocks, with f an RMS norm (pre-norm) or tanh(αz) (DyT). The norm divides by
√q, and q grows by σ_w² in each block, so that with q[1] = σ_w²

    E‖Δz[1]‖² / E‖Δz[L+1]‖² = Π (1 + σ_w²/q[l]) = Π (1 + 1/l) = 1 + L

DyT has the slope α sech²(αz), which most units have lost once α²q > 1, and a block multiplies by

    1 + w,  w = σ_w² α² E[sech⁴(α√q g)] → (4/3) σ_w² α / √(2πq),  q → σ_w² l

so that the logarithm grows as A √L with A = (8/3) α σ_w / √(2π), and the smaller α, the less.
Source: Alekseev 2026, arXiv:2604.11890; by block derived here. At a finite width the mean of
ln ‖Δz‖² is lower by half of the lag of `finite_width.py`.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

import jaxnn
from experiments.laws.law import Predicted, Setup, Told, mean_of
from experiments.laws.networks import HiddenLayers, gradients, log_spread
from jaxnn.theory import meanfield

SIGMA_W = 1.0
PRE_NORM = "pre-norm"

LEFT_OUT = 2 / 3  # of the bias, by which the derived one is off at most; see `finite_width.py`
REASON = "4 standard errors, and ⅔ of the bias of a mean of logarithms"
REASON_NORM = "4 standard errors, and ¼ Var, for q varies too"


@cache
def dyt(alpha: float) -> jaxnn.network.Activation:
    """Return tanh(αz), one activation for each α."""
    return jaxnn.network.Activation(
        f"tanh({alpha:g} z)",
        lambda z: jnp.tanh(alpha * z),
        lambda z: alpha / jnp.square(jnp.cosh(jnp.clip(alpha * z, -40, 40))),
        increasing=True,
    )


def kinds(setup: Setup) -> list[tuple[str, HiddenLayers, jaxnn.blocks.Block]]:
    """Return the series, what is drawn, and the block."""
    scaled = [
        (f"DyT, α = {alpha:g}", HiddenLayers(dyt(alpha), SIGMA_W), jaxnn.blocks.Residual())
        for alpha in setup.alpha
    ]
    norm = jaxnn.blocks.Residual(jaxnn.blocks.RMSNorm())
    return [(PRE_NORM, HiddenLayers("identity", SIGMA_W), norm), *scaled]


def predict(setup: Setup) -> Told:
    """Predict the logarithm of the ratio over L blocks, block by block."""
    last = setup.blocks
    for name, ensemble, block in kinds(setup):
        of_kind = (*ensemble, 1.0, last + 1)
        q, log_delta = (
            np.asarray(f(*of_kind, hidden=block)) for f in (meanfield.lengths, meanfield.log_delta)
        )
        ratio = 2 * (log_delta[0] - log_delta)
        normed = name == PRE_NORM
        s = SIGMA_W**2 / (q if normed else 1.0)
        lag, variance = log_spread(ensemble.activation, s, np.log(q), setup.width, normed=normed)
        allowed = variance / 4 if normed else LEFT_OUT * lag / 2
        gain = -float(np.sum(np.expm1(-np.diff(ratio))))  # of w at the q that is there
        reason, value = (REASON_NORM if normed else REASON), float(ratio[-1]) - lag / 2
        yield Predicted(f"{name}, L = {last}", value, allowed, reason).about("w", gain)


def measure(setup: Setup, key: jax.Array) -> Told:
    """Measure the ratio in the library's blocks, from a random cotangent."""
    keys, last = jax.random.split(key, setup.seeds), setup.blocks
    for name, ensemble, block in kinds(setup):
        (log_delta,) = gradients(keys, ensemble, setup.width, last + 1, block=block)
        yield f"{name}, L = {last}", mean_of(2 * (log_delta[:, 0] - log_delta[:, last]))


SOURCE = "Alekseev 2026; by block derived here"
FULL = Setup(width=200, seeds=90, blocks=100, alpha=(0.5, 1.0, 2.0))
QUICK = Setup(width=100, seeds=40, blocks=30, alpha=(1.0,))
