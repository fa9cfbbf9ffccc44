"""Law 1: a layer multiplies the size of a gradient by √χ.

    E‖Δz[l]‖² = χ E‖Δz[l+1]‖²,   χ = σ_w² E[σ′(√q* g)²],   so ln ‖Δz[l]‖ has the slope ½ ln χ

a layer on the way down. A finite width n adds a bias to the slope of one network, and lets it vary
from draw to draw: `meanfield.slope_band`; for relu by -5/4n and ½ √(6/(n · layers)). Networks start
at q*, so that χ is the same in every layer, and the gradient at a random cotangent: one from a loss
depends on the forward pass. Source: Schoenholz et al. 2017, arXiv:1611.01232, section 5.
"""

import math
from functools import cache
from typing import NamedTuple

import jax
import numpy as np

import jaxnn
from experiments.laws.draws import Ensemble, Start, fixed_point, flows, slope_down
from experiments.laws.finite import slope
from experiments.laws.law import Law, Panel, Predicted, Told, curve, mean_of, points

# Activation, σ_w² (None: the critical one) and σ_b².
KINDS = (
    ("sigmoid", 1.0, 0.0),
    ("tanh", 1.0, 0.05),
    ("tanh", None, 0.05),
    ("tanh", 4.0, 0.05),
    ("relu", 1.0, 0.0),
    ("relu", 2.5, 0.0),
    ("selu", 1.0, 0.0),
)
PROFILE = Panel("Gradient by layer, widest network", "layer l", "ln ‖Δz[l]‖ / ‖Δz[last]‖")
SLOPES = Panel("Slope of every network", "½ ln χ", "slope of ln ‖Δz[l]‖, nats a layer")


class Setup(NamedTuple):
    """Widths and depth of the networks; each seed has weights of its own."""

    widths: tuple[int, ...]
    layers: int
    seeds: int


@cache
def kinds() -> dict[str, Start]:
    """Return the ensembles by name, each started at q*."""
    by_name = {}
    for activation, variance_w, variance_b in KINDS:
        sigma_b = math.sqrt(variance_b)
        if variance_w is None:
            with jax.enable_x64(True):
                sigma_w = float(jaxnn.theory.meanfield.critical_sigma_w(activation, sigma_b))
            name = f"{activation}, critical"
        else:
            sigma_w, name = math.sqrt(variance_w), f"{activation}, σ_w² = {variance_w:g}"
        by_name[name] = fixed_point(Ensemble(activation, sigma_w, sigma_b))
    return by_name


def predict(setup: Setup) -> Told:
    """Predict ½ ln χ with the bias of n, and for infinite width the lines ½ ln χ · (layers - l)."""
    layer = np.arange(1, setup.layers + 1)
    for name, kind in kinds().items():
        half = kind.half_log_chi
        yield curve(PROFILE, name, layer, half * (setup.layers - layer))
        for n in setup.widths:
            bias, allowed, deviation, reason = slope(
                kind.ensemble, kind.q, n, setup.layers, setup.seeds
            )
            case, value = f"{name}, n = {n}", half + bias
            yield Predicted(case, value, allowed, reason).about("χ", 0.5, deviation)
            yield curve(SLOPES, f"n = {n}", half, value)


def measure(setup: Setup, key: jax.Array) -> Told:
    """Fit a line to ln ‖Δz[l]‖, l = 1 … layers, for each seed."""
    keys = jax.random.split(key, setup.seeds)
    layer = np.arange(1, setup.layers + 1)
    for name, kind in kinds().items():
        for n in setup.widths:
            flow = flows(keys, n, setup.layers, kind.ensemble, kind.q0)
            profile = np.asarray(flow.log_delta)[:, : setup.layers]
            slopes = slope_down(profile)
            yield f"{name}, n = {n}", mean_of(slopes)
            yield points(SLOPES, f"n = {n}", kind.half_log_chi, slopes[:, None])
            if n == max(setup.widths):
                yield points(PROFILE, name, layer, profile - profile[:, -1:])


LAW = Law(
    number=1,
    name="gradient-exponent",
    source="Schoenholz et al. 2017",
    statement="‖Δz[l]‖ changes by √χ a layer: the slope of its logarithm is ½ ln χ",
    predict=predict,
    measure=measure,
    weights=lambda s: max(s.widths) ** 2 * (s.layers + 1),
    full=Setup(widths=(100, 300, 1000), layers=30, seeds=10),
    quick=Setup(widths=(100,), layers=20, seeds=40),
    panels=(PROFILE, SLOPES),
)
