"""PyTorch: attention and routers, recognised in the operations of the one pass up.

    product of states -> scaled, masked, biases  ->  softmax  ->  product with a state
    product of a state and a parameter  ->  softmax, sigmoid, topk  ->  experts

A mode of torch's dispatcher sees each operation, whoever calls it, and changes none. Of a product
of states the same steps are done with zeros in its place: a key that the softmax would give nothing
there is masked. So `jaxnn.recognition.attention` has it for programs.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..recognition.attention import MASKED
from .activations import OF_INPUT, SIGMAS, Activations
from .dispatch import FUSED, Done, OperationKind, by_name, each_operation, kind_of
from .example_axes import Examples
from .experts import Experts, experts_of
from .module_calls import MultiplyAdds
from .provenance import BATCH, LEFT, NOTHING, RIGHT, Origins, Provenance, Shift, axes_of, together
from .tensors import mapped, memory_of, numbers_of, tensors_in
from .types import Arguments, Named, OpOverload, Tensor, torch

PRODUCTS = {  # the places of their factors
    **dict.fromkeys(("mm", "bmm", "mv", "dot", "linear", "convolution", "embedding"), (0, 1)),
    **dict.fromkeys(("addmm", "addbmm", "addmv", "baddbmm"), (1, 2)),
    **dict.fromkeys(("_grouped_mm", "_scaled_mm"), (0, 1)),
}
MATRICES = ("mm", "bmm", "mv", "linear", "addmm", "addmv", "baddbmm")
SOFTMAXES = ("_softmax", "_safe_softmax")
WEIGHING, SELECTING = ("sigmoid",), ("topk", "max", "argmax")
BY_HAND = "a softmax written by hand"
LARGEST = ("amax", "max")
KEEPING = ("_to_copy", "clone", "masked_fill", "where")  # a value but for some entries
MASKING = (*KEEPING, "mul")  # powers whose sum is taken
WAITING = 2  # powers whose sum has not come
FAR = 60.0  # logits below the largest by more have powers that may be zero
ENTRIES = 1 << 22  # logits that are read at once; of more those of each example

Known = list[tuple[Tensor, Provenance]]
# Logits (heads, rows, keys) and whether each is not masked, in pieces.
Pieces = Iterable[tuple[np.ndarray, np.ndarray]]
# Those of several attentions -> what is kept of each
Heads = Callable[[Sequence[Pieces]], list[Any]]


class Powers(NamedTuple):
    """exp of logits, before its sum is known."""

    logits: Any
    without: Any  # the logits without products of states; None if they are made of none
    origin: Provenance  # of what exp is taken of
    kinds: tuple[str | None, ...]  # of its axes
    stride: tuple[int, ...]  # of what comes out


class Attended(NamedTuple):
    """An attention."""

    at: int  # the number of states that were there before it; then its layer
    arrays: tuple[str, ...]  # names of the parameters that its queries and keys are products with
    heads: int  # 0 of one that is not read
    record: Any  # what was kept of its logits
    is_of_states: bool = True  # its logits are a product of states, so that it attends

    @property
    def is_unread(self) -> bool:
        return self.is_of_states and not self.heads


class Routed(NamedTuple):
    """A router; tokens and selected as in `jaxnn.recognition.routers.Router`."""

    at: int  # the number of states that were there before it; then its layer
    arrays: tuple[str, ...]  # names of its parameters
    experts: tuple[str, ...]  # names of those of its experts
    tokens: int
    selected: int
    load: np.ndarray  # the share of each expert


class Recognised(NamedTuple):
    """Attention and routers of a module, each with its layer."""

    attentions: tuple[Attended, ...]
    routers: tuple[Routed, ...]
    # (layer, name) of kernels that may be attention, of which nothing is known.
    unread: tuple[tuple[int, str], ...]
    failure: str  # why nothing more was looked for; empty if all was


class Operations:
    """The record of the operations of one pass up."""

    def __init__(
        self,
        parameters: Mapping[str, Any],
        inputs: Sequence[Any],
        count: Callable[[], int],
        heads: Heads,
        products: MultiplyAdds,
        activations: Activations,
        examples: Examples,
    ) -> None:
        self.count, self.heads, self.products = count, heads, products
        self.activations, self.apart = activations, examples
        self.origins = Origins()
        self.experts: Experts = experts_of(parameters)
        self.examples = len(inputs[0])
        self.softmaxes: list[Attended] = []
        self.waiting: list[tuple[int, Pieces]] = []  # attentions of which nothing is kept yet
        self.entries = 0  # of their logits
        self.powers: dict[int, Powers] = {}
        self.confirmed = set[int]()
        self.routers: dict[tuple[int, frozenset[str]], Routed] = {}
        self.used: dict[str, list[int]] = {}  # after how many states a parameter was multiplied
        self.unread: list[tuple[int, str]] = []
        self.failure = ""
        self._try(self._begin, parameters, inputs)

    def seen(self) -> AbstractContextManager[None]:
        """Return a context in which all operations are seen."""
        return each_operation(self._run)

    def _run(self, func: OpOverload, args: Arguments, kwargs: Named) -> Any:
        """Run an operation, and note what it has made."""
        kind = kind_of(func)
        if kind.is_view:
            return func(*args, **kwargs)
        is_lost = kind.is_in_place and kind.name in ("exp", *OF_INPUT)
        written = args[0] if is_lost else None
        before = None if written is None else written.detach().clone()
        if kind.writes and self.origins.with_zeros:
            self._try(self._prepare, kind, args, kwargs)
        out, given = func(*args, **kwargs), tensors_in([*args, *kwargs.values()])
        self.products.note(func, args, kwargs, out)
        done = Done(kind, func, args, kwargs, given, out)
        self.apart.note(done)
        self._try(self._note, done, before)
        if kind.name in SIGMAS:
            self._try(self._activated, done, before)
        return out

    def _try(self, step: Callable[..., None], *given: Any) -> None:
        """Take a step, unless one has failed before: the measurement goes on without."""
        if not self.failure:
            try:
                step(*given)
            except Exception as error:
                self.failure = _words(error)

    def recognised(self, layer_of: Callable[[int], int]) -> Recognised:
        """Return what was recognised; a layer is that of the next state."""
        routers = []
        for (at, _), found in self.routers.items():
            layer = layer_of(at)
            later = {n for n, uses in self.used.items() if any(layer_of(i) == layer for i in uses)}
            experts = self.experts.of(found.arrays, len(found.load), later)
            if experts:
                routers.append(found._replace(at=layer, experts=experts))
        self._try(self._keep)
        attentions = [self.softmaxes[i] for i in sorted(self.confirmed)]
        unread = [
            *self.unread,
            *((attention.at, BY_HAND) for attention in attentions if attention.is_unread),
        ]
        return Recognised(
            tuple(
                attention._replace(at=layer_of(attention.at))
                for attention in attentions
                if attention.record is not None
            ),
            tuple(routers),
            tuple((layer_of(at), name) for at, name in unread),
            self.failure,
        )

    def _begin(self, parameters: Mapping[str, Any], inputs: Sequence[Any]) -> None:
        for name, p in parameters.items():
            self.origins[p] = Provenance(arrays=frozenset({name}))
        for tensor in inputs:
            self.origins[tensor] = Provenance(depends=True)

    def _prepare(self, kind: OperationKind, args: Arguments, kwargs: Named) -> None:
        """Copy what a product of states is written into: the copy is written into without it."""
        given = tensors_in([*args, *kwargs.values()])
        if not any(self.origins[t].without is not None for t in given):
            return
        for i, name in kind.writes:
            for tensor in tensors_in(args[i] if i < len(args) else kwargs.get(name)):
                origin = self.origins[tensor]
                if origin.without is None and tensor.is_floating_point():
                    size = tensor.untyped_storage().nbytes() // tensor.element_size()
                    memory = tensor.detach().as_strided((size,), (1,), 0).clone()
                    self.origins[tensor] = origin._replace(without=memory)

    def _note(self, done: Done, before: Tensor | None) -> None:
        """Note what an operation has made; before: what it was written into, if it is an exp."""
        kind, func, args, kwargs, tensors, out = done
        name = kind.name
        given = [(t, self.origins[t]) for t in tensors]
        known = [(t, origin) for t, origin in given if origin is not NOTHING]
        if not known:
            return
        if kind.may_attend:
            self._add_unread(name)
        outputs = tensors_in(out)
        first, source = known[0]
        if name in PRODUCTS and not kind.is_in_place:
            made = self._product(name, args, kwargs, out)
        elif name.startswith(FUSED):
            made = self._fused(func, args, kwargs)
        else:
            made = together([origin for _, origin in known])
            if name in SOFTMAXES:
                made = self._softmax(args[0], args[1], out, made)
                self._route(first, source, args[1], out)
            else:
                made = self._by_hand(done, outputs, known, made, before)
                if name in WEIGHING:
                    self._route(first, source, -1, out)
                elif name in SELECTING:
                    place = 2 if name == "topk" else 1
                    axis = args[place] if len(args) > place and args[place] is not None else -1
                    self._select(name, first, source, axis, outputs[-1])
                self._follow(done, given, outputs, made)
                return
        for tensor in outputs:
            self.origins[tensor] = made

    def _activated(self, done: Done, before: Tensor | None) -> None:
        """Note an activation of something that depends on the inputs."""
        kind, func, args, kwargs, _, out = done
        origin = self.origins[out]
        if origin.depends:
            kinds = origin.kinds(out)
            # Its units are the columns of the product before it, or else the channels of an image.
            axis = kinds.index(RIGHT) if RIGHT in kinds else 1
            z = before if kind.is_in_place else args[0]
            self.activations.note(kind.name, z, out, axis, by_name(func, args, kwargs))

    def _add_unread(self, name: str) -> None:
        if (self.count(), name) not in self.unread:
            self.unread.append((self.count(), name))

    # Products

    def _product(self, name: str, args: Arguments, kwargs: Named, out: Tensor) -> Provenance:
        left, right = (self.origins[args[i]] for i in PRODUCTS[name])
        kinds: tuple[str | None, ...] = (None,) * out.ndim
        if name in MATRICES:
            of_left = LEFT if name == "linear" else BATCH
            kinds = (*[of_left] * (out.ndim - 2), LEFT, *[RIGHT] * (out.ndim > 1))
        factors = left.arrays | right.arrays
        for array in {
            name for origin in (left, right) if not origin.depends for name in origin.arrays
        }:
            self.used.setdefault(array, []).append(self.count())
        if left.depends and right.depends:
            self.confirmed |= left.softmaxes | right.softmaxes
            without = None
            if name in MATRICES:
                without = torch.zeros_like(out)
                beta = kwargs.get("beta", 1)
                if PRODUCTS[name] == (1, 2) and beta:
                    without += beta * args[0].detach()
            given = frozenset({LEFT, RIGHT})
            return Provenance(True, frozenset(), axes_of(out, kinds), given, factors, without)
        if left.depends or right.depends:
            side, other = (LEFT, right) if left.depends else (RIGHT, left)
            return Provenance(True, other.arrays, axes_of(out, kinds), frozenset({side}), factors)
        return Provenance(arrays=factors)

    def _follow(self, done: Done, given: Known, outputs: list[Any], made: Provenance) -> None:
        """Note what an operation that is no product makes, and what it would without products."""
        without: list[Any] = [None] * len(outputs)
        if self.origins.with_zeros and not done.kind.is_drawn and outputs:
            zeroed = {id(t): o.without_product(t) for t, o in given if o.without is not None}
            if zeroed:
                args, kwargs = mapped((done.args, done.kwargs), lambda t: zeroed.get(id(t), t))
                instead = done.func(*args, **kwargs)
                without = tensors_in(instead)
        kinds = self._kinds(given, outputs, made)
        memory = {memory_of(t): o for t, o in given}
        for tensor, zero, axes in zip(outputs, without, kinds, strict=True):
            place = memory_of(tensor)
            if place in memory:  # a view, or what is changed in place, of which zeros are too
                before = memory[place]
                new = made._replace(axes=before.axes or axes, without=before.without)
            elif zero is not None and zero.dtype.is_floating_point:
                new = made._replace(axes=axes, without=_laid_out(zero, tensor))
            else:
                new = made._replace(axes=axes) if axes else made
            self.origins[tensor] = new

    def _kinds(self, given: Known, outputs: Any, made: Provenance) -> list[Any]:
        """Return the axes of outputs, which are those of the value that the last product made."""
        source = next(((t, o) for t, o in given if o.axes and o.depends == made.depends), None)
        if source is None:
            return [()] * len(outputs)
        tensor, origin = source
        place = tensor.shape, tensor.stride()
        if all((t.shape, t.stride()) == place for t in outputs):
            return [origin.axes] * len(outputs)
        kinds = origin.kinds(tensor)
        missing = [max(t.ndim - len(kinds), 0) for t in outputs]
        return [
            axes_of(t, (*[None] * more, *kinds)) if t.ndim == more + len(kinds) else ()
            for t, more in zip(outputs, missing, strict=True)
        ]

    # Attention

    def _softmax(self, logits: Tensor, axis: int, out: Tensor, made: Provenance) -> Provenance:
        """Return the origin of a softmax, and read its logits if it attends."""
        origin, axis = self.origins[logits], axis % max(logits.ndim, 1)
        kinds = origin.kinds(logits)
        made = made._replace(axes=axes_of(out, kinds))
        if not _attends(origin, kinds, axis):
            return made
        without = None if origin.without is None else origin.without_product(logits)
        number = self._add(
            origin, *self._pieces(logits.detach(), without, axis, kinds), logits.numel()
        )
        return made._replace(given=frozenset(), softmaxes=made.softmaxes | {number})

    def _add(self, origin: Provenance, heads: int, pieces: Pieces, entries: int) -> int:
        """Note an attention and its logits; return its number."""
        number = len(self.softmaxes)
        self.softmaxes.append(Attended(self.count(), tuple(sorted(origin.factors)), heads, None))
        self._wait(number, pieces, entries)
        return number

    def _wait(self, number: int, pieces: Pieces, entries: int) -> None:
        """Leave the logits of an attention until there are many; many are read at once."""
        is_large = entries > ENTRIES
        self.waiting.append((number, pieces if is_large else [*pieces]))
        self.entries += entries
        if self.entries > ENTRIES:
            self._keep()

    def _keep(self) -> None:
        """Keep what is wanted of the logits of attentions, and these no longer."""
        numbers = [number for number, _ in self.waiting]
        for number, record in zip(
            numbers, self.heads([pieces for _, pieces in self.waiting]), strict=True
        ):
            self.softmaxes[number] = self.softmaxes[number]._replace(record=record)
        self.waiting, self.entries = [], 0

    def _by_hand(
        self, done: Done, outputs: list[Any], known: Known, made: Provenance, before: Tensor | None
    ) -> Provenance:
        """Return the origin of what may be a step of a softmax that is written by hand."""
        name, args, (first, source) = done.kind.name, done.args, known[0]
        if name in LARGEST:
            return made._replace(has_largest=True)
        if name == "sub" and len(known) == 2:
            largest, shift = known[1]
            if shift.has_largest and not source.has_largest and largest is args[1]:
                (out,) = outputs
                shifted = Shift(largest, out.shape, out.stride())
                return made._replace(has_largest=False, shift=shifted)
        if name == "exp":
            return self._add_powers(first if before is None else before, source, made, outputs[0])
        if name == "sum":
            self._read(args, first, source)
            return made
        if name in MASKING:
            for tensor, origin in known:
                if any(t.shape != tensor.shape for t in outputs):
                    continue
                if origin.shift is not None and name in KEEPING:
                    made = made._replace(shift=origin.shift, has_largest=False)
                if origin.powers is not None:
                    made = made._replace(powers=origin.powers)
        return made

    def _add_powers(
        self, exponents: Tensor, origin: Provenance, made: Provenance, out: Tensor
    ) -> Provenance:
        """Note exp of what may be logits."""
        is_of_states = origin.without is not None
        if not is_of_states and len(origin.given) != 1:
            return made
        number = len(self.softmaxes)
        self.softmaxes.append(Attended(self.count(), (), 0, None, is_of_states))
        logits = exponents.detach()
        if origin.shift is not None:
            logits = origin.shift.added_to(exponents)
        # The sum that makes a softmax of it comes later, if it does; logits are large, so that
        # only the last few are waited for.
        if logits is not None and not origin.has_largest:
            without = origin.without_product(exponents).clone() if is_of_states else None
            self.powers[number] = Powers(
                logits, without, origin, origin.kinds(exponents), out.stride()
            )
            for oldest in [*self.powers][:-WAITING]:
                del self.powers[oldest]
        return made._replace(powers=number, softmaxes=made.softmaxes | {number})

    def _read(self, args: Arguments, numerators: Tensor, origin: Provenance) -> None:
        """Read the logits of a softmax, or of a router, of which the sum is taken."""
        number, axes = origin.powers, args[1] if len(args) > 1 else None
        powers = None if number is None else self.powers.get(number)
        if number is None or powers is None or axes is None or len(axes) != 1:
            return
        logits = powers.logits
        if (numerators.shape, numerators.stride()) != (logits.shape, powers.stride):
            return
        axis = axes[0] % logits.ndim
        self._route(numerators, origin, axis, numerators)
        if not _attends(powers.origin, powers.kinds, axis):
            return
        del self.powers[number]
        without = powers.without
        if without is None:  # an entry that is left out, though its power is none that is lost
            near = logits > logits.amax(axis, keepdim=True) - FAR
            logits = logits.masked_fill((numerators.detach() == 0) & near, -np.inf)
        elif origin.without is not None:
            without = without.masked_fill(origin.without_product(numerators) == 0, -np.inf)
        heads, pieces = self._pieces(logits, without, axis, powers.kinds)
        arrays = tuple(sorted(powers.origin.factors))
        self.softmaxes[number] = Attended(self.softmaxes[number].at, arrays, heads, None)
        self._wait(number, pieces, logits.numel())

    def _pieces(
        self, logits: Tensor, without: Tensor | None, axis: int, kinds: Sequence[str | None]
    ) -> tuple[int, Pieces]:
        """Return the number of heads, and logits of some examples at a time, by heads."""
        sizes = tuple(logits.shape)
        # What is known of the axes of a product; else all but the last two are those of a batch.
        known = [kind == BATCH for kind in kinds] if any(kinds) else [True] * (len(sizes) - 2)
        batch = [i for i, is_batch in enumerate(known) if is_batch and i != axis]
        if batch == [0] and axis and sizes[0] % self.examples == 0:  # examples and heads in one
            sizes = (self.examples, sizes[0] // self.examples, *sizes[1:])
            batch, axis = [1], axis + 1
        order = _order(len(sizes), [i for i in batch if i], axis)
        shape = tuple(prod(sizes[i] for i in axes) for axes in order)

        def by_heads(v: Tensor) -> Tensor:
            return v.reshape(sizes).permute([i for axes in order for i in axes]).reshape(shape)

        return shape[1], _in_pieces(
            by_heads(logits), None if without is None else by_heads(without)
        )

    def _fused(self, func: OpOverload, args: Arguments, kwargs: Named) -> Provenance:
        """Note the attention of a kernel that takes queries, keys and values."""
        given = by_name(func, args, kwargs)
        q, k = given["query"].detach(), given["key"].detach()
        origins = [self.origins[given[name]] for name in ("query", "key", "value")]
        if not any(origin.depends for origin in origins):
            return together(origins)
        mask = given.get("attn_bias", given.get("attn_mask"))
        scale = given.get("scale")
        scale = q.shape[-1] ** -0.5 if scale is None else scale
        if k.shape[-3] != q.shape[-3]:
            k = k.repeat_interleave(q.shape[-3] // k.shape[-3], dim=-3)

        def pieces() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            count = max(ENTRIES // max(prod(q.shape[1:-1]) * k.shape[-2], 1), 1)
            for i in range(0, len(q), count):
                some = slice(i, i + count)
                products = q[some].float() @ k[some].float().transpose(-1, -2) * scale
                bias = None
                if given.get("is_causal"):
                    above = torch.ones_like(products, dtype=torch.bool).triu(1)
                    bias = torch.zeros_like(products).masked_fill_(above, -np.inf)
                if mask is not None:
                    added = mask.detach().expand(*q.shape[:-1], k.shape[-2])[some]
                    bias = torch.zeros_like(products) if bias is None else bias
                    is_added = added.is_floating_point()
                    bias = bias + added if is_added else bias.masked_fill(~added, -np.inf)
                if bias is None:
                    values = _by_heads(products)
                    yield values, np.ones(values.shape, bool)
                else:
                    yield from _in_pieces(products + bias, bias)

        both = Provenance(factors=origins[0].arrays | origins[1].arrays)
        entries = prod(q.shape[:-1]) * k.shape[-2]
        self.confirmed.add(self._add(both, q.shape[-3], pieces(), entries))
        return Provenance(True)

    # Routers

    def _route(self, scores: Tensor, origin: Provenance, axis: int, out: Tensor) -> None:
        """Note what weighs as many as there are experts."""
        axis = axis % max(scores.ndim, 1)
        count = self._experts(scores, origin, axis)
        if count:
            weights = out.detach().double().movedim(axis, -1).reshape(-1, count)
            load = (weights / weights.sum(-1, keepdim=True)).mean(0)
            self._add_router(scores, origin, count, count, load)

    def _select(
        self, name: str, scores: Tensor, origin: Provenance, axis: int, chosen: Tensor
    ) -> None:
        """Note what selects among as many as there are experts."""
        count = self._experts(scores, origin, axis)
        if count and not chosen.is_floating_point():  # else the largest of all
            load = torch.bincount(chosen.flatten(), minlength=count) / chosen.numel()
            selected = chosen.numel() * count // scores.numel()
            self._add_router(scores, origin, count, selected, load)

    def _experts(self, scores: Tensor, origin: Provenance, axis: int) -> int:
        """Return the number of experts along an axis; 0 if it counts none."""
        if (
            len(origin.given) != 1
            or not scores.ndim
            or scores.shape[axis] not in self.experts.counts
        ):
            return 0
        kind = origin.kinds(scores)[axis]
        return 0 if kind is None or kind in origin.given else int(scores.shape[axis])

    def _add_router(
        self, scores: Tensor, origin: Provenance, count: int, selected: int, load: Tensor
    ) -> None:
        """Note a router; one that selects counts more than one that weighs."""
        key, arrays = (self.count(), origin.arrays), tuple(sorted(origin.arrays))
        tokens = scores.numel() // count
        if selected < count or key not in self.routers:
            routed = Routed(key[0], arrays, (), tokens, selected, numbers_of(load))
            self.routers[key] = routed


def _attends(origin: Provenance, kinds: Sequence[str | None], axis: int) -> bool:
    """Tell whether a softmax over an axis attends: of a product of states, or over positions."""
    return origin.without is not None or (len(origin.given) == 1 and kinds[axis] in origin.given)


def _order(count: int, heads: list[int], axis: int) -> tuple[list[int], ...]:
    """Return the axes of logits that count examples, heads, rows and keys; the keys' is given."""
    rows = [i for i in range(1, count) if i not in (*heads, axis)]
    return [0] if axis else [], heads, rows, [axis]


def _in_pieces(logits: Tensor, without: Tensor | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield logits (examples, heads, rows, keys) as (heads, rows, keys), and which are seen."""
    count = len(logits) if logits.numel() <= ENTRIES else 1
    for i in range(0, len(logits), count):
        values = logits[i : i + count]
        if without is None:
            seen = values > values.amax(-1, keepdim=True) - 1e8
        else:
            piece = without[i : i + count]
            seen = piece > piece.amax(-1, keepdim=True) + MASKED
        yield _by_heads(values), _by_heads(seen)


def _by_heads(values: Tensor) -> np.ndarray:
    """Return (examples, heads, rows, keys) as (heads, rows, keys), in memory of its own."""
    moved = values.transpose(0, 1).flatten(1, 2)
    return numbers_of(moved.clone() if moved.data_ptr() == values.data_ptr() else moved)


def _laid_out(values: Tensor, like: Tensor) -> Any:
    """Return values in memory laid out as that of another tensor."""
    size = like.untyped_storage().nbytes() // like.element_size()
    memory = values.new_zeros(size)
    memory.as_strided(like.shape, like.stride(), like.storage_offset()).copy_(values)
    return memory


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
