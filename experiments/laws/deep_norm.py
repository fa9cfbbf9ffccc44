"""Law 26: post-norm multiplies gradients by χ^N; a skip of weight (2N)^¼ leaves exp(c √N).

z′ = N(z + σ(z) θ/α) = N(α z + σ(z) θ), of N blocks with an RMS norm. z has the mean square 1 in
each layer, so that all blocks are alike, and each multiplies E‖Δz‖² by

    χ = (1 + σ_w² E[σ′²]/α²) / (1 + σ_w² E[σ²]/α²)

α = 1 is post-norm: χ^N. DeepNorm has α = (2N)^¼, so that ln χ^N grows as √(N/2) σ_w² (E σ′² - E σ²)
only, and with α = √N it tends to a constant. Source: Wang et al. 2022, arXiv:2203.00555, for
transformers; with one matrix a block derived here.

The mean of the logarithm is lower by half of the lag of `finite_width.py`: a norm behind the block
takes from each layer what q grows by, so that z[l] and z[m] have the correlation of lengths that
grow by 1 + σ_w² E[σ²]/α² a block. That the length of each draw varies is left out.
"""

import math

import jax
import numpy as np

import jaxnn
from experiments.laws.law import Predicted, Setup, Told, mean_of
from experiments.laws.networks import HiddenLayers, gradients, log_spread
from jaxnn.theory import meanfield

ENSEMBLE = HiddenLayers("tanh", 1.0)
POST, DEEP, ROOT = "post-norm, α = 1", "DeepNorm, α = (2N)^¼", "α = √N"
REASON = "4 standard errors, and a part of the bias of a mean of logarithms"
LEFT_OUT = {1.0: 0.16}  # of the bias, by which the derived one is off; see `finite_width.py`
MOST_LEFT_OUT = 2 / 3  # where branches are small
ROWS = 8  # inputs and cotangents of a network, whose logarithms are averaged


def kinds(setup: Setup) -> list[tuple[str, int, float]]:
    """Return the series, its blocks and α."""
    n = setup.blocks
    return [(POST, setup.post, 1.0), (DEEP, n, (2 * n) ** 0.25), (ROOT, n, n**0.5)]


def block_of(alpha: float) -> jaxnn.blocks.PostNorm:
    """Return the library's block, N(z + f(z)/α)."""
    return jaxnn.blocks.PostNorm(jaxnn.blocks.Residual(scale=1 / alpha))


def predict(setup: Setup) -> Told:
    """Predict N ln χ, less half of the lag."""
    for name, blocks, alpha in kinds(setup):
        chi = float(meanfield.stationary_chi(*ENSEMBLE, hidden=block_of(alpha)))
        branch = float(meanfield.length_map(*ENSEMBLE, 1.0)) / alpha**2
        log_q = np.arange(blocks + 1) * math.log1p(branch)
        lag, _ = log_spread(ENSEMBLE.activation, alpha**-2, log_q, setup.width, normed=True)
        value, left = blocks * math.log(chi) - lag / 2, LEFT_OUT.get(alpha, MOST_LEFT_OUT) * lag / 2
        yield Predicted(f"{name}, N = {blocks}", value, left, REASON).about(
            "χ - 1", blocks * (chi - 1) / chi
        )


def measure(setup: Setup, key: jax.Array) -> Told:
    """Measure the ratio in the library's blocks, from a random cotangent."""
    keys = jax.random.split(key, setup.seeds)
    for name, blocks, alpha in kinds(setup):
        of_kind, fields = (ENSEMBLE, setup.width, blocks + 1, 1.0, ROWS), ("log_delta_example",)
        (of_rows,) = gradients(keys, *of_kind, block=block_of(alpha), fields=fields)
        log_delta = of_rows.mean(axis=2)
        yield f"{name}, N = {blocks}", mean_of(2 * (log_delta[:, 0] - log_delta[:, blocks]))


SOURCE = "Wang et al. 2022; with one matrix a block derived here"
# post, blocks: of post-norm, and N of the others.
FULL = Setup(width=128, seeds=100, post=100, blocks=1000)
QUICK = Setup(width=160, seeds=24, post=40, blocks=200)
COARSE = (("χ - 1", "a part of the bias of a finite width is left open, which takes most of it"),)
