"""One layer of a chain: up by itself, down by its `jax.vjp`, and where its examples meet.

    down    Δstate[l-1], Δparams[l] = vjp of f[l] at state[l-1], of Δstate[l]

A cotangent is a list of arrays, those of the state's float leaves, times 2^e with one exponent e
for each array and example. After every layer the largest entry of each is brought into [1, 2). So
an array that passes a layer unchanged, such as a skip, takes no part in its vjp, however far the
sizes are apart. Δparams sums over examples: for that sum, and for Δstate where a layer lets
examples meet or their sizes are alike, rows are brought to one common exponent.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from ...arrays.loops import barrier, loop
from ...arrays.rows import (
    ZERO_EXPONENT,
    ScaledRows,
    as_reals,
    at_least_float32,
    by_rows,
    floats,
    largest_of,
    power_of_two,
    renormalised,
    with_floats,
    with_largest,
)
from ...arrays.spread import everywhere, highest, iota, pcast_like, vary_over, varying, zeros
from ...chain.chain import Link, Pattern, hint_of
from ...chain.parameter_handover import LayerWeights
from ...chain.state import riders
from ...jaxpr.example_independence import keeps_apart
from ...network.params import Stacked, is_run
from ...passes.walk import AnySaved, Keep, Saved, saved_at
from ...recognition.anatomy import Anatomy, LayerNumbers
from ...recognition.skips import Skip

# Of a cotangent, to try whether it gives that part of the result; less has no room in float8.
PART = 2.0**-3
SMALL = 2**20  # numbers
NOTHING = Anatomy()
TOLERANCE = 0.05  # between the two: wide enough for 16-bit floats, far less than clipping makes


# What travels in a chain are ScaledRows to the walk: going up their m is a state, a pytree; going
# down a list of the float leaves' Δ, (B, …) each, with a list of exponents (B,).


def arrays_of(delta: ScaledRows) -> list[ScaledRows]:
    """Return the Δ of each array of a state."""
    return [ScaledRows(m, e) for m, e in zip(delta.m, delta.e, strict=True)]


def together(arrays: list[ScaledRows]) -> ScaledRows:
    """Undo `arrays_of`."""
    return ScaledRows([v.m for v in arrays], [v.e for v in arrays])


def added(v: ScaledRows, w: ScaledRows) -> ScaledRows:
    """Return the sum, each row on the larger of the two exponents."""
    common = jnp.maximum(v.e, w.e)
    left, right = (by_rows(u.m, power_of_two(u.e - common, u.m)) for u in (v, w))
    return ScaledRows(left + right, common)


# One layer


class ChainStep(NamedTuple):
    """One layer on the way down: Δ of what came out, renormalised, Δparams and what came out."""

    delta: ScaledRows
    largest: list[Float[Array, " B"]]
    theta: ScaledRows  # one exponent for the sum over examples, or one for each array
    out: Any  # the state
    mixes: Array | None  # None if it was not tried
    trained: list[Array]  # the parameters, complex ones as pairs of reals
    recognised: LayerNumbers = LayerNumbers()
    is_alone: bool | None = None  # of its layer
    skip: tuple[Skip, Any] | None = None  # around it, and the state that went in


@dataclass(frozen=True)
class ChainOp:
    """An entry of a chain as the walk uses it: up by its links, down by their `jax.vjp`."""

    pattern: Pattern
    anatomies: tuple[Anatomy, ...]  # of the links' programs
    times: int = 1  # how often the links are repeated, in a run
    is_top: bool = False  # the last one, where the way down begins
    is_alone: bool = False  # in no run, so that its program serves it alone

    @property
    def is_layer(self) -> bool:
        """True if it is recorded; a conversion between two states is not."""
        return not self.pattern.between

    @property
    def keeps_rule(self) -> bool:
        """True if its reverse rule is saved on the way up, with what that needs."""
        # A single layer where the way turns: else it would be computed up twice.
        return self.is_top and self.is_alone and len(self.pattern.links) == 1

    def forward(self, layer: LayerWeights, z: PyTree) -> tuple[Any, "_Vjp | None"]:
        """Return the state that comes out, as ScaledRows, and its reverse rule if that is saved."""
        if self.keeps_rule:
            vjp = _vjp(self.pattern.links[0], layer.arrays[0], z.m, self.anatomies[0])
            return ScaledRows(vjp.out), vjp
        state = z.m
        for link, arrays in zip(self.pattern.links, layer.arrays, strict=True):
            state = applied(link, arrays, state)
        return ScaledRows(state), None

    def down(self, layer: LayerWeights, saved: Saved, delta: Any, keep: Keep) -> tuple[Any, Any]:
        """Return Δ of the state that went in, and what is recorded of each link."""
        if not self.is_top:
            # Else XLA would keep, from the way up, what the reverse rules of all layers need.
            saved, delta = barrier((saved, delta))
        states = self.states(layer, saved.z.m)
        records = []
        known = [None] * len(layer.arrays) if layer.mixes is None else layer.mixes
        above = [*states[1:], None if saved.top is None else saved.top.m]
        of_links = self.pattern.links, layer.arrays, known, states, above, self.anatomies
        for link, arrays, mixes, state, out, anatomy in reversed([*zip(*of_links, strict=True)]):
            vjp = saved.extra if self.keeps_rule else _vjp(link, arrays, state, anatomy)
            delta, step = _pulled(vjp, mixes, delta, self.is_alone and vjp.is_small)
            out = vjp.out if out is None else out  # computed again, its last product would be too
            # Recorded after it: at the same time both would need their memory.
            delta, out, state, logits = barrier((delta, out, state, vjp.logits))
            recognised = anatomy.numbers(arrays, state, logits)
            step = step._replace(out=out, recognised=recognised, is_alone=self.is_alone)
            if anatomy.skip is not None:
                step = step._replace(skip=(anatomy.skip, state))
            records += [keep(step)] if self.is_layer else []
        return delta, tuple(records[::-1])

    def stored(self, layer: LayerWeights, z: ScaledRows) -> tuple[bool, ...] | None:
        """Return for each leaf of a run's states whether it is stored for each layer."""
        changes: list[bool] = []

        def of(layer: LayerWeights, z: ScaledRows) -> Any:
            above, _ = self.forward(layer, z)
            pairs = zip(jax.tree.leaves(z.m), jax.tree.leaves(above.m), strict=True)
            changes[:] = [v is not w for v, w in pairs]
            return above

        jax.eval_shape(of, layer, z)
        ridden = len(jax.tree.leaves(riders(z.m)))
        filled = {leaf for link in self.pattern.links for leaf, _ in link.filled.leaves}
        # Once for all layers are stored riders, what every layer hands on as it is, and arrays of
        # which every layer fills a place.
        is_inner = [
            changes[i] and i < len(changes) - ridden and i not in filled
            for i in range(len(changes))
        ]
        return None if all(is_inner) else tuple(is_inner)

    def restored(self, layer: LayerWeights, z: list[Any], top: ScaledRows) -> ScaledRows:
        """Return the state that goes into a layer of a run, see `stored`."""
        leaves, structure = jax.tree.flatten(top)
        whole = [v if stored is None else stored for stored, v in zip(z, leaves, strict=True)]
        # Of what layers fill, the places of this one and of those above are still empty.
        filled = self.pattern.links[0].filled
        for leaf, axis in filled.leaves:
            place = layer.arrays[0][0][filled.place]
            at = jnp.arange(whole[leaf].shape[axis], dtype=place.dtype)
            is_below = at > place if filled.downwards else at < place
            shape = [-1 if i == axis else 1 for i in range(whole[leaf].ndim)]
            empty = jnp.zeros_like(whole[leaf])
            whole[leaf] = jnp.where(is_below.reshape(shape), whole[leaf], empty)
        rows: ScaledRows = jax.tree.unflatten(structure, whole)
        return rows

    def states(self, layer: LayerWeights, state: PyTree) -> list[Any]:
        """Return the state that goes into each link."""
        states = [state]
        for link, arrays in zip(self.pattern.links[:-1], layer.arrays, strict=False):
            states.append(applied(link, arrays, states[-1]))
        return states


def applied(link: Link, arrays: PyTree, state: PyTree) -> Any:
    """Call a layer; what goes wrong in it carries its name."""
    try:
        return link(arrays, state)
    except Exception as error:
        takes_batches = not any(part.each for part in link.parts)
        hint = hint_of(link, arrays, state, error, may_be_one=takes_batches)
        if hint is None:
            error.add_note(f"This is in layer {link.label} of the chain.")
            raise
        raise ValueError(f"layer {link.label}: {hint}") from error


class _Vjp(NamedTuple):
    """The reverse rule of one layer, at one state."""

    out: Any  # the state that comes out
    # For each float of it the number of the float that goes in and is it, unchanged; else None.
    passed: list[int | None]
    made: list[Array]  # the other floats
    # Δ of those made -> Δ of the parameters, and of the floats that go in.
    pull: Callable[[list[Array]], tuple[list[Array], list[Array]]]
    trained: list[Array]  # the parameters
    entering: list[Array]  # the floats that go in
    logits: dict[int, Array]  # of attention in it, see `Anatomy.call`

    @property
    def is_small(self) -> bool:
        """True if adding up Δ of the parameters takes less than compiling a program does."""
        return sum(v.size for v in self.trained) <= SMALL

    def zeros(self) -> tuple[list[Array], list[Array]]:
        """Return what `pull` returns, of zeros."""
        trained, entering = ([zeros(1, v)[0] for v in vs] for vs in (self.trained, self.entering))
        return trained, entering


def _vjp(link: Link, arrays: PyTree, state: PyTree, anatomy: Anatomy = NOTHING) -> _Vjp:
    trained = [[v for v, t in zip(vs, ts, strict=True) if t] for vs, ts in with_flags(link, arrays)]
    passed: list[int | None] = []

    def of(trained: list[list[Array]], entering: list[Array]) -> tuple[list[Array], Any]:
        given = [iter(vs) for vs in trained]
        whole = [
            [next(it) if t else v for v, t in zip(vs, ts, strict=True)]
            for it, (vs, ts) in zip(given, with_flags(link, arrays), strict=True)
        ]
        out, logits = anatomy.call(partial(applied, link), whole, with_floats(state, entering))
        numbers = {id(v): i for i, v in enumerate(entering)}
        passed[:] = [numbers.get(id(v)) for v in floats(out)]
        changed = [v for v, i in zip(floats(out), passed, strict=True) if i is None]
        return changed, (out, logits)

    # Inside shard_map Δparams is that of the device's examples, as of a Network; else JAX would add
    # up those of all devices.
    apart = frozenset[Any]().union(*map(varying, jax.tree.leaves(state)))
    trained = [[vary_over(v, apart) for v in vs] for vs in trained]
    with _named(link):
        made, pull, (out, logits) = jax.vjp(of, trained, floats(state), has_aux=True)

    def named(delta: list[Array]) -> tuple[list[Array], list[Array]]:
        with _named(link):
            of_trained, below = pull(list(map(pcast_like, delta, made)))
        return list(map(as_reals, jax.tree.leaves(of_trained))), below

    reals = list(map(as_reals, jax.tree.leaves(trained)))
    return _Vjp(out, passed, made, named, reals, floats(state), logits)


@contextmanager
def _named(link: Link) -> Iterator[None]:
    """Say which layer cannot be differentiated backwards."""
    try:
        yield
    except ValueError as error:
        if "while_loop" not in str(error):
            raise
        raise ValueError(
            f"layer {link.label}: expected something that JAX can differentiate backwards, got a "
            "lax.while_loop or a loop whose length is data; use lax.scan"
        ) from None


def with_flags(link: Link, arrays: PyTree) -> list[tuple[Any, Any]]:
    """Return for each part of a link its arrays, and for each whether it is a parameter."""
    return list(zip(arrays, link.trained, strict=True))


def trained_of(link: Link, arrays: PyTree) -> list[Array]:
    """Return the arrays of a link that are parameters."""
    return [
        v
        for part, flags in with_flags(link, arrays)
        for v, is_trained in zip(part, flags, strict=True)
        if is_trained
    ]


def _pulled(
    vjp: _Vjp, mixes: Array | None, delta: ScaledRows, compact: bool
) -> tuple[ScaledRows, ChainStep]:
    """Go down one link; `compact` compiles its reverse rule once, in a loop, not at each use."""
    of_arrays = [barrier(with_largest(v)) for v in arrays_of(delta)]
    deltas, largest = [v for v, _ in of_arrays], [most for _, most in of_arrays]
    made = [i for i, at in enumerate(vjp.passed) if at is None]
    pull = _at_once if len(made) == 1 else _one_by_one if made else _of_none
    theta, below = pull(vjp, [deltas[i] for i in made], [largest[i] for i in made], mixes, compact)
    if len(made) < len(deltas):
        below = list(map(renormalised, below))
        for i, v in zip(vjp.passed, deltas, strict=True):
            if i is not None:
                below[i] = added(below[i], v)
    parts = (together(deltas), largest, theta, vjp.out, mixes, vjp.trained)
    return together(below), ChainStep(*parts)


_Pulled = tuple[ScaledRows, list[ScaledRows]]  # Δparams, and Δ of what goes in


def _at_once(
    vjp: _Vjp, deltas: list[ScaledRows], largest: list[Array], mixes: Array | None, compact: bool
) -> _Pulled:
    """Pull arrays that share their exponents."""
    m, e, most = [v.m for v in deltas], deltas[0].e, _most(largest)
    common = highest(jnp.max(e))
    scale = power_of_two(e - common, at_least_float32(most))
    if mixes is None:  # not tried: all examples together
        theta, below = vjp.pull(by_rows(m, scale))
        exponent = jnp.full_like(e, common)
        return ScaledRows(theta, common), [ScaledRows(v, exponent) for v in below]
    # One vjp less where examples are alike: a tenth of the time of a flow.
    lowest = -highest(jnp.max(jnp.where(most == 0, ZERO_EXPONENT, -e)))
    one = mixes | (common - lowest <= _room(m))
    if compact:

        def pull(i: Array, before: Any) -> tuple[list[Array], list[Array]]:
            theta, below = vjp.pull(by_rows(m, jnp.where(i == 0, scale, 1)))
            chosen = zip(theta, before[0], strict=True)
            return [jnp.where(i == 0, v, first) for v, first in chosen], below

        theta, below = loop(0, jnp.where(one, 1, 2), pull, vjp.zeros())
    else:
        theta, aligned = vjp.pull(by_rows(m, scale))
        below = jax.lax.cond(one, lambda: aligned, lambda: vjp.pull(m)[1])
    exponent = jnp.where(one, common, e)
    return ScaledRows(theta, common), [ScaledRows(v, exponent) for v in below]


def _most(values: list[Array]) -> Array:
    dtype = reduce(jnp.promote_types, (v.dtype for v in values))
    return reduce(jnp.maximum, (v.astype(dtype) for v in values))


def _one_by_one(
    vjp: _Vjp, deltas: list[ScaledRows], largest: list[Array], mixes: Array | None, compact: bool
) -> _Pulled:
    """Pull several arrays together where their sizes allow it, else each with the others zero."""
    exponents = jnp.stack([v.e for v in deltas])
    joint = jnp.max(exponents, axis=0)
    near = [
        jnp.all((joint - v.e <= _room([v.m])) | (size == 0))
        for v, size in zip(deltas, largest, strict=True)
    ]
    alike = everywhere(jnp.all(jnp.stack(near)))

    def part(i: Array) -> _Pulled:
        chosen = [alike | (i == j) for j in range(len(deltas))]
        e = jnp.where(alike, joint, exponents[i])
        scales = [
            jnp.where(choice, power_of_two(v.e - e, at_least_float32(size)), 0)
            for v, size, choice in zip(deltas, largest, chosen, strict=True)
        ]
        rows = [ScaledRows(by_rows(v.m, scale), e) for v, scale in zip(deltas, scales, strict=True)]
        sizes = [jnp.where(scale > 0, size, 0) for size, scale in zip(largest, scales, strict=True)]
        theta, below = _at_once(vjp, rows, sizes, mixes, compact)
        zero = [jnp.all(v == 0) for v in theta.m]
        of_arrays = [jnp.where(is_zero, ZERO_EXPONENT, theta.e) for is_zero in zero]
        # Stored, for XLA takes seconds to fold the largest entry of zeros, of what is not used.
        return ScaledRows(theta.m, of_arrays), list(map(renormalised, barrier(below)))

    def more(i: Array, total: _Pulled) -> _Pulled:
        theta, below = part(i)
        parameters = zip(arrays_of(total[0]), arrays_of(theta), strict=True)
        whole = together([added(v, w) for v, w in parameters])
        return whole, [added(v, w) for v, w in zip(total[1], below, strict=True)]

    stop = jnp.where(alike, 1, len(deltas))
    if not compact:
        return loop(1, stop, more, part(jnp.zeros((), jnp.int32)))
    theta, below = vjp.zeros()
    none = together([ScaledRows(v, jnp.array(ZERO_EXPONENT, jnp.int32)) for v in theta])
    return loop(
        0, stop, more, (none, [ScaledRows(v, jnp.full_like(joint, ZERO_EXPONENT)) for v in below])
    )


def _of_none(
    vjp: _Vjp, deltas: list[ScaledRows], largest: list[Array], mixes: Array | None, compact: bool
) -> _Pulled:
    """Return the zeros of a layer in which everything passes."""
    del deltas, largest, mixes, compact
    theta, below = vjp.zeros()
    rows = [ScaledRows(v, jnp.zeros(len(v), jnp.int32)) for v in below]
    return ScaledRows(theta, jnp.zeros((), jnp.int32)), rows


def _room(delta: list[Array]) -> int:
    """Return how far below the largest exponent that of a row may be to share it; float32: 7."""
    infos = [jnp.finfo(v.dtype) for v in delta]  # type: ignore[no-untyped-call]
    return int(-max(int(info.minexp) for info in infos) / 16)


def tried(vjp: _Vjp, state: PyTree) -> tuple[Array, Array]:
    """Return whether examples meet in a link, and whether its reverse rule at a state is linear."""
    entering = floats(state)
    if not entering:
        return jnp.array(False), jnp.array(True)
    # Three vjps tell, a third of the time of a layer: they are left out where its program tells.
    if keeps_apart(lambda delta: vjp.pull(delta)[1], vjp.made):
        return jnp.array(False), jnp.array(True)
    half = half_of(len(entering[0]))
    probe = [jnp.cos(_numbers(v)).astype(v.dtype) for v in vjp.made]

    def pulled(sizes: Array) -> list[Array]:
        of_rows = jnp.where(half, sizes[0], sizes[1])
        below: list[Array] = vjp.pull([by_rows(v, of_rows) for v in probe])[1]
        return below

    # A loop: compiled once. Examples may meet in one direction alone, as where a batch norm is in
    # a branch that is dropped for some of them.
    sizes = jnp.array([[1, 0], [PART, 0], [0, 1]], jnp.float32)
    several = jax.lax.map(pulled, sizes)
    whole, part, other = ([at_least_float32(v[i]) for v in several] for i in range(3))
    mixes = ~everywhere(~jnp.any(jnp.where(half, largest_of(other), largest_of(whole)) > 0))
    off = largest_of([p / PART - w for p, w in zip(part, whole, strict=True)])
    # nan is no number, which the flow says, and no sign of clipping.
    return mixes, ~(jnp.max(off) > TOLERANCE * jnp.max(largest_of(whole)))


def _numbers(like: Array) -> Array:
    """Return 0, 1, … for the entries of an array, spread as it is."""
    strides = np.cumprod([1, *like.shape[:0:-1]])[::-1]
    return reduce(jnp.add, (iota(like, i) * float(s) for i, s in enumerate(strides)))


def half_of(count: int) -> Any:
    """Return half of the examples: those with an even number of ones in their binary number."""
    # Unlike every second one, this half holds no example's neighbours at any fixed distance.
    ones = [i.bit_count() for i in range(count)]
    return np.equal(np.array(ones) % 2, 0)


# A layer of the chain, or a run


def with_mixes(kind: ChainOp, layer: Any, kept: AnySaved) -> tuple[Any, Array]:
    """Return a layer that knows where its examples meet, and whether its rules are linear."""
    z = kept.z if isinstance(kept, Saved) else kept.starts

    def of(one: LayerWeights, state: PyTree, vjp: _Vjp | None = None) -> tuple[Array, Array]:
        links = zip(kind.pattern.links, one.arrays, kind.states(one, state), strict=True)
        rules = [(vjp or _vjp(*link), link[-1]) for link in links]
        mixes, linear = zip(*(tried(*rule) for rule in rules), strict=True)
        return jnp.stack(mixes), jnp.stack(linear)

    if not is_run(layer):
        mixes, linear = of(layer, z.m, kept.extra)
        return LayerWeights(layer.arrays, mixes), linear
    first = jax.tree.map(lambda v: v[0], z)
    state = saved_at(kind, layer.at(0), first, kept.top).m
    if all(jnp.issubdtype(v.dtype, jnp.inexact) for v in jax.tree.leaves(layer.per_layer)):
        mixes, linear = of(_average(layer), state)
    else:  # integers, such as numbers of layers or keys, have no average: every layer is tried
        mixes, linear = jax.lax.map(lambda j: of(layer.at(j), state), jnp.arange(layer.k))
        mixes, linear = jnp.any(mixes, axis=0), jnp.all(linear, axis=0)
    known = Stacked(layer.per_layer, (layer.shared, mixes), partial(_known, layer.rebuild), layer.k)
    return known, jnp.tile(linear, layer.k)


def _average(run: Stacked) -> Any:
    """Return the parameters of a layer that does whatever some layer of a run does."""
    # In one of them alone a branch may count nothing, as after a gate that is 0. These weights
    # differ, so that gates of 1 and -1 do not cancel; they are above 0, as variances are.
    weights = 1 + 0.5 * np.cos(np.arange(run.k))
    weights /= weights.sum()

    def of(v: Array) -> Array:
        wide = v.dtype if v.dtype.itemsize >= 4 else jnp.dtype(jnp.float32)
        return jnp.tensordot(jnp.asarray(weights, wide), v.astype(wide), 1).astype(v.dtype)

    return run.rebuild(jax.tree.map(of, run.per_layer), run.shared)


def _known(
    rebuild: Callable[[Any, Any], LayerWeights], per_layer: PyTree, shared: PyTree
) -> LayerWeights:
    rest, mixes = shared
    return rebuild(per_layer, rest)._replace(mixes=mixes)
