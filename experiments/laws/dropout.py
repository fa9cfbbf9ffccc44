"""Law 21: dropout brings one input under two masks to a correlation c* < 1, and χ to χ/ϱ.

Each entry of a = σ(z) is kept with the probability ϱ and then divided by it:

    q′ = σ_w² E[σ²]/ϱ + σ_b²    q′ c′ = σ_w² E[σ σ̃] + σ_b²    E‖Δz‖² = σ_w² E[σ′²]/ϱ E‖Δz′‖²

for the masks of two passes are independent, and the mask of one is the same up and down. c = 1 is
no fixed point then, at any σ_w, so what two inputs have in common is forgotten in as many layers as
ξ_c is long, also where gradients neither grow nor shrink. Source: Schoenholz et al. 2017,
arXiv:1611.01232, section 5.

Dropout of a is dropout of rows of θ, so the library's plain layers measure it. At a finite width q
has the bias of `finite.spread`, and a slope of ln ‖Δz‖ that of `finite.slope`, with moments of
entries that are kept: E[σ⁴]/ϱ³, and so on.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from experiments.laws.finite import slope, spread
from experiments.laws.law import Predicted, Setup, Told, mean_of
from experiments.laws.networks import (
    Dropout,
    HiddenLayers,
    fixed_point,
    gradients,
    signals,
    slope_down,
)
from jaxnn.theory import meanfield

ENSEMBLE = HiddenLayers("tanh", 1.327, math.sqrt(0.05))  # χ = 1 without dropout
MORE = 0.01  # of a factor, for the change of each number that it makes


def predict(setup: Setup) -> Told:
    """Predict q*, c* and the slope of ln ‖Δz‖."""
    half = setup.layers // 2
    for keep in setup.keep:
        start = fixed_point(ENSEMBLE, keep)
        q, q0 = start.q, start.q0
        more = float(meanfield.fixed_point(*ENSEMBLE, keep=keep / (1 + MORE)))
        along = np.full(setup.layers, q)
        bias = float(spread(ENSEMBLE, along, setup.width, keep).bias[half:].mean())
        name = f"kept {keep:g}"
        yield Predicted(f"{name}: q*", q + bias).about("E[σ²]/ϱ", (more - q) / MORE)
        c = np.asarray(meanfield.paths(*ENSEMBLE, q0, 1.0, setup.layers, keep=keep).c)
        late = float(c[half:].mean())
        finite = "4 standard errors, and 2/n for the finite width"
        # E[σ σ̃] larger by a part: as if more were kept at the same q.
        of_both = float(meanfield.correlation_map(*ENSEMBLE, q, late, keep=keep))
        apart = of_both - ENSEMBLE.sigma_b**2 / q
        steep = math.exp(-1 / float(meanfield.xi_c(*ENSEMBLE, keep=keep)))
        yield Predicted(f"{name}: c*", late, 2 / setup.width, finite).about(
            "E[σ σ̃]", apart / (1 - steep)
        )
        of_nets = setup.width, setup.layers + 1, setup.seeds, keep
        yield slope(f"{name}: slope of ln ‖Δz‖", start, *of_nets)


def measure(setup: Setup, key: jax.Array) -> Told:
    """Send one input through each network with two masks, and a random cotangent down."""
    keys, n = jax.random.split(key, setup.seeds), setup.width
    half = setup.layers // 2
    for keep in setup.keep:
        q0 = fixed_point(ENSEMBLE, keep).q0
        name, x = f"kept {keep:g}", np.sqrt(q0) * jnp.ones((1, n))
        several = (
            signals(keys, ENSEMBLE, setup.layers, x, dropout=Dropout(keep, number))
            for number in (0, 1)
        )
        one, other = (np.stack([z[:, 0] for z in zs]) for zs in several)
        square = [np.mean(z**2, axis=-1) for z in (one, other)]
        c = np.mean(one * other, axis=-1) / np.sqrt(square[0] * square[1])
        yield f"{name}: q*", mean_of((square[0] + square[1])[:, half:].mean(axis=1) / 2)
        yield f"{name}: c*", mean_of(c[:, half:].mean(axis=1))
        (log_delta,) = gradients(keys, ENSEMBLE, n, setup.layers, q0, dropout=Dropout(keep))
        slopes = slope_down(log_delta)
        yield f"{name}: slope of ln ‖Δz‖", mean_of(slopes)


SOURCE = "Schoenholz et al. 2017"
FULL = Setup(width=300, layers=40, seeds=20, keep=(0.5, 0.7, 0.9))
QUICK = Setup(width=200, layers=24, seeds=40, keep=(0.9,))
