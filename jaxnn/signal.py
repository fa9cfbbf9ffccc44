"""Signal: the forward pass in block floating point, with optional recomputation to save memory.

In an exploding network the signal leaves a float's range too. If σ(cz) = c σ(z) for c > 0 (relu,
leaky_relu, identity), a row is carried as m × 2^e, like Δz on the way back:

    a θ = (m θ) 2^e = p 2^f                              renormalised, so that c knows its size
    z = p 2^f + b = (p 2^(f-c) + b 2^-c) 2^c,            c = max(f, exponent of b)
    a = σ(z) = σ(z's mantissa) 2^(z's exponent),         σ′(z) = σ′(z's mantissa)

and scaling by powers of two changes no digit. A run goes up with exponents of 0 first, and as above
only if its signal comes near the ends of the range. For every other σ the exponents stay 0: the
pass is that of `network.py`, and it can leave the range.

Of a run either every z is stored, or its input at every √k-th layer; the layers between are then
computed again on the way back.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from .blockfloat import (
    NEVER,
    BlockFloat,
    as_plain,
    at_least_float32,
    exponent_of,
    in_range,
    power_of_two,
    renormalised,
)
from .layers import Layer, Run, layer_of, length
from .loops import loop, zeros
from .network import Network


class Moments(NamedTuple):
    """Per-example means of z² and a, and the variance of a, on the row's exponents of z and a."""

    z_square: Float[Array, "*k B"]
    a_mean: Float[Array, "*k B"]
    a_spread: Float[Array, "*k B"]  # mean of (a - a_mean)²


class Signal(NamedTuple):
    """The input of a layer, its z and its moments; of a run, z and moments of each of k layers.

    Only the exponent of a is stored: σ(z) costs less to compute again than to read back.
    """

    a_in: BlockFloat
    z: BlockFloat
    a_exponent: Int[Array, "*k B"]
    moments: Moments


def signal_of(net: Network, layer: Layer, a_in: BlockFloat) -> tuple[BlockFloat, Signal]:
    """Return the a of a hidden layer, and its signal."""
    a, z, moments = _layer(net, _z, layer, a_in)
    exponent = _exponent_of_a(net, a.exponent, moments)
    return a._replace(exponent=exponent), Signal(a_in, z, exponent, moments)


def output_signal(net: Network, layer: Layer, a_in: BlockFloat) -> Signal:
    """Return the signal of the output layer, whose a is ŷ."""
    z = _z(net, layer, a_in)
    y_hat = output_of(net, z)
    moments = _moments(z, y_hat)
    return Signal(a_in, z, _exponent_of_a(net, y_hat.exponent, moments), moments)


ZOf = Callable[[Network, Layer, BlockFloat], BlockFloat]


def _layer(
    net: Network, z_of: ZOf, layer: Layer, a_in: BlockFloat
) -> tuple[BlockFloat, BlockFloat, Moments]:
    """A hidden layer's a, on the exponents of its z; its z and the moments of both."""
    z = z_of(net, layer, a_in)
    a = z._replace(mantissa=net.activation.sigma(z.mantissa))
    return a, z, _moments(z, a)


def _moments(z: BlockFloat, a: BlockFloat) -> Moments:
    rows = at_least_float32(a.mantissa)
    mean = jnp.mean(rows, axis=-1)
    return Moments(
        z_square=jnp.mean(jnp.square(at_least_float32(z.mantissa)), axis=-1),
        a_mean=mean,
        a_spread=jnp.mean(jnp.square(rows - mean[:, None]), axis=-1),
    )


def _exponent_of_a(net: Network, exponent: Array, moments: Moments) -> Array:
    """The exponents of a, NEVER for examples without an active unit, so that sums ignore them."""
    if not net.activation.homogeneous:
        return exponent
    off = (moments.a_mean == 0) & (moments.a_spread == 0)
    return jnp.where(off, NEVER, exponent)


def output_of(net: Network, z: BlockFloat) -> BlockFloat:
    """Return ŷ. Beyond the range only a linear ŷ needs an exponent; others are 0 or 1 by then."""
    return z if net.task.name == "regression" else as_plain(net.task.output(in_range(z).mantissa))


def delta_of_loss(net: Network, z: BlockFloat, ys: Float[Array, "B n"]) -> BlockFloat:
    """Return Δz[L] of a batch's mean loss, (ŷ - y) / B."""
    if net.task.name == "regression":
        largest = jnp.max(jnp.abs(ys), axis=1)
        common = jnp.maximum(z.exponent, jnp.where(largest == 0, NEVER, exponent_of(largest)))
        labels = ys * power_of_two(-common, ys)[:, None]
        z_hat = z.mantissa * power_of_two(z.exponent - common, ys)[:, None]
        delta = BlockFloat(net.task.delta_z(z_hat, labels), common)
    else:
        delta = as_plain(net.task.delta_z(in_range(z).mantissa, ys))
    return renormalised(delta._replace(mantissa=delta.mantissa / len(ys)))


def _plain_z(net: Network, layer: Layer, a: BlockFloat) -> BlockFloat:
    """The z of a layer whose a has exponents of 0."""
    return a._replace(mantissa=a.mantissa @ layer.theta + layer.b[None, :])


def _z(net: Network, layer: Layer, a: BlockFloat) -> BlockFloat:
    """The z of a layer, by the formulas at the head of this module."""
    if not net.activation.homogeneous:
        return _plain_z(net, layer, a)
    largest = jnp.max(jnp.abs(layer.b))
    b_exponent = jnp.where(largest == 0, NEVER, exponent_of(largest))
    product = renormalised(a._replace(mantissa=a.mantissa @ layer.theta))
    common = jnp.maximum(product.exponent, b_exponent)
    scale = power_of_two(product.exponent - common, layer.b)[:, None]
    b = layer.b[None, :] * power_of_two(-common, layer.b)[:, None]
    return BlockFloat(product.mantissa * scale + b, common)


def run_signal(
    net: Network, run: Run, a: BlockFloat, depth: Array | int
) -> tuple[BlockFloat, Signal]:
    """Return the a of the last layer used of a run, and the signal of every layer used.

    Renormalising every row in every layer takes a tenth of the time of a narrow flow, and is seldom
    needed. So the run is passed without it first, and again with it if the signal comes near the
    ends of the range.
    """

    def go_up(z_of: ZOf, a: BlockFloat, used: Array | int, rows: Any) -> tuple[BlockFloat, Any]:
        def body(j: Array, state: tuple[BlockFloat, Any]) -> tuple[BlockFloat, Any]:
            a, rows = state
            a, *row = _layer(net, z_of, layer_of(run, j), a)
            put = partial(lax.dynamic_update_index_in_dim, index=j, axis=0)
            return a, jax.tree.map(put, rows, row)

        looped: tuple[BlockFloat, Any] = loop(0, used, body, (a, rows))
        return looped

    k = length(run)
    _, *shapes = jax.eval_shape(lambda a: _layer(net, _z, layer_of(run, 0), a), a)
    empty = jax.tree.map(partial(zeros, k), shapes)
    top, rows = go_up(_plain_z, as_plain(in_range(a).mantissa), depth, empty)
    if net.activation.homogeneous:
        fits = _fits(a, rows[1].z_square, depth)
        again, rows = go_up(_z, a, jnp.where(fits, 0, depth), rows)
        top = _settled(net, jax.tree.map(partial(jnp.where, fits), top, again))
    z, moments = rows
    return top, Signal(a, z, _exponent_of_a(net, z.exponent, moments), moments)


def _fits(a: BlockFloat, z_square: Array, depth: Array | int) -> Array:
    """Return whether the input of a run and the z of its used layers are well within the range.

    That is, their sizes are within 2^±(a third of the largest exponent).
    """
    most = int(jnp.finfo(a.mantissa.dtype).maxexp) // 3  # type: ignore[no-untyped-call]
    used = (jnp.arange(len(z_square)) < depth)[:, None]
    z_fits = ~used | ((z_square > 4.0**-most) & (z_square < 4.0**most))
    a_fits = (jnp.abs(a.exponent) < most) | (a.exponent == NEVER)
    return jnp.all(z_fits) & jnp.all(a_fits)


def segment_size(k: int) -> int:
    """The number of layers of a run of k that are computed again at a time: √k, rounded up."""
    return math.isqrt(k - 1) + 1


def segment_starts(
    net: Network, run: Run, a: BlockFloat, depth: Array | int
) -> tuple[BlockFloat, BlockFloat]:
    """Return the a of the last layer used of a run, and the input of each segment."""
    size = segment_size(length(run))
    count = -(-length(run) // size)

    def layer(j: Array, a: BlockFloat) -> BlockFloat:
        return _layer(net, _z, layer_of(run, j), a)[0]

    def segment(i: Array, state: tuple[BlockFloat, BlockFloat]) -> tuple[BlockFloat, BlockFloat]:
        a, starts = state
        a = _settled(net, a)
        put = partial(lax.dynamic_update_index_in_dim, index=i, axis=0)
        starts = jax.tree.map(put, starts, a)
        end = jnp.minimum((i + 1) * size, depth)
        return loop(i * size, end, layer, a), starts

    empty = jax.tree.map(partial(zeros, count), a)
    top, starts = loop(0, -(-depth // size), segment, (a, empty))
    return _settled(net, top), starts


def _settled(net: Network, a: BlockFloat) -> BlockFloat:
    """Give examples without an active unit the exponent NEVER, which only sums need."""
    return renormalised(a) if net.activation.homogeneous else a


def segment_of(run: Run, i: Array) -> Layer:
    """Return the layers of segment i as a run; past the end, the last layer again."""
    k, size = length(run), segment_size(length(run))
    places = jnp.minimum(i * size + jnp.arange(size), k - 1)
    return Layer(*lax.map(partial(layer_of, run), places))
