"""A sweep: a network built at every point of a grid, and its gradient measured there.

`axes -> points -> build(**point) -> jaxnn.diagnose -> rows, words, chart`
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..progress import live
from ..returned import diagnosis_of
from ..texts import told
from .frame import Measured, Sweep
from .plain import plain
from .points import SEED, Axes, Point, points_of, shown

log = logging.getLogger("jaxnn.sweep")


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
        theory: as for `jaxnn.diagnose`.
        axes: for each argument its values, or one value. Of plain networks: depth (hidden layers;
            16), width (64), activation ("tanh"), weights and biases (as for `jaxnn.init`), hidden
            (a block of `jaxnn.blocks`).

    Returns:
        Sweep: a row for each network, which `pandas.DataFrame` and `polars.DataFrame` take; `print`
        it, or see `.chart()` and `.layers()`. Ctrl-C ends it with what was measured.

    Raises:
        ValueError: one sentence on an axis, or on the first network. What fails later has a row
            with its reason.
        TypeError: a `build` that cannot be called.

    Example:
        >>> import jaxnn
        >>> pairs = {"activation": ["sigmoid", "relu"], "weights": ["glorot_uniform", "he_normal"]}
        >>> found = jaxnn.sweep(paired=pairs, depth=12, width=32, seed=0)
        >>> [(row["activation"], row["word"]) for row in found]
        [('sigmoid', 'vanishing'), ('relu', 'steady')]
    """
    build = plain if build is None else build
    if not callable(build):
        raise TypeError(f"build: expected a function that builds a network, got {told(build)}")
    points = points_of(build, axes, paired, seed)
    measured: list[Measured] = []
    with live():
        try:
            for number, point in enumerate(points, 1):
                log.info("network %d of %d: %s", number, len(points), _words(point))
                measured.append(_measured(build, point, theory, measured))
        except KeyboardInterrupt:
            if not measured:
                raise
    return Sweep(tuple(measured), len(points) - len(measured))


def _measured(
    build: Callable[..., Any], point: Point, theory: bool, before: Sequence[Measured]
) -> Measured:
    """Measure one network; what fails after others were measured has a reason instead."""
    target = f"{getattr(build, '__name__', 'build')}({_words(point)})"
    seed = point.get(SEED, 0)
    try:
        found = diagnosis_of(build(**point), target, "all", int(seed), theory=theory)
    except (ValueError, TypeError, ArithmeticError, MemoryError) as mistake:
        if not before:
            raise
        return Measured(point, None, reason=str(mistake) or type(mistake).__name__)
    of = found.verdict
    return Measured(point, found.flow, of.word, of.decades, of.standard_error, of.total)


def _words(point: Point) -> str:
    return ", ".join(f"{name}={shown(value)}" for name, value in point.items())
