"""Cutting: a function f(params, xs) taken apart into layers, by the program that JAX traces of it.

The program is made flat: calls (jit, remat) are opened, what nothing needs is dropped. Then

    main        the steps that depend on xs, in their order
    prologue    the other steps: casts, masks, reshaped weights; a layer runs those that it needs
    product     a main step of a parameter and the state: a matrix product, a convolution, a look-up
                in a table, or a whole program (a scan, a custom rule) that takes a parameter
    place       a point between main steps where one array that depends on xs is alive, a float

A network is cut at places between two products:

    z = a @ θ      the first place after a product ends its layer,
    z = z + b      and a bias or a scale moves that end up;
    a = σ(z)       nothing else does, so that an activation belongs to the product above.

A scan over stacked parameters with one carry is no step but a run, with its body as the layer. It
needs a place at both ends. Layers are equal if their programs, traced once more each, print equal.

The axis of the examples is the one that grows in a second trace, with one example more. A state has
it first.
"""

import sysconfig
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from os.path import commonprefix
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from jax.extend.core import primitives
from jaxtyping import Array

CALLS = (primitives.jit_p, primitives.remat_p, primitives.closed_call_p, primitives.call_p)
PRODUCTS = (primitives.dot_general_p, primitives.conv_general_dilated_p, primitives.gather_p)
AFFINE = (  # what a bias or a scale is made of
    *(primitives.add_p, primitives.sub_p, primitives.mul_p, primitives.div_p, primitives.neg_p),
    *(primitives.reshape_p, primitives.squeeze_p, primitives.transpose_p, primitives.copy_p),
    *(primitives.broadcast_in_dim_p, primitives.convert_element_type_p),
)
MOST_IN_A_ROW = 3  # products in a layer that holds more than half of the network's
LIBRARIES = (
    *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    str(Path(__file__).parent),
)


class Piece(NamedTuple):
    """A layer, or a run of k layers.

    name: of its module, or the file and line of its last product.
    program: (arrays, state) -> state.
    own: its arrays; of a run (k, …), None where all layers share one.
    tied: of a run what all layers share, None elsewhere.
    trained: for each array whether it is a parameter.
    k: the length of a run; 0 for a layer.
    """

    name: str
    program: "Program"
    own: list[Any]
    tied: list[Any]
    trained: tuple[bool, ...]
    k: int


@dataclass(frozen=True)
class Program:
    """A function (arrays, state) -> state as JAX traced it; equal if text and constants are.

    text: the jaxpr as it prints.
    constants: their bytes.
    structure: of the state that comes out.
    closed: the jaxpr itself.
    """

    text: str = field(repr=False)
    constants: tuple[bytes, ...] = field(repr=False)
    structure: Any
    closed: Any = field(repr=False, compare=False)

    def __call__(self, arrays: Sequence[Array], state: Any) -> Any:
        given = jax.tree.leaves(state)
        expected = self.closed.in_avals[len(arrays) :]
        if [(v.shape, v.dtype) for v in given] != [(v.shape, v.dtype) for v in expected]:
            raise ValueError(
                "xs: expected the shapes and dtypes that the network was cut for, in this layer "
                f"{_typed(expected)}, got {_typed(given)}; cut it again with these xs"
            )
        return jax.tree.unflatten(self.structure, core.jaxpr_as_fun(self.closed)(*arrays, *given))


def cut(f: Callable[[list[Any], Any], Any], params: list[Any], xs: Any) -> list[Piece]:
    """Take a function apart.

    Args:
        f: (params, xs) -> floats, a pytree of arrays.
        params: arrays; those of a float type are its parameters.
        xs: an example batch, a pytree of arrays with the examples first.

    Returns:
        At least two layers, or a run; applied in turn they are f, for xs of these shapes.

    Raises:
        ValueError: an f that cannot be cut, with what to hand over instead.
    """
    network = _network(f, params, xs)
    ends = _ends(network)
    stretches = list(zip(ends[:-1], ends[1:], strict=True))
    _check(network, stretches)
    hearts = [_heart(network, network.main[a:b]) for a, b in stretches]
    scopes = [commonprefix([step.scope for step in heart]) for heart in hearts]
    root = len(commonprefix(scopes)) if len(scopes) > 1 else 0
    pieces = []
    for (a, b), heart, scope in zip(stretches, hearts, scopes, strict=True):
        name = "/".join(scope[root:]) or _location(heart[-1].eqn)
        piece = _run if network.is_run(a, b) else _layer
        pieces.append(piece(network, params, name, a, b))
    return pieces


# The flat program


class Step(NamedTuple):
    """An equation; its inputs are numbers of values, or literals.

    scope: the names of the modules that it is in.
    """

    eqn: Any
    inputs: tuple[Any, ...]
    outputs: tuple[int, ...]
    scope: tuple[str, ...]

    @property
    def reads(self) -> list[int]:
        """The values that go in."""
        return [v for v in self.inputs if isinstance(v, int)]


class _Flat:
    """A program without calls: a list of steps between numbered values.

    types: of the values.
    constants: those of the values that are arrays already.
    inputs, outputs: the values that go in and come out; literals may.
    """

    def __init__(self, closed: Any) -> None:
        self.types: list[Any] = []
        self.constants: dict[int, Any] = {}
        self.steps: list[Step] = []
        self.inputs = [self._value(v.aval) for v in closed.jaxpr.invars]
        self.outputs = self._inlined(closed, self.inputs, ())
        needed = {v for v in self.outputs if isinstance(v, int)}
        self.steps = _behind(needed, self.steps)[0]

    def _value(self, aval: Any) -> int:
        self.types.append(aval)
        return len(self.types) - 1

    def _inlined(self, closed: Any, inputs: Sequence[Any], scope: tuple[str, ...]) -> list[Any]:
        """Append the steps of a program; return what comes out."""
        jaxpr = getattr(closed, "jaxpr", closed)  # that of remat is an open one in JAX 0.10
        values: dict[Any, Any] = dict(zip(jaxpr.invars, inputs, strict=True))
        for v, constant in zip(jaxpr.constvars, getattr(closed, "consts", ()), strict=True):
            values[v] = self._value(v.aval)
            self.constants[values[v]] = constant

        def read(v: Any) -> Any:
            return v if isinstance(v, core.Literal) else values[v]

        for eqn in jaxpr.eqns:
            given, names = tuple(map(read, eqn.invars)), (*scope, *_scope(eqn))
            if eqn.primitive in CALLS:
                inner = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
                out = self._inlined(inner, given, names)
            else:
                out = [self._value(v.aval) for v in eqn.outvars]
                self.steps.append(Step(eqn, given, tuple(out), names))
            values.update(zip(eqn.outvars, out, strict=True))
        return list(map(read, jaxpr.outvars))


def _behind(values: Iterable[int], steps: list[Step]) -> tuple[list[Step], set[int]]:
    """Return the steps that make values, in their order, and all values that go into them."""
    needed, chosen = set(values), []
    for step in reversed(steps):
        if not needed.isdisjoint(step.outputs):
            needed.update(step.reads)
            chosen.append(step)
    return chosen[::-1], needed


# What may be cut


@dataclass
class _Network:
    """A flat program seen as a network.

    flat: the program, of params and xs.
    params: how many of its inputs are params.
    into, out: the structures of xs and of the output.
    main, prologue: the steps that depend on xs, and the others.
    dependent: the values that depend on xs.
    parameters: those that depend on params of a float type, and not on xs.
    axes: the axis of the examples, of those that have one.
    places: the one value alive before main step i, or after the last, by i.
    """

    flat: _Flat
    params: int
    into: Any
    out: Any
    main: list[Step] = field(default_factory=list)
    prologue: list[Step] = field(default_factory=list)
    dependent: set[int] = field(default_factory=set)
    parameters: set[int] = field(default_factory=set)
    axes: dict[int, int] = field(default_factory=dict)
    places: dict[int, int] = field(default_factory=dict)

    def sort(self) -> None:
        """Tell main steps from the prologue, and what depends on what."""
        inputs, types = self.flat.inputs, self.flat.types
        self.dependent.update(inputs[self.params :])
        self.parameters.update(v for v in inputs[: self.params] if _is_float(types[v]))
        for step in self.flat.steps:
            if not self.dependent.isdisjoint(step.reads):
                self.main.append(step)
                self.dependent.update(step.outputs)
                continue
            self.prologue.append(step)
            if not self.parameters.isdisjoint(step.reads):
                self.parameters.update(step.outputs)

    def find_places(self) -> None:
        """Walk over the main steps with the set of the values alive."""
        end = len(self.main)
        last = {v: i for i, step in enumerate(self.main) for v in step.reads}
        last |= {v: end for v in self.flat.outputs if isinstance(v, int)}
        alive = {v for v in self.flat.inputs[self.params :] if v in last}
        for i in range(end + 1):
            (*others, v) = alive or (-1,)
            if not others and v in self.axes and _is_float(self.flat.types[v]):
                self.places[i] = v
            if i < end:
                born = {v for v in self.main[i].outputs if v in last}
                alive = {v for v in alive | born if last[v] > i}
        plain = jax.tree.structure(0) == self.out
        if not plain or self.axes.get(self.places.get(end, -1)) != 0:
            self.places.pop(end, None)  # the output is what f returns, and no state

    def is_product(self, step: Step) -> bool:
        """Tell products of a parameter and the state."""
        primitive = step.eqn.primitive
        product = primitive in PRODUCTS or primitive.name.startswith("ragged_dot")
        if self.parameters.isdisjoint(step.reads):
            return False
        return product or any(True for _ in core.jaxprs_in_params(step.eqn.params))

    def is_bias(self, steps: list[Step]) -> bool:
        """Tell whether steps add a parameter to one value, or scale it."""
        return any(not self.parameters.isdisjoint(step.reads) for step in steps) and all(
            step.eqn.primitive in AFFINE and len(self.dependent.intersection(step.reads)) == 1
            for step in steps
        )

    def is_run(self, a: int, b: int) -> bool:
        """Tell whether main steps a … b are a scan with one carry, and a state at both ends."""
        step = self.main[a]
        if b != a + 1 or step.eqn.primitive != primitives.scan_p:
            return False
        consts, carries = _parts_of_scan(step.eqn)
        return (
            carries == 1
            and self.places.get(a, -1) == step.inputs[consts]
            and self.places.get(b, -1) == step.outputs[0]
            and [v for v in step.reads if v in self.dependent] == [step.inputs[consts]]
        )


def _network(f: Callable[..., Any], params: list[Any], xs: Any) -> _Network:
    """Trace a function twice, and find its places."""
    closed, shape = jax.make_jaxpr(f, return_shape=True)(params, xs)
    network = _Network(
        _Flat(closed), len(params), jax.tree.structure(xs), jax.tree.structure(shape)
    )
    network.sort()
    outputs = [v for v in network.flat.outputs if isinstance(v, int)]
    if not any(_is_float(v) for v in closed.out_avals):
        raise ValueError(
            f"f: expected f(params, xs) to return floats, got {_typed(closed.out_avals) or 'none'}"
        )
    if network.dependent.isdisjoint(outputs):
        raise ValueError("f: expected an output that depends on xs, got one that does not")
    network.axes.update(_axes(f, params, xs, network.flat))
    network.find_places()
    return network


def _axes(f: Callable[..., Any], params: list[Any], xs: Any, flat: _Flat) -> dict[int, int]:
    """Return the axis of the examples of each value that has one.

    Where f does not take one example more, or is another program then, it is the first axis, of
    the values for which that has the right length.
    """
    count = len(jax.tree.leaves(xs)[0])
    more = jax.tree.map(lambda v: jax.ShapeDtypeStruct((count + 1, *v.shape[1:]), v.dtype), xs)
    shapes = [getattr(t, "shape", ()) for t in flat.types]
    try:
        grown = [getattr(t, "shape", ()) for t in _Flat(jax.make_jaxpr(f)(params, more)).types]
        same = list(map(len, shapes)) == list(map(len, grown))
    except Exception:  # of a user's own function, which need not take it
        same = False
    if not same:
        return {v: 0 for v, shape in enumerate(shapes) if shape[:1] == (count,)}
    axes = {}
    for v, (shape, other) in enumerate(zip(shapes, grown, strict=True)):
        differing = [i for i, (m, n) in enumerate(zip(shape, other, strict=True)) if m != n]
        if [(shape[i], other[i]) for i in differing] == [(count, count + 1)]:
            axes[v] = differing[0]
    return axes


def _ends(network: _Network) -> list[int]:
    """Return where layers begin, in main steps, and where the last one ends."""
    runs = [i for i in range(len(network.main)) if network.is_run(i, i + 1)]
    bounds = sorted({0, len(network.main), *runs, *(i + 1 for i in runs)})
    ends = [*bounds]
    for a, b in zip(bounds[:-1], bounds[1:], strict=True):
        above, some = a, False  # the end of the last product's layer, if there was some
        for i in [*(i for i in sorted(network.places) if a < i < b), b]:
            between = network.main[above:i]
            if any(map(network.is_product, between)):
                if some:
                    ends.append(above)
                above, some = i, True
            elif some and network.is_bias(between):
                above = i
    return sorted(ends)


# One layer


def _heart(network: _Network, steps: list[Step]) -> list[Step]:
    """Return the products among steps; without any, the last step."""
    return [step for step in steps if network.is_product(step)] or steps[-1:]


def _layer(network: _Network, params: list[Any], name: str, a: int, b: int) -> Piece:
    """Return main steps a … b as a layer, which runs its prologue too."""
    flat, steps = network.flat, network.main[a:b]
    first, last = a == 0, b == len(network.main)
    into = flat.inputs[network.params :] if first else [network.places[a]]
    out = flat.outputs if last else [network.places[b]]
    needs = {v for step in steps for v in step.reads} | {v for v in out if isinstance(v, int)}
    prologue, behind = _behind(needs, network.prologue)
    used = [i for i, v in enumerate(flat.inputs[: network.params]) if v in behind]

    def run(arrays: list[Array], state: Any) -> Any:
        values = dict(flat.constants)
        values.update(zip(used, arrays, strict=True))
        given = jax.tree.leaves(state)
        if not first:
            given = [jnp.moveaxis(given[0], 0, network.axes[into[0]])]
        values.update(zip(into, given, strict=True))
        _evaluate([*prologue, *steps], values)
        made = [values[v] if isinstance(v, int) else v.val for v in out]
        if last:
            return jax.tree.unflatten(network.out, made)
        return jnp.moveaxis(made[0], network.axes[out[0]], 0)

    own = [params[i] for i in used]
    if first:
        state = jax.tree.unflatten(network.into, [_struct(flat.types[v]) for v in into])
    else:
        state = _struct(flat.types[into[0]], network.axes[into[0]])
    trained = tuple(_is_float(flat.types[v]) for v in used)
    return Piece(name, _program(run, own, state), own, [None] * len(own), trained, 0)


def _run(network: _Network, params: list[Any], name: str, a: int, b: int) -> Piece:
    """Return the scan at main step a as a run of its body."""
    flat, step = network.flat, network.main[a]
    eqn = step.eqn
    consts, _ = _parts_of_scan(eqn)
    body, k = eqn.params["jaxpr"], eqn.params["length"]
    axis = network.axes[network.places[a]]

    def run(arrays: list[Array], state: Any) -> Any:
        carry = jnp.moveaxis(state, 0, axis)
        out = core.jaxpr_as_fun(body)(*arrays[:consts], carry, *arrays[consts:])
        return jnp.moveaxis(out[0], axis, 0)

    given = [*step.inputs[:consts], *step.inputs[consts + 1 :]]
    arrays = _prepared(network, params, given)
    layers = [jnp.flip(v, 0) if eqn.params["reverse"] else v for v in arrays[consts:]]
    shared = [jax.ShapeDtypeStruct(jnp.shape(v), v.dtype) for v in arrays[:consts]]
    one = [jax.ShapeDtypeStruct(v.shape[1:], v.dtype) for v in layers]
    program = _program(run, [*shared, *one], _struct(flat.types[network.places[a]], axis))
    trained = tuple(
        v in network.parameters and _is_float(array) for v, array in zip(given, arrays, strict=True)
    )
    own, tied = [*[None] * consts, *layers], [*arrays[:consts], *[None] * len(layers)]
    return Piece(name, program, own, tied, trained, k)


def _prepared(network: _Network, params: list[Any], values: list[Any]) -> list[Any]:
    """Return values of the prologue as arrays; params are as they were given."""
    flat = network.flat
    prologue, _ = _behind((v for v in values if isinstance(v, int)), network.prologue)
    made = [v for v in values if isinstance(v, int) and v not in flat.inputs]

    @jax.jit
    def run(params: list[Array]) -> list[Array]:
        env = {**flat.constants, **dict(enumerate(params))}
        _evaluate(prologue, env)
        return [env[v] for v in made]

    known = {**dict(enumerate(params)), **dict(zip(made, run(params) if made else (), strict=True))}
    return [known[v] if isinstance(v, int) else jnp.asarray(v.val) for v in values]


def _program(run: Callable[..., Any], arrays: list[Any], state: Any) -> Program:
    """Trace a layer.

    Of a function with a rule of the user's own JAX prints the function, not the rule: then the vjp
    of the layer belongs to the text.
    """
    closed, shape = jax.make_jaxpr(run, return_shape=True)(arrays, state)
    programs = [closed]
    if any(rule in str(closed) for rule in ("custom_jvp_call", "custom_vjp_call")):
        programs += _with_rules(closed)
    constants = tuple(_bytes(v) for program in programs for v in program.consts)
    return Program("".join(map(str, programs)), constants, jax.tree.structure(shape), closed)


def _with_rules(closed: Any) -> list[Any]:
    """Return the program of the vjp; none of what has no vjp, which the flow will say."""
    floats = [i for i, v in enumerate(closed.in_avals) if _is_float(v)]

    def pulled(given: list[Any], delta: list[Any]) -> Any:
        def of(*values: Any) -> Any:
            whole = dict(enumerate(given)) | dict(zip(floats, values, strict=True))
            return [v for v in core.jaxpr_as_fun(closed)(*whole.values()) if _is_float(v)]

        return jax.vjp(of, *(given[i] for i in floats))[1](delta)

    delta = [_struct(v) for v in closed.out_avals if _is_float(v)]
    try:
        return [jax.make_jaxpr(pulled)([_struct(v) for v in closed.in_avals], delta)]
    except Exception:  # of a while_loop, or of a user's own rule
        return []


# What cannot be cut


def _check(network: _Network, stretches: list[tuple[int, int]]) -> None:
    """Raise unless there are layers enough, none of them nearly the whole network."""
    main = network.main
    if not any(map(network.is_product, main)):
        raise ValueError(
            "f: found no product of xs with params; hand over the network's weights in params, "
            "none of them closed over"
        )
    if len(stretches) == 1 and network.is_run(*stretches[0]):
        return
    depths = [_in_a_row(network, main[a:b]) for a, b in stretches]
    deepest = max(depths)
    enough = deepest <= MOST_IN_A_ROW or 2 * deepest <= sum(depths)
    if len(stretches) > 1 and enough:
        return
    a, b = stretches[depths.index(deepest)]
    heart = _heart(network, main[a:b])
    scans = [step.eqn for step in heart if step.eqn.primitive == primitives.scan_p]
    if scans and deepest == 1:
        raise ValueError(
            f"f: found one layer, a scan of {scans[0].params['length']} steps at "
            f"{_location(scans[0])} that carries {_parts_of_scan(scans[0])[1]} arrays, takes data "
            "of xs, or returns something of each step; hand over a list of layers, the scan as "
            "jaxnn.Run(body, params, k) with a state that holds all it carries"
        )
    if deepest == 1:
        raise ValueError(
            f"f: found one layer, at {_location(heart[0].eqn)}; hand over a list of layers, such "
            "as [(f, params)]"
        )
    raise ValueError(
        f"f: found no place to cut between {_location(heart[0].eqn)} and "
        f"{_location(heart[-1].eqn)}, {deepest} products in a row, since skips keep several arrays "
        "alive; hand over a list of layers whose state holds what skips them"
    )


def _in_a_row(network: _Network, steps: list[Step]) -> int:
    """Return the largest number of products of which each takes what another has made."""
    depth: dict[int, int] = {}
    for step in steps:
        below = max(depth.get(v, 0) for v in step.reads)
        depth |= dict.fromkeys(step.outputs, below + network.is_product(step))
    return max(depth.values(), default=0)


# Small things


def _is_float(v: Any) -> bool:
    return hasattr(v, "dtype") and bool(jnp.issubdtype(v.dtype, jnp.floating))


def _typed(values: Iterable[Any]) -> str:
    return ", ".join(f"{v.dtype}{list(v.shape)}" for v in values)


def _struct(aval: Any, axis: int = 0) -> jax.ShapeDtypeStruct:
    """Return the type of an array, with one axis brought to the front."""
    shape = [*aval.shape]
    if axis:
        shape.insert(0, shape.pop(axis))
    return jax.ShapeDtypeStruct(tuple(shape), aval.dtype)


def _bytes(v: Any) -> bytes:
    if jnp.issubdtype(v.dtype, jax.dtypes.prng_key):
        v = jax.random.key_data(v)
    return np.asarray(v).tobytes()


def _parts_of_scan(eqn: Any) -> tuple[int, int]:
    """Return the numbers of constants and of carries of a scan.

    Told by the shapes alone, since parameters of primitives change between versions of JAX: what a
    scan takes and returns for each step has one axis more outside than inside.
    """
    jaxpr = getattr(eqn.params["jaxpr"], "jaxpr", eqn.params["jaxpr"])

    def whole(outside: Sequence[Any], inside: Sequence[Any]) -> int:
        pairs = zip(outside, inside, strict=True)
        return sum(v.aval.shape == u.aval.shape for v, u in pairs)

    carries = whole(eqn.outvars, jaxpr.outvars)
    return whole(eqn.invars, jaxpr.invars) - carries, carries


# What JAX does not document: attributes and methods of its public equations and primitives, the
# same in JAX 0.10 and 0.12. `jax.core.eval_jaxpr` uses them so.


def _evaluate(steps: list[Step], values: dict[int, Any]) -> None:
    """Run steps; values are read and added."""
    for step in steps:
        given = [values[v] if isinstance(v, int) else v.val for v in step.inputs]
        primitive = step.eqn.primitive
        with step.eqn.ctx.manager:
            out = primitive.bind(*given, **primitive.get_bind_params(step.eqn.params))
        made = out if primitive.multiple_results else [out]
        values.update(zip(step.outputs, made, strict=True))


def _scope(eqn: Any) -> tuple[str, ...]:
    """Return the names that an equation is in, without transformations: vmap(a)/b is a, b."""
    names = str(eqn.source_info.name_stack).split("/")
    plain = (name.rsplit("(", 1)[-1].rstrip(")") for name in names)
    return tuple(name for name in plain if name)


def _location(eqn: Any) -> str:
    """Return the file and line, outside of libraries, that made an equation."""
    traceback = eqn.source_info.traceback
    for frame in traceback.frames if traceback else ():
        if not frame.file_name.startswith((*LIBRARIES, "<")):
            return f"{Path(frame.file_name).name}:{frame.line_num}"
    return eqn.primitive.name
