"""Primitives of JAX: what is known of each, in one table; what is not in it is known to nobody.

    kind      entry by entry, another shape, numbers moved, along an axis, a look-up, a product, …
    moves     of each operand's axes, which one of the output it is, entry by entry; None of one
              that is dropped or mixed
    linear    in the SUM of some operands, or in each ONE of them with the others held
    of_one    the parameters for a stack of one entry, instead of all entries along the first axis
    holds     of an output with the operands' numbers and no others: each at most ONCE, or REPEATED

The proof that examples stay apart reads `linear` and `moves` at the axis of the examples, what
prepares stacks reads `entry` along the first axis, kinds of axes follow `places`, and recognisers
ask for names by kind. A new primitive is one entry here, and a case in `tests/test_primitives.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

from ..graph.steps import Kind

SUM, ONE = "sum", "one"
ONCE, REPEATED = "once", "repeated"
# What torch alone does, entry by entry or not, as `jaxnn.pytorch.aten` writes it in programs.
OPAQUE, ENTRYWISE = "torch", "torch_entrywise"
DOT, CONVOLUTION, RESHAPE = "dot_general", "conv_general_dilated", "reshape"
BROADCAST, LOOK_UP, PART, RAGGED = "broadcast_in_dim", "gather", "slice", "ragged_dot"
EXP, LARGEST, DIFFERENCE = "exp", "reduce_max", "sub"
ELEMENTWISE, COPY, SHAPE, MOVE = "elementwise", "copy", "shape", "move"
REDUCE, ALONG, MATRICES, GATHER, PRODUCT = "reduce", "along", "matrices", "gather", "product"
IN_PLACE = (ELEMENTWISE, COPY, MOVE, ALONG, MATRICES, GATHER)  # kinds that leave axes in order

Axes = Sequence[int | None]  # of an operand: the axis of the output that each one is
Params = Mapping[str, Any]
Rows = tuple[int, ...]  # entries along the first axis


class PrimitiveCall(NamedTuple):
    """A primitive's parameters, the shapes of its operands and that of its first output."""

    shapes: Sequence[tuple[int, ...]]
    out: tuple[int, ...]
    params: Params


Moves = Callable[[PrimitiveCall], list[Axes]]


def _unchanged(params: Params) -> Params:
    return params


class Rule(NamedTuple):
    """The knowledge about a primitive; see above."""

    kind: str
    moves: Moves
    linear: str = ""
    operands: slice = slice(1)  # those that `linear` is about
    of_one: Callable[[Params], Params] = _unchanged
    # Of a step that takes entries along the first axis in another order, which entry of the first
    # operand one of the output is.
    rows: Callable[[PrimitiveCall, int], int] | None = None
    holds: str = ""

    def places(self, call: PrimitiveCall) -> list[Axes]:
        """Return `moves` with the places of axes too that are mixed but stay where they are."""
        return [
            [a if to is None and self._stays(call, shape) else to for a, to in enumerate(axes)]
            for axes, shape in zip(self.moves(call), call.shapes, strict=True)
        ]

    def _stays(self, call: PrimitiveCall, shape: tuple[int, ...]) -> bool:
        return self.kind in IN_PLACE and len(shape) == len(call.out)

    def makes_zeros(self, zero: Sequence[bool]) -> bool:
        """Tell a linear step whose operands are zeros."""
        return self.linear == SUM and all(zero[self.operands])

    def axis(self, call: PrimitiveCall, axes: Axes, zero: Sequence[bool]) -> int | None:
        """Return the axis of the examples in the output, if each is linear in that one alone."""
        depend = {i for i, axis in enumerate(axes) if axis is not None}
        linear = {*range(len(axes))[self.operands]}
        # What is added to the examples must be zero: else the step is affine, and not linear.
        rest_is_zero = all(zero[i] for i in linear - depend)
        if not depend <= linear or not {SUM: rest_is_zero, ONE: len(depend) == 1}.get(self.linear):
            return None
        moves = self.moves(call)
        # Two operands that have the examples along different axes would mix them.
        ends = {moves[i][axis] for i, axis in enumerate(axes) if axis is not None}
        return ends.pop() if len(ends) == 1 else None

    def entry(self, call: PrimitiveCall, rows: Rows) -> list[Rows | None] | None:
        """Return of each operand the entries that entries of the output are made of.

        None of an operand that all entries take whole; None where the entries are mixed.
        """
        if self.rows is not None:
            taken = tuple(self.rows(call, row) for row in rows)
            return [taken, *[None] * (len(call.shapes) - 1)]
        moves = self.moves(call)
        stacked = [axes[:1] == [0] for axes in moves]
        if any(0 in axes and not first for axes, first in zip(moves, stacked, strict=True)):
            return None  # the stack would be another axis of the operand than its first
        if self.kind in (MOVE, GATHER) and not stacked[0]:
            return None  # entries are those of the operand whose numbers are moved
        if not any(stacked) and self.holds != REPEATED:
            return None
        return [rows if first else None for first in stacked]


# Where axes go


def same(call: PrimitiveCall) -> list[Axes]:
    """All axes stay. A scalar, or an axis of one entry against more, is the same for all."""
    return [[a if n == call.out[a] else None for a, n in enumerate(s)] for s in call.shapes]


def _nowhere(call: PrimitiveCall) -> list[Axes]:
    return [[None] * len(shape) for shape in call.shapes]


def _as_told(call: PrimitiveCall) -> list[Axes]:
    moves: list[Axes] = call.params["moves"]
    return moves or _nowhere(call)


def _all_but(name: str) -> Moves:
    """Axes stay, but for the one or those that a parameter names, whose entries are mixed."""

    def moves(call: PrimitiveCall) -> list[Axes]:
        mixed = call.params[name]
        mixed = mixed if isinstance(mixed, tuple) else (mixed,)
        ndim = len(call.shapes[0])
        mixed = [a % ndim for a in mixed]
        return [[None if a in mixed else a for a in range(len(s))] for s in call.shapes]

    return moves


def _without(name: str) -> Moves:
    """Axes are dropped that a parameter names."""

    def moves(call: PrimitiveCall) -> list[Axes]:
        gone = call.params[name]
        return [
            [None if a in gone else a - sum(b < a for b in gone) for a in range(len(s))]
            for s in call.shapes
        ]

    return moves


def _where(is_whole: Callable[[PrimitiveCall, int], bool]) -> Moves:
    """Axes of arrays stay where a condition holds; numbers beside them, as indices, have none."""

    def moves(call: PrimitiveCall) -> list[Axes]:
        ndim = len(call.shapes[0])
        stay: Axes = [a if is_whole(call, a) else None for a in range(ndim)]
        return [stay if len(shape) == ndim else [] for shape in call.shapes]

    return moves


def _broadcast(call: PrimitiveCall) -> list[Axes]:
    at, (operand, *sizes) = call.params["broadcast_dimensions"], call.shapes
    axes = [d if call.out[d] == n else None for d, n in zip(at, operand, strict=True)]
    return [axes, *[[None] * len(s) for s in sizes]]


def _reshaped(call: PrimitiveCall) -> list[Axes]:
    """An axis is the same one if as many entries lie before it, and it has as many."""

    def starts(shape: Sequence[int]) -> list[tuple[int, int]]:
        return [(prod(shape[:i]), n) for i, n in enumerate(shape)]

    out = starts(call.out) if call.params.get("dimensions") is None else []
    return [[out.index(at) if at in out else None for at in starts(call.shapes[0])]]


def _transposed(call: PrimitiveCall) -> list[Axes]:
    order = [*call.params["permutation"]]
    return [[order.index(a) for a in range(len(order))]]


def _stacked(call: PrimitiveCall) -> list[Axes]:
    new = call.params["axis"] % len(call.out)
    return [[a + (a >= new) for a in range(len(shape))] for shape in call.shapes]


def _dot(call: PrimitiveCall) -> list[Axes]:
    """The axes of slices come first, then what is free of the left, then of the right."""
    sums, slices = call.params["dimension_numbers"]
    end, moves = len(slices[0]), list[Axes]()
    for shape, summed, sliced in zip(call.shapes, sums, slices, strict=False):
        free = [a for a in range(len(shape)) if a not in (*summed, *sliced)]
        to = {a: i for i, a in enumerate(sliced)} | {a: end + i for i, a in enumerate(free)}
        moves.append([to.get(a) for a in range(len(shape))])
        end += len(free)
    return moves


def _convolved(call: PrimitiveCall) -> list[Axes]:
    numbers, (image, kernel) = call.params["dimension_numbers"], _nowhere(call)
    batch = numbers.lhs_spec[0] if call.params["batch_group_count"] == 1 else None
    return [[numbers.out_spec[0] if a == batch else to for a, to in enumerate(image)], kernel]


def _gathered(call: PrimitiveCall) -> list[Axes]:
    """Axes that a look-up takes whole are windows; those of the indices stand between them."""
    numbers, (table, _) = call.params["dimension_numbers"], call.shapes
    pairs = numbers.operand_batching_dims, numbers.start_indices_batching_dims
    paired = dict(zip(*pairs, strict=True))
    outside = [a for a in range(len(call.out)) if a not in numbers.offset_dims]
    dropped = {*numbers.collapsed_slice_dims, *numbers.operand_batching_dims}
    windowed = [a for a in range(len(table)) if a not in dropped]
    window = dict(zip(windowed, numbers.offset_dims, strict=True))
    moves: list[int | None] = []
    for a, n in enumerate(table):
        is_whole = call.params["slice_sizes"][a] == n and a not in numbers.start_index_map
        moves.append(outside[paired[a]] if a in paired else window.get(a) if is_whole else None)
    return [moves, [*outside, None]]


def _scattered(call: PrimitiveCall) -> list[Axes]:
    """Axes that no index is of stay, and so do the windows of what is added."""
    numbers, (out, indices, updates) = call.params["dimension_numbers"], call.shapes
    pairs = (numbers.operand_batching_dims, numbers.scatter_indices_batching_dims)
    outside = [a for a in range(len(updates)) if a not in numbers.update_window_dims]
    paired = {a: outside[i] for a, i in zip(*pairs, strict=True)}
    dropped = {*numbers.inserted_window_dims, *numbers.operand_batching_dims}
    windowed = [a for a in range(len(out)) if a not in dropped]
    windows = dict(zip(windowed, numbers.update_window_dims, strict=True))
    indexed = numbers.scatter_dims_to_operand_dims
    free = {a: u for a, u in windows.items() if a not in indexed and updates[u] == out[a]} | paired
    back = {u: a for a, u in free.items()}
    whole: Axes = [a if a in free else None for a in range(len(out))]
    of_indices = [back[outside[i]] if i in pairs[1] else None for i in range(len(indices))]
    return [whole, of_indices, [back.get(u) for u in range(len(updates))]]


def _of_matrices(call: PrimitiveCall) -> list[Axes]:
    """Return the axes of each matrix, the last two; those in front are only repeated."""
    repeated = len(call.shapes[0]) - 2
    return [[a if a < repeated else None for a in range(len(s))] for s in call.shapes]


def _is_not_repeated(call: PrimitiveCall, a: int) -> bool:
    return bool(call.params["reps"][a] == 1)


def _is_unpadded(call: PrimitiveCall, a: int) -> bool:
    return not any(call.params["padding_config"][a])


def _is_outside_of_fft(call: PrimitiveCall, a: int) -> bool:
    return a < len(call.out) - len(call.params["fft_lengths"])


def _is_kept(call: PrimitiveCall, a: int) -> bool:
    """Tell an axis that a slice takes whole."""
    params, strides = call.params, call.params["strides"] or [1] * len(call.out)
    at = params["start_indices"][a], params["limit_indices"][a], strides[a]
    return bool(at == (0, call.shapes[0][a], 1))


def _is_as_long(call: PrimitiveCall, a: int) -> bool:
    """Tell an axis of the same length in a slice, or in what is written into an array."""
    part = call.shapes[1] if len(call.shapes[1]) else call.out
    return part[a] == call.shapes[0][a]


def _has_windows_of_one(call: PrimitiveCall, a: int) -> bool:
    params = call.params
    dilations = [params[name][a] for name in params if name.endswith("dilation")]
    sizes = {params["window_dimensions"][a], params["window_strides"][a], *dilations}
    return sizes == {1} and not any(params["padding"][a])


# Parameters, and rows, of stacks of one entry


def _first_is_one(name: str) -> Callable[[Params], Params]:
    return lambda params: {**params, name: (1, *params[name][1:])}


def _slice_of_one(params: Params) -> Params:
    firsts = {"start_indices": 0, "limit_indices": 1}
    changed = {name: (first, *params[name][1:]) for name, first in firsts.items()}
    strides = params["strides"] or (1,) * len(params["start_indices"])
    return {**params, **changed, "strides": (1, *strides[1:])}


def _row_of_slice(call: PrimitiveCall, row: int) -> int:
    return int(call.params["start_indices"][0] + (call.params["strides"] or (1,))[0] * row)


def _row_of_rev(call: PrimitiveCall, row: int) -> int:
    return call.out[0] - 1 - row if 0 in call.params["dimensions"] else row


# The table

ALL = slice(None)
CURVED = """
    abs acos acosh and asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt ceil clamp complex
    conj cos cosh digamma eq erf erf_inv erfc exp exp2 expm1 floor ge gt imag integer_pow
    is_finite le lgamma log log1p log2 logistic lt max min ne nextafter not or pow real
    reduce_precision rem round rsqrt sign sin sinh sqrt square stop_gradient tan tanh xor
""".split()  # noqa: SIM905
REDUCTIONS = "argmax argmin reduce_and reduce_max reduce_min reduce_or reduce_prod reduce_xor"
DECOMPOSITIONS = "cholesky eigh householder_product lu qr schur svd triangular_solve"


def _each(names: Sequence[str] | str, rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(names.split() if isinstance(names, str) else names, rule)


PRIMITIVES: dict[str, Rule] = {
    **_each([*CURVED, ENTRYWISE], Rule(ELEMENTWISE, same)),
    **_each("add add_any sub", Rule(ELEMENTWISE, same, SUM, ALL)),
    "neg": Rule(ELEMENTWISE, same, SUM),
    "mul": Rule(ELEMENTWISE, same, ONE, ALL),
    "div": Rule(ELEMENTWISE, same, ONE),
    "select_n": Rule(ELEMENTWISE, same, SUM, slice(1, None)),
    **_each("convert_element_type sharding_constraint", Rule(COPY, same, SUM)),
    **_each("copy copy_p", Rule(COPY, same, SUM, holds=ONCE)),
    "broadcast_in_dim": Rule(SHAPE, _broadcast, SUM, of_one=_first_is_one("shape"), holds=REPEATED),
    "reshape": Rule(SHAPE, _reshaped, SUM, of_one=_first_is_one("new_sizes"), holds=ONCE),
    "transpose": Rule(SHAPE, _transposed, SUM, holds=ONCE),
    "squeeze": Rule(SHAPE, _without("dimensions"), SUM, holds=ONCE),
    "rev": Rule(MOVE, _all_but("dimensions"), SUM, rows=_row_of_rev, holds=ONCE),
    "slice": Rule(
        MOVE, _where(_is_kept), SUM, of_one=_slice_of_one, rows=_row_of_slice, holds=ONCE
    ),
    "split": Rule(MOVE, _all_but("axis"), SUM, holds=ONCE),
    "concatenate": Rule(MOVE, _all_but("dimension"), SUM, ALL, holds=ONCE),
    "stack": Rule(MOVE, _stacked, SUM, ALL, holds=ONCE),
    "tile": Rule(MOVE, _where(_is_not_repeated), SUM, holds=REPEATED),
    "pad": Rule(MOVE, _where(_is_unpadded), SUM, ALL),
    "dynamic_slice": Rule(MOVE, _where(_is_as_long), ONE, of_one=_first_is_one("slice_sizes")),
    "dynamic_update_slice": Rule(MOVE, _where(_is_as_long), SUM, slice(2)),
    "reduce_sum": Rule(REDUCE, _without("axes"), SUM),
    **_each(REDUCTIONS, Rule(REDUCE, _without("axes"))),
    "reduce": Rule(REDUCE, _without("dimensions")),
    "cumsum": Rule(ALONG, _all_but("axis"), SUM),
    **_each("cumprod cummax cummin cumlogsumexp top_k", Rule(ALONG, _all_but("axis"))),
    "sort": Rule(ALONG, _all_but("dimension")),
    "approx_top_k": Rule(ALONG, _all_but("reduction_dimension")),
    "fft": Rule(ALONG, _where(_is_outside_of_fft), SUM),
    "reduce_window_sum": Rule(ALONG, _where(_has_windows_of_one), SUM),
    **_each(
        "reduce_window reduce_window_max reduce_window_min",
        Rule(ALONG, _where(_has_windows_of_one)),
    ),
    "select_and_scatter_add": Rule(ALONG, _where(_has_windows_of_one), SUM),
    **_each(DECOMPOSITIONS, Rule(MATRICES, _of_matrices)),
    "gather": Rule(GATHER, _gathered, SUM, of_one=_first_is_one("slice_sizes")),
    "scatter-add": Rule(GATHER, _scattered, SUM, slice(0, None, 2)),
    **_each("scatter scatter-mul scatter-min scatter-max", Rule(GATHER, _scattered)),
    OPAQUE: Rule(OPAQUE, _as_told),
    "dot_general": Rule(PRODUCT, _dot, ONE, ALL),
    "conv_general_dilated": Rule(PRODUCT, _convolved, ONE, ALL),
    **_each("ragged_dot ragged_dot_general", Rule(PRODUCT, _nowhere, ONE, slice(2))),
}
UNKNOWN = Rule(ALONG, _nowhere)  # what is not in the table may mix all there is


def names(*kinds: str) -> frozenset[str]:
    """Return the names of the primitives of some kinds."""
    return frozenset(name for name, rule in PRIMITIVES.items() if rule.kind in kinds)


# Names by what they are, for recognisers

CASTS, SHAPES = names(COPY), names(SHAPE)
UNITWISE = names(ELEMENTWISE, COPY)  # entry by entry
SUMS = frozenset({"add", "add_any"})
AFFINE = CASTS | frozenset(  # what a bias or a scale is made of, but for its shape
    name for name in names(ELEMENTWISE) - {"select_n"} if PRIMITIVES[name].linear
)
MULTIPLYING = names(PRODUCT) | {"gather"}  # a look-up is the product with a row of ones and zeros
LONG = names(PRODUCT, MATRICES) | {"sort", "fft", "scan", "while"}  # what takes long to compute
ROOTS = frozenset({"rsqrt", "sqrt"})  # which a norm divides by
RANDOM = frozenset({"random_bits", "threefry2x32", "rng_bit_generator"})
JOINED, STOPPED = ("concatenate", "stack"), "stop_gradient"
LOOPS = ("scan", "while", "cond")
VIEWS = SHAPES | {"rev", "slice", "split", "unstack"}  # of numbers that are there
SCALING = SHAPES | CASTS | {"div", "mul", "neg"}  # what leaves logits of 0 as they are
MASKING = CASTS | {"select_n"}  # from logits without the largest one to the powers
WEIGHING = MASKING | {"mul"}  # from powers to the numerators that are added up
SHIFTING = frozenset({EXP, LARGEST, "max", DIFFERENCE, STOPPED})  # from logits to the powers
ADDING = SHAPES | WEIGHING | {"add", "slice"}  # from the sum of a block of keys to that of all
ENDING = names(REDUCE, ALONG, GATHER)  # what ends a way from one product to the next
KINDS: dict[str, Kind] = {  # in the vocabulary of all frameworks
    **dict.fromkeys(SUMS, "addition"),
    **dict.fromkeys(MULTIPLYING, "product"),
    **dict.fromkeys(CASTS, "copy"),
    **dict.fromkeys(SHAPES, "shape"),
    **dict.fromkeys(ROOTS, "norm"),
    **dict.fromkeys(("transpose", "rev"), "transpose"),
}
