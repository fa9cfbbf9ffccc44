"""The rules of alarms, on measurements made by hand; `planted.py` has trainings.

Each rule has at least one `Case`: measurements that are ill, all that its alarm says, and some that
are healthy though they are near. Other tests look at the rule, the layer and the array alone.
"""

import copy
import math
from typing import Any, NamedTuple

import pytest
from walks import entered, walk

from jaxnn.train import Alarm, Watched
from jaxnn.train import alarms as module
from jaxnn.train.alarms import ALARMS, alarms_of, guide

START = {
    "kind": "start",
    "dtype": "float16",
    "layers": [{"layer": i, "name": f"block{i}", "size": 8} for i in (1, 2, 3)],
    "parameters": [
        {"layer": layer, "path": f"['{layer}'].{name}", "shape": shape}
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

    A number is named by part, column and place; of the whole measurement by its name.
    """
    lines = []
    for i, change in enumerate(changes):
        line = copy.deepcopy(HEALTHY) | {"kind": "measurement", "step": i * EVERY, "loss": 1.0}
        line |= {"after": True, "word": "steady", "decades": 0.0, "total": 0.2}
        for name, value in change.items():
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
        watched.add(line)
        for alarm in alarms_of(watched):
            watched.add(alarm.line(0))
    return watched.alarms


def update(value, place=2):
    return {("parameters", "log10_update", place): value}


def logits(value):
    return {("heads", "largest_logit", 1): value}


def branch(value):
    return {("layers", "log10_branch", 1): value}


def weights(column, *values):
    return {("parameters", column, 2 * i): v for i, v in enumerate(values)}


GONE = weights("log10_update", -math.inf, -math.inf, -2.9)
LOST = {("layers", "lost", 0): True, ("layers", "log10_largest", 0): -9.0}
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
SHRINKING = [weights("log10_size", *(v - 0.1 * i for v in (0.5, 0.6, 0.4))) for i in range(4)]


class Case(NamedTuple):
    """A rule with measurements: an alarm comes at a step, on a layer and an array, and says this.

    ill: changes of each measurement; the last one is repeated.
    healthy: changes of each measurement of trainings that are well.
    """

    rule: str
    ill: list[dict[Any, Any]]
    step: int
    layer: int | None
    path: str
    says: str
    healthy: tuple[list[dict[Any, Any]], ...]


W = "['2'].w"
OUTPUT = ("layers", "log10_largest")
CASES = {
    "a state": Case(
        "nonfinite",
        [{}, {("layers", "log10_mean_square", 1): math.inf}],
        *(10, 2, ""),
        "the state of layer 2 (block2) is the first that has no number in float16",
        ([{}] * 5, [{"loss": math.nan}] * 3),
    ),
    "a parameter": Case(
        "nonfinite",
        [{("layers", "log10_mean_square", 1): math.nan, ("parameters", "log10_size", 2): math.nan}],
        *(0, 2, W),
        f"{W} in layer 2 (block2) is nan or infinite before the step",
        ([weights("log10_size", 0.5, -math.inf, 0.4)],),  # zero
    ),
    "Δ": Case(
        "nonfinite",
        [{(*OUTPUT, 0): 6.0, (*OUTPUT, 1): 5.0}],
        *(0, 2, ""),
        "Δ of the state of layer 2 (block2) is the first beyond the range of float16",
        ([{(*OUTPUT, 0): 4.0}],),
    ),
    "an update": Case(
        "nonfinite",
        [{}, {}, update(math.nan)],
        *(20, 2, W),
        f"the update of {W} in layer 2 (block2) is nan or infinite, with finite states and a "
        "finite Δ",
        ([{"after": False} | {("parameters", "log10_update", i): math.nan for i in range(6)}] * 4,),
    ),
    "lost": Case(
        "format",
        [LOST | GONE],
        *(0, 1, ""),
        "Δ is 10^-9 in layer 1 (block1), for which float16 has no number: it and all below get "
        "nothing; scale the loss",
        ([LOST] * 3,),  # Adam moves the weights
    ),
    "a loss below float16": Case(
        "format",
        [{(*OUTPUT, i): -math.inf for i in range(3)}],
        *(0, None, ""),
        "Δ of the output is zero in float16; scale the loss",
        ([{(*OUTPUT, i): -math.inf for i in range(2)}],),
    ),
    "rounded": Case(
        "rounding",
        [{}, update(-math.inf), update(-math.inf)],
        *(20, 2, W),
        f"{W} in layer 2 (block2) stays as it is, though it has a Δ: its dtype rounds the update "
        "away",
        (
            [update(-math.inf)] * 4,  # frozen from the start
            [
                {},
                *[weights("log10_update", *[-math.inf] * 3)] * 3,
            ],  # a step size of zero at the end
        ),
    ),
    "half of the updates": Case(
        "update",
        [weights("log10_update", -0.2, -0.3, -2.0)],
        *(0, 1, "['1'].w"),
        "‖update‖ / ‖θ‖ of ['1'].w in layer 1 (block1) is 0.2, and 0.13 in half of all weights: "
        "the step is too large",
        ([weights("log10_update", -0.2, -0.5, -2.0)],),
    ),
    "one update": Case(
        "update",
        [{}, update(0.1), update(0.2)],
        *(20, 2, W),
        f"‖update‖ / ‖θ‖ of {W} in layer 2 (block2) is 0.4, for the second time",
        ([update(0.3), {}, {}], [update(-0.2)] * 3),  # small weights at the start; a sixth of them
    ),
    "decay": Case(
        "decay",
        SHRINKING,
        *(20, 1, "['1'].w"),
        "weights shrink; ['1'].w in layer 1 (block1) halves every 30 steps",
        ([weights("log10_size", 0.5 - i / 1e5, 0.6, 0.4) for i in range(4)],),
    ),
    "clip": Case(
        "clip",
        CLIPPED,
        *(10, None, ""),
        "every step is clipped: ‖update‖ is 0.000137 each time, of gradients from 0.14 to 0.43",
        (
            [
                {place: v + 2 * (place[1] == "log10_update") for place, v in change.items()}
                for change in CLIPPED
            ],
            [weights("log10_delta", -1.0 + i / 3, -1.3, -1.1) for i in range(4)],
        ),
    ),
    "a large state": Case(
        "state",
        [{("layers", "log10_mean_square", 1): 6.5}],
        *(0, 2, ""),
        "the state of layer 2 (block2) has a root mean square of 1,800",
        ([{("layers", "log10_mean_square", 1): 4.0}] * 5,),  # steady
    ),
    "a growing state": Case(
        "state",
        [{("layers", "log10_mean_square", 2): 2.6 + 0.3 * i} for i in range(4)],
        *(30, 3, ""),
        "states of layer 3 (block3) double every 20 steps; float16 ends in about 200",
        ([{("layers", "log10_mean_square", 2): 0.3 * i} for i in range(4)],),  # small
    ),
    "growing logits": Case(
        "attention",
        [logits(v) for v in (8, 12, 20, 32)],
        *(30, 2, ""),
        "attention logits of layer 2 (block2) double every 15 steps; float16 ends in about 160",
        (
            [logits(v) for v in (20, 20, 20, 20, 20, 45, 42, 44)],  # they jump
            [logits(v) for v in (10, 20, 34, 33)],  # they settle
            [logits(v) for v in (1, 2, 4, 8)],  # they are small
        ),
    ),
    "sharp attention": Case(
        "attention",
        [logits(200.0) | {("heads", "share", 1): 0.01}],
        *(0, 2, ""),
        "head 2 of layer 2 (block2) attends to one key each, with logits up to 200: softmax hands "
        "down little",
        ([logits(200.0)],),
    ),
    "starved experts": Case(
        "router",
        [{("experts", "load", i): v for i, v in enumerate((1.0, 0, 0, 0))}] * 2,
        *(10, 3, ""),
        "the router of layer 3 (block3) leaves 3 of 4 experts without work",
        ([{("experts", "load", 0): 0.0}] * 3,),
    ),
    "merged examples": Case(
        "examples",
        [{("layers", "log10_spread", i): -3.5 for i in (1, 2)}],
        *(0, 2, ""),
        "all examples are equal but for rounding, from layer 2 (block2) up",
        ([{("layers", "log10_spread", i): math.nan for i in range(3)}] * 2,),  # a batch of one
    ),
    "vanished": Case(
        "gradient",
        [{"word": "vanishing", "total": -7.0}],
        *(0, 1, ""),
        "vanishing gradient, -7 decades over the whole network",
        ([{"word": "vanishing", "total": -5.0}],),
    ),
    "a branch": Case(
        "branch",
        [branch(-1.0), branch(-6.5), branch(-8.6), branch(-9.0)],
        *(30, 2, ""),
        "what the branches of layer 2 (block2) add is 10^-9 of their stream, and was 0.1 of it: "
        "the layer does nothing now",
        ([branch(v) for v in (-math.inf, -math.inf, -math.inf, -8.0, -5.0)],),  # it starts at zero
    ),
    "a branch of zeros": Case(
        "branch",
        [branch(-1.0)] + [branch(-math.inf)] * 2,
        *(20, 2, ""),
        "what the branches of layer 2 (block2) add is 0 of their stream, and was 0.1 of it: "
        "the layer does nothing now",
        ([branch(-1.0), branch(-math.inf), branch(-1.0), {}],),
    ),
    "a cut": Case(
        "cut",
        [weights("log10_delta", -math.inf, -math.inf, -1)] * 2,  # from layer 2 down
        *(10, 2, W),
        f"Δ of {W} in layer 2 (block2) is exactly zero: every path from it to the loss is cut",
        ([weights("log10_delta", -1, -math.inf, -1), {}],),  # a branch that starts at zero
    ),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@each_case
def test_an_alarm_has_its_rule_place_and_reason_and_comes_once(case):
    """In a step, a layer and an array; whatever other rules see in the same measurements."""
    (alarm,) = (a for a in alarms(series(*case.ill, *case.ill[-1:])) if a.rule == case.rule)
    text = f"Step {case.step}: {case.says}."
    assert alarm == Alarm(case.step, case.rule, text, case.layer, case.path)


@each_case
def test_what_is_no_fault_gives_no_alarm(case):
    for changes in case.healthy:
        assert alarms(series(*changes)) == []


def test_every_rule_has_a_case_and_a_row_of_the_guide():
    assert {case.rule for case in CASES.values()} == {*ALARMS}
    rows = {name: cells for name, *cells in guide()}
    assert [*rows] == [*ALARMS]
    assert all(all(cells) for cells in rows.values())


def test_what_is_not_finite_is_the_last_alarm():
    """Whatever else stands out in that measurement, and in those after it."""
    large = {("layers", "log10_mean_square", 1): 6.5}
    found = alarms(series({}, large | {("layers", "log10_mean_square", 2): math.nan}, large))
    assert [alarm.rule for alarm in found] == ["nonfinite"]
    assert [alarm.rule for alarm in alarms(series({}, large))] == ["state"]


def test_an_array_above_the_last_cut_of_a_module_is_named():
    head = {"layer": 4, "path": "head.weight", "shape": [8, 8]}
    (line,) = series({})
    for values in line["parameters"].values():
        values.append(0.0)
    watched = Watched(START | {"parameters": [*START["parameters"], head]}, [line, line])
    (alarm,) = alarms_of(watched)
    assert (alarm.rule, alarm.layer, alarm.path) == ("update", 4, "head.weight")
    assert " head.weight in layer 4 is 1, " in alarm.text


def test_the_walk_that_adds_an_alarm():
    """CONTRIBUTING's rule and its case, entered as they stand there."""
    rule, entry = walk("an alarm")
    with entered(ALARMS, rule, module) as name:
        exec(entry, {**globals(), "CASES": (cases := {})})
        (case,) = cases.values()
        assert case.rule == name
        test_an_alarm_has_its_rule_place_and_reason_and_comes_once(case)
        test_what_is_no_fault_gives_no_alarm(case)
        assert name in (row[0] for row in guide())
