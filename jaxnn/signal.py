"""Signal: the forward pass in block floating point, and as much of it as memory is given.

An exploding network sends its signal out of a float's range too. Where σ(cz) = c σ(z) for c > 0
(relu, leaky_relu, identity) a row is carried as m × 2^e, as Δz is on the way back:

    a θ = (m θ) 2^e = p 2^f                              renormalised, so that c knows its size
    z = p 2^f + b = (p 2^(f-c) + b 2^-c) 2^c,            c = max(f, exponent of b)
    a = σ(z) = σ(z's mantissa) 2^(z's exponent),         σ′(z) = σ′(z's mantissa)

and scaling by powers of two changes no digit. For every other σ the exponents stay 0: the pass is
that of `network.py`, and it can leave the range.

Of a run either every z is kept, or its input at every √k-th layer, and the layers between
are computed again on the way back.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from .blockfloat import (
    NEVER,
    BlockFloat,
    exponent_of,
    in_range,
    plain,
    power_of_two,
    renormalised,
)
from .layers import Layer, Run, layer_of, length
from .network import Network

Depth = Array | int


class Signal(NamedTuple):
    """What goes into a layer and the z that it makes of it; of a run, the z of each of k layers.

    Nothing else is kept: a = σ(z) and σ′(z) cost less to compute again than to read back.
    """

    a_in: BlockFloat
    z: BlockFloat


def signal_of(net: Network, layer: Layer, a: BlockFloat) -> Signal:
    """A layer's signal."""
    return Signal(a, _z(net, layer, a))


def activation_of(net: Network, z: BlockFloat) -> BlockFloat:
    """The a of a hidden layer; of an example whose units are all off the exponent is NEVER."""
    return _settled(net, _through(net, z))


def _through(net: Network, z: BlockFloat) -> BlockFloat:
    return z._replace(mantissa=net.activation.sigma(z.mantissa))


def _settled(net: Network, a: BlockFloat) -> BlockFloat:
    """Sums over examples need that exponent, on the way up nothing does."""
    if not net.activation.homogeneous:
        return a
    off = jnp.max(jnp.abs(a.mantissa), axis=-1) == 0
    return a._replace(exponent=jnp.where(off, NEVER, a.exponent))


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


def _z(net: Network, layer: Layer, a: BlockFloat) -> BlockFloat:
    if not net.activation.homogeneous:
        return a._replace(mantissa=a.mantissa @ layer.theta + layer.b[None, :])
    largest = jnp.max(jnp.abs(layer.b))
    of_b = jnp.where(largest == 0, NEVER, exponent_of(largest))
    product = renormalised(a._replace(mantissa=a.mantissa @ layer.theta))
    common = jnp.maximum(product.exponent, of_b)
    of_a = power_of_two(product.exponent - common, layer.b)[:, None]
    b = layer.b[None, :] * power_of_two(-common, layer.b)[:, None]
    return BlockFloat(product.mantissa * of_a + b, common)


def run_signal(net: Network, run: Run, a: BlockFloat, depth: Depth) -> tuple[BlockFloat, Signal]:
    """The a that leaves a run, and the signal of every layer of it that is used."""

    def layer(j: Array, a: BlockFloat) -> BlockFloat:
        return _z(net, layer_of(run, j), a)

    def body(j: Array, state: tuple[BlockFloat, BlockFloat]) -> tuple[BlockFloat, BlockFloat]:
        a, kept = state
        z = layer(j, a)
        put = partial(lax.dynamic_update_index_in_dim, index=j, axis=0)
        return _through(net, z), jax.tree.map(put, kept, z)

    k, shapes = length(run), jax.eval_shape(layer, 0, a)
    empty = jax.tree.map(lambda v: jnp.zeros((k, *v.shape), v.dtype), shapes)
    top, z = lax.fori_loop(0, depth, body, (a, empty))
    return _settled(net, top), Signal(a, z)


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
        return _through(net, _z(net, layer_of(run, j), a))

    def segment(i: Array, state: tuple[BlockFloat, BlockFloat]) -> tuple[BlockFloat, BlockFloat]:
        a, kept = state
        put = partial(lax.dynamic_update_index_in_dim, index=i, axis=0)
        kept = jax.tree.map(put, kept, a)
        end = jnp.minimum((i + 1) * size, depth)
        return lax.fori_loop(i * size, end, layer, a), kept

    empty = jax.tree.map(lambda v: jnp.zeros((count, *v.shape), v.dtype), a)
    top, starts = lax.fori_loop(0, -(-depth // size), segment, (a, empty))
    return _settled(net, top), starts


def segment_of(run: Run, i: Array) -> Layer:
    """The layers of segment i as a run of their own; past the end, the last layer again."""
    k, size = length(run), segment_size(length(run))
    places = jnp.minimum(i * size + jnp.arange(size), k - 1)
    return Layer(*lax.map(partial(layer_of, run), places))
