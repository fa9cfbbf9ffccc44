"""PyTorch: the operations of the one pass up as programs of layers, in which JAX's readers read.

a mode of torch's dispatcher  ->  operations between values  ->  a jaxpr of each layer

It sees each operation, whoever calls it, and changes none. A value is what a tensor holds at a
time: its memory, and how it lies there. What is written into is a new value, in all its views.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

from ..jaxpr.example_independence import ExamplePlace, places_through
from ..jaxpr.interpreter import Jaxpr
from ..jaxpr.program import Flat
from ..recognition.anatomy import Anatomy
from ..recognition.step_graph import Graph
from .activations import OF_INPUT, SIGMAS, Activations
from .aten import (
    CHOSEN,
    CONVOLUTION,
    LOGITS,
    MASKING,
    NEW,
    OPERATIONS,
    PRODUCTS,
    SELECTING,
    Lies,
    Operand,
    program_of,
    seen_as,
    with_part,
)
from .dispatch import FUSED, Done, OperationKind, by_name, each_operation, kind_of
from .experts import lists_of
from .module_calls import MultiplyAdds
from .tensors import PLAIN, ByMemory, is_tensor, tensors_in
from .types import Arguments, Named, OpOverload, Output, Tensor

AXES_OF_TOKENS = 3  # of a memory, such as an encoder's output; masks have more
LAYERS = 256  # whose anatomies are kept: those of equal layers are equal

# The record of each layer, given its anatomy and numbers of values of its program.
Reader = Callable[[Sequence[tuple[Anatomy, Mapping[int, Any]]]], Sequence[Any]]


class Recorded(NamedTuple):
    """An operation: the states before it, its name and program, the values it takes and makes."""

    at: int
    name: str
    program: Jaxpr
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    may_attend: bool = False


class RecognisedLayer(NamedTuple):
    """A layer, what is recognised in it, its numbers, and the names of its arrays."""

    layer: int
    anatomy: Anatomy
    record: Any
    names: Sequence[str]


class NamedGraph(NamedTuple):
    """The graph of operations, names of its arrays, and its numbers of values of the record."""

    graph: Graph
    names: Sequence[str]
    numbers: Mapping[int, int]


class Recognised(NamedTuple):
    """Layers in which something is recognised."""

    layers: tuple[RecognisedLayer, ...]
    failure: str  # why nothing more was looked for; empty if all was

    @property
    def unread(self) -> Iterable[tuple[int, str]]:
        """Layers, and names of what may attend there and is not read."""
        return ((of.layer, name) for of in self.layers for name in of.anatomy.unread)


class Operations:
    """The record of the operations of one pass up."""

    def __init__(
        self,
        parameters: Mapping[str, Any],
        inputs: Sequence[Any],
        read: Reader = lambda _: (),
        products: MultiplyAdds | None = None,
    ) -> None:
        self.read, self.products = read, products
        self.count: Callable[[], int] = int  # of the states so far
        self.activations: Activations | None = None
        self.examples = len(inputs[0])
        self.places: dict[int, ExamplePlace] = {}  # of the examples in values
        self.placed = 0  # operations of which these are known
        self.lists = lists_of(parameters)
        self.memory = ByMemory[dict[Lies, int]]({})  # values; the first one is the whole
        self.recorded: list[Recorded] = []
        self.types: list[Operand] = []  # of values
        self.names: dict[int, str] = {}  # of parameters
        self.inputs: list[int] = []
        self.main: set[int] = set()  # these, and the states of cuts
        self.depends: set[int] = set()  # on these
        self.kept: dict[int, Any] = {}  # numbers: of parameters, constants and what is asked for
        # What can be made of these: the logits of a product, which torch keeps, are not kept too.
        self.readable: set[int] = set()
        self.before: dict[int, Any] = {}  # what the last operation has written into, by its id
        self.is_image: set[int] = set()  # values whose last product is a convolution
        self.failure = ""
        self._try(self._begin, parameters, inputs)

    def seen(self) -> AbstractContextManager[None]:
        """Return a context in which all operations are seen."""
        return each_operation(self._run)

    def _run(self, func: OpOverload, args: Arguments, kwargs: Named) -> Any:
        """Run an operation, and note what it has made."""
        kind = kind_of(func)
        if kind.is_view:
            return func(*args, **kwargs)  # seen as one where it is taken
        given = tensors_in([*args, *kwargs.values()])
        self.before = {}
        if kind.writes:
            self._try(self._prepare, kind, args, kwargs, given)
        out = func(*args, **kwargs)
        done = Done(kind, func, args, kwargs, given, out)
        if self.products is not None:
            self.products.note(func, args, kwargs, out)
        self._try(self._note, done)
        if kind.name in SIGMAS:
            self._try(self._activated, done)
        return out

    def _try(self, step: Callable[..., None], *given: Any) -> None:
        """Take a step, unless one has failed before: the measurement goes on without."""
        if not self.failure:
            try:
                step(*given)
            except Exception as error:
                self.failure = f"{type(error).__name__}: {error}".splitlines()[0]

    def value(self, tensor: Tensor) -> tuple[int | None, bool]:
        """Return the value of a state, and if each entry of its first axis is of one example."""
        v = None if self.failure else self._value(tensor)
        self._try(self._place)
        if v is not None:
            self.main.add(v)
            self.readable.discard(v)  # in the layers above
        return v, v is not None and self.places.get(v) == ExamplePlace(0, 1)

    def _place(self) -> None:
        """Note where examples lie in what was made since."""
        for operation in self.recorded[self.placed :]:
            places = tuple(map(self.places.get, operation.inputs))
            if any(places):
                made = places_through(operation.program, places, self.examples)
                pairs = zip(operation.outputs, made, strict=True)
                self.places.update((v, place) for v, place in pairs if place is not None)
        self.placed = len(self.recorded)

    # Values

    def _begin(self, parameters: Mapping[str, Any], inputs: Sequence[Any]) -> None:
        for name, p in parameters.items():
            v = self._new(p)
            self.names[v], self.kept[v] = name, p.detach()
        for tensor in inputs:
            v = self._new(tensor)
            self.inputs.append(v)
            self.main.add(v)
            self.depends.add(v)
            if tensor.ndim and len(tensor) == self.examples:
                self.places[v] = ExamplePlace(0, 1)

    def _typed(self, operand: Operand) -> int:
        self.types.append(operand)
        return len(self.types) - 1

    def _new(self, tensor: Tensor) -> int:
        v = self._typed(Operand.of(tensor))
        self.memory[tensor] = self.memory[tensor] | {_lies(tensor): v}
        return v

    def _value(self, tensor: Tensor) -> int | None:
        """Return the value of a tensor; None of a constant."""
        values, lies = self.memory[tensor], _lies(tensor)
        if values and lies not in values:  # a view that was made before what is there
            at, whole = next(iter(values.items()))
            self._add(
                "", seen_as(self.types[whole], at, Operand.of(tensor), lies), [whole], [tensor]
            )
        return self.memory[tensor].get(lies)

    def _constant(self, tensor: Tensor) -> int:
        v = self._typed(Operand.of(tensor))
        self.kept[v] = self.before.get(id(tensor), tensor).detach()
        return v

    def _add(
        self, name: str, program: Jaxpr, inputs: Sequence[int], tensors: Sequence[Any], **more: Any
    ) -> list[int]:
        """Add an operation to the record; return the values that it makes."""
        outputs = [*map(self._new, tensors)]
        operation = Recorded(self.count(), name, program, (*inputs,), (*outputs,), **more)
        self.recorded.append(operation)
        of_states = self.depends.intersection(inputs)
        self.depends.update(outputs if of_states else ())
        if name in PRODUCTS:
            self.readable.update(outputs if len(of_states) > 1 else ())
        elif (not name or name in OPERATIONS) and not self.readable.isdisjoint(of_states):
            is_known = all(v in self.readable or v in self.kept for v in of_states)
            self.readable.update(outputs if is_known else ())
        return outputs

    def _prepare(
        self, kind: OperationKind, args: Arguments, kwargs: Named, given: list[Any]
    ) -> None:
        """Copy what is going to be written into, if its numbers may be asked for."""
        is_known = any(t in self.memory for t in given)
        for i, name in kind.writes:
            for t in tensors_in(args[i] if i < len(args) else kwargs.get(name)):
                values = self.memory[t]
                if (is_known and not values) or kind.name in ("exp", *OF_INPUT):
                    several = (t,) if values or t._base is None else (t, t._base)
                    self.before |= {id(v): v.detach().clone() for v in several}
                for v in self.kept.keys() & {*values.values()}:
                    self.kept[v] = self.kept[v].clone()

    def _note(self, done: Done) -> None:
        """Note what an operation has made."""
        kind, func, args, kwargs, given, out = done
        outputs, name = tensors_in(out), kind.name
        known = [self._value(t) for t in given]
        is_seen = not kind.writes and all(self.memory[t] for t in outputs)
        if name in NEW or is_seen or all(v is None for v in known):
            return
        pairs = zip(given, known, strict=True)
        inputs = [self._constant(t) if v is None else v for t, v in pairs]
        self._keep(done, inputs)
        program = program_of(func, *_spec(args, kwargs, given), tuple(map(Operand.of, outputs)))
        wholes = [self._whole(t) if kind.writes else None for t in outputs]
        for t in outputs if kind.writes else ():
            self.memory[t] = {}
        made = self._add(name, program, inputs, outputs, may_attend=kind.may_attend)
        for t, v, whole in zip(outputs, made, wholes, strict=True):
            if whole is not None and whole[0] != _lies(t):
                self._written_in_part(t, v, *whole)
        last = name == CONVOLUTION or (
            name not in PRODUCTS and not self.is_image.isdisjoint(inputs)
        )
        self.is_image.update(made if last else ())
        if name in CHOSEN:
            self.kept.update(zip(made, (t.detach() for t in outputs), strict=True))

    def _whole(self, tensor: Tensor) -> tuple[Lies, int] | None:
        """Return how what holds a memory as a whole lies there, and its value."""
        values = self.memory[tensor]
        if not values and tensor._base is not None:
            values = {_lies(tensor._base): self._constant(tensor._base)}
        return next(iter(values.items()), None)

    def _written_in_part(self, tensor: Tensor, part: int, lies: Lies, before: int) -> None:
        """Note of a memory that was written into in part what it holds as a whole."""
        types, whole = (self.types[part], self.types[before]), self._typed(self.types[before])
        self.memory[tensor] = {lies: whole, _lies(tensor): part}
        inputs: tuple[int, ...] = (before, part)
        program = with_part(types[0], _lies(tensor), types[1], lies)
        if prod(types[0].shape) == prod(types[1].shape):  # of what was there nothing is left
            inputs, program = (part,), seen_as(types[0], _lies(tensor), types[1], lies)
        self.recorded.append(Recorded(self.count(), "", program, inputs, (whole,)))
        if not self.depends.isdisjoint(inputs):
            self.depends.add(whole)

    def _keep(self, done: Done, inputs: Sequence[int]) -> None:
        """Keep what a reader may ask for: what may be logits, queries, keys or a mask."""
        name, given, size = done.kind.name, done.given, max(t.numel() for t in tensors_in(done.out))
        places: Iterable[int] = ()
        if name in LOGITS:
            places = (0,) if inputs[0] not in self.readable else ()
        elif name in PRODUCTS and sum(v in self.depends for v in inputs) > 1:
            places = range(len(given))
        elif name.startswith(FUSED):
            places = (i for i in range(len(given)) if i != 2)
        elif name in MASKING:
            masks = (not t.is_floating_point() or t.numel() < size for t in given)
            places = (i for i, is_mask in enumerate(masks) if is_mask)
        for i in places:
            if inputs[i] in self.depends:
                t = given[i]
                self.kept.setdefault(inputs[i], self.before.get(id(t), t).detach())

    def _activated(self, done: Done) -> None:
        """Note an activation of something that depends on the inputs."""
        kind, func, args, kwargs, _, out = done
        v = self._value(out)
        if v in self.depends and self.activations is not None:
            # Its units are the columns of the product before it, or else the channels of an image.
            axis = 1 if v in self.is_image else -1
            z = self.before.get(id(args[0])) if kind.is_in_place else args[0]
            self.activations.note(kind.name, z, out, axis, by_name(func, args, kwargs))

    # Layers

    def recognised(self, layer_of: Callable[[int], int], output: Output) -> Recognised:
        """Return what is recognised in layers, given the output; a layer is of the next state."""
        layers = list[RecognisedLayer]()
        self._try(self._recognise, layer_of, tensors_in(output), layers)
        return Recognised(tuple(layers), self.failure)

    def _recognise(
        self, layer_of: Callable[[int], int], outputs: list[Any], layers: list[RecognisedLayer]
    ) -> None:
        of_layers, known = dict[int, list[Recorded]](), list[RecognisedLayer]()
        fixed: dict[int, Recorded] = {}  # what is made of parameters alone
        taken = {v: {0} for v in self.values(outputs)}  # values, by layers; 0 of the output
        for operation in self.recorded:
            layer = layer_of(operation.at)
            of_layers.setdefault(layer, []).append(operation)
            fixed |= {v: operation for v in operation.outputs if v not in self.depends}
            for v in operation.inputs:
                taken.setdefault(v, set()).add(layer)
        for layer, operations in of_layers.items():
            if any(map(self._may_be_told, operations)):
                ends = {v for v, layers_of in taken.items() if layers_of - {layer}}
                known.append(self._layer(layer, _with_fixed(operations, fixed), ends))
        numbers = [(of.anatomy, of.record) for of in known]
        records = iter(self.read([pair for pair in numbers if pair[1]]))
        told = [of._replace(record=next(records, None) if of.record else None) for of in known]
        layers += [of for of in told if of.record is not None or of.anatomy.unread]

    def _may_be_told(self, operation: Recorded) -> bool:
        name = operation.name
        is_softmax = name in LOGITS or name.startswith(FUSED)
        return is_softmax or operation.may_attend or (name in CHOSEN and bool(self.lists))

    def graph(self, outputs: Iterable[int]) -> NamedGraph:
        """Return all that was recorded, up to some values."""
        return self._named_graph(self.recorded, {*outputs})

    def values(self, tensors: Iterable[Any]) -> list[int]:
        """Return the values of tensors that are no constants."""
        return [v for v in map(self._value, tensors) if v is not None]

    def parameters_behind(self, tensor: Tensor) -> set[str]:
        """Return the names of the parameters that a tensor is made of, also by what is detached."""
        needed = {*self.values([tensor])}
        for operation in reversed(self.recorded):
            needed.update(operation.inputs if not needed.isdisjoint(operation.outputs) else ())
        return {self.names[v] for v in needed & self.names.keys()}

    def _layer(
        self, layer: int, operations: Sequence[Recorded], outside: set[int]
    ) -> RecognisedLayer:
        """Return what is recognised in a layer, and its numbers; some of its values leave it."""
        graph, names, numbers = self._named_graph(operations, outside)
        anatomy = _anatomy(graph)
        known = {v: self.kept[u] for u, v in numbers.items() if u in self.kept}
        is_known = bool(anatomy.attentions or anatomy.routers)
        return RecognisedLayer(layer, anatomy, known if is_known else None, names)

    def _is_wide(self, v: int) -> bool:
        return len(self.types[v].shape) > AXES_OF_TOKENS

    def _named_graph(self, operations: Sequence[Recorded], outside: set[int]) -> NamedGraph:
        """Return the graph of operations, of which some values go elsewhere."""
        made = dict.fromkeys(v for operation in operations for v in operation.outputs)
        taken = dict.fromkeys(v for operation in operations for v in operation.inputs)
        entering = [v for v in taken if v not in made]
        used = {self.names[v] for v in entering if v in self.names}
        if any(operation.name in SELECTING for operation in operations):
            used.update(*(names for _, names in self.lists if not used.isdisjoint(names)))
        arrays = dict(sorted((name, v) for v, name in self.names.items() if name in used))
        constants = [v for v in entering if v not in self.names and v not in self.depends]
        states = [v for v in entering if v in self.depends]
        ends = [v for v in made if v in self.kept or v in outside]
        place = {v: i for i, v in enumerate([*constants, *arrays.values(), *states])}
        for operation in operations:
            place |= {v: len(place) + i for i, v in enumerate(operation.outputs)}
        order = {name: i for i, name in enumerate(arrays)}
        graph = _graph(
            tuple((o.program, *(tuple(map(place.get, vs)) for vs in o[3:5])) for o in operations),
            *(
                tuple(map(self.types.__getitem__, vs))
                for vs in (constants, arrays.values(), states)
            ),
            tuple(i for i, v in enumerate(states) if v not in self.main and self._is_wide(v)),
            tuple(map(place.__getitem__, ends)),
            tuple(
                (count, tuple(sorted(map(order.__getitem__, names))))
                for count, names in self.lists
                if order.keys() >= {*names}
            ),
        )
        inside = (*graph.flat.inputs, *graph.flat.outputs)
        values = (*constants, *arrays.values(), *states, *ends)
        return NamedGraph(graph, [*arrays], dict(zip(values, inside, strict=True)))


def _with_fixed(operations: Sequence[Recorded], fixed: Mapping[int, Recorded]) -> list[Recorded]:
    """Return operations of a layer, behind others that make of parameters what it takes."""
    needed = {v for operation in operations for v in operation.inputs}
    made = {v for operation in operations for v in operation.outputs}
    before = list[Recorded]()
    waiting = [v for v in needed if v in fixed and v not in made]
    for v in waiting:
        operation = fixed[v]
        if operation not in before:
            before.append(operation)
            waiting += [u for u in operation.inputs if u in fixed and u not in made]
    return [*before[::-1], *operations]


@lru_cache(maxsize=LAYERS)
def _graph(
    programs: Sequence[tuple[Jaxpr, Sequence[int], Sequence[int]]],
    constants: Sequence[Operand],
    arrays: Sequence[Operand],
    states: Sequence[Operand],
    beside: Sequence[int],
    ends: Sequence[int],
    lists: Sequence[tuple[int, tuple[int, ...]]],
) -> Graph:
    """Return the graph of a layer of programs, with the numbers of what they take and make."""
    types = [operand.type for operand in (*constants, *arrays, *states)]
    flat = Flat.joined(types, programs, ends)
    told = {"beside": beside, "constants": len(constants), "lists": lists}
    return Graph.of_flat(flat, len(states), **told)


_anatomy = lru_cache(maxsize=LAYERS)(Anatomy.of_graph)


def _lies(tensor: Tensor) -> Lies:
    return tuple(tensor.shape), tensor.stride(), tensor.storage_offset()


def _spec(args: Arguments, kwargs: Named, given: Sequence[Any]) -> tuple[Any, Any]:
    """Return arguments with operands for tensors; these alone if others cannot be compared."""
    spec = _compared(args), _compared([*kwargs.items()])
    try:
        hash(spec)
    except TypeError:
        return tuple(map(Operand.of, given)), ()
    return spec


def _compared(given: Any) -> Any:
    """Return arguments that can be compared, with operands for tensors."""
    if type(given) in PLAIN:
        return given
    if isinstance(given, tuple | list):
        return tuple(map(_compared, given))
    return Operand.of(given) if is_tensor(given) else given
