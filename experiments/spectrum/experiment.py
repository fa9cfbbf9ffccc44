"""How are the singular values of the input-output Jacobian spread, and what does theory say?

    J = ∂z[L]/∂z[1] = F[1] F[2] ⋯ F[d],   F[l] = diag(σ′(z[l])) θ[l],   d = L-1 the depth

For every activation, kind of weights and depth, networks of equal layers of n units are drawn, and
inputs x of mean square q0. The singular values s of J are measured in the log domain, and of their
squares, the spectrum of JJᵀ, the variance relative to the square of the mean. At infinite width it
is, by free probability,

    Σ over l = 1 … d of  μ₂/μ₁² - 1 - s₁,   μ_k = E[σ′(√q[l] g)^2k],   g ~ N(0, 1)

with s₁ = -1 for Gaussian and 0 for orthogonal weights, along q[1] = σ_w² q0 + σ_b² and the length
map's q[2], q[3], …: d for linear Gaussian networks, 2d and d for relu with Gaussian and orthogonal
weights, 0 for linear orthogonal ones. Source: Pennington et al. 2017, arXiv:1711.04735.

Finite width: n values have a relative variance of n - 1 at most, so a prediction must be small
compared with n. Up to n/4 the measured one is within 15 % of it, at n it is 0.6 of it (n = 64 and
128).

`settings -> networks -> singular values -> rows -> summary, verdicts, table, chart`
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jax import lax

import jaxnn
from experiments.runs import experiment, grid, runtime, sweep
from experiments.runs.experiment import Conclusion, Experiment
from experiments.runs.store import Store
from experiments.runs.work import Work
from experiments.spectrum import report
from experiments.spectrum.report import COLUMNS
from jaxnn.network.params import Initializer
from jaxnn.texts import counted
from jaxnn.theory.quadrature import expectation

COMPARABLE = 1 / 4  # times the width: up to here a variance is compared with its prediction
CHART = "spectrum"


class SquareWeights(NamedTuple):
    """A kind of square weights, at σ_w = 1, and the relative variance of θθᵀ's spectrum, -s₁."""

    draw: Initializer
    variance: float


WEIGHTS = {
    "gaussian": SquareWeights(jaxnn.initializers.gaussian(1.0), 1.0),
    "orthogonal": SquareWeights(jaxnn.initializers.orthogonal(1.0), 0.0),
}


@dataclass(frozen=True)
class Settings(runtime.Options):
    """Singular values of the input-output Jacobian against depth, and their predicted variance."""

    depths: tuple[str, ...] = ("1:128:*2",)
    """Numbers of factors of the Jacobian, one a hidden layer."""
    activations: tuple[str, ...] = ("identity", "relu", "tanh")
    """Activations of the hidden layers, by name; identity makes a linear network."""
    weights: tuple[str, ...] = ("gaussian", "orthogonal")
    """gaussian, orthogonal."""
    sigma_w: float | None = None
    """Weights have variance σ_w²/width; by default the critical σ_w of each activation."""
    sigma_b: float = 0.0
    """Standard deviation of the biases."""
    q0: float = 1.0
    """Mean square of an input's entries."""
    width: int = 64
    """Units in every layer, input and output too."""
    examples: int = 2
    """Inputs for each network; each has a Jacobian of its own."""
    seeds: int = 10
    """Number of seeds; each draws its own weights and inputs."""
    seed: int = 0
    """The first seed."""


@dataclass(frozen=True)
class Cell(sweep.Point):
    """One draw, measured at every depth: a shallower network is the start of a deeper one."""

    activation: str
    weights: str
    seed: int


@dataclass(frozen=True)
class Plan(experiment.Plan):
    """Checked settings with everything that follows from them."""

    settings: Settings
    sigma_w: dict[str, float]  # by activation
    slopes: dict[str, np.ndarray]  # `slope_variance` by activation
    cells: tuple[Cell, ...]

    @property
    def depths(self) -> list[int]:
        """The depths, ascending."""
        return sorted(grid.integers("depths", self.settings.depths))

    @property
    def work(self) -> Work:
        """The cost of the run: some four products of n × n matrices a factor."""
        n, jacobians = self.settings.width, self.settings.examples * len(self.cells)
        flops = 8.0 * n**3 * sum(self.depths) * jacobians
        return Work(flops, 4.0 * n**2 * (self.depths[-1] + 2), "width or depths")

    def estimate(self) -> str:
        """Return the cost of the run in words."""
        return f"{counted(len(self.cells), 'cell')}, {self.work}"


def prepare(settings: Settings) -> Plan:
    """Check the settings and predict."""
    runtime.check(settings, several=("depths", "activations", "weights"))
    depths = grid.integers("depths", settings.depths)
    activations, weights = (dict.fromkeys(v) for v in (settings.activations, settings.weights))
    grid.check_cells(settings.seeds, len(activations), len(weights))
    for name in ("sigma_w", "sigma_b", "q0"):
        _check_scale(name, getattr(settings, name))
    runtime.check_known("weights", settings.weights, WEIGHTS)
    sigma_w, slopes = {}, {}
    for name in settings.activations:
        jaxnn.network.find_activation(name)
        sigma_w[name] = settings.sigma_w or _critical(name, settings.sigma_b)
        q1 = sigma_w[name] ** 2 * settings.q0 + settings.sigma_b**2
        with jax.enable_x64(True):  # squares of what float32 holds
            variances = slope_variance(name, sigma_w[name], settings.sigma_b, q1, max(depths))
        slopes[name] = np.asarray(variances, np.float64)
    return Plan(settings, sigma_w, slopes, tuple(_cells(settings)))


@partial(jax.jit, static_argnames=("activation", "depth"))
def slope_variance(
    activation: str, sigma_w: float, sigma_b: float, q1: float, depth: int
) -> jax.Array:
    """Return Σ over l = 1 … d of μ₂/μ₁² - 1 for d = 1 … depth: the slopes' part of the variance.

    μ₂/μ₁² - 1 = E[(σ′²/μ₁ - 1)²], which does not cancel where the slopes are all but equal.
    """

    def layer(q: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        mu1 = expectation(activation, q, lambda f, z, g: f.prime(z) ** 2)
        variance = expectation(activation, q, lambda f, z, g: (f.prime(z) ** 2 / mu1 - 1) ** 2)
        return jaxnn.theory.meanfield.length_map(activation, sigma_w, sigma_b, q), variance

    return jnp.cumsum(lax.scan(layer, jnp.asarray(q1, float), None, length=depth)[1])


def _check_scale(name: str, value: float | None) -> None:
    """Check a finite number; only the biases' may be zero, and only σ_w may be left open."""
    least = 0 if name == "sigma_b" else np.finfo(np.float32).tiny
    if value is not None and not least <= value < math.inf:
        wanted = ">= 0" if name == "sigma_b" else "> 0"
        if 0 < value < least:
            wanted = f">= {least:.3g}, the least that float32 has in full"
        raise ValueError(f"{name}: expected a finite number {wanted}, got {value:g}")


def _critical(activation: str, sigma_b: float) -> float:
    try:
        return float(jaxnn.theory.meanfield.critical_sigma_w(activation, sigma_b))
    except ValueError as error:
        raise ValueError(f"{error}: give --sigma-w") from None


def _cells(settings: Settings) -> Iterator[Cell]:
    """Yield the cells; seeds go slowest: an interrupted run has something of every case."""
    for seed in runtime.seeds_of(settings):
        for activation in dict.fromkeys(settings.activations):
            for weights in dict.fromkeys(settings.weights):
                yield Cell(activation, weights, seed)


_init = jax.jit(jaxnn.init, static_argnames=("weights", "biases", "stacked"))
_spectrum = jax.jit(jaxnn.spectrum)  # where z leaves its range the results are nan


def measure(plan: Plan, store: Store | None) -> tuple[list[pl.DataFrame | None], bool]:
    """Measure the cells that are missing."""
    return sweep.measure(plan, store, partial(measure_cell, plan))


def measure_cell(plan: Plan, cell: Cell) -> pl.DataFrame:
    """Return one row a Jacobian, of every depth and example of one draw.

    `log10_singular_values` are -inf for s = 0, and nan if the forward pass has left the range of
    the dtype; then, and if all are 0, `variance` is null.
    """
    settings, n = plan.settings, plan.settings.width
    key_params, key_x = jax.random.split(jax.random.key(cell.seed))
    # Layer i is the same draw at every depth and for every σ_w: one program draws for all.
    shape = jaxnn.Network((n,) * (plan.depths[-1] + 3), "identity", "regression")
    draw = {"weights": WEIGHTS[cell.weights].draw, "biases": 1.0}
    drawn = _init(shape, key_params, **draw, stacked=True)
    sigma_w, sigma_b = plan.sigma_w[cell.activation], settings.sigma_b
    first, run, _ = (jaxnn.network.Layer(sigma_w * theta, sigma_b * b) for theta, b in drawn)
    x = jax.random.normal(key_x, (settings.examples, n))
    x = x * jnp.sqrt(settings.q0 / jnp.mean(jnp.square(x), axis=1, keepdims=True))
    frames = []
    for depth in plan.depths:
        net = jaxnn.Network((n,) * (depth + 2), cell.activation, "regression")
        below, top = (jax.tree.map(itemgetter(at), run) for at in (slice(depth - 1), depth - 1))
        params = (first, below, top) if depth > 1 else (first, top)
        frames.append(_rows(plan, cell, depth, _spectrum((net, params), x)))
    return pl.concat(frames)


def _rows(plan: Plan, cell: Cell, depth: int, s: jaxnn.flow.Spectrum) -> pl.DataFrame:
    found = s.log_singular_values, s.log_mean, s.variance
    logs, log_mean, variance = (np.asarray(values, np.float64) for values in found)
    predicted = plan.slopes[cell.activation][depth - 1] + depth * WEIGHTS[cell.weights].variance
    examples = len(variance)
    frame = pl.DataFrame(
        {
            "activation": [cell.activation] * examples,
            "weights": [cell.weights] * examples,
            "depth": [depth] * examples,
            "seed": [cell.seed] * examples,
            "example": np.arange(examples),
            "log10_singular_values": (logs / np.log(10)).tolist(),
            "log10_mean": log_mean / np.log(10),
            "variance": variance,
            "predicted": [predicted] * examples,
            "comparable": [bool(predicted <= COMPARABLE * plan.settings.width)] * examples,
        }
    )
    # A J of zeros has no relative variance, nor has one that is not a number.
    known = pl.col("log10_mean").is_finite()
    return frame.with_columns(pl.when(known).then(pl.col("variance")).alias("variance"))


def conclude(plan: Plan, frames: list[pl.DataFrame | None]) -> Conclusion:
    """Compare the spectra with theory, in words and pictures."""
    from experiments.spectrum import picture  # here, for it imports Altair

    rows, missing = sweep.gathered(plan, frames)
    return Conclusion(
        rows,
        verdicts=[report.sentence(case) for case in report.cases(rows, missing)],
        figures={CHART: picture.figure(rows, subtitle(plan), missing)},
        about={"sigma_w": plan.sigma_w},
        missing=missing,
    )


def subtitle(plan: Plan) -> str:
    """Say in one line what was measured, with how many seeds and inputs."""
    settings = plan.settings
    sigma_w = ", ".join(f"{value:.4g} ({name})" for name, value in plan.sigma_w.items())
    return (
        f"width {settings.width}, σ_w {sigma_w}, σ_b {settings.sigma_b:g}, inputs of mean square "
        f"{settings.q0:g}, {runtime.dtype_name()}, untrained; "
        f"{counted(settings.seeds, 'seed')} from {settings.seed}, "
        f"{counted(settings.examples, 'input')} each"
    )


EXPERIMENT = Experiment(
    name="spectrum",
    settings=Settings,
    columns=COLUMNS,
    figures=(CHART,),
    prepare=prepare,
    measure=measure,
    conclude=conclude,
    table=report.table,
    title="variance of s² / mean s², s the singular values, by depth",
    compare=report.compare,
)
