"""Law 11: after a batch norm ‖Δz‖² grows by λ_B > 1 a layer for any σ_w, by π/(π-1) for relu.

z′ = σ(BN(z)) θ over B rows. Of a unit's rows normalised, uniform on a sphere, with κ as in
`jaxnn.sphere`,

    E‖Δz[l]‖² = λ_B E‖Δz[l+1]‖²,   λ_B = κ / ((B-3) (E[σ(ẑ₁)²] - E[σ(ẑ₁) σ(ẑ₂)]))

which for many rows is E[σ′²] / Var σ, π/(π-1) of relu, and two rows come to the correlation
c* = E[σ(ẑ₁) σ(ẑ₂)] / E[σ(ẑ₁)²] at once. Inputs are independent rows of the length at which the
first factor is λ_B too; so are cotangents, with sum 0, and the two top layers are left out. Source:
Yang et al. 2019, arXiv:1902.08129, theorems 4, 5, 7 and 8.
"""

import math

import jax

import jaxnn
from experiments.laws.law import Predicted, Setup, Told, mean_of
from experiments.laws.networks import (
    HiddenLayers,
    correlations,
    gradients,
    random_rows,
    signals,
    slope_down,
)
from jaxnn.network.activations import find_activation
from jaxnn.theory import meanfield
from jaxnn.theory.sphere import moments

BLOCK, SIGMA_W = jaxnn.blocks.BatchNorm(), 1.0
SETTLED = 5  # the first layer whose correlation counts


def cases(setup: Setup) -> list[tuple[str, int, int]]:
    """Return every (activation, B, n)."""
    by_name = {name: getattr(setup, name) for name in ("relu", "identity", "tanh", "gelu")}
    return [(name, rows, n) for name, sizes in by_name.items() for rows, n in sizes]


def length(activation: str, rows: int) -> float:
    """Return E[σ(ẑ₁)²] - E[σ(ẑ₁) σ(ẑ₂)], the variance over rows that every layer has."""
    with jax.enable_x64(True):
        of = moments(find_activation(activation), rows)
    return float(of.square - of.product)


def predict(setup: Setup) -> Told:
    """Predict ln λ_B a layer, and c*."""
    for activation, rows, n in cases(setup):
        ensemble = (activation, SIGMA_W, 0.0)
        chi = meanfield.stationary_chi(*ensemble, hidden=BLOCK, batch=rows)
        growth = math.log(float(chi))
        case = f"{activation}, B = {rows}"
        allowed = 5 / (2 * n) + 0.03 * rows / n
        reason = "4 standard errors; 5/2n, the mean of a logarithm; 0.03 B/n, rows over units"
        yield Predicted(f"{case}: ln λ", growth, allowed, reason).about("λ_B", 1.0)
        c = float(meanfield.correlation_fixed_point(*ensemble, hidden=BLOCK, batch=rows))
        reason = "4 standard errors, and 2/n for the finite width"
        yield Predicted(f"{case}: c*", c, 2 / n, reason).about("c*")


def measure(setup: Setup, key: jax.Array) -> Told:
    """Fit a line to ln ‖Δz[l]‖² for each seed, and take the correlation of two rows."""
    keys = jax.random.split(key, setup.seeds)
    for activation, rows, n in cases(setup):
        case, ensemble = f"{activation}, B = {rows}", HiddenLayers(activation, SIGMA_W)
        q0 = length(activation, rows)
        (log_delta,) = gradients(keys, ensemble, n, setup.layers, q0, rows, block=BLOCK)
        profile = 2 * log_delta[:, : setup.layers - 2]
        slopes = slope_down(profile)
        yield f"{case}: ln λ", mean_of(slopes)
        x = random_rows(key, rows, n, q0)
        zs = signals(keys, ensemble, setup.layers, x, block=BLOCK)
        yield f"{case}: c*", mean_of([correlations(z)[SETTLED - 1 :].mean() for z in zs])


SOURCE = "Yang et al. 2019"
# Of each activation: rows and width, (B, n).
FULL = Setup(
    layers=20,
    seeds=7,
    relu=((8, 400), (32, 400), (128, 600)),
    identity=((8, 400), (32, 400)),
    tanh=((16, 400),),
    gelu=((16, 400),),
)
QUICK = Setup(layers=21, seeds=10, relu=((16, 150),), identity=(), tanh=(), gelu=())
