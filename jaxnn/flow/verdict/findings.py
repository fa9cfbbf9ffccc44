"""The table of findings: what a verdict may say of a flow, one rule each, the worst first.

Judged -> what a rule sees: layer, array, numbers -> its sentence, in a file `…_findings.py`
"""

from collections.abc import Iterable

import numpy as np

from ...rules import Found, Rules
from ...texts import listed, power_of_ten
from .judged import Judged

# Ranks, in the order in which they are said.
BROKEN, END, DATA, PARAMETERS, UNSEEN, CUT, RATE, LAYERS, STATES, ARRAYS, LAST = range(11)

FEW = 3  # names in a sentence
SET = "Set {path} to {to:g}."  # what a change of it says, too

FINDINGS: Rules[Judged] = Rules()


def is_usual(found: Found) -> bool:
    """Tell what is said of a network that needs no change, such as the rate of a healthy one."""
    return FINDINGS[found.rule].healthy and not found.values.get("is_ill", False)


def less_gradient(decades: float, others: str = "the other weights there") -> str:
    """Return how little gradient an array gets, in words."""
    if np.isposinf(decades):
        return "no gradient"
    return f"{power_of_ten(-decades)} of the gradient of {others}"


def times_as_large(decades: float) -> str:
    """Return how large something is, in words that go on with what it is compared with."""
    factor = f"{10 ** abs(decades):.2g}"
    return f"{factor} times as large as" if decades > 0 else f"{factor} times smaller than"


def silenced_by(decades: float) -> dict[str, object]:
    """Return the values of a sight of a bias, to be 0, or gain, to be 1, that turns units off."""
    is_gain = np.isneginf(decades)
    return {"why": "gain" if is_gain else "bias", "size": 10**decades, "to": float(is_gain)}


def few_of(names: Iterable[str]) -> str:
    """Return the first few of many names."""
    names = [*names]
    more = len(names) - FEW
    return listed(names) if more <= 0 else f"{', '.join(names[:FEW])} and {more} more"
