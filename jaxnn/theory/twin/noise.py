"""Random numbers of a twin: a hash of a counter, the same on every device.

    bits[i] = mix(mix(i c + key[0]) + key[1]),     c odd

JAX's own generator takes a third of a second of compilation for each array that is drawn, and a
layer of a twin draws a dozen. So the key of a layer comes from it, and the rest from this hash, two
rounds of the mixer of Wellons (`lowbias32`), whose bias is below .2 of that of murmur3's.

A key here is two numbers, uint32[2].
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt32

Key = UInt32[Array, "2"]


def _mix(x: UInt32[Array, "*s"]) -> UInt32[Array, "*s"]:
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def hashed(key: Key, numbers: Array) -> UInt32[Array, "*s"]:
    """Return random bits for numbers: equal for equal ones."""
    counters = numbers.astype(jnp.uint32) * jnp.uint32(0x9E3779B9)
    return _mix(_mix(counters + key[0]) + key[1])


def fold_in(key: Key, i: Array | int) -> Key:
    """Return the i-th key of a key."""
    return hashed(
        key ^ jnp.uint32(0x5BD1E995),
        2 * jnp.asarray(i, jnp.uint32) + jnp.arange(2, dtype=jnp.uint32),
    )


def bits(key: Key, shape: tuple[int, ...]) -> UInt32[Array, "*s"]:
    """Return random bits."""
    size = 1
    for n in shape:
        size *= n
    return hashed(key, jnp.arange(size, dtype=jnp.uint32)).reshape(shape)


def signs(words: UInt32[Array, "*s"], dtype: jnp.dtype) -> Array:
    """Return 1 or -1 for random bits."""
    return 1 - 2 * (words >> 31).astype(dtype)


def normal(key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Float[Array, "*s"]:
    """Return numbers of mean 0 and variance 1, Gaussian."""
    uniform = ((bits(key, shape) >> 9).astype(jnp.float32) + 0.5) * 2.0**-22 - 1
    return (jax.lax.erf_inv(uniform) * 2**0.5).astype(dtype)
