"""The walk: up through the layers and down again. It knows layers, runs and depth, and no formula.

    up      z[0] = x, z[i+1] = forward(z[i])             keeping every z[i] on the way
    down    Δz[L], (Δ(θ, b)[i], Δz[i]) = backward(z[i], Δz[i+1])

A layer's block says what it computes (`blocks`), and the rows with which kind of numbers
(`arrays/rows.py`). The caller's `keep` says what is recorded on the way down. So `backprop`,
`deltas` and `gradient_flow` are one walk, with other rows and another `keep`.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree

from ..arrays.loops import barrier, entry, loop, match_carry_type, with_entry
from ..arrays.rows import (
    ZERO_EXPONENT,
    ScaledRows,
    at_least_float32,
    in_range,
    renormalised,
    with_exponents,
    with_largest,
)
from ..arrays.spread import pcast_like, zeros
from ..network.activations import ACTIVATIONS, Activation
from ..network.blocks import Block, Gradient
from ..network.checks import UsedDepth
from ..network.network import Network
from ..network.params import Layer, LazyRun, Params, Run, Stacked, is_run, layer_of, length
from ..texts import told

Memory = Literal["all", "sqrt"]


def check_memory(memory: Memory) -> Memory:
    """Return what is kept on the way up; raise unless it is known."""
    if memory not in ("all", "sqrt"):
        raise ValueError(f"memory: expected 'all' or 'sqrt', got {told(memory)}")
    return memory


@runtime_checkable
class LayerOp(Protocol):
    """A kind of layer as the walk uses it: it goes up, and down with a record."""

    def forward(self, layer: PyTree, z: ScaledRows) -> tuple[ScaledRows, Any]:
        """Return the output of one layer, and what is saved for the way down."""

    def down(
        self, layer: PyTree, saved: "Saved", delta: ScaledRows, keep: "Keep"
    ) -> tuple[ScaledRows, Any]:
        """Return Δ of what goes in, and what `keep` returns of the layer."""


class HasKinds(Protocol):
    """A network that is not of this library's blocks: it brings the kind of each layer along."""

    @property
    def kinds(self) -> Sequence[LayerOp]:
        """The kind of each layer, or of each run."""


@runtime_checkable
class StoresOnce(Protocol):
    """A kind of layer that hands parts of its state on: of a run these are stored once."""

    def stored(self, layer: PyTree, z: ScaledRows) -> tuple[bool, ...] | None:
        """Return for each leaf whether it is stored for each layer; None if all are."""

    def restored(self, layer: PyTree, z: list[Any], top: ScaledRows) -> ScaledRows:
        """Return what goes into a layer, of what is stored for it and of the output of the run."""


class BlockOp(NamedTuple):
    """The kind of a Layer: a block and its activation; the first takes x."""

    block: Block
    sigma: Activation
    takes_x: bool = False

    def forward(self, layer: Layer, z: ScaledRows) -> tuple[ScaledRows, Any]:
        """Return the output of one layer, renormalised if z has exponents, and what is saved."""
        above, saved = self.block.forward(self.sigma, layer, z)
        if z.e is None:
            return above, saved
        # Not every block does it: past a skip connection the exponents do not follow what shrinks.
        return renormalised(with_exponents(above)), _with_exponents(saved)

    def down(
        self, layer: Layer, saved: "Saved", delta: ScaledRows, keep: "Keep"
    ) -> tuple[ScaledRows, Any]:
        """Return Δ of the z that goes in, and what is recorded."""
        delta, largest = (delta, None) if delta.e is None else with_largest(delta)
        gradient, below = self.block.backward(self.sigma, layer, saved.z, saved.extra, delta)
        return below, keep(LayerStep(self, layer, saved.z, delta, largest, gradient))


def _with_exponents(tree: PyTree) -> Any:
    """Add exponents to all rows of a tree."""
    return jax.tree.map(
        lambda v: with_exponents(v) if isinstance(v, ScaledRows) else v,
        tree,
        is_leaf=lambda v: isinstance(v, ScaledRows),
    )


class Numbered(NamedTuple):
    """A layer, and the number of its kind in a `Mixed`."""

    which: Any
    layer: Any


class Mixed(NamedTuple):
    """The kind of a `Numbered`: one of several, of a run whose layers differ in block or σ."""

    kinds: tuple[BlockOp, ...]

    def choose(self, f: Callable[..., Any], layer: Numbered, *args: PyTree) -> Any:
        """Return f(kind, layer, *args) of the kind of a layer, which is chosen on the device."""
        # The program has each different kind once, however they alternate.
        return lax.switch(
            layer.which, [partial(f, kind) for kind in self.kinds], layer.layer, *args
        )

    def forward(self, layer: Numbered, z: ScaledRows) -> tuple[ScaledRows, Any]:
        """Return the output of one layer, and what is saved; zeros in the places of others."""
        saved_by_kind = [_saved_by(kind, layer.layer, z) for kind in self.kinds]
        places = {_shapes(saved): saved for saved in saved_by_kind}

        def of(kind: BlockOp, layer: Layer, z: ScaledRows) -> tuple[ScaledRows, Any]:
            above, extra = kind.forward(layer, z)
            shapes = _shapes(extra)
            return above, tuple(extra if p == shapes else _zeros(v) for p, v in places.items())

        result: tuple[ScaledRows, Any] = self.choose(of, layer, z)
        return result

    def down(
        self, layer: Numbered, saved: "Saved", delta: ScaledRows, keep: "Keep"
    ) -> tuple[ScaledRows, Any]:
        """Return Δ of the z that goes in, and what is recorded."""

        def of(kind: BlockOp, layer: Layer, saved: Saved, delta: ScaledRows) -> Any:
            shapes = _shapes(_saved_by(kind, layer, saved.z))
            extra = next(extra for extra in saved.extra if _shapes(extra) == shapes)
            return kind.down(layer, Saved(saved.z, extra), delta, keep)

        result: tuple[ScaledRows, Any] = self.choose(of, layer, saved, delta)
        return result


def _saved_by(kind: BlockOp, layer: Layer, z: ScaledRows) -> Any:
    """Return the shapes of what a kind saves of a layer, in a pytree."""
    return jax.eval_shape(kind.forward, layer, z)[1]


def _shapes(tree: PyTree) -> Any:
    """Return the structure, shapes and dtypes of a pytree, hashable."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((v.shape, v.dtype) for v in leaves)


def _zeros(tree: PyTree) -> Any:
    """Return zeros like a pytree of shapes."""
    return jax.tree.map(lambda v: pcast_like(zeros(1, v)[0], v), tree)


def kinds(net: Network) -> list[BlockOp]:
    """Return the kind of each layer of weights; x goes into the first as it is."""
    sigmas = (ACTIVATIONS["identity"], *net.activations)
    return [
        BlockOp(block, sigma, takes_x=i == 0)
        for i, (block, sigma) in enumerate(zip(net.blocks, sigmas, strict=True))
    ]


def _with_kinds(
    net: Network | HasKinds, params: tuple[Any, ...], depth: UsedDepth
) -> list[tuple[LayerOp, Any]]:
    """Return each Layer with its kind, of a network or of a chain, which brings its kinds along."""
    if not isinstance(net, Network):
        return list(zip(net.kinds, params, strict=True))
    ops, paired, i = kinds(net), [], 0
    choices: list[BlockOp] = []  # the kinds that the next layer has for 0, 1, … layers of a run
    for layer in params:
        k = length(layer) if is_run(layer) else 1
        if is_run(layer):
            paired.append(_of_run(ops[i : i + k], layer))
            sigmas = (kind.sigma for kind in ops[i : i + k + 1])
            choices = [ops[i + k]._replace(sigma=sigma) for sigma in sigmas]
        # The layer above a run takes in σ of the last layer used: with a depth that may be another.
        elif choices and depth is not None:
            paired.append(_of_depth(choices, layer, depth))
            choices = []
        else:
            paired.append((ops[i], layer))
        i += k
    return paired


def _of_run(ops: list[BlockOp], run: Run) -> tuple[LayerOp, Run]:
    """Return the kind of a run, and the run; where its layers differ they are numbered."""
    different = tuple(dict.fromkeys(ops))
    if len(different) == 1:
        return ops[0], run
    which = jnp.asarray([different.index(kind) for kind in ops])
    if isinstance(run, Layer):
        return Mixed(different), Stacked((which, run), None, _numbered, len(ops))
    return Mixed(different), Stacked((which, jnp.arange(len(ops))), run, _drawn, len(ops))


def _numbered(per_layer: tuple[Any, Layer], shared: None) -> Numbered:
    return Numbered(*per_layer)


def _drawn(per_layer: tuple[Any, Any], run: Run) -> Numbered:
    which, j = per_layer
    return Numbered(which, layer_of(run, j))


def _of_depth(choices: list[BlockOp], layer: Layer, depth: Array | int) -> tuple[LayerOp, Any]:
    """Return the kind of the layer above a run of which `depth` layers are used, and the layer."""
    different = tuple(dict.fromkeys(choices))
    if len(different) == 1 or isinstance(depth, int):
        return choices[depth if isinstance(depth, int) else 0], layer
    which = jnp.asarray([different.index(kind) for kind in choices])
    return Mixed(different), Numbered(which[depth], layer)


class Saved(NamedTuple):
    """A layer on the way up, saved for the way down."""

    z: Any  # its input, (B, n); of a run its k inputs and the last output, (k + 1, B, n)
    extra: Any  # the second result of its block's `forward`; of a run stacked, k in front
    # The output of a layer, where a kind of layer records it; of a run that stores parts of its
    # states once that of the run, and z is a list of leaves, with None for those parts.
    top: ScaledRows | None = None


class Segments(NamedTuple):
    """A run saved in a memory of √k: the input of each segment of √k layers; see `Saved`."""

    starts: Any
    top: ScaledRows | None = None


AnySaved = Any  # Saved, or Segments of a run


def up(
    net: Network | HasKinds,
    params: tuple[Any, ...],
    x: ScaledRows,
    depth: UsedDepth = None,
    memory: Memory = "all",
) -> tuple[ScaledRows, list[AnySaved]]:
    """Return z[L], and each Layer as the way down needs it, see `Saved` and `Segments`."""
    return _up(_with_kinds(net, params, depth), x, depth, memory)


def _up(
    layers: list[tuple[LayerOp, Any]], z: ScaledRows, depth: UsedDepth, memory: Memory
) -> tuple[ScaledRows, list[AnySaved]]:
    kept: list[AnySaved] = []
    saved: AnySaved
    for kind, layer in layers:
        if not is_run(layer):
            above, extra = kind.forward(layer, z)
            z, saved = above, Saved(z, extra, above if isinstance(kind, StoresOnce) else None)
        elif memory == "sqrt":
            z, saved = _up_by_segments(kind, layer, z, depth)
        else:
            z, saved = _up_run(kind, layer, z, depth)
        kept.append(saved)
    return z, kept


def up_to(
    net: Network, params: Params, kept: list[AnySaved], depth: Array
) -> tuple[ScaledRows, list[AnySaved]]:
    """Like `up`, through fewer layers of the one run, which are not computed again."""
    run = next(i for i, layer in enumerate(params) if is_run(layer))
    z = renormalised(entry(kept[run].z, depth))
    top, kept_above = _up(_with_kinds(net, params, depth)[run + 1 :], z, None, "all")
    return top, [*kept[: run + 1], *kept_above]


def _up_run(kind: LayerOp, run: Run, z: ScaledRows, depth: UsedDepth) -> tuple[ScaledRows, Saved]:
    """Return the output of a run, and what is saved of its layers."""
    used = length(run) if depth is None else depth
    if z.e is not None:
        return _up_run_in_range(kind, run, z, used)
    stored = _stored(kind, run, z)
    layer = partial(_up_layer, kind, run, stored)
    top, saved = _through(layer, length(run), used, z, _buffers(kind, run, stored, z))
    return top, saved if stored is None else saved._replace(top=top)


Flags = tuple[bool, ...] | None


def _stored(kind: LayerOp, run: Run, z: ScaledRows) -> Flags:
    """Return for each leaf of a run's states whether it is stored for each layer."""
    if not isinstance(kind, StoresOnce):
        return None
    return kind.stored(jax.eval_shape(partial(layer_of, run), 0), z)


def _of_layer(z: PyTree, stored: Flags) -> Any:
    """Return what is stored of a state for each layer."""
    if stored is None:
        return z
    return [
        v if is_stored else None for v, is_stored in zip(jax.tree.leaves(z), stored, strict=True)
    ]


def saved_at(kind: LayerOp, layer: PyTree, z: PyTree, top: ScaledRows | None) -> ScaledRows:
    """Return what goes into a layer of a run, given its entry of what is saved."""
    if top is None or not isinstance(kind, StoresOnce):
        rows: ScaledRows = z
        return rows
    return kind.restored(layer, z, top)


def _up_layer(
    kind: LayerOp, run: Run, stored: Flags, j: Array, z: ScaledRows
) -> tuple[ScaledRows, Saved]:
    """Return the output of layer j of a run, and what is saved."""
    above, extra = kind.forward(layer_of(run, j), z)
    # The output, not z: XLA would copy z, which the loop overwrites. z is in the place before.
    return above, Saved(_of_layer(above, stored), extra)


def _buffers(kind: LayerOp, run: Run, stored: Flags, z: ScaledRows) -> Saved:
    """Return buffers for what is saved of a run; every place of z holds the input of the run."""
    k, extra = length(run), jax.eval_shape(partial(_up_layer, kind, run, stored), 0, z)[1].extra
    places = jax.tree.map(lambda v: jnp.broadcast_to(v, (k + 1, *v.shape)), _of_layer(z, stored))
    return Saved(places, jax.tree.map(partial(zeros, k), extra))


def scan_up(
    net: Network | HasKinds,
    params: tuple[Any, ...],
    state: PyTree,
    step: Callable[[Any, Any, Any], tuple[Any, Any]],
    depth: UsedDepth = None,
) -> tuple[Any, list[Any]]:
    """Go up, and return the output of the last layer and a record of each, for a run stacked.

    Nothing else is stored. JAX can differentiate it, in reverse mode unless `depth` is data.
    """
    records: list[Any] = []
    for kind, layer in _with_kinds(net, params, depth):
        of_layer = partial(kind.choose, step) if isinstance(kind, Mixed) else partial(step, kind)
        if is_run(layer):
            state, record = _along_run(of_layer, layer, state, depth)
        else:
            state, record = of_layer(layer, state)
        records.append(record)
    return state, records


def _along_run(
    step: Callable[[Any, Any], tuple[Any, Any]], run: PyTree, state: PyTree, depth: UsedDepth
) -> tuple[Any, Any]:
    """Go through a run: by a scan where it can be, which JAX differentiates in reverse mode."""

    def layer(j: Array | int, state: PyTree) -> tuple[Any, Any]:
        return step(layer_of(run, j), state)

    if depth is not None or not isinstance(run, Layer | Stacked):
        return _through(layer, length(run), length(run) if depth is None else depth, state)
    state = match_carry_type(lambda j, state: layer(j, state)[0], 0, state)
    if isinstance(run, Layer):
        return lax.scan(lambda state, layer: step(layer, state), state, run)
    rebuild, shared = run.rebuild, run.shared
    # Weights that are tied, over steps without data, have nothing of their own to scan over.
    of_layer = partial(lax.scan, lambda state, entries: step(rebuild(entries, shared), state))
    return of_layer(state, run.per_layer, length=run.k)


Part = Callable[[Array, Any], tuple[Any, Any]]  # number j and what goes in -> what goes on, record


def _through(
    part: Part,
    count: int,
    used: Array | int,
    state: PyTree,
    records: PyTree = None,
    *,
    downwards: bool = False,
) -> tuple[Any, Any]:
    """Go through the parts used of `count`, layers or segments, with a record of each in its place.

    Records are buffers to write into, zeros by default. One of count + 1 places is written from the
    second on, and its first holds what comes into the first part.
    """

    def body(step: Array, carry: tuple[Any, Any]) -> tuple[Any, Any]:
        state, records = carry
        j = used - 1 - step if downwards else step
        state, record = part(j, state)
        return state, jax.tree.map(
            lambda at, v: with_entry(at, j + (len(at) - count), v), records, record
        )

    if records is None:
        records = jax.tree.map(partial(zeros, count), jax.eval_shape(part, 0, state)[1])
    # XLA updates records in place if the loop only writes to them, and drops those that are not
    # used.
    looped: tuple[Any, Any] = loop(0, used, body, (state, records))
    return looped


def _up_run_in_range(
    kind: LayerOp, run: Run, z: ScaledRows, used: Array | int
) -> tuple[ScaledRows, Saved]:
    """Go up a run without exponents, and again with them if its numbers do not fit."""
    # Renormalising takes a tenth of the time of a narrow network, and is seldom needed.
    k = length(run)

    def plain(j: Array, z: ScaledRows) -> tuple[ScaledRows, tuple[Saved, Array]]:
        above, saved = _up_layer(kind, run, None, j, z)
        return above, (saved, jnp.mean(jnp.square(at_least_float32(above.m)), axis=-1))

    start = ScaledRows(in_range(z))
    squares = zeros(k, jax.eval_shape(plain, 0, start)[1][1])
    buffers = _buffers(kind, run, None, start), squares
    top, (saved, squares) = _through(plain, k, used, start, buffers)
    fits = _fits(z, squares, used)
    saved = _with_exponents(saved)
    first = jax.tree.map(lambda places, v: with_entry(places, 0, v), saved.z, z)
    wide = partial(_up_layer, kind, run, None)
    again, saved = _through(wide, k, jnp.where(fits, 0, used), z, saved._replace(z=first))
    top = jax.tree.map(partial(jnp.where, fits), with_exponents(top), again)
    return renormalised(top), saved


def _fits(z: ScaledRows, squares: Float[Array, "k B"], used: Array | int) -> Array:
    """Tell whether z and the mean squares above it are well within the range of the dtype."""
    most = int(jnp.finfo(z.m.dtype).maxexp) // 3  # type: ignore[no-untyped-call]
    unused = (jnp.arange(len(squares)) >= used)[:, None]
    within = (squares > 4.0**-most) & (squares < 4.0**most)
    return jnp.all((jnp.abs(z.e) < most) | (z.e == ZERO_EXPONENT)) & jnp.all(within | unused)


def segment_size(k: int) -> int:
    """The number of layers of a run of k that are computed again at a time: √k, rounded up."""
    return math.isqrt(k - 1) + 1


def segment_of(run: Run, i: Array) -> Run:
    """Return the layers of segment i as a run; past the end, the last layer again."""
    k, size = length(run), segment_size(length(run))
    places = jnp.minimum(i * size + jnp.arange(size), k - 1)
    # It goes through them twice, and draws them once.
    if isinstance(run, LazyRun):
        return Layer(*lax.map(partial(layer_of, run), places))
    if isinstance(run, Stacked) and isinstance(run.shared, LazyRun):
        return Stacked(tuple(lax.map(partial(layer_of, run), places)), None, _numbered, size)
    return Stacked(places, run, _placed, size)  # without a copy of their numbers


def _placed(j: Array, run: Run) -> Any:
    return layer_of(run, j)


def _up_by_segments(
    kind: LayerOp, run: Run, z: ScaledRows, depth: UsedDepth
) -> tuple[ScaledRows, Segments]:
    used = length(run) if depth is None else depth
    size, stored = segment_size(length(run)), _stored(kind, run, z)

    def segment(i: Array, z: ScaledRows) -> tuple[ScaledRows, Any]:
        end = jnp.minimum((i + 1) * size, used)
        above = loop(i * size, end, lambda j, z: kind.forward(layer_of(run, j), z)[0], z)
        return above, _of_layer(z, stored)

    count = -(-length(run) // size)
    top, starts = _through(segment, count, -(-used // size), renormalised(z))
    return top, Segments(starts, None if stored is None else top)


class LayerStep(NamedTuple):
    """One layer on the way down."""

    kind: BlockOp  # what it computes
    layer: Layer  # its θ and b
    z: ScaledRows  # the rows that went into it
    delta: ScaledRows  # Δ of what came out, renormalised
    largest: Any  # Float[Array, " B"], or None
    gradient: Gradient  # its Δ(θ, b) and Δa


Keep = Callable[[Any], Any]  # of a Step, or of what another kind of layer has to say


def _unchanged(kept: PyTree) -> Any:
    return kept


def down(
    net: Network | HasKinds,
    params: tuple[Any, ...],
    kept: list[AnySaved],
    delta: ScaledRows,
    keep: Keep,
    depth: UsedDepth = None,
    of_segment: Callable[[Any], Any] = _unchanged,
) -> tuple[ScaledRows, list[Any]]:
    """Return Δx from Δz[L], and for each Layer what `keep` returns, of a run stacked."""
    records: list[Any] = []
    below = zip(_with_kinds(net, params, depth), kept, strict=True)
    for (kind, layer), saved in reversed(list(below)):
        if not is_run(layer):
            delta, record = kind.down(layer, saved, delta, keep)
        else:
            used = length(layer) if depth is None else depth
            going_down = (kind, layer, saved, used, delta, keep)
            if isinstance(saved, Segments):
                delta, record = _down_by_segments(*going_down, of_segment)
            else:
                delta, record = _down_run(*going_down)
        records.append(record)
    return delta, records[::-1]


def _down_run(
    kind: LayerOp, run: Run, saved: Saved, used: Array | int, delta: ScaledRows, keep: Keep
) -> tuple[ScaledRows, Any]:
    """Go down a run from the last layer used."""

    def layer(j: Array, delta: ScaledRows) -> tuple[ScaledRows, Any]:
        saved_below = saved._replace(top=None)
        if delta.e is None:
            return kind.down(layer_of(run, j), entry(saved_below, j), delta, keep)
        j = barrier(j)  # in a flow, whose many small kernels wait for j, and for z
        one, saved_below = layer_of(run, j), entry(saved_below, j)
        if isinstance(kind, StoresOnce) and saved.top is None:  # what it records is there already
            saved_below = saved_below._replace(top=entry(saved.z, j + 1))
        saved_below = barrier(saved_below)
        return kind.down(
            one, saved_below._replace(z=saved_at(kind, one, saved_below.z, saved.top)), delta, keep
        )

    return _through(layer, length(run), used, delta, downwards=True)


def _down_by_segments(
    kind: LayerOp,
    run: Run,
    kept: Segments,
    used: Array | int,
    delta: ScaledRows,
    keep: Keep,
    of_segment: Callable[[Any], Any],
) -> tuple[ScaledRows, Any]:
    """Like `_down_run`, from the start of each segment, whose z are computed again."""
    # √k segments of √k layers: one z[i] is stored of each, and those between of one at a time.
    k, size = length(run), segment_size(length(run))

    def segment(i: Array, delta: ScaledRows) -> tuple[ScaledRows, Any]:
        part, count = segment_of(run, i), jnp.minimum(used - i * size, size)
        start = saved_at(kind, layer_of(run, i * size), entry(kept.starts, i), kept.top)
        _, saved = _up_run(kind, part, start, count)
        delta, records = _down_run(kind, part, saved, count, delta, keep)
        return delta, of_segment(records)

    delta, records = _through(segment, -(-k // size), -(-used // size), delta, downwards=True)
    return delta, jax.tree.map(lambda v: v.reshape(-1, *v.shape[2:])[:k], records)


def at_outputs(
    params: Params, inputs: list[Any], top: PyTree, depth: UsedDepth = None
) -> list[Any]:
    """Turn what belongs to the z that go into each Layer into that of the z that come out."""
    following, outputs = top, []
    for layer, values in zip(reversed(params), reversed(inputs), strict=True):
        if not is_run(layer):
            outputs.append(following)
            following = values
            continue
        above = jnp.concatenate([values[1:], following[None]])
        if depth is None:
            following = values[0]
        else:
            place = jnp.arange(length(layer)).reshape(-1, *[1] * (above.ndim - 1))
            above = jnp.where(place == depth - 1, following[None], above)
            above = jnp.where(place < depth, above, jnp.zeros_like(above))
            following = jnp.where(depth > 0, values[0], following)
        outputs.append(above)
    return outputs[::-1]
