"""A block after a norm, z′ = f(N(z)): what the three norms share, and those over units.

    Δ(θ, b) = Δ(θ, b) of f at ẑ = N(z)          Δz = Δẑ through N, Δẑ the Δz of f

A norm divides by a size. So z is renormalised first, and its exponent divides the way back: neither
its square nor the quotient leaves the range of a float that its numbers are in.

In the limit of infinite width N(z) = z / √(q + ε) for a norm over units, whose mean is 0, and what
its way back projects out is one direction of many: so f has q / (q + ε), and E‖Δz‖² is divided by
q + ε.

of a layer norm, μ and s² the mean and the variance of an example's units, ε added to s²
    ẑ = (z - μ) / s          Δz = (Δẑ - mean_units Δẑ - ẑ mean_units(Δẑ ∘ ẑ)) / s
of an RMS norm, r = √(mean_units z² + ε)
    ẑ = z / r                Δz = (Δẑ - ẑ mean_units(Δẑ ∘ ẑ)) / r
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from ...arrays.compiled import Number, Scalar
from ...arrays.rows import (
    ScaledRows,
    exponent_of,
    power_of_two,
    renormalised,
    rounded,
    with_exponents,
)
from ..activations import Activation
from ..params import Layer
from .block import Block, Gradient
from .dense import DENSE
from .infinite_width import Ensemble, theory_of


class Normed(NamedTuple):
    """ẑ = N(z), and what the way back through N needs."""

    z_hat: Float[Array, "B n"]  # plain rows
    # Of the size of m, for rows (B, 1) or units (1, n); 0 where the size is 0.
    inverse: Float[Array, "..."]
    e: Int[Array, " B"]  # the exponents of z


def sized(z: ScaledRows, eps: float) -> ScaledRows:
    """Return z on exponents that neither its square nor, in the same unit, ε will overflow."""
    z = renormalised(with_exponents(z))
    if not eps:
        return z
    least = exponent_of(jnp.sqrt(jnp.asarray(eps, z.m.dtype)))
    common = jnp.maximum(z.e, least)
    return ScaledRows(z.m * power_of_two(z.e - common, z.m)[:, None], common)


def over_units(m: Float[Array, "B n"], e: Int[Array, " B"], eps: float) -> Normed:
    """Return each row over the root of its mean square plus ε; m and e are of `sized` rows."""
    square = jnp.mean(jnp.square(m), axis=1, keepdims=True)
    inverse = inverse_root(square + eps * power_of_two(-2 * e, m)[:, None])
    return Normed(m * inverse, inverse, e)


def inverse_root(square: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return 1/√x, and 0 for 0: a row of zeros stays one, and nothing comes back through it."""
    return jnp.where(square > 0, 1 / jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def unscaled(delta: ScaledRows, e: Int[Array, " B"]) -> ScaledRows:
    """Return delta 2^-e: with an exponent less, or plain."""
    if delta.e is not None:
        return ScaledRows(delta.m, delta.e - e)
    return ScaledRows(delta.m * power_of_two(-e, delta.m)[:, None])


@dataclass(frozen=True)
class Norm:
    """A block after a norm over units that has no parameters, such as N of an RMS norm.

    Args:
        inner: f, by default the article's layer.
        eps: ε >= 0, added to the mean square or variance.
    """

    is_centred: ClassVar[bool] = False

    inner: Block = DENSE
    eps: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.eps < float("inf"):
            raise ValueError(f"eps: expected a finite number >= 0, got {self.eps}")

    def normalise(self, z: ScaledRows) -> Normed:
        """Return N(z)."""
        m, e = sized(z, self.eps)
        if self.is_centred:
            m = m - jnp.mean(m, axis=1, keepdims=True)
        return over_units(m, e, self.eps)

    def back(self, normed: Normed, delta: ScaledRows) -> ScaledRows:
        """Return Δz from Δẑ."""
        z_hat, d = normed.z_hat, rounded(delta.m)
        along = jnp.mean(d * z_hat, axis=1, keepdims=True)
        if self.is_centred:
            d = d - jnp.mean(d, axis=1, keepdims=True)
        return unscaled(delta._replace(m=(d - z_hat * along) * normed.inverse), normed.e)

    def forward(self, sigma: Activation, layer: Layer, z: ScaledRows) -> tuple[ScaledRows, Any]:
        """Return z[i+1], and what f saved."""
        return self.inner.forward(sigma, layer, self.preactivation_of_inner(z))

    def backward(
        self, sigma: Activation, layer: Layer, z: ScaledRows, saved: PyTree, delta: ScaledRows
    ) -> tuple[Gradient, ScaledRows]:
        """Return Δθ[i], Δb[i] and Δa[i], and Δz[i]; delta is Δz[i+1]."""
        normed = self.normalise(z)
        gradient, delta_z_hat = self.inner.backward(
            sigma, layer, ScaledRows(normed.z_hat), saved, delta
        )
        return gradient, self.back(normed, delta_z_hat)

    def preactivation(self, z: ScaledRows) -> ScaledRows:
        """Return what f takes σ of."""
        return self.inner.preactivation(self.preactivation_of_inner(z))

    def preactivation_of_inner(self, z: ScaledRows) -> ScaledRows:
        """Return N(z) as rows."""
        return ScaledRows(self.normalise(z).z_hat)

    def length(self, ensemble: Ensemble, q: Number) -> Scalar:
        """Return q′ of f."""
        return theory_of(self.inner).length(ensemble, self._q_hat(q))

    def covariance(self, ensemble: Ensemble, q: Number, c: Number) -> Scalar:
        """Return E z′ z̃′ of f."""
        return theory_of(self.inner).covariance(ensemble, self._q_hat(q), c)

    def factor(self, ensemble: Ensemble, q: Number, c: Number) -> Scalar:
        """Return E‖Δz‖² / E‖Δz′‖², that of f over q + ε."""
        return theory_of(self.inner).factor(ensemble, self._q_hat(q), c) / (q + self.eps)

    def tangent(self, ensemble: Ensemble, q: Number, c: Number) -> Scalar:
        """Return d E z′ z̃′ / d E z z̃, that of f over q + ε."""
        return theory_of(self.inner).tangent(ensemble, self._q_hat(q), c) / (q + self.eps)

    def skip_gain(self, ensemble: Ensemble, q: Number) -> Scalar | float:
        """Return m of f over √(q + ε)."""
        return theory_of(self.inner).skip_gain(ensemble, self._q_hat(q)) / jnp.sqrt(q + self.eps)

    def _q_hat(self, q: Number) -> Scalar:
        """Return q / (q + ε), the mean square of N(z)."""
        return jnp.asarray(1 / (1 + self.eps / q), float) if self.eps else jnp.ones((), float)


@dataclass(frozen=True)
class LayerNorm(Norm):
    """z[i+1] = f((z[i] - μ) / s), mean and standard deviation over an example's units; Ba 2016.

    Without gain and shift: N has no parameters. Σ Δz over the units is 0. Of an example whose units
    are all equal N is zero, and so is its Δz.

    Args:
        inner: f, by default the article's layer.
        eps: ε >= 0, added to the variance.

    Raises:
        ValueError: ε is negative, nan or infinite.

    Example:
        >>> import jaxnn
        >>> net = jaxnn.Network((3, 4, 4, 1), "relu", "binary", hidden=jaxnn.blocks.LayerNorm())

    Source: arXiv:1607.06450.
    """

    is_centred: ClassVar[bool] = True


@dataclass(frozen=True)
class RMSNorm(Norm):
    """z[i+1] = f(z[i] / r), r the root mean square of an example's units; Zhang & Sennrich 2019.

    Without gain: N has no parameters. Of an example whose units are all zero N is zero, and so is
    its Δz.

    Args:
        inner: f, by default the article's layer.
        eps: ε >= 0, added to the mean square.

    Raises:
        ValueError: ε is negative, nan or infinite.

    Example:
        >>> import jaxnn
        >>> net = jaxnn.Network((3, 4, 4, 1), "relu", "binary", hidden=jaxnn.blocks.RMSNorm())

    Source: arXiv:1910.07467.
    """
