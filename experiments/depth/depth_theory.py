"""Mean-field theory of a depth sweep, and how far a finite width strays from it."""

from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

import jaxnn
from experiments.learning.kinds import kind_of
from experiments.learning.networks import Networks
from experiments.runs.ahead import Ahead
from jaxnn.network.blocks import DENSE, rows_meet
from jaxnn.theory.finite_width import has_band
from jaxnn.theory.several_examples import can_be_drawn

# σ_w² of the schemes whose entries are independent with mean zero, where fan_in = fan_out.
VARIANCES = {"glorot": 1, "xavier": 1, "lecun": 1, "he": 2, "kaiming": 2}


def sigma_w(weights: str, factor: float, width: int) -> float | None:
    """Return the σ_w of an initialisation's square hidden layers; None if theory has none.

    Entries of orthogonal weights have the variance of σ_w = 1.
    """
    family = weights.partition("_")[0]
    if family in VARIANCES:
        return float(np.sqrt(VARIANCES[family]))
    if weights == "normal":  # jax.nn.initializers.normal() has a deviation of 0.01
        return 0.01 * float(np.sqrt(width))
    if weights in ("zeros", "ones", "uniform", "truncated_normal"):
        return None
    return factor


def predict(rows: pl.DataFrame) -> pl.DataFrame:
    """Return one row a hidden layer of the deepest network of each case that has a σ_w.

    Columns: activation, label, layer; log10_gain, log₁₀ √χ, null for the last one;
    log10_delta_z, relative to the last hidden layer; bias, the effect of finite width on it, and
    sd, its standard deviation over draws, of one example, both null if theory is silent; error,
    the standard error of the bias, not 0 where it is drawn for lack of a formula;
    log10_mean_square_z; signal_bias and signal_drift, the effect of finite width on it for one
    example and the most for examples that differ, null if there is no law, and -inf to inf where
    the law says nothing; log10_spread, null if it was not measured or theory is silent. The signal
    and its spread start from the first layer's as measured. What is measured is the mean over
    examples of log₁₀ ‖Δz‖, which has the bias of one example.
    """
    frames = []
    for case in rows.filter(pl.col("sigma_w") > 0).partition_by("activation", "label"):
        first = case.filter(pl.col("layer") == 1)["log10_mean_square_z"]
        q1 = 10 ** float(np.median(first))
        if 0 < q1 < np.inf:
            theory = _of_case(case, q1)
            frame = _rows(case, theory)
            spread = _log10_spread(case, np.asarray(theory.q, np.float64))
            frames.append(frame.with_columns(pl.Series("log10_spread", spread, pl.Float64)))
    if frames:
        return pl.concat(frames)
    empty = _rows(rows.clear(), _Theory(*7 * [np.zeros(0)]))
    return empty.with_columns(pl.lit(None, pl.Float64).alias("log10_spread"))


def _of_case(case: pl.DataFrame, q1: float) -> "_Theory":
    """The theory of a case; where no formula has the band of finite width, it is drawn."""
    depth = int(case["depth"].to_numpy().max())
    activation, width, hidden, batch, weights = (
        case[name][0] for name in ("activation", "width", "hidden", "batch", "weights")
    )
    of, sigma_b = (case[name][0] for name in ("sigma_w", "sigma_b"))
    numbers = of, sigma_b, max(q1 - sigma_b**2, 0) / of**2
    with jax.enable_x64(True):  # q may grow or shrink beyond the range of float32
        program = _program(depth, activation, width, hidden, batch, weights)
        theory: _Theory = program(*map(np.float64, numbers))
    block: Any = kind_of(hidden).of(depth)
    if weights == "orthogonal" or not can_be_drawn(block) or not np.isnan(theory.sd).any():
        return theory
    with np.errstate(all="ignore"):  # of states beyond the range
        band = jaxnn.theory.batch_band(activation, *numbers, int(width), depth, 1, hidden=block)
    return theory._replace(bias=band.bias, sd=band.sd, error=band.error)


def prepare(networks: Networks, hidden: str) -> None:
    """Begin to compile what `predict` calls for these networks, if inside `ahead.compiling`."""
    of = networks
    if not sigma_w(of.weights.name, of.weights.factor, of.width):
        return
    names = (of.net.activation_name, of.width, hidden, of.batch, of.weights.name)
    program = _program(of.depth, *names)
    with jax.enable_x64(True):
        program.prepare(*[np.float64(1)] * 3)


def _program(
    depth: int, activation: str, width: int, hidden: str, batch: int, weights: str
) -> Ahead:
    """Return `_mean_field` of a case."""
    block: Any = kind_of(hidden).of(depth)
    # Orthogonal weights lack the spread of independent entries.
    banded = has_band(block) and weights != "orthogonal"
    rows = int(batch) if rows_meet(block) else None
    return _mean_field(activation, int(width), depth, block, rows, banded)


class _Theory(NamedTuple):
    q: jax.typing.ArrayLike
    log_delta: jax.typing.ArrayLike
    bias: jax.typing.ArrayLike  # nan like sd where it is not known
    sd: jax.typing.ArrayLike
    error: jax.typing.ArrayLike
    signal_bias: jax.typing.ArrayLike  # of ln q, of one example, and of many that differ
    signal_drift: jax.typing.ArrayLike


@cache
def _mean_field(
    activation: str,
    width: int,
    depth: int,
    hidden: jaxnn.blocks.Block,
    batch: int | None,
    banded: bool,
) -> Ahead:
    """Compile (σ_w, σ_b, q0) -> the theory of every hidden layer."""

    def mean_field(sigma_w: jax.Array, sigma_b: jax.Array, q0: jax.Array) -> _Theory:
        of = (activation, sigma_w, sigma_b, q0)
        log_delta = jaxnn.theory.meanfield.log_delta(*of, depth, hidden=hidden, batch=batch)
        q = jaxnn.theory.meanfield.lengths(*of, depth, hidden=hidden, batch=batch)
        unknown = jnp.full(depth, jnp.nan)
        band, of_signal = jaxnn.theory.meanfield.Band(unknown, unknown), (unknown, unknown)
        if banded:
            band = jaxnn.theory.meanfield.log_delta_band(*of, width, depth, hidden=hidden)
        if banded and hidden == DENSE:
            low, sd = jaxnn.theory.meanfield.lengths_band(*of, width, depth)
            # A mean over examples that differ varies less, and so its logarithm is less low.
            high = low + sd**2 / 2
            of_signal = (
                jnp.where(jnp.isnan(low), -jnp.inf, low),
                jnp.where(jnp.isnan(high), jnp.inf, high),
            )
        return _Theory(q, log_delta, band.bias, band.sd, jnp.zeros(depth), *of_signal)

    return Ahead(jax.jit(mean_field))


def _rows(case: pl.DataFrame, theory: _Theory) -> pl.DataFrame:
    q, log_delta, bias, sd, error, *of_signal = (np.asarray(v, np.float64) for v in theory)
    layers, decade = len(q), np.log(10)
    gain = np.append(-np.diff(log_delta), np.full(min(layers, 1), np.nan))
    with np.errstate(divide="ignore"):
        frame = pl.DataFrame(
            {
                "layer": np.arange(1, layers + 1),
                "log10_gain": gain / decade,
                "log10_delta_z": log_delta / decade,
                "error": error / decade,
                "bias": bias / decade,
                "sd": sd / decade,
                "log10_mean_square_z": np.log10(q),
                "signal_bias": of_signal[0] / decade,
                "signal_drift": of_signal[1] / decade,
            }
        )
    names = ("activation", "label")
    frame = frame.select(
        *(pl.lit(case[name][0] if layers else "").alias(name) for name in names), pl.all()
    )
    return frame.with_columns(pl.col("bias", "sd", "signal_bias", "signal_drift").fill_nan(None))


def _log10_spread(case: pl.DataFrame, q: np.ndarray) -> np.ndarray | list[None]:
    """Return log₁₀ of the spread of a batch whose examples correlate alike, s² = (1 - 1/B)(1 - c).

    c[l] follows the correlation map from the first layer's, which is the measured spread's.
    """
    names = ("activation", "sigma_w", "sigma_b", "hidden", "batch")
    activation, of, sigma_b, hidden, batch = (case[name][0] for name in names)
    block = kind_of(hidden).of(len(q))
    first = case.filter(pl.col("layer") == 1)["log10_spread"].drop_nulls().to_numpy()
    measured = float(np.median(first)) if len(first) else np.nan
    if not np.isfinite(measured) or rows_meet(block):
        return [None] * len(q)
    share = 1 - 1 / int(batch)
    with jax.enable_x64(True):
        c = _correlations(activation, of, sigma_b, q, 1 - 100**measured / share, block)
    apart = np.maximum(1 - np.asarray(c), 0)
    # Closer to 1 the numbers of the map itself are rounding.
    return np.where(apart > 1e-13, 0.5 * np.log10(np.maximum(share * apart, 1e-300)), np.nan)


@partial(jax.jit, static_argnames=("activation", "hidden"))
def _correlations(
    activation: str,
    sigma_w: float,
    sigma_b: float,
    q: jax.Array,
    c1: float,
    hidden: jaxnn.blocks.Block,
) -> jax.Array:
    def up(c: jax.Array, q: jax.Array) -> tuple[jax.Array, jax.Array]:
        above = jaxnn.theory.meanfield.correlation_map(
            activation, sigma_w, sigma_b, q, c, hidden=hidden
        )
        return jnp.clip(above, -1, 1), c

    return jax.lax.scan(up, jnp.asarray(c1, float), q)[1]
