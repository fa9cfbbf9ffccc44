"""Convolutions of each channel by itself, depthwise ones, as sums of shifted products.

XLA's own takes twenty times as long on a CPU, of 7 × 7 places and 96 channels, and theory has a
mean of several for each replica and draw, up and down.
"""

from collections.abc import Mapping
from math import prod
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ...arrays.rows import at_least_float32

PLACES = 128  # of W at most; each is an operation of the program


def is_by_channel(params: Mapping[str, Any], x: Array, w: Array) -> bool:
    """Tell a convolution with as many groups as channels, below and above, and few places."""
    channels = x.shape[params["dimension_numbers"].lhs_spec[1]]
    return (
        params["feature_group_count"] == channels
        and params["batch_group_count"] == 1
        and max(params["lhs_dilation"], default=1) == 1
        and w.size <= channels * PLACES
        and w.shape[params["dimension_numbers"].rhs_spec[0]] == channels
    )


def by_channel(params: Mapping[str, Any], x: Array, w: Array) -> Array:
    """Return Σ over places t of W[t] times x that is shifted by t, of a convolution by channel."""
    numbers, dtype = params["dimension_numbers"], params["preferred_element_type"] or x.dtype
    (_, channel, *places), (above, below, *of_w) = numbers.lhs_spec, numbers.rhs_spec
    pads = [(0, 0, 0)] * x.ndim
    for axis, (low, high) in zip(places, params["padding"], strict=True):
        pads[axis] = (low, high, 0)
    padded = at_least_float32(lax.pad(x, jnp.zeros((), x.dtype), pads))
    taps = [w.shape[axis] for axis in of_w]
    steps, rates = np.ones(x.ndim, int), np.zeros(x.ndim, int)
    steps[places], rates[places] = params["window_strides"], params["rhs_dilation"]
    extent = np.array(padded.shape)
    extent[places] -= rates[places] * (np.array(taps) - 1)
    entries = at_least_float32(jnp.transpose(w, (*of_w, above, below)).reshape(prod(taps), -1))
    total: Any = 0
    for entry, tap in zip(entries, np.ndindex(*taps), strict=True):
        start = np.zeros(x.ndim, int)
        start[places] = rates[places] * tap
        shifted = lax.slice(padded, start.tolist(), (start + extent).tolist(), steps.tolist())
        total = total + shifted * lax.broadcast_in_dim(entry, shifted.shape, (channel,))
    order = [numbers.lhs_spec[i] for i in np.argsort(numbers.out_spec)]
    return jnp.transpose(total, order).astype(dtype)
