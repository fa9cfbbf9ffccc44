"""Scaling check: how sizes of states, and of what training changes, go with width and depth.

    build(width, seed)          a network and its optimiser; k steps on one batch, several seeds
    size[l], change[l]          the root mean square of state[l], and of what a step changes in it
    ln size[l] = exponent · ln width + constant     a line through all widths and seeds

Weights of variance 1/fan_in make states of one size at every width. What steps then change goes as
a power of width that depends on the optimiser. With step sizes that are the same at all widths and
in all arrays, as under standard parametrisation, to first order:

                      first layer    hidden layers    output
    SGD               width^-1/2     width^1/2        width
    Adam              1              width            width^3/2, of one hidden layer width

since a sum over a layer's units, a Δθ, adds up: Δθ = -η Δz aᵀ for SGD and -η sign for Adam, with
entries of Δz that go as width^-1/2 below the output. Under maximal-update parametrisation each
array has its own power of width in its variance and in its step size, such that all changes are of
size 1: then a step size that was found for one width is good for another. With step sizes that fall
alike in all arrays, so that the output stays of size 1, hidden layers change less and less.

In depth, of L blocks z + L^-α f(z), what the blocks change adds up: L · L^-α times what a step
changes in f, which is one size with Adam, and goes as L^-α with SGD. So with one step size

                      what a step changes      what a block adds to the state
    SGD               depth^(1 - 2α)           depth^-α
    Adam              depth^(1 - α)            depth^-α

Depths are compared at places that all have: the first layer, a quarter up, ….
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PyTree

from .arrays.arguments import check_integer
from .arrays.compiled import compiled, measuring
from .arrays.rows import at_least_float32, log_norm
from .arrays.spread import whole
from .chain.apply import Kept
from .chain.parameter_handover import is_array
from .chain.state import main_of
from .flow.record.loss import Loss
from .flow.view.chart import HEIGHT, WIDTH, drawable_rows, load_altair, styled, with_picture
from .models import Program
from .network.checks import check_loss
from .texts import clean, label, told
from .train.descent import Trainee, begun, descended, learned, loss_through, trainee_of, tree_of
from .train.steps import Optimizer, check_optimizer

__all__ = ["ScalingCheck"]


def __dir__() -> list[str]:
    return __all__


Build = Callable[..., tuple[Any, Optimizer]]
FEWEST = 3  # widths, or depths
HALF = 0.5  # exponents come in halves: what is nearer to 0 than to ½ is taken for 0
SURE = 0.975  # of the interval of an exponent, on each side
MOST = 3  # arrays that an answer names
PLACES = {"first": 0.0, "1/4 up": 1 / 4, "1/2 up": 1 / 2, "3/4 up": 3 / 4, "last but one": 1.0}
NUMBER = re.compile(r"\d+")
BRANCHES = {0.0: "not scaled", -0.5: "times 1/√depth", -1.0: "times 1/depth"}
MAXIMAL = (
    "Under maximal-update parametrisation nothing grows: draw the output's weights with variance "
    "1/width²; with Adam, divide the step size by the width where a weight's fan-in is the width; "
    "with SGD, multiply it by the width for the input's weights and all biases, and divide it by "
    "the width for the output's weights; divide the logits of attention by a head's size, not by "
    "its root."
)
GROWING = {
    "width": f"This is usual with standard parametrisation and one step size. {MAXIMAL}",
    "depth": "This is usual if branches are not scaled, or if they are times 1/√depth and trained "
    "with Adam. Nothing grows with branches times 1/depth and Adam, or times 1/√depth and SGD.",
}


class Exponent(NamedTuple):
    """The power of width with which a number goes, and its standard error; nan if not known.

    half: of its interval of 95 %, by Student's t.
    """

    value: float
    error: float
    half: float

    @classmethod
    def of(cls, sizes: Sequence[int], log: Float[np.ndarray, "W S"]) -> "Exponent":
        """Return the slope of a line through ln of a number at some sizes, for some seeds each."""
        from scipy.special import stdtrit  # here, since few ask for it

        if not np.isfinite(log).all():
            return cls(np.nan, np.nan, np.nan)
        x = np.broadcast_to(np.log(sizes)[:, None], log.shape)
        off, free = x - x.mean(), log.size - 2
        slope = np.sum(off * log) / np.sum(off**2)
        rest = log - log.mean() - slope * off
        error = np.sqrt(np.sum(rest**2) / free / np.sum(off**2))
        return cls(float(slope), float(error), float(error * stdtrit(free, SURE)))

    def __str__(self) -> str:
        return f"{self.value:+.2f} ± {self.error:.2f}" if self.value == self.value else "not known"

    @property
    def word(self) -> str:
        """Growing or falling if the interval tells it from 0, steady if from ½, else unclear."""
        size = abs(self.value)
        if size > HALF / 2 and size - self.half > 0:
            return "growing" if self.value > 0 else "falling"
        return "steady" if size <= HALF / 2 and size + self.half < HALF else "unclear"


@dataclass(frozen=True, repr=False)
class ScalingCheck:
    """Sizes of states and of their changes at several widths, or depths; `print` it to read it.

    axis: "width" or "depth".
    sizes: the widths W, or depths, from the smallest.
    names: of the layers; of a depth those of places, such as "1/2 up", which all depths have.
    paths: of the parameter arrays, in the pytree of the network; of a depth with * for each number,
        for all arrays together whose paths are equal then.
    resized: whether these have as many entries at all sizes, or not.
    log_start: ln of the root mean square of the state of each layer before the first step, of each
        width and seed, (W, seeds, L).
    log_change: likewise of what a step changes in the state, over all steps; -inf if nothing.
    log_update: likewise of what a step changes in each parameter array, (W, seeds, P).
    log_branch: likewise of what layers add to the states below them, those of the same shape,
        before the first step, (W, seeds); nan without any.
    """

    axis: str
    sizes: tuple[int, ...]
    names: tuple[str, ...]
    paths: tuple[str, ...]
    resized: tuple[bool, ...]
    log_start: Float[np.ndarray, "W S L"]
    log_change: Float[np.ndarray, "W S L"]
    log_update: Float[np.ndarray, "W S P"]
    log_branch: Float[np.ndarray, "W S"]

    def _of_each(self, logs: Float[np.ndarray, "W S N"]) -> list[Exponent]:
        return [Exponent.of(self.sizes, logs[..., i]) for i in range(logs.shape[-1])]

    @cached_property
    def start(self) -> list[Exponent]:
        """The exponents of the states before the first step."""
        return self._of_each(self.log_start)

    @cached_property
    def change(self) -> list[Exponent]:
        """The exponents of what a step changes in them."""
        return self._of_each(self.log_change)

    @cached_property
    def update(self) -> list[Exponent]:
        """The exponents of what a step changes in each parameter array."""
        return self._of_each(self.log_update)

    @cached_property
    def branch(self) -> Exponent:
        """The power with which what a layer adds to the state below goes, before the first step.

        0 of branches that are not scaled, -1/2 of those times 1/√depth, -1 of those times 1/depth.
        """
        return Exponent.of(self.sizes, self.log_branch)

    @cached_property
    def learning(self) -> dict[str, Exponent]:
        """The power of depth with which what is learned in the blocks moves the state, by array.

        A step changes an array as depth^u, what a block adds goes as depth^-α, and there are depth
        blocks: u - α + 1, which is 0 where a step size is good at every depth. Of arrays that a
        deeper network has more of; empty of a width.
        """
        blocks = self.log_branch + np.log(self.sizes)[:, None]
        each = self._of_each(self.log_update + blocks[..., None])
        of_paths = zip(self.paths, each, self.resized, strict=True)
        return {path: v for path, v, more in of_paths if more and self.axis == "depth"}

    @cached_property
    def words(self) -> list[str]:
        """A word for each layer: of its change, or of its start if that grows; "" if unchanged."""
        stay = np.isneginf(self.log_change).all(axis=(0, 1))
        return [
            "" if stays else start.word if start.word == "growing" else change.word
            for stays, start, change in zip(stay, self.start, self.change, strict=True)
        ]

    @property
    def word(self) -> str:
        """The verdict: growing, falling, unclear or steady.

        steady: no size depends on the axis, as under maximal-update parametrisation: a step size
            that is good at one size is good at all.
        growing: some layer grows, as under standard parametrisation.
        falling: none grows, and some layer changes less and less, so that it stops learning.
        unclear: an exponent has too large an error or no number, or nothing changes, or all sizes
            have one shape.
        """
        return self._verdict[0]

    @property
    def sentences(self) -> tuple[str, ...]:
        """The verdict in words, with the layers that it is about, and what blocks do in depth."""
        word, clause = self._verdict
        where = f" with {self.axis}" if word in ("growing", "falling") else ""
        return (f"{word.capitalize()}{where}: {clause}", *self._on_blocks())

    @cached_property
    def _verdict(self) -> tuple[str, str]:
        """The word, and the sentence on it without the word."""
        axis, logs = self.axis, (self.log_start, self.log_change)
        hidden = {v.word for v in self.learning.values()} & {"falling"}
        if not any(self.resized):
            return "unclear", f"the arrays have one shape at all {axis}s; let build use the {axis}."
        out = [s for s, *v in zip(self.sizes, *logs, strict=True) if not np.max(v) < np.inf]
        if out:
            return "unclear", f"at {axis} {out[0]} numbers are nan or inf; make the steps smaller."
        if {*self.words} == {""}:
            return "unclear", "the steps change nothing; look at the optimiser."
        for word, does in (("growing", "grow"), ("falling", "fall"), ("unclear", "are unclear")):
            if word in self.words:
                return word, self._of_lowest(word, does)
            if word in hidden:  # by the changes of input and output, in the states
                return word, "the blocks' share of the change in the states falls."
        return "steady", (
            f"no state, and no change of one by a step, depends on the {axis}, from "
            f"{self.sizes[0]} to {self.sizes[-1]}: a step size that is good at one {axis} is good "
            "at all."
        )

    def _of_lowest(self, word: str, does: str) -> str:
        """Return the sentence on the lowest layer of a word."""
        layer, count, axis = self.words.index(word), self.words.count(word), self.axis
        where = f"layer {clean(label(layer + 1, self.names))} goes as {axis} to the power of"
        others = f"; it is the lowest of {count} layers that {does}" if count > 1 else ""
        start, change = self.start[layer], self.change[layer]
        if start.word == word == "growing":
            advice = f"Multiply its weights by {axis}^{-start.value:.2f}."
            return f"the state of {where} {start} before the first step{others}. {advice}"
        advice = {
            "growing": GROWING[axis],
            "falling": f"The larger the {axis}, the less is learned there.",
            "unclear": f"Try more {axis}s or seeds.",
        }[word]
        return f"the change by a step in {where} {change}{others}. {advice}"

    def _on_blocks(self) -> list[str]:
        """Return sentences on what the blocks of a deep network add, and on how they learn."""
        if self.axis == "width" or not np.isfinite(self.branch.value):
            return []
        power = min(BRANCHES, key=lambda power: abs(power - self.branch.value))
        is_near = abs(power - self.branch.value) <= HALF / 4 + self.branch.half
        which = f": branches are {BRANCHES[power]}" if is_near else ""
        off = [(p, v) for p, v in self.learning.items() if v.word in ("growing", "falling")]
        return [
            f"Each layer adds depth to the power of {self.branch} to the state{which}.",
            *(
                f"Over all blocks, a step of {clean(path)} changes the state by depth to the power "
                f"of {v}: multiply its step size by depth^{-v.value:.2f}."
                for path, v in off[:MOST]
            ),
        ]

    def __repr__(self) -> str:
        return "\n".join(self.sentences)

    def _repr_html_(self) -> str:
        return with_picture(self.sentences, self.chart)

    def table(self) -> list[dict[str, Any]]:
        """Return a row for each layer and each parameter array.

        axis, kind ("layer" or "array"), name, and the exponents: start, of the state before the
        first step (nan of an array), change, of what a step changes in it, both with their errors;
        and a word, of the change, or of the start if that
        grows; "" of a state that nothing changes.
        """
        unknown = Exponent(np.nan, np.nan, np.nan)
        layers = zip(self.names, self.start, self.change, self.words, strict=True)
        arrays = (
            (path, unknown, v, v.word) for path, v in zip(self.paths, self.update, strict=True)
        )
        return [
            {"axis": self.axis, "kind": kind, "name": name}
            | {"start": start.value, "start_error": start.error}
            | {"change": change.value, "change_error": change.error, "word": word}
            for kind, of_kind in (("layer", layers), ("array", arrays))
            for name, start, change, word in of_kind
        ]

    def chart(self) -> Any:
        """Draw sizes before the first step, and changes by one, against width or depth, by layer.

        Returns:
            An Altair chart, as of `jaxnn.chart`; level lines do not depend on the axis.

        Raises:
            ImportError: Altair is not installed.
        """
        alt = load_altair()
        drawn = {"size": self.log_start, "change": self.log_change}
        rows = [
            {"panel": f"{quantity} over {self.axis}", "axis": self.sizes[i]}
            | {"layer": layer + 1, "name": self.names[layer]}
            | {"log10": float(v) if np.isfinite(v) else None}
            for quantity, logs in drawn.items()
            for (i, layer), v in np.ndenumerate(logs.mean(axis=1) / np.log(10))
        ]
        ticks = alt.Axis(values=[*self.sizes], format="d")
        lines = alt.Chart(alt.Data(values=drawable_rows(rows))).mark_line(point=True)
        panels = lines.encode(
            alt.X("axis:Q", title=None, axis=ticks, scale=alt.Scale(type="log", nice=False)),
            alt.Y("log10:Q", title="log₁₀ root mean square", scale=alt.Scale(zero=False)),
            alt.Color("layer:Q", scale=alt.Scale(scheme="viridis")),
            alt.Detail("layer:O"),
            tooltip=["name:N", "axis:Q", "log10:Q"],
        ).properties(width=WIDTH, height=HEIGHT)
        above = {"labelOrient": "top", "labelAnchor": "start"}
        panels = panels.facet(row=alt.Row("panel:N", title=None, sort=None, header=above))
        return styled(panels.resolve_scale(y="independent"))


@measuring
def scaling_check(
    build: Build,
    xs: PyTree,
    ys: PyTree = None,
    *,
    widths: Sequence[int] | None = None,
    depths: Sequence[int] | None = None,
    loss: Loss | None = None,
    steps: int = 4,
    seeds: int = 3,
    each: str = "batch",
) -> ScalingCheck:
    """Train a network at several sizes for a few steps, and find what depends on width or depth.

    This is the coordinate check of maximal-update parametrisation (μP), and of its extension to
    depth: where no size of a state and no change of one depends on the width, or depth, a step size
    found on a small network is good for a large one. Under standard parametrisation changes grow.

    Args:
        build: returns (model, optimizer), given `seed` and `width`, or `depth`, by these names. The
            model is what `jaxnn.diagnose` takes of JAX. The optimiser is of optax, and sees the
            pytree of the model's floats, so that step sizes may differ by array. Both may depend
            on the size.
        xs: a batch of examples, which each step takes.
        ys: what the loss takes next to the output.
        widths: at least three, such as (64, 128, 256, 512); none if there are depths.
        depths: likewise, such as (4, 8, 16, 32).
        loss: (output, ys) -> a loss of each example, or one number; none with a Network, whose task
            has it.
        steps: k, of the training.
        seeds: the number of networks of each size; seed i is the integer i.
        each: "example" if the model takes one example instead of a batch.

    Returns:
        ScalingCheck: `print` it; `.table()` has the exponents of each layer and array, `.chart()`
        draws them, `.log_change` and others are all numbers.

    Raises:
        TypeError: a build that returns something else, or a module of PyTorch.
        ValueError: fewer than three sizes, networks that differ in more than the size, or as
            `jaxnn.as_network`.

    Example:
        >>> import jax.numpy as jnp, jaxnn, numpy as np, optax
        >>> def f(params, xs):
        ...     return jnp.tanh(xs @ params["a"]) @ params["b"]
        >>> def build(width, seed):
        ...     rng = np.random.default_rng(seed)
        ...     params = {
        ...         "a": rng.normal(size=(4, width)).astype("float32") / 2,
        ...         "b": rng.normal(size=(width, 1)).astype("float32") / width**0.5,
        ...     }
        ...     return (f, params), optax.sgd(0.001)
        >>> xs = np.linspace(-1, 1, 32, dtype="float32").reshape(8, 4)
        >>> def loss(output, ys):
        ...     return jnp.mean((output - ys) ** 2)
        >>> options = {"widths": (8, 64, 512), "loss": loss, "steps": 1, "seeds": 1}
        >>> jaxnn.scaling_check(build, xs, xs[:, :1], **options).word
        'growing'

    Sources: Yang and Hu 2021, arXiv:2011.14522; Yang et al. 2022, arXiv:2203.03466, Appendix D; in
    depth Yang et al. 2023, arXiv:2310.02244, and Dey et al. 2025, arXiv:2505.01618.
    """
    if (widths is None) == (depths is None):
        raise ValueError("widths, depths: expected one of them, got both or neither")
    axis, asked = ("width", widths) if depths is None else ("depth", depths)
    sizes = sorted({check_integer(f"{axis}s", size, 1) for size in asked or ()})
    if len(sizes) < FEWEST:
        raise ValueError(f"{axis}s: expected at least {FEWEST} different ones, got {told(asked)}")
    check_integer("steps", steps, 1)
    check_integer("seeds", seeds, 1)
    if not callable(build):
        raise TypeError(f"build: expected a function such as build(width, seed), got {told(build)}")
    given = Program(None, xs, ys, check_loss(loss), each=each)
    records: list[_OfSize] = []
    for size in sizes:
        pairs = [_built(build, {axis: size, "seed": i}) for i in range(seeds)]
        record = _measured(pairs, given, steps)
        records.append(record.at_places() if axis == "depth" else record)
        names, entries = records[0].names, records[0].entries
        if (records[-1].names, [*records[-1].entries]) != (names, [*entries]):
            raise ValueError(
                f"build: expected the same layers and parameter arrays at every {axis}, but for "
                f"numbers in the paths of a deeper network's, got {len(records[-1].names)} layers "
                f"at {size} and {len(names)} at {sizes[0]}, or other paths"
            )
    resized = tuple(len({record.entries[path] for record in records}) > 1 for path in entries)
    logs = map(np.stack, zip(*(record.logs for record in records), strict=True))
    return ScalingCheck(axis, tuple(sizes), names, tuple(entries), resized, *logs)


class _OfSize(NamedTuple):
    """Layers, the number of entries of each parameter array, and the logarithms, for one size."""

    names: tuple[str, ...]
    entries: dict[str, int]
    logs: tuple[np.ndarray, ...]  # the last four fields of `ScalingCheck`, without W

    def at_places(self) -> "_OfSize":
        """Return places that all depths have, and kinds of arrays: * for a number in a path."""
        below = len(self.names) - 2
        if below < 1:
            raise ValueError(f"build: expected three layers or more, got {len(self.names)}")
        at = [*(round(share * below) for share in PLACES.values()), below + 1]
        kinds: dict[str, list[int]] = {}
        for i, path in enumerate(self.entries):
            kinds.setdefault(NUMBER.sub("*", path), []).append(i)
        start, change, update, branch = self.logs
        updates = np.stack([_log_rms_along(-1, update[..., of]) for of in kinds.values()], axis=-1)
        counts = np.array([*self.entries.values()])
        entries = {path: int(counts[of].sum()) for path, of in kinds.items()}
        logs = start[..., at], change[..., at], updates, branch
        return _OfSize((*PLACES, "last"), entries, logs)


def _built(build: Build, point: dict[str, int]) -> tuple[Any, Optimizer]:
    """Return the model and the optimiser of a size and a seed."""
    made = build(**point)
    if not isinstance(made, tuple) or len(made) != 2:
        got = f"{len(made)} values" if isinstance(made, tuple) else type(made).__name__
        raise TypeError(
            "build: expected it to return a pair (model, optimizer), such as "
            f"((f, params), optax.adam(1e-3)), got {got}"
        )
    return made[0], check_optimizer(made[1])


def _measured(pairs: Sequence[tuple[Any, Optimizer]], given: Program, steps: int) -> _OfSize:
    """Train the networks of one size, all with the optimiser of the first seed."""
    (model, optimizer), *others = pairs
    program = given.but(model=model)
    if program.of_torch:
        raise TypeError(
            "build: expected a network of JAX, got a module of PyTorch; a Sequential of Linear and "
            "activations becomes one by jaxnn.as_network(module)"
        )
    trainee = trainee_of(program)
    trees = [trainee.tree, *(_filled(trainee.tree, other) for other, _ in others)]
    courses = [_course(trainee._replace(tree=tree), optimizer, steps, given.xs) for tree in trees]
    start, change, update, branch = (np.array(v, np.float64) for v in zip(*courses, strict=True))
    logs = (start, *(_log_rms_along(1, v) for v in (change, update)), branch)
    if len(pairs) > 1 and all((v == v[0]).all() for v in logs[:3]):
        raise ValueError(
            "build: expected another network for each seed, or errors would be too small; got one "
            "for all: draw its weights from the seed, or set seeds=1"
        )
    flat = jax.tree_util.tree_flatten_with_path(learned(trainee.tree))[0]
    entries = {jax.tree_util.keystr(path): np.size(v) for path, v in flat}
    return _OfSize(trainee.net.names, entries, logs)


def _filled(tree: PyTree, model: Any) -> PyTree:
    """Return a pytree with the arrays of another seed's model, so that nothing compiles anew."""
    leaves, structure = jax.tree.flatten(tree)
    arrays = [v for v in jax.tree.leaves(tree_of(model)) if is_array(v)]
    shapes, others = ([v.shape for v in vs if is_array(v)] for vs in (leaves, arrays))
    if shapes != others:
        raise ValueError(
            "build: expected arrays of the same shapes for every seed of a size, got "
            f"{told(others)} and {told(shapes)}"
        )
    given = iter(arrays)
    return jax.tree.unflatten(structure, [next(given) if is_array(v) else v for v in leaves])


@compiled
def _course(trainee: Trainee, optimizer: Optimizer, steps: int, xs: PyTree) -> tuple[Array, ...]:
    """Train for some steps; return the logarithms of a check, those of changes for each step."""
    start, opt_state = begun(trainee, optimizer)
    before = loss_through(trainee, xs, _main)(start)[1][1]

    def step(carry: tuple[Any, ...], _: None) -> tuple[Any, tuple[Array, ...]]:
        floats, states, opt_state = carry
        *moved, _loss, _before = descended(trainee, optimizer, floats, opt_state, xs)
        after = loss_through(trainee, xs, _main)(moved[0])[1][1]
        changes, updates = jax.tree.map(jnp.subtract, (after, moved[0]), (states, floats))
        arrays = [_log_rms(whole(at_least_float32(v))) for v in jax.tree.leaves(updates)]
        return (moved[0], after, moved[1]), (_log_sizes(changes), jnp.stack(arrays))

    logs = lax.scan(step, (start, before, opt_state), length=steps)[1]
    return (_log_sizes(before), *logs, _log_branch(before))


def _main(state: PyTree) -> list[Array]:
    """Return the arrays of a state that its size is of, in float32 or wider."""
    return [at_least_float32(v) for v in main_of(state)]


def _rows(links: Kept) -> list[Array]:
    """Return the states of each link of a pattern, a row for each time that it comes."""
    return [
        jnp.concatenate([whole(v).reshape(len(v), -1) for v in arrays], axis=1) for arrays in links
    ]


def _log_sizes(kept: list[Kept]) -> Float[Array, " L"]:
    """Return ln of the root mean square of each layer's state."""
    patterns = [[jax.vmap(_log_rms)(v) for v in _rows(links)] for links in kept]
    return jnp.concatenate([jnp.stack(of_links, axis=1).ravel() for of_links in patterns])


def _log_branch(kept: list[Kept]) -> Float[Array, ""]:
    """Return ln of the root mean square of what layers add to a state below of the same shape."""
    parts: list[Array] = []  # of layers that follow each other, (layers, entries)
    for of_links in map(_rows, kept):
        alike = len({v.shape for v in of_links}) == 1
        parts += [jnp.stack(of_links, 1).reshape(-1, of_links[0].shape[1])] if alike else of_links
    runs = [jnp.concatenate([*run]) for _, run in groupby(parts, lambda part: part.shape[1])]
    added = [jnp.diff(run, axis=0).ravel() for run in runs if len(run) > 1]
    return _log_rms(jnp.concatenate(added)) if added else jnp.full((), jnp.nan)


def _log_rms(v: Array) -> Float[Array, ""]:
    log = log_norm(v).astype(jnp.result_type(float))
    return log - 0.5 * float(np.log(v.size))


def _log_rms_along(axis: int, logs: np.ndarray) -> np.ndarray:
    """Return ln of the root mean square, along an axis, of numbers given by logarithms."""
    with np.errstate(invalid="ignore"):  # of numbers that are nan or infinite
        total = np.logaddexp.reduce(2 * logs, axis=axis)
    return np.asarray((total - np.log(logs.shape[axis])) / 2)
