"""PyTorch: a proof, from the operations of the one pass up, that examples stay apart.

    x (B, T, n)  ->  x W, softmax over the last axis, norms of rows, …  ->  a state (B, T, m)

Of each value, the memory of its numbers, it is known where its examples lie, or that they may have
met. An operation that is in no table may do anything. So no pass down has to try, unless functions
of the user's own or hooks on tensors act on the gradient.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from ..interrupts import undivided
from .dispatch import FUSED, Done, by_name
from .tensors import ByMemory, tensors_in
from .types import Arguments, Named, Tensor, torch

ENTRYWISE = (  # next to those that torch says are
    *("_to_copy", "copy", "lift_fresh", "masked_fill", "where", "rsub", "hardswish", "prelu"),
    *("_prelu_kernel", "native_dropout", "log_sigmoid_forward", "rrelu_with_noise"),
    *("bernoulli", "normal", "uniform", "fill", "zero"),
)
NEW = (  # of the shape of another value, and none of its numbers
    *("empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like"),
    *("new_empty", "new_zeros", "new_ones", "new_full", "new_empty_strided"),
)
ALONG = (  # axes that are named
    *("sum", "mean", "amax", "amin", "max", "min", "var", "std", "var_mean", "prod", "norm"),
    *("linalg_vector_norm", "logsumexp", "argmax", "argmin", "any", "all", "topk", "sort"),
    *("_softmax", "_log_softmax", "_safe_softmax", "cumsum", "cumprod", "flip", "roll"),
    *("index_select", "cat", "stack", "glu", "unsafe_split", "unsafe_split_with_sizes"),
)
# Which axes of the first argument are left as they are: all but so many of the last ones,
LAST = {
    "native_layer_norm": lambda args: len(args[1]),
    "_fused_rms_norm": lambda args: len(args[1]),
    "constant_pad_nd": lambda args: len(args[1]) // 2,
}
FIRST = (  # or the first one.
    *("convolution", "_convolution", "mkldnn_convolution", "native_group_norm"),
    *("max_pool2d_with_indices", "avg_pool2d", "_adaptive_avg_pool2d", "avg_pool3d"),
    *("upsample_nearest2d", "upsample_bilinear2d", "upsample_bicubic2d", "reflection_pad2d"),
    *("_native_batch_norm_legit_no_training",),
)
TRAINED = ("native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm")  # if args[5] says so
# Of the factors of a product, which axis of it each of their axes is; others are summed.
PRODUCTS = {
    **dict.fromkeys(("mm", "addmm"), ({0: 0}, {1: 1})),
    **dict.fromkeys(("bmm", "baddbmm"), ({0: 0, 1: 1}, {0: 0, 2: 2})),
}
WITH_SUMMAND = ("addmm", "baddbmm")
PLACES = 4096  # that are kept: those of equal layers are equal
MEETING = 2  # axes, the last ones, of queries, keys and values


class ExamplePlace(NamedTuple):
    """The place of the examples in a tensor."""

    axis: int  # the one that they lie along
    each: int  # how many entries of it, one after the other, an example has


class MemoryLayout(NamedTuple):
    """The place of the examples in memory, in bytes: how far apart they are, and the first one."""

    step: int
    start: int


MET = None  # the place, or the layout, of a value whose examples may have met


class Examples:
    """The examples in the values of one pass up, along the first axis of each of the inputs."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        self.tensor, self.count = torch.Tensor, len(inputs[0])
        self.known = ByMemory[MemoryLayout | None](MET)
        self.is_lost = False
        self.have_hooks = False
        for v in inputs:
            if v.ndim and len(v) == self.count:
                self._set(v, ExamplePlace(0, 1))

    @undivided
    def watched(self) -> Iterator[None]:
        """Note whether hooks are put on tensors, such as those that clip gradients."""
        before = self.tensor.register_hook

        def register_hook(tensor: Tensor, hook: Callable[[Tensor], Any]) -> Any:
            self.have_hooks = True
            return before(tensor, hook)

        try:
            self.tensor.register_hook = register_hook
            yield
        finally:
            self.tensor.register_hook = before

    def stay_apart(self, tensor: Tensor) -> bool:
        """Tell whether each entry along the first axis is known to be made of one example alone."""
        return not self.is_lost and self._place(tensor) == ExamplePlace(0, 1)

    def note(self, done: Done) -> None:
        """Note what an operation has made."""
        try:
            known = self._of_inputs(done.given)
            if known and not (done.kind.name in NEW and done.kind.is_of_torch):
                outputs = tensors_in(done.out)
                places = self._places(done, outputs)
                for v, place in zip(outputs, places, strict=True):
                    if place is not None or any(map(_is_differentiable, known)):
                        self._set(v, place)
        except Exception:
            self.is_lost = True  # the measurement goes on, with a pass that tries

    def _places(self, done: Done, outputs: list[Any]) -> list[ExamplePlace | None]:
        """Return the places of the examples in what an operation has made."""
        kind, func, args, kwargs, given, _ = done
        met: list[ExamplePlace | None] = [MET] * len(outputs)
        name = kind.name
        if not kind.is_of_torch or not outputs:
            return met
        if kind.is_entrywise or name in ENTRYWISE:
            return [self._common(given, v.ndim) for v in outputs]
        if name in ALONG:
            return self._along(by_name(func, args, kwargs), outputs)
        if name in PRODUCTS:
            return [self._of_product(name, args, outputs[0])]
        if name.startswith(FUSED):
            place = self._common(given, outputs[0].ndim)
            return [_before(place, outputs[0].ndim - MEETING), *met[1:]]
        if name == "embedding":
            weight, rows = args[:2]
            return [MET if self._depend([weight]) else self._place(rows)]
        first = args[0]
        place = MET if self._depend(given[1:]) else self._place(first)
        if name in LAST:
            return [_before(place, first.ndim - LAST[name](args)), *met[1:]]
        if name in FIRST or (name in TRAINED and not args[5]):
            return [_before(place, 1), *met[1:]]
        return met

    def _common(self, given: list[Any], ndim: int) -> ExamplePlace | None:
        """Return the place in what is made of several values entry by entry."""
        behind = set()
        for v in given:
            place = self._place(v)
            if place is not None:
                behind.add((v.ndim - place.axis, place.each))
            elif self._depend([v]) and _is_differentiable(v):
                return MET
        if len(behind) != 1:
            return MET
        ((axes, each),) = behind
        return ExamplePlace(ndim - axes, each) if axes <= ndim else MET

    def _along(self, given: Named, outputs: list[Any]) -> list[ExamplePlace | None]:
        """Return the places in what is made along axes that are named."""
        first, *others = given.values()
        several, axes = tensors_in(first), given.get("dim", given.get("dims"))
        ndim = max(v.ndim for v in several)
        place = self._common(several, ndim)
        if place is None or axes in (None, [], ()) or self._depend(tensors_in(others)):
            return [MET] * len(outputs)
        axes = axes if isinstance(axes, list | tuple) else (axes,)
        wider = max(outputs[0].ndim, ndim)  # of a stack an axis is a new one
        along = {axis % wider for axis in axes}
        before = sum(axis <= place.axis for axis in along)
        if wider > ndim:
            return [place._replace(axis=place.axis + before)]
        if place.axis in along:
            return [MET] * len(outputs)
        return [
            place if v.ndim == ndim else place._replace(axis=place.axis - before) for v in outputs
        ]

    def _of_product(self, name: str, args: Arguments, out: Tensor) -> ExamplePlace | None:
        """Return the place in a product of matrices, if the examples lie along one of its axes."""
        summands = [args[0]] if name in WITH_SUMMAND else []
        ends = {self._common([v], out.ndim) for v in summands if self._depend([v])}
        for v, axes in zip(args[len(summands) :][:2], PRODUCTS[name], strict=True):
            if self._depend([v]):
                place = self._place(v)
                is_kept = place is not None and place.axis in axes
                ends.add(ExamplePlace(axes[place.axis], place.each) if place and is_kept else MET)
        return ends.pop() if len(ends) == 1 else MET

    def _depend(self, tensors: list[Any]) -> bool:
        """Tell whether one of some tensors is made of the inputs."""
        return bool(self._of_inputs(tensors))

    def _of_inputs(self, tensors: list[Any]) -> list[Any]:
        return [v for v in tensors if v in self.known]

    def _place(self, tensor: Tensor) -> ExamplePlace | None:
        """Return the place of the examples in a tensor; `MET` too if some of them are left out."""
        layout = self.known[tensor]
        if layout is None:
            return MET
        at = tensor.shape, tensor.stride(), tensor.storage_offset(), tensor.element_size()
        return _place_in(layout, self.count, *at)

    def _set(self, tensor: Tensor, place: ExamplePlace | None) -> None:
        size = tensor.element_size()
        step = 0 if place is None else place.each * tensor.stride(place.axis) * size
        layout = MET
        if tensor in self.known:  # what is written there lies as what else is there, or they meet
            is_same = place is not None and self._place(tensor) == place
            layout = self.known[tensor] if is_same else MET
        elif step:
            start = tensor.storage_offset() * size
            layout = MemoryLayout(step, start - start % step)
        self.known[tensor] = layout


@lru_cache(maxsize=PLACES)
def _place_in(
    layout: MemoryLayout,
    examples: int,
    shape: tuple[int, ...],
    steps: tuple[int, ...],
    offset: int,
    size: int,
) -> ExamplePlace | None:
    """Return the place of examples in a tensor that lies so in a memory, with numbers of a size."""
    strides = [step * size for step in steps]
    axes = [
        axis
        for axis, (count, stride) in enumerate(zip(shape, strides, strict=True))
        if stride <= layout.step < stride * count
    ]
    if len(axes) != 1:
        return MET
    (axis,) = axes
    stride = strides[axis]
    is_even = layout.step % stride == 0
    is_whole = shape[axis] * stride % (layout.step * examples) == 0
    is_first = (offset * size - layout.start) // layout.step % examples == 0
    return ExamplePlace(axis, layout.step // stride) if is_even and is_whole and is_first else MET


def _before(place: ExamplePlace | None, axis: int) -> ExamplePlace | None:
    """Return a place if it is along an axis before another one."""
    return place if place is not None and place.axis < axis else MET


def _is_differentiable(tensor: Tensor) -> bool:
    """Tell floats: no gradient goes through integers, so that examples may meet in them."""
    return bool(tensor.is_floating_point() or tensor.is_complex())
