"""Law 13: with a skip connection ‖Δz‖² grows by 1 + w a block: if α = 1/√L, by e^κ at any depth.

z′ = z + α σ(z) θ, of L blocks. With w = α² σ_w² E[σ′(√q g)²] and q′ = q + α² σ_w² E[σ(√q g)²]

    E‖Δz[1]‖² / E‖Δz[L+1]‖² = Π (1 + w[l])

relu, α = 1: (1+κ)^L, κ = σ_w²/2, exponential still. relu, α = 1/√L: (1+κ/L)^L, which tends to e^κ
at any depth, and α = 1/L to 1. tanh and erf, α = 1: q grows like l, w falls like 1/√q, and the
logarithm grows like √L only. The correlation of two inputs follows q and q c alike. Source: Yang &
Schoenholz 2017, arXiv:1712.08969, whose blocks have a second matrix: this is theirs with σ_w = 1
and the library's σ_w for their σ_v. 1/√L: Hayou et al. 2021, arXiv:2010.12859.

At a finite width the mean of ln ‖Δz‖² is lower by half of what each layer adds to its variance, the
lag of `finite_width.py`. So is that of ln ‖z‖²: a block multiplies ‖z‖² by 1 + A on average, A =
α² σ_w² E[σ²]/q, and given the mean m of σ² over the units by a factor of variance (4A + 2A²)/n
over (1+A)². Given ‖z‖², m varies by (E[σ⁴] - E[σ²]² - 2q² f′²)/n, f(q) = E[σ²], for the covariance
of σ² and z² is 2q² f′.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxnn
from experiments.laws.finite import around, derivatives, moments
from experiments.laws.law import Predicted, Setup, Told, mean_of
from experiments.laws.networks import HiddenLayers, correlations, gradients, log_spread, signals
from jaxnn.theory import meanfield

RELU, WIDE = HiddenLayers("relu", math.sqrt(2)), HiddenLayers("relu", 2.0)  # κ = 1 and 2
FIELDS = ("log_delta", "log_mean_square")
C0 = 0.5  # correlation of the two inputs
MORE = 0.01  # of α² σ_w², for the change of each number that it makes
LEFT_OUT = 2 / 3  # of the bias, by which the derived one is off at most; see `finite_width.py`
REASON = "4 standard errors, and ⅔ of the bias of a mean of logarithms"
ROOT, INVERSE = "relu, α = 1/√L", "relu, α = 1/L"


class Case(NamedTuple):
    """L residual blocks of one kind, with α = L^-power."""

    ensemble: HiddenLayers
    power: float
    blocks: int

    @property
    def alpha(self) -> float:
        """α."""
        return float(self.blocks**-self.power)

    @property
    def block(self) -> jaxnn.blocks.Residual:
        """The library's block."""
        return jaxnn.blocks.Residual(scale=self.alpha)


def cases(setup: Setup) -> list[tuple[str, Case]]:
    """Return the series and its case."""
    kinds = (
        ("relu, α = 1", RELU, 0.0, setup.relu),
        ("tanh, α = 1", HiddenLayers("tanh", 1.0), 0.0, setup.tanh),
        (ROOT, WIDE, 0.5, setup.root),
        (INVERSE, WIDE, 1.0, setup.inverse),
        ("erf, α = 1", HiddenLayers("erf", 1.0), 0.0, setup.erf),
    )
    return [
        (name, Case(ensemble, power, blocks))
        for name, ensemble, power, depths in kinds
        for blocks in depths
    ]


def predict(setup: Setup) -> Told:
    """Predict the logarithms of gradient and length, and the correlation of two inputs."""
    n = setup.width
    for name, case in cases(setup):
        label, layers = f"{name}, L = {case.blocks}", case.blocks + 1
        # The same inputs to the first block, and its α² σ_w² larger.
        more = case.ensemble._replace(sigma_w=case.ensemble.sigma_w * math.sqrt(1 + MORE))
        of_both = (case.ensemble, 1.0), (more, 1 / (1 + MORE))
        q, others = (
            np.asarray(meanfield.lengths(*ensemble, q0, layers, hidden=case.block))
            for ensemble, q0 in of_both
        )
        log_delta, other = (
            np.asarray(meanfield.log_delta(*ensemble, q0, layers, hidden=case.block))
            for ensemble, q0 in of_both
        )
        ratio = 2 * (log_delta[0] - log_delta)
        s = (case.alpha * case.ensemble.sigma_w) ** 2
        lag, _ = log_spread(case.ensemble.activation, s, np.log(q), n)
        length, longer = (math.log(v[-1] / v[0]) for v in (q, others))
        for what, value, larger, lower in (
            ("gradient", float(ratio[-1]), 2 * float(other[0]), lag / 2),
            ("length", length, longer, lag_of_length(case, q, n) / 2),
        ):
            yield Predicted(f"{label}: {what}", value - lower, LEFT_OUT * lower, REASON).about(
                "α² σ_w²", (larger - value) / MORE
            )
        if case.ensemble.activation == "erf":
            c, others = (
                np.asarray(meanfield.paths(*ensemble, q0, C0, layers, hidden=case.block).c)
                for ensemble, q0 in of_both
            )
            value, reason = float(c[-1]), "4 standard errors, and 2/n for the finite width"
            gain = float(others[-1] - value) / MORE
            yield Predicted(f"{label}: c", value, 2 / n, reason).about("α² σ_w²", gain)


def lag_of_length(case: Case, q: np.ndarray, n: int) -> float:
    """Return twice the bias of ln q[L+1]/q[1], positive; q[1] … q[L+1] of infinite width."""
    q = q[:-1]
    square, fourth = moments(case.ensemble.activation, around(q))
    first, _ = derivatives(square, q)
    own = fourth[0] - square[0] ** 2 - 2 * (q * first) ** 2
    s = (case.alpha * case.ensemble.sigma_w) ** 2 / q
    a = s * square[0]
    alone = (4 * a + 2 * a**2 + s**2 * own) / (1 + a) ** 2
    return float(np.sum(alone)) / n


def measure(setup: Setup, key: jax.Array) -> Told:
    """Measure gradients from a random cotangent, and the two signals of erf."""
    n = setup.width
    keys = jax.random.split(key, setup.seeds)
    ones = jnp.ones(n)
    other = ones.at[1::2].set(-1.0)
    x = jnp.stack([ones, C0 * ones + math.sqrt(1 - C0**2) * other])
    for name, case in cases(setup):
        of_kind, label = (case.ensemble, n, case.blocks + 1), f"{name}, L = {case.blocks}"
        log_delta, square = gradients(keys, *of_kind, block=case.block, fields=FIELDS)
        ratios = 2 * (log_delta[:, :1] - log_delta)
        yield f"{label}: gradient", mean_of(ratios[:, case.blocks])
        yield f"{label}: length", mean_of(square[:, case.blocks] - square[:, 0])
        if case.ensemble.activation == "erf":
            zs = signals(keys, case.ensemble, case.blocks + 1, x, block=case.block)
            c = np.stack([correlations(z)[:, 0] for z in zs])
            yield f"{label}: c", mean_of(c[:, -1])


SOURCE = "Yang & Schoenholz 2017"
# Blocks of relu and tanh with α = 1, of 1/√L, 1/L, and of erf.
FULL = Setup(
    width=300, seeds=20, relu=(20,), tanh=(50,), root=(10, 40, 100), inverse=(50,), erf=(100,)
)
QUICK = Setup(width=150, seeds=60, relu=(20,), tanh=(), root=(20,), inverse=(), erf=(20,))
