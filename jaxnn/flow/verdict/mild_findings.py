"""Findings that are said last, on what may be well."""

from collections.abc import Iterator

from ...rules import Sight
from ...texts import counted, percent
from .findings import FINDINGS, LAST
from .judged import Judged
from .layer_findings import changes_of
from .network_advice import MANY_DEAD, MANY_SATURATED


@FINDINGS.rule(
    "once",
    "Layer {name} changes the gradient once, by {decades:+.2g} decades{reason}.",
    rank=LAST,
    unless="overbatch oneunit",
    healthy=True,
)
def once(judged: Judged) -> Iterator[Sight]:
    """A layer that changes the gradient once.

    A layer that does not repeat, such as a head, changes it by a factor of ten or more.
    """
    yield from changes_of(judged, judged.rate.once)


@FINDINGS.rule(
    "branches",
    "Gains such as {path}, in {layers}, start at {size:.1g}: their branches add next to "
    "nothing, and the weights in these get as little gradient until the gains have grown.",
    advises="Adam's steps make up for it; for SGD start them at 1/√{number}, for there are "
    "{number}.",
    rank=LAST,
    unless="signal undefined",
    healthy=True,
)
def branches(judged: Judged) -> Iterator[Sight]:
    """Branches that start near zero.

    A gain of a layer, an array of one axis, has entries of 10⁻³ or less and gets a gradient, such
    as a layer scale of 10⁻⁶.
    """
    arrays = judged.arrays
    by_layer = [(i, arrays.small_gains(i)) for i in range(1, len(judged.names) + 1)]
    small = [(layer, gains) for layer, gains in by_layer if gains]
    if small:
        layer, (first, *_) = small[0]
        places = {(layer, arrays.path[i]) for layer, gains in small for i in gains}
        values = {"size": 10 ** arrays.size[first], "layers": counted(len(small), "layer")}
        values |= {"places": places, "number": len(places)}
        yield Sight(layer, arrays.path[first], values)


def _units(saturated: float, dead: float, **_: object) -> str:
    shares = ((saturated, MANY_SATURATED, "saturated"), (dead, MANY_DEAD, "dead"))
    parts = [f"{percent(share)} are {what}" for share, many, what in shares if share >= many]
    return f"Of the hidden units {' and '.join(parts)}."


@FINDINGS.rule("units", _units, rank=LAST, unless="inputs drawn")
def units(judged: Judged) -> Iterator[Sight]:
    """Units that are saturated or dead.

    At least three quarters of the hidden units are saturated, or six tenths dead.
    """
    network = judged.network
    if network and (network.saturated >= MANY_SATURATED or network.dead >= MANY_DEAD):
        yield Sight(values={"saturated": network.saturated, "dead": network.dead})
