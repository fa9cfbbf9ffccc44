"""PyTorch's operations as functions of JAX: what is read of a program is read once for both.

aten::addmm(b, x, w)  ->  b + x @ w, traced  ->  steps of `jaxnn.jaxpr`

A function takes the arguments by their names in torch. An operation that is in no table is one step
of which nothing is known, or that it is done entry by entry; torch runs it where it is evaluated.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray
from jax.extend import core
from jax.interpreters import batching, mlir

from ..jaxpr.interpreter import Jaxpr
from ..jaxpr.primitives import ENTRYWISE, OPAQUE
from .dispatch import FUSED, by_name, kind_of
from .tensors import numbers_of
from .types import Arguments, OpOverload, Tensor, torch

CONVOLUTION, RELU = "convolution", "relu"
# Numbers that readers may ask for: of what goes in, of a mask, and of what comes out.
LOGITS = ("_softmax", "_safe_softmax", "exp", "amax", "max")
MASKING = ("masked_fill", "where", "add", "mul")
SELECTING = ("topk", "max", "argmax")
CHOSEN = (*SELECTING, "sigmoid")
BATCH_NORMS = (
    *("native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm"),
    *("_native_batch_norm_legit", "_native_batch_norm_legit_no_training"),
)
PRODUCTS = ("mm", "bmm", "mv", "dot", "linear", "addmm", "addmv", "baddbmm")
NEW = (  # of the shape of another value, and none of its numbers
    *("empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like"),
    *("new_empty", "new_zeros", "new_ones", "new_full", "new_empty_strided"),
)
FIRST = (  # which leave the first axis of the first argument as it is
    *("mkldnn_convolution", "max_pool2d_with_indices", "avg_pool2d", "_adaptive_avg_pool2d"),
    *("avg_pool3d", "upsample_nearest2d", "upsample_bilinear2d", "upsample_bicubic2d"),
    "reflection_pad2d",
)
PROGRAMS = 4096  # of operations that are kept, by what they are given

opaque_p: Any = core.Primitive(OPAQUE)
entrywise_p: Any = core.Primitive(ENTRYWISE)


Lies = tuple[tuple[int, ...], tuple[int, ...], int]  # shape, strides and offset in a memory


class Operand(NamedTuple):
    """The place of a tensor among the arguments of an operation."""

    shape: tuple[int, ...]
    dtype: Any  # of torch

    @classmethod
    def of(cls, tensor: Tensor) -> "Operand":
        return cls(tuple(tensor.shape), tensor.dtype)

    @property
    def type(self) -> Any:
        name = str(self.dtype).removeprefix("torch.")
        dtype = jax.dtypes.canonicalize_dtype(name)
        return jax.ShapeDtypeStruct(self.shape, dtype)  # type: ignore[no-untyped-call]


def filled(given: Any, tensors: Any) -> Any:
    """Return arguments with tensors in the places of operands, in their order."""
    if isinstance(given, Operand):
        return next(tensors)
    return [filled(part, tensors) for part in given] if isinstance(given, tuple) else given


@lru_cache(maxsize=PROGRAMS)
def program_of(func: OpOverload, args: Arguments, named: Arguments, out: Arguments) -> Jaxpr:
    """Return an operation as a program; operands stand for its tensors."""
    operands = operands_in((args, named))
    types, outs = [operand.type for operand in operands], [operand.type for operand in out]
    name, kind = kind_of(func).name, kind_of(func)
    function = OPERATIONS.get(FUSED if name.startswith(FUSED) else name)

    def run(*arrays: Any) -> list[Any]:
        rest = iter(arrays)
        given, more = filled(args, rest), dict(filled(named, rest))
        made: Any = []
        if function is not None:
            made = function(**by_name(func, given, more), out=outs)
            made = made if isinstance(made, list) else [made]
        unlike = [v.shape != like.shape for v, like in zip(made, outs, strict=False)]
        made = [] if any(unlike) else [v.astype(t.dtype) for v, t in zip(made, outs, strict=False)]
        if len(made) == len(outs):
            return [*made]
        primitive = opaque_p
        if kind.is_entrywise or name in ALIKE:
            primitive = entrywise_p
            arrays = tuple(jnp.broadcast_to(v, outs[0].shape) for v in arrays)
        firsts = (0 if name in FIRST and not i else None for i in range(len(arrays)))
        moves = tuple((i, *[None] * v.ndim)[: v.ndim] for i, v in zip(firsts, arrays, strict=True))
        params = {"name": name, "func": func, "args": args, "named": named, "moves": moves}
        return [*made, *primitive.bind(*arrays, **params, out=tuple(outs))[len(made) :]]

    def traced() -> Jaxpr:
        with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
            return jax.make_jaxpr(run)(*types)

    try:
        return traced()
    except Exception:  # of arguments that the function does not know
        function = None
        return traced()


class _Block(NamedTuple):
    """A view as a block of what holds a memory as a whole, and where the axes of both are."""

    order: Sequence[int]  # axes of the whole, as they lie in the memory
    shape: Sequence[int]  # of the whole in that order, its axes divided
    starts: Sequence[int]  # of the block in that shape
    sizes: Sequence[int]
    strides: Sequence[int]
    turned: Sequence[int]  # axes of the block, in the order of the view's

    @classmethod
    def of(cls, at: Lies, lies: Lies) -> "_Block | None":
        """Return the block, given how both lie; None of a view that is no block."""
        axes = [axis for axis in zip(*lies[:2], strict=True) if axis[0] != 1 and axis[1]]
        order = sorted(range(len(at[0])), key=lambda i: -at[1][i])
        shape, steps = list[int](), list[int]()
        for n, step in [(at[0][i], at[1][i]) for i in order if at[0][i] != 1]:
            if not step or (steps and n * step > steps[-1]):
                return None
            places = sorted({step, n * step, *(v for _, v in axes if step < v < n * step)})
            if any(high % low for low, high in pairwise(places)):
                places = [step, n * step]
            shape += [high // low for low, high in pairwise(places)][::-1]
            steps += places[-2::-1]
        starts, apart = list[int](), lies[2] - at[2]
        for step in steps:
            starts.append(apart // step)
            apart %= step
        sizes, strides, turned = [1] * len(shape), [1] * len(shape), list[int]()
        for n, step in axes:
            i = next((i for i, low in enumerate(steps) if low <= step), None)
            if i is None or step % steps[i]:
                return None
            taken, strides[i] = [i], step // steps[i]
            while n > shape[i] and not n % shape[i] and i and steps[i - 1] == steps[i] * shape[i]:
                sizes[i], n = shape[i], n // shape[i]
                i -= 1
                taken.insert(0, i)
            sizes[i] = n
            turned += taken
        ends = (a + (n - 1) * by for a, n, by in zip(starts, sizes, strides, strict=True))
        is_inside = all(-1 < a <= end < n for a, end, n in zip(starts, ends, shape, strict=True))
        if apart or not is_inside or len({*turned}) < len(turned):
            return None
        turned = [*({*range(len(shape))} - {*turned}), *turned]
        return cls(order, shape, starts, sizes, strides, turned)

    def whole(self, v: Any) -> Any:
        """Return the whole in the shape in which it has the block."""
        return v.transpose(self.order).reshape(self.shape)

    def taken(self, v: Any) -> Any:
        """Return the block, its axes in the order of the view's."""
        v = self.whole(v)
        if v.shape != (*self.sizes,):
            places = zip(self.starts, self.sizes, self.strides, strict=True)
            ends = [start + (n - 1) * by + 1 for start, n, by in places]
            v = jax.lax.slice(v, self.starts, ends, self.strides)
        return v.transpose(self.turned)


@lru_cache(maxsize=PROGRAMS)
def seen_as(whole: Operand, at: Lies, view: Operand, lies: Lies) -> Jaxpr:
    """Return the program that takes another view of a memory, which lies there so."""
    block = _Block.of(at, lies) if whole.dtype == view.dtype else None
    shape = [n if step else 1 for n, step in zip(*lies[:2], strict=True)]

    def run(v: Any) -> Any:
        if block is None:
            return opaque_p.bind(v, name="view", moves=(), out=(view.type,))[0]
        return jnp.broadcast_to(block.taken(v).reshape(shape), view.shape)

    return jax.make_jaxpr(lambda v: [run(v)])(whole.type)


@lru_cache(maxsize=PROGRAMS)
def with_part(part: Operand, lies: Lies, whole: Operand, at: Lies) -> Jaxpr:
    """Return the program of a memory, of which a part was written into."""
    block = _Block.of(at, lies) if whole.dtype == part.dtype else None

    def run(v: Any, new: Any) -> Any:
        if block is None or max(block.strides, default=1) > 1:
            return opaque_p.bind(v, new, name="write", moves=(), out=(whole.type,))[0]
        new = new.reshape([block.sizes[i] for i in block.turned])
        new = new.transpose(np.argsort(block.turned))
        made = jax.lax.dynamic_update_slice(block.whole(v), new, block.starts)
        made = made.reshape([whole.shape[i] for i in block.order])
        return made.transpose(np.argsort(block.order))

    return jax.make_jaxpr(lambda *given: [run(*given)])(whole.type, part.type)


def operands_in(given: Any) -> list[Operand]:
    """Return the operands among arguments."""
    if isinstance(given, Operand):
        return [given]
    if isinstance(given, tuple):
        return [operand for part in given for operand in operands_in(part)]
    return []


def _types_out(*_: Any, out: Sequence[Any], **__: Any) -> list[ShapedArray]:
    return [ShapedArray(v.shape, v.dtype) for v in out]


def _run_by_torch(*arrays: Any, func: OpOverload, args: Any, named: Any, **_: Any) -> list[Any]:
    operands = operands_in((args, named))
    tensors = iter(
        torch.from_numpy(np.array(v)).to(operand.dtype)
        for v, operand in zip(arrays, operands, strict=True)
    )
    made = func(*filled(args, tensors), **dict(filled(named, tensors)))
    made = made if isinstance(made, tuple | list) else [made]
    return [numbers_of(v) for v in made]


def _called_back(*arrays: Any, out: Sequence[Any], **params: Any) -> Any:
    return jax.pure_callback(partial(_run_by_torch, **params), list(out), *arrays)


def _run_in_turn(primitive: Any, given: Sequence[Any], axes: Sequence[Any], **params: Any) -> Any:
    stacks = {
        i: jnp.moveaxis(v, at, 0)
        for i, (v, at) in enumerate(zip(given, axes, strict=True))
        if at is not None
    }

    def run(entry: dict[int, Any]) -> Any:
        return primitive.bind(*(entry.get(i, v) for i, v in enumerate(given)), **params)

    made = jax.lax.map(run, stacks)
    return made, [0] * len(made)


for primitive in (opaque_p, entrywise_p):
    batching.primitive_batchers[primitive] = partial(_run_in_turn, primitive)
    primitive.multiple_results = True
    primitive.def_abstract_eval(_types_out)
    primitive.def_impl(_run_by_torch)
    mlir.register_lowering(primitive, mlir.lower_fun(_called_back, multiple_results=True))


# The table


def _scaled(v: Any, scale: Any) -> Any:
    return v if scale == 1 else scale * v


def _scaled_sum(v: Any, w: Any, beta: Any = 1, alpha: Any = 1) -> Any:
    return _scaled(v, beta) + _scaled(w, alpha)


def _softmax(self: Any, dim: int, **_: Any) -> Any:
    powers = jnp.exp(self - jnp.max(self, dim, keepdims=True))
    return powers / jnp.sum(powers, dim, keepdims=True)


def _attention(
    query: Any,
    key: Any,
    value: Any,
    scale: float | None = None,
    is_causal: bool = False,
    **given: Any,
) -> Any:
    """The attention of a kernel, of which queries and keys are known."""
    mask = given.get("attn_bias", given.get("attn_mask"))
    times = query.shape[-3] // key.shape[-3]
    key, value = (jnp.repeat(v, times, -3) if times > 1 else v for v in (key, value))
    logits = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        logits = jnp.where(jnp.tril(jnp.ones(logits.shape[-2:], bool)), logits, -jnp.inf)
    if mask is not None and mask.dtype == bool:
        logits = jnp.where(mask, logits, -jnp.inf)
    elif mask is not None:
        logits = logits + mask
    return _softmax(logits, -1) @ value


def _largest(self: Any, dim: Any = None, keepdim: bool = False, **given: Any) -> Any:
    if "other" in given:
        return jnp.maximum(self, given["other"])
    if isinstance(dim, int):
        return [jnp.max(self, dim, keepdims=keepdim), jnp.argmax(self, dim, keepdims=keepdim)]
    return jnp.max(self, _axes(dim), keepdims=keepdim)


def _axes(dim: Any) -> Any:
    return tuple(dim) if isinstance(dim, list) and dim else None if dim == [] else dim


def _top(self: Any, k: int, dim: int, **_: Any) -> list[Any]:
    if dim % self.ndim != self.ndim - 1:
        raise NotImplementedError
    return [*jax.lax.top_k(self, k)]


def _convolved(
    weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, **given: Any
) -> Any:
    image, groups = given["input"], given["groups"]
    dims, is_turned = image.ndim - 2, given["transposed"]
    strides, pads, apart, more = (
        [*v] * (dims if len(v) == 1 else 1)
        for v in (stride, padding, dilation, given["output_padding"])
    )
    ends, places, between = [(n, n) for n in pads], "DHW"[-dims:], [1] * dims
    if is_turned and groups > 1:
        raise NotImplementedError
    if is_turned:
        weight = jnp.flip(weight, range(2, dims + 2))
        sizes = [a * (n - 1) - p for a, n, p in zip(apart, weight.shape[2:], pads, strict=True)]
        ends = [(n, n + end) for n, end in zip(sizes, more, strict=True)]
        strides, between = between, strides
    out = jax.lax.conv_general_dilated(
        image, weight, strides, ends, between, apart, feature_group_count=groups,
        dimension_numbers=(f"NC{places}", f"{'IO' if is_turned else 'OI'}{places}", f"NC{places}"),
    )  # fmt: skip
    return out if bias is None else out + bias.reshape(-1, *[1] * dims)


def _batch_normed(weight: Any, bias: Any, training: bool = False, **given: Any) -> Any:
    v, mean, var = (given[name] for name in ("input", "running_mean", "running_var"))
    axes, shape = (0, *range(2, v.ndim)), [-1, *[1] * (v.ndim - 2)]
    if training or mean is None:
        mean, var = jnp.mean(v, axes), jnp.var(v, axes)
    mean, var = mean.reshape(shape), var.reshape(shape)
    out = (v - mean) * jax.lax.rsqrt(var + given.get("eps", given.get("epsilon")))
    return _affine(out, *(w if w is None else w.reshape(shape) for w in (weight, bias)))


def _group_normed(weight: Any, bias: Any, group: int, eps: float, **given: Any) -> Any:
    v = given["input"]
    rows = v.reshape(len(v), group, -1)
    out = (rows - rows.mean(-1, keepdims=True)) * jax.lax.rsqrt(rows.var(-1, keepdims=True) + eps)
    shape = [-1, *[1] * (v.ndim - 2)]
    parts = (w if w is None else w.reshape(shape) for w in (weight, bias))
    return _affine(out.reshape(v.shape), *parts)


def _affine(v: Any, weight: Any, bias: Any) -> Any:
    v = v if weight is None else v * weight
    return v if bias is None else v + bias


def _as_it_is(self: Any, **_: Any) -> Any:
    return self


def _along(of: Callable[..., Any]) -> Callable[..., Any]:
    def run(self: Any, dim: Any = None, keepdim: bool = False, **_: Any) -> Any:
        return of(self, axis=_axes(dim), keepdims=keepdim)

    return run


def _normed(weight: Any, normalized_shape: Any, eps: float | None, **given: Any) -> Any:
    """A norm; its other outputs are not told."""
    v, bias = given["input"], given.get("bias")
    axes = tuple(range(v.ndim - len(normalized_shape), v.ndim))
    centred = v - jnp.mean(v, axes, keepdims=True) if "bias" in given else v
    out = centred * jax.lax.rsqrt(jnp.mean(centred**2, axes, keepdims=True) + (eps or 0.0))
    return _affine(out, weight, bias)


def _padded(self: Any, pad: Any, value: Any, **_: Any) -> Any:
    ends = [(0, 0, 0)] * (self.ndim - len(pad) // 2)
    ends += [(*pad[i : i + 2], 0) for i in range(len(pad) - 2, -1, -2)]
    return jax.lax.pad(self, jnp.asarray(value, self.dtype), ends)


def _joined(of: Callable[..., Any]) -> Callable[..., Any]:
    return lambda tensors, dim, **_: of(tensors, dim)


def _each(of: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, **_: of(self)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "mm": lambda self, mat2, **_: self @ mat2,
    "bmm": lambda self, mat2, **_: self @ mat2,
    "mv": lambda self, vec, **_: self @ vec,
    "dot": lambda self, tensor, **_: self @ tensor,
    "linear": lambda weight, bias, **given: (
        given["input"] @ weight.mT + (0 if bias is None else bias)
    ),
    "addmm": lambda self, mat1, mat2, beta, alpha, **_: _scaled_sum(self, mat1 @ mat2, beta, alpha),
    "addmv": lambda self, mat, vec, beta, alpha, **_: _scaled_sum(self, mat @ vec, beta, alpha),
    "baddbmm": lambda self, batch1, batch2, beta, alpha, **_: _scaled_sum(
        self, batch1 @ batch2, beta, alpha
    ),
    CONVOLUTION: _convolved,
    "embedding": lambda weight, indices, **_: jnp.take(weight, indices, axis=0, mode="clip"),
    "add": lambda self, other, alpha=1, **_: _scaled_sum(self, other, 1, alpha),
    "sub": lambda self, other, alpha=1, **_: self - (other if alpha == 1 else alpha * other),
    "rsub": lambda self, other, alpha=1, **_: other - (self if alpha == 1 else alpha * self),
    "mul": lambda self, other, **_: self * other,
    "div": lambda self, other, **given: (
        self / other if given.get("rounding_mode") is None else self // other
    ),
    "copy": lambda self, src, **_: jnp.broadcast_to(src, self.shape),
    "eq": lambda self, other, **_: self == other,
    "masked_fill": lambda self, mask, value, **_: jnp.where(mask, value, self),
    "where": lambda condition, self, other, **_: jnp.where(condition, self, other),
    "constant_pad_nd": _padded,
    **dict.fromkeys(("native_layer_norm", "_fused_rms_norm"), _normed),
    "native_group_norm": _group_normed,
    **dict.fromkeys(BATCH_NORMS, _batch_normed),
    "_log_softmax": lambda self, dim, **_: jax.nn.log_softmax(self, dim),
    "logsumexp": lambda self, dim, keepdim, **_: jax.nn.logsumexp(
        self, _axes(dim), keepdims=keepdim
    ),
    "cumsum": lambda self, dim, **_: jnp.cumsum(self, dim),
    "flip": lambda self, dims, **_: jnp.flip(self, dims),
    RELU: lambda self, **_: jnp.maximum(self, 0),
    "silu": lambda self, **_: self * jax.nn.sigmoid(self),
    **{name: _each(getattr(jnp, name)) for name in ("exp", "tanh", "sqrt", "abs", "square")},
    "neg": _each(jnp.negative),
    "rsqrt": _each(jax.lax.rsqrt),
    "sigmoid": _each(jax.nn.sigmoid),
    **dict.fromkeys(("_softmax", "_safe_softmax"), _softmax),
    FUSED: _attention,
    **dict.fromkeys(("amax", "max"), _largest),
    **{name: _along(getattr(jnp, name)) for name in ("sum", "mean", "prod", "any", "all")},
    "amin": _along(jnp.min),
    "linalg_vector_norm": _along(jnp.linalg.norm),
    "topk": _top,
    "argmax": lambda self, dim, keepdim, **_: jnp.argmax(self, dim, keepdims=keepdim),
    "cat": _joined(jnp.concatenate),
    "stack": _joined(jnp.stack),
    **dict.fromkeys(("clone", "_to_copy"), _as_it_is),
}
ALIKE = (  # next to what torch says is done entry by entry
    *("native_dropout", "bernoulli", "masked_fill", "where", "hardswish", "prelu"),
    *("_prelu_kernel", "log_sigmoid_forward", "rrelu_with_noise"),
)
