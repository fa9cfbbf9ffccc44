"""PyTorch: a module run as it is, with hooks on its cuts, and gone down from again and again.

`inputs -> one pass up, which records what cuts return -> a survey of torch's graph -> passes down`

Torch is never imported: the user has done so.
"""

import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..texts import clean, label, percent
from .activations import Activations, LayerUnits
from .autograd_gates import Survey
from .backward_consensus import Agreed, agreed
from .backward_hooks import Acting, acting_hooks
from .backward_passes import Descent, Look
from .block_choice import Coverage, NoLayersError, chain_of_blocks, check_batch, reached_states
from .call import Call, recording
from .custom_functions import inner_parameters
from .cuts import (
    CutOptions,
    listed,
    modules_of,
    named_cuts,
    options_in,
    parameters_of,
    plain_name,
    unwrapped,
)
from .gradient_reach import Stopped, are_left_out, stopped
from .graphs import log_branches
from .hooks import CutState, StateRecorder, TensorHooks, has_steps_first, numbered
from .inputs import entered, entering
from .misfits import named_misfits
from .module_calls import Calls, MultiplyAdds
from .operations import Operations, Reader, Recognised
from .recurrent import Recurrent, RecurrentSteps
from .restore import unchanged
from .tensors import is_a, is_broken, tensors_in
from .types import Cuts, Module, Output, Tensor, torch
from .zero_heads import drawn, zero_head

WHOLE = ""  # the name of the module itself


class MeasuredModule(NamedTuple):
    """A module's states, and what passes down agree on."""

    states: list[CutState]  # the outputs of its cuts, of each the parts that belong to it
    found: Agreed  # Δ of each state, of the input and of the parameters
    parameters: dict[str, Any]  # by name
    # Of each parameter the layers that it is used in, L + 1 above the last cut.
    layers: dict[str, set[int]]
    # By how many of them it is shared, as by the steps of a recurrent network.
    times: dict[str, int]
    recognised: Recognised
    log_branches: np.ndarray | None  # of states
    units: list[LayerUnits] | None  # of the activations of each layer; None without any
    loss: float | None  # None of a cotangent
    broken: tuple[str, ...]  # names of what holds nan or inf and has no Δ
    coverage: Coverage | None  # of layers that were found automatically
    steps: tuple[RecurrentSteps, ...]  # Δ at the steps of recurrent modules
    stops: Stopped | None
    notes: tuple[str, ...]  # sentences on what was chosen, and on what has no number
    # Names of weights that are zero, below which Δ is measured after random numbers.
    drawn: tuple[str, ...] = ()


def measured(
    call: Call, cuts: Cuts, look: Callable[[list[CutState]], Look], read: Reader
) -> MeasuredModule:
    """Measure a module of PyTorch, from cut to cut; see `jaxnn.gradient_flow`.

    look returns what is noted of Δ of each state besides, in each pass whose numbers may be taken;
    read the numbers of what is recognised in a layer.
    """
    module, inputs, ys, loss, cotangent, _ = call
    if not hasattr(module, "register_forward_hook") or "torch" not in sys.modules:
        raise TypeError(f"module: expected a torch.nn.Module, got {type(module).__name__}")
    if loss is not None and cotangent is not None:
        raise TypeError("loss, cotangent: expected one of them, got both")
    module = unwrapped(module)
    _check_module(module)
    cutting, call = _Cutting.of(module, cuts), call._replace(module=module)

    def run(call: Call, acting: Acting) -> MeasuredModule:
        is_apart = False  # a state from what hooks of the user's are on
        while True:
            with recording(), unchanged(module, tensors_in([inputs, ys]), acting.hooks):
                up = _up(call, cutting, read, is_apart)
                has_hooks = up.recorder.has_hooks
                up.recorder.closed()
                if is_apart or not has_hooks:
                    return _gone_down(call, cutting, up, look)
            is_apart = True

    def run_with(entry: str) -> tuple[Call, Acting, MeasuredModule]:
        entering_call = call._replace(entry=entry)
        acting = acting_hooks(entering_call)
        return entering_call, acting, run(entering_call, acting)

    try:
        with named_misfits(module):
            call, acting, first = entered(run_with)
    except NoLayersError as error:
        cutting = _Cutting.of(module, WHOLE)
        try:
            call, acting, first = entered(run_with)
        except ValueError:
            raise error from None
        note = (
            f"No layers are found in {type(module).__name__}: all of it is taken as one; more is "
            "seen of a module that calls others as its layers."
        )
        first = first._replace(notes=(note, *first.notes))
    stops = first.stops
    if stops and stops.why == "unused" and are_left_out(module, stops.parts, inputs):
        stops = None
    first = first._replace(notes=(*first.notes, *_on_hooks(acting)), stops=stops)
    head = zero_head(first.found, first.parameters, first.layers)
    if head is None:
        return first
    with drawn(parameters_of(module), head.weights):
        below = run(call, acting)
    found = head.joined(first.found, below.found, first.layers)
    notes = (*first.notes, head.note)
    return first._replace(found=found, steps=below.steps, drawn=head.weights, notes=notes)


class _Cutting(NamedTuple):
    """Places at which a module may be cut."""

    cuts: Cuts  # as they were given; None if they are to be found
    options: CutOptions  # what to choose them from, then
    chosen: dict[str, Module]  # all modules to look at, by name
    is_pattern: bool  # a pattern has chosen them

    @classmethod
    def of(cls, module: Module, cuts: Cuts) -> "_Cutting":
        if cuts is not None:
            return cls(cuts, CutOptions([], {}, {}), *named_cuts(module, cuts))
        options = options_in(module)
        return cls(None, options, options.modules, False)


class _Up(NamedTuple):
    """The one pass up: the first tensor of the inputs, the output, and what was noted."""

    x: Tensor
    output: Output
    recorder: StateRecorder
    calls: Calls
    recurrent: Recurrent
    operations: Operations
    products: MultiplyAdds
    activations: Activations
    hooks: TensorHooks


def _up(call: Call, cutting: _Cutting, read: Reader, apart: bool) -> _Up:
    module = call.module
    calls, recurrent, known = Calls(), Recurrent(), modules_of(module)
    products = MultiplyAdds(calls)
    args, named, x = entering(call.inputs, call.entry)
    entered_by = [x, *(t for t in tensors_in([args, named]) if t is not x)]
    hooks, operations = TensorHooks(), Operations(parameters_of(module), entered_by, read, products)
    is_strict = cutting.cuts is not None and not cutting.is_pattern
    recorder = StateRecorder(is_strict, apart, operations.value)

    def count() -> int:
        return len(recorder.states)

    activations = Activations(count, recorder.is_state)
    operations.count, operations.activations = count, activations
    with (
        hooks.watched(),
        recorder.hooked(cutting.chosen),
        recurrent.hooked(known),
        calls.noted(known),
        operations.seen(),
    ):
        output = module(*args, **named)
    return _Up(x, output, recorder, calls, recurrent, operations, products, activations, hooks)


def _gone_down(
    call: Call, cutting: _Cutting, up: _Up, look: Callable[[list[CutState]], Look]
) -> MeasuredModule:
    """Go down from the output of a pass up, and note all that is said of the module."""
    module = call.module
    every = parameters_of(module)
    _check_called(up.recorder, cutting)
    # Of the loss it is recorded what it is made of alone.
    up.operations.products = up.operations.activations = None
    with up.hooks.watched(), up.operations.seen():
        top, cotangent = call.top(up.output, len(up.x))
    chosen, taken, coverage = _layers(module, cutting, up, top)
    states = numbered(chosen)
    for state in states:
        check_batch(state, up.x)
    parts = taken.own_parts(states)
    is_apart = all(part.is_apart for state in parts for part in state.parts)
    is_apart &= not up.hooks.are_used
    descent = _descent((top, cotangent), up.x, states, taken, every, is_apart)
    orders = _steps_first(states, modules_of(module))
    found = agreed(descent, bool(orders), look(parts))
    _check_order(states, found, orders)
    steps = up.recurrent.steps(top, cotangent)
    used = {id(every[name]) for name in up.operations.parameters_behind(top)}
    is_known = not up.operations.failure
    stops = stopped(module, {*taken.parameters}, up.calls, used) if is_known else None
    layer_of = _layer_of(up.recorder.states, chosen)
    recognised = up.operations.recognised(layer_of, up.output)
    return MeasuredModule(
        states=parts,
        found=found,
        parameters=descent.parameters,
        layers={name: descent.layers_of(p) for name, p in descent.parameters.items()},
        times={name: taken.times(id(p)) for name, p in descent.parameters.items()},
        recognised=recognised,
        log_branches=log_branches(parts, up.x, up.operations),
        units=up.activations.of_layers(layer_of, len(states)),
        loss=None if cotangent is not None else float(top.detach()),
        broken=_broken(module, states, found, top, taken),
        coverage=coverage,
        steps=steps,
        stops=stops,
        notes=(
            *_on_cuts(states, cutting, coverage),
            *_on_gradients(states, taken, found),
            *_on_input(up.x, found, descent.x is not None),
            *_on_parameters(every, taken),
            *_on_steps(steps),
            *_on_operations(recognised),
        ),
    )


def _descent(
    start: tuple[Tensor, Tensor | None],
    x: Tensor,
    states: list[CutState],
    taken: Survey,
    every: Mapping[str, Any],
    is_apart: bool,
) -> Descent:
    """Return what passes down need, and add the uses in functions of the user's own to a survey."""
    trained = {name: p for name, p in every.items() if p.requires_grad}
    inner = inner_parameters(*start, taken, trained)
    for name, inner_use in inner.items():
        taken.parameters.setdefault(id(every[name]), set()).update(inner_use.layers)
    parameters = {name: p for name, p in trained.items() if id(p) in taken.parameters}
    is_entered = any(below == 0 for _, below in taken.links)
    is_apart &= not taken.functions
    return Descent(*start, x if is_entered else None, states, taken, parameters, inner, is_apart)


def _layer_of(states: list[CutState], chosen: list[CutState]) -> Callable[[int], int]:
    """Return the layer that is computed after so many states, of which some are the layers."""
    places = [i for i, state in enumerate(states) if any(state is layer for layer in chosen)]
    return lambda count: bisect_left(places, count) + 1


def _layers(
    module: Module, cutting: _Cutting, up: _Up, top: Tensor
) -> tuple[list[CutState], Survey, Coverage | None]:
    """Return the states that are the layers, of those that cuts have returned."""
    edge = torch.autograd.graph.get_gradient_edge
    ends = edge(top), edge(up.x) if up.x.requires_grad else None
    states = up.recorder.states
    if cutting.cuts is None:
        chain = chain_of_blocks(module, cutting.options, states, up.x, up.products, *ends)
        return chain.states, chain.taken, chain.coverage
    states, taken = reached_states(states, *ends, strict=up.recorder.strict)
    if not states:
        raise ValueError(
            "cuts: expected modules that the gradient passes through, and of "
            f"{cutting.cuts} it comes to none"
        )
    return states, taken, None


# What is run


def _check_module(module: Module) -> None:
    if isinstance(module, torch.jit.ScriptModule):
        raise TypeError(
            "module: expected a torch.nn.Module that runs in Python, got one of TorchScript, which "
            "takes no hooks; hand over the module that it was made of, with the same numbers after "
            "module.load_state_dict(scripted.state_dict())"
        )
    if type(module).forward is torch.nn.Module.forward:
        raise TypeError(
            f"module: expected one that can be called, got a {type(module).__name__}, which has no "
            "forward; make a torch.nn.Sequential of its modules, or a module that calls them"
        )
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if torch.nn.parameter.is_lazy(tensor):
            raise ValueError(
                f"module: expected parameters with numbers, and {name} of a lazy module has none "
                "yet; call module(inputs) once before"
            )
        if tensor.is_inference():
            raise ValueError(
                f"module: expected parameters that torch can differentiate, and {name} was made in "
                "torch.inference_mode; make or load the module outside it"
            )


# Cuts


def _check_called(recorder: StateRecorder, cutting: _Cutting) -> None:
    """Check that cuts were called: each that was named, and one at least of those found."""
    chosen, are_found = cutting.chosen, cutting.cuts is None
    if are_found and chosen and not recorder.called:
        raise NoLayersError(
            f"cuts: expected modules that are called when the whole runs, and of {listed(chosen)} "
            "none is; hand over a module that calls them: one that torch.export or torch.jit has "
            "made calls none, but that of which it was made does"
        )
    for name in chosen:
        if name not in recorder.called and not (are_found or cutting.is_pattern):
            raise ValueError(
                f"cut {name}: expected it to be called when the module runs, and it is not; leave "
                "it out of cuts"
            )


def _steps_first(states: list[CutState], known: Mapping[str, Any]) -> dict[str, str]:
    """Return the cuts that have steps before examples in them, and where."""
    found: dict[str, str] = {}
    for name, m in known.items():
        if getattr(m, "batch_first", True) is False and (
            is_a(m, "MultiheadAttention") or is_a(m, "RNNBase")
        ):
            for cut in {state.cut for state in states}:
                is_turned = name == cut and has_steps_first(m)  # by the hook on it
                if (name == cut or name.startswith(f"{cut}.")) and not is_turned:
                    found.setdefault(cut, name)
    return found


def _check_order(states: list[CutState], found: Agreed, orders: Mapping[str, str]) -> None:
    for state, mixes in zip(states, found.mixes, strict=True):
        if mixes and state.cut in orders:
            raise ValueError(
                f"cut {state.name}: expected the examples first, but what is first meets in it, as "
                f"steps do: {orders[state.cut]} has batch_first=False; make it with "
                "batch_first=True, and hand over (examples, steps, …)"
            )


# Numbers


def _broken(
    module: Module, states: list[CutState], found: Agreed, given: Tensor, taken: Survey
) -> tuple[str, ...]:
    """Return the names of buffers, and of parameters without a gradient, that hold nan or inf."""
    # They are to blame only if numbers of the network are such.
    values = [found.norm, *(part.value for state in states for part in state.parts)]
    if given.isfinite().all() and all(np.isfinite(v).all() for v in values):
        return ()
    tensors = (*module.named_parameters(), *module.named_buffers())
    return tuple(
        plain_name(n) for n, v in tensors if id(v) not in taken.parameters and is_broken(v)
    )


# Notes


def _on_cuts(states: list[CutState], cutting: _Cutting, coverage: Coverage | None) -> Iterable[str]:
    cuts = cutting.cuts
    if cuts is None or cutting.is_pattern:
        names = list(dict.fromkeys(state.cut for state in states))
        taken = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
        how = f"as {cuts} says" if cuts is not None else "found automatically; cuts= chooses others"
        shares = ""
        if coverage is not None:
            share, products = percent(coverage.share), percent(coverage.products)
            shares = f", with {share} of the parameters and {products} of the products"
        yield f"The layers are {taken}{shares}, {how}."


def _on_gradients(states: list[CutState], taken: Survey, found: Agreed) -> Iterable[str]:
    around = [s.name for s, gate in zip(states, taken.gates, strict=True) if not gate]
    if found.unmeasured:
        last = label(found.unmeasured, [state.cut for state in states])
        why, out = "", "measure in a wider float"
        if around:
            why = f", and cannot be scaled, since paths lead around {listed(around)}"
            out = f"{out}, or leave these out of cuts"
        yield (
            f"From layer {last} down Δ is not measured: it leaves the range of "
            f"{states[0].parts[0].dtype}{why}; {out}."
        )


def _on_input(x: Tensor, found: Agreed, entered: bool) -> Iterable[str]:
    if found.has_input:
        return
    if not x.is_floating_point():
        why = "they are integers"
    elif not entered:
        why = "no gradient comes to them"
    else:
        why = "it leaves the range on the way to them"
    yield f"Δ of the inputs has no number: {why}."


def _on_parameters(parameters: Mapping[str, Any], taken: Survey) -> Iterable[str]:
    without = [
        name for name, p in parameters.items() if p.requires_grad and id(p) not in taken.parameters
    ]
    if without:
        yield f"No gradient comes to {listed(without)}."


def _on_steps(steps: tuple[RecurrentSteps, ...]) -> Iterable[str]:
    for call in steps:
        lost = int(np.isnan(call.log_delta).sum())
        if lost:
            yield (
                f"Inside {clean(call.name) or 'the module'} Δ of {lost} of {len(call.log_delta)} "
                "steps is not measured: it leaves the range of its floats, and steps one by one "
                "do not start from the same numbers; measure in a wider float, after "
                "module.double()."
            )


def _on_hooks(acting: Acting) -> Iterable[str]:
    if acting.names:
        yield (
            f"Backward hooks of {listed(acting.names)} change the gradient, and Δ with it, as in "
            "training; theory is without them."
        )


def _on_operations(found: Recognised) -> Iterable[str]:
    if found.failure:
        yield (
            "Attention and routers are not looked for: what the module computes cannot be followed "
            f"({found.failure})."
        )
