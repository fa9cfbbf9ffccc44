"""Spectrum: the singular values of the Jacobian ∂z[L]/∂z[1], at any depth.

From z[l+1] = σ(z[l]) θ[l] + b[l], in row vectors,

    dz[l+1] = dz[l] F[l],   F[l] = diag(σ′(z[l])) θ[l],   J = ∂z[L]/∂z[1] = F[1] F[2] ⋯ F[L-1]

J is never formed: it leaves a float's range, and long before that its small singular values drown
in the rounding of the large ones. Instead its columns are separated by size, each a column of
numbers near 1 times a power of two of its own. From the right, dropping orthogonal P and V, which
change no singular value,

    F[l+1] ⋯ F[L-1] = W 2^e P,    e integers, one a column, 2^e short for diag(2^e)

    F[l] W 2^e = Q R 2^e            QR, columns sorted by size: R is upper triangular            (1)
        R 2^e  = 2^f U,  U = M V    rows scaled, then QR of Uᵀ: M is lower triangular            (2)
        2^f M  = N 2^e′             columns scaled: N is near the identity where sizes differ    (3)
            W′ = Q N                and F[l] ⋯ F[L-1] = W′ 2^e′ V P                              (4)

Scaling by powers of two is exact, so (1), (2) and (4) round numbers near 1 only. At the end W is
made orthogonal by one-sided Jacobi rotations of pairs of columns, which depend on e only through
differences; then the norms of the columns times 2^e are the singular values of J.

Index legend: B examples, L layers of weights, n[l] units in layer l, p columns of W (the fewest
units of any layer so far), k factors of one shape.
"""

import math
from collections.abc import Callable
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PyTree

from ..arrays.compiled import Numbers, compiled
from ..arrays.loops import loop, match_carry_type
from ..arrays.rows import LN2, ScaledRows, at_least_float32
from ..network.blocks import DENSE, rows_meet
from ..network.checks import check_stored, check_x, dtype_of
from ..network.network import Network
from ..network.params import Layer, Layers, Pairs, is_run, length
from .backprop import Batch
from .walk import BlockOp, kinds, layer_inputs, up

ZERO = -(2**28)  # the exponent of a column of zeros: below every other
SWEEPS = 40  # upper bound of sweeps over all pairs of columns; 6 to 10 are enough


class Spectrum(NamedTuple):
    """The n = min(n[1], n[L]) singular values s of each example's Jacobian J.

    log_singular_values: ln s, descending; -inf for s = 0.
    log_mean: ln of the mean of s² over the n values; -inf if all are 0.
    variance: the variance of s² / (mean of s²) over the n values; 0 if all are 0.
    """

    log_singular_values: Float[Array, "B n"]
    log_mean: Float[Array, " B"]
    variance: Float[Array, " B"]


class Factors(NamedTuple):
    """Consecutive factors diag(slopes) θ of one shape, k of them; k > 1 needs n_in = n_out.

    Of the article's layer θ is that of all examples. Of other kinds of blocks it is the whole
    ∂z[l+1]/∂z[l] of each example, (k, B, n, n), and the slopes are 1.
    """

    slopes: Float[Array, "*k_B n_in"]  # σ′(z[l]): (k, B, n_in), without B for one example
    theta: Float[Array, "*k_B n_in n_out"]


class Columns(NamedTuple):
    """The matrix w diag(2^e); the largest entry of each column of w is in [½, 1), or 0."""

    w: Float[Array, "n p"]
    e: Int[Array, " p"]


def spectrum_of_net(net: Network, params: Pairs, xs: Batch) -> Spectrum:
    """Return the spectrum of a Network with its parameters; see `jaxnn.flow.spectrum`."""
    layers = check_stored(net, params)
    meeting = next(filter(rows_meet, net.blocks), None)
    if meeting is not None:
        raise ValueError(
            f"hidden: {meeting!r} mixes the examples of a batch, so that one example has no "
            "Jacobian; expected a block that does not"
        )
    xs = check_x(net, xs)
    factors, finite = _factors(net, layers, xs)
    _check_range(finite, dtype_of(layers))
    s: Spectrum = product_spectrum(factors)
    return s


@compiled
def _factors(
    net: Network, params: Layers, xs: Numbers
) -> tuple[tuple[Factors, ...], Bool[Array, " L"]]:
    """The factors, and for each of z[1] … z[L-1] whether it is finite."""
    params = _of_equal_layers(net, params)
    top, saved = up(net, params, ScaledRows(jnp.asarray(xs, dtype_of(params))))
    rows = layer_inputs(params, saved)[1:]
    finite = [jnp.isfinite(z.m).all(axis=(-2, -1)).reshape(-1) for z in rows]
    return _factors_of(net, params, top, saved), jnp.concatenate([jnp.ones(0, bool), *finite])


def jacobian_factors(
    net: Network, params: Layers, xs: Float[Array, "B n_in"]
) -> tuple[Factors, ...]:
    """Return F[1], …, F[L-1] of each example; consecutive ones of equal shape are stacked."""
    params = _of_equal_layers(net, params)
    return _factors_of(net, params, *up(net, params, ScaledRows(xs)))


def _of_equal_layers(net: Network, params: Layers) -> Layers:
    """Return the parameters with each run cut where the kind of its layers changes."""
    ops, cut, i = kinds(net), [], 0
    for layer in params:
        k, start = length(layer) if is_run(layer) else 1, 0
        for _, same in groupby(ops[i : i + k]):
            part = slice(start, start + len(list(same)))
            cut.append(layer if part == slice(0, k) else Layer(layer.theta[part], layer.b[part]))
            start = part.stop
        i += k
    return tuple(cut)


def _factors_of(
    net: Network, params: Layers, top: ScaledRows, saved: list[Any]
) -> tuple[Factors, ...]:
    if len(params) == 1:  # no hidden layer
        identity = jnp.eye(net.sizes[1], dtype=top.m.dtype)
        return (Factors(jnp.ones_like(top.m)[None], identity[None]),)
    parts: list[Factors] = []
    ops, i = kinds(net), 0
    inputs = zip(params, layer_inputs(params, saved), saved, strict=True)
    for layer, (z, _), (_, extra, _) in inputs:
        kind = ops[i]
        i += length(layer) if is_run(layer) else 1
        if kind.takes_x:
            continue
        if kind.block == DENSE:
            # σ′ can be finite for a z that is not: relu has 1 or 0 there.
            slopes = jnp.where(jnp.isfinite(z), kind.sigma.prime(z), jnp.nan)
            one = Factors(slopes, layer.theta)
        else:
            jacobian = partial(_jacobian, kind)
            theta = (jax.vmap(jacobian) if is_run(layer) else jacobian)(layer, z, extra)
            one = Factors(jnp.where(jnp.isfinite(z), jnp.ones_like(z), jnp.nan), theta)
        parts.append(one if is_run(layer) else jax.tree.map(lambda v: v[None], one))
    groups = (list(group) for _, group in groupby(parts, key=lambda f: f.theta.shape[1:]))
    return tuple(jax.tree.map(lambda *f: jnp.concatenate(f), *group) for group in groups)


def _jacobian(
    kind: BlockOp, layer: Layer, z: Float[Array, "B n"], extra: PyTree
) -> Float[Array, "B n m"]:
    """Return ∂z[l+1]/∂z[l] of each example: column j is Δz from a Δz[l+1] that is 1 in unit j."""

    def column(one: Array) -> Array:
        delta = ScaledRows(jnp.broadcast_to(one, (len(z), len(one))))
        below: Array = kind.block.backward(kind.sigma, layer, ScaledRows(z), extra, delta)[1].m
        return below

    columns = jax.vmap(column)(jnp.eye(layer.b.shape[0], dtype=z.dtype))
    return jnp.moveaxis(columns, 0, -1)


def _check_range(finite: Bool[Array, " L"], dtype: jnp.dtype) -> None:
    """Raise, outside `jit`, if one of z[1] … z[L-1] has left the range of its dtype."""
    if not isinstance(finite, jax.core.Tracer) and not np.asarray(finite).all():
        raise ValueError(
            f"z[{1 + int(np.argmin(finite))}]: expected finite numbers, got inf or nan: the "
            f"forward pass has left the range of {dtype}; make the weights smaller or the float "
            "wider"
        )


@jax.jit
def product_spectrum(factors: tuple[Factors, ...]) -> Spectrum:
    """Return the spectrum of the product of all factors, the first one leftmost."""
    slopes, thetas = zip(*jax.tree.map(at_least_float32, factors), strict=True)
    with jax.default_matmul_precision("highest"):
        axes = tuple(1 if theta.ndim == 4 else None for theta in thetas)
        s: Spectrum = jax.vmap(_one_spectrum, in_axes=(1, axes))(slopes, thetas)
    return s


def _one_spectrum(slopes: tuple[Array, ...], thetas: tuple[Array, ...]) -> Spectrum:
    n_in, n_out = thetas[0].shape[1], thetas[-1].shape[2]
    live, factors = jnp.ones(n_in, bool), []
    for f in map(Factors, slopes, thetas):
        live, reached = _fold(_reach, live, f)
        factors.append(Factors(reached, f.theta))
    columns = Columns(jnp.eye(n_out, dtype=thetas[0].dtype), jnp.zeros(n_out, jnp.int32))
    for f in reversed(factors):
        columns, _ = _fold(_push, columns, f, reverse=True)
    return _summary(*_orthogonal_norms(columns), min(n_in, n_out))


def _fold(step: Callable[..., Any], carry: PyTree, f: Factors, reverse: bool = False) -> Any:
    """lax.scan over k square factors, or one step if a factor changes the carry's shape."""
    _, n_in, n_out = f.theta.shape
    one = Factors(f.slopes[0], f.theta[0])
    if n_in == n_out:
        carry = match_carry_type(lambda f, carry: step(carry, f)[0], one, carry)
        return lax.scan(step, carry, f, reverse=reverse)
    carry, out = step(carry, one)
    return carry, jax.tree.map(lambda part: part[None], out)


def _reach(live: Array, f: Factors) -> tuple[Array, Array]:
    """Zero the slopes of units that no path from z[1] reaches, so that zeros of J stay exact."""
    slopes = jnp.where(live, f.slopes, 0)
    paths = (slopes != 0).astype(jnp.float32) @ (f.theta != 0).astype(jnp.float32)
    return paths > 0, slopes


def _push(columns: Columns, f: Factors) -> tuple[Columns, None]:
    """Multiply by a factor from the left, (1) to (4).

    Rows are sorted from large to small: then small ones stay accurate, and zeros zero.
    """
    c, k = _by_column(f.slopes[:, None] * (f.theta @ columns.w))
    e = jnp.maximum(columns.e + k, ZERO)
    order = jnp.argsort(e, descending=True)
    rows = jnp.argsort(jnp.max(jnp.abs(c), axis=1), descending=True)
    q, r = jnp.linalg.qr(c[rows][:, order])  # (1)
    u, e = _by_column(r.T, e[order])
    m = jnp.linalg.qr(u, mode="r").T  # (2)
    n, e = _by_column(m, e)  # (3)
    return Columns((q @ n)[jnp.argsort(rows)], e), None  # (4)


def _by_column(a: Array, e: Array | None = None) -> Columns:
    """Write diag(2^e) a, or a itself, as columns of numbers near 1 times powers of two."""
    e = jnp.zeros(len(a), jnp.int32) if e is None else e
    mantissa, k = jnp.frexp(a)
    top = jnp.max(jnp.where(mantissa == 0, ZERO, k + e[:, None]), axis=0)
    return Columns(jnp.ldexp(a, e[:, None] - top[None, :]), top)


def _orthogonal_norms(columns: Columns) -> Columns:
    """Make the columns orthogonal by rotations; return their norms as w (p,) times 2^e."""
    n, p = columns.w.shape
    pad = max(4, p + p % 2) - p  # the tournament needs an even number of columns, at least four
    eps = float(jnp.finfo(columns.w.dtype).eps)  # type: ignore[no-untyped-call]

    def unfinished(state: tuple[Columns, Array, Array]) -> Array:
        return (state[1] > 4 * math.sqrt(n) * eps) & (state[2] < SWEEPS)

    def sweep(state: tuple[Columns, Array, Array]) -> tuple[Columns, Array, Array]:
        (w, e), _, count = state
        order = jnp.argsort(e, descending=True)
        table = (w.T[order], e[order], jnp.zeros((), w.dtype))
        rows, e, cosine = loop(0, p + pad - 1, _round, table)
        w, k = _by_column(rows.T)
        return Columns(w, jnp.maximum(e + k, ZERO)), cosine, count + 1

    padded = Columns(
        jnp.pad(columns.w, ((0, 0), (0, pad))), jnp.pad(columns.e, (0, pad), constant_values=ZERO)
    )
    start = (padded, jnp.ones((), columns.w.dtype), jnp.zeros((), jnp.int32))
    start = match_carry_type(lambda _, state: sweep(state), 0, start)
    (w, e), _, _ = lax.while_loop(unfinished, sweep, start)
    order = jnp.argsort(e, descending=True)[:p]
    return Columns(jnp.sqrt(jnp.sum(jnp.square(w), axis=0))[order], e[order])


def _round(_: Array, table: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
    """One round of a tournament: make rows i and i + p/2 orthogonal, then move all one seat.

    For a pair a, b 2^-d, d ≥ 0, write t = 2^-d, α = a·a, β = b·b, γ = a·b, δ = βt² - α. The
    rotation by arctan κt, κ = 2γ / (δ ± √(δ² + 4γ²t²)) with the sign of δ, takes a to
    (a - κt² b) / √(1 + κ²t²) and b to (b + κ a) / √(1 + κ²t²), still times 2^-d. For d < 0 swap a
    and b and change the sign of κ, as below.
    """
    rows, e, largest = table
    half = len(e) // 2
    a, b, d = rows[:half], rows[half:], e[:half] - e[half:]
    alpha, beta, gamma = (jnp.sum(v * w, axis=1) for v, w in ((a, a), (b, b), (a, b)))
    cosines = _ratio(jnp.abs(gamma), jnp.sqrt(alpha * beta))
    t = jnp.ldexp(jnp.ones_like(alpha), -jnp.abs(d))
    delta = jnp.where(d < 0, alpha * t**2 - beta, beta * t**2 - alpha)
    root = jnp.hypot(delta, 2 * gamma * t)
    kappa = _ratio(2 * gamma, delta + jnp.where(delta > 0, root, -root))
    b_in_a = jnp.where(d < 0, -kappa, kappa * t**2)[:, None]
    a_in_b = jnp.where(d < 0, -kappa * t**2, kappa)[:, None]
    cos = 1 / jnp.sqrt(1 + jnp.square(kappa * t))[:, None]
    a, b = cos * (a - b_in_a * b), cos * (b + a_in_b * a)

    def seats(a: Array, b: Array) -> Array:  # the first stays, the others rotate
        return jnp.concatenate([a[:1], b[:1], a[1:-1], b[1:], a[-1:]])

    return seats(a, b), seats(e[:half], e[half:]), jnp.maximum(largest, jnp.max(cosines))


def _ratio(a: Array, b: Array) -> Array:
    """A / b, and 0 for b = 0; no division by 0 is evaluated."""
    return jnp.where(b == 0, 0, a / jnp.where(b == 0, 1, b))


def _summary(s: Array, e: Array, n: int) -> Spectrum:
    """Logarithms and moments of the numbers s 2^e, padded with zeros to n of them."""
    s, e = jnp.pad(s, (0, n - len(s))), jnp.pad(e, (0, n - len(e)), constant_values=ZERO)
    logs = jnp.log(s) + LN2 * e.astype(s.dtype)
    square = jnp.ldexp(jnp.square(s), 2 * (e - e[0]))
    mean = jnp.mean(square)
    return Spectrum(
        log_singular_values=jnp.sort(logs, descending=True),
        log_mean=jnp.log(mean) + 2 * LN2 * e[0].astype(s.dtype),
        variance=jnp.where(mean == 0, 0, jnp.var(_ratio(square, mean))),
    )
