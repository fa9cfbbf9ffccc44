"""The flow of a module of PyTorch, which torch itself runs: `pytorch/hooks.py` has how.

Records of its layers are made of the arrays that torch has measured. States, and tensors, of one
shape are measured together by JAX: so few programs are compiled.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ...arrays.compiled import Numbers, compiled
from ...arrays.rows import ScaledRows
from ...jaxpr.numpy_programs import few_by_numpy
from ...models import Program
from ...pytorch.activations import LayerUnits
from ...pytorch.backward_consensus import Agreed
from ...pytorch.backward_passes import Look
from ...pytorch.hooks import CutState
from ...pytorch.module_passes import MeasuredModule
from ...pytorch.module_passes import measured as measured_module
from ...pytorch.operations import LAYERS, Recognised
from ...pytorch.recurrent import RecurrentSteps
from ...pytorch.tensors import log_norms, name_of_dtype, numbers_of, tensors_in
from ...recognition.anatomy import Anatomy
from ..formats.entries import LONGEST, Entries, FlowEntries, entries_of
from ..record.example_spread import positions_of
from ..record.flow import Flow, Parameters, Recurrences, Units
from ..record.given import Given
from ..record.heads import RecognisedRecord, fields_of, unread_notes
from ..record.layer_record import DeltaRecord, LayerRecord, StateRecord, assemble, smallest_of
from ..record.loss import OfLoss
from ..record.state_record import rows_of_state, state_record
from .parameter_sizes import are_tied

TOGETHER = 2**17  # numbers of small states that are taken at a time

T = TypeVar("T")


class TorchStateRecord(NamedTuple):
    """The record of a state, with its entries if asked for."""

    state: StateRecord
    entries: Entries | None


def torch_flow(program: Program, entries: bool = False) -> Flow:
    """Return the flow of a module of PyTorch, at every cut between its blocks."""
    measured = measured_module(program.call, program.cuts, look_for(entries), recognised_records)
    handed = {name: floats_of(v) for name, v in program.data.items()}
    return _flow_of(measured, handed, entries)


def _flow_of(measured: MeasuredModule, handed: Mapping[str, Any], counts_entries: bool) -> Flow:
    """Return the Flow of a module, with the sizes of the float arrays that were handed over."""
    states, found, recognised = measured.states, measured.found, measured.recognised
    dtypes = [part.dtype for state in states for part in state.parts]
    is_double = any(d.itemsize == 8 for d in dtypes)
    dtype = jax.dtypes.canonicalize_dtype(np.float64 if is_double else np.float32)
    smallest = smallest_of(dtypes)
    values = [[_channels_last(part.value, state) for part in state.parts] for state in states]
    records = state_records(values, counts_entries)
    log_delta_input, layers = layer_records(
        in_dtype(dtype, _delta(found)),
        stacked(dtype, [record.state for record in records]),
        np.array(_log_theta(found.parameters, measured.layers, len(states)), dtype),
        found.mixes,
        in_dtype(dtype, measured.log_branches),
        smallest,
    )
    parameters = _parameters(measured, dtype)
    names = [state.cut for state in states]
    loss = measured.loss
    of_loss = None if loss is None else OfLoss(np.asarray(loss, dtype), [], True, None)
    return assemble(
        layers._replace(units=_units(measured, dtype)),
        parameters,
        names=names,
        sizes=[sum(prod(part.shape[1:]) for part in state.parts) for state in states],
        dtype=smallest,
        log_delta_input=log_delta_input,
        entries=_flow_entries(measured, records, parameters.paths, dtype)
        if counts_entries
        else None,
        unmeasured=found.unmeasured,
        positions=tuple(map(positions_of, values)),
        time=_recurrences(measured.steps, dtype),
        given=Given.of(handed, of_loss, np),
        coverage=measured.coverage,
        stopped=measured.stops,
        drawn=measured.drawn,
        broken=measured.broken,
        is_read=not recognised.failure,
        is_of_torch=True,
        notes=(*measured.notes, *unread_notes(recognised.unread, names)),
        **_heads_and_experts(recognised, dtype),
    )


def _units(measured: MeasuredModule, dtype: jnp.dtype) -> Units | None:
    if measured.units is None:
        return None
    columns = jax.device_put([np.array(v, dtype) for v in zip(*measured.units, strict=True)])
    unknown = jax.device_put(np.full(len(measured.units), np.nan, dtype))
    numbers = dict(zip(LayerUnits._fields, columns, strict=True))
    return Units(**numbers, mean_square_b=unknown)


def in_dtype(dtype: jnp.dtype, tree: T) -> T:
    """Return a tree of NumPy's arrays with its floats in one type."""

    def wide(v: np.ndarray) -> np.ndarray:
        return v.astype(dtype) if np.issubdtype(v.dtype, np.floating) else v

    cast: T = jax.tree.map(wide, tree)
    return cast


def stacked(dtype: jnp.dtype, trees: Sequence[T]) -> T:
    together: T = jax.tree.map(lambda *v: np.stack(v), *trees)
    return in_dtype(dtype, together)


def _delta(found: Agreed) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the numbers of a `DeltaRecord` of the input and all states; nan of what has none."""
    known = np.arange(len(found.norm)) > found.unmeasured
    known[0] = found.has_input
    largest, norm = (np.where(known[:, None], v, np.nan) for v in (found.largest, found.norm))
    return found.exponent.astype(np.int32), largest, np.square(norm)


@few_by_numpy
def layer_records(
    delta: tuple[Numbers, Numbers, Numbers],
    state: StateRecord,
    log_theta: Float[Numbers, " L"],
    mixes: Bool[Numbers, " L"],
    log_branch: Float[Numbers, " L"] | None,
    dtype: jnp.dtype,
) -> tuple[Float[Array, ""], LayerRecord]:
    """Return ln ‖Δx‖, and the record of all layers; row 0 of Δ is the input."""
    sizes = DeltaRecord(*map(jnp.asarray, delta)).over_batch()
    record = LayerRecord.of(
        jax.tree.map(lambda v: v[1:], sizes),
        state.over_batch(),
        jnp.asarray(log_theta),
        jnp.asarray(mixes),
        jnp.ones(len(mixes), bool),
        dtype=dtype,
        log_branch=None if log_branch is None else jnp.asarray(log_branch),
    )
    return sizes.log_delta[0], record


def _parameters(measured: MeasuredModule, dtype: jnp.dtype) -> Parameters:
    """Return the sizes of the parameters that a gradient comes to, by their lowest layers."""
    lowest = {name: min(measured.layers[name]) for name in measured.found.parameters}
    paths = tuple(sorted(lowest, key=lowest.__getitem__))
    tensors = [measured.parameters[name] for name in paths]
    # Put on the device: `jnp.asarray` of NumPy's would compile a program for each shape.
    logs = [measured.found.parameters[name] for name in paths], log_norms(tensors)
    return Parameters(
        jax.device_put(np.array(logs[0], dtype)),
        jax.device_put(np.array(logs[1], dtype)),
        paths,
        tuple(lowest[name] for name in paths),
        tuple(tuple(tensor.shape) for tensor in tensors),
        tuple(map(name_of_dtype, tensors)),
        are_tied([name for name in paths for _ in range(measured.times[name])]),
    )


def _flow_entries(
    measured: MeasuredModule,
    records: Sequence[TorchStateRecord],
    paths: tuple[str, ...],
    dtype: jnp.dtype,
) -> FlowEntries:
    """Return the histograms of Δ, of the states and of the parameters."""
    none = _entries([np.zeros((1, 1), dtype)], np.zeros(1))
    of_delta = [none if noted is None else noted.entries for noted in measured.found.noted]
    of_tensors = [entries_of_tensor(measured.parameters[name], dtype) for name in paths]
    unknown = Entries(*(np.full_like(v, np.nan) for v in none))
    of_delta[: measured.found.unmeasured] = [unknown] * measured.found.unmeasured
    of_all = (of_delta, [record.entries for record in records], of_tensors)
    every = [stacked(dtype, several) if several else None for several in of_all]
    delta, states, tensors = jax.device_put(every)
    return FlowEntries(delta, states, None, tensors)


def floats_of(given: Any) -> Any:
    """Return the float tensors of what was handed over as arrays; one alone as itself."""
    arrays = [numbers_of(v) for v in tensors_in(given) if v.is_floating_point()]
    return arrays[0] if len(arrays) == 1 else arrays


def _heads_and_experts(recognised: Recognised, dtype: jnp.dtype) -> dict[str, Any]:
    """Return the heads and the experts of a flow."""
    records = [of.record for of in recognised.layers if of.record is not None]

    def joined(several: list[Any]) -> Any:
        if not several:
            return None
        together = jax.tree.map(lambda *v: np.concatenate(v).astype(dtype), *several)
        return jax.device_put(together)

    return fields_of(
        joined([heads for record in records for heads in record.heads]),
        joined([load for record in records for load in record.loads]),
        [(of.layer, of.anatomy, of.names) for of in recognised.layers],
    )


def recognised_records(
    layers: Sequence[tuple[Anatomy, Mapping[int, Any]]],
) -> Sequence[RecognisedRecord]:
    """Return the record of each layer, given its anatomy and numbers of its values."""
    alike: dict[tuple[Anatomy, tuple[int, ...]], list[int]] = {}
    for i, (anatomy, known) in enumerate(layers):
        alike.setdefault((anatomy, tuple(known)), []).append(i)
    records: dict[int, RecognisedRecord] = {}
    for (anatomy, known_values), places in alike.items():
        needed, read = _reading(anatomy, known_values)
        stacks = {v: np.stack([numbers_of(layers[i][1][v]) for i in places]) for v in needed}
        together = jax.device_get(read(stacks))
        for place, i in enumerate(places):
            records[i] = jax.tree.map(lambda v, place=place: v[place], together)
    return [records[i] for i in range(len(layers))]


@lru_cache(maxsize=LAYERS)
def _reading(anatomy: Anatomy, known: tuple[int, ...]) -> tuple[list[int], Callable[..., Any]]:
    """Return the values that are needed, of known ones, and the function that reads stacks."""
    graph: Any = anatomy.graph

    def read(numbers: dict[int, Any]) -> RecognisedRecord:
        types = {v: graph.flat.types[v].dtype for v in numbers}
        given = {v: jnp.asarray(number).astype(types[v]) for v, number in numbers.items()}
        return RecognisedRecord.of(anatomy.read(given), jnp.dtype(jnp.float32))

    program: Any = jax.make_jaxpr(read)({v: graph.flat.types[v] for v in known}).jaxpr
    taken = {id(v) for eqn in program.eqns for v in eqn.invars} | {*map(id, program.outvars)}
    pairs = zip(sorted(known), program.invars, strict=True)
    # Logits are many: of large ones those of a layer are there at a time.
    largest = max(prod(v.aval.shape) for eqn in program.eqns for v in eqn.outvars)

    def read_all(stacks: dict[int, Any]) -> RecognisedRecord:
        at_a_time = max(TOGETHER // largest, 1)
        records: RecognisedRecord = jax.lax.map(read, stacks, batch_size=at_a_time)
        return records

    by = few_by_numpy if largest <= TOGETHER else compiled
    return [v for v, variable in pairs if id(variable) in taken], by(read_all)


def _recurrences(steps: Sequence[RecurrentSteps], dtype: jnp.dtype) -> Recurrences | None:
    """Return Δ at the steps of recurrent modules; None without any."""
    if not steps:
        return None
    entering = np.concatenate([recurrence.log_delta for recurrence in steps])
    return Recurrences(
        jax.device_put(entering.astype(dtype)),
        tuple(len(recurrence.log_delta) for recurrence in steps),
        tuple(recurrence.name for recurrence in steps),
        tuple(recurrence.is_both_ways for recurrence in steps),
        tuple(recurrence.gates for recurrence in steps),
    )


def _channels_last(values: np.ndarray, state: CutState) -> np.ndarray:
    return np.moveaxis(values, state.channels, -1) if values.ndim > 2 else values


def _log_theta(logs: dict[str, float], layers: dict[str, set[int]], count: int) -> list[float]:
    """Return ln ‖Δ‖ over the parameters of each layer; nan where it shares one with another."""
    of_layers = []
    for layer in range(1, count + 1):
        inside = [name for name, on in layers.items() if layer in on]
        is_shared = any(len(layers[name]) > 1 for name in inside)
        several = np.array([2 * logs[name] for name in inside] or [-np.inf])
        is_known = not is_shared and not np.isnan(several).any()
        of_layers.append(float(np.logaddexp.reduce(several)) / 2 if is_known else np.nan)
    return of_layers


def entries_of_tensor(tensor: Any, dtype: jnp.dtype) -> Entries:
    """Return the entries of a parameter."""
    v = numbers_of(tensor)
    v = np.stack([v.real, v.imag]) if np.iscomplexobj(v) else v
    v = v.reshape(-1, v.shape[-1] if v.ndim and v.size else 1).astype(dtype)
    # Short rows of the last axis, as many as a power of two: few shapes are compiled.
    v = np.pad(v, [(0, 0), (0, -v.shape[1] % LONGEST)]).reshape(-1, LONGEST)
    v = np.pad(v, [(0, (1 << (len(v) - 1).bit_length()) - len(v)), (0, 0)])
    entries: Entries = _entries([v], np.zeros(len(v)))
    return entries


def look_for(counts_entries: bool) -> Callable[[list[CutState]], Look]:
    """Return a function of states, which returns what is noted of Δ of each of them."""

    def of_states(states: list[CutState]) -> Look:
        def entries(at: int, parts: list[Any], exponent: np.ndarray) -> Any:
            values = [_channels_last(numbers_of(v), states[at - 1]) for v in parts]
            return _entries(values, exponent)

        return Look((False,) * len(states), entries if counts_entries else None)

    return of_states


def _entries(parts: list[np.ndarray], exponent: np.ndarray) -> Any:
    """Return the entries of the parts of Δ of a state, with an exponent for each example."""
    return jax.device_get(_counted(parts, exponent.astype(np.int32)))


@few_by_numpy
def _counted(parts: list[Any], exponent: Any) -> Entries:
    widest = max((v.dtype for v in parts), key=lambda dtype: dtype.itemsize)
    entries = entries_of([ScaledRows(jnp.asarray(v).astype(widest), exponent) for v in parts])
    return Entries.together([entries.at(i) for i in range(len(parts))])


def state_records(
    values: Sequence[list[np.ndarray]], counts_entries: bool
) -> list[TorchStateRecord]:
    """Return the record of each state, a list of arrays; those of one shape are made together."""
    alike: dict[tuple[tuple[tuple[int, ...], np.dtype], ...], list[int]] = {}
    for i, parts in enumerate(values):
        alike.setdefault(tuple((v.shape, v.dtype) for v in parts), []).append(i)
    records: dict[int, TorchStateRecord] = {}
    for kind, numbers in alike.items():
        double = any(dtype.itemsize == 8 for _, dtype in kind)
        wide = jax.dtypes.canonicalize_dtype(np.float64 if double else np.float32)
        stacked = [np.stack([values[i][j] for i in numbers]) for j in range(len(kind))]
        together = jax.device_get(_records_of(stacked, wide, counts_entries))
        for place, i in enumerate(numbers):
            records[i] = jax.tree.map(lambda v, place=place: v[place], together)
    return [records[i] for i in range(len(values))]


@few_by_numpy
def _records_of(
    values: Sequence[Numbers], dtype: jnp.dtype, counts_entries: bool
) -> TorchStateRecord:
    """Return the records of states of one shape, one after the other."""

    def record(parts: list[Array]) -> TorchStateRecord:
        entries = None
        if counts_entries:
            by_part = entries_of(rows_of_state(parts, dtype))
            entries = Entries.together([by_part.at(i) for i in range(len(parts))])
        return TorchStateRecord(state_record(parts, dtype, True), entries)

    records: TorchStateRecord = _mapped(record, values)
    return records


def _mapped(function: Callable[[Any], T], stacks: Any) -> T:
    """Return what a function makes of the entries of stacks: of small ones several at a time."""
    first, *_ = jax.tree.leaves(stacks)
    at_a_time = max(TOGETHER // max(first[0].size, 1), 1)
    mapped: T = jax.lax.map(function, stacks, batch_size=at_a_time)
    return mapped
