"""The critical factor on all weights, at which gradients neither grow nor vanish, in any network.

    rate(s) of the twin with weights s W  ->  signs on a grid of s  ->  bisection

The draws are those of one key throughout, so the rate is a smooth function of the factor.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from ...arrays.compiled import compiled
from ...chain.chain import Chain
from ...chain.from_network import as_chain
from ...chain.names import joined, parts_of
from ...chain.parameter_places import ArrayPlace, changed
from ...models import Cuts, Model, Program, own_pytree
from ...network.checks import check_params, check_x, dtype_of
from ...network.network import Network
from ...theory.twin.wide import Wide, check_net, twin_of
from ..measure.chain_flow import chain_flow
from ..measure.theory_flow import DRAWS, LN10, errors_of, replicas_of
from ..record.flow import FlowOptions
from ..record.loss import random_loss
from .of_torch import TorchModel

GRID = np.logspace(-1.5, 1.5, 19)
BISECTIONS = 12
KNOWN = 3.0  # standard errors of a rate that is not zero
OPTIONS = FlowOptions(examples=False, memory="all")

Rates = Callable[[float], tuple[float, float]]  # factor -> decades a layer, and their error


@dataclass(frozen=True)
class CriticalScale:
    """The factor at which gradients neither grow nor vanish; `str` says it in a sentence.

    factor: on the weights; None if there is none, and then why is in `reason`.
    error: its standard error, of four draws; nan without a factor.
    rate: of the twin as the network is, in decades a layer towards the input.
    rate_error: its standard error.
    slope: the change of the rate at the factor, in decades a layer for a factor of e; nan if none.
    reason: why there is none; or "".
    paths: of the arrays that were multiplied; empty for a Network, of which that is all θ.
    factors, rates: those that were tried first, with nan where the signal leaves its range.
    """

    factor: float | None
    error: float
    rate: float
    rate_error: float
    slope: float
    reason: str
    paths: tuple[str, ...]
    factors: tuple[float, ...]
    rates: tuple[float, ...]

    def __str__(self) -> str:
        now = f"the rate is {self.rate:+.3g} ± {self.rate_error:.1g} decades a layer"
        if self.factor is None:
            return f"No critical factor, {now}: {self.reason}."
        return f"Critical at {self.factor:.3g} ± {self.error:.1g} times these weights; {now}."


def critical_scale(
    model: Model, xs: PyTree, *, each: str = "batch", cuts: Cuts = None, key: Any = None
) -> CriticalScale:
    """Return the factor on all weights at which the rate of the wide twin is zero.

    Weights are arrays of two axes or more. The rate is that of ‖Δ‖ over the upper two thirds of the
    layers, without the last, for a random cotangent: log10(‖Δ[a]‖ / ‖Δ[b]‖) / (b - a).
    `jaxnn.theory.scale_weights` multiplies by the factor.

    For model, xs, each and cuts see `jaxnn.gradient_flow`.

    Args:
        key: of the draws and the cotangent; that of seed 0 by default, and none of PyTorch.

    Raises:
        TypeError: something that is no model, or traced arrays.
        ValueError: no weights, fewer than three layers, or a layer without a twin.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> keys = jax.random.split(jax.random.key(0), 9)
        >>> relu = lambda w, z: jax.nn.relu(z @ w)
        >>> layers = [(relu, jax.random.normal(key, (32, 32)) / 32**0.5) for key in keys]
        >>> xs = jax.random.normal(keys[0], (4, 32))
        >>> found = jaxnn.theory.critical_scale(layers, xs)
        >>> abs(found.factor - 2**0.5) < 0.1
        True
        >>> better = jaxnn.theory.scale_weights(layers, found.factor)
    """
    program = Program.of(**locals())
    if program.of_torch:
        return _searched(*_rates_of_module(TorchModel(program, key)))
    net, params = program.network
    paths: tuple[str, ...] = ()
    check_net(net)
    if any(isinstance(v, jax.core.Tracer) for v in jax.tree.leaves((params, xs))):
        raise TypeError(
            "params, xs: expected arrays, got traced ones; a critical factor is found by comparing "
            "numbers, so it has no derivative: call it outside of jax.jit and jax.grad"
        )
    if isinstance(net, Network):
        layers = check_params(net, params)
        xs = jnp.asarray(check_x(net, xs), dtype_of(layers))
        net, params = as_chain(net, layers)
    else:
        paths = _matched(net, params, None)
    _check_count(net.names)
    key = jax.random.key(0) if key is None else key
    twin = twin_of(net, params, replicas_of(params))
    keys = jax.random.split(key, DRAWS)

    def rates(factor: float) -> tuple[float, float]:
        return _averaged(_rates(twin, params, xs, keys, np.float32(factor)))

    return _searched(rates, paths)


def _rates_of_module(model: TorchModel) -> tuple[Rates, tuple[str, ...]]:
    """Return the rates of the twin of a module, and the names of what is multiplied."""
    _check_count(model.flow.names)
    meant = model.weights()
    twin = model.twin()

    def rates(factor: float) -> tuple[float, float]:
        with model.times(meant, factor):
            flows = [twin.flow(seed) for seed in range(DRAWS)]
        return _averaged(np.array([_rate(np.asarray(flow.log_delta)) for flow in flows]))

    return rates, tuple(meant)


def _check_count(names: Sequence[str]) -> None:
    if len(names) < 3:
        raise ValueError(f"net: expected at least three layers, got {len(names)}")


def _averaged(of_draws: ArrayLike) -> tuple[float, float]:
    """Return the mean of rates in decades, and its error."""
    in_decades = np.asarray(of_draws, np.float64) / LN10
    return float(in_decades.mean()), float(in_decades.std(ddof=1)) / DRAWS**0.5


def _searched(rates: Rates, paths: tuple[str, ...]) -> CriticalScale:
    """Return the factor at which a rate is zero, given the rates at any factor."""
    one, its_error = rates(1.0)
    grid, errors = np.array([rates(factor) for factor in GRID]).T
    nan = float("nan")
    tried = tuple(map(float, GRID)), tuple(map(float, grid))
    none = CriticalScale(None, nan, one, its_error, nan, "", paths, *tried)
    found = _between(grid, errors)
    if found is None:
        return replace(none, reason=_reason(grid, errors))
    low, high = np.log(GRID[found : found + 2])
    slope = float((grid[found + 1] - grid[found]) / (high - low))
    error = nan
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        rate, error = rates(np.exp(middle))
        low, high = (low, middle) if (rate > 0) == (slope > 0) else (middle, high)
    factor = float(np.exp((low + high) / 2))
    return replace(none, factor=factor, error=factor * error / abs(slope), slope=slope)


def _between(rates: np.ndarray, errors: np.ndarray) -> int | None:
    """Return the place on the grid where the rate changes its sign, nearest to a factor of 1."""
    signs = np.where(np.abs(rates) > errors_of(DRAWS, KNOWN) * errors, np.sign(rates), 0)
    # A zero that is only too small to be told from zero is no change of sign.
    known = np.flatnonzero(np.isfinite(rates) & (signs != 0))
    changes = [(i, j) for i, j in pairwise(known) if signs[i] * signs[j] < 0]
    inside = [
        k
        for i, j in changes
        for k in range(i, j)
        if rates[k] * rates[k + 1] < 0 or (rates[k] == 0 and k > i)
    ]
    if not inside:
        return None
    return int(min(inside, key=lambda k: abs(np.log(GRID[k] * GRID[k + 1]))))


def _reason(rates: np.ndarray, errors: np.ndarray) -> str:
    """Say why there is no factor."""
    known = np.isfinite(rates)
    if not known.any():
        return "at no factor the signal stays in its range"
    least, most = GRID[known][[0, -1]]
    low, high = rates[known].min(), rates[known].max()
    span = f"at factors from {least:.2g} to {most:.2g}"
    if high - low < errors_of(DRAWS, KNOWN) * errors[known].max():
        return (
            f"it is {rates[known].mean():+.3g} {span}, for what follows the weights undoes a "
            "factor, as a norm does"
        )
    nearest = int(np.flatnonzero(known)[np.argmin(np.abs(rates[known]))])
    side = "above" if low > 0 or abs(high) > abs(low) else "below"
    return (
        f"it stays {side} zero {span}, nearest to it at {GRID[nearest]:.2g}, with "
        f"{rates[nearest]:+.2g}"
    )


@compiled
def _rates(
    twin: Wide, params: PyTree, xs: PyTree, keys: Array, factor: ArrayLike
) -> Float[Array, " d"]:
    """Return ln of what a layer does to the gradient, of each draw."""
    loss_key = jax.random.fold_in(keys[0], 1)
    scaled = _scaled(twin.real, params, factor, None)

    def of(key: Array) -> Array:
        drawn = twin, twin.with_key(scaled, key)
        flow = chain_flow(Program(drawn, xs, loss_key, random_loss), OPTIONS)
        return jnp.asarray(_rate(flow.log_delta))

    of_draws: Array = lax.map(of, keys)
    return of_draws


def _rate(log_delta: Any) -> Any:
    """Return what a layer of the upper two thirds does to ln of a gradient."""
    count = len(log_delta)
    a, b = (count // 3, count - 2) if count > 3 else (0, count - 1)
    return (log_delta[a] - log_delta[b]) / (b - a)


# Multiplying


def scale_weights(
    model: Model,
    factor: ArrayLike,
    xs: PyTree = None,
    *,
    each: str = "batch",
    cuts: Cuts = None,
    weights: str | Sequence[str] | None = None,
) -> PyTree:
    """Return parameters with all weights multiplied by a factor and the others unchanged.

    Pure, inside of `jit` and `grad` too.

    For model, xs, each and cuts see `jaxnn.gradient_flow`; with xs a module or a function is cut.

    Args:
        factor: a number, or a traced one.
        weights: which parameter arrays are multiplied: a pattern of their paths, such as
            "blocks.*.mlp.*" or "*kernel", or several; all with two axes or more by default. None
            for a Network, of which that is every θ.

    Returns:
        The parameters in the form of the model: the pytree of a pair (f, params), the layers, the
        module, the params of a pair (net, params); of a module of PyTorch a state dict.

    Raises:
        ValueError: a pattern that matches nothing.

    Example:
        >>> import jax.numpy as jnp, jaxnn
        >>> layers = [(jnp.matmul, jnp.eye(3)), (jnp.matmul, jnp.eye(3))]
        >>> jaxnn.theory.scale_weights(layers, 2.0, weights="0.*")[0][1][0]
        Array([2., 0., 0.], dtype=float32)
    """
    program = Program.of(**locals())
    if program.of_torch:
        of_torch = TorchModel(program)
        meant = of_torch.weights((weights,) if isinstance(weights, str) else weights)
        state = of_torch.module.state_dict()
        return state | {name: v.detach() * factor for name, v in meant.items()}
    net, params = program.network
    if isinstance(net, Network):
        if weights is not None:
            raise ValueError("weights: expected none for a Network, of which every θ is meant")
        return changed(net, check_params(net, params), lambda v, _: _times(v, factor))
    patterns = None if weights is None else _patterns(weights)
    _matched(net, params, patterns)
    scaled, pytree = _scaled(net, params, factor, patterns), own_pytree(model)
    return scaled if pytree is None else net.user(scaled, pytree)


def _patterns(weights: str | Sequence[str]) -> tuple[str, ...]:
    patterns = (weights,) if isinstance(weights, str) else tuple(weights)
    return tuple(
        pattern.replace("[", ".").replace("]", "").removeprefix(".") for pattern in patterns
    )


def _times(v: Array, factor: ArrayLike) -> Any:
    return jnp.asarray(v) * jnp.asarray(factor).astype(v.dtype)


def _is_meant(path: str, ndim: int, patterns: tuple[str, ...] | None) -> bool:
    """Tell whether an array of a layer is multiplied."""
    if patterns is None:
        return ndim > 1
    name = joined(parts_of(path)).replace("[", ".").replace("]", "").removeprefix(".")
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _matched(net: Chain, params: PyTree, patterns: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the paths of the arrays that are multiplied; raise if there are none."""
    meant: dict[str, None] = {}

    def of(params: PyTree) -> Any:
        scaled, paths = _multiplied(net, params, 1.0, patterns)
        meant.update(dict.fromkeys(paths))
        return scaled

    jax.eval_shape(of, params)
    if not meant:
        names = [joined(parts_of(path)) for paths in net.paths for path in paths if path]
        raise ValueError(
            f"weights: expected a pattern of paths such as {', '.join(names[:3])}, got "
            f"{', '.join(patterns or ('none that has two axes',))}, which matches none"
        )
    return tuple(meant)


def _scaled(net: Chain, params: PyTree, factor: ArrayLike, patterns: tuple[str, ...] | None) -> Any:
    return _multiplied(net, params, factor, patterns)[0]


def _multiplied(
    net: Chain, params: PyTree, factor: ArrayLike, patterns: tuple[str, ...] | None
) -> tuple[tuple[Any, ...], list[str]]:
    """Return parameters with those that are meant multiplied, and the paths of these."""
    paths: list[str] = []

    def change(v: Any, place: ArrayPlace) -> Any:
        paths_of_place = [net.paths[layer][place.number] for layer in place.layers]
        paths_of_place = paths_of_place if place.of_run else paths_of_place[:1]
        meant = np.array(
            [_is_meant(path, v.ndim - place.of_run, patterns) for path in paths_of_place]
        )
        paths.extend(path for path, flag in zip(paths_of_place, meant, strict=True) if flag)
        if not meant.any():
            return v
        by_layer = meant.reshape(-1, *[1] * (v.ndim - 1)) if place.of_run else meant[0]
        return jnp.where(by_layer, _times(v, factor), v)

    return changed(net, params, change, least=0), paths
