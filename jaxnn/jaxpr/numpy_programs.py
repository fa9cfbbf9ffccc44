"""Programs run by NumPy: an equation is a call of NumPy's, and nothing is compiled.

    function, types  ->  its program, traced once  ->  NumPy's arrays in, NumPy's arrays out

XLA takes some ten milliseconds for each kernel that it compiles, NumPy some microseconds for an
operation. So what is computed few times, of few numbers, is sooner done here, by the same formulas.
An equation that has no entry in `OPERATIONS` is run by JAX.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np

from ..arrays.compiled import Statics, compiled, split_static, with_static
from .interpreter import CALLS, Equation, Jaxpr, bound, called_by, interpreted, scan_of, types_of

P = ParamSpec("P")
R = TypeVar("R")
Params = dict[str, Any]
Operation = Callable[..., Any]  # (arrays of what goes in, parameters) -> what comes out

FEW = 2**21  # numbers of which NumPy is done before XLA has compiled a program
KEPT = 256  # programs of a function

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
    "slice": _part,
    "dynamic_slice": _part_at,
    "pad": _padded,
    "dot_general": _dot,
    "copy": lambda v, _: v,
}


def _either(which: np.ndarray, first: np.ndarray, second: np.ndarray, _: Params) -> np.ndarray:
    return np.where(which, second, first)


def few_by_numpy(function: Callable[P, R]) -> Callable[P, R]:
    """Let NumPy run a function of NumPy's arrays if they have few numbers; else compile it.

    Arrays and what is static are told apart as `compiled` does, and what comes out is on the device
    as its arrays are.
    """
    program, compiled_function = with_static(function), compiled(function)

    @lru_cache(maxsize=KEPT)
    def traced(static: Statics, types: tuple[jax.ShapeDtypeStruct, ...]) -> tuple[Jaxpr, Any]:
        trace = jax.make_jaxpr(program, static_argnums=0, return_shape=True)
        closed, out = trace(static, list(types))
        return closed, jax.tree.structure(out)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        static, arrays = split_static(args, kwargs)
        if sum(v.size for v in arrays) > FEW or not all(isinstance(v, np.ndarray) for v in arrays):
            return compiled_function(*args, **kwargs)
        given = [np.asarray(v, jax.dtypes.canonicalize_dtype(v.dtype)) for v in arrays]
        types = tuple(map(_type_of, given))
        closed, structure = traced(static, types)
        result: R = jax.tree.unflatten(structure, jax.device_put(run_by_numpy(closed, given)))
        return result

    return call


def _type_of(v: np.ndarray) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(v.shape, v.dtype)  # type: ignore[no-untyped-call]


def run_by_numpy(program: Jaxpr, given: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return what comes out of a program.

    Args:
        program: as JAX traced it.
        given: what goes in.
    """
    with np.errstate(all="ignore"):
        return interpreted(program, given, _made, lambda _, number: np.asarray(number))


def _made(eqn: Equation, given: list[np.ndarray]) -> list[np.ndarray]:
    """Return what comes out of an equation."""
    name = eqn.primitive.name
    if name in OPERATIONS:
        (out,) = types_of(eqn.outvars)
        return [np.asarray(OPERATIONS[name](*given, eqn.params), out.dtype)]
    if name == "optimization_barrier":
        return given
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
