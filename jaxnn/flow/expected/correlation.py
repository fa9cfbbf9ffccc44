"""Correlation lengths: over how many layers a random network forgets how its examples correlate.

    v[l] = s[l]², of a wide twin     mean (z[l] - mean over examples of z[l])² / mean z[l]²
    |v[l] - v*| ~ e^(-l/ξ)           v = (1 - 1/B) (1 - c) for B equally long examples

Neither v* nor c* need be known. Two twins whose draws differ in the lower third of the layers and
are the same ones above have two paths, v[l] and v[l] + δ[l]. Above the lower third all that drives
them apart is what they were apart already, so

    |δ[l]| ~ e^(-l/ξ)

whatever the draws are, in order (c* = 1) and in chaos (c* < 1). For positions, such as tokens, v is
that of the positions of an example around their mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, PyTree

from ...arrays.compiled import compiled
from ...arrays.rows import is_float
from ...models import Cuts, Model, Program
from ...theory.twin.wide import Wide, chain_of, twin_of
from ..formats.ranges import NOISE
from ..measure.chain_flow import chain_flow
from ..measure.theory_flow import replicas_of
from ..record.flow import FlowOptions
from ..record.loss import random_loss
from .of_torch import TorchModel

DRAWS = 16  # pairs of twins
UNITS = 384  # of the replicas of a twin together; LAPACK takes 30 times as long for 768
FEWEST = 6  # layers
LEAST = 1000  # times eps: of δ/v, below which it may be rounding
SPREADS = "log_spread", "log_spread_within"
OPTIONS = FlowOptions(examples=True, tangent=False, memory="all")


@dataclass(frozen=True)
class CorrelationLength:
    """Layers over which a network forgets by a factor of e; `str` says it in a sentence.

    examples: ξ of the examples; inf if nothing is forgotten, nan if it cannot be measured, as with
        one example, or where nothing but rounding is left.
    examples_error: its standard error, of the draws; nan if ξ is not finite.
    tokens, tokens_error: likewise of the positions of an example; nan without any.
    layers: the first and the last of the layers that were compared, counted from 1.
    """

    examples: float
    examples_error: float
    tokens: float
    tokens_error: float
    layers: tuple[int, int]

    def __str__(self) -> str:
        said = [
            f"{name} {_in_words(length, error)}"
            for name, length, error in (
                ("examples", self.examples, self.examples_error),
                ("tokens", self.tokens, self.tokens_error),
            )
            if name == "examples" or not np.isnan(length)
        ]
        return f"Correlation length of {' and of '.join(said)}."


def _in_words(length: float, error: float) -> str:
    if np.isnan(length):
        return "not known"
    if np.isinf(length):
        return "infinite, or too long to tell"
    return f"{length:.3g} ± {error:.1g} layers"


def correlation_length(
    model: Model, xs: PyTree, *, each: str = "batch", cuts: Cuts = None, key: Any = None
) -> CorrelationLength:
    """Return the layers over which the wide twin forgets how its examples, or tokens, correlate.

    With c[l] the correlation of two examples, c[l] - c* ~ e^(-l/ξ). A network much deeper than ξ
    tells nothing of its inputs: trained it is up to some 6 ξ. ξ is the mean over the upper two
    thirds of the layers, without the last, for random weights of these sizes. It is that of the
    slowest of all that the draws of lower layers change, which may also be the examples' length;
    where c[l] goes by a power law, as after skips, it grows with depth.

    For model, xs, each and cuts see `jaxnn.gradient_flow`.

    Args:
        key: of the draws; that of seed 0 by default, and none of PyTorch.

    Raises:
        TypeError: something that is no model, or traced arrays.
        ValueError: fewer than six layers, or a layer without a twin.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> layers = [(jnp.dot, jnp.eye(8))] * 6
        >>> xs = jax.random.normal(jax.random.key(0), (8, 8))
        >>> jaxnn.theory.correlation_length(layers, xs).examples > 10  # of linear layers
        True

    Source: Schoenholz et al. 2017, arXiv:1611.01232.
    """
    program = Program.of(**locals())
    if program.of_torch:
        return _of_module(TorchModel(program, key))
    net, params, xs = chain_of(program, "a correlation length")
    layers = _compared(net.names)
    twin = twin_of(net, params, replicas_of(params, UNITS))
    key = jax.random.key(0) if key is None else key
    floats = filter(is_float, jax.tree.leaves(params))
    eps = max(float(jnp.finfo(v.dtype).eps) for v in floats)  # type: ignore[no-untyped-call]
    spreads = _spreads(twin, params, xs, jax.random.split(key, DRAWS), layers[0])
    return _length_of(spreads, eps, layers)


def _of_module(model: TorchModel) -> CorrelationLength:
    flow = model.flow
    layers = _compared(flow.names)
    twin = model.twin(UNITS)
    pairs = [[twin.flow(seed, redrawn) for redrawn in (0, layers[0])] for seed in range(DRAWS)]
    spreads = [np.array([[getattr(v, name) for v in pair] for pair in pairs]) for name in SPREADS]
    eps = float(jnp.finfo(flow.dtype).eps)  # type: ignore[no-untyped-call]
    return _length_of(spreads, eps, layers)


def _compared(names: Sequence[str]) -> tuple[int, int]:
    """Return the first and the last of the layers that are compared, counted from 1."""
    if len(names) < FEWEST:
        raise ValueError(f"net: expected at least {FEWEST} layers, got {len(names)}")
    return len(names) // 3 + 1, len(names) - 1


def _length_of(
    spreads: Sequence[ArrayLike], eps: float, layers: tuple[int, int]
) -> CorrelationLength:
    """Return the correlation lengths that pairs of twins show."""
    # spreads: ln of those of examples and of positions, (D, 2, L); layers: from 1, those above the
    # lower third, in which draws are the same ones, without the top.
    first, last = layers
    of_examples, of_tokens = (
        _length(np.exp(2 * np.asarray(log, np.float64)[..., first - 1 : last]), eps)
        for log in spreads
    )
    return CorrelationLength(*of_examples, *of_tokens, layers)


@compiled
def _spreads(twin: Wide, params: Any, xs: Any, keys: Array, apart: int) -> tuple[Array, ...]:
    """Return the spreads of two twins for each key."""
    loss_key = jax.random.fold_in(keys[0], 1)

    def of(key: Array, apart: Array) -> tuple[Any, ...]:
        drawn = twin, twin.with_key(params, key, apart)
        flow = chain_flow(Program(drawn, xs, loss_key, random_loss), OPTIONS)
        return tuple(getattr(flow, name) for name in SPREADS)

    of_draws: tuple[Array, ...] = lax.map(
        lambda key: lax.map(partial(of, key), jnp.array([0, apart], jnp.int32)), keys
    )
    return of_draws


def _length(v: np.ndarray, eps: float) -> tuple[float, float]:
    """Return the length over which pairs of paths v, (D, 2, l), come together, with its error."""
    apart, size = np.abs(v[:, 1] - v[:, 0]), v.mean((0, 1))
    known = (apart.mean(0) > LEAST * eps * size) & (size > (NOISE * eps) ** 2)
    end = len(known) - 1 if known.all() else int(np.argmin(known)) - 1
    if end < 1:
        return np.nan, np.nan

    def rate(distances: np.ndarray) -> float:
        return float(np.log(distances[:, end].sum() / distances[:, 0].sum())) / end

    whole, count = rate(apart), len(apart)
    without = [rate(np.delete(apart, i, axis=0)) for i in range(count)]  # jackknife
    error = np.std(without) * (count - 1) ** 0.5
    return (-1 / whole, error / whole**2) if whole < 0 else (np.inf, np.nan)
