"""Coordinate check: how sizes of states, and of what a training changes in them, go with width.

    build(width, seed)     a network and its optimiser; k steps on one batch, from several seeds
    size[l], change[l]     the root mean square of state[l], and of what a step changes in it
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
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ..arrays.compiled import compiled, measuring
from ..arrays.rows import at_least_float32, can_be_learned, log_norm
from ..arrays.spread import whole
from ..chain.apply import Kept, applied
from ..chain.chain import Chain
from ..chain.from_network import as_chain
from ..chain.models import is_of_torch, network_of
from ..chain.parameter_handover import is_array
from ..flow.record.loss import Loss, mean_of
from ..flow.record.positions import main_of
from ..flow.view.chart import svg
from ..flow.view.table import findings_as_html
from ..network.checks import as_rows, check_data, check_loss, check_params
from ..network.network import Network
from ..texts import clean, counted, label, told
from .steps import Optimizer, check_integer, check_optimizer, moved_by, strongly_typed
from .width_chart import width_chart

LN10 = float(np.log(10))
FEWEST = 3  # widths
LIMIT = 0.25  # exponents come in halves: what is nearer to 0 than to ½ is taken for 0
CLEAR = 3  # standard errors
DEPARTS = 0.1  # of an exponent from that of other arrays
MOST = 3  # layers that a sentence names

MAXIMAL = (
    "Under maximal-update parametrisation nothing grows: draw the output's weights of variance "
    "1/width²; with Adam, divide the step size by the width where a weight's fan-in is the width; "
    "with SGD, multiply it by the width for the input's weights and all biases, and divide it by "
    "the width for the output's weights; divide the logits of attention by a head's size, not by "
    "its root."
)

Build = Callable[[int, int], tuple[Any, Optimizer]]


class Exponent(NamedTuple):
    """The power of width with which a number goes, and its standard error; nan if not known."""

    value: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:+.2f} ± {self.error:.2f}" if self.value == self.value else "not known"

    @property
    def word(self) -> str:
        """Growing, falling, steady, or unclear, where the limit is within an error."""
        size = abs(self.value)
        if size - self.error > LIMIT and size >= CLEAR * self.error:
            return "growing" if self.value > 0 else "falling"
        return "steady" if size + self.error <= LIMIT else "unclear"


class Departure(NamedTuple):
    """A parameter array whose change goes with another power of width than that of others like it.

    path: in the pytree of the network.
    change: the exponent of its change.
    usual: the median of those of the others.
    others: their number.
    """

    path: str
    change: Exponent
    usual: Exponent
    others: int

    def __str__(self) -> str:
        those = f"{self.others} others like it" if self.others > 1 else "the other one like it"
        return (
            f"{clean(self.path)} departs: what a step changes in it goes as width to the power of "
            f"{self.change}, in {those} as {self.usual}. If they are to learn alike, multiply its "
            f"step size by width^{self.usual.value - self.change.value:.2f}."
        )


@dataclass(frozen=True, repr=False)
class WidthCheck:
    """Sizes of states and of their changes at several widths; `print` it to read it.

    widths: the widths W, from the smallest.
    steps: k, of the training.
    names: of the layers.
    paths: of the parameter arrays, in the pytree of the network.
    shapes: theirs at each width, (P, W).
    dtype: of the record.
    log_size: ln of the root mean square of the state of each layer after 0 … k steps, of each width
        and seed, (W, seeds, k + 1, L).
    log_change: likewise of what the last step has changed in the state; -inf if nothing, as before
        the first step.
    log_update: likewise of what it has changed in each parameter array, (W, seeds, k + 1, P).
    """

    widths: tuple[int, ...]
    steps: int
    names: tuple[str, ...]
    paths: tuple[str, ...]
    shapes: tuple[tuple[tuple[int, ...], ...], ...]
    dtype: str
    log_size: Float[np.ndarray, "W S T L"]
    log_change: Float[np.ndarray, "W S T L"]
    log_update: Float[np.ndarray, "W S T P"]

    def table(self) -> list[dict[str, Any]]:
        """Return a row for each layer: layer, name, exponents with their errors, and a word.

        start is the exponent of the state's size before the first step, size that after the last,
        change that of what a step changes in it, in the root mean square over steps. The word is
        growing, falling, steady or unclear, of the change, or of the start if that grows; "" of a
        state that nothing changes.
        """
        return [
            {"layer": number, "name": name}
            | {
                column: number
                for quantity, exponent in zip(("start", "size", "change"), exponents, strict=True)
                for column, number in zip((quantity, f"{quantity}_error"), exponent, strict=True)
            }
            | {"word": word}
            for number, name, exponents, word in zip(
                range(1, len(self.names) + 1), self.names, self._exponents, self._words, strict=True
            )
        ]

    def parameter_table(self) -> list[dict[str, Any]]:
        """Return a row for each parameter array: path, and the exponent of its change with error.

        The change is what a step changes in it, in the root mean square over entries and steps.
        """
        return [
            {"path": path, "change": value, "change_error": error}
            for path, (value, error) in zip(self.paths, self._updates, strict=True)
        ]

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each width, seed, step and layer: log10_size and log10_change."""
        return [
            {"width": width, "seed": seed, "step": step, "layer": layer + 1, "name": name}
            | {
                "log10_size": float(self.log_size[w, seed, step, layer]) / LN10,
                "log10_change": float(self.log_change[w, seed, step, layer]) / LN10,
            }
            for w, width in enumerate(self.widths)
            for seed in range(self.log_size.shape[1])
            for step in range(self.steps + 1)
            for layer, name in enumerate(self.names)
        ]

    @property
    def word(self) -> str:
        """The verdict: steady, growing, falling, or unclear.

        steady: no size depends on the width, as under maximal-update parametrisation.
        growing: some layer grows, as under standard parametrisation, or leaves the dtype's range.
        falling: none grows, and some layer changes less and less, so that it stops learning.
        unclear: an exponent has too large an error or no number, or nothing changes, or no array
            has another shape at another width, or one departs from others like it.
        """
        if self._ignores_width:
            return "unclear"
        out = self._out_of_range
        if any(out):
            return "growing" if out == sorted(out) and not out[0] else "unclear"
        words = {*self._words}
        if words == {""}:
            return "unclear"
        found = next((w for w in ("growing", "falling", "unclear") if w in words), "steady")
        return "unclear" if found == "steady" and self.departures else found

    @cached_property
    def sentences(self) -> tuple[str, ...]:
        """The verdict in words, with the layers that it is about."""
        return tuple(filter(None, (self._first_sentence(), *self._other_sentences())))

    def __repr__(self) -> str:
        return "\n".join(self.sentences)

    def _repr_html_(self) -> str:
        try:
            picture = svg(self.chart())
        except ImportError:  # without the extra `charts`
            picture = ""
        return findings_as_html(self.sentences) + picture

    def chart(self) -> Any:
        """Draw sizes and changes after the last step against width, a line for each layer.

        Returns:
            An Altair chart, as of `jaxnn.chart`.

        Raises:
            ImportError: Altair is not installed.
        """
        return width_chart(self.rows(), self.steps)

    # Exponents

    @cached_property
    def departures(self) -> tuple[Departure, ...]:
        """Arrays whose change goes with another power of width than that of others like them.

        Alike are those of which the same axes grow with the width: under any parametrisation each
        step changes them by one power of it. The change of an array departs if its exponent is off
        their median by .1 or more, and by three standard errors; of two that of the larger one.
        """
        alike: dict[tuple[bool, ...], list[int]] = {}
        for i, of_widths in enumerate(self.shapes):
            grows = tuple(len({*axis}) > 1 for axis in zip(*of_widths, strict=True))
            alike.setdefault(grows, []).append(i)
        found = []
        for group in alike.values():
            known = [i for i in group if np.isfinite(self._updates[i].error)]
            for i in known:
                usual = sorted(self._updates[j] for j in known)[(len(known) - 1) // 2]
                off = abs(self._updates[i].value - usual.value)
                error = float(np.hypot(self._updates[i].error, usual.error))
                if off >= max(DEPARTS, CLEAR * error):
                    others = len(known) - 1
                    found.append(Departure(self.paths[i], self._updates[i], usual, others))
        return tuple(found)

    @cached_property
    def _updates(self) -> list[Exponent]:
        """The exponent of what a step changes in each parameter array."""
        logs = _mean_over_steps(self.log_update)
        return [self._exponent(logs[:, :, i]) for i in range(len(self.paths))]

    @property
    def _ignores_width(self) -> bool:
        return bool(self.shapes) and all(len({*of_widths}) == 1 for of_widths in self.shapes)

    @property
    def _ignores_seed(self) -> bool:
        return self.log_size.shape[1] > 1 and bool((self.log_size == self.log_size[:, :1]).all())

    @cached_property
    def _out_of_range(self) -> list[bool]:
        """A truth value for each width: some number of it is nan or infinite."""
        axes = (1, 2, 3)
        return [
            bool(v)
            for v in ~np.all(self.log_size < np.inf, axes) | ~np.all(self.log_change < np.inf, axes)
        ]

    def _exponent(self, log: Float[np.ndarray, "W S"]) -> Exponent:
        """Return the slope of a line through the logarithms of all widths that are in range."""
        known = ~np.array(self._out_of_range)
        y = log[known]
        if len(y) < FEWEST or not np.isfinite(y).all():
            return Exponent(np.nan, np.nan)
        x = np.broadcast_to(np.log(np.array(self.widths)[known])[:, None], y.shape)
        off, square = x - x.mean(), np.sum((x - x.mean()) ** 2)
        slope = np.sum(off * y) / square
        rest = y - y.mean() - slope * off
        return Exponent(float(slope), float(np.sqrt(np.sum(rest**2) / (y.size - 2) / square)))

    @cached_property
    def _exponents(self) -> list[tuple[Exponent, Exponent, Exponent]]:
        """The exponents of start, size and change, a triple for each layer."""
        return [
            (
                self._exponent(self.log_size[:, :, 0, layer]),
                self._exponent(self.log_size[:, :, -1, layer]),
                self._exponent(_mean_over_steps(self.log_change)[:, :, layer]),
            )
            for layer in range(len(self.names))
        ]

    @cached_property
    def _words(self) -> list[str]:
        return [
            ""
            if np.isneginf(self.log_change[..., layer]).all()
            else start.word
            if start.word == "growing"
            else change.word
            for layer, (start, _, change) in enumerate(self._exponents)
        ]

    # Words

    def _first_sentence(self) -> str:
        word, after = self.word, f"after {counted(self.steps, 'step')}"
        if self._ignores_width:
            return (
                "Unclear: every parameter array has the same shape at all widths, from "
                f"{self.widths[0]} to {self.widths[-1]}; let build(width, seed) use the width."
            )
        if word == "steady":
            return (
                f"Steady: no state {after}, and nothing that a step changes in one, depends on the "
                f"width, from {self.widths[0]} to {self.widths[-1]}. So it is under maximal-update "
                "parametrisation, where a step size that is good at one width is good at all."
            )
        if word == "falling":
            return (
                "Falling with width: what a step changes goes as width to the power of "
                f"{self._named('falling')}. The wider the network, the less it learns there; so it "
                "is with a step size that falls with the width in all arrays alike."
            )
        if word == "unclear":
            names = self._named("unclear")
            if not names and {*self._words} != {""}:
                return (
                    f"Unclear: no state {after}, and nothing that a step changes in one, depends "
                    "clearly on the width, but not all arrays go with it as those like them."
                )
            if not names:
                return "Unclear: the steps change nothing; look at the optimiser."
            return (
                f"Unclear: what a step changes has the exponent {names}; more widths or seeds tell."
            )
        if any(self._out_of_range):
            width = self.widths[self._out_of_range.index(True)]
            return (
                f"Growing with width: at {width} numbers leave the range of {self.dtype} {after}, "
                "and at smaller widths they do not."
            )
        return self._growing()

    def _growing(self) -> str:
        lowest = self._words.index("growing")
        start, _, change = self._exponents[lowest]
        name, more = self._name(lowest), self._words.count("growing") - 1
        above = f", the lowest of {more + 1} layers that grow" if more else ""
        if start.word == "growing":
            return (
                f"Growing with width: the state of layer {name} goes as width to the power of "
                f"{start} before the first step{above}. Multiply its weights by "
                f"width^{-start.value:.2f}."
            )
        text = (
            f"Growing with width: what a step changes in layer {name} goes as width to the power "
            f"of {change}{above}."
        )
        if self.departures:  # which say what to multiply
            return text
        return f"{text} So it is under standard parametrisation, with one step size. {MAXIMAL}"

    def _other_sentences(self) -> list[str]:
        told = []
        if self.word == "growing" and "falling" in self._words:
            falling = self._named("falling")
            told.append(f"Other layers change less with width, as width to the power of {falling}.")
        if not self._ignores_width:
            told += map(str, self.departures[:MOST])
        if self._ignores_seed:
            told.append(
                "All seeds give the same network, so that errors are too small; let build(width, "
                "seed) use the seed."
            )
        return told

    def _name(self, layer: int) -> str:
        return label(layer + 1, clean(self.names[layer]))

    def _named(self, word: str) -> str:
        """Return exponents of changes of layers of a word, with their names."""
        layers = [layer for layer, own in enumerate(self._words) if own == word]
        parts = [f"{self._exponents[i][2]} in layer {self._name(i)}" for i in layers[:MOST]]
        more = f" and {len(layers) - MOST} more" if len(layers) > MOST else ""
        return ", ".join(parts) + more


def _mean_over_steps(log: Float[np.ndarray, "W S T L"]) -> Float[np.ndarray, "W S L"]:
    """Return ln of the root mean square over all steps, from ln of that of each."""
    with np.errstate(invalid="ignore"):  # of numbers that are nan or infinite
        total = np.logaddexp.reduce(2 * log[:, :, 1:], axis=2)
    return np.asarray((total - np.log(log.shape[2] - 1)) / 2)


class _Built(NamedTuple):
    """A network of one width and seed, with its optimiser.

    tree: its parameters, a pytree.
    is_own: whether that is the chain's own, and not what it was made of.
    """

    net: Chain
    tree: Any
    is_own: bool
    optimizer: Optimizer


@measuring
def width_check(
    build: Build,
    widths: Sequence[int],
    xs: Any,
    ys: Any = None,
    *,
    loss: Loss | None = None,
    steps: int = 4,
    seeds: int = 3,
    each: str = "batch",
) -> WidthCheck:
    """Train a network at several widths for a few steps, and find what depends on the width.

    This is the coordinate check of maximal-update parametrisation (μP): under it no size of a state
    and no change of one depends on the width, so that step sizes found on a narrow network are good
    for a wide one. Under standard parametrisation changes grow with the width.

    Args:
        build: (width, seed) -> (model, optimizer). The model is what `jaxnn.diagnose` takes: a
            module of Equinox or Flax NNX, a pair (f, params), a list of layers or a pair
            (net, params) of ours. The optimiser is of optax, and sees the pytree of the model's
            floats, so that step sizes may differ by array. Both may depend on the width.
        widths: at least three, such as (64, 128, 256, 512).
        xs: a batch of examples, which each step takes.
        ys: what the loss takes next to the output.
        loss: as for `jaxnn.gradient_flow`: (output, ys) -> a loss of each example, or one number;
            none with a Network, whose task has it.
        steps: k, of the training.
        seeds: the number of networks of each width; seed i is the integer i.
        each: "example" if the model takes one example instead of a batch, as for `jaxnn.diagnose`.

    Returns:
        WidthCheck: `print` it; `.table()` has the exponents of each layer, `.chart()` draws them.

    Raises:
        TypeError: a build that returns something else, or a module of PyTorch.
        ValueError: fewer than three widths, networks that differ in more than the width, or as
            `jaxnn.from_function`.

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
        >>> options = {"loss": loss, "steps": 1, "seeds": 1}
        >>> jaxnn.width_check(build, (8, 64, 512), xs, xs[:, :1], **options).word
        'growing'

    Sources: Yang and Hu 2021, arXiv:2011.14522; Yang et al. 2022, arXiv:2203.03466, Appendix D.
    """
    sizes = sorted({check_integer("widths", width, 1) for width in widths})
    if len(sizes) < FEWEST:
        raise ValueError(f"widths: expected at least {FEWEST} different ones, got {told(widths)}")
    check_integer("steps", steps, 1)
    check_integer("seeds", seeds, 1)
    loss = check_loss(loss)
    if not callable(build):
        raise TypeError(f"build: expected build(width, seed), got {told(build)}")
    records, names, paths, shapes = [], None, None, []
    for width in sizes:
        first, own_loss, own_ys = _built(build, width, 0, xs, ys, loss, each)
        own_paths = _paths(first.tree)
        shapes.append([np.shape(v) for v in jax.tree.leaves(_learned(first.tree))])
        if names is None:
            names, paths = first.net.names, own_paths
        if (first.net.names, own_paths) != (names, paths):
            raise ValueError(
                "build: expected the same layers and parameter arrays at every width, got "
                f"{counted(len(names), 'layer')} at {sizes[0]} and {len(first.net.names)} at "
                f"{width}, or other names"
            )
        records.append(
            [
                jax.tree.map(
                    lambda v: np.asarray(v, np.float64),
                    _course(
                        first.net,
                        first.optimizer,
                        own_loss,
                        steps,
                        first.is_own,
                        first.tree if seed == 0 else _of_seed(first, build, width, seed),
                        xs,
                        own_ys,
                    ),
                )
                for seed in range(seeds)
            ]
        )
    by_field = (np.array([[r[i] for r in record] for record in records]) for i in range(3))
    dtype = np.dtype(jnp.result_type(float)).name
    of_arrays = tuple(zip(*shapes, strict=True))
    return WidthCheck(tuple(sizes), steps, names or (), paths or (), of_arrays, dtype, *by_field)


def _built(
    build: Build, width: int, seed: int, xs: Any, ys: Any, loss: Loss | None, each: str
) -> tuple[_Built, Loss, Any]:
    """Return the network of a width, the loss, and what that takes."""
    model, optimizer = _returned(build, width, seed)
    if is_of_torch(model):
        raise TypeError(
            "build: expected a network of JAX, got a module of PyTorch; a Sequential of Linear and "
            "activations becomes one by jaxnn.from_torch(module)"
        )
    net, params = network_of(model, xs, each, None)
    if isinstance(net, Network):
        if loss is not None or ys is None:
            raise ValueError("ys, loss: expected ys and no loss with a Network, whose task has it")
        layers = check_params(net, params)
        ys, loss = as_rows(net, layers, *check_data(net, xs, ys))[1], net.task.loss
        net, params = as_chain(net, layers)
        return _Built(net, params, True, optimizer), loss, ys
    if loss is None:
        raise ValueError("loss: expected loss(output, ys) -> (B,) or a number, got None")
    is_own = isinstance(model, tuple) and model[0] is net
    tree = model[1] if isinstance(model, tuple) else model
    return _Built(net, tree, is_own, optimizer), loss, ys


def _returned(build: Build, width: int, seed: int) -> tuple[Any, Optimizer]:
    """Return the model and the optimiser of a width and a seed."""
    made = build(width, seed)
    if not isinstance(made, tuple) or len(made) != 2:
        got = f"{len(made)} values" if isinstance(made, tuple) else type(made).__name__
        raise TypeError(
            "build: expected build(width, seed) to return a pair (model, optimizer), such as "
            f"((f, params), optax.adam(1e-3)), got {got}"
        )
    return made[0], check_optimizer(made[1])


def _of_seed(first: _Built, build: Build, width: int, seed: int) -> Any:
    """Return the parameters of another seed, in the structure of the first one's."""
    model, _ = _returned(build, width, seed)
    tree = model[1] if isinstance(model, tuple) else model
    if isinstance(model, tuple) and isinstance(model[0], Network):
        net, params = model
        tree = as_chain(net, check_params(net, params))[1]
    leaves, structure = jax.tree.flatten(first.tree)
    arrays = [v for v in jax.tree.leaves(tree) if is_array(v)]
    shapes = [v.shape for v in leaves if is_array(v)]
    if shapes != [v.shape for v in arrays]:
        raise ValueError(
            f"build: expected arrays of the same shapes for every seed, got others at width {width}"
            f" for seed {seed} than for 0"
        )
    given = iter(arrays)
    return jax.tree.unflatten(structure, [next(given) if is_array(v) else v for v in leaves])


def _learned(tree: Any) -> Any:
    """Return a pytree with its floats alone."""
    return jax.tree.map(lambda v: v if is_array(v) and can_be_learned(v) else None, tree)


def _paths(tree: Any) -> tuple[str, ...]:
    """Return the paths of the floats of a pytree."""
    flat = jax.tree_util.tree_flatten_with_path(_learned(tree))[0]
    return tuple(jax.tree_util.keystr(path) for path, _ in flat)


@compiled
def _course(
    net: Chain,
    optimizer: Optimizer,
    loss: Loss,
    steps: int,
    is_own: bool,
    tree: Any,
    xs: Any,
    ys: Any,
) -> tuple[Array, Array, Array]:
    """Train for some steps; return the fields of WidthCheck, each with an axis of steps in front.

    Each step hands out the states before it; of the one after the last nothing else is used.
    """
    count = len(jax.tree.leaves(xs)[0])
    start = strongly_typed(_learned(tree))

    def through(learned: Any) -> tuple[Any, list[Kept]]:
        whole = jax.tree.map(
            lambda own, v: v if own is None else own, learned, tree, is_leaf=lambda v: v is None
        )
        return applied(net, whole if is_own else net.params(whole), xs, _main)

    def mean_loss(learned: Any) -> tuple[Array, list[Kept]]:
        output, states = through(learned)
        return mean_of(loss, output, ys, 1 if net.whole else count), states

    def step(carry: Any, _: None) -> tuple[Any, tuple[Array, Array, Array]]:
        before, now, opt_state = carry
        (value, states), gradient = jax.value_and_grad(mean_loss, has_aux=True)(now)
        changes, updates = (
            jax.tree.map(jnp.subtract, *both)
            for both in ((states, before.states), (now, before.learned))
        )
        record = _log_sizes(states), _log_sizes(changes), _log_sizes_of_arrays(updates)
        after = moved_by(
            optimizer, gradient, opt_state, now, value, lambda learned: mean_loss(learned)[0]
        )
        return (_Before(now, states), *after), record

    before = _Before(start, through(start)[1])
    begun = before, start, strongly_typed(optimizer.init(start))
    record: tuple[Array, Array, Array] = lax.scan(step, begun, length=steps + 1)[1]
    return record


class _Before(NamedTuple):
    """Parameters and states before a step."""

    learned: Any
    states: list[Kept]


def _main(state: Any) -> list[Array]:
    """Return the arrays of a state that its size is of, in float32 or wider."""
    return [at_least_float32(v) for v in main_of(state)]


def _log_sizes(kept: list[Kept]) -> Float[Array, " L"]:
    """Return ln of the root mean square of each layer's state."""

    def of_pattern(links: Kept) -> Array:
        each = [
            jax.vmap(_log_rms)(
                jnp.concatenate([whole(v).reshape(len(v), -1) for v in arrays], axis=1)
            )
            for arrays in links
        ]
        return jnp.stack(each, axis=1).ravel()

    return jnp.concatenate(list(map(of_pattern, kept)))


def _log_sizes_of_arrays(tree: Any) -> Float[Array, " P"]:
    """Return ln of the root mean square of each array."""
    return jnp.stack([_log_rms(whole(at_least_float32(v))) for v in jax.tree.leaves(tree)])


def _log_rms(v: Array) -> Float[Array, ""]:
    log = log_norm(v).astype(jnp.result_type(float))
    return log - 0.5 * float(np.log(v.size))
