"""Interpreter: one walk over a program and the programs within it, whatever its values stand for.

values             what becomes of an equation, `made`            read by
arrays             the results, or None of what is not known      `scan_splitting.py`
facts              what depends on what, and is handed on as is   `scan_splitting.py`
numbers of values  a step, or those of the program that it calls  `program.py`
arrays and kinds   the results; of products, draws                `theory/twin/program.py`
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from jax.core import ShapedArray
from jax.extend import core
from jax.extend.core import primitives

from ..arrays.compiled import Numbers

PLAIN = (primitives.jit_p, primitives.closed_call_p, primitives.call_p)
CALLS = (*PLAIN, primitives.remat_p)

Equation = core.JaxprEqn
if TYPE_CHECKING:
    Jaxpr = core.Jaxpr
else:  # two classes in JAX 0.10, where the program of remat is an open one, without constants
    Jaxpr = core.Jaxpr | core.ClosedJaxpr
V = TypeVar("V")


class Scan(NamedTuple):
    """A scan: its body, the numbers of its constants and carries, its length and direction."""

    body: Jaxpr
    consts: int
    carries: int
    k: int
    reverse: bool


def types_of(variables: Iterable[Any]) -> list[ShapedArray]:
    """Return the types of what goes into an equation, or comes out of it."""
    return [v.aval for v in variables]


def scan_of(eqn: Equation) -> Scan:
    """Return the parts of a scan."""
    body = eqn.params["jaxpr"]

    def whole(outside: Iterable[Any], inside: Iterable[ShapedArray]) -> int:
        # Told by shapes, since parameters of primitives change between versions: what is of each
        # step has one axis more outside than inside.
        pairs = zip(types_of(outside), inside, strict=True)
        return sum(of_all.shape == of_step.shape for of_all, of_step in pairs)

    carries = whole(eqn.outvars, body.out_avals)
    consts = whole(eqn.invars, body.in_avals) - carries
    return Scan(body, consts, carries, eqn.params["length"], eqn.params["reverse"])


def called_by(eqn: Equation) -> Jaxpr:
    """Return the program that a call runs, or a function with a rule of the user's own."""
    programs = (eqn.params.get(name) for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"))
    program: Jaxpr = next(program for program in programs if program is not None)
    return program


def interpreted(
    program: Jaxpr,
    given: Sequence[V],
    made: Callable[[Equation, list[V]], Sequence[V]],
    constant: Callable[[ShapedArray, Numbers], V],
) -> list[V]:
    """Return what comes out of a program.

    made: an equation, and what goes into it -> what comes out.
    constant: a type and numbers of the program's own -> what stands for them.
    """
    jaxpr: Any = getattr(program, "jaxpr", program)
    values = going_in(program, given, constant)
    run_equations(jaxpr.eqns, values, made, constant)
    return read(jaxpr.outvars, values, constant)


def going_in(
    program: Jaxpr, given: Sequence[V], constant: Callable[[ShapedArray, Numbers], V]
) -> dict[Any, V]:
    """Return what a program's constants and inputs stand for, by its variables."""
    jaxpr: Any = getattr(program, "jaxpr", program)
    consts = zip(jaxpr.constvars, getattr(program, "consts", ()), strict=True)
    values = {v: constant(v.aval, number) for v, number in consts}
    values.update(zip(jaxpr.invars, given, strict=True))
    return values


def run_equations(
    equations: Iterable[Equation],
    values: dict[Any, V],
    made: Callable[[Equation, list[V]], Sequence[V]],
    constant: Callable[[ShapedArray, Numbers], V],
) -> None:
    """Add what comes out of equations to the values of variables."""
    for eqn in equations:
        values.update(zip(eqn.outvars, made(eqn, read(eqn.invars, values, constant)), strict=True))


def read(
    variables: Iterable[Any], values: dict[Any, V], constant: Callable[[ShapedArray, Numbers], V]
) -> list[V]:
    """Return what variables and literal numbers stand for."""

    def one(v: Any) -> V:
        if isinstance(v, core.Literal):
            aval: Any = v.aval
            return constant(aval, np.asarray(v.val, aval.dtype))
        return values[v]

    return [*map(one, variables)]


def bound(eqn: Equation, inputs: Sequence[Any]) -> list[Any]:
    """Run an equation."""
    primitive: Any = eqn.primitive
    # Of these `ctx`, `source_info` and `get_bind_params` are in no documentation, though their
    # classes are; they are the same in JAX 0.10 and 0.12.
    with eqn.ctx.manager:
        out = primitive.bind(*inputs, **primitive.get_bind_params(eqn.params))
    return [*out] if primitive.multiple_results else [out]


def function(program: Jaxpr) -> Callable[..., list[Any]]:
    """Return a jaxpr as a function."""
    f: Callable[..., list[Any]] = core.jaxpr_as_fun(program)
    return f
