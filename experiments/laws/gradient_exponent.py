"""Law 1: ‖Δz[l]‖ changes by √χ a layer: the slope of its logarithm is ½ ln χ.

    E‖Δz[l]‖² = χ E‖Δz[l+1]‖²,   χ = σ_w² E[σ′(√q* g)²],   so ln ‖Δz[l]‖ has the slope ½ ln χ

a layer on the way down. A finite width n adds a bias to the slope of one network, and lets it vary
from draw to draw: `meanfield.slope_band`; for relu by -5/4n and ½ √(6/(n · layers)). Networks start
at q*, so that χ is the same in every layer, and the gradient at a random cotangent: one from a loss
depends on the forward pass. Source: Schoenholz et al. 2017, arXiv:1611.01232, section 5.
"""

import math
from functools import cache

import jax

from experiments.laws.finite import slope
from experiments.laws.law import Setup, Told, mean_of
from experiments.laws.networks import HiddenLayers, Start, fixed_point, gradients, slope_down
from jaxnn.theory import meanfield

SIGMA_B = math.sqrt(0.05)  # of tanh


@cache
def kinds() -> dict[str, Start]:
    """Return the ensembles by name, each started at q*."""
    with jax.enable_x64(True):
        critical = float(meanfield.critical_sigma_w("tanh", SIGMA_B))
    ensembles = {
        "sigmoid, σ_w² = 1": HiddenLayers("sigmoid", 1.0),
        "tanh, σ_w² = 1": HiddenLayers("tanh", 1.0, SIGMA_B),
        "tanh, critical": HiddenLayers("tanh", critical, SIGMA_B),
        "tanh, σ_w² = 4": HiddenLayers("tanh", 2.0, SIGMA_B),
        "relu, σ_w² = 1": HiddenLayers("relu", 1.0),
        "relu, σ_w² = 2.5": HiddenLayers("relu", math.sqrt(2.5)),
        "selu, σ_w² = 1": HiddenLayers("selu", 1.0),
    }
    return {name: fixed_point(ensemble) for name, ensemble in ensembles.items()}


def predict(setup: Setup) -> Told:
    """Predict ½ ln χ with the bias of n."""
    for name, kind in kinds().items():
        for n in setup.widths:
            yield slope(f"{name}, n = {n}", kind, n, setup.layers, setup.seeds)


def measure(setup: Setup, key: jax.Array) -> Told:
    """Fit a line to ln ‖Δz[l]‖, l = 1 … layers, for each seed."""
    keys = jax.random.split(key, setup.seeds)
    for name, kind in kinds().items():
        for n in setup.widths:
            (log_delta,) = gradients(keys, kind.ensemble, n, setup.layers, kind.q0)
            yield f"{name}, n = {n}", mean_of(slope_down(log_delta[:, :-1]))


SOURCE = "Schoenholz et al. 2017"
FULL = Setup(widths=(100, 300, 1000), layers=30, seeds=10)
QUICK = Setup(widths=(100,), layers=20, seeds=40)
