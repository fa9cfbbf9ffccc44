"""The flow of a module of PyTorch, which torch itself runs: `pytorch/hooks.py` has how."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...arrays.compiled import compiled
from ...arrays.rows import ScaledRows
from ...network.checks import check_loss
from ...pytorch.backward_passes import Look
from ...pytorch.hooks import State
from ...pytorch.module import measured
from ...pytorch.operations import ENTRIES, Pieces, Recognised
from ...pytorch.recurrent import Steps
from ...pytorch.skips import log_branches
from ...pytorch.tensors import log_norms, numbers_of, tensors_in
from ...recognition.attention import Logits
from ..formats.entries import Entries, entries_of
from ..formats.number_formats import MXFP8
from ..record.example_spread import log_spread_by_position
from ..record.flow import Flow, Parameters
from ..record.given import Given
from ..record.heads import HeadRecord, HeadSums, NamedExperts, NamedHeads, fields_of, unread_notes
from ..record.layer_record import DeltaRecord, StateRecord, flow_of
from ..record.loss import OfLoss
from ..record.positions import Positions, count_of
from ..record.recurrences import Recurrences
from ..record.state_record import state_record
from .chain_flow import smallest_of


def torch_flow(
    module: Any,
    inputs: Any,
    ys: Any = None,
    *,
    loss: Any = None,
    cotangent: Any = None,
    cuts: Any = None,
    formats: bool = False,
) -> Flow:
    """Measure the gradient of a PyTorch module at every cut between its blocks.

    Torch runs the module as it is, once, in the mode that it is in, and goes back two times or
    more; it runs it once more if parameters get no gradient. A training goes on as if nothing had
    been measured: parameters, their `.grad`, buffers, hooks and the random states of torch, NumPy
    and Python are left as they were, also after an error.

    Backward hooks of modules and parameters are taken off meanwhile: the gradient is that without
    them. Hooks that `forward` puts on tensors belong to the network, and see gradients scaled by
    powers of two, two times or more. Not undone is what `forward` keeps in plain attributes, writes
    into parameters or into inputs after the first, draws from a generator of its own, or assigns in
    TorchScript; forward hooks are called as in any call.

    Args:
        module: a torch.nn.Module; of a compiled one the module that was compiled is run.
        inputs: what it is called with: a tensor, a tuple of arguments, or a dict of them by name,
            each a tensor, a dict of tensors, or a Data or Batch of torch_geometric. The examples
            come first in the first tensor, of a graph its nodes, and in the output of each cut:
            transformers need `batch_first=True`. A tensor that requires a gradient goes in as it
            is, so that a loss may take derivatives by it.
        ys: what the loss takes next to the output, such as labels.
        loss: (output, ys) -> a loss of each example, (B,), or several, (B, …), whose mean is
            differentiated, or one number; without ys also of the output alone;
            `torch.nn.functional.cross_entropy` is one. Torch's own ones are given the `logits` of
            an output that has them, or the first tensor in it. None, as well as no cotangent, for a
            module that returns its loss, alone, first, or as `loss` of the output.
        cotangent: instead, a tensor like the output, or like its `logits` or first tensor.
        cuts: modules, their names, or patterns such as "transformer.h.*", whose * stands for what
            has no dot: those whose outputs are the states. If None, the longest ModuleList,
            ModuleDict or Sequential of equal blocks in which each leads to the next, wherever it
            lies, with lists that go on in it, such as stages, or a decoder, and that holds half of
            the parameters, if one does. Of lists of lists, which are never called, the modules in
            the inner ones that everything passes through, or else those with a product. Children
            of a Sequential without parameters, such as activations, join the next one that has
            some. If there is no such list, the children of the module. The flow's first note says
            what was taken, and which share of the parameters it holds, without lookup tables.
        formats: whether the exponents of all entries of Δ, of the states and of the parameters are
            counted as well, for `flow.formats()`, `jaxnn.plan` and the verdict. Δ of parameters is
            not.

    Returns:
        Flow: a layer for each call of a cut, in their order. `parameters` are all that a gradient
        comes to, by their names, once each, in the lowest layer that uses them; those above the
        last cut have the layer L + 1. `log_theta` is nan for a layer that shares one with another.
        `log_delta_input` belongs to the first tensor of the inputs; it is nan if that has no
        floats. `log_branch` of the first layer is nan, since its stream is no state. `mixes` is
        found where it matters, where exponents of their own make examples wrong.
        `linear` is True: what is found not to be linear is an error. Attention and routers are
        recognised in the operations of the pass up; a note names kernels that hand out no logits.
        Channels are on the last axis of a state, or on the first after the examples if its cut has
        convolutions, or norms of images, of as many channels.

        Of an output with several tensors the first is the state, and others too if the gradient
        would go around it otherwise, such as the c of an LSTMCell. A state that paths lead around,
        inside a skip connection or between the ends of a U-Net, has the gradient that torch has
        there. It is not scaled until the next state that everything passes through; what leaves the
        range before is nan in all layers from there down, `unmeasured`, which a note explains.
        Where states, the loss or Δ are nan or infinite, Δ is what plain backpropagation has.

    Raises:
        TypeError: something that is no module of PyTorch, or one of TorchScript; both a loss and a
            cotangent, or none.
        ValueError: no cuts that could be chosen, or an unknown one; a cut that is not called, has
            an output without a gradient or without the examples first, or is not reached by the
            gradient; a gradient that something clips; a loss that is not a number, or one for each
            example; a cotangent that does not fit; parameters that are uninitialised or were made
            in inference mode.

    Example (where torch is installed):
        >>> import jaxnn
        >>> import torch  # doctest: +SKIP
        >>> block = torch.nn.TransformerEncoderLayer(
        ...     64, 4, 128, batch_first=True
        ... )  # doctest: +SKIP
        >>> model = torch.nn.TransformerEncoder(block, 4)  # doctest: +SKIP
        >>> xs, ys = torch.randn(2, 8, 16, 64)  # doctest: +SKIP
        >>> loss = torch.nn.functional.mse_loss  # doctest: +SKIP
        >>> flow = jaxnn.torch_flow(model, xs, ys, loss=loss)  # doctest: +SKIP
        >>> flow.names[0], flow.log_delta.shape  # doctest: +SKIP
        ('layers.0', (4,))
    """
    loss = check_loss(loss)
    given = (module, inputs, ys, loss, cotangent, cuts)
    of = measured(*given, _look(formats), _heads)
    states, found, parameters, layers, recognised = of[:5]
    dtypes = [part.dtype for state in states for part in state.parts]
    double = any(d.itemsize == 8 for d in dtypes)
    dtype = jax.dtypes.canonicalize_dtype(np.float64 if double else np.float32)

    def wide(v: np.ndarray) -> np.ndarray:
        return v.astype(dtype) if np.issubdtype(v.dtype, np.floating) else v

    values = [[_channels_last(part.value, state) for part in state.parts] for state in states]
    records = dict(_records(values, formats))
    entries = of_parameters = None
    if formats:
        none = _entries([np.zeros((1, 1), dtype)], np.zeros(1))
        of_delta = [none if each is None else each.entries for each in found.noted]
        entries = jax.tree.map(lambda *v: wide(np.stack(v)), *of_delta)
    delta: Any = found.exponent.astype(np.int32), wide(found.largest), wide(np.square(found.norm))
    logs = found.parameters
    paths = tuple(sorted(logs, key=lambda name: min(layers[name])))
    if formats and paths:
        own = [_entries_of_tensor(parameters[name], dtype) for name in paths]
        of_parameters = jax.tree.map(lambda *v: wide(np.stack(v)), *own)
    numbers = (
        np.array([logs[name] for name in paths], dtype),
        np.array(log_norms([parameters[name] for name in paths]), dtype),
        np.array(_log_theta(logs, layers, len(states)), dtype),
    )
    of_states = [records[i] for i in range(len(states))]
    flow = _flow(
        DeltaRecord(*delta),
        entries,
        of_parameters,
        jax.tree.map(lambda *v: wide(np.stack(v)), *(state for state, _ in of_states)),
        found.has_input,
        found.mixes,
        numbers,
        (
            paths,
            tuple(min(layers[name]) for name in paths),
            tuple(tuple(parameters[name].shape) for name in paths),
        ),
        smallest_of(dtypes),
        tuple(state.cut for state in states),
        tuple(sum(int(np.prod(part.shape[1:])) for part in state.parts) for state in states),
        found.unmeasured,
        (*of.notes, *unread_notes(recognised.unread)),
    )
    counts = tuple(map(count_of, values))
    by_position = [
        (np.full(count, -np.inf if i >= found.unmeasured else np.nan), spread)
        if noted is None or i < found.unmeasured
        else (noted.positions, spread)
        for i, (count, noted, (_, spread)) in enumerate(
            zip(counts, found.noted, of_states, strict=True)
        )
        if count
    ]
    positions = None
    if by_position:
        log_delta, log_spread = (
            jnp.asarray(np.concatenate(v), dtype) for v in zip(*by_position, strict=True)
        )
        positions = Positions(log_delta, log_spread, counts)
    others = _fields(recognised, dtype)
    others |= {
        "coverage": of.coverage,
        "stopped": of.stops,
        "recurrences": _recurrences(of.steps, dtype),
    }
    if (branches := log_branches(states)) is not None:
        others["log_branch"] = jnp.asarray(branches, dtype)
    handed = {"xs": _floats(inputs), "ys": _floats(ys), "cotangent": _floats(cotangent)}
    others |= {"is_read": not recognised.failure, "is_of_torch": True}
    of_loss = None if of.loss is None else OfLoss(np.asarray(of.loss, dtype), [], True, None)
    others["given"] = Given.of(handed, of_loss, np)
    return replace(flow, broken=of.broken, positions=positions, **others)


def _floats(given: Any) -> Any:
    """Return the float tensors of what was handed over as arrays; one alone as itself."""
    arrays = [numbers_of(v) for v in tensors_in(given) if v.is_floating_point()]
    return arrays[0] if len(arrays) == 1 else arrays


def _fields(recognised: Recognised, dtype: Any) -> dict[str, Any]:
    """Return the heads and the experts of a flow."""
    attentions = [
        NamedHeads(each.at, i, each.heads, each.arrays)
        for i, each in _numbered(recognised.attentions)
    ]
    routers = [
        NamedExperts(
            *(each.at, i, len(each.load), each.tokens, each.selected), each.arrays, each.experts
        )
        for i, each in _numbered(recognised.routers)
    ]
    heads = [each.record for each in recognised.attentions]
    loads = [each.load for each in recognised.routers]
    return fields_of(
        jax.tree.map(lambda *v: jnp.asarray(np.concatenate(v), dtype), *heads) if heads else None,
        attentions,
        jnp.asarray(np.concatenate(loads), dtype) if loads else None,
        routers,
    )


def _recurrences(steps: Sequence[Steps], dtype: Any) -> Recurrences | None:
    """Return Δ at the steps of recurrent modules; None without any."""
    if not steps:
        return None
    return Recurrences(
        jnp.asarray(np.concatenate([each.log_delta for each in steps]), dtype),
        tuple(len(each.log_delta) for each in steps),
        tuple(each.name for each in steps),
        tuple(each.is_both_ways for each in steps),
        tuple(each.gates for each in steps),
    )


def _numbered(several: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    """Yield what is recognised with its number in its layer, counted from 1."""
    so_far = Counter[int]()
    for each in several:
        so_far[each.at] += 1
        yield so_far[each.at], each


def _channels_last(values: np.ndarray, state: State) -> np.ndarray:
    return np.moveaxis(values, state.channels, -1) if values.ndim > 2 else values


def _log_theta(logs: dict[str, float], layers: dict[str, set[int]], count: int) -> list[float]:
    """Return ln ‖Δ‖ over the parameters of each layer; nan where it shares one with another."""
    of_layers = []
    for layer in range(1, count + 1):
        own = [name for name, on in layers.items() if layer in on]
        is_shared = any(len(layers[name]) > 1 for name in own)
        several = np.array([2 * logs[name] for name in own] or [-np.inf])
        is_known = not is_shared and not np.isnan(several).any()
        of_layers.append(float(np.logaddexp.reduce(several)) / 2 if is_known else np.nan)
    return of_layers


def _entries_of_tensor(tensor: Any, dtype: Any) -> Entries:
    """Return the entries of a parameter.

    Its last axis is cut into short rows, and zeros fill them up to a power of two, so that few
    shapes are compiled.
    """
    v = numbers_of(tensor)
    v = np.stack([v.real, v.imag]) if np.iscomplexobj(v) else v
    v = v.reshape(-1, v.shape[-1] if v.ndim and v.size else 1).astype(dtype)
    v = np.pad(v, [(0, 0), (0, -v.shape[1] % MXFP8)]).reshape(-1, MXFP8)
    v = np.pad(v, [(0, (1 << (len(v) - 1).bit_length()) - len(v)), (0, 0)])
    entries: Entries = _entries([v], np.zeros(len(v)))
    return entries


def _look(formats: bool) -> Callable[[list[State]], Look]:
    """Return a function of states, which returns what is noted of Δ of each of them."""

    def of_states(states: list[State]) -> Look:
        def entries(at: int, parts: list[Any], exponent: np.ndarray) -> Any:
            values = [_channels_last(numbers_of(v), states[at - 1]) for v in parts]
            return _entries(values, exponent)

        return Look(tuple(map(_has_positions, states)), entries if formats else None)

    return of_states


def _has_positions(state: State) -> bool:
    """Tell whether positions of a state are recorded, by the shapes of its parts."""
    return bool(count_of([_channels_last(np.empty(v.shape), state) for v in state.parts]))


def _entries(parts: list[np.ndarray], exponent: np.ndarray) -> Any:
    """Return the entries of the parts of Δ of a state, with an exponent for each example."""
    return jax.device_get(_counted(parts, exponent.astype(np.int32)))


def _heads(attentions: Sequence[Pieces]) -> list[HeadRecord]:
    """Return the record of each attention, given its logits and which keys are seen, in pieces.

    Those of one shape are taken together, some at a time.
    """
    sums: list[list[HeadSums]] = [[] for _ in attentions]
    alike: dict[Any, list[tuple[int, Any]]] = {}

    def add(several: list[tuple[int, Any]]) -> None:
        stacked = (np.stack(v) for v in zip(*(piece for _, piece in several), strict=True))
        together = jax.device_get(_sums(*stacked))
        for place, (i, _) in enumerate(several):
            sums[i].append(HeadSums(*(v[place] for v in together)))

    for i, pieces in enumerate(attentions):
        for values, seen in pieces:
            several = alike.setdefault((values.shape, values.dtype), [])
            several.append((i, (values, seen)))
            if len(several) * values.size > ENTRIES:
                add(several)
                several.clear()
    for several in filter(None, alike.values()):
        add(several)
    with np.errstate(invalid="ignore"):  # without a query that sees two keys
        return [reduce(HeadSums.plus, each).record() for each in sums]


@compiled
def _sums(values: Any, seen: Any) -> HeadSums:
    sums: HeadSums = jax.lax.map(lambda v: HeadSums.of(Logits(*v), v[0].dtype), (values, seen))
    return sums


@compiled
def _counted(parts: list[Any], exponent: Any) -> Entries:
    widest = max((v.dtype for v in parts), key=lambda dtype: dtype.itemsize)
    entries = entries_of([ScaledRows(jnp.asarray(v).astype(widest), exponent) for v in parts])
    return Entries.together([entries.at(i) for i in range(len(parts))])


@compiled
def _flow(
    delta: DeltaRecord,
    entries: Entries | None,
    entries_of_parameters: Entries | None,
    state: StateRecord,
    has_input: Any,
    mixes: Any,
    numbers: Any,
    of_parameters: Any,
    dtype: Any,
    names: tuple[str, ...],
    sizes: tuple[int, ...],
    unmeasured: int,
    notes: tuple[str, ...],
) -> Flow:
    """Return the flow; row 0 of Δ is the input, if there is Δ of it."""
    every = delta.fields()
    log_delta, log_size, log_theta = numbers
    is_measured = np.arange(len(names)) >= unmeasured
    of_states = jax.tree.map(
        lambda v: jnp.where(np.expand_dims(is_measured, tuple(range(1, v.ndim))), v, jnp.nan),
        jax.tree.map(lambda v: v[1:], every) | {"entries_delta": entries},
    )
    return flow_of(
        of_states | state.fields(),
        dtype,
        log_delta_input=jnp.where(has_input, every["log_delta"][0], jnp.nan),
        log_theta=log_theta,
        mixes=mixes,
        linear=jnp.ones(len(names), bool),
        parameters=Parameters(log_delta, log_size, *of_parameters),
        of_parameters=(None, entries_of_parameters),
        names=names,
        sizes=sizes,
        unmeasured=unmeasured,
        notes=notes,
    )


def _records(values: list[list[np.ndarray]], formats: bool) -> Iterator[tuple[int, Any]]:
    """Yield the index of each state, and its record and spread by position.

    They are computed for states of one shape together. A state is a list of arrays, whose entries
    are counted if asked for.
    """
    alike: dict[Any, list[int]] = {}
    for i, parts in enumerate(values):
        alike.setdefault(tuple((v.shape, v.dtype) for v in parts), []).append(i)
    for kind, numbers in alike.items():
        double = any(dtype.itemsize == 8 for _, dtype in kind)
        wide = jax.dtypes.canonicalize_dtype(np.float64 if double else np.float32)
        stacked = [np.stack([values[i][j] for i in numbers]) for j in range(len(kind))]
        together = jax.device_get(_records_of(stacked, wide, formats))
        for place, i in enumerate(numbers):
            yield i, jax.tree.map(lambda v, place=place: v[place], together)


@compiled
def _records_of(values: Any, dtype: Any, formats: bool) -> Any:
    """Return the records of states of one shape, one after the other."""

    def record(parts: Any) -> Any:
        spread = log_spread_by_position(parts[0], dtype) if count_of(parts) else None
        return state_record(parts, dtype, True, formats), spread

    return jax.lax.map(record, values)
