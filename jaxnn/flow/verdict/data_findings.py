"""Findings on the data of a batch: sizes of the columns of inputs, and the order of labels."""

from collections.abc import Iterator

import numpy as np

from ...evidence import loss_kinds as kinds
from ...evidence.data import BatchData, InputColumns
from ...rules import Sight, one_of
from ...texts import percent
from .findings import DATA, FINDINGS, few_of
from .judged import Judged
from .rates import LN10

LARGE, LARGE_STATE = 30.0, 10.0  # root mean square of a column, and of the state of layer 1
SMALL = 0.01  # spread of all columns, and what it leaves between examples in the first two layers
UNEVEN = 300.0  # times the spread of the median column
WITHOUT = 0.9  # of the mean square of inputs in columns that are constant
OF_CLASSES = {kinds.CLASS_LOGITS, kinds.CLASS_PROBABILITIES, kinds.CLASS_SHARES, kinds.CLASS_LOGS}
FEWEST, FEWEST_SORTED = 8, 16  # examples that tell
LABELS = "ys"  # the path of what is seen in them
NO_HINT = 0.1  # of the orders of labels have no larger loss than their own

STANDARDISE = (
    "Subtract the mean of each column of the inputs and divide by its standard deviation, those "
    "of the training data"
)


@FINDINGS.rule(
    "inputs",
    one_of(
        "how",
        large="The inputs are too large: column {column} of {path} has a root mean square of "
        "{size:.3g}, and no norm follows.",
        uneven="The columns of the inputs differ in size: column {column} of {path} has a spread "
        "of {size:.3g}, {times:.0f} times that of the median column, and no norm over the batch "
        "follows.",
        small="The inputs are too small, as if scaled twice: {path} has a spread of "
        "{size:.2g}, and no norm follows.",
    ),
    advises=one_of(
        "how",
        large=f"{STANDARDISE}; divide images of 0 to 255 by 255.",
        uneven=f"{STANDARDISE}.",
        small=f"Scale the inputs once, not twice. {STANDARDISE}.",
    ),
    changes="inputs",
    rank=DATA,
)
def inputs(judged: Judged) -> Iterator[Sight]:
    """Inputs that are too large, too small or of unequal size.

    A column has a root mean square above 30, and layer 1 passes on more than 10, or is saturated so
    that its weights get no gradient; or a column has 300 times the spread of the median column; or
    no column has a spread above 0.01, nor have the examples in the first two layers. No norm makes
    up for it: the output changes if inputs are divided by their size, or large columns
    standardised.
    """
    data = judged.data
    if data is None or data.count < FEWEST or False not in (data.scales_itself, data.levels_itself):
        return
    for columns in data.columns:
        if columns.varying.any():
            yield from _unlike_others(judged, data, columns)


def _unlike_others(judged: Judged, data: BatchData, columns: InputColumns) -> Iterator[Sight]:
    """Yield an input that is too large, has columns unlike others, or is too small."""
    spread, size = np.where(columns.varying, columns.spread, 0.0), columns.size
    usual, widest = np.median(spread[columns.varying]), int(np.argmax(spread))
    largest = int(np.argmax(size))
    enters, is_felt = judged.root_mean_square[:1], data.scales_itself is False
    is_passed_on = (enters > np.log10(LARGE_STATE)).all() or _is_saturated(judged)
    if is_felt and size[largest] > LARGE and is_passed_on:
        values = {"how": "large", "column": largest + 1, "size": size[largest]}
        yield Sight(1, columns.name, values)
    elif data.levels_itself is False and spread[widest] > UNEVEN * usual:
        values = {"how": "uneven", "column": widest + 1, "size": spread[widest]}
        yield Sight(1, columns.name, values | {"times": spread[widest] / usual})
    elif is_felt and spread[widest] < SMALL and _is_small_inside(judged):
        yield Sight(1, columns.name, {"how": "small", "size": spread[widest]})


def _is_saturated(judged: Judged) -> bool:
    """Tell whether no weight of the first layer gets a gradient, though some above do."""
    arrays = judged.arrays
    first = arrays.weights & (arrays.layer == 1)
    delta = arrays.delta[first]
    return bool(len(delta) and np.isneginf(delta).all() and np.isfinite(arrays.delta).any())


def _is_small_inside(judged: Judged) -> bool:
    """Tell whether examples differ as little in the first two layers."""
    if judged.flow.log_spread is None:
        return False
    log_spread = np.asarray(judged.flow.log_spread, np.float64)[:2] / LN10
    return bool((log_spread + judged.root_mean_square[:2] < np.log10(SMALL)).all())


@FINDINGS.rule(
    "constant",
    one_of(
        "how",
        columns="Columns of {path} that are the same in all examples, {count} of {columns}, hold "
        "{part} of its mean square.",
        labels="All {count} labels are of one class, of {columns}.",
    ),
    advises=one_of(
        "how",
        columns="Leave those columns out, or subtract their means.",
        labels="Look at how the labels are made, such as by a division of integers, and shuffle "
        "the examples.",
    ),
    changes=one_of("how", columns="inputs", labels=""),
    rank=DATA,
)
def constant(judged: Judged) -> Iterator[Sight]:
    """Columns or labels without information.

    Columns that are the same in all of eight examples or more hold 90 % of the mean square, and no
    norm over the batch follows; or all labels of 16 examples or more are of one class, in a
    cross-entropy of three classes or more.
    """
    data, end = judged.data, judged.end
    is_of_classes = end is not None and end.kind.takes in OF_CLASSES and end.outputs > 2
    if end and data and is_of_classes and data.classes == 1 and data.count >= FEWEST_SORTED:
        counts = {"count": data.count, "columns": end.outputs}
        yield Sight(len(judged.names), LABELS, {"how": "labels", **counts})
    if data is None or data.count < FEWEST or data.levels_itself:
        return
    for columns in data.columns:
        square = np.square(columns.size)
        share = square[~columns.varying].sum() / max(square.sum(), np.finfo(float).tiny)
        if share > WITHOUT:
            values: dict[str, object] = {
                "count": int(np.sum(~columns.varying)),
                "columns": len(square),
            }
            values |= {"how": "columns", "share": share, "part": percent(share)}
            yield Sight(1, columns.name, values)


@FINDINGS.rule(
    "overwritten",
    "A step changes {paths} in place, so that the next one has other data; here each had copies.",
    advises="Write x = x - 1 in place of x -= 1, and methods without _ at their end, or hand over "
    "x.clone().",
    rank=DATA,
)
def overwritten(judged: Judged) -> Iterator[Sight]:
    """Data that a step changes.

    PyTorch: the module or the loss changes a tensor that it is given in place, and the output or
    the loss of a second call with that tensor is another one.
    """
    if paths := judged.evidence.overwritten:
        yield Sight(path=paths[0], values={"paths": few_of(paths)})


@FINDINGS.rule(
    "sorted",
    "The examples are sorted by their {classes} classes: batches taken in this order have one "
    "class each.",
    advises="Shuffle examples and labels together before each epoch.",
    rank=DATA,
    healthy=True,
)
def sorted_classes(judged: Judged) -> Iterator[Sight]:
    """Classes in order within the data.

    Of 16 examples or more, two or more in each class, those of a class follow each other.
    """
    data = judged.data
    if data and data.sorted and data.count >= max(FEWEST_SORTED, 2 * data.classes):
        yield Sight(values={"classes": data.classes})


@FINDINGS.rule(
    "labels",
    "The labels have nothing to do with the inputs: what is learned from half of the examples does "
    "not help with {examples} others, whose labels have a smaller loss in {part} of all other "
    "orders.",
    advises="Check that inputs and labels belong together and are in the same order: was one of "
    "them shuffled alone?",
    rank=DATA,
)
def labels(judged: Judged) -> Iterator[Sight]:
    """Labels without information.

    In a checkup only: a copy learns every other example, and its loss on the rest is no smaller
    with their labels in the right order than in a tenth of random orders or more.
    """
    held_out = judged.evidence.held_out
    if held_out is not None and held_out.share >= NO_HINT:
        yield Sight(values=held_out._asdict() | {"part": percent(held_out.share)})
