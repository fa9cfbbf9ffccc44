"""Signal: the forward pass in block floating point, and as much of it as memory is given.

An exploding network sends its signal out of a float's range too. Where σ(cz) = c σ(z) for c > 0
(relu, leaky_relu, identity) a row is carried as m × 2^e, as Δz is on the way back:

    a θ = (m θ) 2^e = p 2^f                              renormalised, so that c knows its size
    z = p 2^f + b = (p 2^(f-c) + b 2^-c) 2^c,            c = max(f, exponent of b)
    a = σ(z) = σ(z's mantissa) 2^(z's exponent),         σ′(z) = σ′(z's mantissa)

and scaling by powers of two changes no digit. For every other σ the exponents stay 0: the pass is
that of `network.py`, and it can leave the range.

Of a run either every z and a is kept, or its input at every √k-th layer, and the layers between
are computed again on the way back.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from .blockfloat import (
    NEVER,
    BlockFloat,
    aligned,
    exponent_of,
    in_range,
    power_of_two,
    renormalised,
    wide,
)
from .layers import Layer, Run, layer_of, length
from .network import Network

Depth = Array | int


class Square(NamedTuple):
    """A mean square, mantissa × 2^exponent."""

    mantissa: Float[Array, "*k"]
    exponent: Int[Array, "*k"]


class Signal(NamedTuple):
    """What goes into one layer and what it makes of it; of a run, k of each but the first.

    The z of a hidden layer is not kept: the way back needs no more of it than σ′(z).
    """

    a_in: BlockFloat
    a: BlockFloat
    slope: Float[Array, "*k B n"]  # σ′(z); of the last layer 1, its g′ is not in the recursion
    square: Square  # of z over batch and units


def hidden_signal(net: Network, layer: Layer, a: BlockFloat) -> Signal:
    """A hidden layer's signal."""
    z = _z(net, layer, a)
    out = BlockFloat(net.activation.sigma(z.mantissa), z.exponent)
    if net.activation.homogeneous:  # an example whose units are all off has no exponent
        off = jnp.all(out.mantissa == 0, axis=1)
        out = out._replace(exponent=jnp.where(off, NEVER, out.exponent))
    return Signal(a, out, net.activation.prime(z.mantissa), _mean_square(z))


def output_signal(net: Network, layer: Layer, a: BlockFloat) -> tuple[BlockFloat, Signal]:
    """z[L], as far as possible within the range, and the last layer's signal; its a is ŷ.

    Beyond the range only a linear output has a ŷ there; the others have long become 0 or 1.
    """
    z = _z(net, layer, a)
    square = _mean_square(z)
    if net.task.name == "regression":
        y_hat = z
    else:
        z = in_range(z)
        y_hat = BlockFloat(net.task.output(z.mantissa), jnp.zeros_like(z.exponent))
    return z, Signal(a, y_hat, jnp.ones_like(z.mantissa), square)


def _mean_square(z: BlockFloat) -> Square:
    rows, common = aligned(z)
    return Square(jnp.mean(jnp.square(wide(rows))), 2 * common)


def delta_of_loss(net: Network, z: BlockFloat, ys: Float[Array, "B n"]) -> BlockFloat:
    """Δz[L] of a batch's mean loss, (ŷ - y) / B, from the z of `output_signal`."""
    if net.task.name == "regression":
        largest = jnp.max(jnp.abs(ys), axis=1)
        common = jnp.maximum(z.exponent, jnp.where(largest == 0, NEVER, exponent_of(largest)))
        labels = ys * power_of_two(-common, ys)[:, None]
        z_hat = z.mantissa * power_of_two(z.exponent - common, ys)[:, None]
        delta = BlockFloat(net.task.delta_z(z_hat, labels), common)
    else:
        delta = BlockFloat(net.task.delta_z(z.mantissa, ys), jnp.zeros_like(z.exponent))
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

    def layer(j: Array, a: BlockFloat) -> Signal:
        return hidden_signal(net, layer_of(run, j), a)

    def body(j: Array, state: tuple[BlockFloat, Signal]) -> tuple[BlockFloat, Signal]:
        below, kept = state
        of_layer = layer(j, below)
        put = partial(lax.dynamic_update_index_in_dim, index=j, axis=0)
        return of_layer.a, Signal(a, *jax.tree.map(put, kept[1:], of_layer[1:]))

    k, shapes = length(run), jax.eval_shape(layer, 0, a)
    empty = jax.tree.map(lambda v: jnp.zeros((k, *v.shape), v.dtype), shapes)
    looped: tuple[BlockFloat, Signal] = lax.fori_loop(0, depth, body, (a, empty._replace(a_in=a)))
    return looped


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
        return hidden_signal(net, layer_of(run, j), a).a

    def segment(i: Array, state: tuple[BlockFloat, BlockFloat]) -> tuple[BlockFloat, BlockFloat]:
        a, kept = state
        put = partial(lax.dynamic_update_index_in_dim, index=i, axis=0)
        kept = jax.tree.map(put, kept, a)
        end = jnp.minimum((i + 1) * size, depth)
        return lax.fori_loop(i * size, end, layer, a), kept

    empty = jax.tree.map(lambda v: jnp.zeros((count, *v.shape), v.dtype), a)
    looped: tuple[BlockFloat, BlockFloat] = lax.fori_loop(0, -(-depth // size), segment, (a, empty))
    return looped


def segment_of(run: Run, i: Array) -> Layer:
    """The layers of segment i as a run of their own; past the end, the last layer again."""
    k, size = length(run), segment_size(length(run))
    places = jnp.minimum(i * size + jnp.arange(size), k - 1)
    return Layer(*lax.map(partial(layer_of, run), places))
