"""Alarms on the loss: of every step, where it is handed over, and with what agrees with it.

    spike       three losses in a row, or a very large one, far above those of the steps before
    diverges    a loss that leaves where it began upwards, before it is infinite
    plateau     a loss that never falls, though the weights move and it could change with them
    unlearnt    a loss that falls by what the top layer learns alone
    endless     a loss that falls without end below 0, as weights grow
    order       labels that come one class after the other, as several batches show together

The loss is compared with itself, so that neither its unit nor its sign matters: `fallen` is by how
much it has fallen since the first steps, and `usual` by how much the largest of late exceeds the
median.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from ...rules import Sight, one_of
from ..measurements import ALARMS, Measurements
from ..step_record import Steps
from .updates import (
    FLAT,
    FLAT_STEPS,
    LARGE_UPDATE,
    LEAST_LEVERAGE,
    SLOW_LIKE,
    SLOW_UPDATE,
    SMALL_STEP,
)

WINDOW, LEAST_WINDOW = 100, 20  # steps
LASTING = 3  # steps of a spike
UNDONE, FAR = 0.2, 3.0  # of what has fallen; times the usual excess
HUGE = 10.0  # times, of one step alone
LARGER = 0.7  # decades of an update above their median
BLOCKS, BLOCK = 4, 10  # medians that rise, of so many steps
NO_SLOWER, OUTWARDS, TRIPLED = 0.7, 0.8, 3.0  # of a fall; a cosine; times, of a weight
FAR_OFF = 5.0  # times the first loss
GROWN = 1.0  # decades of an update over the first
FEWEST, RECENT = 3, 8  # measurements that tell, and those that are looked at
FEWEST_LABELS = 8  # of a batch


@ALARMS.rule(
    "spike",
    says="the loss is {loss:.3g}{cause}; before step {since} it was {usual:.3g}",
    advises="Look at the batch of that step; try clipping, or a smaller learning rate from a "
    "checkpoint before it.",
    every_step=True,
    of_games=True,
)
def spike(seen: Measurements) -> Iterator[Sight]:
    """A loss that jumps.

    Three losses in a row are above the median of the last hundred steps, or of the later half of
    all, by three times what the largest of these was, and by a fifth of all that the loss has
    fallen; or one is by ten times both.

    A batch that is unlike the others, labels that have changed, or a step that was too large; the
    last is said if the update before it (in PyTorch the gradient) was five times as large as usual.
    """
    losses = seen.steps.column("loss", WINDOW + LASTING)
    window, last = earlier_losses(seen.steps), losses[-LASTING:]
    if len(window) < LEAST_WINDOW or not np.isfinite(losses).all():
        return
    if last[-1] <= window.max():  # of most steps, and a median takes longer
        return
    median = float(np.median(window))
    rise, far = last - median, FAR * (window.max() - median)
    # Most steps are done here; what follows takes longer.
    if rise[-1] <= far or seen.trend is None:
        return
    first = seen.trend.first
    least = max(far, UNDONE * (first - median), FLAT * abs(first))
    if rise.min() > least:
        begins = LASTING
    elif rise[-1] > HUGE * max(least, first - median):
        begins = 1
    else:
        return
    values = {"loss": float(last[-1]), "usual": median, "since": seen.step + 1 - begins}
    yield Sight(values=values | {"cause": _large_step(seen, begins)})


def earlier_losses(steps: Steps) -> Float[np.ndarray, " n"]:
    """Return the losses before the last three, of the later half: without a fall at the start."""
    losses = steps.column("loss", WINDOW + LASTING)[:-LASTING]
    return losses[-max(LEAST_WINDOW, len(steps) // 2) :]


def _large_step(seen: Measurements, begins: int) -> str:
    """Say that the step before the last few was large, if it was.

    Of JAX its update is known, of PyTorch the gradient that the optimiser took, of steps that were
    looked at.
    """
    for name in ("update", "gradient"):
        sizes = seen.steps.column(f"log10_{name}", WINDOW)[:-begins]
        times = 0.0 if np.isnan(sizes[-1]) else sizes[-1] - np.nanmedian(sizes)
        if times > LARGER:
            article = "an" if name == "update" else "a"
            return f" after {article} {name} {10**times:.3g} times as large as usual"
    return ""


@ALARMS.rule(
    "diverges",
    says="the loss has risen from {first:.3g} to {loss:.3g}{cause}",
    advises="Try a smaller learning rate, a warm-up or clipping; check the sign of the loss.",
    changes="step, minus, minus update",
    every_step=True,
    of_games=True,
)
def diverges(seen: Measurements) -> Iterator[Sight]:
    """A loss that rises.

    Medians of ten losses rise four times in a row, to twice the first loss; or three losses in a
    row are five times the first one, and updates have grown tenfold or are a tenth of the weights.

    Training diverges. The step is said to be too large if updates grow with the loss or are a tenth
    of the weights.
    """
    losses = seen.steps.column("loss", BLOCKS * BLOCK)
    if len(losses) < LASTING or not np.isfinite(losses).all():
        return
    is_far = losses[-LASTING:].min() > FAR_OFF * abs(seen.steps.first[0].loss) > 0
    medians = _rising(losses)
    least = min((v.loss for v in seen.steps.first if not np.isnan(v.loss)), default=np.inf)
    # To twice the first loss, and not by one jump alone; most steps end here, before a trend.
    is_high = len(medians) and medians[-1] - least > abs(least)
    if not (is_far or is_high) or seen.trend is None:
        return
    cause, first = _cause(seen), seen.trend.first
    is_steady = len(medians) and medians[-1] - first > abs(first) and medians[-2] > first
    if (is_far and cause) or is_steady:
        yield Sight(values={"first": first, "loss": float(losses[-1]), "cause": cause})


def _rising(losses: Float[np.ndarray, " n"]) -> Float[np.ndarray, " m"]:
    """Return medians of the last losses if each is larger than the one before; else none."""
    if len(losses) < BLOCKS * BLOCK:
        return np.array([])
    medians = _medians(losses)
    return medians if (np.diff(medians) > 0).all() else np.array([])


def _medians(losses: Float[np.ndarray, " n"]) -> Float[np.ndarray, " m"]:
    """Return the median of each block of losses; `np.median` takes ten times as long."""
    middle = np.sort(losses.reshape(BLOCKS, BLOCK))[:, [(BLOCK - 1) // 2, BLOCK // 2]]
    medians: np.ndarray = middle.mean(axis=1)
    return medians


def _cause(seen: Measurements) -> str:
    """Say that steps are too large, if updates have grown tenfold or are a tenth of the weights."""
    sizes = seen.steps.column("log10_update")
    if len(sizes) and sizes[-1] - sizes[0] > GROWN:
        times = 10 ** (sizes[-1] - sizes[0])
        return f": updates are {times:.3g} times as large as the first, the step is too large"
    ratio = seen.usual_ratio
    if ratio >= np.log10(LARGE_UPDATE):
        return f": a step changes half of the weights by {10**ratio:.2g} times their size, too much"
    return ""


@ALARMS.rule(
    "plateau",
    says=one_of(
        "at",
        start="the loss is {loss:.3g} after {steps} steps and was {first:.3g}: it does not fall, "
        "though a step changes half of the weights by {ratio:.1g} of their size and Δ is large "
        "enough",
        constant="the loss stays at {loss:.3g}, that of a constant answer with the shares of the "
        "classes: nothing is learned from the inputs",
    ),
    advises="Check that labels belong to their inputs, and the loss and its sign; try a larger "
    "step or network; in a game of two networks `adversarial=True`.",
    unless="update slow still schedule unreached diverges",
    of_games=True,
)
def plateau(seen: Measurements) -> Iterator[Sight]:
    """A loss that never falls.

    The loss of the last hundred steps is within 2 % of where it began at step 0, though weights
    move, and Δ is large enough that a hundredth of a change in them would show. Or that of the last
    two hundred is within 2 % of the cross entropy of the shares of the classes, and stays.

    Neither the gradient nor the step is too small, but what is learnt does not help: labels without
    information, a loss that does not measure them, or an error in between.
    """
    losses = seen.steps.column("loss", 2 * FLAT_STEPS)
    trend, ratio, constant = seen.trend, seen.usual_ratio, float(np.median(seen.labels[:, -1]))
    if len(losses) < FLAT_STEPS or not np.isfinite(losses).all() or trend is None:
        return
    steps = seen.step - seen.steps.first[0].step
    values = {"loss": trend.last, "first": trend.first, "steps": steps, "ratio": float(10**ratio)}
    if len(losses) == 2 * FLAT_STEPS and _stays_at(losses, constant, FLAT / 4):
        yield Sight(values=values | {"at": "constant"})
        return
    moves = np.log10(SMALL_STEP) < ratio < np.log10(LARGE_UPDATE)
    is_clear = moves and seen.leverage >= LEAST_LEVERAGE and not seen.steps.first[0].step
    if is_clear and _stays_at(losses[-FLAT_STEPS:], trend.first, FLAT):
        yield Sight(values=values | {"at": "start"})


def _stays_at(losses: Float[np.ndarray, " n"], level: float, change: float) -> bool:
    """Tell whether losses are near a level and change by less than a share of it.

    False where losses of batches differ by more than they are, since medians say little there.
    """
    low, high = np.quantile(losses, (0.1, 0.9))
    median, late = np.median(losses), np.median(losses[len(losses) // 2 :])
    is_near = abs(late - level) < FLAT * abs(level)
    return bool(is_near and abs(late - median) < change * abs(level) and high - low <= abs(level))


@ALARMS.rule(
    "unlearnt",
    says=one_of(
        "why",
        delta="the loss falls, and below layer {name} weights move by {ratio:.1g} of their size at "
        "most: Δ is that small there, and the upper layers learn alone",
        step="the loss falls, and below layer {name} weights move by {ratio:.1g} of their size at "
        "most: the upper layers learn alone",
    ),
    advises="`jaxnn.diagnose` shows the gradient below that layer; `jaxnn.cures` tries changes.",
    changes="draw, norm, pre-norm",
    unless="unoptimised still unreached slow",
)
def unlearnt(seen: Measurements) -> Iterator[Sight]:
    """A loss that falls while nothing is learnt below.

    The loss has fallen by a tenth, and in two measurements weights below some layer have moved by
    less than 0.00002 of their size, and by less than a thousandth of what those above move.

    The top of the network learns from states that were drawn: the gradient does not reach what
    makes them.
    """
    if len(seen) < 2 or seen.trend is None or not seen.trend.falls:
        return
    ratio = np.fmax(seen.update_ratio(), seen.update_ratio(back=1))
    weights = np.flatnonzero(np.isfinite(ratio))
    still = weights[ratio[weights] < np.log10(SLOW_UPDATE)]
    if not len(still):
        return
    layer = int(seen.layers[still].max()) + 1
    below, above = (
        weights[v] for v in (seen.layers[weights] < layer, seen.layers[weights] >= layer)
    )
    if set(below) != set(still) or not len(above):
        return
    if ratio[below].max() - np.median(ratio[above]) < np.log10(SLOW_LIKE):
        asked = seen.column("parameters", "log10_delta") - seen.column("parameters", "log10_size")
        is_delta = np.median(asked[below]) - np.median(asked[above]) < np.log10(SLOW_LIKE)
        why = "delta" if is_delta else "step"
        yield Sight(layer, values={"why": why, "ratio": float(10 ** ratio[below].max())})


@ALARMS.rule(
    "endless",
    says="the loss is {loss:.3g}, below 0, and falls as fast as before, while {array} has become "
    "{times:.3g} times as large by updates that point outwards: it falls without end",
    advises="Check the signs of the terms of the loss, and that logarithms and products in it are "
    "bounded.",
    changes="usual loss",
    of_games=True,
)
def endless(seen: Measurements) -> Iterator[Sight]:
    """A loss that falls without end.

    Four medians of ten losses are below 0 and fall, the last no less than seven tenths of the
    first; and a weight is three times as large as it was, by updates that point away from zero: the
    cosine between them and it is above 0.8.

    The loss has no lowest value: a term of it has the wrong sign, or lacks what bounds it.
    """
    losses = seen.steps.column("loss", BLOCKS * BLOCK)
    if len(losses) < BLOCKS * BLOCK or len(seen) < 2:
        return
    medians = _medians(losses)
    falls = -np.diff(medians)
    if not (medians < 0).all() or not falls.min() > 0 or falls[1:].min() < NO_SLOWER * falls[0]:
        return
    now, then = (seen.column("parameters", "log10_size", back) for back in (0, len(seen) - 1))
    grown = np.where(np.isfinite(now - then) & seen.weights, now - then, -np.inf)
    grown = np.where(seen.column("parameters", "radial") > OUTWARDS, grown, -np.inf)
    array = int(np.argmax(grown))
    if grown[array] >= np.log10(TRIPLED):
        yield seen.sight(array, {"loss": float(losses[-1]), "times": float(10 ** grown[array])})


@ALARMS.rule(
    "order",
    says="each of {count} batches has labels of one class, or of two classes in turn, and other "
    "batches have other classes: the examples are sorted by class",
    advises="Shuffle examples and labels together before each epoch.",
    of_games=True,
)
def sorted_batches(seen: Measurements) -> Iterator[Sight]:
    """Batches of one class each.

    In the last three to eight measurements the labels of a batch, eight or more, change at most
    once from one example to the next, and are not of the same class in all of them.

    The examples come in the order of their classes, so each step unlearns what others taught.
    """
    usual, changes, count, _ = seen.labels[-RECENT:].T
    is_told = len(count) >= FEWEST and count.min() >= FEWEST_LABELS
    if is_told and changes.max() <= 1 and np.ptp(usual) > 0:
        yield Sight(values={"count": len(count)})
