"""Signal: the forward pass in block floating point, and as much of it as memory is given.

An exploding network sends its signal out of a float's range too. Where σ(cz) = c σ(z) for c > 0
(relu, leaky_relu, identity) a row is carried as m × 2^e, as Δz is on the way back:

    a θ = (m θ) 2^e = p 2^f                              renormalised, so that c knows its size
    z = p 2^f + b = (p 2^(f-c) + b 2^-c) 2^c,            c = max(f, exponent of b)
    a = σ(z) = σ(z's mantissa) 2^(z's exponent),         σ′(z) = σ′(z's mantissa)

and scaling by powers of two changes no digit. A run goes up with exponents of 0 first, and
as above only where its signal nears the ends of the range. For every other σ the exponents stay 0:
the pass is that of `network.py`, and it can leave the range.

Of a run either every z is kept, or its input at every √k-th layer, and the layers between
are computed again on the way back.
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
    exponent_of,
    in_range,
    plain,
    power_of_two,
    renormalised,
    wide,
)
from .layers import Layer, Run, layer_of, length
from .network import Network

Depth = Array | int


class Moments(NamedTuple):
    """Of what a layer makes: means over each row, on the row's exponents of z and of a."""

    z_square: Float[Array, "*k B"]
    a_mean: Float[Array, "*k B"]
    a_spread: Float[Array, "*k B"]  # the mean of (a - a_mean)²


class Signal(NamedTuple):
    """What goes into a layer and what it makes of it; of a run, what each of k layers makes.

    There is no a but its exponent: σ(z) costs less to compute again than to read back.
    """

    a_in: BlockFloat
    z: BlockFloat
    a_exponent: Int[Array, "*k B"]
    moments: Moments


def signal_of(net: Network, layer: Layer, a_in: BlockFloat) -> tuple[BlockFloat, Signal]:
    """The a that leaves a hidden layer, and its signal."""
    a, z, moments = _made(net, _z, layer, a_in)
    exponent = _exponent_of_a(net, a.exponent, moments)
    return a._replace(exponent=exponent), Signal(a_in, z, exponent, moments)


def output_signal(net: Network, layer: Layer, a_in: BlockFloat) -> Signal:
    """The signal of the output layer, whose a is ŷ."""
    z = _z(net, layer, a_in)
    y_hat = output_of(net, z)
    moments = _moments(z, y_hat)
    return Signal(a_in, z, _exponent_of_a(net, y_hat.exponent, moments), moments)


ZOf = Callable[[Network, Layer, BlockFloat], BlockFloat]


def _made(
    net: Network, z_of: ZOf, layer: Layer, a_in: BlockFloat
) -> tuple[BlockFloat, BlockFloat, Moments]:
    """A hidden layer's a, on the exponents of its z, that z and their moments."""
    z = z_of(net, layer, a_in)
    a = z._replace(mantissa=net.activation.sigma(z.mantissa))
    return a, z, _moments(z, a)


def _moments(z: BlockFloat, a: BlockFloat) -> Moments:
    rows = wide(a.mantissa)
    mean = jnp.mean(rows, axis=-1)
    return Moments(
        z_square=jnp.mean(jnp.square(wide(z.mantissa)), axis=-1),
        a_mean=mean,
        a_spread=jnp.mean(jnp.square(rows - mean[:, None]), axis=-1),
    )


def _exponent_of_a(net: Network, exponent: Array, moments: Moments) -> Array:
    """NEVER for examples whose units are all off: sums over examples must not see theirs."""
    if not net.activation.homogeneous:
        return exponent
    off = (moments.a_mean == 0) & (moments.a_spread == 0)
    return jnp.where(off, NEVER, exponent)


def output_of(net: Network, z: BlockFloat) -> BlockFloat:
    """ŷ. Beyond the range only a linear output has one; the others have long become 0 or 1."""
    return z if net.task.name == "regression" else plain(net.task.output(in_range(z).mantissa))


def delta_of_loss(net: Network, z: BlockFloat, ys: Float[Array, "B n"]) -> BlockFloat:
    """Δz[L] of a batch's mean loss, (ŷ - y) / B."""
    if net.task.name == "regression":
        largest = jnp.max(jnp.abs(ys), axis=1)
        common = jnp.maximum(z.exponent, jnp.where(largest == 0, NEVER, exponent_of(largest)))
        labels = ys * power_of_two(-common, ys)[:, None]
        z_hat = z.mantissa * power_of_two(z.exponent - common, ys)[:, None]
        delta = BlockFloat(net.task.delta_z(z_hat, labels), common)
    else:
        delta = plain(net.task.delta_z(in_range(z).mantissa, ys))
    return renormalised(delta._replace(mantissa=delta.mantissa / len(ys)))


def _plain_z(net: Network, layer: Layer, a: BlockFloat) -> BlockFloat:
    """Where the exponents of a are 0."""
    return a._replace(mantissa=a.mantissa @ layer.theta + layer.b[None, :])


def _z(net: Network, layer: Layer, a: BlockFloat) -> BlockFloat:
    if not net.activation.homogeneous:
        return _plain_z(net, layer, a)
    largest = jnp.max(jnp.abs(layer.b))
    of_b = jnp.where(largest == 0, NEVER, exponent_of(largest))
    product = renormalised(a._replace(mantissa=a.mantissa @ layer.theta))
    common = jnp.maximum(product.exponent, of_b)
    of_a = power_of_two(product.exponent - common, layer.b)[:, None]
    b = layer.b[None, :] * power_of_two(-common, layer.b)[:, None]
    return BlockFloat(product.mantissa * of_a + b, common)


def run_signal(net: Network, run: Run, a: BlockFloat, depth: Depth) -> tuple[BlockFloat, Signal]:
    """The a that leaves a run, and the signal of every layer of it that is used.

    Renormalising every row in every layer is a tenth of the time of a narrow flow, and nearly
    always for nothing: it is done only if the signal does not stay well within the range.
    """

    def passed(z_of: ZOf, a: BlockFloat, used: Depth, kept: Any) -> tuple[BlockFloat, Any]:
        def body(j: Array, state: tuple[BlockFloat, Any]) -> tuple[BlockFloat, Any]:
            a, kept = state
            a, *made = _made(net, z_of, layer_of(run, j), a)
            put = partial(lax.dynamic_update_index_in_dim, index=j, axis=0)
            return a, jax.tree.map(put, kept, made)

        looped: tuple[BlockFloat, Any] = lax.fori_loop(0, used, body, (a, kept))
        return looped

    k = length(run)
    _, *shapes = jax.eval_shape(lambda a: _made(net, _z, layer_of(run, 0), a), a)
    empty = jax.tree.map(lambda v: jnp.zeros((k, *v.shape), v.dtype), shapes)
    top, kept = passed(_plain_z, plain(in_range(a).mantissa), depth, empty)
    if net.activation.homogeneous:
        fits = _fits(a, kept[1].z_square, depth)
        again, kept = passed(_z, a, jnp.where(fits, 0, depth), kept)
        top = _settled(net, jax.tree.map(partial(jnp.where, fits), top, again))
    z, moments = kept
    return top, Signal(a, z, _exponent_of_a(net, z.exponent, moments), moments)


def _fits(a: BlockFloat, z_square: Array, depth: Depth) -> Array:
    """Whether what goes into a run and the z of its used layers are far from the ends of the range.

    They are where their size is within 2^±(a third of the largest exponent).
    """
    most = int(jnp.finfo(a.mantissa.dtype).maxexp) // 3  # type: ignore[no-untyped-call]
    used = (jnp.arange(len(z_square)) < depth)[:, None]
    z_fits = ~used | ((z_square > 4.0**-most) & (z_square < 4.0**most))
    a_fits = (jnp.abs(a.exponent) < most) | (a.exponent == NEVER)
    return jnp.all(z_fits) & jnp.all(a_fits)


def segment_size(k: int) -> int:
    """How many layers of a run of k are computed again at a time: √k, rounded up."""
    return math.isqrt(k - 1) + 1


def segment_starts(
    net: Network, run: Run, a: BlockFloat, depth: Depth
) -> tuple[BlockFloat, BlockFloat]:
    """The a that leaves a run, and what goes into every `segment_size`-th layer of it."""
    size = segment_size(length(run))
    count = -(-length(run) // size)

    def layer(j: Array, a: BlockFloat) -> BlockFloat:
        return _made(net, _z, layer_of(run, j), a)[0]

    def segment(i: Array, state: tuple[BlockFloat, BlockFloat]) -> tuple[BlockFloat, BlockFloat]:
        a, kept = state
        a = _settled(net, a)
        put = partial(lax.dynamic_update_index_in_dim, index=i, axis=0)
        kept = jax.tree.map(put, kept, a)
        end = jnp.minimum((i + 1) * size, depth)
        return lax.fori_loop(i * size, end, layer, a), kept

    empty = jax.tree.map(lambda v: jnp.zeros((count, *v.shape), v.dtype), a)
    top, starts = lax.fori_loop(0, -(-depth // size), segment, (a, empty))
    return _settled(net, top), starts


def _settled(net: Network, a: BlockFloat) -> BlockFloat:
    """With NEVER for examples whose units are all off, which on the way up nobody needs."""
    return renormalised(a) if net.activation.homogeneous else a


def segment_of(run: Run, i: Array) -> Layer:
    """The layers of segment i as a run of their own; past the end, the last layer again."""
    k, size = length(run), segment_size(length(run))
    places = jnp.minimum(i * size + jnp.arange(size), k - 1)
    return Layer(*lax.map(partial(layer_of, run), places))
