"""Programs: a function as a flat list of steps, from the jaxpr that JAX traces of it.

A step is an equation between numbered values. Calls (jit, remat) are opened, what nothing needs is
dropped. Steps can be run again in parts, which then are traced to programs of their own.

All that jaxnn knows about JAX's own programs is in this room.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core
from jax.extend.core import primitives
from jaxtyping import Array, PyTree

from ..arrays.compiled import Numbers
from ..arrays.rows import is_float
from ..arrays.spread import ArrayOrType, pcast_like, spec_of, spread_type
from .interpreter import (
    CALLS,
    PLAIN,
    Equation,
    Jaxpr,
    Scan,
    bound,
    called_by,
    function,
    interpreted,
    scan_of,
    types_of,
)
from .primitives import (
    AFFINE,
    CASTS,
    DIFFERENCE,
    EXP,
    MULTIPLYING,
    PRIMITIVES,
    RANDOM,
    SHAPES,
    STOPPED,
    UNKNOWN,
    PrimitiveCall,
    Rule,
)
from .rules_of_jax import name_of_rule
from .source_location import origin

LayerProgram = Callable[[list[Any], Any], Any]  # (arrays, state) -> state
MOST_BYTES = 1 << 20  # of constants that are compared
MANY = 100  # steps of a loop whose length is data
OF_CHANCES: dict[str, Callable[..., Any]] = {
    DIFFERENCE: np.subtract,
    **dict.fromkeys((*CASTS, STOPPED), np.asarray),
}
NOTHING: Any = jax.make_jaxpr(lambda: ())()
Instead = Mapping[int, tuple[int, Callable[[Any], Any]]]  # of a value: what it is made of, and how
SHORT = 16  # steps of a scan that are written one after the other, if it is opened
# With other adjoints a solver is a loop without a known end, which has a reverse rule of its own.
OF_DIFFRAX = (
    "with adjoint=diffrax.DirectAdjoint(), max_steps=, and steps of one size or at given times, "
    "stepsize_controller=diffrax.StepTo(ts), each step of Diffrax is a layer"
)
CALLER = str(Path(__file__).parents[1] / "chain" / "chain.py")  # of the user's function


class TracedStep(NamedTuple):
    """An equation between values, which are numbers."""

    eqn: Equation
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    scope: tuple[str, ...]  # the names of the modules that it is in

    @property
    def rule(self) -> Rule:
        """The knowledge about its primitive."""
        return PRIMITIVES.get(self.eqn.primitive.name, UNKNOWN)

    @property
    def is_product(self) -> bool:
        """A matrix product, a convolution, a look-up in a table, or what holds a program."""
        if self.eqn.primitive.name in MULTIPLYING:
            return True
        return any(True for _ in core.jaxprs_in_params(self.eqn.params))

    @property
    def products(self) -> int:
        """The number of products in it, over all steps of a loop; of one without an end, many."""
        return products_in(self.eqn)

    @property
    def is_affine(self) -> bool:
        """A step of those that a bias or a scale is made of."""
        return self.eqn.primitive.name in AFFINE | SHAPES

    @property
    def entry(self) -> int | None:
        """The i of v[i : i + 1]; None for other steps."""
        if self.eqn.primitive is not primitives.slice_p:
            return None
        start, limit = self.eqn.params["start_indices"], self.eqn.params["limit_indices"]
        whole = (*types_of(self.eqn.invars)[0].shape[1:], *[0] * (len(start) - 1))
        one = limit[0] - start[0] == 1 and (*limit[1:], *start[1:]) == whole
        return int(start[0]) if one else None

    @property
    def scan(self) -> Scan | None:
        """The scan that it is; None for other steps."""
        return scan_of(self.eqn) if self.eqn.primitive is primitives.scan_p else None

    @property
    def frames(self) -> list[Any]:
        """The frames of the traceback that made it, the innermost first, within the function."""
        traceback = self.eqn.source_info.traceback
        frames = traceback.frames if traceback else ()
        return [*takewhile(lambda frame: frame.file_name != CALLER, frames)]

    def way_out(self, usual: str) -> str:
        """Return what to write instead of a program that is not taken apart, in words."""
        of_diffrax = any("diffrax" in Path(frame.file_name).parts for frame in self.frames)
        return OF_DIFFRAX if of_diffrax else usual

    @property
    def location(self) -> str:
        """The file and line of the user's code that made it; else the modules it is in."""
        frame = origin(self.frames)
        if frame is not None:
            return f"{Path(frame.file_name).name}:{frame.line_num}"
        return "/".join(self.scope) or str(self.eqn.primitive.name)


class Closed(NamedTuple):
    """The layer that holds most products of a function in a program that is not taken apart."""

    layer: int  # its number
    products: int  # how many
    way_out: str  # what to write instead, in words


def products_in(eqn: Equation) -> int:
    """Return the number of products in an equation, over all steps of a loop."""
    if eqn.primitive.name in MULTIPLYING:
        return 1
    # Programs come with their constants in later versions of JAX, and without in earlier ones.
    programs = (getattr(v, "jaxpr", v) for v in core.jaxprs_in_params(eqn.params))
    inside = sum(products_in(inner) for program in programs for inner in program.eqns)
    times = MANY if eqn.primitive is primitives.while_p else eqn.params.get("length") or 1
    return int(inside * times)


class Flat:
    """A program without calls, and without what else is opened.

    closed: what was opened but has a meaning of its own, such as a reverse rule: as one step, with
        the steps inside.
    """

    def __init__(self, closed: Jaxpr, opened: Sequence[core.Primitive] = CALLS) -> None:
        self.opened = opened
        self.types: list[Any] = []
        self.constants: dict[int, Any] = {}
        self.steps: list[TracedStep] = []
        self.closed: list[tuple[TracedStep, list[TracedStep]]] = []
        self.inputs = [*map(self.value, closed.in_avals)]
        outputs = self._inlined(closed, self.inputs, ())
        self.replace(self.steps, outputs)

    @classmethod
    def joined(
        cls,
        types: Iterable[Any],
        programs: Iterable[tuple[Jaxpr, Sequence[int], Sequence[int]]],
        outputs: Iterable[int],
    ) -> "Flat":
        """Return several programs as one, each with the numbers of what it takes and makes.

        The first numbers are those of what goes in, of which types are given.
        """
        flat = cls(NOTHING)
        flat.inputs = [*map(flat.value, types)]
        values = dict(enumerate(flat.inputs))
        for program, taken, made in programs:
            out = flat._inlined(program, [values[i] for i in taken], ())
            values.update(zip(made, out, strict=True))
        flat.replace(flat.steps, [values[i] for i in outputs])
        return flat

    @property
    def outer(self) -> list[TracedStep] | None:
        """The steps of the program as it was written, in which only plain calls are opened."""
        # What comes out of a closed program as it went in would be left out.
        for call, steps in self.closed:
            if not set(call.outputs) <= {v for step in steps for v in step.outputs}:
                return None
        # The outermost comes last.
        whole = {id(step): call for call, steps in self.closed for step in steps}
        outer = (whole.get(id(step), step) for step in self.steps)
        return [*{id(step): step for step in outer}.values()]

    def value(
        self, aval: ArrayOrType | np.ndarray, constant: Array | np.ndarray | None = None
    ) -> int:
        """Return a new value."""
        v = len(self.types)
        self.types.append(aval)
        if constant is not None:
            self.constants[v] = constant
        return v

    def call(self, step: TracedStep) -> PrimitiveCall:
        """Return the shapes and parameters of a step, for its rule."""
        shapes = [*map(self.shape, step.inputs)]
        return PrimitiveCall(shapes, self.shape(step.outputs[0]), step.eqn.params)

    def shape(self, v: int) -> tuple[int, ...]:
        """Return the shape of a value; () of a token."""
        return tuple(getattr(self.types[v], "shape", ()))

    def instead(
        self, closed: Jaxpr, inputs: Sequence[int], step: TracedStep
    ) -> tuple[list[TracedStep], list[int]]:
        """Return the steps of a program that makes what a step makes, and what comes out."""
        count, source = len(self.steps), step.eqn.source_info
        outputs = self._inlined(closed, inputs, step.scope)
        self.steps, steps = self.steps[:count], self.steps[count:]
        eqns = (s.eqn.replace(source_info=source) for s in steps)
        named = zip(steps, eqns, strict=True)
        return [s._replace(eqn=eqn, scope=step.scope) for s, eqn in named], outputs

    def replace(self, steps: list[TracedStep], outputs: list[int]) -> None:
        """Make outputs by other steps, those of them that are needed."""
        self.steps, self.outputs = behind(outputs, steps)[0], outputs

    def _inlined(self, closed: Jaxpr, inputs: Sequence[int], scope: tuple[str, ...]) -> list[int]:
        """Append the steps of a program; return what comes out."""

        def made(eqn: Equation, given: list[int]) -> list[int]:
            names = (*scope, *_scope(eqn))
            if eqn.primitive.name == "unstack":
                return self._inlined(_slices(eqn), given, names)
            is_scan, count = eqn.primitive is primitives.scan_p, len(self.steps)
            if eqn.primitive in self.opened and (not is_scan or _has_short_softmax(eqn)):
                inner = _unrolled(eqn) if is_scan else called_by(eqn)
                out = self._inlined(inner, given, names)
                if eqn.primitive not in PLAIN:
                    call = TracedStep(eqn, tuple(given), tuple(out), names)
                    self.closed.append((call, self.steps[count:]))
                return out
            out = [*map(self.value, types_of(eqn.outvars))]
            self.steps.append(TracedStep(eqn, tuple(given), tuple(out), names))
            return out

        return interpreted(closed, inputs, made, self.value)


def _slices(eqn: Equation) -> Jaxpr:
    """Return an equation that takes an array apart, as a program of slices."""
    (v,), axis = types_of(eqn.invars), eqn.params["axis"]
    return jax.make_jaxpr(
        lambda v: [lax.index_in_dim(v, i, axis, keepdims=False) for i in range(v.shape[axis])]
    )(struct(v))


def _has_short_softmax(eqn: Equation) -> bool:
    """Tell a scan of few steps in which exp is taken."""
    return 0 < eqn.params["length"] <= SHORT and EXP in primitives_in(eqn)


def primitives_in(eqn: Equation) -> Iterator[str]:
    """Yield the names of the primitives of an equation: its own, and those in its programs."""
    yield str(eqn.primitive.name)
    for program in core.jaxprs_in_params(eqn.params):
        for inner in getattr(program, "jaxpr", program).eqns:
            yield from primitives_in(inner)


def _unrolled(eqn: Equation) -> Jaxpr:
    """Return a scan as a program of its steps, one after the other."""
    scan = scan_of(eqn)

    def steps(*values: Array) -> list[Array]:
        consts, carries = values[: scan.consts], [*values[scan.consts :][: scan.carries]]
        outputs: dict[int, list[Array]] = {}
        for i in range(scan.k)[:: -1 if scan.reverse else 1]:
            stacks = values[scan.consts + scan.carries :]
            entries = (lax.index_in_dim(v, i, keepdims=False) for v in stacks)
            out = function(scan.body)(*consts, *carries, *entries)
            carries, outputs[i] = out[: scan.carries], out[scan.carries :]
        of_steps = zip(*(outputs[i] for i in range(scan.k)), strict=True)
        return [*carries, *map(jnp.stack, of_steps)]

    return jax.make_jaxpr(steps)(*map(struct, types_of(eqn.invars)))


def _scope(eqn: Equation) -> tuple[str, ...]:
    """Return the names that an equation is in, without transformations: of vmap(a)/b, a and b."""
    names = str(eqn.source_info.name_stack).split("/")
    plain = (name.rsplit("(", 1)[-1].rstrip(")") for name in names)
    # The formula of an einsum is a name to JAX, and none here.
    return tuple(name for name in plain if name and "->" not in name)


def behind(values: Iterable[int], steps: list[TracedStep]) -> tuple[list[TracedStep], set[int]]:
    """Return the steps that make values, in their order, and all values that take part."""
    needed, chosen = set(values), []
    for step in reversed(steps):
        if not needed.isdisjoint(step.outputs):
            needed.update(step.inputs)
            chosen.append(step)
    return chosen[::-1], needed


def evaluated(
    outputs: Sequence[int],
    steps: list[TracedStep],
    values: dict[int, Any],
    instead: Instead = MappingProxyType({}),
) -> list[Any]:
    """Run steps from known values, some of them made in another way, and return outputs."""
    values = {**values}
    for step in steps:
        made = bound(step.eqn, [values[v] for v in step.inputs])
        values.update(zip(step.outputs, made, strict=True))
        for v in instead.keys() & {*step.outputs}:
            source, function = instead[v]
            values[v] = function(values[source])
    return [values[v] for v in outputs]


@dataclass(frozen=True)
class TracedProgram:
    """A function (arrays, state) -> state as JAX traced it; equal if text and constants are."""

    # The jaxpr as it prints, with or without the modules and the line of each equation.
    text: str = field(repr=False)
    constants: tuple[bytes, ...] = field(repr=False)  # their bytes
    structure: Any  # of the state that comes out
    closed: Any = field(repr=False, compare=False)  # the jaxpr itself

    @classmethod
    def of(
        cls,
        f: LayerProgram,
        arrays: Sequence[ArrayOrType],
        state: PyTree,
        *,
        is_located: bool = False,
    ) -> "TracedProgram":
        """Trace a function, from types."""
        closed, shape = jax.make_jaxpr(f, return_shape=True)(arrays, state)
        printed = closed.pretty_print(source_info=is_located, name_stack=is_located)
        text, constants = str(printed), [*closed.consts]
        # Of a function with a rule of the user's own JAX prints the function, not the rule: then
        # the program of that belongs to the text.
        if "custom_jvp_call" in text or "custom_vjp_call" in text:
            for rule in _rules(closed):
                text += str(rule)
                constants += getattr(rule, "consts", ())
        return cls(text, tuple(map(_bytes, constants)), jax.tree.structure(shape), closed)

    def __call__(self, arrays: Sequence[Array], state: PyTree) -> Any:
        given = jax.tree.leaves(state)
        expected = self.closed.in_avals[len(arrays) :]
        if [(v.shape, v.dtype) for v in given] != [(v.shape, v.dtype) for v in expected]:
            raise ValueError(
                "xs: expected the shapes and dtypes that the network was cut for, in this layer "
                f"{typed(expected)}, got {typed(given)}; take the layers of net.for_batch(xs)"
            )
        for v, aval in zip(arrays, self.closed.in_avals, strict=False):
            if spec_of(v) != spec_of(aval):
                raise ValueError(
                    f"params: expected arrays spread over the mesh as when the network was cut, "
                    f"{aval.dtype}{list(aval.shape)} over {spec_of(aval)}, got one over "
                    f"{spec_of(v)}; hand jaxnn.as_network the parameters as they are spread now"
                )
        given = list(map(pcast_like, [*arrays, *given], self.closed.in_avals))
        return jax.tree.unflatten(self.structure, function(self.closed)(*given))


@dataclass(frozen=True)
class TracedFunction:
    """A user's function as its program; equal to each other function with an equal program.

    JAX knows a function by its identity, so a lambda that is written where a network is measured
    would be compiled anew at every call. Its code cannot stand for it, since a global that it reads
    may have changed; what was traced of it can.
    """

    program: TracedProgram  # of its arguments as they were when it was traced
    # For arguments of other types, such as wider floats.
    f: Callable[..., Any] = field(repr=False, compare=False)

    @classmethod
    def of(cls, f: Callable[..., Any], *types: PyTree) -> Any:
        """Trace a function; return it as it is where its program cannot be compared."""
        is_known = isinstance(f, cls) and f.is_of(types)
        if is_known or not all(hasattr(v, "dtype") for v in jax.tree.leaves(types)):
            return f
        # It may take other things than arrays, close over arrays that are traced, or fail, which
        # whoever measures with it will say.
        try:
            program = TracedProgram.of(lambda _, given: f(*given), (), types)
        except Exception:
            return f
        return cls(program, f) if sum(map(len, program.constants)) <= MOST_BYTES else f

    def __call__(self, *given: PyTree) -> Any:
        return self.program((), given) if self.is_of(given) else self.f(*given)

    def is_of(self, given: PyTree) -> bool:
        """Tell whether the program is of arguments of these types."""
        types = [(v.shape, v.dtype) for v in jax.tree.leaves(given)]
        return types == [(v.shape, v.dtype) for v in self.program.closed.in_avals]

    @property
    def output(self) -> Any:
        """The types of what the program returns."""
        types = map(struct, self.program.closed.out_avals)
        return jax.tree.unflatten(self.program.structure, types)


def is_random(jaxpr: core.Jaxpr) -> bool:
    """Tell whether a program makes random bits, or those in it do."""
    return any(
        eqn.primitive.name in RANDOM or any(map(is_random, core.jaxprs_in_params(eqn.params)))
        for eqn in jaxpr.eqns
    )


def chances_in(jaxpr: core.Jaxpr, given: Sequence[Any] = ()) -> Iterator[float]:
    """Yield the chances with which a program draws True, as dropout does, where they are known."""
    known = dict(zip(jaxpr.invars, given, strict=False))
    for eqn in jaxpr.eqns:
        name, inner = eqn.params.get("name"), [*core.jaxprs_in_params(eqn.params)]
        values = [v.val if isinstance(v, core.Literal) else known.get(v) for v in eqn.invars]
        if name == "_bernoulli":
            yield from (float(v) for v in values[1:2] if v is not None)
        elif (of_numbers := OF_CHANCES.get(eqn.primitive.name)) and None not in values:
            known[eqn.outvars[0]] = of_numbers(*values)
        for program in inner if name != "_bernoulli" else ():
            yield from chances_in(program, values if len(inner) == 1 else ())


def _rules(closed: Jaxpr) -> list[Jaxpr | str]:
    """Return the programs of the rules of the user's own, and what stands for those of JAX."""
    rules: list[Jaxpr | str] = []
    # The derivative of each function that has a rule, and not of all that is around it: that would
    # take longer than tracing the network did.
    for eqn in _with_rules(closed.jaxpr):
        if (name := name_of_rule(eqn)) is not None:
            rules.append(name)
            continue
        floats = [i for i, v in enumerate(eqn.invars) if is_float(v.aval)]

        def of_floats(*values: Array, given: list[Array], eqn: Any, floats: list[int]) -> Any:
            whole = dict(enumerate(given)) | dict(zip(floats, values, strict=True))
            return [v for v in bound(eqn, [*whole.values()]) if is_float(v)]

        def derived(given: list[Array], eqn: Any = eqn, floats: list[int] = floats) -> Any:
            of = partial(of_floats, given=given, eqn=eqn, floats=floats)
            values = [given[i] for i in floats]
            if eqn.primitive.name.startswith("custom_jvp_call"):
                return jax.jvp(of, values, values)
            made, pull = jax.vjp(of, *values)
            return pull(made)

        with suppress(Exception):  # of a rule, which the flow will say
            rules.append(jax.make_jaxpr(derived)([*map(struct, types_of(eqn.invars))]))
    return rules


def _with_rules(jaxpr: Any) -> Iterator[Any]:
    """Yield the equations that have a rule of their own, also those in loops and calls."""
    for eqn in jaxpr.eqns:
        if eqn.primitive.name.startswith(("custom_jvp_call", "custom_vjp_call")):
            yield eqn
        for program in core.jaxprs_in_params(eqn.params):
            yield from _with_rules(getattr(program, "jaxpr", program))


def _bytes(v: Numbers) -> bytes:
    if jnp.issubdtype(v.dtype, jax.dtypes.prng_key):
        v = jax.random.key_data(v)
    return np.asarray(v).tobytes()


def struct(v: ArrayOrType, axis: int = 0) -> jax.ShapeDtypeStruct:
    """Return the type of an array, with one axis brought to the front, spread as it is."""
    shape, spec = ((*u[axis : axis + 1], *u[:axis], *u[axis + 1 :]) for u in (v.shape, spec_of(v)))
    return spread_type(shape, v, spec)


def resized(v: ArrayOrType, shape: Sequence[int]) -> jax.ShapeDtypeStruct:
    """Return the type of an array of another shape, whose last axes are spread as they were."""
    first = len(v.shape) - len(shape)
    return spread_type(shape, v, spec_of(v)[first:] if first >= 0 else ())


def typed(values: PyTree) -> str:
    """Return the dtypes and shapes of a pytree of arrays in words."""
    return ", ".join(f"{v.dtype}{list(v.shape)}" for v in jax.tree.leaves(values))
