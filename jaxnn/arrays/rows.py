"""Rows of numbers, plain or in block floating point: beyond the range of a float.

A row is m, or m × 2^e with one int32 exponent for each row (example), so that a gradient of
10^-6279 is a number like any other. After every layer the largest entry of a row is brought into
[1, 2) by a power of two. That is exact, and so is every product of the recursion with a scaled row:
as long as the plain recursion stays among the normal numbers, m × 2^e is its result to the last
bit. Plain rows have no exponent, and nothing is done to them: both kinds of numbers go through the
same code, `blocks` and `walk.py`.

Exponents are read from and written to the float's bits: on a CPU `frexp` and `ldexp` would double
the cost of the whole pass.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from hashlib import blake2b
from typing import Any, NamedTuple, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, PyTree

from .compiled import Numbers, compiled
from .loops import barrier, product, transposed_matmul

LN2 = 0.6931471805599453

FEW = 2**16  # numbers of an array that is measured together with others
STRIP = 2**10  # of its numbers
FEW_AT_ONCE = 2**13  # numbers that take no longer than a kernel to start

ZERO_EXPONENT = -(2**28)  # the exponent of a row of zeros: below every other

_INTEGER_OF_WIDTH = {2: jnp.int16, 4: jnp.int32, 8: jnp.int64}


class ScaledRows(NamedTuple):
    """Rows of numbers m × 2^e with an exponent for each row, or plain rows m where e is None.

    m: (B, n) floats, a row for each example.
    e: (B,) int32, or None. Of a row of zeros it is -2^28 or 0.

    A sum over rows, such as Δθ, is one of these too, with one exponent for all its entries. The
    operations on rows take both forms and keep the exponents, so what is written with them reaches
    far beyond the range of the float.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxnn.blocks import ScaledRows
        >>> v = ScaledRows(jnp.array([[1.0, 1.5]]), jnp.array([-1000], jnp.int32))  # 2^-1000, ...
    """

    m: Any  # Float[Array, "*k B n"]; a pytree of them in a chain of a user's own layers
    e: Any = None  # Int[Array, "*k B"], or None


def with_exponents(v: ScaledRows) -> ScaledRows:
    """Return the same numbers with exponents, 0 if there were none.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxnn.blocks import ScaledRows, with_exponents
        >>> print(with_exponents(ScaledRows(jnp.ones((2, 3)))).e)
        [0 0]
    """
    if v.e is not None:
        return v
    a_row = jnp.sum(v.m, axis=-1)  # not v.m[..., 0]: that axis may be spread over devices
    return ScaledRows(v.m, jnp.zeros_like(a_row, jnp.int32))


def renormalised(v: ScaledRows) -> ScaledRows:
    """Renormalise: bring the largest |m| of every row into [1, 2), the numbers unchanged.

    Plain rows stay as they are, and so do zeros, inf and nan. A row of subnormal numbers is
    multiplied by the largest power of two of the dtype, which leaves it below 1.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxnn.blocks import ScaledRows, renormalised
        >>> v = renormalised(ScaledRows(jnp.array([[6.0, -3.0]]), jnp.array([0], jnp.int32)))
        >>> print(v.m, v.e)
        [[ 1.5  -0.75]] [2]
    """
    return v if v.e is None else with_largest(v)[0]


def as_one_row(m: PyTree) -> ScaledRows:
    """Return an array, or all arrays of a pytree, renormalised with one exponent."""
    return renormalised(ScaledRows(m, jnp.zeros((), jnp.int32)))


def with_largest(v: ScaledRows) -> tuple[ScaledRows, Float[Array, "*s"]]:
    """Like `renormalised`, with the largest |m| of every row; v has exponents."""
    arrays = jax.tree.leaves(v.m)
    largest = largest_of(arrays, v.e.ndim)
    up = exponent_of(largest, *arrays)
    scale = power_of_two(-up, largest)
    exponent = jnp.where(largest == 0, ZERO_EXPONENT, v.e + up)
    return ScaledRows(by_rows(v.m, scale), exponent), largest * scale


def largest_of(arrays: list[Array], axes: int = 1) -> Array:
    """Return the largest |entry| of each row over all arrays; the first axes count rows."""
    dtype = reduce(jnp.promote_types, (m.dtype for m in arrays))

    def of(m: Array) -> list[Array]:
        rows = tuple(range(axes, m.ndim))
        if m.size <= FEW_AT_ONCE:  # one kernel to compile
            return [jnp.max(jnp.abs(m), axis=rows, initial=0.0)]
        # On a CPU a maximum and a minimum take a third of the time of max |m|.
        return [jnp.max(m, axis=rows, initial=0.0), -jnp.min(m, axis=rows, initial=0.0)]

    return reduce(jnp.maximum, (end.astype(dtype) for m in arrays for end in of(m)))


def by_rows(m: PyTree, factors: Float[Array, "*s"]) -> Any:
    """Return each row of an array, or of all arrays of a pytree, times its factor."""

    def one(v: Array) -> Array:
        return v * jnp.expand_dims(factors.astype(v.dtype), range(factors.ndim, v.ndim))

    return jax.tree.map(one, m)


def aligned(v: ScaledRows) -> ScaledRows:
    """Return the rows on one exponent, the largest of theirs."""
    scale, common = alignment(v.e, jax.tree.leaves(v.m)[0])
    return ScaledRows(by_rows(v.m, scale), common)


def matmul(v: ScaledRows, matrix: Float[Array, "n m"]) -> ScaledRows:
    """Return v M, row by row: (B, n) times (n, m) is (B, m), with the exponents of v.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxnn.blocks import ScaledRows, matmul
        >>> print(matmul(ScaledRows(jnp.array([[1.0, 2.0]])), jnp.array([[3.0], [4.0]])).m)
        [[11.]]
    """
    return v._replace(m=product(v.m, matrix))


def scaled(v: ScaledRows, by: Float[Array, "*B n"] | float) -> ScaledRows:
    """Return v times plain numbers, entry by entry, with the exponents of v.

    Args:
        v: rows, (B, n).
        by: one number, or (B, n), such as σ′(z).

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxnn.blocks import ScaledRows, scaled
        >>> print(scaled(ScaledRows(jnp.array([[1.0, 2.0]])), 0.5).m)
        [[0.5 1. ]]
    """
    return v._replace(m=v.m * by)


def shifted(v: ScaledRows, b: Float[Array, " n"]) -> ScaledRows:
    """Return every row of v, (B, n), plus b, (n,): p 2^f + b = (p 2^(f-c) + b 2^-c) 2^c.

    Here p 2^f is v renormalised, so that c = max(f, exponent of b) knows its size. Plain rows have
    b added as it is.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxnn.blocks import ScaledRows, shifted
        >>> print(shifted(ScaledRows(jnp.array([[1.0, 2.0]])), jnp.array([10.0, 20.0])).m)
        [[11. 22.]]
    """
    if v.e is None:
        return ScaledRows(v.m + b[None, :])
    largest = jnp.max(jnp.abs(b))
    b_exponent = jnp.where(largest == 0, ZERO_EXPONENT, exponent_of(largest))
    v = renormalised(v)
    common = jnp.maximum(v.e, b_exponent)
    rows = v.m * power_of_two(v.e - common, b)[:, None]
    return ScaledRows(rows + b[None, :] * power_of_two(-common, b)[:, None], common)


def plus(v: ScaledRows, w: ScaledRows) -> ScaledRows:
    """Return v + w, both (B, n): m 2^e + p 2^f = (m 2^(e-c) + p 2^(f-c)) 2^c, c = max(e, f).

    What is smaller than the other row by more than the range of the float becomes zero, as it would
    in any sum. Plain if both are.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxnn.blocks import ScaledRows, plus
        >>> v = ScaledRows(jnp.array([[1.0]]), jnp.array([3], jnp.int32))
        >>> total = plus(v, ScaledRows(jnp.array([[4.0]])))
        >>> print(total.m, total.e)  # 1.5 × 2^3 = 8 + 4
        [[1.5]] [3]
    """
    v, w = v._replace(m=rounded(v.m)), w._replace(m=rounded(w.m))
    if v.e is None and w.e is None:
        return ScaledRows(v.m + w.m)
    v, w = with_exponents(v), with_exponents(w)
    common = jnp.maximum(v.e, w.e)
    left, right = (u.m * power_of_two(u.e - common, u.m)[..., None] for u in (v, w))
    return ScaledRows(left + right, common)


def rounded(m: Array) -> Array:
    """Return an array m, rounded before it is a term of a sum; `plus` does it itself."""
    # XLA contracts a product and a sum to one operation that rounds once. Scaling in between
    # prevents that, so that rows with exponents would differ from plain ones in the last bit.
    return barrier(m)


def outer(a: ScaledRows, delta: ScaledRows) -> ScaledRows:
    """Return aᵀ Δ, summed over the rows: 2^c Σ 2^(e - c) aᵀ Δ, c the largest of their exponents.

    With exponents the rows of a are renormalised like those of Δ, so that the largest entries of
    the sum are near 1, and no sum of their squares leaves the range.

    Args:
        a: what a weight matrix multiplies on the way up, (B, n).
        delta: Δ of the product, (B, m).

    Returns:
        Δ of the matrix: m of shape (n, m) and one exponent, or plain if delta is.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxnn.blocks import ScaledRows, outer
        >>> a, delta = ScaledRows(jnp.ones((2, 1))), ScaledRows(jnp.array([[1.0, 2.0], [3.0, 4.0]]))
        >>> print(outer(a, delta).m)
        [[4. 6.]]
    """
    if delta.e is None:
        return ScaledRows(transposed_matmul(a.m, delta.m))
    a = renormalised(with_exponents(a))
    scale, common = alignment(a.e + delta.e, delta.m)
    return ScaledRows(transposed_matmul(a.m * scale[:, None], delta.m), common)


def sum_rows(delta: ScaledRows) -> ScaledRows:
    """Return the sum of the rows, such as Δb: 2^c Σ 2^(e - c) Δ, c the largest exponent.

    Args:
        delta: (B, n).

    Returns:
        m of shape (n,) and one exponent, or plain if delta is.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxnn.blocks import ScaledRows, sum_rows
        >>> print(sum_rows(ScaledRows(jnp.array([[1.0, 2.0], [3.0, 4.0]]))).m)
        [4. 6.]
    """
    if delta.e is None:
        return ScaledRows(jnp.sum(delta.m, axis=0))
    scale, common = alignment(delta.e, delta.m)
    return ScaledRows(product(scale, delta.m), common)


def exponent_of(x: Float[Array, "*s"], *others: Array) -> Int[Array, "*s"]:
    """Return the integer k with 2^k <= x < 2^(k+1), for x >= 0, and 0 for 0.

    It is clipped to the range of `power_of_two` in the dtype of x and of the others.
    """
    digits, bias, integer = _format(x)
    most = min([bias, *(_format(v)[1] for v in others)]) - 1
    bits = lax.bitcast_convert_type(x, integer)
    k = (bits >> digits).astype(jnp.int32) - bias
    return jnp.where(x == 0, 0, jnp.clip(k, -most, most))


def exponent_and_mantissa(x: Float[Array, "*s"]) -> tuple[Int[Array, "*s"], Float[Array, "*s"]]:
    """Return k and m of x = m 2^k, 1 <= m < 2, for x >= 0, from the float's bits.

    m is 0 for 0 and subnormal numbers, and x itself where it is inf or nan.
    """
    digits, bias, integer = _format(x)
    bits = lax.bitcast_convert_type(x, integer)
    biased = bits >> digits
    fraction = bits & ((1 << digits) - 1)
    m = lax.bitcast_convert_type(fraction | (bias << digits), x.dtype)
    m = jnp.where(biased == 2 * bias + 1, x, jnp.where(biased == 0, 0, m))
    return biased.astype(jnp.int32) - bias, m


def power_of_two(k: Int[Array, "*s"], like: Array) -> Float[Array, "*s"]:
    """Return 2^k exactly, in the dtype of `like`, whose range ends at 0 and at a power of two."""
    digits, bias, integer = _format(like)
    bits = jnp.clip(k + bias, 0, 2 * bias).astype(integer) << digits
    return lax.bitcast_convert_type(bits, like.dtype)


def _format(x: Array) -> tuple[int, int, Any]:
    """Mantissa bits, exponent bias and the integer type of the same width."""
    info = jnp.finfo(x.dtype)  # type: ignore[no-untyped-call]
    return int(info.nmant), int(info.maxexp) - 1, _INTEGER_OF_WIDTH[x.dtype.itemsize]


def alignment(
    exponent: Int[Array, "*k B"], like: Array
) -> tuple[Float[Array, "*k B"], Int[Array, "*k"]]:
    """Return factors that bring rows to the largest of their exponents, and that exponent.

    Of rows smaller than the largest by more than the range of the dtype they are zero.
    """
    common = jnp.max(exponent, axis=-1)
    return power_of_two(exponent - common[..., None], like), common


def in_range(v: ScaledRows) -> Float[Array, "B n"]:
    """Return the numbers m 2^e of rows as an array (B, n), those beyond its range at its end."""
    # Less a factor of 4, as room for a sum.
    numbers: Array = v.m
    if v.e is None:
        return numbers
    _, bias, _ = _format(numbers)
    return numbers * power_of_two(jnp.minimum(v.e, bias - 2), numbers)[:, None]


def value_of(mantissa: Float[Array, "*s"], exponent: Int[Array, "*s"]) -> Float[Array, "*s"]:
    """Mantissa × 2^exponent as a float; inf or 0 beyond its range."""
    half = exponent // 2  # a single power of two could leave the range where the product does not
    return mantissa * power_of_two(half, mantissa) * power_of_two(exponent - half, mantissa)


def log_of(mantissa: Float[Array, " *s"], exponent: Int[Array, " *s"]) -> Float[Array, " *s"]:
    """The logarithm of mantissa × 2^exponent, in at least float32; -inf for zero."""
    log = jnp.log(at_least_float32(mantissa))
    return log + exponent.astype(log.dtype) * LN2


def squares(v: ScaledRows) -> Float[Array, "*k"]:
    """Return Σ m² of each row over all its arrays, in at least float32."""
    arrays = map(at_least_float32, jax.tree.leaves(v.m))
    sums = (jnp.sum(jnp.square(m), axis=tuple(range(v.e.ndim, m.ndim))) for m in arrays)
    return reduce(jnp.add, sums)


def log_size(v: ScaledRows) -> Float[Array, "*k"]:
    """Return ln ‖row‖ of rows whose squares are in range, as of renormalised ones."""
    return log_of_square(squares(v), v.e)


def log_of_square(square: Float[Array, "*k"], exponent: Int[Array, "*k"]) -> Float[Array, "*k"]:
    """Return ln of the root of square × 4^exponent."""
    log: Array = 0.5 * jnp.log(square) + exponent.astype(square.dtype) * LN2
    return log


def log_sizes_of(arrays: Sequence[ScaledRows]) -> list[Float[Array, "*k"]]:
    """Return ln ‖row‖ of arrays like `log_size`, also where squares leave the range."""
    # Large ones are read once, if the sums of their squares show that all are in range: finite, and
    # far above what may have become zero. Else they are read twice more. There is one look for all
    # of them: each has exchanges if they are spread over devices.
    is_large = [_count(v) > FEW and jax.sharding.get_abstract_mesh().empty for v in arrays]
    large = [v for v, its_size in zip(arrays, is_large, strict=True) if its_size]
    logs = iter(_log_sizes_of_large(large) if large else ())
    return [
        next(logs) if its_size else log_size(renormalised(v))
        for v, its_size in zip(arrays, is_large, strict=True)
    ]


def _count(v: ScaledRows) -> int:
    """Return how many numbers rows have, over all their arrays."""
    return sum(m.size for m in jax.tree.leaves(v.m))


def _log_sizes_of_large(arrays: Sequence[ScaledRows]) -> list[Float[Array, "*k"]]:
    sums = [squares(v) for v in arrays]
    fits = [_is_in_range(v, square) for v, square in zip(arrays, sums, strict=True)]
    logs: list[Array] = lax.cond(
        jnp.all(jnp.stack([jnp.all(v) for v in fits])),
        lambda: [log_of_square(square, v.e) for v, square in zip(arrays, sums, strict=True)],
        lambda: [_log_size_beyond(v, square) for v, square in zip(arrays, sums, strict=True)],
    )
    return logs


def _is_in_range(v: ScaledRows, square: Float[Array, "*k"]) -> Bool[Array, "*k"]:
    """Tell whether sums of squares are finite, and far above what may have become zero."""
    info = jnp.finfo(square.dtype)  # type: ignore[no-untyped-call]
    least = _count(v) * float(info.tiny) / float(info.eps)
    fits: Array = (square > least) & (square < jnp.inf)
    return fits


def _log_size_beyond(v: ScaledRows, square: Float[Array, "*k"]) -> Float[Array, "*k"]:
    """Return ln ‖row‖, from the squares of smaller or of larger numbers where theirs do not fit."""
    m = jax.tree.map(at_least_float32, v.m)
    far = 2 * (int(jnp.finfo(square.dtype).maxexp) // 3)  # type: ignore[no-untyped-call]

    def times_two_to(k: int) -> Float[Array, "*k"]:
        return log_size(ScaledRows(jax.tree.map(lambda of: of * 2.0**k, m), v.e - k))

    # Both at once, in one exchange: of one the squares fit, at two thirds of the range from theirs.
    smaller, larger = map(times_two_to, (-far, far))
    beyond = jnp.where(square == jnp.inf, smaller, larger)
    return jnp.where(_is_in_range(v, square), log_of_square(square, v.e), beyond)


def log_sizes(arrays: Sequence[ScaledRows]) -> list[Float[Array, ""]]:
    """Return ln of the norm of each array, which is one row."""
    on_mesh = not jax.sharding.get_abstract_mesh().empty
    # In strips of one array on another: a program for each of them would take long to compile.
    few = [i for i, v in enumerate(arrays) if 0 < v.m.size <= FEW and not on_mesh]
    others = [i for i in range(len(arrays)) if i not in few]
    logs = dict(zip(others, log_sizes_of([arrays[i] for i in others]), strict=True))
    if few:
        logs |= dict(zip(few, _log_sizes_together([arrays[i] for i in few]), strict=True))
    return [logs[i] for i in range(len(arrays))]


def _log_sizes_together(arrays: list[ScaledRows]) -> Float[Array, " p"]:
    """Return ln of the norm of each array; zeros fill its last strip."""
    dtype = max((at_least_float32(v.m).dtype for v in arrays), key=lambda d: d.itemsize)
    parts: list[Array] = []
    for v in arrays:
        parts += [v.m.reshape(-1).astype(dtype), jnp.zeros(-v.m.size % STRIP, dtype)]
    strips = jnp.concatenate(parts).reshape(-1, STRIP)
    owner = np.repeat(np.arange(len(arrays)), [-(-v.m.size // STRIP) for v in arrays])
    is_of = owner == np.arange(len(arrays))[:, None]

    def of_arrays(of_strips: Array, total: Callable[..., Array]) -> Array:
        return total(jnp.where(is_of, of_strips[None], 0), axis=1)

    largest = of_arrays(jnp.max(jnp.abs(strips), axis=1), jnp.max)
    up = exponent_of(largest)
    scaled = by_rows(strips, power_of_two(-up, largest)[owner])
    square = of_arrays(jnp.sum(jnp.square(scaled), axis=1), jnp.sum)
    return 0.5 * log_of(square, 2 * (jnp.stack([v.e for v in arrays]) + up))


def log_size_of_rows(v: ScaledRows) -> Float[Array, "*k"]:
    """Return ln of the norm over all rows."""
    return log_size(aligned(renormalised(v)))


def log_size_together(logs: Sequence[Float[Array, "*k"]]) -> Float[Array, "*k"]:
    """Return ln of the norm of arrays together, from those of each."""
    return 0.5 * reduce(jnp.logaddexp, (2 * log for log in logs))


@compiled
def log_norm(v: Numbers) -> Float[Array, ""]:
    """Return ln ‖v‖₂ over all entries, even if their squares leave the range of the dtype."""
    floats = v if jnp.issubdtype(v.dtype, jnp.inexact) else jnp.asarray(v, float)
    return log_size(as_one_row(floats))


def lost_in_plain(
    log_largest: Float[Array, " L"], dtype: DTypeLike, used: Bool[Array, " L"] | bool = True
) -> Bool[Array, " L"]:
    """Tell the layers for which plain backpropagation in a dtype has no number."""
    info = jnp.finfo(dtype)  # type: ignore[no-untyped-call]
    in_range = (log_largest <= float(np.log(float(info.max)))) & (
        log_largest >= float(np.log(float(info.tiny)))
    )
    # These are at and below a layer where the numbers have left the normal ones of the dtype,
    # unless they are zero in exact arithmetic.
    places = jnp.arange(len(log_largest))
    highest = jnp.max(jnp.where(~in_range & used, places, -1))
    return (places <= highest) & used & ~jnp.isneginf(log_largest)


def at_least_float32(v: Float[Array, "..."]) -> Float[Array, "..."]:
    """Widen 16-bit floats to float32, since sums of squares would leave their range."""
    return v if v.dtype.itemsize >= 4 else v.astype(jnp.float32)


# Trees of arrays, such as the states of a chain


def told_by(v: np.ndarray) -> tuple[tuple[int, ...], np.dtype[Any], bytes]:
    """Return what only arrays that are equal in all numbers have, short."""
    return v.shape, v.dtype, blake2b(np.ascontiguousarray(v)).digest()


def is_float(v: object) -> TypeGuard[Array]:
    """Tell arrays of a float type, and their types."""
    return hasattr(v, "dtype") and bool(jnp.issubdtype(v.dtype, jnp.floating))


def can_be_learned(v: object) -> bool:
    """Tell arrays of a float or a complex type, and their types."""
    return hasattr(v, "dtype") and bool(jnp.issubdtype(v.dtype, jnp.inexact))


def as_reals(v: Array) -> Array:
    """Return complex numbers as pairs of reals, of the same norm; others as they are."""
    return jnp.stack([v.real, v.imag], axis=-1) if jnp.iscomplexobj(v) else v


def is_narrow(v: object) -> bool:
    """Tell floats of 8 bits or fewer, whose range is too small for the recursion."""
    return is_float(v) and v.dtype.itemsize < 2


def in_bfloat16(v: Any) -> str:
    """Say what to do with an array of narrow floats."""
    return (
        f"floats of 16 bits or more, got {v.dtype}; cast to bfloat16, which holds all of its "
        "numbers"
    )


def floats(tree: PyTree) -> list[Any]:
    """Return the float leaves of a tree."""
    return [v for v in jax.tree.leaves(tree) if is_float(v)]


def with_floats(tree: PyTree, values: list[Array]) -> Any:
    """Return the tree with other float leaves."""
    leaves, structure = jax.tree.flatten(tree)
    given = iter(values)
    return jax.tree.unflatten(structure, [next(given) if is_float(v) else v for v in leaves])
