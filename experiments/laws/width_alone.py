"""Law 14: with α = 1/√L the spread of ln ‖Δz‖² over draws is set by the width, not the depth.

z′ = z + σ(z) θ/√L, of L blocks. The variance of ln ‖Δz[1]‖²/‖Δz[L+1]‖² is a constant over n at any
depth; with α = 1 it grows like L/n, as in a plain network, of which it is 5 L/n. Source: Hanin &
Rolnick 2018, arXiv:1803.01719, theorem 6, with the plain network of Hanin & Nica 2018,
arXiv:1812.05994. The constant, of blocks with one matrix, is a derivation:
`jaxnn/theory/finite_width.py`; of the plain network all orders in 1/n are known. With α = 1 the
next order adds L/2n, since Δz · z is one random number for all layers; with 1/√L it does not grow.

What each layer adds alone is the sum of the variances of the layers' own steps, which has an error
√L times less: it tests the constant where the variance over draws shows how layers add up.
"""

import math

import jax
import numpy as np

import jaxnn
from experiments.laws.law import Predicted, Setup, Told
from experiments.laws.networks import HiddenLayers, gradients, log_spread
from experiments.laws.width_over_depth import BY_LAYER, one_layer, variance, variances_of

ENSEMBLE = HiddenLayers("relu", math.sqrt(2))  # κ = 1
PLAIN, ALL, ROOT = "no skip", "α = 1", "α = 1/√L"
NAMES = {"plain": PLAIN, "full": ALL, "root": ROOT}  # by the field of a set-up with their L
NEXT = 3.0  # over n: the next order in 1/n, of the variance; a plain layer has 3.9


def cases(setup: Setup) -> list[tuple[str, int]]:
    """Return every kind and number of blocks, in the order of the set-up's fields."""
    return [
        (NAMES[field], blocks)
        for field in vars(setup)
        if field in NAMES
        for blocks in getattr(setup, field)
    ]


def block_of(name: str, blocks: int) -> jaxnn.blocks.Block:
    """Return the library's block of a kind: z′ = σ(z) θ, or z′ = z + α σ(z) θ."""
    if name == PLAIN:
        return jaxnn.blocks.Dense()
    return jaxnn.blocks.Residual(scale=blocks**-0.5 if name == ROOT else 1.0)


def predict(setup: Setup) -> Told:
    """Predict the variance of each kind and depth."""
    for name, blocks in cases(setup):
        exact, left = name == PLAIN, 0.0 if name == PLAIN else NEXT / setup.width
        reason = "4 standard errors" + (not exact) * f", and {NEXT:g}/n for the next order in 1/n"
        lag, variance = predicted_spread(name, blocks, setup.width)
        more = blocks / (2 * setup.width) if name == ALL else 0.0
        for case, value in (("", variance * (1 + more)), (f": {BY_LAYER}", lag)):
            yield Predicted(f"{name}, L = {blocks}{case}", value, left * value, reason).about(
                "variance"
            )


def predicted_spread(name: str, blocks: int, n: int) -> tuple[float, float]:
    """Return the sum of the variances of L blocks alone, and their variance together."""
    if name == PLAIN:
        return (float(blocks * one_layer("relu", n)[1]),) * 2
    s = ENSEMBLE.sigma_w**2 / (blocks if name == ROOT else 1)
    return log_spread("relu", s, np.arange(blocks + 1) * math.log1p(s / 2), n)


def measure(setup: Setup, key: jax.Array) -> Told:
    """Measure the variance of ln ‖Δz[1]‖²/‖Δz[L+1]‖² over draws."""
    for place, (name, blocks) in enumerate(cases(setup)):
        keys = jax.random.split(jax.random.fold_in(key, place), setup.draws)
        of_kind = ENSEMBLE, setup.width, blocks + 1
        (log_delta,) = gradients(keys, *of_kind, block=block_of(name, blocks))
        steps = 2 * (log_delta[:, :blocks] - log_delta[:, 1 : blocks + 1])
        measured = variance(np.sum(steps, axis=1))
        yield f"{name}, L = {blocks}", measured
        yield f"{name}, L = {blocks}: {BY_LAYER}", variances_of(steps)


SOURCE = "Hanin & Rolnick 2018; constant derived here"
# root, full, plain: numbers L of blocks with 1/√L, with α = 1, and without a skip.
FULL = Setup(width=50, draws=600, root=(50, 200), full=(10,), plain=(50,))
QUICK = Setup(width=50, draws=320, root=(10, 40), full=(10,), plain=(10,))
