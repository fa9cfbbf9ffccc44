"""A sweep: a network built at every point of a grid, and its gradient measured there.

`axes -> points -> build(**point) -> jaxnn.diagnose -> rows, words, chart`
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..arrays import memory
from ..arrays.arguments import check_arguments, check_integer
from ..blocks import Block
from ..initializers import Biases, Weights, init
from ..network.network import Network
from ..progress import live
from ..returned import diagnosis_of
from ..texts import in_words
from .frame import Sweep, SweptNetwork, check_names
from .points import SEED, Axes, Point, as_call, called, check_build, points_of

log = logging.getLogger("jaxnn.sweep")

EXAMPLES = 32  # of a plain network
LAYER = 1000  # bytes that are kept of a layer next to its numbers


def sweep(
    build: Callable[..., Any] | None = None,
    *,
    paired: Axes | None = None,
    seed: Iterable[int] | int | None = None,
    theory: bool = False,
    **axes: Any,
) -> Sweep:
    """Measure the gradient of a network for all depths, activations, widths, … that you name.

    Each axis is an argument of `build`, so an axis of your own is an argument of your own. Without
    `build` the networks are plain ones: dense layers, see the arguments below.

    Args:
        build: returns what `jaxnn.diagnose` takes: (model, xs), (model, xs, ys), or a dict with its
            arguments. It is called with one value of each axis, by name.
        paired: axes whose values are taken side by side, of equal length, such as
            {"activation": ["tanh", "relu"], "weights": ["glorot_uniform", "he_normal"]}: two
            networks, not four.
        seed: the values of the argument `seed`; 0, 1 and 2 if `build` has one.
        theory: see `jaxnn.gradient_flow`.
        axes: for each argument its values, or one value; an array of NumPy, JAX or torch has the
            numbers in it. Of plain networks: depth (hidden layers; 16), width (64), activation
            ("tanh"), weights and biases (as for `jaxnn.init`), hidden (a block of `jaxnn.blocks`).

    Returns:
        Sweep: a row for each network, which `pandas.DataFrame` and `polars.DataFrame` take; `print`
        it, or see `.chart()` and `.layers()`. Ctrl-C ends it with what was measured.

    Raises:
        ValueError: one sentence on an axis, such as one with the name of a column. The first
            network raises what it ends with; one that fails later has a row with the reason.
        TypeError: a `build` that cannot be called.

    Example:
        >>> import jaxnn
        >>> pairs = {"activation": ["sigmoid", "relu"], "weights": ["glorot_uniform", "he_normal"]}
        >>> found = jaxnn.sweep(paired=pairs, depth=12, width=32, seed=0)
        >>> [(row["activation"], row["word"]) for row in found]
        [('sigmoid', 'vanishing'), ('relu', 'steady')]
    """
    check_arguments(False, theory=theory)
    build = plain if build is None else check_build(build)
    check_names([*axes, *(paired or {})])
    points = points_of(build, axes, paired, seed)
    measured = _each_measured(build, theory, points)
    return Sweep(tuple(measured), len(points) - len(measured))


def _each_measured(
    build: Callable[..., Any], theory: bool, points: Sequence[Point]
) -> list[SweptNetwork]:
    """Return each network as it was measured, or its reason; Ctrl-C ends it with what there is."""
    measured: list[SweptNetwork] = []
    with live():
        try:
            for number, point in enumerate(points, 1):
                log.info("network %d of %d: %s", number, len(points), as_call(point))
                try:
                    measured.append(_measured(build, theory, point))
                except (Exception, SystemExit) as error:  # of the user's function, or no memory
                    if not measured:
                        raise
                    reason = in_words(error).removeprefix("ValueError: ")
                    measured.append(SweptNetwork(point, None, reason=reason))
        except KeyboardInterrupt:
            if not measured:
                raise
    return measured


def _measured(build: Callable[..., Any], theory: bool, point: Point) -> SweptNetwork:
    """Measure one network."""
    options = {"seed": int(point.get(SEED, 0)), "theory": theory}
    diagnosis = diagnosis_of(build(**point), called(build, point), **options)
    said = diagnosis.verdict
    numbers = said.word, said.decades, said.standard_error, said.total
    return SweptNetwork(point, diagnosis.flow, *numbers)


def plain(
    depth: int = 16,
    width: int = 64,
    activation: str = "tanh",
    weights: Weights = "glorot_uniform",
    biases: Biases = "zeros",
    hidden: Block | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Return a network of hidden layers of one width, its parameters, and a batch."""
    # Examples and targets are standard normal, the loss is the squared error of one output.
    check_integer("depth", depth, 0)
    check_integer("width", width, 1)
    needed = depth * (width**2 * jnp.result_type(float).itemsize + LAYER)
    memory.check(needed, "depth or width", f"a network of {depth} layers of {width} units")
    options = {} if hidden is None else {"hidden": hidden}
    net = Network((width,) * (depth + 1) + (1,), activation, "regression", **options)
    of_params, of_xs, of_ys = jax.random.split(jax.random.key(seed), 3)
    return {
        "model": (net, init(net, of_params, weights, biases, stacked=True)),
        "xs": jax.random.normal(of_xs, (EXAMPLES, width)),
        "ys": jax.random.normal(of_ys, (EXAMPLES, 1)),
    }
