"""Alarms on what a step does to the parameters: how large it is, and what does not move.

ratio     log₁₀ ‖update‖ / ‖θ‖ of each weight
radial    the cosine between update and array: -1 where it only shrinks
held      whether an optimiser of PyTorch holds the array; not known of JAX
"""

from collections.abc import Iterator

import numpy as np

from ...rules import Sight, one_of
from ...texts import percent
from ..measurements import ALARMS, FEW, Measurements, PerArray
from .states import LOG2, pace

LARGE_UPDATE, LARGEST_UPDATE, SMALL_UPDATE = 0.1, 0.3, 1e-3  # of the weight
SLOW_UPDATE, SLOW_LIKE = 2e-5, 1e-3  # of the weight; of the update of the others
SMALL_STEP, FLAT, FLAT_STEPS = 3e-4, 0.02, 100  # of the weight, while a loss stays for so long
SLOW_STEPS = 50  # after which weights have moved by about a hundredth at such steps
LEAST_LEVERAGE = 1e-3  # of weights over the loss, without which no step would help
LOST_SIZE, HALF_LIFE, SHRINKS = 0.3, 1000, -0.5  # of weights, steps, cosine
SAME, OTHER = 1e-3, 1e-2  # of decades: one factor for all arrays; sizes that differ
ENTRIES_DIFFER = 0.04  # decades of gradients whose entries are clipped to one size
CUT_SHORT = 0.5  # decades by which a clip shortens a gradient
GROWN, SAME_SIZE = 3.0, 0.3  # times, of a gradient that adds up; decades in which it is one size
IN_ROW = 10  # steps
FALLING, LEFT = (8, 16), 0.01  # measurements in which steps shrink; of weights, all that are left
BENT = 1.25  # times as fast: a cosine or a line to 0 falls ever faster
FIVEFOLD, TENFOLD, SOME = 5.0, 10.0, 20  # times, of weights and of a state; steps
ROUNDED = 30.0  # steps between numbers of a format, in which an update may be lost
MOVED = 0.5  # of the entries


@ALARMS.rule(
    "unoptimised",
    says="{array} has a gradient, but no optimiser of this step holds it{more}",
    advises="Hand it to the optimiser; if it is frozen on purpose, `intended=` with its path.",
    changes="all learn",
)
def unoptimised(seen: Measurements) -> Iterator[Sight]:
    """Arrays that the optimiser does not have.

    An array has a Δ and stays equal from the start on; in PyTorch, no optimiser that takes the step
    holds it, in JAX it is handed on as the array that it was.

    It keeps the numbers that it was drawn with: nobody has handed it to the optimiser, or its
    update is thrown away. What is updated by zeros, as by `optax.set_to_zero`, is frozen.
    """
    left_out = np.flatnonzero(seen.never_moved() & (seen.column("parameters", "held") == 0))
    if len(left_out):
        more = f", nor {len(left_out) - 1} more" if len(left_out) > 1 else ""
        yield seen.sight(int(left_out[0]), {"more": more})


@ALARMS.rule(
    "still",
    says=one_of(
        "extent",
        all="no parameter has moved in {steps} steps, although the gradient is not zero: no step "
        "is taken, or each is rounded away{or_skipped}",
        skipped="no parameter has moved in {steps} steps: the gradient that the optimiser is to "
        "take is infinite, and the step is skipped: the loss scale may be too large",
        one="{array} has not moved in {steps} steps, although its gradient is not zero",
        since="{array} has been frozen since step {since} (requires_grad=False), and moved before",
    ),
    advises="A step size above 0, also for each group; the optimiser's step called, and what it "
    "returns handed on; where gradients are infinite, a smaller loss scale, or one that adapts; if "
    "an array is frozen on purpose, `intended=` with its path.",
    changes="all learn, step, adam",
    unless="unoptimised",
)
def still(seen: Measurements) -> Iterator[Sight]:
    """Arrays that do not move.

    All weights that have a Δ are exactly equal for fifty steps, also between the measurements, for
    ten if an optimiser takes them or would take an infinite gradient; or, in PyTorch, one that an
    optimiser holds is, or one that moved before is frozen in two measurements.

    The step size is 0 or rounded away, what the optimiser returns is not used, a loss scale has
    every step skipped, or the weight was frozen and not thawed.
    """
    stays = seen.never_moved() & seen.weights
    if not stays.any():
        yield from _frozen(seen)
        return
    steps, held = seen.step - seen.lines[0]["step"], seen.column("parameters", "held") == 1
    skips = np.isposinf(seen.last("parameters", "log10_gradient", 2)).any(axis=1).all()
    if steps < (IN_ROW if held.any() or skips else SLOW_STEPS):
        return
    if seen.all_stay(stays):
        extent = "skipped" if skips else "all"
        or_skipped = ", or skipped for its scaled loss" if seen.dtype == "float16" else ""
        yield Sight(values={"extent": extent, "steps": steps, "or_skipped": or_skipped})
        return
    for array in np.flatnonzero(stays & held):
        yield seen.sight(int(array), {"extent": "one", "steps": steps})


def _frozen(seen: Measurements) -> Iterator[Sight]:
    """Yield the weights that moved and are frozen in two measurements, which have no Δ then."""
    if len(seen) < 3:
        return
    now, delta = (seen.last("parameters", f"log10_{v}", 2) for v in ("update", "delta"))
    is_frozen = (np.isneginf(now) & np.isnan(delta)).all(axis=0) & seen.weights
    if is_frozen.any() and np.isfinite(now).all(axis=0).any():
        is_frozen &= np.isfinite(seen.earlier("parameters", "log10_update")[-1])
        for array in np.flatnonzero(is_frozen):
            yield seen.sight(int(array), {"extent": "since", "since": seen.lines[-2]["step"]})


@ALARMS.rule(
    "schedule",
    says=one_of(
        "how",
        zero="every update has been exactly zero since step {since}, although the gradient is "
        "not: the step size is 0",
        ends="every update has been exactly zero since step {since}, although neither the gradient "
        "nor the step size is: the optimiser has stopped, as L-BFGS does near a minimum",
        one="{array} has not moved since step {since}, although its gradient is not zero, "
        "others move and it moved before: its step size is 0",
        falls="a step is {times:,.0f} times smaller than at step {since}, because the step size "
        "has fallen: if that goes on, all further steps together change half of the weights by "
        "{left:.1g} of their size",
    ),
    advises="A schedule as long as the training, counted in what its function is called with: "
    "steps or epochs; another optimiser, where one has stopped by itself; if an array was frozen "
    "on purpose, `intended=` with its path.",
    changes="adam",
    unless="decay",
)
def ended_schedule(seen: Measurements) -> Iterator[Sight]:
    """A step size that has reached zero, or all but.

    All updates are exactly zero in two measurements and between them, although Δ is not and they
    were not before; or those of a weight that moved by more than rounding. Or over 8 or 16
    measurements updates have become a hundred times smaller relative to weights and to Δ (in
    PyTorch ten times, if the step size has fallen too), all the time and as fast in the second half
    as in the first, so that all that follow would change weights by less than a hundredth of their
    size. A momentum that begins with the first gradient makes updates some ten times smaller.
    Silent after `decay`, for at the end of a decay updates are zero at any step size.

    The schedule of the step size has ended before the training, or is about to.
    """
    stays = seen.stays()
    if len(seen) > 2 and stays.any():
        since, ended = seen.lines[-2]["step"], stays & seen.weights
        if seen.all_stay(stays) and np.isfinite(seen.earlier("parameters", "log10_update")).any():
            is_open = (seen.column("parameters", "rate")[seen.weights] > 0).any()
            yield Sight(values={"how": "ends" if is_open else "zero", "since": since})
        elif np.isfinite(seen.column("parameters", "log10_update")).any():
            ended &= _moved_clearly(seen) & ~(seen.column("parameters", "rate") > 0)
            for array in np.flatnonzero(ended):
                yield seen.sight(int(array), {"how": "one", "since": since})
    for count in FALLING if not stays.any() else ():
        if len(seen) >= count:
            yield from _falling_steps(seen, count)


def _falling_steps(seen: Measurements, count: int) -> Iterator[Sight]:
    """Yield steps that become smaller so fast that hardly any way is left."""
    update, size, delta = (
        seen.last("parameters", f"log10_{v}", count)[:, seen.weights]
        for v in ("update", "size", "delta")
    )
    known = (np.isfinite(update) & np.isfinite(size) & np.isfinite(delta)).all(axis=0)
    if not known.any():
        return
    ratio, rate = (np.median((update - v)[:, known], axis=1) for v in (size, delta))
    fallen, in_half = ratio[0] - ratio[-1], ratio[0] - ratio[count // 2 - 1 : count // 2 + 1]
    early, late = in_half.mean(), fallen - in_half.mean()
    with_step_size = _fallen_step_size(seen, known, count)
    least = 2.0 if np.isnan(with_step_size) else 1.0
    if min(fallen, rate[0] - rate[-1]) < least or not early / 2 < late < BENT * early:
        return
    if with_step_size < fallen / 2:
        return
    if (ratio[:-2] - ratio[2:]).min() < fallen / 10:  # by one drop, and not all the time
        return
    steps = float(np.ptp(seen.steps_of(count)))
    left = float(10 ** ratio[-1] * steps / (fallen * np.log(10)))
    if left < LEFT:
        since = seen.lines[-count]["step"]
        yield Sight(values={"how": "falls", "times": 10**fallen, "since": since, "left": left})


def _fallen_step_size(seen: Measurements, known: np.ndarray, count: int) -> float:
    """Return by how many decades the step size of half of the weights has fallen; nan of JAX."""
    rates = np.log10(seen.last("parameters", "rate", count)[:, seen.weights][:, known])
    return float(np.median(rates[0] - rates[-1]))


def _moved_clearly(seen: Measurements) -> np.ndarray:
    """Tell of arrays whether the last update before two measurements was far above rounding.

    False of those that had none.
    """
    before = np.where(np.isfinite(v := seen.earlier("parameters", "log10_update")), v, np.nan)
    last = np.array([column[~np.isnan(column)][-1:].sum() or np.nan for column in before.T])
    size = seen.column("parameters", "log10_size")
    return np.asarray(last - size > seen.rounding + np.log10(ROUNDED)) & ~np.isnan(last)


@ALARMS.rule(
    "rounding",
    says=one_of(
        "extent",
        all="{array} does not change, although its gradient is not zero: {dtype} rounds the "
        "update away",
        part="{part} of the entries of {array} move in a step, by little more than the distance "
        "of numbers in {dtype}: it rounds the other updates away",
    ),
    advises="In 16 bits float32 weights with a cast in the forward pass, or stochastic rounding; "
    "in float32 a larger step.",
    changes="step",
    unless="schedule",
)
def rounded_away(seen: Measurements) -> Iterator[Sight]:
    """Updates that rounding removes.

    A weight that used to move by little more than rounding stays exactly constant over two
    measurements, although it has a Δ and others move; or, in 16 bits, fewer than half of the
    entries move in two measurements, and by no more than rounding.

    The update is smaller than half a rounding step of the weight's format.
    """
    if len(seen) < 2:
        return
    dtypes = [array.get("dtype", "its dtype") for array in seen.start["parameters"]]
    moved = seen.last("parameters", "moved", 2)
    ratio, share = seen.update_ratio(), moved[-1]
    # ‖update‖ of the entries that move, over as many of θ.
    is_small = ratio - np.log10(share) / 2 < seen.rounding + np.log10(4)
    for array in np.flatnonzero((moved < MOVED).all(axis=0) & (share > 0) & is_small):
        moves = float(share[array])
        values = {"extent": "part", "moved": moves, "part": percent(moves), "dtype": dtypes[array]}
        yield seen.sight(int(array), values)
    still = seen.stays() & seen.weights
    if len(seen) < 3 or not still.any() or still[seen.weights].all():
        return
    still &= ~_moved_clearly(seen) & np.isfinite(seen.earlier("parameters", "log10_update")).any(0)
    for array in np.flatnonzero(still):
        yield seen.sight(int(array), {"extent": "all", "dtype": dtypes[array]})


@ALARMS.rule(
    "update",
    says=one_of(
        "extent",
        half="‖update‖ / ‖θ‖ of {array} is {ratio:.2g}, and {median:.2g} in half of all "
        "weights{outcome}",
        one="‖update‖ / ‖θ‖ of {array} is {ratio:.2g}, for the second time{outcome}",
        grown="half of all weights are {times:.3g} times as large as they were drawn, the state of "
        "layer {name} has grown to {size:.2g}, and the loss does not fall: the step is too large",
    ),
    advises="A smaller learning rate, a warm-up; if it is a single array, a different initial "
    "size.",
    changes="step, draw",
    said_by="decay",
)
def large_update(seen: Measurements) -> Iterator[Sight]:
    """Updates that are too large.

    After the first step, ‖update‖ / ‖θ‖ is at least 0.1 in half of the weights, or at least 0.3 in
    one of them twice, and the loss, if it is known, does not fall. Updates that point to zero and
    make a weight smaller are those of decay, and do not count. Or steps have made half of the
    weights five times as large as they were, and a state ten times, while the median loss does not
    fall from twenty steps to the next twenty.

    Each step replaces a good part of the network.
    """
    if len(seen) < 2:
        return
    ratio = np.where(_shrinks(seen), np.nan, seen.update_ratio())
    if np.isnan(ratio).all():
        return
    yield from _grown(seen)
    trend = seen.trend
    # Of a loss that does not change with the weights, the size of steps is no cause.
    if trend is not None and (trend.falls or seen.leverage < LEAST_LEVERAGE):
        return
    if trend is not None and FEW > len(seen.steps.column("loss")) > 0:
        return  # a loss that comes back from a first large step
    outcome = ""
    if trend is not None:
        outcome = f", and the loss was {trend.first:.3g} and is {trend.last:.3g}: the step is "
        outcome += "too large"
    worst, median = int(np.nanargmax(ratio)), float(np.nanmedian(ratio))
    values = {"ratio": float(10 ** ratio[worst]), "median": float(10**median), "outcome": outcome}
    if median >= np.log10(LARGE_UPDATE):
        yield seen.sight(worst, values | {"extent": "half"})
    both = np.fmin(ratio, seen.update_ratio(back=1))
    if both[worst] >= np.log10(LARGEST_UPDATE):
        yield seen.sight(worst, values | {"extent": "one"})


def _grown(seen: Measurements) -> Iterator[Sight]:
    """Yield the layer whose state has grown most with the weights, if the loss does not fall."""
    losses = seen.steps.column("loss", 2 * SOME)
    if len(losses) < 2 * SOME or not np.median(losses[SOME:]) >= np.median(losses[:SOME]):
        return
    back = len(seen) - 1
    now, then = (seen.column("parameters", "log10_size", v)[seen.weights] for v in (0, back))
    state, at_start = (seen.column("layers", "log10_mean_square", v) / 2 for v in (0, back))
    growth = (now - then)[np.isfinite(now) & np.isfinite(then)]
    layer = int(np.argmax(np.where(np.isfinite(state - at_start), state - at_start, -np.inf)))
    has_grown = min(state[layer], state[layer] - at_start[layer]) >= np.log10(TENFOLD)
    if len(growth) and has_grown and np.median(growth) >= np.log10(FIVEFOLD):
        values = {"times": float(10 ** np.median(growth)), "size": float(10 ** state[layer])}
        yield Sight(layer + 1, values={"extent": "grown", **values})


def _shrinks(seen: Measurements) -> np.ndarray:
    """Tell of arrays that updates make smaller, by pointing to zero."""
    size = seen.last("parameters", "log10_size", 2)
    return np.asarray((size[-1] < size[0]) & (seen.column("parameters", "radial") < SHRINKS))


@ALARMS.rule(
    "slow",
    says=one_of(
        "extent",
        all="‖update‖ / ‖θ‖ has been {ratio:.1g} in half of all weights since the first step, and "
        "the loss has not fallen: the step is too small",
        one="‖update‖ / ‖θ‖ of {array} is {ratio:.1g}, and {median:.1g} in half of all weights, "
        "though its Δ is no smaller than theirs: its step is too small",
    ),
    advises="A larger learning rate, so that a step changes weights by a thousandth of their size.",
    changes="step",
    unless="clip schedule",
)
def slow_update(seen: Measurements) -> Iterator[Sight]:
    """Updates that are too small.

    ‖update‖ / ‖θ‖ of a weight is below a thousandth of what it is in half of them, although its
    Δ / θ is not a tenth of theirs; or it is below 0.00002 in half of them since the first step,
    or below 0.0003 for fifty steps, does not grow, and the loss stays although Δ is large enough to
    change it.

    At this rate the weights stay as they were drawn.
    """
    if len(seen) < 2:
        return
    ratio, before = seen.update_ratio(), seen.update_ratio(back=1)
    known = np.isfinite(ratio) & np.isfinite(before)
    if not known.any():
        return
    median = np.median(ratio[known])
    asked = seen.column("parameters", "log10_delta") - seen.column("parameters", "log10_size")
    lags = np.fmax(ratio, before) - median < np.log10(SLOW_LIKE)
    for array in np.flatnonzero(known & lags & (asked - np.median(asked[known]) > -1)):
        values = {"ratio": float(10 ** ratio[array]), "median": float(10**median)}
        yield seen.sight(int(array), values | {"extent": "one"})
    first = np.median(seen.update_ratio(back=len(seen) - 1)[known])
    trend, limit = seen.trend, SLOW_UPDATE
    if trend is None or trend.falls or seen.leverage < LEAST_LEVERAGE:
        return
    is_flat = abs(trend.last - trend.first) < FLAT * abs(trend.first)
    if is_flat and seen.step - seen.lines[0]["step"] >= SLOW_STEPS:
        limit = SMALL_STEP
    if max(median, first) < np.log10(limit) and median < first + LOG2:
        yield Sight(values={"extent": "all", "ratio": float(10**median)})


@ALARMS.rule(
    "accumulates",
    says=one_of(
        "how",
        added="the gradient that the optimiser takes is {now:.2g} times that of the batch, and was "
        "{then:.2g} times it: gradients of past steps are added up",
        lost="the optimiser steps once in {pieces} pieces of a batch, and takes 1/{pieces} of the "
        "gradient of the last one each time: those of the others are lost",
    ),
    advises="`optimizer.zero_grad()` once before all that is to be added: before each `backward`, "
    "or before the first of several pieces of a batch.",
    changes="zero grad",
)
def added_gradients(seen: Measurements) -> Iterator[Sight]:
    """Gradients that add up, or do not (PyTorch).

    What the optimiser takes is at least three times as large relative to the gradient of the batch
    as it was at the first measurement, in half of the arrays, in two measurements, and was never
    smaller; or in one, and at the first it was that of the batch but for rounding. And it has not
    become smaller in the last three. Or in three measurements it is that of the batch divided by k,
    in all arrays, while steps are handed over every k-th time or the loss is not divided.

    No `zero_grad` is called, so past gradients stay in `.grad`; or it is called before each piece
    of a batch, and all but the last are lost.
    """
    if _adds_up(seen):
        now, then = (10 ** _log10_factor(seen, back) for back in (0, len(seen) - 1))
        yield Sight(values={"how": "added", "now": now, "then": then})
    elif pieces := _pieces_lost(seen):
        yield Sight(values={"how": "lost", "pieces": pieces})


def _adds_up(seen: Measurements) -> bool:
    """Tell whether the gradient that is taken grows, and has grown next to that of the batch."""
    last = len(seen) - 1
    if last < 1 or not min(np.diff([_taken(seen, back) for back in (2, 1, 0)[-last - 1 :]])) >= 0:
        return False
    first, factors = _log10_factors(seen, last), [_log10_factor(seen, v) for v in (0, 1, last)]
    now, before, then = factors
    if len(first) and np.abs(first).max() < SAME and now >= np.log10(GROWN):
        return True
    if last < 2 or min(now, before) - then < np.log10(GROWN):
        return False
    # A gradient that comes and goes, as of units that saturate, has factors of any size.
    return min(_log10_factor(seen, back) for back in range(len(seen))) > then - SAME_SIZE


def _log10_factors(seen: Measurements, back: int) -> np.ndarray:
    """Return log₁₀ of what the optimiser takes over the gradient of the batch, of each array."""
    taken, delta = (seen.column("parameters", f"log10_{v}", back) for v in ("gradient", "delta"))
    known = np.isfinite(taken) & np.isfinite(delta)
    return np.asarray((taken - delta)[known])


def _log10_factor(seen: Measurements, back: int) -> float:
    factors = _log10_factors(seen, back)
    return float(np.median(factors)) if len(factors) else np.nan


def _taken(seen: Measurements, back: int) -> float:
    """Return the size of the gradient that the optimiser takes; nan if it is not known."""
    taken = seen.column("parameters", "log10_gradient", back)
    return float(_log10_norm(taken[np.isfinite(taken)])) if np.isfinite(taken).any() else np.nan


def _pieces_lost(seen: Measurements) -> int:
    """Return how many pieces a batch has of which only the last is taken; 0 of others."""
    factors = [_log10_factors(seen, back) for back in range(min(len(seen), 3))]
    if len(factors) < 3 or not all(map(len, factors)):
        return 0
    gaps, pieces = np.diff(seen.steps.column("step", IN_ROW)), round(10 ** -np.median(factors[0]))
    is_every_kth = len(gaps) > 1 and (gaps == pieces).all()
    losses = [(line["loss"], line.get("of_batch", np.nan)) for line in seen.lines[-3:]]
    is_whole = all(abs(of_step - of_batch) < SAME * abs(of_batch) for of_step, of_batch in losses)
    is_share = all(np.abs(v + np.log10(max(pieces, 1))).max() < SAME for v in factors)
    return pieces if is_share and pieces > 1 and (is_every_kth or is_whole) else 0


@ALARMS.rule(
    "undone",
    says="a step later, {part} of an update is left in half of the arrays: they are written "
    "between the steps",
    advises="Average weights in a copy of the model, and leave the one that is trained as it is.",
)
def undone(seen: Measurements) -> Iterator[Sight]:
    """Steps that are undone.

    In PyTorch, and in JAX outside of `jit`: half of the arrays are nearer to where they were before
    a step that is measured than to where it led, when the next step begins.

    Weights are copied into the model between the steps, such as their running mean.
    """
    share = seen.column("parameters", "undone")
    share = share[np.isfinite(share)]
    if len(share) and np.median(share) < MOVED:
        left = float(np.median(share))
        yield Sight(values={"share": left, "part": percent(left)})


@ALARMS.rule(
    "decay",
    says=one_of(
        "extent",
        half="weights shrink; {array} halves {pace}, by updates that point towards zero",
        unlearnt="{array} gets no gradient and halves {pace}: decay alone moves it",
    ),
    advises="Less decay; decoupled decay (`adamw`), whose strength is learning rate × decay; none "
    "for what does not learn.",
    changes="no decay",
)
def decay(seen: Measurements) -> Iterator[Sight]:
    """Weights that shrink.

    Half of the weights have lost 30 % of their size and would halve within 1000 steps, by updates
    that point to zero: their cosine with the weights is below -0.5. Or a weight whose Δ is exactly
    zero in three measurements would halve likewise.

    Weight decay is stronger than the gradient.
    """
    if len(seen) < 3 or not seen.weights.any():
        return
    size = seen.last("parameters", "log10_size", 3)[:, seen.weights]
    radial = seen.last("parameters", "radial", 3)[:, seen.weights]
    first = seen.column("parameters", "log10_size", len(seen) - 1)[seen.weights]
    rate = (size[-1] - size[0]) / np.ptp(seen.steps_of(3))
    falls = (np.diff(size, axis=0) < 0).all(axis=0) & (-rate * HALF_LIFE > LOG2)
    falls &= (radial < SHRINKS).all(axis=0)
    shrinks = falls & (size[-1] - first < np.log10(1 - LOST_SIZE))
    delta = seen.last("parameters", "log10_delta", 3)[:, seen.weights]
    unlearnt = falls & np.isneginf(delta).all(axis=0)
    for extent, seen_in in (("half", shrinks), ("unlearnt", unlearnt)):
        if np.mean(seen_in) >= 0.5 or (extent == "unlearnt" and seen_in.any()):
            worst = int(np.argmin(np.where(seen_in, rate, 0)))
            half_life = float(-LOG2 / rate[worst])
            values = {"extent": extent, "half_life": half_life, "pace": pace(half_life)}
            yield seen.sight(int(np.flatnonzero(seen.weights)[worst]), values)
            return


@ALARMS.rule(
    "clip",
    says=one_of(
        "seen_in",
        update="every step is clipped: ‖update‖ is {update:.3g} each time, with gradients from "
        "{least:.2g} to {most:.2g}",
        gradient="every step is clipped: the optimiser takes a gradient of {limit:.3g} each time, "
        "where that of the batch is {most:.2g}",
        entries="each array moves by the same size in every step, {update:.3g} of all together, "
        "with gradients from {least:.2g} to {most:.2g}: their entries are clipped, or taken by "
        "their signs alone",
    ),
    advises="Raise the limit; compare it with the size of the gradient in `parameter_table()`.",
    changes="no clip",
)
def clipped(seen: Measurements) -> Iterator[Sight]:
    """Gradients that are always clipped.

    The update is the gradient times a factor, and has the same size in two measurements although
    the gradients differ; or, in PyTorch and with any optimiser, the last ten gradients that were
    looked at as the optimiser took them have the same size, less than a third of that of the batch.
    And updates are below 0.001 of the weights. Or the update of each array has one size, below
    0.00002 of the weights, and gradients differ by a tenth: entries are clipped one by one.

    Every step is clipped, so the limit has become the step size.
    """
    update, delta = (
        seen.column("parameters", "log10_update"),
        seen.column("parameters", "log10_delta"),
    )
    size = _log10_norm(seen.column("parameters", "log10_size"))
    if not _log10_norm(update) - size < np.log10(SMALL_UPDATE):
        return
    taken = seen.steps.column("log10_gradient")
    taken = taken[~np.isnan(taken)][-IN_ROW:]
    if len(taken) == IN_ROW and np.ptp(taken) < SAME and _log10_norm(delta) - taken[-1] > CUT_SHORT:
        limit, most = float(10 ** taken[-1]), float(10 ** _log10_norm(delta))
        yield Sight(values={"seen_in": "gradient", "limit": limit, "most": most})
    elif len(seen) > 1:
        yield from _clipped_updates(seen)


def _clipped_updates(seen: Measurements) -> Iterator[Sight]:
    """Yield updates of one size that are gradients of several sizes, each times a factor."""
    update, delta = (seen.last("parameters", f"log10_{v}", 2) for v in ("update", "delta"))
    moved = np.isfinite(update).all(axis=0) & np.isfinite(delta).all(axis=0)
    if np.sum(moved) < 3:
        return
    factor, of_arrays = (v[:, moved] for v in (update - delta, update))
    is_one = (np.ptp(factor, axis=1) < SAME).all()
    updates, gradients = (_log10_norm(v[:, moved]) for v in (update, delta))
    differ = np.ptp(gradients)
    is_by_value = np.ptp(of_arrays, axis=0).max() < OTHER and differ > ENTRIES_DIFFER
    is_by_value &= seen.usual_ratio < np.log10(SLOW_UPDATE)
    if (is_one and np.ptp(updates) < SAME and differ > OTHER) or is_by_value:
        values = {"update": float(10 ** updates[-1]), "seen_in": "update" if is_one else "entries"}
        values |= {"least": float(10 ** gradients.min()), "most": float(10 ** gradients.max())}
        yield Sight(values=values)


def _log10_norm(log10: PerArray) -> np.ndarray:
    """Return log₁₀ of the norm of numbers along the last axis, given log₁₀ of each."""
    return np.asarray(np.log10(np.sum(10 ** (2 * log10), axis=-1)) / 2)
