"""Carries without a gradient: a scan as two, first of the floats that depend on no parameter.

    (x, t), _ = scan(step, (x, t))    ->    t[j] of every step j, by a scan of its own
                                            x, _ = scan(step that takes t[j], x)

So a time or a step size is data of its layer, or rides along where it depends on xs, and the state
of a layer has the floats that learn. Where part of a program (a branch, a scan in a scan) makes
values that depend on parameters and others that do not, each is told by itself.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import compress
from typing import Any

import jax
from jax import lax
from jax.extend import core
from jax.extend.core import primitives

from ..arrays.rows import is_float
from .program import CALLS, Flat, Scan, Step, bound, function, scan_of, struct

Flags = Sequence[bool]  # for each value whether it depends on some values, such as parameters


def split(flat: Flat, learned: Iterable[int], xs: Iterable[int], sized: Iterable[int]) -> None:
    """Take apart the scans of a program that carry or return floats without a gradient.

    Args:
        flat: the program, which is changed.
        learned: the parameters.
        xs: the examples.
        sized: the values whose shapes depend on the number of examples.
    """
    learned, dependent, sized = {*learned}, {*xs}, {*sized}
    steps, same = list[Step](), dict[int, int]()
    for given in [*flat.steps]:
        step = given._replace(inputs=tuple(same.get(v, v) for v in given.inputs))
        parts = [step]
        if step.scan and not (learned.isdisjoint(step.inputs) or dependent.isdisjoint(step.inputs)):
            learns, depends = (
                _reached(step.eqn, [v in values for v in step.inputs])
                for values in (learned, dependent)
            )
            # What has the size of the batch, though it is not of xs, is no data of a layer.
            moved = [
                is_float(flat.types[v]) and not learning and (on_xs or v not in sized)
                for v, learning, on_xs in zip(step.outputs, learns, depends, strict=True)
            ]
            if any(moved):
                types = [struct(flat.types[v]) for v in step.inputs]
                both = _both(step.scan, [v in learned for v in step.inputs], learns, moved)
                parts, outputs = flat.instead(jax.make_jaxpr(both)(*types), step.inputs, step)
                same.update(zip(step.outputs, outputs, strict=True))
        for part in parts:
            for values in (learned, dependent):
                values.update(() if values.isdisjoint(part.inputs) else part.outputs)
        steps += parts
    flat.replace(steps, [same.get(v, v) for v in flat.outputs])


def _both(scan: Scan, flags: Flags, learns: Flags, moved: Flags) -> Callable[..., list[Any]]:
    """Return a scan as two scans, a function of its inputs.

    Args:
        scan: the scan.
        flags: for each input whether it depends on a parameter.
        learns: the same for each output.
        moved: for each output whether it is one of the first scan.
    """
    body, c, s = scan.body, scan.consts, scan.consts + scan.carries
    (learn, _), (moved_carries, moved_outputs) = (
        (v[: scan.carries], v[scan.carries :]) for v in (learns, moved)
    )
    pairs = zip(body.jaxpr.invars[c:s], body.jaxpr.outvars, strict=False)
    passes = [u is v for u, v in pairs]  # what never changes is no array of all steps
    by_step = [is_moved and not same for is_moved, same in zip(moved_carries, passes, strict=True)]
    options: dict[str, Any] = {"length": scan.k, "reverse": scan.reverse}

    def both(*inputs: Any) -> list[Any]:
        consts, carries, stacks = inputs[:c], inputs[c:s], inputs[s:]

        def first(carries: Any, entries: Any) -> Any:
            out = _known(body, [*_but(consts, flags[:c]), *carries, *entries])
            ends, outputs = _but(out[: scan.carries], learn), out[scan.carries :]
            return ends, ([*compress(carries, by_step)], [*compress(outputs, moved_outputs)])

        start = _but(carries, learn)
        ends, (before, outputs) = lax.scan(first, start, _but(stacks, flags[s:]), **options)

        def second(own: Any, entries: Any) -> Any:
            entries, before = entries
            at_step, rest = iter(before), iter(own)
            whole = [
                next(at_step) if new else v if is_moved else next(rest)
                for v, is_moved, new in zip(carries, moved_carries, by_step, strict=True)
            ]
            out = function(body)(*consts, *whole, *entries)
            ends, outputs = out[: scan.carries], out[scan.carries :]
            return _others(ends, moved_carries), _others(outputs, moved_outputs)

        own = _others(carries, moved_carries)
        rest, others = lax.scan(second, own, (list(stacks), before), **options)
        of_first = iter([*compress(ends, moved_carries), *outputs])
        of_second = iter([*rest, *others])
        return [next(of_first if is_moved else of_second) for is_moved in moved]

    return both


def _but(values: Sequence[Any], flags: Flags) -> list[Any]:
    """Return values with None in the place of those with a flag."""
    return [None if flag else v for v, flag in zip(values, flags, strict=True)]


def _others(values: Sequence[Any], flags: Flags) -> list[Any]:
    return [v for v, flag in zip(values, flags, strict=True) if not flag]


# What depends on what within a program


def _reached(eqn: Any, flags: Flags) -> list[bool]:
    """Return for each output of an equation whether it depends on inputs with a flag."""
    program = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
    if eqn.primitive in CALLS:
        return _reached_in(program, flags)
    if eqn.primitive is primitives.cond_p and not flags[0]:
        branches = [_reached_in(branch, flags[1:]) for branch in eqn.params["branches"]]
        return [any(each) for each in zip(*branches, strict=True)]
    if eqn.primitive is primitives.scan_p:
        scan = scan_of(eqn)
        flags = [*flags]
        while True:  # until the carries reach no more
            out = _reached_in(scan.body, flags)
            carries = slice(scan.consts, scan.consts + scan.carries)
            more = [a or b for a, b in zip(flags[carries], out, strict=False)]
            if more == flags[carries]:
                return out
            flags[carries] = more
    return [any(flags)] * len(eqn.outvars)


def _reached_in(program: Any, flags: Flags) -> list[bool]:
    jaxpr = getattr(program, "jaxpr", program)
    reached = dict(zip(jaxpr.invars, flags, strict=True))

    def is_reached(v: Any) -> bool:
        return not isinstance(v, core.Literal) and reached.get(v, False)

    for eqn in jaxpr.eqns:
        out = _reached(eqn, [*map(is_reached, eqn.invars)])
        reached.update(zip(eqn.outvars, out, strict=True))
    return [*map(is_reached, jaxpr.outvars)]


def _known(program: Any, given: Sequence[Any]) -> list[Any]:
    """Run what can be run of a program where some inputs are not known, None; so is the rest."""
    jaxpr = getattr(program, "jaxpr", program)
    values = dict(zip(jaxpr.constvars, getattr(program, "consts", ()), strict=True))
    values |= dict(zip(jaxpr.invars, given, strict=True))

    def read(v: Any) -> Any:
        return v.val if isinstance(v, core.Literal) else values[v]

    for eqn in jaxpr.eqns:
        inputs = [*map(read, eqn.invars)]
        unknown = [v is None for v in inputs]
        if not any(unknown):
            out = bound(eqn, inputs)
        elif all(_reached(eqn, unknown)):
            out = [None] * len(eqn.outvars)
        else:
            out = _known_part(eqn, inputs, unknown)
        values.update(zip(eqn.outvars, out, strict=True))
    return [*map(read, jaxpr.outvars)]


def _known_part(eqn: Any, inputs: list[Any], unknown: Flags) -> list[Any]:
    """Run a call, a branch or a scan for those of its outputs that are known."""
    if eqn.primitive in CALLS:
        return _known(eqn.params.get("jaxpr", eqn.params.get("call_jaxpr")), inputs)
    lost = _reached(eqn, unknown)
    if eqn.primitive is primitives.cond_p:
        branches = [
            lambda inputs, branch=branch: _but(_known(branch, inputs), lost)
            for branch in eqn.params["branches"]
        ]
        out: list[Any] = lax.switch(inputs[0], branches, inputs[1:])
        return out
    scan = scan_of(eqn)
    c, s = scan.consts, scan.consts + scan.carries

    def step(carries: Any, entries: Any) -> Any:
        out = _but(_known(scan.body, [*inputs[:c], *carries, *entries]), lost)
        return out[: scan.carries], out[scan.carries :]

    start = _but(inputs[c:s], lost[: scan.carries])
    ends, outputs = lax.scan(step, start, inputs[s:], length=scan.k, reverse=scan.reverse)
    return [*ends, *outputs]
