"""The rules of alarms, on measurements made by hand, and on trainings with a planted fault."""

import copy
import math
import re

import pytest

from jaxnn.train import Watched
from jaxnn.train.alarms import RULES, alarms_of, line_of

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
            watched.add(line_of(alarm, 0))
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

# The measurements, and of the alarm its rule, its step and what its text has.
CASES = {
    "a state": (
        [{}, {("layers", "log10_mean_square", 1): math.inf}],
        "nonfinite",
        10,
        "layer 2 .*float16",
    ),
    "a parameter": (
        [{("layers", "log10_mean_square", 1): math.nan, ("parameters", "log10_size", 2): math.nan}],
        "nonfinite",
        0,
        r"\['2'\].w in layer 2 .* before the step",
    ),
    "Δ": (
        [{("layers", "log10_largest", 0): 6.0, ("layers", "log10_largest", 1): 5.0}],
        "nonfinite",
        0,
        "Δ .*layer 2 ",
    ),
    "an update": ([{}, {}, update(math.nan)], "nonfinite", 20, r"update of \['2'\].w in layer 2 "),
    "lost": ([LOST | GONE], "format", 0, r"10\^-9 in layer 1 .*float16"),
    "a loss below float16": (
        [{("layers", "log10_largest", i): -math.inf for i in range(3)}],
        "format",
        0,
        "Δ of the output is zero in float16",
    ),
    "rounded": ([{}, update(-math.inf), update(-math.inf)], "rounding", 20, r"\['2'\].w .*stays"),
    "half of the updates": ([weights("log10_update", -0.2, -0.3, -2.0)], "update", 0, "is 0.2"),
    "one update": ([{}, update(0.1), update(0.2)], "update", 20, r"\['2'\].w .* second time"),
    "decay": (SHRINKING, "decay", 20, "halves every 30 steps"),
    "clip": (CLIPPED, "clip", 10, "every step is clipped"),
    "a large state": ([{("layers", "log10_mean_square", 1): 6.5}], "state", 0, "layer 2 .*1,800"),
    "a growing state": (
        [{("layers", "log10_mean_square", 2): 2.6 + 0.3 * i} for i in range(4)],
        "state",
        30,
        "layer 3 .* double every 20 steps; float16 ends in about 200",
    ),
    "growing logits": (
        [logits(v) for v in (8, 12, 20, 32)],
        "attention",
        30,
        "layer 2 .* every 15 steps; .* about 160",
    ),
    "sharp attention": (
        [logits(200.0) | {("heads", "share", 1): 0.01}],
        "attention",
        0,
        "head 2 of layer 2 ",
    ),
    "starved experts": (
        [{("experts", "load", i): v for i, v in enumerate((1.0, 0, 0, 0))}] * 2,
        "router",
        10,
        "layer 3 .*3 of 4",
    ),
    "merged examples": (
        [{("layers", "log10_spread", i): -3.5 for i in (1, 2)}],
        "examples",
        0,
        "from layer 2 ",
    ),
    "vanished": ([{"word": "vanishing", "total": -7.0}], "gradient", 0, "-7 decades"),
    "a branch": (
        [branch(-1.0), branch(-6.5), branch(-8.6), branch(-9.0)],
        "branch",
        30,
        r"layer 2 \(block2\) add is 10\^-9 of their stream, and was 0.1 of it",
    ),
    "a branch of zeros": (
        [branch(-1.0)] + [branch(-math.inf)] * 2,
        "branch",
        20,
        "is 0 of their stream",
    ),
    "a cut": ([weights("log10_delta", -1, -math.inf, -1)] * 2, "cut", 10, r"\['2'\].w in layer 2 "),
}

# What is no fault, though it is near one.
SILENT = {
    "healthy": [{}] * 5,
    "without parameters after it": [
        {"after": False} | {("parameters", "log10_update", i): math.nan for i in range(6)}
    ]
    * 4,
    "a batch of one": [{("layers", "log10_spread", i): math.nan for i in range(3)}] * 2,
    "a loss that is not handed over": [{"loss": math.nan}] * 3,
    "a branch that starts at zero": [weights("log10_delta", -1, -math.inf, -1), {}],
    "small weights at the start": [update(0.3), {}, {}],
    "a weight at zero": [weights("log10_size", 0.5, -math.inf, 0.4)],
    "frozen from the start": [update(-math.inf)] * 4,
    "a learning rate of zero at the end": [{}, *[weights("log10_update", *[-math.inf] * 3)] * 3],
    "logits that jump": [logits(v) for v in (20, 20, 20, 20, 20, 45, 42, 44)],
    "logits that settle": [logits(v) for v in (10, 20, 34, 33)],
    "logits that are small": [logits(v) for v in (1, 2, 4, 8)],
    "an expert that rests": [{("experts", "load", 0): 0.0}] * 3,
    "weights that shrink slowly": [
        weights("log10_size", 0.5 - i / 1e5, 0.6, 0.4) for i in range(4)
    ],
    "lost where Adam moves": [LOST] * 3,
    "clipped by a little": [
        {place: v + 2 * (place[1] == "log10_update") for place, v in change.items()}
        for change in CLIPPED
    ],
    "updates of one size": [weights("log10_delta", -1.0 + i / 3, -1.3, -1.1) for i in range(4)],
    "a branch that starts at zero, and grows": [
        branch(v) for v in (-math.inf, -math.inf, -math.inf, -8.0, -5.0)
    ],
    "a branch that adds nothing once": [branch(-1.0), branch(-math.inf), branch(-1.0), {}],
    "steady states of 100": [{("layers", "log10_mean_square", 1): 4.0}] * 5,
}


@pytest.mark.parametrize(("changes", "rule", "step", "text"), CASES.values(), ids=CASES)
def test_an_alarm_has_its_rule_step_and_reason_and_comes_once(changes, rule, step, text):
    (alarm,) = [a for a in alarms(series(*changes, *changes[-1:])) if a.rule == rule]
    assert (alarm.rule, alarm.step) == (rule, step)
    assert re.search(text, alarm.text)
    assert alarm.text.startswith(f"Step {step}: ")


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
    assert alarm.text.startswith("Step 0: ‖update‖ / ‖θ‖ of head.weight in layer 4 is 1, for the")


@pytest.mark.parametrize("changes", SILENT.values(), ids=SILENT)
def test_what_is_no_fault_gives_no_alarm(changes):
    assert alarms(series(*changes)) == []


def test_every_rule_has_a_case():
    assert {rule for _, rule, _, _ in CASES.values()} == {*RULES}
