"""Findings on the units of a module's layers, whose activations are seen in what it computes."""

from collections.abc import Iterator

import numpy as np

from ...rules import Sight
from ...texts import percent
from .findings import FINDINGS, LAYERS, few_of
from .judged import Judged

WORDS = {
    "dead": "dead: their slope is 0 for all examples",
    "saturated": "saturated: their slope is below a hundredth of its largest",
    "constant": "constant: they have one value for all examples",
}
# Units of relu are off for half of the examples, and where these are alike for all at once.
MANY = {"dead": 0.8, "saturated": 0.75, "constant": 0.8}


def _idle(name: str, what: str, share: float, others: list[str], rest: float, **_: object) -> str:
    s = "s" if len(others) > 1 else ""
    and_in = f" and of layer{s} {few_of(others)}" if others else ""
    beside = f" In the other layers {percent(rest)} are." if np.isfinite(rest) else ""
    return f"Of the units of layer {name}{and_in} {percent(share)} are {WORDS[what]}.{beside}"


@FINDINGS.rule(
    "idle",
    _idle,
    advises="Draw the weights and biases there again, biases at 0, and look for inputs that are "
    "too large.",
    rank=LAYERS,
    unless="inputs drawn zero cut examples positions signal constant shut",
)
def idle(judged: Judged) -> Iterator[Sight]:
    """Units of a layer that do nothing.

    PyTorch: in a layer eight tenths of the units are dead, or have one value for all examples and
    positions, of which there are eight at least; or three quarters of tanh or sigmoid are
    saturated. The sentence has the median of the other layers.
    """
    units = judged.flow.units
    if units is None or judged.flow.net is not None:
        return
    for what, many in MANY.items():
        shares = np.asarray(getattr(units, what), np.float64)
        known = np.flatnonzero(np.isfinite(shares))
        layers = [int(i) for i in known if shares[i] >= many]
        if layers:
            rest = [shares[i] for i in known if i not in layers]
            values = {
                "what": what,
                "share": float(min(shares[layers])),
                "others": [judged.label(i + 1) for i in layers[1:]],
                "rest": float(np.median(rest)) if rest else np.nan,
            }
            yield Sight(layers[0] + 1, values=values)
            return
