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

Finite width: n values have a relative variance of n - 1 at most, so what is predicted must be small
beside n. Up to n/4 the measured one is within 15 % of it, at n it is 0.6 of it (n = 64 and 128).

`settings -> networks -> singular values -> rows -> summary, verdicts, table, chart`
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jax import lax
from rich.console import Console

import jaxnn
from experiments.pages import charts, report
from experiments.runs import grid, runtime, store, sweep
from experiments.spectrum import chart as spectrum_chart
from experiments.spectrum import page as spectrum_page
from experiments.spectrum import report as spectrum_report
from jaxnn.layers import Initializer
from jaxnn.quadrature import mean
from jaxnn.spectrum import jacobian_factors, product_spectrum

COMPARABLE = 1 / 4  # times the width: up to here a variance is compared with its prediction

CHART = "spectrum"
FILES = (*charts.names(CHART), report.NAME)


class Weights(NamedTuple):
    """A kind of square weights, at σ_w = 1, and the relative variance of θθᵀ's spectrum, -s₁."""

    draw: Initializer
    variance: float


WEIGHTS = {
    "gaussian": Weights(jaxnn.gaussian(1.0), 1.0),
    "orthogonal": Weights(jaxnn.orthogonal(1.0), 0.0),
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
    """How many seeds; each draws its own weights and inputs."""
    seed: int = 0
    """The first seed."""
    out: Path = field(default=Path("runs/spectrum"), metadata=runtime.HOW)
    """The folder for the results. The same command again goes on with a run that was stopped."""


@dataclass(frozen=True)
class Cell:
    """One draw, measured at every depth: a shallower network is the start of a deeper one."""

    activation: str
    weights: str
    seed: int

    @property
    def key(self) -> str:
        """A name of its own among the cells of a run."""
        return f"{self.activation}-{self.weights}-{self.seed}"

    @property
    def shown(self) -> str:
        """For the view."""
        return f"{self.activation}, {self.weights}".ljust(24)


@dataclass(frozen=True)
class Plan:
    """Checked settings with everything that follows from them, by activation."""

    settings: Settings
    sigma_w: dict[str, float]
    slopes: dict[str, np.ndarray]  # of `slope_variance`
    cells: tuple[Cell, ...]

    @property
    def depths(self) -> list[int]:
        """The depths, ascending."""
        return sorted(grid.integers("depths", self.settings.depths))

    @property
    def what(self) -> dict[str, object]:
        """What the run is: one with other settings is another run."""
        return {"experiment": "spectrum", "settings": grid.as_dict(self.settings)}

    def estimate(self) -> str:
        """What the run takes, in words: four products or so of n × n matrices a factor."""
        n, jacobians = self.settings.width, self.settings.examples * len(self.cells)
        flops = 8.0 * n**3 * sum(self.depths) * jacobians
        memory = 4 * n**2 * (self.depths[-1] + 2)
        return (
            f"{len(self.cells)} cells, {flops:.2g} floating-point operations, "
            f"{memory / 1e6:.3g} MB at most at a time"
        )


def prepare(settings: Settings) -> Plan:
    """Checks the settings and predicts.

    Raises:
        ValueError, TypeError, OSError: one sentence; nothing has been written then.
    """
    runtime.check(
        settings,
        several=("depths", "activations", "weights"),
        counts=("width", "examples", "seeds"),
    )
    depths = grid.integers("depths", settings.depths)
    for name in ("sigma_w", "sigma_b", "q0"):
        _check_scale(name, getattr(settings, name))
    for name in settings.weights:
        if name not in WEIGHTS:
            known = ", ".join(WEIGHTS)
            raise ValueError(f"weights: there is no {name!r}; choose one of {known}")
    sigma_w, slopes = {}, {}
    for name in settings.activations:
        jaxnn.find_activation(name)
        sigma_w[name] = settings.sigma_w or _critical(name, settings.sigma_b)
        q1 = sigma_w[name] ** 2 * settings.q0 + settings.sigma_b**2
        variances = slope_variance(name, sigma_w[name], settings.sigma_b, q1, max(depths))
        slopes[name] = np.asarray(variances, np.float64)
    return Plan(settings, sigma_w, slopes, tuple(_cells(settings)))


def _check_scale(name: str, value: float | None) -> None:
    """Of these only the biases may be zero, and only σ_w may be left open."""
    least = 0 if name == "sigma_b" else np.finfo(np.float32).tiny
    if value is not None and not least <= value < math.inf:
        wanted = ">= 0" if name == "sigma_b" else "> 0"
        raise ValueError(f"{name}: expected a finite number {wanted}, got {value:g}")


def _critical(activation: str, sigma_b: float) -> float:
    try:
        return float(jaxnn.meanfield.critical_sigma_w(activation, sigma_b))
    except ValueError as error:
        raise ValueError(f"{error}: give --sigma-w") from None


def _cells(settings: Settings) -> Iterator[Cell]:
    """The cells; seeds go slowest, so that an interrupted run has something of every case."""
    for seed in range(settings.seed, settings.seed + settings.seeds):
        for activation in dict.fromkeys(settings.activations):
            for weights in dict.fromkeys(settings.weights):
                yield Cell(activation, weights, seed)


@partial(jax.jit, static_argnames=("activation", "depth"))
def slope_variance(
    activation: str, sigma_w: float, sigma_b: float, q1: float, depth: int
) -> jax.Array:
    """Σ over l = 1 … d of μ₂/μ₁² - 1 for d = 1 … depth: what the slopes add to the variance.

    μ₂/μ₁² - 1 = E[(σ′²/μ₁ - 1)²], which does not cancel where the slopes are all but equal.
    """

    def layer(q: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        mu1 = mean(activation, q, lambda f, z, g: f.prime(z) ** 2)
        variance = mean(activation, q, lambda f, z, g: (f.prime(z) ** 2 / mu1 - 1) ** 2)
        return jaxnn.meanfield.length_map(activation, sigma_w, sigma_b, q), variance

    return jnp.cumsum(lax.scan(layer, jnp.asarray(q1, float), None, length=depth)[1])


def run(plan: Plan, kept: store.Store | None) -> bool:
    """Measures the cells that are missing, prints table and verdicts, fills the folder.

    Returns:
        Whether it finished.

    Raises:
        OSError: the disk; the sentence names the file.
    """
    started = datetime.now(UTC)
    frames, finished = sweep.measure(kept, plan.cells, partial(measure, plan), plan.settings.quiet)
    if kept is None or not frames:
        return finished
    rows = pl.concat(frames)
    cases = spectrum_report.by_case(rows)
    verdicts = [spectrum_report.sentence(case) for case in cases]
    kept.write_rows(rows)
    words = {spectrum_report.name_of(case): spectrum_report.span(case) for case in cases}
    summary = spectrum_report.summary(rows)
    charts.save(spectrum_chart.draw(rows, summary, words, subtitle(plan)), kept.folder, CHART)
    found = {"finished": finished, "verdicts": verdicts, "sigma_w": plan.sigma_w}
    about = runtime.provenance(started, **found)
    report.write(
        kept.folder, spectrum_page.page(rows, subtitle(plan)), {"what": kept.what, **about}
    )
    kept.write_run(about)
    Console().print(spectrum_report.table(summary))
    print(*verdicts, f"in {kept.folder}: {', '.join((store.ROWS, store.RUN, *FILES))}", sep="\n")
    return finished


_init = jax.jit(jaxnn.init, static_argnames=("weights", "biases", "stacked"))
_factors = jax.jit(jacobian_factors)


def measure(plan: Plan, cell: Cell) -> pl.DataFrame:
    """One row a Jacobian, of every depth and example of one draw.

    Columns: activation, weights, depth, seed, example; log10_singular_values, the list of log₁₀ s,
    descending, -inf for s = 0, nan where the forward pass has left the range of the dtype;
    log10_mean, of s²; variance, that of s² relative to mean², null where there is none; predicted,
    what it is at infinite width; comparable, whether the width is large enough for that.
    """
    settings, n = plan.settings, plan.settings.width
    key_params, key_x = jax.random.split(jax.random.key(cell.seed))
    # Layer i is the same draw at every depth and for every σ_w: one program draws for all.
    shape = jaxnn.Network((n,) * (plan.depths[-1] + 3), "identity", "regression")
    draw = {"weights": WEIGHTS[cell.weights].draw, "biases": 1.0}
    theta, b = _init(shape, key_params, **draw, stacked=True)[0]
    theta, b = plan.sigma_w[cell.activation] * theta, settings.sigma_b * b
    x = jax.random.normal(key_x, (settings.examples, n))
    x = x * jnp.sqrt(settings.q0 / jnp.mean(jnp.square(x), axis=1, keepdims=True))
    frames = []
    for depth in plan.depths:
        net = jaxnn.Network((n,) * (depth + 2), cell.activation, "regression")
        hidden, top = jaxnn.Layer(theta[:depth], b[:depth]), jaxnn.Layer(theta[depth], b[depth])
        frames.append(_rows(plan, cell, depth, product_spectrum(_factors(net, (hidden, top), x))))
    return pl.concat(frames)


def _rows(plan: Plan, cell: Cell, depth: int, s: jaxnn.Spectrum) -> pl.DataFrame:
    logs, log_mean, variance = (np.asarray(values, np.float64) for values in s)
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
    # A J of zeros has no relative variance, and what is not a number has none either.
    known = pl.col("log10_mean").is_finite()
    return frame.with_columns(pl.when(known).then(pl.col("variance")).alias("variance"))


def subtitle(plan: Plan) -> str:
    """What was measured, with how many seeds and examples."""
    settings = plan.settings
    sigma_w = ", ".join(f"{value:.4g} ({name})" for name, value in plan.sigma_w.items())
    return (
        f"width {settings.width}, σ_w {sigma_w}, σ_b {settings.sigma_b:g}, inputs of mean square "
        f"{settings.q0:g}, {runtime.dtype_name()}, untrained; {settings.seeds} seeds from "
        f"{settings.seed}, {settings.examples} inputs each"
    )
