"""Law 12: with a norm the gradient goes as χ^depth, with a norm in a skip connection as depth^χ.

z′ = z + σ(N(z)) θ. The norm divides Δ by the length of z, which grows by the same amount v in every
block: q[l] = q[1] + v (l - 1). A plain norm has the length v in every layer, and multiplies ‖Δz‖²
by χ = σ_w² E[σ′²] / v; so here a block multiplies it by 1 + χ v/q[l]. With inputs for which
q[1] = v that is 1 + χ/l, and from layer l to L

    E‖Δz[l]‖² / E‖Δz[L]‖² = Γ(L+χ) Γ(l) / (Γ(L) Γ(l+χ)) → (L/l)^χ

For a batch norm q (1-c), the variance over rows, takes the place of q, and λ_B of Yang et al. 2019,
arXiv:1902.08129, that of χ. That gradients then follow a power law: Doshi, He & Gromov 2021,
arXiv:2111.12143, and Labatie 2019, arXiv:1811.03087; the exponent χ is a derivation, made here. The
mean of the logarithm is lower by half of what the layers of a finite width add to its variance, as
in `finite_width.py`, which has q of every draw alike: that it varies may change half as much.
"""

from typing import NamedTuple

import jax
import numpy as np
from scipy.special import gammaln

import jaxnn
from experiments.laws.batch_norm import length
from experiments.laws.law import Predicted, Setup, Told, mean_of
from experiments.laws.networks import HiddenLayers, gradients, log_spread
from jaxnn.theory import meanfield

SIGMA_W = 1.0
REASON = "4 standard errors, and ¼ Var, for q varies too"


class Case(NamedTuple):
    """An activation after a norm: over the units if rows is None, else over so many rows."""

    activation: str
    rows: int | None

    @property
    def norm(self) -> jaxnn.blocks.RMSNorm | jaxnn.blocks.BatchNorm:
        """The plain block."""
        return jaxnn.blocks.BatchNorm() if self.rows else jaxnn.blocks.RMSNorm()

    @property
    def name(self) -> str:
        """Its name."""
        return self.activation + (f", B = {self.rows}" if self.rows else "")

    @property
    def growth(self) -> float:
        """The growth v of q, or of q (1-c), in a block; for σ_w = 1."""
        if self.rows:
            return length(self.activation, self.rows)
        with jax.enable_x64(True):
            return float(meanfield.length_map(self.activation, 1.0, 0.0, 1.0))


def cases(setup: Setup) -> list[Case]:
    """Return every case."""
    batches = [Case(name, b) for name in ("relu", "tanh") for b in getattr(setup, name)]
    units = [Case(name, None) for name in setup.rms.split()]
    return [*units, *batches]


def predict(setup: Setup) -> Told:
    """Predict the ratio from first to last layer with a skip."""
    last = setup.layers
    v = np.arange(1, last + 1)  # q[l] in units of v
    for case in cases(setup):
        ensemble = (case.activation, SIGMA_W, 0.0)
        chi = float(meanfield.stationary_chi(*ensemble, hidden=case.norm, batch=case.rows))
        s = SIGMA_W**2 / (case.growth * v)  # for a batch norm a bound: rows average out
        lag, variance = log_spread(case.activation, s, np.log(v), setup.width, normed=True)
        label = f"{case.name}: with skip"
        # The mean of a logarithm is lower; not that of a sum over many rows, which average out.
        value = power_law(chi, last) - (0.0 if case.rows else lag / 2)
        gain = float(np.sum(1 / (1 + v[:-1] / chi)))
        yield Predicted(label, value, variance / 4, REASON).about("χ", gain)


def power_law(chi: float, last: int) -> float:
    """Return ln Γ(L+χ) / (Γ(L) Γ(1+χ)), the sum of ln(1 + χ/m) over m from 1 to L-1."""
    above, below = (gammaln(v + chi) - gammaln(v) for v in (last, 1))
    return float(above - below)


def measure(setup: Setup, key: jax.Array) -> Told:
    """Measure ln ‖Δz[l]‖² after norms with a skip connection."""
    last = setup.layers
    keys = jax.random.split(key, setup.seeds)
    for case in cases(setup):
        ensemble, rows = HiddenLayers(case.activation, SIGMA_W), case.rows or 1
        of_kind = ensemble, setup.width, last, case.growth, rows
        (log_delta,) = gradients(keys, *of_kind, block=jaxnn.blocks.Residual(case.norm))
        ratio = 2 * (log_delta[:, 0] - log_delta[:, last - 1])
        yield f"{case.name}: with skip", mean_of(ratio)


SOURCE = "Doshi et al. 2021; exponent derived here"
# rms: activations; relu, tanh: rows B of the batch norms with that activation.
FULL = Setup(width=300, layers=32, seeds=12, rms="relu tanh", relu=(16, 64), tanh=(16,))
QUICK = Setup(width=150, layers=21, seeds=40, rms="tanh", relu=(16,), tanh=())
