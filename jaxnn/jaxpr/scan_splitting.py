"""Carries that are no state: a scan as two, first of the floats that need no parameter, or no xs.

    (x, t), _ = scan(step, (x, t))    ->    t[j] of every step j, by a scan of its own
                                            x, _ = scan(step that takes t[j], x)

So a time is data of its layer, or rides along where it depends on xs; with a step size that is a
parameter it is made of that in each layer. The state of a layer has the other floats. Where part of
a program (a branch, a scan in a scan) makes values that depend on parameters and others that do
not, each is told by itself.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import compress
from typing import Any, NamedTuple

import jax
from jax import lax
from jax.extend import core
from jax.extend.core import primitives

from ..arrays.rows import is_float
from .program import CALLS, Flat, Scan, Step, bound, function, scan_of, struct

Flags = Sequence[bool]  # for each value whether it depends on some values, such as parameters


def split(flat: Flat, learned: Iterable[int], xs: Iterable[int], sized: Iterable[int]) -> None:
    """Take apart the scans of a program that carry or return floats which are no state.

    Args:
        flat: the program, which is changed.
        learned: the parameters.
        xs: the examples.
        sized: the values whose shapes depend on the number of examples.
    """
    sized = {*sized}
    for absent in (0, 1):  # what needs no parameter, then what needs no xs
        _split(flat, ({*learned}, {*xs}), absent, sized)


def _split(flat: Flat, sources: tuple[set[int], set[int]], absent: int, sized: set[int]) -> None:
    """Take apart the scans that carry or return floats which do not need some values.

    Args:
        flat: the program, which is changed.
        sources: the parameters and the examples, to which is added what depends on them.
        absent: the number, among these two, of those that are not needed.
        sized: as in `split`; the values that are new are added.
    """
    steps, same = list[Step](), dict[int, int]()
    for given in [*flat.steps]:
        step = given._replace(inputs=tuple(same.get(v, v) for v in given.inputs))
        parts = [step]
        if step.scan and not any(values.isdisjoint(step.inputs) for values in sources):
            reached = [_reached(step.eqn, [v in values for v in step.inputs]) for values in sources]
            # What has the size of the batch, though it is not of xs, is no data of a layer.
            moved = [
                is_float(flat.types[v]) and not needs and (on_xs or v not in sized)
                for v, needs, on_xs in zip(step.outputs, reached[absent], reached[1], strict=True)
            ]
            if any(moved):
                types = [struct(flat.types[v]) for v in step.inputs]
                both = _both(step.scan, _ahead(step.eqn, moved, apart=absent == 1), moved)
                parts, outputs = flat.instead(jax.make_jaxpr(both)(*types), step.inputs, step)
                same.update(zip(step.outputs, outputs, strict=True))
                sized.update(same[v] for v in step.outputs if v in sized)
        for part in parts:
            for values in sources:
                values.update(() if values.isdisjoint(part.inputs) else part.outputs)
        steps += parts
    flat.replace(steps, [same.get(v, v) for v in flat.outputs])


class _Ahead(NamedTuple):
    """A scan that goes ahead: the outputs that it makes, and the inputs that it is without."""

    made: Flags
    unknown: Flags


def _ahead(eqn: Any, moved: Flags, *, apart: bool) -> list[_Ahead]:
    """Return the scans that make some outputs of a scan.

    Args:
        eqn: the scan.
        moved: for each output whether it is one of these.
        apart: the carries by one scan and what is returned at each step by another, so that what
            is made of a carry in each layer takes no parameter that it does not need.
    """
    carries = scan_of(eqn).carries
    groups: list[Flags] = [moved]
    if apart:
        of_carries = [flag and i < carries for i, flag in enumerate(moved)]
        of_steps = [flag and i >= carries for i, flag in enumerate(moved)]
        groups = [flags for flags in (of_carries, of_steps) if any(flags)]
    return [_Ahead(made, _without(eqn, made)) for made in groups]


def _without(eqn: Any, made: Flags) -> list[bool]:
    """Return for each input of a scan whether none of some outputs needs it.

    A carry that is one of these outputs is needed for itself.
    """
    scan, flags = scan_of(eqn), list[bool]()
    for i in range(len(eqn.invars)):
        carry = i - scan.consts
        itself = 0 <= carry < scan.carries and made[carry]
        out = _reached(eqn, [i == j for j in range(len(eqn.invars))])
        flags.append(not (itself or any(compress(out, made))))
    return flags


def _both(scan: Scan, ahead: Sequence[_Ahead], moved: Flags) -> Callable[..., list[Any]]:
    """Return a scan as several scans, a function of its inputs.

    Args:
        scan: the scan.
        ahead: those that go ahead of the others.
        moved: for each output whether it is one of these.
    """
    body, c, s = scan.body, scan.consts, scan.consts + scan.carries
    # What never changes is no array of all steps.
    passes = [i == j for i, j in enumerate(_handed_on(body)[: scan.carries], c)]
    options: dict[str, Any] = {"length": scan.k, "reverse": scan.reverse}

    def first(inputs: Sequence[Any], made: Flags, unknown: Flags) -> tuple[list[Any], list[Any]]:
        """Return the outputs that are made, and the carries before each step; else None."""
        consts, carries, stacks = inputs[:c], inputs[c:s], inputs[s:]
        by_step = [flag and not same for flag, same in zip(made, passes, strict=False)]

        def step(carries: Any, entries: Any) -> Any:
            out = _known(body, [*_but(consts, unknown[:c]), *carries, *entries])
            ends, outputs = _but(out[: scan.carries], unknown[c:s]), out[scan.carries :]
            return ends, (_only(carries, by_step), _only(outputs, made[scan.carries :]))

        start = _but(carries, unknown[c:s])
        ends, (before, outputs) = lax.scan(step, start, _but(stacks, unknown[s:]), **options)
        return _only([*ends, *outputs], made), before

    def both(*inputs: Any) -> list[Any]:
        consts, carries, stacks = inputs[:c], inputs[c:s], inputs[s:]
        made, before = _merged([first(inputs, *each) for each in ahead])

        def second(own: Any, entries: Any) -> Any:
            entries, before = entries
            rest = iter(own)
            whole = [
                next(rest) if not is_moved else v if same else at_step
                for v, at_step, is_moved, same in zip(carries, before, moved, passes, strict=False)
            ]
            out = function(body)(*consts, *whole, *entries)
            return _others(out[: scan.carries], moved), _others(out[scan.carries :], moved_outputs)

        moved_outputs = moved[scan.carries :]
        rest, others = lax.scan(second, _others(carries, moved), (list(stacks), before), **options)
        of_second = iter([*rest, *others])
        return [v if flag else next(of_second) for v, flag in zip(made, moved, strict=True)]

    return both


def _merged(results: Sequence[tuple[list[Any], list[Any]]]) -> tuple[list[Any], list[Any]]:
    """Return lists of several scans as one, in which each has what another has as None."""
    made, before = (
        [next((v for v in each if v is not None), None) for each in zip(*lists, strict=True)]
        for lists in zip(*results, strict=True)
    )
    return made, before


def _only(values: Sequence[Any], flags: Flags) -> list[Any]:
    """Return the values whose flag is set, None instead of each other one."""
    return [v if flag else None for v, flag in zip(values, flags, strict=False)]


def _but(values: Sequence[Any], flags: Flags) -> list[Any]:
    """Return the values whose flag is not set, None instead of each other one."""
    return [None if flag else v for v, flag in zip(values, flags, strict=True)]


def _others(values: Sequence[Any], flags: Flags) -> list[Any]:
    return [v for v, flag in zip(values, flags, strict=False) if not flag]


# What depends on what within a program


def _reached(eqn: Any, flags: Flags) -> list[bool]:
    """Return for each output of an equation whether it depends on inputs with a flag."""
    program = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
    if eqn.primitive in CALLS:
        return _reached_in(program, flags)
    if eqn.primitive is primitives.cond_p and not flags[0]:
        branches = [_reached_in(branch, flags[1:]) for branch in eqn.params["branches"]]
        return [any(each) for each in zip(*branches, strict=True)]
    if eqn.primitive is primitives.cond_p:
        return [True if i is None else flags[i] for i in _same(eqn)]
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


def _same(eqn: Any) -> list[int | None]:
    """Return for each output of an equation the number of the input that it is, unchanged.

    None of one that is made, or that is one input or another, as a condition has it.
    """
    if eqn.primitive in CALLS:
        return _handed_on(eqn.params.get("jaxpr", eqn.params.get("call_jaxpr")))
    if eqn.primitive is primitives.cond_p:
        branches = zip(*map(_handed_on, eqn.params["branches"]), strict=True)
        return [None if i is None or {i, *rest} != {i} else 1 + i for i, *rest in branches]
    return [0 if eqn.primitive is primitives.copy_p else None] * len(eqn.outvars)


def _handed_on(program: Any) -> list[int | None]:
    """Return for each output of a program the number of the input that it is, unchanged."""
    jaxpr = getattr(program, "jaxpr", program)
    numbers = {v: i for i, v in enumerate(jaxpr.invars)}

    def number(v: Any) -> int | None:
        return None if isinstance(v, core.Literal) else numbers.get(v)

    for eqn in jaxpr.eqns:
        given = [*map(number, eqn.invars)]
        same = (
            (v, None if i is None else given[i])
            for v, i in zip(eqn.outvars, _same(eqn), strict=True)
        )
        numbers.update((v, i) for v, i in same if i is not None)
    return [*map(number, jaxpr.outvars)]


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
    if eqn.primitive is primitives.cond_p and inputs[0] is None:
        return [None if i is None else inputs[i] for i in _same(eqn)]
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
