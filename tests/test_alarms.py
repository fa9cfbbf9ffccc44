"""The rules of alarms, on measurements made by hand; the casebook has trainings.

Each rule has at least one `Case`: measurements that are ill, and some that are healthy though they
are near. All that an alarm says is stored; other tests look at the rule, the layer and the array.
"""

import copy
import math
import re
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from walks import entered, walk

from jaxnn.flow.verdict.findings import FINDINGS
from jaxnn.trials.race import CHANGES
from jaxnn.watching import Watched
from jaxnn.watching.alarms import ALARMS, FAILURES, alarms_of, guide
from jaxnn.watching.alarms import updates as module
from jaxnn.watching.label_order import label_order
from jaxnn.watching.step_record import Step

START = {
    "kind": "start",
    "dtype": "float16",
    "layers": [{"layer": i, "name": f"block{i}", "size": 8} for i in (1, 2, 3)],
    "parameters": [
        {"layer": layer, "path": f"['{layer}'].{name}", "shape": shape, "dtype": "float32"}
        for layer in (1, 2, 3)
        for name, shape in (("w", [8, 8]), ("b", [8]))
    ],
    "heads": [{"layer": 2, "attention": 1, "head": head} for head in (1, 2)],
    "experts": [{"layer": 3, "router": 1, "expert": expert} for expert in (1, 2, 3, 4)],
}
HEALTHY = {
    "layers": {
        "log10_delta": [-1.0, -1.1, -0.9],
        "log10_largest": [-2.0, -2.1, -1.9],
        "log10_mean_square": [0.0, 0.3, -0.2],
        "log10_spread": [-0.2, -0.3, -0.1],
        "log10_branch": [math.nan, -1.0, -1.1],
        "lost": [False, False, False],
    },
    "parameters": {
        "log10_delta": [-1.0, -2.0, -1.3, -2.0, -1.1, -2.0],
        "log10_size": [0.5, -math.inf, 0.6, -1.0, 0.4, -1.0],
        "log10_update": [-2.5, -3.0, -2.4, -3.1, -2.9, -3.0],
        "log10_gradient": [math.nan] * 6,  # of JAX
        "held": [math.nan] * 6,
        "undone": [math.nan] * 6,
        "rate": [math.nan] * 6,
        "radial": [0.1, math.nan, 0.0, -0.1, 0.2, 0.3],
        "moved": [1.0, 1.0, 0.9, 1.0, 0.8, 1.0],
    },
    "heads": {
        "largest_logit": [4.0, 3.0],
        "entropy": [1.0, 1.1],
        "most_entropy": [2.0, 2.0],
        "share": [0.5, 0.55],
    },
    "experts": {"load": [0.3, 0.2, 0.15, 0.35]},
}
EVERY = 10


def series(*changes):
    """The measurements of a training, each a dict of numbers that differ from healthy ones.

    A number is named by part, column and place; of the whole measurement by its name. `losses` are
    those of the last steps up to the measurement, `sizes` what is known of all of them besides, and
    `updates` log10_update of each, `gradients` log10_gradient.
    """
    lines = []
    for i, change in enumerate(changes):
        line = copy.deepcopy(HEALTHY) | {"kind": "measurement", "step": i * EVERY, "loss": 1.0}
        line |= {"after": True, "word": "steady", "decades": 0.0, "total": 0.2}
        numbers = enumerate(change.get("losses", ()), i * EVERY + 1 - len(change.get("losses", ())))
        line["steps"] = [Step(step, loss, **change.get("sizes", {})) for step, loss in numbers]
        for name in ("update", "gradient"):
            for k, size in enumerate(change.get(f"{name}s", ())):
                line["steps"][k] = line["steps"][k]._replace(**{f"log10_{name}": size})
        for name, value in change.items():
            if name in ("losses", "sizes", "updates", "gradients"):
                continue
            if isinstance(name, str):
                line[name] = value
            else:
                part, column, place = name
                line[part][column][place] = value
        lines.append(line)
    return lines


def alarms(lines):
    """All alarms of a training."""
    watched = Watched()
    watched.add(START)
    for line in lines:
        for step in line.pop("steps"):
            watched.steps.add(step)
            found = []
            if watched.measurements and step.step < line["step"]:
                found = alarms_of(watched, is_step=True)
            for alarm in found:
                watched.alarms.append(alarm)
        watched.add(line)
        for alarm in alarms_of(watched):
            watched.alarms.append(alarm)
    return watched.alarms


def update(value, place=2):
    return {("parameters", "log10_update", place): value}


def logits(value):
    return {("heads", "largest_logit", 1): value}


def branch(value):
    return {("layers", "log10_branch", 1): value}


def weights(column, *values):
    return {("parameters", column, 2 * i): v for i, v in enumerate(values)}


def arrays(column, value):
    return {("parameters", column, i): value for i in range(6)}


GONE = weights("log10_update", -math.inf, -math.inf, -2.9)
LOST = {("layers", "lost", 0): True, ("layers", "log10_largest", 0): -9.0}
FROZEN = update(-math.inf) | {("parameters", "log10_delta", 2): math.nan}
CLIPPED = [
    weights("log10_delta", *values)
    | weights("log10_update", *(v - values[0] - 4.0 for v in values))
    | {
        ("parameters", f"log10_{name}", i): -math.inf
        for name in ("delta", "update")
        for i in (1, 3, 5)
    }
    for values in ((-1.0, -1.3, -1.1), (-0.5, -0.8, -0.6), (-0.8, -1.1, -0.9))
]
SHRINKING = [
    weights("log10_size", *(v - 0.1 * i for v in (0.5, 0.6, 0.4)))
    | weights("radial", -0.9, -0.8, 0)
    for i in range(4)
]
BEGUN = [
    {"losses": [2.3]},
    {"losses": [2.3] * 10},
    *[{"losses": [1.2 - i / 100 for i in range(10)]}] * 10,
]
FLAT = [{"losses": [2.3]}, *[{"losses": [2.31, 2.3] * 5}] * 10]
TEN = [5.0, 9, 64, 2.3]  # of as many classes
FALL = {"losses": [9.0 - i / 2 for i in range(10)]}
STOPPED = arrays("log10_update", -math.inf)
TAKEN = {"losses": [1.0] * 10, "sizes": {"log10_gradient": -2.0}}  # by an optimiser
LARGE = weights("log10_update", -0.2, -0.3, -2.0)
GROWN = weights("log10_size", 1.3, 1.4, 1.1)
OUTWARDS = weights("log10_size", 0.5, 1.2, 0.4) | weights("radial", 0, 0.9, 0)
SMALL_STEPS = arrays("log10_update", -3.9)
TINY = weights("log10_update", -5.5, -5.2, -5.6)  # of sizes about 10^.5


class Case(NamedTuple):
    """A rule with measurements: an alarm comes at a step, on a layer and an array.

    ill: changes of each measurement; the last one is repeated.
    healthy: changes of each measurement of trainings that are well.
    """

    rule: str
    ill: list[dict[Any, Any]]
    step: int
    layer: int | None
    path: str
    healthy: tuple[list[dict[Any, Any]], ...]


W = "['2'].w"
OUTPUT = ("layers", "log10_largest")
CASES = {
    "a state": Case(
        "nonfinite",
        [{}, {("layers", "log10_mean_square", 1): math.inf}],
        *(10, 2, ""),
        ([{}] * 5, [{"loss": math.nan}] * 3),
    ),
    "a parameter": Case(
        "nonfinite",
        [{("layers", "log10_mean_square", 1): math.nan, ("parameters", "log10_size", 2): math.nan}],
        *(0, 2, W),
        ([weights("log10_size", 0.5, -math.inf, 0.4)],),  # zero
    ),
    "Δ": Case(
        "nonfinite", [{(*OUTPUT, 0): 6.0, (*OUTPUT, 1): 5.0}], *(0, 2, ""), ([{(*OUTPUT, 0): 4.0}],)
    ),
    "an update": Case(
        "nonfinite",
        [{}, {}, update(math.nan)],
        *(20, 2, W),
        ([{"after": False} | {("parameters", "log10_update", i): math.nan for i in range(6)}] * 4,),
    ),
    "lost": Case(
        "underflow",
        [LOST | GONE],
        *(0, 1, ""),
        ([LOST] * 3,),  # Adam moves the weights
    ),
    "a loss below float16": Case(
        "underflow",
        [{(*OUTPUT, i): -math.inf for i in range(3)}],
        *(0, None, ""),
        ([{(*OUTPUT, i): -math.inf for i in range(2)}],),
    ),
    "arrays that no optimiser holds": Case(
        "unoptimised",
        [
            {
                (*("parameters", name), i): value
                for i in (2, 3)
                for name, value in (("held", 0.0), ("log10_update", -math.inf))
            }
        ]
        * 2,
        *(10, 2, W),
        (
            [{("parameters", "held", 2): 0.0}] * 3,  # another optimiser moves it
            [update(-math.inf)] * 9,  # by optax.set_to_zero
        ),
    ),
    "no step": Case(
        "still",
        [STOPPED] * 6,
        *(50, None, ""),
        (
            [STOPPED, {}],
            [STOPPED | arrays("log10_delta", -math.inf)] * 3,
            # Of accumulated gradients, in steps that are not measured
            [STOPPED | weights("log10_size", *(v + i / 99 for v in (0.5, 0.6))) for i in range(9)],
        ),
    ),
    "a loss scale that is too large": Case(
        "still",
        [STOPPED | arrays("log10_gradient", math.inf)] * 2,
        *(10, None, ""),
        ([STOPPED | arrays("log10_gradient", math.inf), {}],),
    ),
    "a step of zero for one array": Case(
        "still",
        [update(-math.inf) | {("parameters", "held", 2): 1.0}] * 2,
        *(10, 2, W),
        ([update(-math.inf) | {("parameters", "held", 2): 1.0}, {}],),
    ),
    "frozen on the way": Case(
        "still",
        [{}, FROZEN, FROZEN],
        *(20, 2, W),
        ([FROZEN] * 3, [{}, {}, FROZEN]),  # from the start on; at one measurement
    ),
    "classes one after the other": Case(
        "order",
        [{"labels": v} for v in ([0.0, 0, 32], [0.0, 1, 32], [1.0, 0, 32, math.nan])],
        *(20, None, ""),
        (
            [{"labels": [0.0, 0, 32]}] * 4,  # one class
            [{"labels": [i % 2, 9, 32]} for i in range(4)],  # shuffled
            [{"labels": [i, 0, 1]} for i in range(4)],  # batches of one
        ),
    ),
    "an end of the schedule": Case(
        "schedule",
        [{}, STOPPED, STOPPED],
        *(20, None, ""),
        ([{}, {}, STOPPED],),  # in the last step
    ),
    "an optimiser that has stopped": Case(
        "schedule",
        [{}, *[STOPPED | arrays("rate", 0.1)] * 2],
        *(20, None, ""),
        ([{}, STOPPED | arrays("rate", 0.1), {}],),
    ),
    "an end of the schedule of one group": Case(
        "schedule",
        [update(-0.5), update(-math.inf), update(-math.inf)],
        *(20, 2, W),
        (
            [
                update(-math.inf if i else -0.5) | {("parameters", "rate", 2): 0.1}
                for i in range(3)
            ],  # of PyTorch, with a step size
        ),
    ),
    "a schedule that falls": Case(
        "schedule",
        [arrays("log10_update", -3.0 - 0.3 * i) for i in range(8)],
        *(70, None, ""),
        (
            [
                arrays("log10_update", -3.0 - 0.3 * i) | arrays("log10_delta", -1.0 - 0.3 * i)
                for i in range(8)
            ],  # as the gradient does
            [arrays("log10_update", -3.0 - 0.04 * i * i) for i in range(8)],  # ever faster
            # The first gradient of a momentum that dampens
            [arrays("log10_update", -3.0 - 0.2 * i) for i in range(8)],
            [arrays("log10_update", -3.0 - 0.3 * i) | arrays("rate", 0.1) for i in range(8)],
            [
                arrays("log10_update", -2.9 + math.log10(1 + math.cos(math.pi * (7 + i) / 16)))
                for i in range(8)
            ],  # a cosine
            [arrays("log10_update", -0.5 - 0.15 * i) for i in range(8)],  # with a way to go
            [
                arrays("log10_update", -2.8 - 1.1 * (i > 3) - 0.01 * i) | {"loss": 1 - i / 20}
                for i in range(8)
            ],  # once
        ),
    ),
    "rounded": Case(
        "rounding",
        [update(-5.0), update(-math.inf), update(-math.inf)],
        *(20, 2, W),
        ([update(-5.0), update(-math.inf), {}],),
    ),
    "rounded in part": Case(
        "rounding",
        [{("parameters", "moved", 2): 0.1} | update(-6.4)] * 2,
        *(10, 2, W),
        ([{("parameters", "moved", 2): 0.1} | update(-4.0)] * 2,),  # the others have no Δ
    ),
    "half of the updates": Case(
        "update",
        [LARGE] * 2,
        *(10, 1, "['1'].w"),
        (
            [weights("log10_update", -0.2, -0.5, -2.0)] * 2,
            [LARGE, {}],  # the first step of Adam
            [LARGE | {"loss": v} for v in (1, 0.5, 0.2)],
            # Decay
            [
                LARGE
                | weights("radial", -0.9, -0.9, 0.0)
                | weights("log10_size", *(v - 0.01 * i for v in (0.5, 0.6)), 0.4)
                for i in range(3)
            ],
            [LARGE | {"losses": [2.3] * n} for n in (1, 4)],
            # An output that is saturated
            [weights(n, -0.2, -0.3, -2) | arrays("log10_delta", -6) for n in ["log10_update"] * 2],
        ),
    ),
    "half of the updates of a loss that is not known": Case(
        "update", [LARGE | {"loss": math.nan}] * 2, *(10, 1, "['1'].w"), ([{"loss": math.nan}] * 2,)
    ),
    "weights that have grown": Case(
        "update",
        [
            {"losses": [1.0]},
            GROWN | {("layers", "log10_mean_square", 1): 2.4, "losses": [0.5] * 41},
        ],
        *(10, 2, ""),
        (
            [{"losses": [1.0]}, GROWN | {"losses": [0.5] * 41}],
            [
                {"losses": [1.0]},
                GROWN
                | {("layers", "log10_mean_square", 1): 2.4}
                | {"losses": [1 - i / 99 for i in range(41)]},
            ],
        ),
    ),
    "one update": Case(
        "update",
        [{}, update(0.1), update(0.2)],
        *(20, 2, W),
        ([update(0.3), {}, {}], [update(-0.2)] * 3),  # small weights at the start; a sixth of them
    ),
    "small steps": Case(
        "slow",
        [TINY] * 2,
        *(10, None, ""),
        (
            [TINY | {"loss": v} for v in (1, 0.8, 0.5)],
            [weights("log10_update", *(v + i for v in (-6.5, -6.2, -6.6))) for i in range(4)],
            [TINY | arrays("log10_delta", -6)] * 3,  # it is the gradient that is small
        ),
    ),
    "steps that are small for a long time": Case(
        "slow",
        [weights("log10_update", -3.5, -3.4, -3.6)] * 6,
        *(50, None, ""),
        ([weights("log10_update", -3.5, -3.4, -3.6) | {"loss": 1 - i / 100} for i in range(11)],),
    ),
    "a small step of one array": Case(
        "slow",
        [update(-6.0)] * 2,
        *(10, 2, W),
        ([update(-6.0) | {("parameters", "log10_delta", 2): -4.0}] * 2,),
    ),
    "gradients that add up": Case(
        "accumulates",
        [
            {("parameters", "log10_gradient", i): -1.0 + grown for i in (0, 2, 4)}
            for grown in (0.1, 1.1, 1.4)
        ],
        *(20, None, ""),
        (
            [{("parameters", "log10_gradient", i): 0.5 for i in (0, 2, 4)}] * 4,  # a scaled loss
            [
                {("parameters", f"log10_{name}", i): size for i in (0, 2, 4)}
                | {("parameters", "log10_delta", i): -1.0 - 2 * by for i in (0, 2, 4)}
                for by in (0.1, 1.1, 1.4)
                for name, size in (("gradient", -0.8 - by / 9),)
            ],  # of many pieces, the last of which, that is measured, has been learned
        ),
    ),
    "pieces of a batch that are lost": Case(
        "accumulates",
        [{("parameters", "log10_gradient", 2): -2.3, "losses": [1.0]}] * 3,
        *(20, None, ""),
        (
            [{("parameters", "log10_gradient", 2): -2.0, "losses": [1.0]}] * 4,  # a fifth
            [{("parameters", "log10_gradient", 2): -2.3, "losses": [1.0] * 10}] * 4,  # every step
        ),
    ),
    "pieces of a batch that are lost, of steps that are counted": Case(
        "accumulates",
        [{("parameters", "log10_gradient", 2): -2.3, "loss": 1.0, "of_batch": 1.0}] * 3,
        *(20, None, ""),
        # A loss of a tenth
        ([{("parameters", "log10_gradient", 2): -2.3, "loss": 0.1, "of_batch": 1.0}] * 3,),
    ),
    "gradients of one batch that add up": Case(
        "accumulates",
        [
            {("parameters", "log10_gradient", i): v + by for i, v in ((0, -1.0), (2, -1.3))}
            for by in (0, 1.1)
        ],
        *(10, None, ""),
        (
            [
                {("parameters", "log10_gradient", i): v + by for i, v in ((0, -1.0), (2, -1.2))}
                for by in (0, 1.1)
            ],  # of several batches
        ),
    ),
    "weights that are written between steps": Case(
        "undone",
        [{}, {("parameters", "undone", i): 0.01 for i in (0, 1)}],
        *(10, None, ""),
        ([{("parameters", "undone", i): i / 3 for i in range(1, 4)}] * 2,),
    ),
    "decay": Case(
        "decay",
        SHRINKING,
        *(20, 1, "['1'].w"),
        (
            [weights("log10_size", 0.5 - i / 1e5, 0.6, 0.4) for i in range(4)],
            [change | weights("radial", -0.1, -0.3, 0) for change in SHRINKING],  # by the gradient
        ),
    ),
    "a decay of what does not learn": Case(
        "decay",
        [
            weights("log10_size", 0.5 - i / 100, 0.6, 0.4)
            | weights("radial", -1.0, 0, 0)
            | weights("log10_delta", -math.inf, -1.3, -1.1)
            for i in range(3)
        ],
        *(20, 1, "['1'].w"),
        ([weights("log10_size", 0.5 - i / 100, 0.6, 0.4) for i in range(3)],),  # it has one
    ),
    "clipped gradients": Case(
        "clip",
        [SMALL_STEPS, SMALL_STEPS | TAKEN],
        *(10, None, ""),
        (
            [SMALL_STEPS, SMALL_STEPS | TAKEN | {"sizes": {"log10_gradient": -0.9}}],
            [{}, TAKEN | arrays("log10_update", -2.0)],  # to Adam the size is nothing
        ),
    ),
    "clip": Case(
        "clip",
        CLIPPED,
        *(10, None, ""),
        (
            [
                {place: v + 2 * (place[1] == "log10_update") for place, v in change.items()}
                for change in CLIPPED
            ],
            [weights("log10_delta", -1.0 + i / 3, -1.3, -1.1) for i in range(4)],
        ),
    ),
    "entries that are clipped": Case(
        "clip",
        [
            TINY | weights("log10_delta", *(v + 0.1 * i for v in (-1.0, -1.3, -1.1)))
            for i in range(3)
        ],
        *(10, None, ""),
        (
            [
                TINY
                | weights("log10_update", -5.5 + 0.1 * i, -5.2, -5.6)
                | weights("log10_delta", *(v + 0.1 * i for v in (-1.0, -1.3, -1.1)))
                | {"loss": 1 - i / 4}
                for i in range(4)
            ],
        ),
    ),
    "a large state": Case(
        "state",
        [{("layers", "log10_mean_square", 1): 6.5}],
        *(0, 2, ""),
        ([{("layers", "log10_mean_square", 1): 4.0}] * 5,),  # steady
    ),
    "a state beyond all sizes": Case(
        "state",
        [{("layers", "log10_mean_square", 1): 58.6}],
        *(0, 2, ""),
        ([{("layers", "log10_mean_square", 1): 4.0}] * 5,),
    ),
    "a growing state": Case(
        "state",
        [{("layers", "log10_mean_square", 2): 2.6 + 0.3 * i} for i in range(4)],
        *(30, 3, ""),
        ([{("layers", "log10_mean_square", 2): 0.3 * i} for i in range(4)],),  # small
    ),
    "growing logits": Case(
        "sharp",
        [logits(v) for v in (8, 12, 20, 32)],
        *(30, 2, ""),
        (
            [logits(v) for v in (20, 20, 20, 20, 20, 45, 42, 44)],  # they jump
            [logits(v) for v in (10, 20, 34, 33)],  # they settle
            [logits(v) for v in (1, 2, 4, 8)],  # they are small
        ),
    ),
    "sharp attention": Case(
        "sharp", [logits(200.0) | {("heads", "share", 1): 0.01}], *(0, 2, ""), ([logits(200.0)],)
    ),
    "starved experts": Case(
        "experts",
        [{("experts", "load", i): v for i, v in enumerate((1.0, 0, 0, 0))}] * 2,
        *(10, 3, ""),
        ([{("experts", "load", 0): 0.0}] * 3,),
    ),
    "merged examples": Case(
        "merged",
        [{("layers", "log10_spread", i): -3.5 for i in (1, 2)}] * 2,
        *(10, 2, ""),
        ([{("layers", "log10_spread", i): math.nan for i in range(3)}] * 2,),  # a batch of one
    ),
    "vanished": Case(
        "gradient",
        [{"word": "vanishing", "total": -7.0}],
        *(0, 1, ""),
        ([{"word": "vanishing", "total": -5.0}],),
    ),
    "a branch": Case(
        "branch",
        [branch(-1.0), branch(-6.5), branch(-8.6), branch(-9.0)],
        *(30, 2, ""),
        ([branch(v) for v in (-math.inf, -math.inf, -math.inf, -8.0, -5.0)],),  # it starts at zero
    ),
    "a branch of zeros": Case(
        "branch",
        [branch(-1.0)] + [branch(-math.inf)] * 2,
        *(20, 2, ""),
        ([branch(-1.0), branch(-math.inf), branch(-1.0), {}],),
    ),
    "a jump": Case(
        "spike",
        [*BEGUN, {"losses": [1.2, 1.2, 1.8, 1.9, 2.0, 2.1, 2.0, 1.9, 2.2, 2.0]}],
        *(115, None, ""),
        (
            [*BEGUN, {"losses": [1.2, 1.2, 1.9, 2.0, 1.2, 2.1, 1.2, 1.2, 1.2, 1.2]}],
            [{"losses": [0.01, 0.01, 2.0, 0.01, 0.01] * 2}] * 12,  # batches of one example
        ),
    ),
    "a jump of one step at the start": Case(
        "spike",
        [
            *({"losses": [0.1 + 2.2 * 0.8 ** (10 * i + j) for j in range(10)]} for i in range(6)),
            {"losses": [0.108, 26.9, *[0.1] * 8]},
        ],
        *(52, None, ""),
        (),
    ),
    "a jump after a large update": Case(
        "spike",
        [
            *({**change, "updates": [-2.0] * len(change["losses"])} for change in BEGUN),
            {"losses": [1.2, 1.2, 1.8, 1.9, 2.0], "updates": [-2, -1, -2, -2, -2]},
        ],
        *(120, None, ""),
        (),
    ),
    "a jump after a large gradient": Case(
        "spike",
        [
            *({**change, "gradients": [-2.0] * len(change["losses"])} for change in BEGUN),
            {"losses": [1.2, 1.2, 1.8, 1.9, 2.0], "gradients": [-2, -1, -2, -2, -2]},
        ],
        *(120, None, ""),
        (),
    ),
    "updates that grow with the loss": Case(
        "diverges",
        [
            {"losses": [2.0], "updates": [-3]},
            {"losses": [2, 2, 11, 12, 13], "updates": [-3, -3, -2, -1.8, -1.7]},
        ],
        *(10, None, ""),
        ([{"losses": [2], "updates": [-3]}, {"losses": [2, 2, 11, 12, 13], "updates": [-3] * 5}],),
    ),
    "a huge loss": Case(
        "spike",
        [*BEGUN, {"losses": [1.2, 400.0, *[1.2] * 8]}],
        *(112, None, ""),
        ([*BEGUN, {"losses": [1.2, 3.0, *[1.2] * 8]}],),
    ),
    "a rising loss": Case(
        "diverges",
        [{"loss": 2.3}, *[{"losses": [2.3 + i for j in range(10)]} for i in range(6)]],
        *(40, None, ""),
        (
            [{"losses": [v] * 10} for v in (1.0, 0.5, 0.3, 0.2, 0.25, 0.3, 0.4, 0.5)],  # overfit
            [{"losses": [v] * 10} for v in (1.0, 2.5, 2.0, 1.5, 1.0, 0.5)],  # at the start
        ),
    ),
    "a loss that explodes": Case(
        "diverges",
        [LARGE, {"losses": [2, 2, 5, 11, 30, 70, 200, 1e4, 1e5]}],
        *(7, None, ""),
        ([{}, {"losses": [2, 2, 5, 11, 30, 25, 20, 15, 10]}],),
    ),
    "a plateau": Case(
        "plateau",
        FLAT,
        *(100, None, ""),
        (
            [{"losses": [2.3 - 0.04 * i] * 10} for i in range(12)],
            [{"losses": [2.3 if i < 3 else 0.2] * 10} for i in range(14)],  # it has converged
            [change | arrays("log10_delta", -7.0) for change in FLAT],
        ),
    ),
    "a constant answer": Case(
        "plateau",
        [*({**change, "labels": TEN} for change in (FALL, *[{"losses": [2.31, 2.3] * 5}] * 20))],
        *(190, None, ""),
        ([{**change, "labels": TEN} for change in (FALL, *[{"losses": [1.9] * 10}] * 20)],),
    ),
    "a top that learns alone": Case(
        "unlearnt",
        [weights("log10_update", -7, -7, -2.5) | {"loss": v} for v in (1.0, 0.5)],
        *(10, 3, ""),
        ([weights("log10_update", -4, -4, -2.5) | {"loss": v} for v in (1.0, 0.5)],),
    ),
    "a loss without an end": Case(
        "endless",
        [{"losses": [2.0]}, OUTWARDS | {"losses": [-float(i) for i in range(40)], "step": 40}],
        *(40, 2, W),
        (
            [{"losses": [2.0]}, {"losses": [-float(i) for i in range(40)], "step": 40}],
            [
                {"losses": [2.0]},
                OUTWARDS | {"losses": [-(float(i) ** 0.5) for i in range(40)], "step": 40},
            ],  # ever more slowly
        ),
    ),
    "a cut": Case(
        "unreached",
        [weights("log10_delta", -math.inf, -math.inf, -1)] * 2,  # from layer 2 down
        *(10, 2, W),
        (
            [weights("log10_delta", -1, -math.inf, -1), {}],  # a branch that starts at zero
            [{"loss": 1.0}] + [weights("log10_delta", -1, -math.inf, -1) | {"loss": 0.1}] * 3,
        ),
    ),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@each_case
def test_an_alarm_has_its_rule_place_and_reason_and_comes_once(case, snapshot):
    """In a step, a layer and an array; whatever other rules see in the same measurements."""
    (alarm,) = (a for a in alarms(series(*case.ill, *case.ill[-1:])) if a.rule == case.rule)
    assert (alarm.step, *alarm[:3]) == (case.step, case.rule, case.layer, case.path)
    assert alarm.text == snapshot
    assert re.fullmatch(r"[^a-z].+\.", alarm.advice)
    assert {*alarm.changes} <= {*CHANGES, "no clip"}


def test_a_decay_that_ends_within_a_step_has_a_pace_and_no_schedule_that_ended():
    zero = weights("log10_size", *[-math.inf] * 3) | weights("radial", -0.9, -0.8, 0)
    (alarm,) = alarms(series(*SHRINKING[:2], zero, zero | STOPPED, zero | STOPPED))
    assert "halves every step or faster" in alarm.text


@each_case
def test_what_is_no_fault_gives_no_alarm(case):
    for changes in case.healthy:
        assert alarms(series(*changes)) == []


def test_every_rule_has_a_case_and_a_row_of_the_guide():
    assert {case.rule for case in CASES.values()} == {*ALARMS}
    rows = {name: cells for name, *cells in guide()}
    assert [*rows] == [*ALARMS]
    assert all(all(cells) for cells in rows.values())


def test_advice_that_no_change_stands_behind_is_of_data_loops_formats_and_what_a_network_computes():
    outside = {"given", "sorted", "labels", "order", "spike", "plateau", "nonfinite", "underflow"}
    outside |= {"unread", "sharp", "experts", "unreached", "branch", "undone", "bottleneck"}
    outside |= {"attention", "buffers", "entries", "undefined", "overwritten", "beyond"}
    rules = {**FINDINGS, **ALARMS}
    assert {name for name, rule in rules.items() if rule.advises and not rule.changes} == outside


def test_no_two_rules_of_findings_and_alarms_share_a_name():
    """One that had spoken would silence the other."""
    assert not FINDINGS.keys() & ALARMS.keys()
    assert not FAILURES.keys() & {*FINDINGS, *ALARMS}


def test_the_rules_that_a_rule_names_are_there():
    tables = {**FINDINGS, **ALARMS}
    named = [rule.unless | rule.said_by for rule in tables.values()]
    of_changes = [one.mends | one.unless for one in CHANGES.values()]
    assert frozenset().union(*named, *of_changes) <= tables.keys() | CHANGES.keys()


def test_what_is_not_finite_is_the_last_alarm():
    """Whatever else stands out in that measurement, and in those after it."""
    large = {("layers", "log10_mean_square", 1): 6.5}
    found = alarms(series({}, large | {("layers", "log10_mean_square", 2): math.nan}, large))
    assert [alarm.rule for alarm in found] == ["nonfinite"]
    assert [alarm.rule for alarm in alarms(series({}, large))] == ["state"]


def test_an_array_above_the_last_cut_of_a_module_is_named():
    head = {"layer": 4, "path": "head.weight", "shape": [8, 8]}
    (line,) = series({})
    for name, values in line["parameters"].items():
        values.append(math.nan if name == "undone" else 0.0)
    watched = Watched(START | {"parameters": [*START["parameters"], head]}, [line, line])
    (alarm,) = alarms_of(watched)
    assert (alarm.rule, alarm.layer, alarm.path) == ("update", 4, "head.weight")
    assert " head.weight in layer 4 (above the last cut) is 1, " in alarm.text


def test_the_walk_that_adds_an_alarm(snapshot):
    """CONTRIBUTING's rule and its case, entered as they stand there."""
    rule, entry = walk("an alarm")
    with entered(ALARMS, rule, module) as name:
        exec(entry, {**globals(), "CASES": (cases := {})})
        (case,) = cases.values()
        assert case.rule == name
        test_advice_that_no_change_stands_behind_is_of_data_loops_formats_and_what_a_network_computes()
        test_no_two_rules_of_findings_and_alarms_share_a_name()
        test_an_alarm_has_its_rule_place_and_reason_and_comes_once(case, snapshot)
        test_what_is_no_fault_gives_no_alarm(case)
        assert name in (row[0] for row in guide())


def test_an_array_that_several_layers_share_is_cut_only_in_all_of_them():
    """As the weights of a recurrent cell, whose first state is zero."""
    shared = [{**array, "path": array["path"].replace("1", "2")} for array in START["parameters"]]
    lines = series(*[weights("log10_delta", -math.inf, -1.0, -1.0)] * 2)
    for parameters, rules in ((START["parameters"], ["unreached"]), (shared, [])):
        watched = Watched(START | {"parameters": parameters}, copy.deepcopy(lines))
        assert [alarm.rule for alarm in alarms_of(watched)] == rules


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 0, 2, 2, 1], (1, 2, 5)),
        ([[3], [3], [4]], (3, 1, 3)),
        ([[1, 0], [0, 1], [0, 1]], (1, 1, 3)),  # one of them is 1
        ([[1, 1], [1, 1], [1, 1]], (1, 2, 3)),  # no classes: another at each example
    ],
)
def test_labels_have_a_middle_and_changes_in_their_order(labels, expected):
    assert label_order(np.array(labels))[:3] == expected


@pytest.mark.parametrize("order", [label_order, jax.jit(partial(label_order, xp=jnp))])
def test_the_loss_of_a_constant_answer_is_the_entropy_of_the_classes(order):
    rng = np.random.default_rng(0)
    for labels, expected in (
        (rng.integers(0, 10, 5000), math.log(10)),
        (
            np.eye(2)[(rng.random(5000) < 0.25).astype(int)],
            0.75 * math.log(4 / 3) + math.log(4) / 4,
        ),
        (rng.normal(size=100), math.nan),
    ):
        np.testing.assert_allclose(order(labels).constant, expected, rtol=0.02)
    few = [label_order(rng.integers(0, 10, 32)).constant for _ in range(200)]
    np.testing.assert_allclose(np.mean(few), math.log(10), rtol=0.01)


@pytest.mark.parametrize("labels", [0, [], np.zeros((2, 2, 2))])
def test_labels_that_are_no_classes_have_no_order(labels):
    assert label_order(np.array(labels)) is None
