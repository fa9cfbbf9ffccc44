"""Theory beside a measurement: the flow of the network's wide twin, with its errors.

    net -> its twin -> flows of several draws, one compiled program -> their mean and its error

Draws are independent of each other, so that what they differ by is the error of their mean; within
one the replicas share every covariance. Draws are added until the error of the gradient over the
whole network is as small as was asked for.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, PyTree

from ...arrays.compiled import compiled
from ...chain.from_network import as_chain
from ...models import Program
from ...network.checks import dtype_of
from ...network.network import Network
from ...theory.twin.wide import twin_of
from ..record.flow import Flow, FlowOptions
from ..record.loss import LossOfTop
from .chain_flow import chain_flow

LN10 = float(np.log(10))
GOAL = 0.02  # decades over the network
RELATIVE = 1e-3  # of these decades, where they are many
UNITS = 256  # at least, of the replicas of a draw together
FEWEST, MOST = 2, 16  # replicas
DRAWS = 4  # at a time
MOST_DRAWS = 64
AS_SQUARES = {"log_mean_square": 1, "log_gain": 0}  # the power that is averaged; 2 of others


def theory_of(goal: float, program: Program, options: FlowOptions) -> Flow:
    """Return the mean of flows of a network's wide twin, known to so many decades in all."""
    net, params = program.model
    if isinstance(net, Network):
        loss = None if program.cotangent is not None else LossOfTop(net, program.loss)
        program = program.but(xs=jnp.asarray(program.xs, dtype_of(params)), loss=loss)
        net, params = as_chain(net, params)
    twin = twin_of(net, params, replicas_of(params))
    given = program.but(model=(twin, params)), options._replace(entries=False)
    key = jax.random.key(0)

    def draws(count: int) -> Flow:
        fresh = jax.random.fold_in(key, count) if count else key
        several: Flow = _draws(*given, jax.random.split(fresh, DRAWS))
        return several

    return averaged(goal, draws, twin.replicas)


def averaged(goal: float, draws: Callable[[int], Flow], replicas: int) -> Flow:
    """Return the mean of flows of draws, as many as an error of so many decades takes."""
    several = draws(0)
    if isinstance(several.log_delta, jax.core.Tracer):
        return _mean(several, replicas, jnp)
    # From here on NumPy: of JAX each operation on each shape would be a program to compile.
    several = jax.tree.map(np.asarray, several)
    while _is_off(several, goal):
        more = draws(len(several.log_delta))
        several = jax.tree.map(lambda *v: np.concatenate(v), several, more)
    with np.errstate(all="ignore"):  # of sizes that are zero or not finite
        theory: Flow = jax.tree.map(jnp.asarray, _mean(several, replicas, np))
    return theory


def replicas_of(params: PyTree, units: int = UNITS) -> int:
    """Return how many replicas have so many units together, in a layer of the usual width."""
    return replicas_for([v.shape[-1] for v in jax.tree.leaves(params) if jnp.ndim(v) > 1], units)


def replicas_for(widths: Sequence[int], units: int = UNITS) -> int:
    """Return how many replicas have so many units together, for layers of these widths."""
    return int(np.clip(-(-units // int(np.median(widths or [1]))), FEWEST, MOST))


@compiled
def _draws(program: Program, options: FlowOptions, keys: Array) -> Flow:
    twin, params = program.model

    def of(key: Array) -> Flow:
        return chain_flow(program.but(model=(twin, twin.with_key(params, key))), options)

    flows: Flow = lax.map(of, keys)
    return flows


def _is_off(several: Flow, goal: float) -> bool:
    """Tell whether the gradient over the network is not as well known as it should be."""
    log_delta = np.asarray(several.log_delta)
    whole = log_delta[:, 0] - log_delta[:, -1]
    if not np.isfinite(whole).all() or len(whole) >= MOST_DRAWS:
        return False
    wanted = max(goal * LN10, RELATIVE * abs(np.mean(whole)))
    return bool(np.std(whole, ddof=1) / len(whole) ** 0.5 > wanted)


def _mean(several: Flow, replicas: int, xp: Any) -> Flow:
    """Return the mean of flows, of logarithms that of what they are of, with its errors."""
    count = len(several.log_delta)

    def of(path: Any, v: Any) -> Any:
        name = path[-1].name
        power = AS_SQUARES.get(name, 2) if name.startswith("log_") else 0
        if v.dtype == bool:
            return xp.any(v, axis=0)
        if not power:
            return xp.mean(v, axis=0).astype(v.dtype)
        top = xp.max(v, axis=0)
        top = xp.where(xp.isfinite(top), top, 0).astype(v.dtype)
        mean = xp.mean(xp.exp(power * (v - top)), axis=0)
        return (top + xp.log(mean) / power).astype(v.dtype)

    def error(v: Any) -> Any:
        if v.dtype == bool:
            return xp.any(v != v[:1], axis=0)
        spread = xp.std(v, axis=0, ddof=1) / count**0.5
        return spread.astype(v.dtype)

    mean: Flow = jax.tree_util.tree_map_with_path(of, several)
    errors = jax.tree.map(error, several)
    return replace(mean, errors=errors, replicas=count * replicas, draws=count)


def errors_of(draws: int, errors: float) -> float:
    """Return how many errors of a few draws are as rare as so many of a Gaussian: Student's t."""
    from scipy.special import ndtr, stdtrit  # here, since few measurements come with theory

    return float(stdtrit(draws - 1, ndtr(errors)))
