"""Law 16: the last block's ‖Δθ‖² falls like 1/L with the norm before a block, but not after it.

L blocks: z′ = z + σ(N(z)) θ has the norm in front, z′ = N(z + σ(z) θ) behind. N is a layer norm, σ
relu, σ_w² = 2: in front, a block adds 1 to q. For a unit cotangent after a final norm

    ‖Δθ‖² of the last block = n/2 · 1/(1+L)  in front,   n/2 · 1/2  behind, at any depth
    ‖Δθ‖² of the first block = n/2 · 1/2  either way

since a network with the norm in front ends with a length of q = 1 + L, which its final norm divides
by. The library's network has no final norm: what it would divide by, q[L+1] as measured, is divided
out of the measured Δ. Source: Xiong et al. 2020, arXiv:2002.04745, theorem 1 and lemmas 1 to 3, for
Transformers; the constants are those of this block.
"""

import math

import jax
import numpy as np

import jaxnn
from experiments.laws.law import Predicted, Setup, Told, log_mean_of, mean_of
from experiments.laws.networks import HiddenLayers, gradients
from jaxnn.theory import meanfield

ENSEMBLE = HiddenLayers("relu", math.sqrt(2))
FIELDS = ("log_delta", "log_mean_square", "log_delta_theta")
FRONT, BEHIND = "norm in front", "norm behind"
BLOCKS: dict[str, jaxnn.blocks.Block] = {
    FRONT: jaxnn.blocks.Residual(jaxnn.blocks.LayerNorm()),
    BEHIND: jaxnn.blocks.PostNorm(norm="layer"),
}
# Over n. The mean square of relu's a has the variance 5/n, half of which the mean of a logarithm
# loses. To the first block the gradient comes through L others: there the logarithm of a mean is
# taken.
LEFT = {"last": 2.5, "first": 10.0}
REASONS = {
    "last": "4 standard errors, and 5/2n for the mean of a logarithm",
    "first": "4 standard errors, and 10/n for the finite width",
}


def predict(setup: Setup) -> Told:
    """Predict ln ‖Δθ‖² of the last and of the first block."""
    n = setup.width
    for name, block in BLOCKS.items():
        chi = [path_of(block, blocks) for blocks in setup.blocks]
        for what, place in (("last", 0), ("first", 1)):
            values = [math.log(n * of[place]) for of in chi]
            for blocks, value in zip(setup.blocks, values, strict=True):
                case = f"{name}, L = {blocks}: {what} block"
                yield Predicted(case, value, LEFT[what] / n, REASONS[what]).about("‖Δθ‖²", 1.0)


def path_of(block: jaxnn.blocks.Block, blocks: int) -> tuple[float, float]:
    """Return ‖Δθ‖²/n of the last and of the first block, for a unit cotangent after a norm.

    ‖Δθ‖² is ‖a‖² times that of Δ of z + σ θ, where a norm behind has divided by its length.
    """
    ensemble = ENSEMBLE
    q = np.asarray(meanfield.lengths(*ensemble, 0.5, blocks + 1, hidden=block))
    log_delta = meanfield.log_delta(*ensemble, 0.5, blocks + 1, hidden=block)
    square = np.exp(2 * np.asarray(log_delta)) / q[-1]  # ‖Δz[l]‖²
    a = float(meanfield.length_map("relu", 1.0, 0.0, 1.0))
    if isinstance(block, jaxnn.blocks.PostNorm):
        square /= float(meanfield.length_map(*ensemble, 1.0, hidden=block.inner))
    return a * float(square[-1]), a * float(square[1])


def measure(setup: Setup, key: jax.Array) -> Told:
    """Measure ‖Δθ‖² for a random cotangent, over the size that it has after a final norm."""
    keys = jax.random.split(key, setup.seeds)
    for name, block in BLOCKS.items():
        of_kind = ENSEMBLE, setup.width, max(setup.blocks) + 1, 0.5
        for blocks in setup.blocks:
            log_delta, square, log_theta = gradients(
                keys, *of_kind, block=block, depth=blocks + 1, fields=FIELDS
            )
            size = 2 * log_delta[:, blocks] + square[:, blocks]
            for what, layer in (("last", blocks), ("first", 1)):
                measured = 2 * log_theta[:, layer] - size
                mean = mean_of if what == "last" else log_mean_of
                yield f"{name}, L = {blocks}: {what} block", mean(measured)


SOURCE = "Xiong et al. 2020"
FULL = Setup(width=300, seeds=20, blocks=(4, 16, 64))
QUICK = Setup(width=150, seeds=100, blocks=(4, 20))
