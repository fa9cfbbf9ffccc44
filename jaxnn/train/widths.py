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
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PyTree

from ..arrays.compiled import compiled, measuring
from ..arrays.rows import at_least_float32, log_norm
from ..arrays.spread import whole
from ..chain.apply import Kept
from ..chain.parameter_handover import is_array
from ..flow.record.loss import Loss
from ..flow.record.positions import main_of
from ..models import is_of_torch
from ..network.checks import check_loss
from ..texts import counted, told
from .steps import Optimizer, check_integer, check_optimizer, moved_by, strongly_typed
from .trainee import Trainee, learned, loss_through, trainee_of, tree_of
from .width_exponents import FEWEST, WidthCheck

Build = Callable[[int, int], tuple[Any, Optimizer]]


class _Built(NamedTuple):
    """A network of one width and seed, with its optimiser."""

    trainee: Trainee
    optimizer: Optimizer

    @property
    def names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The names of its layers, and the paths of its arrays that are trained."""
        flat = jax.tree_util.tree_flatten_with_path(learned(self.trainee.tree))[0]
        return self.trainee.net.names, tuple(jax.tree_util.keystr(path) for path, _ in flat)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shapes of those arrays."""
        return [np.shape(v) for v in jax.tree.leaves(learned(self.trainee.tree))]


@measuring
def width_check(
    build: Build,
    widths: Sequence[int],
    xs: PyTree,
    ys: PyTree = None,
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
    records, names, shapes = [], None, []
    for width in sizes:
        first = _built(build, width, xs, ys, loss, each)
        names = names or first.names
        if first.names != names:
            raise ValueError(
                "build: expected the same layers and parameter arrays at every width, got "
                f"{counted(len(names[0]), 'layer')} at {sizes[0]} and {len(first.names[0])} at "
                f"{width}, or other names"
            )
        shapes.append(first.shapes)
        trees = (_of_seed(first, build, width, seed) for seed in range(seeds))
        records.append([_record(first, tree, xs, steps) for tree in trees])
    of_layers, of_arrays = names or ((), ())
    by_field = (np.array([[r[i] for r in record] for record in records]) for i in range(3))
    dtype = np.dtype(jnp.result_type(float)).name
    by_array = tuple(zip(*shapes, strict=True))
    return WidthCheck(tuple(sizes), steps, of_layers, of_arrays, by_array, dtype, *by_field)


def _built(
    build: Build, width: int, xs: PyTree, ys: PyTree, loss: Loss | None, each: str
) -> _Built:
    """Return the network of a width and of seed 0."""
    model, optimizer = _returned(build, width, 0)
    if is_of_torch(model):
        raise TypeError(
            "build: expected a network of JAX, got a module of PyTorch; a Sequential of Linear and "
            "activations becomes one by jaxnn.as_network(module)"
        )
    return _Built(trainee_of(model, xs, ys, loss=loss, each=each), optimizer)


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


def _of_seed(first: _Built, build: Build, width: int, seed: int) -> PyTree:
    """Return the parameters of a seed, in the structure of the first one's."""
    if seed == 0:
        return first.trainee.tree
    model, _ = _returned(build, width, seed)
    leaves, structure = jax.tree.flatten(first.trainee.tree)
    arrays = [v for v in jax.tree.leaves(tree_of(model)) if is_array(v)]
    shapes = [v.shape for v in leaves if is_array(v)]
    if shapes != [v.shape for v in arrays]:
        raise ValueError(
            f"build: expected arrays of the same shapes for every seed, got others at width {width}"
            f" for seed {seed} than for 0"
        )
    given = iter(arrays)
    return jax.tree.unflatten(structure, [next(given) if is_array(v) else v for v in leaves])


def _record(built: _Built, tree: PyTree, xs: PyTree, steps: int) -> list[np.ndarray]:
    """Return the fields of WidthCheck of one training, in float64."""
    course = _course(built.trainee._replace(tree=tree), built.optimizer, steps, xs)
    return [np.asarray(v, np.float64) for v in course]


@compiled
def _course(
    trainee: Trainee, optimizer: Optimizer, steps: int, xs: PyTree
) -> tuple[Array, Array, Array]:
    """Train for some steps; return the fields of WidthCheck, each with an axis of steps in front.

    Each step hands out the states before it; of the one after the last nothing else is used.
    """
    start, mean_loss = strongly_typed(learned(trainee.tree)), loss_through(trainee, xs, _main)

    def step(
        carry: tuple[_Before, PyTree, PyTree], _: None
    ) -> tuple[Any, tuple[Array, Array, Array]]:
        before, now, opt_state = carry
        (value, (_, states)), gradient = jax.value_and_grad(mean_loss, has_aux=True)(now)
        changes, updates = (
            jax.tree.map(jnp.subtract, *both)
            for both in ((states, before.states), (now, before.floats))
        )
        record = _log_sizes(states), _log_sizes(changes), _log_sizes_of_arrays(updates)
        after = moved_by(
            optimizer, gradient, opt_state, now, value, lambda floats: mean_loss(floats)[0]
        )
        return (_Before(now, states), *after), record

    before = _Before(start, mean_loss(start)[1][1])
    begun = before, start, strongly_typed(optimizer.init(start))
    record: tuple[Array, Array, Array] = lax.scan(step, begun, length=steps + 1)[1]
    return record


class _Before(NamedTuple):
    """Parameters and states before a step."""

    floats: PyTree
    states: list[Kept]


def _main(state: PyTree) -> list[Array]:
    """Return the arrays of a state that its size is of, in float32 or wider."""
    return [at_least_float32(v) for v in main_of(state)]


def _log_sizes(kept: list[Kept]) -> Float[Array, " L"]:
    """Return ln of the root mean square of each layer's state."""

    def of_pattern(links: Kept) -> Array:
        of_links = [
            jax.vmap(_log_rms)(
                jnp.concatenate([whole(v).reshape(len(v), -1) for v in arrays], axis=1)
            )
            for arrays in links
        ]
        return jnp.stack(of_links, axis=1).ravel()

    return jnp.concatenate(list(map(of_pattern, kept)))


def _log_sizes_of_arrays(tree: PyTree) -> Float[Array, " P"]:
    """Return ln of the root mean square of each array."""
    return jnp.stack([_log_rms(whole(at_least_float32(v))) for v in jax.tree.leaves(tree)])


def _log_rms(v: Array) -> Float[Array, ""]:
    log = log_norm(v).astype(jnp.result_type(float))
    return log - 0.5 * float(np.log(v.size))
