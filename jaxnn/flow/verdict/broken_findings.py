"""Findings on what is broken: all else follows from that."""

from collections.abc import Iterator

import numpy as np

from ...rules import Sight, one_of
from ..record.given import MEND
from .findings import BROKEN, FINDINGS, few_of
from .judged import Judged
from .network_advice import DRAW_AGAIN

BLOWN_UP = f"Weights or biases have blown up. {DRAW_AGAIN}"


@FINDINGS.rule("given", "{text}.", advises=f"{MEND}.".capitalize(), rank=BROKEN, final=True)
def given(judged: Judged) -> Iterator[Sight]:
    """Broken data.

    xs, ys or a cotangent have entries that are nan or infinite, and numbers of the network are not
    finite; or entries whose squares leave their float. Nothing else is said then. Masks and labels
    that the loss leaves out are no fault.
    """
    if judged.broken_data:
        yield Sight(values=judged.broken_data._asdict())


@FINDINGS.rule(
    "loss",
    one_of(
        "what",
        numbers="{text}",
        classes="{text} The labels are classes from {lowest} to {highest}, and the {columns} "
        "columns of the output count from 0.",
    ),
    advises=one_of(
        "what",
        numbers="Look for a label that is no class of the output, a division by 0, a logarithm or "
        "a root at 0 or below, or a square that leaves its float.",
        classes="Count the classes from 0, and give the output a column for each.",
    ),
    changes=one_of("what", numbers="", classes="from zero, class each"),
    rank=BROKEN,
)
def loss(judged: Judged) -> Iterator[Sight]:
    """A broken loss.

    The loss of a finite output, or its derivative, is nan or infinite; a label may be no class of
    the output.
    """
    classes = judged.end.classes if judged.end else None
    if judged.broken_loss and classes and classes.breaks:
        yield Sight(values={"text": judged.broken_loss, "what": "classes"} | classes._asdict())
    elif judged.broken_loss:
        yield Sight(values={"text": judged.broken_loss, "what": "numbers"})


@FINDINGS.rule(
    "beyond",
    "The numbers in {path} reach {highest}, and the table in which they are looked up has {rows} "
    "rows: those beyond are read as {read}.",
    advises="Count them from 0, or give the table {needed} rows.",
    rank=BROKEN,
)
def beyond(judged: Judged) -> Iterator[Sight]:
    """Integers beyond their table.

    The output stays the same, or becomes a number, if all integers of an input that are beyond the
    rows of some parameter become its last row.
    """
    if (seen := judged.evidence.beyond) is not None:
        yield Sight(1, seen.path, seen._asdict() | {"needed": seen.highest + 1})


@FINDINGS.rule(
    "nan",
    "Parameters are {what}: {paths}, from layer {layer} on.",
    advises=BLOWN_UP,
    changes="draw, step",
    rank=BROKEN,
)
def nan(judged: Judged) -> Iterator[Sight]:
    """Parameters that are nan.

    An array has nan or infinite entries, and so has the signal or Δ.
    """
    if judged.broken == "parameters":
        arrays = judged.arrays
        broken, first = arrays.broken, arrays.broken[0]
        what = "nan" if np.isnan(arrays.size[broken]).all() else "nan or infinite"
        values = {"what": what, "paths": few_of(arrays.path[i] for i in broken)}
        yield Sight(int(arrays.layer[first]), arrays.path[first], values)


@FINDINGS.rule(
    "buffers",
    "Buffers have nan or infinite entries: {paths}.",
    advises="Set these entries to numbers.",
    rank=BROKEN,
)
def buffers(judged: Judged) -> Iterator[Sight]:
    """Buffers that are nan.

    PyTorch: what gets no gradient, such as a running mean, has nan or infinite entries, and numbers
    of the network are not finite.
    """
    if judged.broken == "buffers":
        yield Sight(path=judged.flow.broken[0], values={"paths": few_of(judged.flow.broken)})


@FINDINGS.rule(
    "signal",
    "From layer {name} up the signal is not a finite number.",
    advises=one_of(
        "why",
        grown=BLOWN_UP,
        broken="",
        computed="Layer {layer} gets finite numbers and returns others: look at what it computes, "
        "such as 0/0, an exponential of a large number, a logarithm or a root at 0 or below.",
    ),
    changes=one_of("why", grown="draw, step", broken="", computed=""),
    rank=BROKEN,
)
def signal(judged: Judged) -> Iterator[Sight]:
    """A signal that is not finite.

    The state of a layer has nan or infinite entries.
    """
    if judged.out is not None:
        why = "grown" if judged.has_grown else "broken" if judged.broken else "computed"
        yield Sight(judged.out, values={"why": why})


@FINDINGS.rule(
    "undefined",
    "From layer {name} down Δ is not a finite number, whatever the format.",
    advises="Look there for an infinite derivative, as of a root, a norm or a logarithm at 0.",
    rank=BROKEN,
)
def undefined(judged: Judged) -> Iterator[Sight]:
    """A gradient that is not finite.

    Δ of a layer is nan or infinite, also in the widest format, and the loss is not broken.
    """
    if judged.undefined is not None and judged.broken != "loss":
        yield Sight(judged.undefined)
