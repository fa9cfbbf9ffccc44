"""Mean field: a signal and its gradient in the limit of infinite width.

Weights are N(0, σ_w²/fan_in), biases N(0, σ_b²). As the widths grow, the entries of z[l] become
Gaussian with mean square q[l], and with correlation c[l] between two inputs' z and z̃:

    q[l+1] = σ_w² E[σ(z)²] + σ_b²                   `length_map`, Poole et al., arXiv:1606.05340
    c[l+1] = (σ_w² E[σ(z) σ(z̃)] + σ_b²) / q[l+1]    `correlation_map`, ibid.
    E‖Δz[l]‖² = σ_w² E[σ′(z)²] E‖Δz[l+1]‖²          `chi`, Schoenholz et al., arXiv:1611.01232

Arguments: σ by name or an Activation, static under `jax.jit`; finite scalars σ_w, σ_b, q >= 0
without unit, and c in [-1, 1], which may be traced. Results: scalars in JAX's default float.
Raises: ValueError for an unknown name and, outside `jit`, for a number out of range; TypeError for
anything but an activation or a real scalar.

Expectations and fixed points are computed in `quadrature.py`.
"""

import inspect
import math
from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from .activations import Activation, find_activation
from .compiled import as_array
from .quadrature import (
    Number,
    Scalar,
    attracting_fixed_point,
    eps,
    expectation,
    expectation_of_two,
    root_of,
    solve,
    tiny,
)

P = ParamSpec("P")
R = TypeVar("R")
Name = str | Activation

NEAR = 1e-6  # a c* nearer to 1 than this counts as 1


class Band(NamedTuple):
    """The effect of finite width on a prediction, for one draw of the weights, in nats."""

    bias: Array
    sd: Array


def _argument(name: str, value: Any) -> Any:
    """Check an argument and convert it to the type that the formulas use."""
    if name == "activation":
        return find_activation(value)
    if name in ("depth", "width"):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}: expected an integer >= 1, got {value!r}")
        return value
    number: Any = value if isinstance(value, jax.Array) else np.asarray(value)
    if number.shape or not (np.isrealobj(number) and jnp.issubdtype(number.dtype, jnp.number)):
        raise TypeError(f"{name}: expected one real number, got {value!r}")
    if isinstance(number, jax.core.Tracer):
        return number.astype(jnp.result_type(float))
    low, high = (-1.0, 1.0) if name == "c" else (0.0, math.inf)
    if not (low <= float(number) <= high and math.isfinite(float(number))):
        wanted = "a correlation from -1 to 1" if name == "c" else "a finite number >= 0"
        raise ValueError(f"{name}: expected {wanted}, got {float(number):g}")
    return as_array(name, np.asarray(number, np.float64))


def _formula(f: Callable[P, R]) -> Callable[P, R]:
    """Compile a formula; check its arguments and convert them to JAX's default float."""
    signature = inspect.signature(f)
    static = [name for name in signature.parameters if name in ("activation", "width", "depth")]
    compiled = jax.jit(f, static_argnames=static)

    @wraps(f)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        arguments = signature.bind(*args, **kwargs).arguments
        result: R = compiled(**{name: _argument(name, value) for name, value in arguments.items()})
        return result

    return checked


@_formula
def length_map(activation: Name, sigma_w: Number, sigma_b: Number, q: Number) -> Scalar:
    """The mean square σ_w² E[σ(√q g)²] + σ_b² of the next layer's z, from this one's q.

    Example:
        >>> round(float(length_map("relu", 2.0, 0.5, 3.0)), 4)  # 4 · 3/2 + 1/4
        6.25
    """
    return sigma_w**2 * expectation(activation, q, lambda f, z, g: f.sigma(z) ** 2) + sigma_b**2


@_formula
def chi(activation: Name, sigma_w: Number, q: Number) -> Scalar:
    """χ = σ_w² E[σ′(√q g)²], the factor of a layer in ‖Δz‖²; its limit for q = 0.

    Example:
        >>> q = fixed_point("sigmoid", 4.0, 0.0)
        >>> [round(float(chi("sigmoid", 4.0, v)), 2) for v in (0.0, q)]  # slopes 1/4, but not at q*
        [1.0, 0.4]
    """
    return sigma_w**2 * expectation(activation, q, lambda f, z, g: f.prime(z) ** 2)


@_formula
def fixed_point(activation: Name, sigma_w: Number, sigma_b: Number) -> Scalar:
    """q* = length_map(q*), the fixed point that q[l] tends to from q = 1.

    Solved for, not iterated: q of tanh with σ_w = 1, σ_b = 0 falls like 1/(2l), and its limit 0 is
    returned. inf if q grows for ever, 0 if it dies out, and 1 if every q is a fixed point up to
    rounding (relu with σ_w² = 2, σ_b = 0).

    Example:
        >>> [round(float(fixed_point("relu", sigma_w, 1.0)), 4) for sigma_w in (1.0, 1.5)]
        [2.0, inf]
    """
    return attracting_fixed_point(lambda q: length_map(activation, sigma_w, sigma_b, q))


@_formula
def correlation_map(
    activation: Name, sigma_w: Number, sigma_b: Number, q: Number, c: Number
) -> Scalar:
    """The correlation of two inputs in the next layer, (σ_w² E[σ(z) σ(z̃)] + σ_b²) / length_map(q).

    In this layer both have mean square q, and correlation c; q = 0 gives the limit.

    Example:
        >>> round(float(correlation_map("relu", 2**0.5, 0.0, 1.0, 0.0)), 4)  # 1/π
        0.3183
    """
    activation, q = find_activation(activation), jnp.maximum(q, tiny() ** 0.5)
    both = sigma_w**2 * expectation_of_two(activation.sigma, activation.kinks, q, c) + sigma_b**2
    return both / length_map(activation, sigma_w, sigma_b, q)


@_formula
def correlation_fixed_point(activation: Name, sigma_w: Number, sigma_b: Number) -> Scalar:
    """c* = correlation_map(c*) at q*, the stable fixed point in [0, 1].

    1 if χ(q*) <= 1 (order) or 1 - c* < 1e-6, less in chaos; nan if q* is inf.

    Example:
        >>> [round(float(correlation_fixed_point("tanh", s, 0.3)), 3) for s in (1.0, 2.5)]
        [1.0, 0.122]
    """
    q = fixed_point(activation, sigma_w, sigma_b)
    top = jnp.asarray(1 - max(NEAR, 1e4 * eps()), float)

    def excess(c: Scalar) -> Scalar:
        return correlation_map(activation, sigma_w, sigma_b, q, c) - c

    chaos = (chi(activation, sigma_w, q) > 1) & (excess(top) < 0)
    bottom = jnp.zeros((), float)
    inside = jnp.where(excess(bottom) > 8 * eps(), solve(excess, bottom, top), 0)
    return jnp.where(jnp.isinf(q), jnp.nan, jnp.where(chaos, inside, 1))


def _scale(slope: Scalar) -> Scalar:
    """The number of layers in which a deviation falls by e, if each multiplies it by `slope`."""
    return jnp.where(slope >= 1, jnp.inf, -1 / jnp.log(jnp.abs(slope)))


@_formula
def xi_q(activation: Name, sigma_w: Number, sigma_b: Number) -> Scalar:
    """ξ_q, in layers: q[l] - q* ~ e^(-l/ξ_q), so ξ_q = -1/ln(dq[l+1]/dq[l]) at q*.

    That derivative is σ_w² E[σ(z) σ′(z) g]/√q*, without σ″. inf at criticality, nan if q* is inf.

    Example:
        >>> round(float(xi_q("relu", 1.0, 1.0)), 4)  # 1/ln 2
        1.4427
    """
    q = fixed_point(activation, sigma_w, sigma_b)
    slope = expectation(activation, q, lambda f, z, g: f.sigma(z) * f.prime(z) * g) / root_of(q)
    return _scale(sigma_w**2 * slope)


@_formula
def xi_c(activation: Name, sigma_w: Number, sigma_b: Number) -> Scalar:
    """ξ_c, in layers: c[l] - c* ~ e^(-l/ξ_c), so ξ_c = -1/ln(σ_w² E[σ′(z) σ′(z̃)]) at q* and c*.

    In order, where c* = 1, it is -1/ln χ. inf at criticality, nan if q* is inf.

    Example:
        >>> round(float(xi_c("relu", 1.0, 1.0)), 4)  # 1/ln 2
        1.4427
    """
    f, q = find_activation(activation), fixed_point(activation, sigma_w, sigma_b)
    c = correlation_fixed_point(activation, sigma_w, sigma_b)
    chaos = sigma_w**2 * expectation_of_two(f.prime, f.kinks, q, c)
    return _scale(jnp.where(c == 1, chi(activation, sigma_w, q), chaos))


@_formula
def lengths(
    activation: Name, sigma_w: Number, sigma_b: Number, q0: Number, depth: int
) -> Float[Array, " depth"]:
    """q[1] = σ_w² q0 + σ_b², q[2], …, q[depth]: the mean square of z in each hidden layer.

    q0 is the mean square of the input's entries. 0 and inf beyond the range of the float.

    Example:
        >>> lengths("relu", 1.0, 0.0, 1.0, 3).round(4).tolist()
        [1.0, 0.5, 0.25]
    """

    def layer(q: Scalar, _: None) -> tuple[Scalar, Scalar]:
        return length_map(activation, sigma_w, sigma_b, q), q

    first = jnp.asarray(sigma_w**2 * q0 + sigma_b**2)
    return lax.scan(layer, first, None, length=depth)[1]


@_formula
def log_delta(
    activation: Name, sigma_w: Number, sigma_b: Number, q0: Number, depth: int
) -> Float[Array, " depth"]:
    """Predicted ln ‖Δz[l]‖ - ln ‖Δz[depth]‖ of the hidden layers l = 1 … depth, in nats.

    ½ Σ ln χ(q[m]) over m = l … depth-1, along `lengths`. Shape (depth,); the last entry is 0.

    Example:
        >>> log_delta("relu", 1.0, 0.0, 1.0, 3).round(3).tolist()  # ½ ln ½ a layer
        [-0.693..., -0.347..., 0.0]
    """
    q = lengths(activation, sigma_w, sigma_b, q0, depth)
    factors = lax.map(lambda q: chi(activation, sigma_w, _bounded(q)), q)
    return _from_the_top(0.5 * jnp.log(factors))


@_formula
def log_delta_band(
    activation: Name, sigma_w: Number, sigma_b: Number, q0: Number, width: int, depth: int
) -> Band:
    """The bias and the standard deviation of `log_delta` at finite width n; (depth,) each.

    A layer adds -c/4n to the bias and c/4n to the variance, as the steps of log ‖Δz‖ in different
    layers are independent. c = 3 μ₂/μ₁² - 1, μ_k = E[σ′(√q g)^2k]. Exact to this order for Gaussian
    weights and relu or linear units, a lower bound for units that saturate. Source: Hanin & Nica
    2018, arXiv:1812.05994.

    Example:
        >>> band = log_delta_band("relu", 2**0.5, 0.0, 1.0, 100, 51)
        >>> round(float(band.bias[0]), 4), round(float(band.sd[0]), 4)  # -50 · 5/400 and its root
        (-0.625, 0.7906)
    """
    q = lengths(activation, sigma_w, sigma_b, q0, depth)
    each = lax.map(lambda q: _spread(activation, _bounded(q)), q) / (4 * width)
    return Band(-_from_the_top(each), jnp.sqrt(_from_the_top(each)))


@_formula
def slope_band(activation: Name, q: Number, width: int, depth: int) -> Band:
    """The bias -c/4n and sd ½ √(1.2 c/(n depth)) of a slope of ln ‖Δz[l]‖ at finite width n.

    In nats per layer, for a straight line fitted to one draw; c as in `log_delta_band`.

    Example:
        >>> round(float(slope_band("relu", 1.0, 100, 30).bias), 4)  # -5/400
        -0.0125
    """
    c = _spread(activation, jnp.asarray(q))
    return Band(-c / (4 * width), 0.5 * jnp.sqrt(1.2 * c / (width * depth)))


def _spread(activation: Name, q: Scalar) -> Scalar:
    """C = 3 μ₂/μ₁² - 1 of `log_delta_band`."""
    mu1 = expectation(activation, q, lambda f, z, g: f.prime(z) ** 2)
    mu2 = expectation(activation, q, lambda f, z, g: f.prime(z) ** 4)
    return 3 * mu2 / mu1**2 - 1


def _bounded(q: Scalar) -> Scalar:
    """Clip q: slopes no longer change far out, and √q · 0 must be 0 there, not inf · 0."""
    return jnp.minimum(q, tiny() ** -0.75)


def _from_the_top(each: Float[Array, " depth"]) -> Float[Array, " depth"]:
    """Entry l-1 is the sum over layers l … depth-1."""
    return jnp.append(jnp.cumsum(each[:-1][::-1])[::-1], 0.0)


def critical_sigma_w(activation: Name, sigma_b: Number) -> Scalar:
    """The σ_w with χ(q*) = 1 at q* of `fixed_point`: gradients neither vanish nor explode.

    σ_w = 1/√E[σ′(√q g)²] makes χ(q) = 1 at any q; q* is then the fixed point of length_map with
    that σ_w(q).

    Raises:
        ValueError: no σ_w has a finite q*, as for relu with σ_b > 0. Under `jit` the result is nan.

    Example:
        >>> [round(float(critical_sigma_w("tanh", sigma_b)), 3) for sigma_b in (0.0, 0.05**0.5)]
        [1.0, 1.327]
    """
    activation, sigma_w = find_activation(activation), _critical(activation, sigma_b)
    if not isinstance(sigma_w, jax.core.Tracer) and math.isnan(float(sigma_w)):
        raise ValueError(
            f"critical_sigma_w: for {activation.name} and sigma_b = {float(sigma_b):g} there is no "
            "sigma_w with chi = 1 at a finite q* that q tends to; choose another of the two"
        )
    return sigma_w


@_formula
def _critical(activation: Name, sigma_b: Number) -> Scalar:
    """Like `critical_sigma_w`, but nan instead of an error."""

    def balance(q: Scalar) -> Scalar:
        return 1 / jnp.sqrt(chi(activation, 1.0, q))

    sigma_w = balance(
        attracting_fixed_point(lambda q: length_map(activation, balance(q), sigma_b, q))
    )
    q = fixed_point(activation, sigma_w, sigma_b)  # the q found may be one that q[l] leaves
    reached = jnp.abs(chi(activation, sigma_w, q) - 1) < eps() ** 0.4
    return jnp.where(jnp.isfinite(q) & reached, sigma_w, jnp.nan)
