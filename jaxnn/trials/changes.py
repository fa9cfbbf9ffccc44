"""Changes: functions from a program to a program, in the order in which one is believed.

    setup -> of -> another setup, or None where it does not apply

A change that makes a program learn which does not is why it does not, and its sentence the advice.
Several that do are told by their order: what labels, loss and last activation are comes first, the
step size and another optimiser last, for these hide other faults.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from ..evidence.data import InputColumns, shaped
from ..evidence.trial import as_wide
from ..patients.words import to_digits
from ..texts import listed
from ..train.learner import Batch
from .score import CLASSES, MOST, NUMBERS, OTHER
from .setup import Setup

FAR = 10.0  # times what is usual: outputs whose size is changed
LATER, LAST = 1, 2  # ranks: sizes that a usual change of structure spares; what hides other faults
STEPS = 1e-4, 0.01, 0.1, 10.0, 100.0, 1000.0, 1e5
SUM = 2.0  # of a row of neighbours that is usual
FEW = 5  # numbers of classes in a sentence


Of = Callable[[Setup], "Setup | Iterable[Setup] | None"]
OfChange = TypeVar("OfChange", bound=Of)


class Change(NamedTuple):
    """A change of a program.

    name: by which findings and alarms name it; of a cure its kind.
    of: makes it, of some several; None of a program that it does not apply to.
    advises: what to do.
    says: the difference that it makes, after "It learns with …"; "" of what only cures try.
    code: in Python; of a network as a patient has it that is written for the network at hand.
    rank: the place among all: those of a lower rank are believed, and tried, first.
    cures: whether it may keep a gradient, and `jaxnn.cures` tries it.
    mends: findings that it takes away, whatever the rate is.
    unless: changes that, having been made, leave it nothing to do for a cure.
    usual: whether it is tried with weights of their usual size, too.
    """

    name: str
    of: Of
    advises: str
    says: str = ""
    code: str = ""
    rank: int = 0
    cures: bool = False
    mends: frozenset[str] = frozenset()
    unless: frozenset[str] = frozenset()
    usual: bool = False

    @property
    def summary(self) -> str:
        """Its docstring's first paragraph, on a line."""
        text = (inspect.getdoc(self.of) or "").split("\n\n")[0]
        return " ".join(text.split()).removesuffix(".")

    def made(self, setup: Setup) -> Iterator[Setup]:
        """Yield what it makes of a program."""
        made = self.of(setup)
        if made is not None:
            yield from [made] if isinstance(made, Setup) else made


CHANGES: dict[str, Change] = {}


def change(name: str, advises: str, **more: Any) -> Callable[[OfChange], OfChange]:
    """Return a decorator that enters a function as a change, behind those of its rank."""

    def enter(of: OfChange) -> OfChange:
        names = {key: frozenset(more[key].split(", ")) for key in ("mends", "unless") & more.keys()}
        CHANGES[name] = Change(name, of, advises, **more | names)
        return of

    return enter


def ordered(cures: bool = False) -> list[Change]:
    """Return those that a race, or a search of cures, tries, in the order of their ranks."""
    if cures:  # which measurements rank
        return sorted((one for one in CHANGES.values() if one.cures), key=lambda one: one.rank >= 0)
    return sorted((one for one in CHANGES.values() if one.says), key=lambda one: one.rank)


# Labels, loss and last activation


@change(
    "column",
    "Give the loss labels of shape {after}: it broadcasts {before} against the output.",
    says="labels of shape {after} instead of {before}",
    code="ys = ys.reshape({after})",
)
def column(setup: Setup) -> Setup | None:
    """Labels in the shape of the output."""
    output, ys = setup.output, setup.trial.ys
    if output is None or ys is None or ys.size != output.size or ys.shape == output.shape:
        return None
    before, after = ys.shape, output.shape
    made = setup.of_data(ys=lambda v: v.reshape((v.shape[0], *after[1:])))
    return made.saying(before=before, after=after)


@change(
    "from zero",
    "Number the classes from 0 to {last}; they are {before} now.",
    says="classes numbered from 0 to {last} instead of {before}",
    code="ys = np.searchsorted(np.unique(ys), ys)",
)
def from_zero(setup: Setup) -> Setup | None:
    """Numbers of classes without gaps, from 0 on."""
    ys = setup.trial.ys
    if ys is None or ys.dtype.kind not in "iu" or not ys.size:
        return None
    kinds = np.unique(ys)
    if kinds[-1] == len(kinds) - 1 or len(kinds) > MOST:
        return None
    made = setup.of_data(ys=lambda v: setup.tools.ranks(v, kinds))
    return made.saying(last=len(kinds) - 1, before=listed(map(str, kinds.tolist()[:FEW])))


@change(
    "minus",
    "Change the sign of the loss: it is largest where the output fits.",
    says="the sign of the loss changed",
    code="loss = lambda output, ys: -loss(output, ys)",
)
def minus(setup: Setup) -> Setup | None:
    """The loss with the other sign."""
    loss = setup.loss
    if loss is None or setup.aim.kind == OTHER:
        return None
    return setup.but(loss=lambda output, ys: -loss(output, ys))


@change(
    "no activation",
    "Leave out the activation after the last layer.",
    says="no activation after the last layer",
    code="# the forward pass returns what enters the last activation",
)
def no_activation(setup: Setup) -> Setup | None:
    """The input of the last activation as output."""
    return setup.bare


@change("usual loss", "Use {loss}, on the output as it is.", says="{loss} as the loss")
def usual_loss(setup: Setup) -> Setup | None:
    """The loss that such labels usually take."""
    if setup.loss is None or setup.aim.kind == OTHER:
        return None
    loss = {CLASSES: "the cross-entropy of classes", NUMBERS: "the mean squared error"}
    said = loss.get(setup.aim.kind, "the binary cross-entropy of logits")
    return setup.but(loss=setup.tools.usual_loss(setup.aim)).saying(loss=said)


@change(
    "usual end",
    "Leave out the activation after the last layer, and use {loss}, on the input of that "
    "activation.",
    says="no activation after the last layer, and {loss} as the loss",
)
def usual_end(setup: Setup) -> Setup | None:
    """Both of these."""
    made = setup.bare
    usual = None if made is None else usual_loss(made)
    return None if usual is None else usual.saying(**usual.words)


@change(
    "class each",
    "Give the last layer {classes} units and no activation, and use the cross-entropy of classes.",
    says="an output for each of the {classes} classes, and their cross-entropy as the loss",
)
def class_each(setup: Setup) -> Setup | None:
    """A unit for each class where one has their numbers."""
    ys = setup.trial.ys
    if ys is None or setup.loss is None or not setup.aim.are_few:
        return None
    classes = int(ys.max()) + 1
    wider = setup.tools.with_class_each(setup.bare or setup, classes)
    if wider is None:
        return None
    made = wider.of_data(ys=setup.tools.as_classes)
    return made.but(loss=setup.tools.cross_entropy(1)).saying(classes=classes)


# What learns


@change(
    "all learn",
    "Make all parameters learn: requires_grad=True, and all of them in the optimiser.",
    says="all parameters trainable and in the optimiser",
)
def all_learn(setup: Setup) -> Setup | None:
    """All parameters in the optimiser, and with a gradient."""
    return setup.tools.all_learning(setup)


@change(
    "own copies",
    "Make a new module for each layer: one module is used in several places.",
    says="separate weights for each layer",
)
def own_copies(setup: Setup) -> Setup | None:
    """A copy with weights of its own for each place of a module."""
    return setup.tools.with_own_copies(setup)


# Decay, dropout, mode


@change("no decay", "Use no weight decay, or a much smaller one.", says="no weight decay")
def no_decay(setup: Setup) -> Setup | None:
    """An optimiser that shrinks no weights."""
    return setup.tools.without_decay(setup)


@change("no dropout", "Use less dropout, or none.", says="no dropout")
def no_dropout(setup: Setup) -> Setup | None:
    """Dropout with a chance of 0."""
    return setup.tools.without_dropout(setup)


@change("training mode", "Call model.train() before training.", says="the network in training mode")
def training_mode(setup: Setup) -> Setup | None:
    """The module in training mode."""
    return setup.tools.in_mode(setup, True)


@change(
    "evaluation mode",
    "In evaluation mode it learns: look at dropout and batch norms, which training mode changes.",
    says="the network in evaluation mode",
)
def evaluation_mode(setup: Setup) -> Setup | None:
    """The module in evaluation mode."""
    return setup.tools.in_mode(setup, False)


# The step


@change(
    "zero grad",
    "Set the gradients to zero before each backward pass: they add up.",
    says="gradients set to zero before each step",
    code="optimizer.zero_grad()",
)
def zero_grad(setup: Setup) -> Setup | None:
    """Gradients that are of one batch."""
    return setup.tools.with_zero_grad(setup)


@change("no clip", "Clip gradients at a larger norm, or not at all.", says="no gradient clipping")
def no_clip(setup: Setup) -> Setup | None:
    """A step whose clipping does nothing."""
    return setup.tools.without_clip(setup)


@change(
    "minus update",
    "Change the sign of the update: the step goes uphill.",
    says="the sign of the update changed",
    code="{code}",
)
def minus_update(setup: Setup) -> Setup:
    """A step the other way."""
    code = "" if setup.program.step else setup.tools.turns_update
    return setup.but(times=-setup.times).saying(code=code)


# Sizes of inputs, labels and outputs


@change(
    "inputs",
    "Subtract the mean of each column of the inputs, and divide by its standard deviation.",
    says="inputs of mean 0 and standard deviation 1",
    code="xs = (xs - xs.mean(0)) / xs.std(0)",
)
def inputs(setup: Setup) -> Setup | None:
    """Inputs standardised by column."""
    known = [InputColumns.of(name, v) for name, v in setup.trial.xs.items() if v.size]
    first, tools = setup.batches[0].xs, setup.tools
    if all(map(_is_standard, known)):
        return None

    def standard(v: Any, of_first: Any) -> Any:
        if not tools.is_float(v):
            return v
        of = InputColumns.of("", tools.numbers(of_first))
        spread = np.where(of.spread > 1e-6 * of.size, of.spread, 1.0)
        shift, scale = (
            np.atleast_2d(a) if v.ndim == 2 else shaped(a, v) for a in (of.mean, spread)
        )
        return (v - tools.like(v, shift)) / tools.like(v, scale)

    batches = [Batch(jax.tree.map(standard, xs, first), ys) for xs, ys in setup.batches]
    return setup.but(batches=batches)


def _is_standard(of: InputColumns) -> bool:
    """Tell whether the columns of an input are about standardised."""
    varying = of.varying
    shift = np.abs(of.mean[varying]).max(initial=0.0)
    spreads = of.spread[varying]
    return bool(shift < 1 and ((spreads > 0.3) & (spreads < 3)).all())


@change(
    "neighbours",
    "Divide the adjacency matrix by the square roots of its row and column sums: as it is, each "
    "layer multiplies its state by up to {most:.3g}.",
    says="an adjacency matrix whose largest eigenvalue is about 1",
    code="a = a / np.sqrt(np.outer(a.sum(1), a.sum(0)))",
)
def neighbours(setup: Setup) -> Setup | None:
    """A square matrix that is given, of no negative number, with sums of its rows near 1."""
    tools, count = setup.tools, setup.trial.ys
    sums: list[float] = []

    def normalised(v: Any) -> Any:
        shape = tuple(getattr(v, "shape", ()))
        if not tools.is_float(v) or len(shape) != 2 or shape[0] != shape[1]:
            return v
        a = as_wide(tools.numbers(v))
        rows, columns = a.sum(1), a.sum(0)
        is_usual = (a < 0).any() or not (a.diagonal() > 0).all() or rows.max() < SUM
        if is_usual or count is None or len(count) != len(a):
            return v
        sums.append(float(rows.max()))
        return tools.like(v, a / np.sqrt(np.outer(rows, columns)))

    made = setup.of_data(xs=normalised)
    return made.saying(most=max(sums)) if sums else None


@change(
    "labels",
    "Subtract the mean of the labels, divide by their standard deviation, and undo both after the "
    "network.",
    says="labels of mean 0 and standard deviation 1",
    code="ys = (ys - ys.mean(0)) / ys.std(0)",
)
def labels(setup: Setup) -> Setup | None:
    """Labels standardised by column."""
    ys = setup.trial.ys
    if ys is None or setup.aim.kind != NUMBERS or ys.dtype.kind != "f":
        return None
    mean, spread = (f(as_wide(ys), axis=0, keepdims=True) for f in (np.mean, np.std))
    spread = np.where(spread > 0, spread, 1.0)
    like = setup.tools.like
    return setup.of_data(ys=lambda v: (v - like(v, mean)) / like(v, spread))


@change(
    "temperature",
    "Multiply the output by {factor:.2g} before the loss, or its last weights: its spread is "
    "{spread:.2g}.",
    says="the output multiplied by {factor:.2g}",
    code="output = {factor:.2g} * output",
)
def temperature(setup: Setup) -> Setup | None:
    """Outputs of the usual spread of logits."""
    output, loss, tools = setup.output, setup.loss, setup.tools
    if output is None or loss is None or setup.aim.kind in (OTHER, NUMBERS):
        return None
    spread = float(as_wide(output).std())
    is_usual = not np.isfinite(spread) or spread == 0 or 1 / FAR < spread < FAR
    if is_usual or setup.bare is not None:
        return None
    factor = 1 / spread
    made = setup.but(loss=lambda output, ys: loss(tools.prediction(output) * factor, ys))
    return made.saying(factor=factor, spread=spread)


# The draw


@change(
    "draw",
    "Draw the weights anew with a variance of 1 / (number of inputs), and set biases to 0.",
    says="weights drawn with a standard deviation of about 1/√(number of inputs){now}",
)
def draw(setup: Setup) -> Setup | None:
    """Weights drawn anew."""
    made = setup.tools.drawn(setup)
    return made and made.saying(now=_size_now(setup))


def _size_now(setup: Setup) -> str:
    """Return how large weights are, as a text that follows how large they usually are."""
    try:
        gain = setup.patient.gain
    except ValueError:  # there is no flow, and so nothing is known of them
        return ""
    return "" if np.isnan(gain) else f", which is now {gain:.2g} times that"


# The step size, and another optimiser


@change("step", "Use {step}.", says="{step}", rank=LAST)
def step(setup: Setup) -> list[Setup] | None:
    """Steps of other sizes."""
    return [resized(setup, times) for times in STEPS]


def resized(setup: Setup, times: float) -> Setup:
    """Return it with so many times as large steps, and words that compare with the user's own."""
    size, times = setup.tools.step_size(setup), setup.times * times
    said = f"steps {to_digits(times, 2):g} times as large"
    if size:
        said = (
            f"a step size of {to_digits(size * abs(times), 2):g} instead of {to_digits(size, 2):g}"
        )
    return setup.but(times=times).saying(step=said)


@change(
    "adam",
    "Look at the optimiser: Adam with a step size of 0.001 learns.",
    says="Adam of step size 0.001 instead of this optimiser",
    code="optimizer = {adam}",
    rank=LAST,
)
def adam(setup: Setup) -> Setup | None:
    """Adam of step size .001."""
    return None if setup.program.optimizer is None else setup.tools.with_adam(setup)
