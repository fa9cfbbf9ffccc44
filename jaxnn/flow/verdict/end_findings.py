"""Findings on the end of a network: its last activation, the loss and the labels together."""

from collections.abc import Iterator

import numpy as np

from ...evidence import loss_kinds as kinds
from ...evidence import mixing
from ...evidence.end import End
from ...rules import Sight, one_of
from ...texts import percent
from .data_findings import NO_HINT, OF_CLASSES
from .findings import END, FINDINGS
from .judged import Judged

LOGITS = {kinds.LOGITS, kinds.CLASS_LOGITS}
SHARES = {kinds.PROBABILITIES, kinds.CLASS_PROBABILITIES, kinds.CLASS_SHARES}
SQUASHED = 1.01  # the ends of what a sigmoid, a tanh or a softsign reach, but for rounding
MANY_ZERO = 0.1  # of the outputs after a relu
FAR = 1000.0  # times the output
INSIDE = "Sum along the positions or the features of an example, not along the first axis."
IN_COMMON, ELSEWHERE = "what labels have in common", "labels of other positions"
UNEVEN, ALL = 100.0, 0.99  # times the spread of another column of labels; of all of it
SEVERAL, TWO = 1.01, 2  # a sum of labels of more than one class; classes
SIGMOIDS = "Take a sigmoid for each output, with the binary cross-entropy."
CROSS_ENTROPY = "Use the cross-entropy of classes as the loss."
USUAL = "usual end, usual loss"  # changes
MISFITS = {  # changes of all others are the usual
    "reach": "no activation, labels",
    "classes": "class each, usual end",
    "margins": "no activation, usual end",
    "shifted": "from zero",
    "wraps": "from zero",
    "ignored": "usual loss",
    "far": "labels",
    "uneven": "labels",
}
MIXED = {kinds.OVER_BATCH: "usual loss", kinds.PAIRS: "column", IN_COMMON: "usual loss"}
FEW = 0.01  # labels outside of the reach of the output that are no fault


@FINDINGS.rule(
    "oneunit",
    "The output is a softmax over one unit: it is 1 for all examples, whatever the weights.",
    advises="For two classes take a sigmoid, for a number no activation; or one output for each "
    "class.",
    changes="no activation, usual end, class each",
    rank=END,
)
def one_unit(judged: Judged) -> Iterator[Sight]:
    """A softmax over one unit.

    The one output of each example is exactly 1, also with the last layer times ±1000, and the state
    below is not zero.
    """
    end, is_of_zeros = judged.end, np.isneginf(judged.root_mean_square[-2:-1]).any()
    if end is None or is_of_zeros:
        return
    if end.outputs == 1 and end.low == end.high == end.reach.low == end.reach.high == 1:
        yield Sight(len(judged.names))


@FINDINGS.rule(
    "overbatch",
    "The output is a softmax over the examples of the batch, not over the classes: each column "
    "sums to 1, and what an example gets depends on the others.",
    advises="Take the softmax over the classes, along the last axis.",
    changes="usual end, no activation",
    rank=END,
    unless="oneunit",
)
def over_batch(judged: Judged) -> Iterator[Sight]:
    """A softmax over the batch.

    The outputs of all examples sum to 1, those of an example do not.
    """
    if judged.end and judged.end.sums_to_one == "columns":
        yield Sight(len(judged.names))


@FINDINGS.rule(
    "twice",
    one_of(
        "how",
        softmax="The output is a softmax, and the loss, which takes logits, applies another one: "
        "no class gets all of the probability, and the gradient is small.",
        bounded="The loss expects logits, which may be any numbers, but the output stays within "
        "{low:.3g} and {high:.3g} whatever the weights, as after a sigmoid or tanh: it is "
        "squashed twice.",
    ),
    advises="Leave out the activation after the last layer, and give the loss the input of that "
    "activation.",
    changes="no activation",
    rank=END,
    unless="oneunit overbatch",
)
def twice(judged: Judged) -> Iterator[Sight]:
    """A softmax or sigmoid before a loss that has one.

    The slope of the loss is that of a cross-entropy of logits, and outputs of each example sum to
    1, or stay within -1 and 1 if the last layer is multiplied by ±1000 and by ±1,000,000.
    """
    end = judged.end
    if end is None or end.kind.takes not in LOGITS:
        return
    if end.sums_to_one == "rows":
        yield Sight(len(judged.names), values={"how": "softmax"})
    elif -SQUASHED <= end.reach.low < end.reach.high <= SQUASHED:
        yield Sight(len(judged.names), values={"how": "bounded", **end.reach._asdict()})


@FINDINGS.rule(
    "relulogits",
    "The loss expects {takes}, but the output is never below 0 and has no upper end, as after a "
    "relu: where it is 0 nothing is learnt.",
    advises=one_of(
        "then",
        logits="Leave out the activation after the last layer.",
        shares="Take a softmax after the last layer, or for one output a sigmoid; or no "
        "activation and a loss of logits.",
    ),
    changes=one_of("then", logits="no activation", shares="usual end"),
    rank=END,
)
def relu_on_logits(judged: Judged) -> Iterator[Sight]:
    """A relu before a cross-entropy.

    The slope of the loss is that of a cross-entropy, and with the last layer times ±1000 and
    ±1,000,000 the output ends at 0 below and nowhere above. Where logits of classes are expected, a
    tenth is exactly 0: a mean after a relu, as at the end of a SqueezeNet, hardly ever is.
    """
    end = judged.end
    if end is None or end.reach != (0, np.inf):
        return
    is_mean = end.kind.takes == kinds.CLASS_LOGITS and end.zeros < MANY_ZERO
    if end.kind.takes in LOGITS | SHARES and not is_mean:
        then = "logits" if end.kind.takes in LOGITS else "shares"
        yield Sight(len(judged.names), values={"takes": end.kind.takes, "then": then})


@FINDINGS.rule(
    "targets",
    one_of(
        "how",
        reach="The labels go from {lowest:.3g} to {highest:.3g}, and the output can reach "
        "{low:.3g} to {high:.3g} whatever the weights: {outside} of the labels lie outside.",
        classes="The loss expects labels from 0 to 1, but they go from {lowest:.3g} to "
        "{highest:.3g}: no output fits them.",
        sums="The outputs of each example sum to 1, as after a softmax, but its labels do not.",
        several="The loss expects one right class for each example, but the labels of an example "
        "sum to as much as {most:.3g}.",
        columns="The output is a softmax over classes, but the loss treats each of the {outputs} "
        "as a separate yes or no: most of it comes from classes that are not there.",
        squares="The loss is the squared error of a softmax over {outputs} classes, as a Brier "
        "score: where the softmax is sure and wrong, its slope is almost zero.",
        margins="The loss is a hinge, which asks for outputs beyond -1 and 1, but the output can "
        "reach {low:.3g} to {high:.3g} whatever the weights.",
        proportion="The loss falls in proportion to the probability of the right class, as if it "
        "expected logarithms or margins and got probabilities: where these are sure and wrong, "
        "its slope is almost zero.",
        shifted="The labels are classes from {lowest} to {highest}, and the {columns} columns of "
        "the output count from 0: class {highest} has none.",
        wraps="The labels are classes from {lowest} to {highest}, and those below 0 count from the "
        "last of the {columns} columns of the output.",
        ignored="Nothing is learnt from the examples of class {ignored}: the loss has no slope "
        "for them.",
        weigh="The loss asks for the same output whatever the class of an example: the numbers of "
        "the classes, {lowest} to {highest}, only weigh the examples.",
        far="The labels have a root mean square of {label_size:.3g}, the output "
        "{size:.2g}: its last layer has to grow far first.",
        uneven="The columns of the labels differ in size: column {column} has a spread of "
        "{spread:.3g}, {times:.0f} times that of another, and makes up all of the loss.",
    ),
    advises=one_of(
        "how",
        reach="Leave out the activation after the last layer, or scale the labels into its range.",
        classes="Take one output for each class with a softmax and its cross-entropy; for numbers "
        "no activation and the mean squared error; or scale the labels to 0 and 1.",
        sums=SIGMOIDS,
        several=SIGMOIDS,
        columns=CROSS_ENTROPY,
        squares="If it learns too slowly, take the cross-entropy of classes.",
        margins="Take a tanh or no activation after the last layer; for several classes rather a "
        "softmax and its cross-entropy.",
        proportion="Take the cross-entropy, or give the loss a log-softmax.",
        shifted="Subtract {lowest} from the labels.",
        wraps="Count the classes from 0, and leave examples without a class out of the loss.",
        ignored="If it is no padding, let the loss ignore no class (ignore_index=-100), and give "
        "no class the weight 0.",
        weigh="Take the cross-entropy of class numbers, or give the loss labels that are 1 in the "
        "column of their class and else 0.",
        far="Subtract the mean of the labels and divide by their standard deviation, and undo "
        "that after the network.",
        uneven="Subtract the mean of each column of the labels and divide by its standard "
        "deviation, and undo that after the network.",
    ),
    changes=lambda how, **_: MISFITS.get(how, USUAL),
    rank=END,
    unless="oneunit overbatch relulogits",
)
def targets(judged: Judged) -> Iterator[Sight]:
    """Labels that the output or the loss cannot reach.

    The slope tells the kind of loss. Errors of numbers: with the last layer times ±1000 and
    ±1,000,000 the output does not reach 1 % of the labels; the outputs of an example sum to 1, as
    of a softmax; labels are a thousand times as large as the output and as 1; or a column of labels
    has a hundred times the spread of another, and 99 % of the variance. A hinge: the output does
    not reach -1. A binary cross-entropy: labels lie outside of 0 to 1, or more than two outputs of
    an example sum to 1. A cross-entropy of classes: labels of an example sum to more than 1, or
    classes count from 1. Any loss of classes: it takes a probability for its logarithm, has no
    slope for one class, has one direction for all classes at equal outputs, or counts labels below
    0 from the last column. A softmax with squares is not reported if a checkup has learned with it.
    """
    end = judged.end
    if end is None:
        return
    values = {"outputs": end.outputs, "lowest": end.labels[0], "highest": end.labels[1]}
    sight = _of_classes(end) or (_of_numbers(end) if end.kind.takes else None)
    held_out = judged.evidence.held_out
    learns = held_out is not None and held_out.share < NO_HINT
    if sight and not (learns and sight[0] == "squares"):
        yield Sight(len(judged.names), values=values | {"how": sight[0]} | sight[1])


Misfit = tuple[str, dict[str, object]]  # how labels do not fit, and the numbers that say so


def _of_classes(end: End) -> Misfit | None:
    """Return what is wrong with labels that are classes."""
    classes, takes = end.classes, end.kind.takes
    if takes in OF_CLASSES and end.label_sums[1] > SEVERAL:
        return "several", {"most": end.label_sums[1]}
    if takes == kinds.IN_PROPORTION:
        return "proportion", {}
    if classes is None:
        return None
    if takes in OF_CLASSES and classes.lowest == 1 and classes.highest == classes.columns:
        return "shifted", classes._asdict()
    if classes.wraps:
        return "wraps", classes._asdict()
    if classes.ignored is not None:
        return "ignored", classes._asdict()
    return ("weigh", classes._asdict()) if classes.weigh else None


def _of_numbers(end: End) -> Misfit | None:
    """Return what is wrong with labels that are numbers, or a yes and no."""
    lowest, highest, outside = end.labels
    are_shares, takes = end.sums_to_one == "rows", end.kind.takes
    if takes in (kinds.LOGITS, kinds.PROBABILITIES):
        if not (lowest >= -FEW and highest <= 1 + FEW):
            return "classes", {}
        is_one_of_many = are_shares and end.are_label_shares and end.outputs > TWO
        return ("columns", {}) if is_one_of_many else None
    if takes == kinds.MARGINS:
        is_short = FEW - 1 < end.reach.low < end.reach.high
        return ("margins", end.reach._asdict()) if is_short else None
    if takes != kinds.NUMBERS:
        return None
    if outside > FEW and end.reach.low < end.reach.high:
        return "reach", {"outside": percent(outside), **end.reach._asdict()}
    if are_shares and not np.isnan(end.label_sums[0]):
        return ("squares" if end.are_label_shares else "sums"), {}
    if end.label_size > FAR * max(end.size, 1.0):
        return "far", {"label_size": end.label_size, "size": end.size}
    least, most, column = end.label_spreads
    if most > UNEVEN * max(least, end.size) and end.label_share > ALL:
        return "uneven", {"column": column + 1, "spread": most, "times": most / least}
    return None


@FINDINGS.rule(
    "negative",
    one_of(
        "takes",
        **{
            kinds.CLASS_LOGS: "The loss expects logarithms of probabilities, but the output is "
            "none: the loss, {loss:.3g}, falls without end as the output grows.",
            kinds.CLASS_PROBABILITIES: "The loss expects probabilities of classes, but the "
            "outputs of an example do not sum to 1: it falls as all of them grow, without a fit.",
            kinds.CLASS_SHARES: "The loss expects probabilities of classes up to a factor, but "
            "the output goes from {low:.3g} to {high:.3g}.",
            kinds.PROBABILITIES: "The loss expects probabilities, but the output goes from "
            "{low:.3g} to {high:.3g}.",
        },
    ),
    advises=one_of(
        "takes",
        **{
            kinds.CLASS_LOGS: "Take a log-softmax after the last layer, or a loss of logits, such "
            "as a cross-entropy.",
            kinds.CLASS_PROBABILITIES: "Take a softmax after the last layer, or a loss of logits.",
            kinds.CLASS_SHARES: "Take a softmax after the last layer, or a loss of logits.",
            kinds.PROBABILITIES: "Take a sigmoid after the last layer, or a loss of logits.",
        },
    ),
    changes=USUAL,
    rank=END,
    unless="oneunit overbatch relulogits targets",
)
def negative(judged: Judged) -> Iterator[Sight]:
    """A loss that falls without a fit.

    The slope of the loss is that of a cross-entropy of probabilities, or of their logarithms, and
    the output is neither.
    """
    end = judged.end
    if end is None or end.kind.constant < 0:
        return
    fits = {
        kinds.CLASS_LOGS: end.sums_to_one == "logs" or end.high <= 0,
        kinds.CLASS_PROBABILITIES: end.sums_to_one == "rows",
        kinds.CLASS_SHARES: end.low >= 0,
        kinds.PROBABILITIES: end.low >= 0 and end.high <= 1,
    }
    if not fits.get(end.kind.takes, True):
        values = {"takes": end.kind.takes, "low": end.low, "high": end.high, "loss": end.loss}
        yield Sight(len(judged.names), values=values)


@FINDINGS.rule(
    "mixes",
    one_of(
        "how",
        **{
            kinds.OVER_BATCH: "The loss takes its softmax over the examples of the batch, not over "
            "the classes.",
            kinds.PAIRS: "The loss compares each output with the labels of all examples: the "
            "shapes of output and labels, one with a last axis of 1, broadcast to all pairs.",
            IN_COMMON: "The loss uses only a summary of the labels, such as their mean: with the "
            "labels in another order the gradient is the same.",
            mixing.PLACES: "The output of an example depends on its place in the batch: with the "
            "examples in another order they get other outputs.",
            mixing.SUMS: "The output of an example changes if the batch holds all examples twice: "
            "the network sums over the batch, as in a softmax along its axis.",
            mixing.ALIKE: "All examples get the same output, which depends on all of them: a "
            "maximum or a mean over the batch is taken in the network.",
            ELSEWHERE: "The loss compares the label of a position, such as a pixel, with outputs "
            "of several other positions: classes and positions are mixed up.",
        },
    ),
    advises=one_of(
        "how",
        **{
            kinds.OVER_BATCH: "Take the softmax along the last axis.",
            kinds.PAIRS: "Give output and labels the same shape.",
            IN_COMMON: "Compare each output with its own label first, and take the mean then.",
            mixing.PLACES: "Look for a reshape or a transpose that takes another axis for that of "
            "the examples: move it to the front first.",
            mixing.SUMS: INSIDE,
            mixing.ALIKE: INSIDE,
            ELSEWHERE: "Move the axis of the classes to the end before a reshape or view: "
            "output.permute(0, 2, 3, 1).reshape(-1, classes).",
        },
    ),
    changes=lambda how, **_: MIXED.get(how, ""),
    rank=END,
    unless="overbatch",
)
def mixes(judged: Judged) -> Iterator[Sight]:
    """A network or a loss that mixes examples.

    The loss: its slope is that of a softmax along the examples, or of all pairs of outputs and
    labels; or it stays the same if the labels are permuted, but not if all become those of one
    example. The network: with 16 examples or more, outputs change if the examples are permuted or
    all given twice; a norm over the batch passes both. Positions: the label of one changes the
    slope at no more outputs than there are classes, and these lie at two positions or more.
    """
    end = judged.end
    if end and end.mixing:
        yield Sight(len(judged.names), values={"how": end.mixing})
    elif end and end.kind.takes in (kinds.OVER_BATCH, kinds.PAIRS):
        yield Sight(len(judged.names), values={"how": end.kind.takes})
    elif end and end.sees_all:
        yield Sight(len(judged.names), values={"how": IN_COMMON})
    elif end and end.acts_elsewhere:
        yield Sight(len(judged.names), values={"how": ELSEWHERE})


@FINDINGS.rule(
    "uphill",
    "The optimiser goes up the loss: the product of its update and the gradient is positive.",
    advises="Change the sign of the update, as by maximize=False in PyTorch, or a negative factor "
    "at the end of a chain of optax.",
    changes="minus update",
    rank=END,
)
def uphill(judged: Judged) -> Iterator[Sight]:
    """An update with the wrong sign.

    In a checkup: in PyTorch all groups of parameters maximise, or have a step size below 0; in JAX
    the second update for a parameter of 0 with gradients of 1 is above 0. Nothing is said of a loss
    with the wrong sign, see `inverted`, whose negative is maximised.
    """
    if judged.evidence.uphill and _wrong_sign(judged.end) is None:
        yield Sight()


@FINDINGS.rule(
    "inverted",
    one_of(
        "how",
        slope="The loss rises as the output comes nearer to the labels: its slope is that of a "
        "loss of {takes}, with the opposite sign.",
        ends="The loss is larger at outputs that fit the labels than at the opposite outputs, and "
        "outputs of 0 for all examples are as good as those.",
    ),
    advises="Change the sign of the loss.",
    changes="minus",
    rank=END,
    unless="oneunit mixes",
)
def inverted(judged: Judged) -> Iterator[Sight]:
    """A loss with the wrong sign.

    Its slope is that of a known loss times a negative number; for logarithms of probabilities only
    if the output is such. Another loss with labels 0 and 1 is larger where the output is the labels
    than where it is the opposite, and as small at outputs of 0.
    """
    values = _wrong_sign(judged.end)
    if values is not None and not judged.evidence.uphill:
        yield Sight(len(judged.names), values=values)


def _wrong_sign(end: End | None) -> dict[str, object] | None:
    """Return what shows that a loss has the wrong sign; None if nothing does."""
    if end is not None and end.kind.constant < 0:
        is_sure = end.kind.takes != kinds.CLASS_LOGS or end.sums_to_one == "logs"
        return {"how": "slope", "takes": end.kind.takes} if is_sure else None
    return {"how": "ends"} if end is not None and end.rises else None


@FINDINGS.rule(
    "linear",
    "The output is a linear function of the inputs, though {count} layers with weights make it: no "
    "activation acts between them, and they can learn no more than one of them.",
    advises="Put an activation, such as a relu, after each layer but the last.",
    changes="relu",
    rank=END,
)
def linear(judged: Judged) -> Iterator[Sight]:
    """Layers without an activation between them.

    Two layers or more have weights, and the output, or its log-odds after a sigmoid or softmax,
    changes in proportion to a change of the inputs by ten times their size. Nothing is said without
    a loss, for linear networks are studied too, nor if a branch may be off, whose activations do
    not show: a gain starts at zero or near it, or no weight of a layer gets a gradient.
    """
    arrays, end = judged.arrays, judged.end
    learn = arrays.weights & ~np.isneginf(arrays.delta)
    layers, learning = (
        np.unique(arrays.layer[which]).tolist() for which in (arrays.weights, learn)
    )
    gains = (arrays.small_gains(i) or arrays.gains_of_zero(i) for i in np.unique(arrays.layer))
    count, is_open = len(layers), layers == learning and not any(gains)
    if end and end.is_linear and count > 1 and is_open and not np.isnan(end.loss):
        yield Sight(values={"count": count})


@FINDINGS.rule(
    "unlabelled",
    "The gradient does not depend on the labels: with the labels of other examples it is the same.",
    advises="Compare the output with ys in the loss.",
    changes="usual loss",
    rank=END,
    unless="oneunit mixes",
)
def unlabelled(judged: Judged) -> Iterator[Sight]:
    """A loss that does not see the labels.

    Its slope stays the same if the labels are permuted, and for each example if the outputs of the
    others change: a loss that compares examples may need no labels. If the labels are the inputs,
    outputs of zeros must also make it smaller and have no slope.
    """
    end, are_inputs = judged.end, judged.data is not None and judged.data.are_labels
    is_blind = end is not None and end.sees_labels is False and not end.compares
    if end and is_blind and (end.ends_at_zeros or not are_inputs):
        yield Sight(len(judged.names))
