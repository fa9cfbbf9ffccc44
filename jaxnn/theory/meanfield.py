"""Mean ensemble: a signal and its gradient in the limit of infinite width.

Weights are N(0, σ_w²/fan_in), biases N(0, σ_b²). As the widths grow, the entries of z[l] become
Gaussian with mean square q[l], and with correlation c[l] between two inputs' z and z̃:

    q[l+1] = σ_w² E[σ(z)²] + σ_b²                   `length_map`, Poole et al., arXiv:1606.05340
    c[l+1] = (σ_w² E[σ(z) σ(z̃)] + σ_b²) / q[l+1]    `correlation_map`, ibid.
    E‖Δz[l]‖² = σ_w² E[σ′(z)²] E‖Δz[l+1]‖²          `chi`, Schoenholz et al., arXiv:1611.01232

Between hidden layers may stand another block, `hidden=`, as in `jaxnn.Network`: a skip connection,
a norm, one in another. Each kind has its formulas in its own file (`blocks`), in the same letters:

    q[l+1], c[l+1] q[l+1], E‖Δz[l]‖² / E‖Δz[l+1]‖²      `length`, `covariance`, `factor` of a block

Dropout keeps each entry of a = σ(z) with the probability `keep`, and divides it by that: E[σ²] and
E[σ′²] are then over `keep`, and E[σ σ̃] of two masks is as it was. So one input with two masks has
c* < 1 for every σ_w, and there is no critical one: Schoenholz et al., section 5.

Arguments: σ by name or an Activation, static under `jax.jit`; finite numbers σ_w, σ_b, q >= 0
without unit, c in [-1, 1] and keep in (0, 1], which may be traced; hidden, a block, Dense if none
is given, and batch, the number of rows that a batch norm is over, None for many, are static. c is
the correlation of two inputs, of any two rows for a batch norm. Results: JAX's default float,
scalars, or of arrays, which are broadcast together, one for each entry; computed in float64, but of
traced numbers in their own float: in float32 a c* above 0.9988 then counts as 1.
`jax.grad` differentiates all of them but `tailored_slope`, fixed points by the implicit function
theorem; the derivative is not finite where there is none, as at a transition.
`lengths`, `paths`, `log_delta` and their bands, which follow a network of `depth` hidden
layers, take lists too: σ, σ_w and σ_b of each hidden layer, `depth` entries (σ_w and σ_b of the
weights below it, σ of the z in it), its width where that counts, and depth - 1 blocks, as in
`jaxnn.Network`.
Raises: ValueError for an unknown name, for a block without what is asked for, for a list of another
length and, outside `jit`, for a number out of range; TypeError for anything but an activation, a
block or real numbers, and for a list where layers have to be alike.

Expectations and fixed points are computed in `quadrature.py`, those of a batch in `sphere.py`.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ..arrays.compiled import Number, Scalar
from ..network.activations import find_activation
from ..network.blocks import (
    DENSE,
    Block,
    Dense,
    LayerNorm,
    PostNorm,
    Residual,
    RMSNorm,
    Theory,
    rows_meet,
    theory_of,
)
from ..texts import told
from .arguments import (
    Blocks,
    Name,
    Names,
    Numbers,
    Widths,
    check_argument,
    formula,
    one_for_all,
    path_formula,
)
from .ensemble import Ensemble
from .finite_width import LARGEST, from_the_top, has_band, norm_variance, skip_spread, without_norm
from .layers import LayersAbove, layers_above
from .one_example import mean_and_spread, moments, signal_mean_and_spread, slope_and_spread
from .quadrature import attracting_fixed_point, eps, solve, tiny

__all__ = [
    "Band",
    "Paths",
    "banded_layers",
    "chi",
    "correlation_fixed_point",
    "correlation_map",
    "critical_sigma_w",
    "fixed_point",
    "length_map",
    "lengths",
    "lengths_band",
    "log_delta",
    "log_delta_band",
    "paths",
    "slope_band",
    "stationary_chi",
    "tailored_slope",
    "xi_c",
]


def __dir__() -> list[str]:
    return __all__


Distribution = tuple[Name, Number, Number]

NEAR = 1e-6  # a c* nearer to 1 than this counts as 1


class Paths(NamedTuple):
    """Two inputs of one length in each hidden layer, l = 1 … depth.

    c: their correlation.
    gradient: the correlation of Δz[l] and Δz̃[l], from one Δz[depth] for both; 1 in the last.
    """

    c: Array
    gradient: Array


class Band(NamedTuple):
    """The effect of finite width on a prediction, for one draw of the weights, in nats."""

    bias: Array
    sd: Array


def _ensemble(
    activation: Name, sigma_w: Number, sigma_b: Number, batch: int | None, keep: Number
) -> Ensemble:
    return Ensemble(find_activation(activation), sigma_w, sigma_b, batch, keep)


def _theory(hidden: Block | None) -> Theory:
    return theory_of(DENSE if hidden is None else hidden)


def _check_settling(hidden: Block | None) -> None:
    """Raise for blocks between which q[l] comes to no fixed point."""
    if getattr(hidden, "is_skip", False) and getattr(hidden, "scale", 1):
        raise ValueError(
            f"hidden: with {hidden!r} z grows with depth, so there is no fixed point q*, and "
            "nothing that depends on one; lengths and log_delta follow it layer by layer"
        )


@formula
def length_map(
    activation: Name,
    sigma_w: Number,
    sigma_b: Number,
    q: Number,
    *,
    hidden: Block | None = None,
    batch: int | None = None,
    keep: Number = 1.0,
) -> Scalar:
    """The mean square of the next layer's z, from this one's q: σ_w² E[σ(√q g)²] + σ_b² of Dense.

    Example:
        >>> round(float(length_map("relu", 2.0, 0.5, 3.0)), 4)  # 4 · 3/2 + 1/4
        6.25
        >>> import jaxnn
        >>> round(float(length_map("relu", 2.0, 0.5, 3.0, hidden=jaxnn.blocks.Residual())), 4)
        9.25
    """
    return _theory(hidden).length(_ensemble(activation, sigma_w, sigma_b, batch, keep), q)


@formula
def chi(
    activation: Name,
    sigma_w: Number,
    q: Number,
    *,
    sigma_b: Number = 0.0,
    hidden: Block | None = None,
    batch: int | None = None,
    keep: Number = 1.0,
    c: Number = 0.0,
) -> Scalar:
    """χ = E‖Δz[l]‖² / E‖Δz[l+1]‖², the factor of a layer: σ_w² E[σ′(√q g)²] of Dense.

    q = 0 gives the limit. σ_b matters to a `PostNorm` only, which divides by the length of z; c,
    the correlation of the rows, to a `BatchNorm` only: of equal rows χ is inf.

    Example:
        >>> q = fixed_point("sigmoid", 4.0, 0.0)
        >>> [round(float(chi("sigmoid", 4.0, v)), 2) for v in (0.0, q)]  # slopes 1/4, but not at q*
        [1.0, 0.4]
        >>> import jaxnn
        >>> round(float(chi("relu", 1.0, 1.0, hidden=jaxnn.blocks.Residual())), 4)  # 1 + 1/2
        1.5
    """
    return _theory(hidden).factor(_ensemble(activation, sigma_w, sigma_b, batch, keep), q, c)


@formula
def fixed_point(
    activation: Name,
    sigma_w: Number,
    sigma_b: Number,
    *,
    hidden: Block | None = None,
    batch: int | None = None,
    keep: Number = 1.0,
) -> Scalar:
    """q* = length_map(q*), the fixed point that q[l] tends to from q = 1.

    Solved for, not iterated: q of tanh with σ_w = 1, σ_b = 0 falls like 1/(2l), and its limit 0 is
    returned. inf if q grows for ever, 0 if it dies out, and 1 if every q is a fixed point up to
    rounding (relu with σ_w² = 2, σ_b = 0).

    Raises:
        ValueError: also for a Residual, with which z grows with depth.

    Example:
        >>> [round(float(fixed_point("relu", sigma_w, 1.0)), 4) for sigma_w in (1.0, 1.5)]
        [2.0, inf]
    """
    _check_settling(hidden)
    return attracting_fixed_point(
        lambda q: length_map(activation, sigma_w, sigma_b, q, hidden=hidden, batch=batch, keep=keep)
    )


@formula
def stationary_chi(
    activation: Name,
    sigma_w: Number,
    sigma_b: Number = 0.0,
    *,
    hidden: Block | None = None,
    batch: int | None = None,
    keep: Number = 1.0,
) -> Scalar:
    """The factor χ of a layer far from the ends, at q* and, of a batch norm, c*.

    Dense: σ_w² E[σ′²] at q*. RMSNorm, LayerNorm: E[σ′²] / E[σ²] at q = 1, for every σ_w, if σ_b and
    ε are 0. BatchNorm: λ_B of Yang et al. 2019, arXiv:1902.08129, for every σ_w and σ_b; E[σ′²] /
    Var σ if batch is None. PostNorm: of its inner block, over the length that comes out, at q = 1.

    Raises:
        ValueError: also for a Residual, with which z grows with depth and no layer is like another.

    Example:
        >>> import jaxnn
        >>> norm = jaxnn.blocks.BatchNorm()
        >>> round(float(stationary_chi("relu", 1.0, hidden=norm)), 5)  # π/(π - 1)
        1.46694
    """
    ensemble: Distribution = (activation, sigma_w, sigma_b)
    of: dict[str, Any] = {"hidden": hidden, "batch": batch, "keep": keep}
    q = _bounded(fixed_point(*ensemble, **of))
    c = correlation_fixed_point(*ensemble, **of) if rows_meet(hidden) else 0.0
    return chi(activation, sigma_w, q, sigma_b=sigma_b, c=c, **of)


@formula
def correlation_map(
    activation: Name,
    sigma_w: Number,
    sigma_b: Number,
    q: Number,
    c: Number,
    *,
    hidden: Block | None = None,
    batch: int | None = None,
    keep: Number = 1.0,
) -> Scalar:
    """The correlation of two inputs in the next layer, (σ_w² E[σ(z) σ(z̃)] + σ_b²) / length_map(q).

    In this layer both have mean square q, and correlation c; q = 0 gives the limit. Of two rows of
    one batch after a batch norm, whatever c is.

    Example:
        >>> round(float(correlation_map("relu", 2**0.5, 0.0, 1.0, 0.0)), 4)  # 1/π
        0.3183
    """
    block, ensemble = _theory(hidden), _ensemble(activation, sigma_w, sigma_b, batch, keep)
    q = jnp.maximum(q, tiny() ** 0.5)
    return block.covariance(ensemble, q, c) / block.length(ensemble, q)


@formula
def correlation_fixed_point(
    activation: Name,
    sigma_w: Number,
    sigma_b: Number,
    *,
    hidden: Block | None = None,
    batch: int | None = None,
    keep: Number = 1.0,
) -> Scalar:
    """c* = correlation_map(c*) at q*, the stable fixed point in [0, 1].

    1 if χ(q*) <= 1 (order) or 1 - c* < 1e-6, less in chaos; nan if q* is inf. Of traced float32
    1 if 1 - c* < 1.2e-3. Of two rows of one batch after a batch norm in [-1, 1].

    Raises:
        ValueError: also for a Residual, with which z grows with depth.

    Example:
        >>> [round(float(correlation_fixed_point("tanh", s, 0.3)), 3) for s in (1.0, 2.5)]
        [1.0, 0.122]
    """
    ensemble: Distribution = (activation, sigma_w, sigma_b)
    q = fixed_point(*ensemble, hidden=hidden, batch=batch, keep=keep)
    top = jnp.asarray(1 - max(NEAR, 1e4 * eps()), float)

    def excess(c: Scalar) -> Scalar:
        return correlation_map(*ensemble, q, c, hidden=hidden, batch=batch, keep=keep) - c

    if rows_meet(hidden):  # c[l+1] is then linear in c[l], and may be negative
        return solve(excess, jnp.asarray(-1.0, float), jnp.ones((), float))
    factor = chi(activation, sigma_w, q, sigma_b=sigma_b, hidden=hidden, keep=keep)
    chaos = ((factor > 1) | (keep < 1)) & (excess(top) < 0)
    bottom = jnp.zeros((), float)
    inside = jnp.where(excess(bottom) > 8 * eps(), solve(excess, bottom, top), 0)
    return jnp.where(jnp.isinf(q), jnp.nan, jnp.where(chaos, inside, 1))


def _scale(slope: Scalar) -> Scalar:
    """The number of layers in which a deviation falls by e, if each multiplies it by `slope`."""
    return jnp.where(slope >= 1, jnp.inf, -1 / jnp.log(jnp.abs(slope)))


@formula
def xi_c(
    activation: Name,
    sigma_w: Number,
    sigma_b: Number,
    *,
    hidden: Block | None = None,
    batch: int | None = None,
    keep: Number = 1.0,
) -> Scalar:
    """ξ_c, in layers: c[l] - c* ~ e^(-l/ξ_c), so ξ_c = -1/ln(σ_w² E[σ′(z) σ′(z̃)]) at q* and c*.

    In order, where c* = 1, it is -1/ln χ. inf at criticality, nan if q* is inf, and 0 for a batch
    norm, behind which c is c* after one layer.

    Raises:
        ValueError: also for a Residual, with which z grows with depth.

    Example:
        >>> round(float(xi_c("relu", 1.0, 1.0)), 4)  # 1/ln 2
        1.4427
    """
    ensemble: Distribution = (activation, sigma_w, sigma_b)
    q = fixed_point(*ensemble, hidden=hidden, batch=batch, keep=keep)
    c = correlation_fixed_point(*ensemble, hidden=hidden, batch=batch, keep=keep)
    inside = jnp.where(c == 1, 0.5, c)  # at 1 the derivative of the tangent by c is not finite
    slope = _theory(hidden).tangent(_ensemble(*ensemble, batch, keep), q, inside)
    order = chi(activation, sigma_w, q, sigma_b=sigma_b, hidden=hidden, batch=batch, keep=keep)
    return _scale(jnp.where(c == 1, order, slope))


@path_formula
def lengths(
    activation: Names,
    sigma_w: Numbers,
    sigma_b: Numbers,
    q0: Number,
    depth: int,
    *,
    hidden: Blocks | None = None,
    batch: int | None = None,
    keep: Number = 1.0,
) -> Float[Array, " depth"]:
    """q[1] = σ_w² q0 + σ_b², q[2], …, q[depth]: the mean square of z in each hidden layer.

    q0 is the mean square of the input's entries; the first layer is Dense. 0 and inf beyond the
    range of the float.

    Example:
        >>> lengths("relu", 1.0, 0.0, 1.0, 3).round(4).tolist()
        [1.0, 0.5, 0.25]
        >>> lengths(["identity", "relu", "relu"], [1.0, 2.0, 1.0], 0.0, 1.0, 3).round(4).tolist()
        [1.0, 4.0, 2.0]
    """
    layers = layers_above(activation, sigma_w, sigma_b, hidden, batch, depth, keep)
    return _along(layers, sigma_w, sigma_b, q0, 0.0)[0]


def _along(
    layers: LayersAbove,
    sigma_w: Numbers | float,
    sigma_b: Numbers | float,
    q0: Number,
    c0: Number,
    follows: Callable[[object], bool] = rows_meet,
) -> tuple[Float[Array, " depth"], Float[Array, " depth"]]:
    """q[l] of the hidden layers, and c[l] through blocks that it follows; the first is Dense."""

    def step(block: Theory, ensemble: Ensemble, q: Scalar, c: Scalar) -> tuple[Scalar, Scalar]:
        above = block.length(ensemble, q)
        return above, block.covariance(ensemble, q, c) / above if follows(block) else c

    def layer(
        state: tuple[Scalar, Scalar], at: tuple[Array, Array, Array]
    ) -> tuple[tuple[Scalar, Scalar], Any]:
        which, sigma_w, sigma_b = at
        one = layers._replace(which=which, sigma_w=sigma_w, sigma_b=sigma_b)
        return one.apply(step, *state), state

    first_w, first_b = (jnp.atleast_1d(jnp.asarray(v, float))[0] for v in (sigma_w, sigma_b))
    shared = first_b**2
    q = first_w**2 * q0 + shared
    c = (first_w**2 * q0 * c0 + shared) / jnp.maximum(q, tiny())
    of_layers = (layers.which, layers.sigma_w, layers.sigma_b)
    along: tuple[Array, Array] = lax.scan(layer, (q, c), of_layers)[1]
    return along


@path_formula
def paths(
    activation: Names,
    sigma_w: Numbers,
    sigma_b: Numbers,
    q0: Number,
    c0: Number,
    depth: int,
    *,
    hidden: Blocks | None = None,
    keep: Number = 1.0,
) -> Paths:
    """Follow two inputs of mean square q0 > 0 and correlation c0 through the layers of `lengths`.

    From one cotangent at the top the gradients of two inputs lose their correlation layer by layer
    (Balduzzi et al. 2017, arXiv:1702.08591), by E[σ′(z) σ′(z̃)] / E[σ′²] of Dense. With dropout each
    input has masks of its own, also where both are equal.

    Raises:
        ValueError: also for a batch norm, in which the inputs of a batch meet.

    Example:
        >>> two = paths("relu", 2**0.5, 0.0, 1.0, 0.0, 3)
        >>> [round(float(c), 4) for c in two.c]
        [0.0, 0.3183, 0.4937]
        >>> [round(float(c), 4) for c in two.gradient]  # 1 - arccos(0.3183)/π, and half of it
        [0.3016, 0.6031, 1.0]
    """
    layers = layers_above(activation, sigma_w, sigma_b, hidden, None, depth, keep)
    meeting = next((block for block, _ in layers.kinds if rows_meet(block)), None)
    if meeting is not None:
        raise ValueError(
            f"hidden: expected blocks in which examples do not meet, got {meeting!r}; "
            "correlation_map has the correlation of two rows after it"
        )
    q, c = _along(layers, sigma_w, sigma_b, q0, c0, lambda _: True)

    def common(block: Theory, ensemble: Ensemble, q: Scalar, c: Scalar) -> Scalar:
        return block.tangent(ensemble, q, c) / block.factor(ensemble, q, c)

    in_common = layers.each(common, q, c)[:-1]
    return Paths(c, jnp.append(jnp.cumprod(in_common[::-1])[::-1], 1.0))


@path_formula
def log_delta(
    activation: Names,
    sigma_w: Numbers,
    sigma_b: Numbers,
    q0: Number,
    depth: int,
    *,
    hidden: Blocks | None = None,
    batch: int | None = None,
    keep: Number = 1.0,
    c0: Number = 0.0,
) -> Float[Array, " depth"]:
    """Predicted ln ‖Δz[l]‖ - ln ‖Δz[depth]‖ of the hidden layers l = 1 … depth, in nats.

    ½ Σ ln χ(q[m]) over m = l … depth-1, along `lengths`. Shape (depth,); the last entry is 0. c0 is
    the correlation of any two input rows, which a batch norm asks for.

    With hidden=BatchNorm() Δz[depth] must sum to zero over the batch, as that of each layer below
    does. The first step down from another one differs: that from independent rows, a batch of 8 and
    relu with σ_w = √2, is by -0.25 nats, not by -0.20. Subtract the mean over the batch.

    Example:
        >>> log_delta("relu", 1.0, 0.0, 1.0, 3).round(3).tolist()  # ½ ln ½ a layer
        [-0.693..., -0.347..., 0.0]
        >>> import jaxnn
        >>> blocks = [jaxnn.blocks.Residual(scale=l**-0.5) for l in (1, 2)]  # ½ ln (1 + 1/2l)
        >>> log_delta("relu", 1.0, 0.0, 1.0, 3, hidden=blocks).round(3).tolist()
        [0.314..., 0.112..., 0.0]
    """
    layers = layers_above(activation, sigma_w, sigma_b, hidden, batch, depth, keep)
    q, c = _along(layers, sigma_w, sigma_b, q0, c0)

    def factor(block: Theory, ensemble: Ensemble, q: Scalar, c: Scalar) -> Scalar:
        return block.factor(ensemble, _bounded(q), c)

    return from_the_top(0.5 * jnp.log(layers.each(factor, q, c)))


def banded_layers(
    activation: Names,
    sigma_w: Numbers,
    sigma_b: Numbers,
    width: Widths,
    depth: int,
    hidden: Blocks | None,
    is_known: Callable[[Block], bool] = has_band,
) -> LayersAbove:
    """Return the layers of a network whose band is known, or raise."""
    layers = layers_above(activation, sigma_w, sigma_b, hidden, None, depth)
    blocks = [block for block, _ in layers.kinds]
    unknown = next((block for block in blocks if not is_known(block)), None)
    if unknown is not None:
        raise ValueError(
            "hidden: the band of finite width is known for jaxnn.blocks.Dense(), "
            "jaxnn.blocks.Residual() around it and jaxnn.blocks.PostNorm() around that, got "
            f"{unknown!r}; jaxnn.theory.batch_band draws it after RMSNorm and LayerNorm"
        )
    skips = [skip for skip in map(without_norm, blocks) if isinstance(skip, Residual)]
    if skips and (len({*map(type, blocks)}) > 1 or isinstance(activation, tuple)):
        raise ValueError(
            "hidden: the band of finite width is known for skip connections in all layers with one "
            "activation, or in none, got a list that mixes them; log_delta takes it"
        )
    if skips and isinstance(width, tuple):
        raise ValueError(
            "width: expected one for all layers, whose states a skip connection adds, got "
            f"{told(width)}"
        )
    return layers


@path_formula
def log_delta_band(
    activation: Names,
    sigma_w: Numbers,
    sigma_b: Numbers,
    q0: Number,
    width: Widths,
    depth: int,
    *,
    hidden: Blocks | None = None,
) -> Band:
    """The bias and the standard deviation of `log_delta` at finite width n; (depth,) each.

    Of one example, with a cotangent of random direction at the top; so its bias is that of the mean
    of ln ‖Δz‖ over the examples of a batch too. Of a batch together it is another number, which
    `jaxnn.theory.batch_band` has. n may be a list with the width of each hidden layer.

    Of plain layers it is to first order in 1/n for every σ, as `one_example.py` derives: units
    fluctuate, mean squares drift, and the forward pass fixes the weights in one direction. For relu
    and linear units that is -c/4n a layer, and c/4n of variance, c = 5 and 2: Hanin & Nica 2018,
    arXiv:1812.05994. nan where mean squares vary too much for this, as near a fixed point of q that
    repels; `jaxnn.theory.batch_band` draws it.

    With a skip connection z[l] resembles z[l+1], and so do their slopes: that of a Residual, and of
    a PostNorm around it, is in `finite_width.py`, with its limits. nan in layers whose gradient
    varies too much from draw to draw for it.

    Raises:
        ValueError: also for every block but Dense, Residual(Dense()) and a PostNorm around that,
            for several of these in one list, and for a list of activations or widths with a
            Residual.

    Example:
        >>> band = log_delta_band("relu", 2**0.5, 0.0, 1.0, 100, 51)
        >>> round(float(band.bias[0]), 4), round(float(band.sd[0]), 4)  # -50 · 5/400 and its root
        (-0.625, 0.7906)
        >>> import jaxnn
        >>> block = jaxnn.blocks.Residual(scale=50**-0.5)
        >>> round(float(log_delta_band("relu", 2**0.5, 0.0, 1.0, 100, 51, hidden=block).sd[0]), 2)
        0.13
    """
    layers = banded_layers(activation, sigma_w, sigma_b, width, depth, hidden)
    n = jnp.asarray(width, float)
    q = _along(layers, sigma_w, sigma_b, q0, 0.0)[0]
    q = jnp.clip(q, tiny() ** 0.5, tiny() ** -0.75)
    blocks = [block for block, _ in layers.kinds]
    skips = [skip for skip in map(without_norm, blocks) if isinstance(skip, Residual)]
    if not skips:
        bias, variance = mean_and_spread(moments(layers, q), jnp.broadcast_to(n, depth))
        return Band(bias / 2, jnp.sqrt(variance) / 2)
    growth = layers.each(lambda block, ensemble, q: without_norm(block).length(ensemble, q) / q, q)
    log_q = jnp.log(q[0]) + jnp.append(0.0, jnp.cumsum(jnp.log(growth[:-1])))
    scales = jnp.asarray([block.scale for block in skips], float)[layers.which]
    s = jnp.square(scales * layers.sigma_w)
    lag, variance = skip_spread(layers.kinds[0][1], s, log_q, jnp.sqrt(q))
    if isinstance(blocks[0], PostNorm):
        variance = variance + norm_variance(growth)
    known = jnp.where(variance / n <= LARGEST, 1.0, jnp.nan)
    return Band(-known * lag / (4 * n), known * jnp.sqrt(variance / (4 * n)))


@path_formula
def lengths_band(
    activation: Names,
    sigma_w: Numbers,
    sigma_b: Numbers,
    q0: Number,
    width: Widths,
    depth: int,
    *,
    keep: Number = 1.0,
) -> Band:
    """The bias and standard deviation of ln of `lengths` at finite width n; (depth,) each.

    Of ln of the mean of z[l]² over the n units of plain layers, of one example: m - v/2 - 1/n and
    v + 2/n, as `one_example.py` derives. For relu with σ_b = 0 v is 5 (l-1)/n, and m is 0. Of a
    batch together the bias is between this, where examples are alike, and bias + sd²/2. nan from
    the layer on where mean squares have varied too much for two orders, as in tanh layers with
    σ_w = 1 from l of about n, for n of 64; within 18 % before. `one_example.py` has the bound.

    Example:
        >>> band = lengths_band("relu", 2**0.5, 0.0, 1.0, 100, 51)
        >>> round(float(band.bias[-1]), 4), round(float(band.sd[-1]), 4)  # -2.5 - 1/100, √(5 + …)
        (-1.26, 1.5875)
    """
    layers = layers_above(activation, sigma_w, sigma_b, None, None, depth, keep)
    q = jnp.clip(_along(layers, sigma_w, sigma_b, q0, 0.0)[0], tiny() ** 0.5, tiny() ** -0.75)
    n = jnp.broadcast_to(jnp.asarray(width, float), depth)
    bias, variance = signal_mean_and_spread(moments(layers, q), n)
    return Band(bias, jnp.sqrt(variance))


@path_formula
def slope_band(
    activation: Names,
    sigma_w: Numbers,
    sigma_b: Numbers,
    q0: Number,
    width: Widths,
    depth: int,
    *,
    keep: Number = 1.0,
) -> Band:
    """The bias and standard deviation of the slope of ln ‖Δz[l]‖ at finite width, nats a layer.

    Of a straight line fitted to l = 1 … depth of one draw of plain layers, downwards; otherwise as
    `log_delta_band`. For relu and linear units -c/4n and about ½ √(1.2 c/(n depth)).

    Example:
        >>> round(float(slope_band("relu", 2**0.5, 0.0, 1.0, 100, 30).bias), 4)  # -5/400
        -0.0125
    """
    layers = layers_above(activation, sigma_w, sigma_b, None, None, depth, keep)
    q = jnp.clip(_along(layers, sigma_w, sigma_b, q0, 0.0)[0], tiny() ** 0.5, tiny() ** -0.75)
    n = jnp.broadcast_to(jnp.asarray(width, float), depth)
    bias, variance = slope_and_spread(moments(layers, q), n)
    return Band(bias / 2, jnp.sqrt(variance) / 2)


def _bounded(q: Scalar) -> Scalar:
    """Clip q: slopes no longer change far out, and √q · 0 must be 0 there, not inf · 0."""
    return jnp.minimum(q, tiny() ** -0.75)


def critical_sigma_w(activation: Name, sigma_b: Number, *, hidden: Block | None = None) -> Scalar:
    """The σ_w with χ(q*) = 1 at q* of `fixed_point`: gradients neither vanish nor explode.

    At a given q, χ is σ_w² times a factor: E[σ′(√q g)²] of Dense, E[σ′(√v g)²] / (q + ε), v = q /
    (q + ε), of RMSNorm and LayerNorm. So σ_w(q) makes χ(q) = 1 at any q, and q* is the fixed point
    of length_map with that σ_w(q). Behind a norm with ε = 0 it is σ_w² = σ_b² / (E[σ′²] - E[σ²]) at
    q = 1, derived here.

    Args:
        activation: σ.
        sigma_b: standard deviation of the biases.
        hidden: the kind of block: Dense, or a norm in front of it.

    Raises:
        ValueError: no σ_w has a finite q* with χ = 1 that q tends to, as for relu with σ_b > 0, and
            after a norm without biases and ε, which takes σ_w out; under `jit`, and for an array
            of σ_b, the result is nan. The message names a critical point that repels, as of gelu,
            near which some networks die out and others explode. Also for every other kind of block.

    Example:
        >>> [round(float(critical_sigma_w("tanh", sigma_b)), 3) for sigma_b in (0.0, 0.05**0.5)]
        [1.0, 1.327]
        >>> import jaxnn
        >>> round(float(critical_sigma_w("tanh", 0.1, hidden=jaxnn.blocks.RMSNorm())), 3)
        0.378
    """
    hidden = one_for_all("hidden", hidden)
    _check_settling(hidden)
    inner = hidden.inner if isinstance(hidden, RMSNorm | LayerNorm) else hidden
    if not isinstance(inner, Dense):
        raise ValueError(
            f"hidden: expected Dense, or RMSNorm or LayerNorm in front of it, got {hidden!r}: the "
            "critical sigma_w of others is not known, or every sigma_w has one chi; see "
            "stationary_chi"
        )
    activation = find_activation(one_for_all("activation", activation))
    balance = _balanced(activation, sigma_b, hidden=hidden)
    sigma_w = balance.critical
    known = sigma_w.ndim == 0 and not isinstance(sigma_w, jax.core.Tracer)
    if known and math.isnan(float(sigma_w)):
        none = "there is no sigma_w with chi = 1 at a finite q* that q tends to"
        given = f"critical_sigma_w: for {activation.name} and sigma_b = {float(sigma_b):g}"
        if hidden is inner:
            repels = _repelling(balance)
            raise ValueError(f"{given} {none}{repels}; choose another activation or sigma_b")
        raise ValueError(
            f"{given} after {hidden!r} {none}: without biases and eps a norm takes sigma_w out, "
            "and chi is on the same side of 1 for every sigma_w; choose another "
            "activation, norm or sigma_b"
        )
    return sigma_w


class _Balance(NamedTuple):
    """The σ_w with χ = 1 at a fixed point q of the length map; `critical` is nan if q leaves it."""

    sigma_w: Scalar
    q: Scalar
    critical: Scalar


def _repelling(balance: _Balance) -> str:
    """Return words on a critical point that repels, if there is one."""
    sigma_w, q = float(balance.sigma_w), float(balance.q)
    if not (math.isfinite(q) and q > 0):
        return ""
    return f"; sigma_w = {sigma_w:.5g} has chi = 1 at q = {q:.4g}, but q leaves that point"


@formula
def _balanced(activation: Name, sigma_b: Number, *, hidden: Block | None) -> _Balance:
    """Return the balance of `critical_sigma_w`, whether q tends to it or not."""

    def balance(q: Scalar) -> Scalar:
        return 1 / jnp.sqrt(chi(activation, 1.0, q, hidden=hidden))

    def length(q: Scalar) -> Scalar:
        return length_map(activation, balance(q), sigma_b, q, hidden=hidden)

    balanced = attracting_fixed_point(length)
    sigma_w = balance(balanced)
    # The q found may be one that q[l] leaves.
    q = fixed_point(activation, sigma_w, sigma_b, hidden=hidden)
    reached = jnp.abs(chi(activation, sigma_w, q, hidden=hidden) - 1) < eps() ** 0.4
    # Behind a norm q = 0 is no signal to be scaled.
    alive = (q > 0) | isinstance(hidden, Dense | None)
    critical = jnp.where(jnp.isfinite(q) & reached & alive, sigma_w, jnp.nan)
    return _Balance(sigma_w, balanced, critical)


def tailored_slope(layers: int, eta: Number = 0.9) -> float:
    """The slope s of the leaky relu that takes two inputs from c = 0 to c = η in so many layers.

    σ(z) = g (max(z, 0) + s min(z, 0)), g² = 2/(1 + s²), with σ_w = 1 and σ_b = 0 keeps every q, has
    χ = 1, and maps c to C(c) = c + k/π (√(1-c²) - c arccos c), k = (1-s)²/(1+s²). s solves
    C(…C(0)) = η, C applied `layers` times. Source: Zhang, Botev & Martens 2022, arXiv:2203.08120.

    Args:
        layers: the number of activations of the network, >= 1.
        eta: η, 0 < η < 1; 0.9 is the authors' choice.

    Raises:
        ValueError: an argument out of range, or no such slope, as relu itself (s = 0) ends below η:
            for η = 0.9 in fewer than 13 layers.
        TypeError: a traced η.

    Example:
        >>> round(tailored_slope(100), 5)
        0.57044
    """
    if isinstance(eta, jax.core.Tracer):
        raise TypeError(
            "eta: expected a number, got a traced one; the slope is found by bisection before "
            "anything is compiled: call tailored_slope outside of jax.jit and jax.grad"
        )
    layers, eta = check_argument("layers", layers), float(check_argument("eta", eta))
    most, enough = _tailored_end(1.0, layers), layers
    if most < eta:
        while _tailored_end(1.0, enough) < eta:
            enough += 1
        raise ValueError(
            f"layers: {layers} activations take a correlation from 0 to {most:.4f} at most, as "
            f"relu does, not to eta = {eta:g}; use {enough} layers or more, or a smaller eta"
        )
    low, high = 0.0, 1.0
    while low < (k := (low + high) / 2) < high:
        low, high = (k, high) if _tailored_end(k, layers) < eta else (low, k)
    return (1 - high) / (1 + math.sqrt(high * (2 - high)))


def _tailored_end(k: float, layers: int) -> float:
    """C(…C(0)) of `tailored_slope`."""
    c = 0.0
    for _ in range(layers):
        c = min(c + k / math.pi * (math.sqrt(1 - c * c) - c * math.acos(c)), 1.0)
    return c
