"""Programs run by NumPy: an equation is a call of NumPy's, and nothing is compiled.

    function, types  ->  its program, traced once  ->  NumPy's arrays in, NumPy's arrays out

XLA takes some ten milliseconds for each kernel that it compiles, NumPy some microseconds for an
operation. So what is computed few times, of few numbers, is sooner done here, by the same formulas.
An equation that has no entry in `OPERATIONS` is run by JAX.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from ..arrays.compiled import (
    KEPT,
    Statics,
    compiled,
    is_light,
    light_options,
    setting,
    split_static,
    transfers,
    with_static,
)
from .interpreter import (
    CALLS,
    Equation,
    Jaxpr,
    bound,
    called_by,
    going_in,
    interpreted,
    read,
    run_equations,
    scan_of,
    types_of,
)

P = ParamSpec("P")
R = TypeVar("R")
Params = dict[str, Any]
Operation = Callable[..., Any]  # (arrays of what goes in, parameters) -> what comes out

FEW = 2**21  # numbers of which NumPy is done before XLA has compiled a program
TRACED = 256  # programs of a function that NumPy runs
AT_END = "jaxnn_at_the_end"  # a scope
_IS_PARTED = ContextVar("_IS_PARTED", default=False)  # a program in which that scope is to be seen

SAME_NAMES = "abs cos exp expm1 floor log log1p sign sin sqrt square tanh"
UFUNCS = {
    **{name: getattr(np, name) for name in SAME_NAMES.split()},
    "add": np.add,
    "and": np.bitwise_and,
    "eq": np.equal,
    "ge": np.greater_equal,
    "gt": np.greater,
    "is_finite": np.isfinite,
    "le": np.less_equal,
    "lt": np.less,
    "max": np.maximum,
    "min": np.minimum,
    "mul": np.multiply,
    "ne": np.not_equal,
    "neg": np.negative,
    "not": np.invert,
    "or": np.bitwise_or,
    "pow": np.power,
    "rem": np.fmod,
    "shift_left": np.left_shift,
    "shift_right_arithmetic": np.right_shift,
    "sub": np.subtract,
    "xor": np.bitwise_xor,
}
REDUCTIONS: dict[str, Callable[..., Any]] = {
    "reduce_sum": np.sum,
    "reduce_prod": np.prod,
    "reduce_and": np.all,
    "reduce_or": np.any,
}


def _quotient(v: np.ndarray, w: np.ndarray, _: Params) -> Any:
    """Return v / w, of integers rounded towards zero."""
    if not np.issubdtype(v.dtype, np.integer):
        return np.divide(v, w)
    return np.sign(v) * np.sign(w) * (np.abs(v) // np.abs(w))


def _broadcast(v: np.ndarray, *others: Any) -> np.ndarray:
    params = others[-1]
    shape = [1] * len(params["shape"])
    for axis, n in zip(params["broadcast_dimensions"], v.shape, strict=True):
        shape[axis] = n
    return np.broadcast_to(v.reshape(shape), params["shape"])


def _extreme(name: str) -> Operation:
    """Return the reduction to a largest or a smallest number."""
    reduction = getattr(np, name)

    def of(v: np.ndarray, params: Params) -> Any:
        if not v.size:
            floor = np.inf if np.issubdtype(v.dtype, np.floating) else np.iinfo(v.dtype).max
            return reduction(v, axis=params["axes"], initial=-floor if name == "max" else floor)
        return reduction(v, axis=params["axes"])

    return of


def _iota(*given: Any) -> np.ndarray:
    params = given[-1]
    shape, axis = params["shape"], params["dimension"]
    along = [n if i == axis else 1 for i, n in enumerate(shape)]
    return np.broadcast_to(np.arange(shape[axis], dtype=params["dtype"]).reshape(along), shape)


def _part(v: np.ndarray, params: Params) -> np.ndarray:
    steps = params["strides"] or [1] * v.ndim
    ends = zip(params["start_indices"], params["limit_indices"], steps, strict=True)
    return v[tuple(slice(*end) for end in ends)]


def _part_at(v: np.ndarray, *others: Any) -> np.ndarray:
    """Return as many entries as asked for, from places that are data, moved to where they fit."""
    *starts, params = others
    sizes = zip(starts, params["slice_sizes"], v.shape, strict=True)
    firsts = [(min(max(int(start), 0), n - size), size) for start, size, n in sizes]
    return v[tuple(slice(first, first + size) for first, size in firsts)]


def _padded(v: np.ndarray, filler: np.ndarray, params: Params) -> np.ndarray:
    """Return an array with numbers around its entries and between them; fewer than none are cut."""
    padding = params["padding_config"]
    spread = [
        max(0, (n - 1) * (inner + 1) + 1) for n, (_, _, inner) in zip(v.shape, padding, strict=True)
    ]
    whole = np.full(spread, filler, v.dtype)
    whole[tuple(slice(None, None, inner + 1) for _, _, inner in padding)] = v
    cut = [
        slice(max(0, -low), n - max(0, -high))
        for n, (low, high, _) in zip(spread, padding, strict=True)
    ]
    around = [(max(0, low), max(0, high)) for low, high, _ in padding]
    return np.pad(whole[tuple(cut)], around, constant_values=filler)


def _entries(v: np.ndarray, at: np.ndarray, params: Params) -> np.ndarray | None:
    """Return entries along the first axis; None where other parts of an array are gathered."""
    places = at[..., 0]
    is_inside = places.size and places.min() >= 0 and places.max() < len(v)
    return v[places] if _are_entries(v, at, params) and is_inside else None


def _are_entries(v: Any, at: Any, params: Params) -> bool:
    """Tell whether whole entries along the first axis are gathered."""
    numbers = params["dimension_numbers"]
    of_rest = tuple(range(at.ndim - 1, at.ndim + v.ndim - 2))
    is_first = numbers.collapsed_slice_dims == numbers.start_index_map == (0,)
    return is_first and (numbers.offset_dims, params["slice_sizes"]) == (of_rest, (1, *v.shape[1:]))


def _sorted(*given: Any) -> list[np.ndarray] | None:
    """Return numbers in their order; None where others are to be ordered with them."""
    v, *others = given
    return [np.sort(v, others[-1]["dimension"])] if len(others) == 1 else None


def _dot(v: np.ndarray, w: np.ndarray, params: Params) -> Any:
    (of_v, of_w), (batch_v, batch_w) = params["dimension_numbers"]
    axes_v, axes_w = list(range(v.ndim)), list(range(v.ndim, v.ndim + w.ndim))
    for i, j in zip((*of_v, *batch_v), (*of_w, *batch_w), strict=True):
        axes_w[j] = axes_v[i]
    free = [a for i, a in enumerate(axes_v) if i not in {*of_v, *batch_v}]
    free += [a for i, a in enumerate(axes_w) if i not in {*of_w, *batch_w}]
    return np.einsum(v, axes_v, w, axes_w, [*(axes_v[i] for i in batch_v), *free], optimize=True)


OPERATIONS: dict[str, Operation] = {
    **{name: lambda *v, f=f: f(*v[:-1]) for name, f in UFUNCS.items()},
    **{name: lambda v, p, f=f: f(v, axis=p["axes"]) for name, f in REDUCTIONS.items()},
    "reduce_max": _extreme("max"),
    "reduce_min": _extreme("min"),
    "div": _quotient,
    "integer_pow": lambda v, p: v ** p["y"],
    "logistic": lambda v, _: 1 / (1 + np.exp(-v)),
    "rsqrt": lambda v, _: 1 / np.sqrt(v),
    "select_n": lambda which, *v: np.choose(which, v[:-1]) if len(v) > 3 else _either(which, *v),
    "clamp": lambda low, v, high, _: np.minimum(np.maximum(v, low), high),
    "convert_element_type": lambda v, p: v.astype(p["new_dtype"], copy=False),
    "bitcast_convert_type": lambda v, p: v.view(p["new_dtype"]),
    "broadcast_in_dim": _broadcast,
    "reshape": lambda v, p: v.reshape(p["new_sizes"]),
    "squeeze": lambda v, p: v.squeeze(tuple(p["dimensions"])),
    "transpose": lambda v, p: v.transpose(p["permutation"]),
    "rev": lambda v, p: np.flip(v, p["dimensions"]),
    "concatenate": lambda *v: np.concatenate(v[:-1], v[-1]["dimension"]),
    "stack": lambda *v: np.stack(v[:-1], v[-1]["axis"]),
    "iota": _iota,
    "argmax": lambda v, p: v.argmax(p["axes"][0]),
    "slice": _part,
    "dynamic_slice": _part_at,
    "gather": _entries,
    "pad": _padded,
    "dot_general": _dot,
    "sort": _sorted,
    "copy": lambda v, _: v,
    "tile": lambda v, p: np.tile(v, p["reps"]),
    "optimization_barrier": lambda *v: v[:-1],
    "split": lambda v, p: np.split(v, np.cumsum(p["sizes"])[:-1], p["axis"]),
    "unstack": lambda v, p: [*np.moveaxis(v, p["axis"], 0)],
}


def _either(which: np.ndarray, first: np.ndarray, second: np.ndarray, _: Params) -> np.ndarray:
    return np.where(which, second, first)


def few_by_numpy(function: Callable[P, R], *, runs: int = 1) -> Callable[P, R]:
    """Let NumPy run a function of NumPy's arrays if they have few numbers; else compile it."""
    program, compiled_function = with_static(function), compiled(function)

    @lru_cache(maxsize=TRACED)
    def traced(static: Statics, types: Types) -> tuple[Jaxpr, Any]:
        return _traced(program, static, types)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        static, arrays = split_static(args, kwargs)
        if runs * sum(v.size for v in arrays) > FEW or not all(
            isinstance(v, np.ndarray) for v in arrays
        ):
            return compiled_function(*args, **kwargs)
        given = [np.asarray(v, jax.dtypes.canonicalize_dtype(v.dtype)) for v in arrays]
        closed, structure = traced(static, tuple(map(jax.typeof, given)))
        result: R = jax.tree.unflatten(structure, jax.device_put(run_by_numpy(closed, given)))
        return result

    return call


def with_rest_by_numpy(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function; for few runs without what `for_the_end()` leaves, which NumPy runs."""
    program, compiled_function = with_static(function), compiled(function)

    @lru_cache(maxsize=KEPT)
    def in_parts(static: Statics, types: Types) -> "Parted":
        return parted(function, static, types)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        static, arrays = split_static(args, kwargs)
        if _IS_PARTED.get():
            return program(static, arrays)
        if not is_light(arrays):
            return compiled_function(*args, **kwargs)
        types = tuple(map(jax.typeof, arrays))
        with transfers():
            result: R = jax.device_put(in_parts(static, types)(arrays))
        return result

    return call


def for_the_end() -> AbstractContextManager[None]:
    """Return a context for what NumPy may run after a compiled program."""
    return jax.named_scope(AT_END)


def variables(atoms: Iterable[Any]) -> list[Any]:
    """Return those of what goes into an equation that are no literal numbers."""
    return [v for v in atoms if not isinstance(v, core.Literal)]


def _has_keys(eqn: Equation) -> bool:
    """Tell whether random keys go into an equation or come out of it, which NumPy has not."""
    types = types_of(eqn.invars + eqn.outvars)
    return any(jnp.issubdtype(v.dtype, jax.dtypes.extended) for v in types)


class Parted:
    """A program in two parts: one that XLA compiles, and one that NumPy runs after it."""

    def __init__(self, program: Jaxpr, structure: Any, *, is_light: bool = True) -> None:
        self.program, self.structure = program, structure
        self.steps: list[Equation] = []
        self.rest: list[Equation] = []
        needed: set[Any] = set()
        jaxpr: Any = program.jaxpr
        dependent = {*jaxpr.invars}
        for eqn in jaxpr.eqns:
            if not dependent.isdisjoint(variables(eqn.invars)):
                dependent.update(eqn.outvars)
        for eqn in reversed(jaxpr.eqns):
            is_constant = eqn.primitive.name in OPERATIONS and dependent.isdisjoint(eqn.outvars)
            is_rest = is_constant or AT_END in str(eqn.source_info.name_stack)
            is_rest &= not _has_keys(eqn)
            if is_rest and needed.isdisjoint(eqn.outvars):
                self.rest.insert(0, eqn)
            else:
                self.steps.insert(0, eqn)
                needed.update(variables(eqn.invars))
        made = {v for eqn in self.rest for v in eqn.outvars}
        taken = [v for eqn in self.rest for v in variables(eqn.invars)]
        taken += variables(jaxpr.outvars)
        self.handed = [*dict.fromkeys(v for v in taken if v not in made)]
        types = [v.aval for v in jaxpr.invars]
        options = light_options(types, turns_of(jaxpr)) if is_light else None
        self._compiled = jax.jit(self.first, compiler_options=options)

    def first(self, arrays: list[Any]) -> list[Any]:
        """Return what the first part hands to the second."""

        def constant(_: Any, number: Any) -> Any:
            return number

        values = going_in(self.program, arrays, constant)
        run_equations(self.steps, values, bound, constant)
        return [values[v] for v in self.handed]

    def second(self, handed: Sequence[np.ndarray]) -> Any:
        """Return what comes out of the program, by NumPy."""
        values = dict(zip(self.handed, handed, strict=True))
        jaxpr: Any = self.program.jaxpr
        with np.errstate(all="ignore"):
            run_equations(self.rest, values, _made, _as_numpy)
        return jax.tree.unflatten(self.structure, read(jaxpr.outvars, values, _as_numpy))

    def __call__(self, arrays: list[Any]) -> Any:
        """Return what comes out of the program, arrays of NumPy."""
        return self.second(jax.device_get(self._compiled(arrays)))


def turns_of(jaxpr: Any) -> int:
    """Return how often the steps of the longest loop of a program run, loops within loops too."""
    inner = (
        eqn.params.get("length", 1) * turns_of(getattr(program, "jaxpr", program))
        for eqn in jaxpr.eqns
        for program in core.jaxprs_in_params(eqn.params)
    )
    return max(inner, default=1)


def parted(
    function: Callable[..., Any], static: Statics, types: "Types", *, is_light: bool = True
) -> Parted:
    """Return a function in two parts; what `for_the_end` is below in those that it calls too."""
    with setting(_IS_PARTED, True):
        return Parted(*_traced(with_static(function), static, types), is_light=is_light)


Types = tuple[Any, ...]  # of arrays


def _traced(program: Callable[..., Any], static: Statics, types: Types) -> tuple[Jaxpr, Any]:
    """Return the program of a function, and the structure of what comes out."""
    trace = jax.make_jaxpr(program, static_argnums=0, return_shape=True)
    closed, out = trace(static, list(types))
    return closed, jax.tree.structure(out)


def run_by_numpy(program: Jaxpr, given: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return what comes out of a program that JAX traced."""
    with np.errstate(all="ignore"):
        return interpreted(program, given, _made, _as_numpy)


def _as_numpy(_: Any, number: Any) -> np.ndarray:
    return np.asarray(number)


def _made(eqn: Equation, given: list[np.ndarray]) -> list[np.ndarray]:
    """Return what comes out of an equation."""
    name = eqn.primitive.name
    made = OPERATIONS[name](*given, eqn.params) if name in OPERATIONS else None
    if made is not None:
        outputs = made if eqn.primitive.multiple_results else [made]
        types = types_of(eqn.outvars)
        return [np.asarray(v, out.dtype) for v, out in zip(outputs, types, strict=True)]
    if eqn.primitive in CALLS or name.startswith("custom_jvp_call"):
        return run_by_numpy(called_by(eqn), given)
    if name == "cond":
        branches = eqn.params["branches"]
        return run_by_numpy(branches[min(max(int(given[0]), 0), len(branches) - 1)], given[1:])
    if name == "scan":
        return _scanned(eqn, given)
    return [np.asarray(v) for v in bound(eqn, given)]


def _scanned(eqn: Equation, given: list[np.ndarray]) -> list[np.ndarray]:
    """Return what comes out of a scan: its steps one after the other."""
    scan = scan_of(eqn)
    consts, carries = given[: scan.consts], given[scan.consts :][: scan.carries]
    stacks = given[scan.consts + scan.carries :]
    outs: list[list[np.ndarray]] = [[] for _ in eqn.outvars[scan.carries :]]
    for i in range(scan.k)[:: -1 if scan.reverse else 1]:
        made = run_by_numpy(scan.body, [*consts, *carries, *(v[i] for v in stacks)])
        carries = made[: scan.carries]
        for out, v in zip(outs, made[scan.carries :], strict=True):
            out.append(v)
    types = types_of(eqn.outvars[scan.carries :])
    stacked = [
        np.stack(out[:: -1 if scan.reverse else 1]) if out else np.zeros(t.shape, t.dtype)
        for out, t in zip(outs, types, strict=True)
    ]
    return [*carries, *stacked]
