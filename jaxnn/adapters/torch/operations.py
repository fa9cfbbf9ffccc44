"""PyTorch: attention and routers, recognised in the operations of the one pass up.

    product of states -> scaled, masked, biases  ->  softmax  ->  product with a state
    product of a state and a parameter  ->  softmax, sigmoid, topk  ->  experts

A mode of torch's dispatcher sees each operation, whoever calls it, and changes none. Of a product
of states the same steps are done with zeros in its place: a key that the softmax would give nothing
there is masked. So `jaxnn.adapters.attention` has it for programs. Logits are read at once, while
they are there.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .experts import Experts, experts_of
from .origins import BATCH, LEFT, NOTHING, RIGHT, Origin, Origins, axes_of, together
from .tensors import numbers_of, tensors_in

PRODUCTS = {  # the places of their factors
    **dict.fromkeys(("mm", "bmm", "mv", "dot", "linear", "convolution", "embedding"), (0, 1)),
    **dict.fromkeys(("addmm", "addbmm", "addmv", "baddbmm"), (1, 2)),
    **dict.fromkeys(("_grouped_mm", "_scaled_mm"), (0, 1)),
}
MATRICES = ("mm", "bmm", "mv", "linear", "addmm", "addmv", "baddbmm")
SOFTMAXES = ("_softmax", "_safe_softmax")
WEIGHING, SELECTING = ("sigmoid",), ("topk", "max", "argmax")
FUSED = "_scaled_dot_product_"
BY_HAND = "a softmax written by hand"
ATTENTION = ("attention", "attn")  # in the names of other kernels
MASKED = -46.0  # below the largest logit of a row, without products: such a key gets nothing
ENTRIES = 1 << 22  # logits that are read at once; of more those of each example

# Logits (heads, rows, keys) and whether each is not masked, piece by piece -> what is kept of them
Heads = Callable[[Iterator[tuple[np.ndarray, np.ndarray]]], Any]


class Attended(NamedTuple):
    """An attention.

    at: the number of states that were there before it; then its layer.
    arrays: the names of the parameters that its queries and keys are products with.
    heads: their number.
    record: what was kept of its logits.
    """

    at: int
    arrays: tuple[str, ...]
    heads: int
    record: Any


class Routed(NamedTuple):
    """A router.

    at: the number of states that were there before it; then its layer.
    arrays, experts: the names of its parameters, and of those of its experts.
    tokens, selected: as in `jaxnn.adapters.routers.Router`.
    load: the share of each expert.
    """

    at: int
    arrays: tuple[str, ...]
    experts: tuple[str, ...]
    tokens: int
    selected: int
    load: np.ndarray


class Recognised(NamedTuple):
    """Attention and routers of a module, each with its layer.

    unread: kernels that may be attention, of which nothing is known; (layer, name).
    failure: why nothing more was looked for; empty if all was.
    """

    attentions: tuple[Attended, ...]
    routers: tuple[Routed, ...]
    unread: tuple[tuple[int, str], ...]
    failure: str


class Operations:
    """The record of the operations of one pass up.

    Args:
        torch: the package.
        parameters: of the module that is run, by name.
        inputs: the tensors that it is called with.
        count: returns the number of states that were recorded so far.
        heads: what is kept of logits.
    """

    def __init__(
        self,
        torch: Any,
        parameters: Mapping[str, Any],
        inputs: Sequence[Any],
        count: Callable[[], int],
        heads: Heads,
    ) -> None:
        self.torch, self.count, self.heads = torch, count, heads
        self.origins = Origins(torch)
        self.experts: Experts = experts_of(parameters)
        self.examples = len(inputs[0])
        self.softmaxes: list[Attended] = []
        self.confirmed = set[int]()
        self.routers: dict[tuple[int, frozenset[str]], Routed] = {}
        self.used: dict[str, list[int]] = {}  # after how many states a parameter was multiplied
        self.unread: list[tuple[int, str]] = []
        self.failure = ""
        self._try(self._begin, parameters, inputs)

    @contextmanager
    def seen(self) -> Iterator[None]:
        """See all operations."""
        kind = self.torch.utils._python_dispatch.TorchDispatchMode

        def dispatched(_: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            given: Any = (func, args, kwargs or {})
            self._try(self._prepare, *given)
            out = func(*args, **(kwargs or {}))
            self._try(self._note, *given, out)
            return out

        members = {"__torch_dispatch__": dispatched, "supports_higher_order_operators": True}
        with type("Operations", (kind,), members)():
            yield

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
        attentions = [self.softmaxes[i] for i in sorted(self.confirmed)]
        unread = [*self.unread, *((each.at, BY_HAND) for each in attentions if not each.heads)]
        return Recognised(
            tuple(each._replace(at=layer_of(each.at)) for each in attentions if each.heads),
            tuple(routers),
            tuple((layer_of(at), name) for at, name in unread),
            self.failure,
        )

    def _begin(self, parameters: Mapping[str, Any], inputs: Sequence[Any]) -> None:
        for name, p in parameters.items():
            self.origins.set(p, Origin(arrays=frozenset({name})))
        for tensor in inputs:
            self.origins.set(tensor, Origin(depends=True))

    def _prepare(self, func: Any, args: Any, kwargs: Any) -> None:
        """Copy what a product of states is written into: the copy is written into without it."""
        given = [*tensors_in([*args, kwargs])]
        if not any(self.origins.of(t).without is not None for t in given):
            return
        for tensor in _written(func, args, kwargs):
            origin = self.origins.of(tensor)
            if origin.without is None and tensor.is_floating_point():
                size = tensor.untyped_storage().nbytes() // tensor.element_size()
                memory = tensor.detach().as_strided((size,), (1,), 0).clone()
                self.origins.set(tensor, replace(origin, without=memory))

    def _note(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        name = _name(func)
        given = [(t, self.origins.of(t)) for t in tensors_in([*args, kwargs])]
        known = [(t, origin) for t, origin in given if origin is not NOTHING]
        if not known:
            return
        if any(word in name.lower() for word in ATTENTION) and not name.startswith(FUSED):
            self._add_unread(name)
        outputs = [*tensors_in(out)]
        first, of = known[0]
        if name in PRODUCTS:
            made = self._product(name, args, kwargs, out)
        elif name.startswith(FUSED):
            made = self._fused(func, args, kwargs)
        else:
            made = together([origin for _, origin in known])
            if name in SOFTMAXES:
                made = self._softmax(args[0], args[1], out, made)
            if name in (*SOFTMAXES, *WEIGHING, *SELECTING):
                self._route(name, first, of, args, out)
            if name == "exp" and of.without is not None:
                self.softmaxes.append(Attended(self.count(), (), 0, None))
                made = replace(made, softmaxes=made.softmaxes | {len(self.softmaxes) - 1})
            if name not in SOFTMAXES:
                self._follow(func, args, kwargs, given, outputs, made)
                return
        for tensor in outputs:
            self.origins.set(tensor, made)

    def _add_unread(self, name: str) -> None:
        if (self.count(), name) not in self.unread:
            self.unread.append((self.count(), name))

    # Products

    def _product(self, name: str, args: Any, kwargs: Any, out: Any) -> Origin:
        left, right = (self.origins.of(args[i]) for i in PRODUCTS[name])
        kinds: tuple[str | None, ...] = (None,) * out.ndim
        if name in MATRICES:
            of_left = LEFT if name == "linear" else BATCH
            kinds = (*[of_left] * (out.ndim - 2), LEFT, *[RIGHT] * (out.ndim > 1))
        factors = left.arrays | right.arrays
        for array in {name for of in (left, right) if not of.depends for name in of.arrays}:
            self.used.setdefault(array, []).append(self.count())
        if left.depends and right.depends:
            self.confirmed |= left.softmaxes | right.softmaxes
            without = None
            if name in MATRICES:
                without = self.torch.zeros_like(out)
                beta = kwargs.get("beta", 1)
                if PRODUCTS[name] == (1, 2) and beta:
                    without += beta * args[0].detach()
            given = frozenset({LEFT, RIGHT})
            return Origin(True, frozenset(), axes_of(out, kinds), given, factors, without)
        if left.depends or right.depends:
            side, other = (LEFT, right) if left.depends else (RIGHT, left)
            return Origin(True, other.arrays, axes_of(out, kinds), frozenset({side}), factors)
        return Origin(arrays=factors)

    def _follow(
        self, func: Any, args: Any, kwargs: Any, given: Any, outputs: Any, made: Origin
    ) -> None:
        """Note what an operation that is no product makes, and what it would without products."""
        zeroed = {id(t): o.without_product(t) for t, o in given if o.without is not None}
        without: list[Any] = [None] * len(outputs)
        schema, tags = getattr(func, "_schema", None), getattr(func, "tags", ())
        is_drawn = self.torch.Tag.nondeterministic_seeded in tags
        if zeroed and outputs and schema is not None and not is_drawn:
            instead = func(*_replaced(args, zeroed), **_replaced(kwargs, zeroed))
            without = [*tensors_in(instead)]
        kinds = self._kinds(given, outputs, made)
        memory = {t.untyped_storage()._cdata: o for t, o in given}
        for tensor, zero, axes in zip(outputs, without, kinds, strict=True):
            place = tensor.untyped_storage()._cdata
            new = replace(made, axes=axes)
            if place in memory:  # a view, or what is changed in place
                own = memory[place]
                new = replace(made, axes=own.axes or axes, without=own.without)
            elif zero is not None and zero.dtype.is_floating_point:
                new = replace(new, without=_laid_out(zero, tensor))
            self.origins.set(tensor, new)

    def _kinds(self, given: Any, outputs: Any, made: Origin) -> list[Any]:
        """Return the axes of outputs, which are those of the value that the last product made."""
        source = next(((t, o) for t, o in given if o.axes and o.depends == made.depends), None)
        if source is None:
            return [()] * len(outputs)
        kinds = source[1].kinds(source[0])
        missing = [max(t.ndim - len(kinds), 0) for t in outputs]
        return [
            axes_of(t, (*[None] * more, *kinds)) if t.ndim == more + len(kinds) else ()
            for t, more in zip(outputs, missing, strict=True)
        ]

    # Attention

    def _softmax(self, logits: Any, axis: int, out: Any, made: Origin) -> Origin:
        of, axis = self.origins.of(logits), axis % max(logits.ndim, 1)
        kinds = of.kinds(logits)
        made = replace(made, axes=axes_of(out, kinds))
        is_of_states = of.without is not None
        if not is_of_states and not (len(of.given) == 1 and kinds[axis] in of.given):
            return made
        seen = of.without_product(logits) if is_of_states else None
        heads, pieces = self._pieces(logits.detach(), seen, axis, kinds)
        arrays = tuple(sorted(of.factors))
        self.softmaxes.append(Attended(self.count(), arrays, heads, self.heads(pieces)))
        return replace(
            made, given=frozenset(), softmaxes=made.softmaxes | {len(self.softmaxes) - 1}
        )

    def _pieces(
        self, logits: Any, without: Any, axis: int, kinds: Sequence[str | None]
    ) -> tuple[int, Iterator[tuple[np.ndarray, np.ndarray]]]:
        """Return the number of heads, and logits of some examples at a time, by heads."""
        batch = [i for i, kind in enumerate(kinds) if kind == BATCH and i != axis]
        if not any(kinds):
            batch = [i for i in range(logits.ndim - 2) if i != axis]
        whole = logits.shape[0] % self.examples == 0
        if batch == [0] and whole and axis:  # examples and heads in one
            shape = (self.examples, logits.shape[0] // self.examples, *logits.shape[1:])
            logits, without = (None if v is None else v.reshape(shape) for v in (logits, without))
            batch, axis = [1], axis + 1
        heads = [i for i in batch if i]
        rows = [i for i in range(1, logits.ndim) if i not in (*heads, axis)]
        first = [0] if axis else []
        order = (*first, *heads, *rows, axis)
        shape = (
            logits.shape[0] if first else 1,
            prod(logits.shape[i] for i in heads),
            prod(logits.shape[i] for i in rows),
            logits.shape[axis],
        )
        both = [None if v is None else v.permute(order).reshape(shape) for v in (logits, without)]
        return shape[1], _in_pieces(*both)

    def _fused(self, func: Any, args: Any, kwargs: Any) -> Origin:
        """Note the attention of a kernel that takes queries, keys and values."""
        names = [a.name for a in func._schema.arguments]
        of = dict(zip(names, args, strict=False)) | kwargs
        q, k = of["query"].detach(), of["key"].detach()
        origins = [self.origins.of(of[name]) for name in ("query", "key", "value")]
        if not any(origin.depends for origin in origins):
            return together(origins)
        mask = of.get("attn_bias", of.get("attn_mask"))
        scale = of.get("scale")
        scale = q.shape[-1] ** -0.5 if scale is None else scale
        if k.shape[-3] != q.shape[-3]:
            k = k.repeat_interleave(q.shape[-3] // k.shape[-3], dim=-3)

        def pieces() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            count = max(ENTRIES // max(prod(q.shape[1:-1]) * k.shape[-2], 1), 1)
            for i in range(0, len(q), count):
                some = slice(i, i + count)
                products = q[some].float() @ k[some].float().transpose(-1, -2) * scale
                bias = self.torch.zeros_like(products)
                if of.get("is_causal"):
                    above = self.torch.ones_like(bias, dtype=self.torch.bool).triu(1)
                    bias = bias.masked_fill(above, -np.inf)
                if mask is not None:
                    own = mask.detach().expand(*q.shape[:-1], k.shape[-2])[some]
                    bias = (
                        bias + own if own.is_floating_point() else bias.masked_fill(~own, -np.inf)
                    )
                yield from _in_pieces(products + bias, bias)

        arrays = tuple(sorted(origins[0].arrays | origins[1].arrays))
        self.confirmed.add(len(self.softmaxes))
        self.softmaxes.append(Attended(self.count(), arrays, q.shape[-3], self.heads(pieces())))
        return Origin(True)

    # Routers

    def _route(self, name: str, scores: Any, of: Origin, args: Any, out: Any) -> None:
        """Note what weighs or selects as many as there are experts."""
        place = 2 if name == "topk" else len(args) if name in WEIGHING else 1
        axis = args[place] if len(args) > place and args[place] is not None else -1
        if len(of.given) != 1 or not scores.ndim:
            return
        axis = axis % scores.ndim
        kind, count = of.kinds(scores)[axis], scores.shape[axis]
        if kind is None or kind in of.given or count not in self.experts.counts:
            return
        key, tokens = (self.count(), of.arrays), scores.numel() // count
        arrays = tuple(sorted(of.arrays))
        if name in SELECTING:
            chosen = [*tensors_in(out)][-1]
            if chosen.is_floating_point():  # the largest of all
                return
            load = self.torch.bincount(chosen.flatten(), minlength=count) / chosen.numel()
            selected = chosen.numel() // tokens
        else:
            weights = out.detach().double().movedim(axis, -1).reshape(-1, count)
            load = (weights / weights.sum(-1, keepdim=True)).mean(0)
            selected = count
        found = Routed(key[0], arrays, (), tokens, selected, numbers_of(load))
        if selected < count or key not in self.routers:
            self.routers[key] = found


def _in_pieces(logits: Any, without: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield logits (examples, heads, rows, keys) as (heads, rows, keys), and which are seen."""
    count = len(logits) if logits.numel() <= ENTRIES else 1
    for i in range(0, len(logits), count):
        values = logits[i : i + count]
        if without is None:
            seen = values > values.amax(-1, keepdim=True) - 1e8
        else:
            own = without[i : i + count]
            seen = own > own.amax(-1, keepdim=True) + MASKED
        yield tuple(  # type: ignore[misc]
            numbers_of(v.transpose(0, 1).flatten(1, 2)) for v in (values, seen)
        )


def _written(func: Any, args: Any, kwargs: Any) -> Iterator[Any]:
    """Yield the tensors that an operation writes into."""
    schema = getattr(func, "_schema", None)
    for i, each in enumerate(schema.arguments if schema is not None else ()):
        if each.alias_info is not None and each.alias_info.is_write:
            yield from tensors_in(args[i] if i < len(args) else kwargs.get(each.name))


def _laid_out(values: Any, like: Any) -> Any:
    """Return values in memory laid out as that of another tensor."""
    size = like.untyped_storage().nbytes() // like.element_size()
    memory = values.new_zeros(size)
    memory.as_strided(like.shape, like.stride(), like.storage_offset()).copy_(values)
    return memory


def _replaced(value: Any, tensors: dict[int, Any]) -> Any:
    """Return arguments with other tensors for some."""
    if id(value) in tensors:
        return tensors[id(value)]
    if isinstance(value, dict):
        return {key: _replaced(part, tensors) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_replaced(part, tensors) for part in value)
    return value


def _name(func: Any) -> str:
    """Return the name of an operation: bmm of aten::bmm."""
    schema = getattr(func, "_schema", None)
    return str(schema.name if schema is not None else func).rsplit("::", 1)[-1]


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
