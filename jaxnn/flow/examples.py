"""The forward twin of a gradient: what is left of the examples on the way up.

    spread   s[l]² = mean (z[l] - mean over examples of z[l])² / mean z[l]²
    tangent  t[l] = (dz[l] / dz[l-1]) t[l-1],   t[0] = (x of the next example - x) / √2

A network that makes its examples alike cannot tell them apart, whatever its gradient. Rounding
keeps a spread at some eps of the dtype: below that it says nothing. The tangent goes on. It is what
differs between examples to first order, carried up with an exponent like a gradient on its way
down; √2 makes it as large as the deviation from the mean. The deviation itself would be no
direction to take: that scales the batch, which a norm undoes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..arrays.loops import gathered
from ..arrays.rows import (
    LN2,
    ScaledRows,
    alignment,
    at_least_float32,
    exponent_of,
    floats,
    power_of_two,
    with_floats,
)
from .formats import NOISE

RANK_OF = 64  # examples, at most, whose effective rank is taken


def flat(v: Array) -> Float[Array, "B n"]:
    """Return one row for each example, in at least float32."""
    return at_least_float32(v).reshape(len(v), -1)


def unit_of(v: Array) -> Float[Array, ""]:
    """Return the largest |entry|, by which squares stay in range; 1 if there is none to divide."""
    most = jnp.max(jnp.abs(v), initial=0.0)
    return jnp.where((most > 0) & jnp.isfinite(most), most, 1)


def log_of_norm(v: Array) -> Float[Array, ""]:
    """Return ln of the norm of all entries, in range whatever their squares are."""
    v = at_least_float32(v)
    unit = unit_of(v)
    log: Array = 0.5 * jnp.log(jnp.sum(jnp.square(v / unit))) + jnp.log(unit)
    return log


def examples_of(rows: Float[Array, "B n"], eps: float) -> dict[str, Array]:
    """Return log_spread, cosine and rank of the rows of a state.

    Args:
        rows: an example each.
        eps: of the dtype that they were computed in; the rank of mere rounding is nan.
    """
    count = len(rows)
    rows = rows / unit_of(rows)
    deviation = rows - jnp.mean(rows, axis=0, keepdims=True)
    spread = jnp.sqrt(jnp.mean(jnp.square(deviation)) / jnp.mean(jnp.square(rows)))
    norms = jnp.sqrt(jnp.sum(jnp.square(rows), axis=1))
    units = rows / jnp.where(norms == 0, 1, norms)[:, None]
    total = jnp.sum(jnp.square(jnp.sum(units, axis=0)))
    some = gathered(deviation)[:RANK_OF]  # all with all
    gram = some @ some.T
    rank = jnp.square(jnp.trace(gram)) / jnp.sum(jnp.square(gram))
    if count == 1:  # nothing to compare it with
        return dict.fromkeys(("log_spread", "cosine", "rank"), jnp.full_like(total, jnp.nan))
    return {
        "log_spread": jnp.log(spread),
        "cosine": (total - count) / (count * (count - 1.0)),
        "rank": jnp.where(spread > NOISE * eps, rank, jnp.nan),
    }


class Pushed(NamedTuple):
    """A state with the tangent t × 2^e of its floats; where z has exponents, t is in them too."""

    z: ScaledRows
    t: list[Array]
    e: Int[Array, ""]


def at_start(x: ScaledRows) -> Pushed:
    """Return x with a tangent towards the next example; without floats the first state has it."""
    if x.e is not None:  # then one exponent for all, since examples are subtracted
        scale, common = alignment(x.e, x.m)
        x = ScaledRows(x.m * scale[:, None], jnp.full_like(x.e, common))
    apart = [(jnp.roll(v, -1, axis=0) - v) * 0.5**0.5 for v in floats(x.m)]
    return _renormalised(x, apart, jnp.zeros((), jnp.int32))


def pushed(forward: Callable[[ScaledRows], ScaledRows], below: Pushed) -> Pushed:
    """Return what comes out of a layer with its tangent, J t, by `jax.jvp`."""

    def of(values: list[Array]) -> tuple[list[Array], ScaledRows]:
        out = forward(below.z._replace(m=with_floats(below.z.m, values)))
        return floats(out.m), out

    if not below.t:
        return at_start(forward(below.z))
    _, t, out = jax.jvp(of, (floats(below.z.m),), (below.t,), has_aux=True)
    return _renormalised(out, t, below.e)


def log_tangent(state: Pushed, dtype: Any) -> Float[Array, ""]:
    """Return ln of the root mean square of a tangent, relative to that of its state."""
    scale = jnp.ones(1, dtype)
    if state.z.e is not None:
        scale = alignment(state.z.e, scale)[0]

    def log_size(values: list[Array]) -> Array:
        rows = jnp.concatenate([flat(v).astype(dtype) for v in values], axis=1) * scale[:, None]
        unit = unit_of(rows)
        return 0.5 * jnp.log(jnp.mean(jnp.square(rows / unit))) + jnp.log(unit)

    log: Array = log_size(state.t) - log_size(floats(state.z.m)) + state.e.astype(dtype) * LN2
    return log


def _renormalised(z: ScaledRows, t: list[Array], e: Array) -> Pushed:
    """Bring the largest |entry| of a tangent into [1, 2)."""
    if not t:
        return Pushed(z, t, e)
    most = jnp.max(jnp.stack([unit_of(at_least_float32(v)).astype(jnp.float32) for v in t]))
    infos = [jnp.finfo(v.dtype) for v in t]  # type: ignore[no-untyped-call]
    limit = min(int(info.maxexp) for info in infos) - 2
    k = jnp.clip(exponent_of(most), -limit, limit)
    return Pushed(z, [v * power_of_two(-k, v) for v in t], e + k)
