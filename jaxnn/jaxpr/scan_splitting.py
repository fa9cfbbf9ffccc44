"""Carries that are no state: a scan as two, first of the floats that need no parameter, or no xs.

    (x, t), _ = scan(step, (x, t))    ->    t[j] of every step j, by a scan of its own
                                            x, _ = scan(step that takes t[j], x)

So a time is data of its layer, or rides along where it depends on xs; with a step size that is a
parameter it is made of that in each layer. The state of a layer has the other floats. Where part of
a program (a branch, a scan in a scan) makes values that depend on parameters and others that do
not, each is told by itself.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import compress
from typing import Any, NamedTuple

import jax
from jax import lax
from jax.extend.core import primitives
from jaxtyping import Array

from ..arrays.rows import is_float
from .interpreter import (
    CALLS,
    Equation,
    Jaxpr,
    Scan,
    bound,
    called_by,
    function,
    interpreted,
    scan_of,
)
from .program import Flat, TracedStep, struct

Values = list[Array | None]  # None of what is not known
Flags = Sequence[bool]  # for each value whether it depends on some values, such as parameters


def split(flat: Flat, learned: Iterable[int], xs: Iterable[int], sized: Iterable[int]) -> None:
    """Take apart the scans of a program that carry or return floats which are no state.

    flat: the program, which is changed.
    sized: the values whose shapes depend on the number of examples.
    """
    sized = {*sized}
    for absent in (0, 1):  # what needs no parameter, then what needs no xs
        _split(flat, ({*learned}, {*xs}), absent, sized)


def _split(flat: Flat, sources: tuple[set[int], set[int]], absent: int, sized: set[int]) -> None:
    """Take apart the scans with floats that do not need the parameters, or the examples."""
    steps, same = list[TracedStep](), dict[int, int]()
    # In the order of the program, so that what a scan is made to return already has its sources
    # when a later scan takes it.
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
                # With parameters absent the new scan is data of all layers; with xs absent each
                # layer makes it again, and then takes no more parameters than it needs.
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


def _ahead(eqn: Equation, moved: Flags, *, apart: bool) -> list[_Ahead]:
    """Return the scans that make some outputs of a scan; `apart`: of carries and of steps."""
    carries = scan_of(eqn).carries
    groups: list[Flags] = [moved]
    # So what is made of a carry in each layer takes no parameter that it does not need.
    if apart:
        of_carries = [flag and i < carries for i, flag in enumerate(moved)]
        of_steps = [flag and i >= carries for i, flag in enumerate(moved)]
        groups = [flags for flags in (of_carries, of_steps) if any(flags)]
    return [_Ahead(made, _without(eqn, made)) for made in groups]


def _without(eqn: Equation, made: Flags) -> list[bool]:
    """Return for each input of a scan whether none of some outputs, or itself, needs it."""
    scan, flags = scan_of(eqn), list[bool]()
    for i in range(len(eqn.invars)):
        carry = i - scan.consts
        itself = 0 <= carry < scan.carries and made[carry]
        # One input at a time, with carries followed to their fixed point: a value may come to an
        # output steps later, by way of other carries.
        out = _reached(eqn, [i == j for j in range(len(eqn.invars))])
        flags.append(not (itself or any(compress(out, made))))
    return flags


def _both(scan: Scan, ahead: Sequence[_Ahead], moved: Flags) -> Callable[..., list[Any]]:
    """Return a scan as several scans, a function of its inputs; those in `ahead` go first."""
    body, c, s = scan.body, scan.consts, scan.consts + scan.carries
    # What never changes is no array of all steps.
    handed_on = _handed_on(len(body.in_avals), partial(_facts_of, body))
    passes = [i == j for i, j in enumerate(handed_on[: scan.carries], c)]
    options: dict[str, Any] = {"length": scan.k, "reverse": scan.reverse}

    def first(inputs: Sequence[Any], made: Flags, unknown: Flags) -> tuple[list[Any], list[Any]]:
        """Return the outputs that are made, and the carries before each step; else None."""
        consts, carries, stacks = inputs[:c], inputs[c:s], inputs[s:]
        by_step = [flag and not same for flag, same in zip(made, passes, strict=False)]

        def step(carries: Values, entries: Values) -> Any:
            # The carries from before the step, since that is what `second` runs the step with.
            out = _known(body, [*_but(consts, unknown[:c]), *carries, *entries])
            ends, outputs = _but(out[: scan.carries], unknown[c:s]), out[scan.carries :]
            return ends, (_only(carries, by_step), _only(outputs, made[scan.carries :]))

        start = _but(carries, unknown[c:s])
        ends, (before, outputs) = lax.scan(step, start, _but(stacks, unknown[s:]), **options)
        return _only([*ends, *outputs], made), before

    def both(*inputs: Array) -> list[Any]:
        consts, carries, stacks = inputs[:c], inputs[c:s], inputs[s:]
        made, before = _merged([first(inputs, *flags) for flags in ahead])

        def second(streams: Values, entries: tuple[list[Array], Values]) -> Any:
            stacks, before = entries
            rest = iter(streams)
            whole = [
                next(rest) if not is_moved else v if same else at_step
                for v, at_step, is_moved, same in zip(carries, before, moved, passes, strict=False)
            ]
            out = function(body)(*consts, *whole, *stacks)
            return _others(out[: scan.carries], moved), _others(out[scan.carries :], moved_outputs)

        moved_outputs = moved[scan.carries :]
        rest, others = lax.scan(second, _others(carries, moved), (list(stacks), before), **options)
        of_second = iter([*rest, *others])
        return [v if flag else next(of_second) for v, flag in zip(made, moved, strict=True)]

    return both


def _merged(results: Sequence[tuple[list[Any], list[Any]]]) -> tuple[list[Any], list[Any]]:
    """Return lists of several scans as one, in which each has what another has as None."""
    made, before = (
        [next((v for v in cases if v is not None), None) for cases in zip(*lists, strict=True)]
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


class _Fact(NamedTuple):
    """A fact about a value: whether it depends on flagged ones, and which of all values it is."""

    depends: bool
    value: object


def _new(depends: bool) -> _Fact:
    return _Fact(depends, object())


def _facts_of(program: Jaxpr, given: Sequence[_Fact]) -> list[_Fact]:
    return interpreted(program, given, _facts, lambda *_: _new(depends=False))


def _facts(eqn: Equation, given: Sequence[_Fact]) -> list[_Fact]:
    """Return what is known of the outputs of an equation, of its inputs; unchanged ones too."""
    if eqn.primitive in CALLS:
        return _facts_of(called_by(eqn), given)
    if eqn.primitive is primitives.cond_p:
        index, *operands = given
        branches = [_facts_of(branch, operands) for branch in eqn.params["branches"]]
        return [_chosen(index, cases) for cases in zip(*branches, strict=True)]
    if eqn.primitive is primitives.scan_p:
        return [_new(depends) for depends in _settled(scan_of(eqn), [*given])]
    if eqn.primitive is primitives.copy_p:
        return [*given]
    depends = any(fact.depends for fact in given)
    return [_new(depends) for _ in eqn.outvars]


def _chosen(index: _Fact, cases: Sequence[_Fact]) -> _Fact:
    """Return what is known of one of several cases; whatever is chosen, equal ones are that one."""
    if len({fact.value for fact in cases}) == 1:
        return cases[0]
    return _new(index.depends or any(fact.depends for fact in cases))


def _settled(scan: Scan, given: list[_Fact]) -> list[bool]:
    """Return which outputs of a scan depend on flagged values, in whatever step."""
    # A carry that a step makes of flagged values is flagged in the next one, until no more of them
    # are; each time one more is at least.
    while True:
        out = [fact.depends for fact in _facts_of(scan.body, given)]
        more = False
        for i, depends in enumerate(out[: scan.carries], scan.consts):
            if depends and not given[i].depends:
                given[i], more = _new(depends=True), True
        if not more:
            return out


def _reached(eqn: Equation, flags: Flags) -> list[bool]:
    """Return for each output of an equation whether it depends on inputs with a flag."""
    return [fact.depends for fact in _facts(eqn, [*map(_new, flags)])]


def _same(eqn: Equation) -> list[int | None]:
    """Return for each output of an equation the number of the input that it is, unchanged."""
    return _handed_on(len(eqn.invars), partial(_facts, eqn))


def _handed_on(count: int, facts: Callable[[list[_Fact]], list[_Fact]]) -> list[int | None]:
    given = [_new(depends=False) for _ in range(count)]
    numbers = {fact.value: i for i, fact in enumerate(given)}
    return [numbers.get(fact.value) for fact in facts(given)]


def _known(program: Jaxpr, given: Sequence[Any]) -> list[Any]:
    """Run what can be run of a program where some inputs are not known, None; so is the rest."""

    def made(eqn: Equation, inputs: list[Any]) -> list[Any]:
        unknown = [v is None for v in inputs]
        if not any(unknown):
            return bound(eqn, inputs)
        if all(_reached(eqn, unknown)):
            return [None] * len(eqn.outvars)
        return _known_part(eqn, inputs, unknown)

    return interpreted(program, given, made, lambda _, number: number)


def _known_part(eqn: Equation, inputs: list[Any], unknown: Flags) -> list[Any]:
    """Run a call, a branch or a scan for those of its outputs that are known."""
    if eqn.primitive in CALLS:
        return _known(called_by(eqn), inputs)
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

    def step(carries: Values, entries: Values) -> Any:
        out = _but(_known(scan.body, [*inputs[:c], *carries, *entries]), lost)
        return out[: scan.carries], out[scan.carries :]

    start = _but(inputs[c:s], lost[: scan.carries])
    ends, outputs = lax.scan(step, start, inputs[s:], length=scan.k, reverse=scan.reverse)
    return [*ends, *outputs]
