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

import math
import re
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PyTree

from ..arrays.arguments import check_integer
from ..arrays.compiled import compiled, measuring
from ..arrays.rows import at_least_float32, log_norm
from ..arrays.spread import whole
from ..chain.apply import Kept
from ..chain.parameter_handover import is_array
from ..chain.state import main_of
from ..flow.record.loss import Loss
from ..models import Program
from ..network.checks import check_loss
from ..texts import told
from ..train.descent import Trainee, begun, descended, learned, loss_through, trainee_of, tree_of
from ..train.steps import Optimizer, check_optimizer
from .answer import FEWEST, ScalingCheck, log_rms_along

Build = Callable[..., tuple[Any, Optimizer]]
Shapes = dict[str, tuple[int, ...]]  # of the parameter arrays, by their paths
Record = list[np.ndarray]  # the last four fields of `ScalingCheck`, of one size
OfSize = tuple[tuple[str, ...], Shapes, Record]  # names of layers, shapes of arrays, the record
PLACES = {"1/4 up": 1 / 4, "1/2 up": 1 / 2, "3/4 up": 3 / 4}  # of the layers below the last one
NUMBER = re.compile(r"\d+")


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
            model is what `jaxnn.diagnose` takes: a module of Equinox
            or Flax NNX, a pair (f, params), a list of layers or a pair (net, params) of ours. The
            optimiser is of optax, and sees the pytree of the model's floats, so that step sizes may
            differ by array. Both may depend on the size.
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

    def of_size(size: int) -> OfSize:
        return _at_size(lambda seed: build(**{axis: size}, seed=seed), size, given, steps, seeds)

    found = [_at_places(of_size(size)) if axis == "depth" else of_size(size) for size in sizes]
    layers, arrays, records = zip(*found, strict=True)
    for size, names, shapes in zip(sizes, layers, arrays, strict=True):
        if (names, [*shapes]) != (layers[0], [*arrays[0]]):
            raise ValueError(
                f"build: expected the same layers and parameter arrays at every {axis}, but for "
                f"numbers in the paths of a deeper network's, got {len(names)} layers at "
                f"{size} and {len(layers[0])} at {sizes[0]}, or other paths"
            )
    of_arrays = tuple(zip(*(of_size.values() for of_size in arrays), strict=True))
    fields = map(np.array, zip(*records, strict=True))
    dtype = np.dtype(jnp.result_type(float)).name
    return ScalingCheck(axis, tuple(sizes), layers[0], tuple(arrays[0]), of_arrays, dtype, *fields)


def _at_size(build: Build, size: int, given: Program, steps: int, seeds: int) -> OfSize:
    """Train the networks of one size; return names of layers, shapes of arrays, and the record."""
    model, optimizer = _returned(build, 0)
    program = given.but(model=model)
    if program.of_torch:
        raise TypeError(
            "build: expected a network of JAX, got a module of PyTorch; a Sequential of Linear and "
            "activations becomes one by jaxnn.as_network(module)"
        )
    trainee = trainee_of(program)
    trees = [trainee.tree]
    for seed in range(1, seeds):
        other = _returned(build, seed)[0]
        trees.append(_filled(trainee.tree, other, f"size {size} for seed {seed}"))
    courses = [_course(trainee._replace(tree=tree), optimizer, steps, given.xs) for tree in trees]
    *fields, branches = (np.array(v, np.float64) for v in zip(*courses, strict=True))
    flat = jax.tree_util.tree_flatten_with_path(learned(trainee.tree))[0]
    shapes = {jax.tree_util.keystr(path): np.shape(v) for path, v in flat}
    return trainee.net.names, shapes, [*fields, branches[:, 0]]


def _at_places(of_depth: OfSize) -> OfSize:
    """Reduce what a depth has to places that all have, and to kinds of arrays: * for a number."""
    layers, arrays, (size, change, update, branch) = of_depth
    below = len(layers) - 2
    if below < 1:
        raise ValueError(f"build: expected three layers or more, got {len(layers)}")
    at = [0, *(round(share * below) for share in PLACES.values()), below, below + 1]
    kinds: dict[str, list[int]] = {}
    for i, path in enumerate(arrays):
        kinds.setdefault(NUMBER.sub("*", path), []).append(i)
    updates = [log_rms_along(-1, update[..., which]) for which in kinds.values()]
    counts = np.array([*map(math.prod, arrays.values())])
    entries: Shapes = {path: (int(counts[which].sum()),) for path, which in kinds.items()}
    names = ("first", *PLACES, "last but one", "last")
    return names, entries, [size[..., at], change[..., at], np.stack(updates, axis=-1), branch]


def _returned(build: Build, seed: int) -> tuple[Any, Optimizer]:
    """Return the model and the optimiser of a seed."""
    made = build(seed)
    if not isinstance(made, tuple) or len(made) != 2:
        got = f"{len(made)} values" if isinstance(made, tuple) else type(made).__name__
        raise TypeError(
            "build: expected it to return a pair (model, optimizer), such as "
            f"((f, params), optax.adam(1e-3)), got {got}"
        )
    return made[0], check_optimizer(made[1])


def _filled(tree: PyTree, model: Any, where: str) -> PyTree:
    """Return a pytree with the arrays of another seed's model."""
    leaves, structure = jax.tree.flatten(tree)
    arrays = [v for v in jax.tree.leaves(tree_of(model)) if is_array(v)]
    if [v.shape for v in leaves if is_array(v)] != [v.shape for v in arrays]:
        raise ValueError(
            "build: expected arrays of the same shapes for every seed, got others at "
            f"{where} than for 0"
        )
    given = iter(arrays)
    return jax.tree.unflatten(structure, [next(given) if is_array(v) else v for v in leaves])


@compiled
def _course(trainee: Trainee, optimizer: Optimizer, steps: int, xs: PyTree) -> tuple[Array, ...]:
    """Train for some steps; return the fields of a check, each with an axis of steps in front."""
    start, opt_state = begun(trainee, optimizer)

    def step(carry: tuple[Any, ...], _: None) -> tuple[Any, tuple[Array, ...]]:
        before, now, opt_state = carry  # of the step after the last, the states before it alone
        *after, _loss, (_output, states) = descended(trainee, optimizer, now, opt_state, xs, _main)
        floats, changes = jax.tree.map(jnp.subtract, (now, states), before)
        updates = jnp.stack([_log_rms(whole(at_least_float32(v))) for v in jax.tree.leaves(floats)])
        record = _log_sizes(states), _log_sizes(changes), updates, _log_branch(states)
        return ((now, states), *after), record

    before = start, loss_through(trainee, xs, _main)(start)[1][1]
    record: tuple[Array, ...] = lax.scan(step, (before, start, opt_state), length=steps + 1)[1]
    return record


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
