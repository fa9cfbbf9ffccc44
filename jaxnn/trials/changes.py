"""Changes: functions from a program to a program, in the order in which one is believed.

    setup -> of -> another setup, or None where it does not apply

A change that makes a program learn which does not is why it does not, and its sentence the advice.
Several that do are told by their order: what labels, loss and last activation are comes first, the
step size and another optimiser last, for these hide other faults.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from ..curing.changes import AddedNorm, PreNorm
from ..curing.patient import Form
from ..curing.words import to_digits
from ..evidence.data import InputColumns, shaped
from ..evidence.trial import as_wide
from ..texts import listed
from ..train.learner import Batch
from .score import CLASSES, MOST, NUMBERS, OTHER
from .setup import Setup

FAR = 10.0  # times what is usual: outputs whose size is changed
STEPS = 1e-4, 0.01, 0.1, 10.0, 100.0, 1000.0, 1e5
DRAWN = {
    "drawn": ", and weights of variance 1 / (number of inputs)",
    "draws": ", and draw the weights with a variance of 1 / (number of inputs)",
}
FEW = 5  # numbers of classes in a sentence
HE = 2**0.5  # times relu


Made = TypeVar("Made", bound=Callable[[Setup], Any])


class Change(NamedTuple):
    """A change of a program.

    name: by which findings and alarms name it.
    of: makes it, of some several; None of a program that it does not apply to.
    says: what is other then, after "With …".
    advises: what to do.
    code: in Python.
    """

    name: str
    of: Callable[[Setup], "Setup | list[Setup] | None"]
    says: str
    advises: str
    code: str = ""


CHANGES: dict[str, Change] = {}


def change(name: str, says: str, advises: str, code: str = "") -> Callable[[Made], Made]:
    """Return a decorator that enters a function as a change, behind those before."""

    def enter(of: Made) -> Made:
        CHANGES[name] = Change(name, of, says, advises, code)
        return of

    return enter


# Labels, loss and last activation


@change(
    "column",
    "labels of shape {after} instead of {before}",
    "Hand the loss labels of shape {after}: it broadcasts {before} against the output.",
    "ys = ys.reshape({after})",
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
    "classes numbered from 0 to {last} instead of {before}",
    "Number the classes from 0 to {last}; they are {before} now.",
    "ys = np.searchsorted(np.unique(ys), ys)",
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
    "minus the loss",
    "Turn the sign of the loss: it is largest where the output fits.",
    "loss = lambda output, ys: -loss(output, ys)",
)
def minus(setup: Setup) -> Setup | None:
    """The loss with the other sign."""
    loss = setup.loss
    if loss is None or setup.aim.kind == OTHER:
        return None
    return setup.but(loss=lambda output, ys: -loss(output, ys))


@change(
    "no activation",
    "no activation behind the last layer",
    "Leave out the activation behind the last layer.",
    "# the forward pass returns what enters the last activation",
)
def no_activation(setup: Setup) -> Setup | None:
    """The input of the last activation as output."""
    return setup.bare


@change(
    "usual loss",
    "{loss} of the output",
    "Take {loss} of the output as it is.",
)
def usual_loss(setup: Setup) -> Setup | None:
    """The loss that such labels usually take."""
    if setup.loss is None or setup.aim.kind == OTHER:
        return None
    loss = {CLASSES: "the cross-entropy of classes", NUMBERS: "the mean squared error"}
    said = loss.get(setup.aim.kind, "the binary cross-entropy of logits")
    return setup.but(loss=setup.tools.usual_loss(setup.aim)).saying(loss=said)


@change(
    "usual end",
    "no activation behind the last layer, and {loss}",
    "Leave out the activation behind the last layer, and take {loss} of what entered it.",
)
def usual_end(setup: Setup) -> Setup | None:
    """Both of these."""
    made = setup.bare
    usual = None if made is None else usual_loss(made)
    return None if usual is None else usual.saying(**usual.words)


@change(
    "class each",
    "a unit for each of the {classes} classes, and their cross-entropy",
    "Take {classes} units in the last layer, no activation behind it, and the cross-entropy of "
    "classes.",
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
    "all parameters in the optimiser, and learning",
    "Have all parameters learned: requires_grad=True, and all of them in the optimiser.",
)
def all_learn(setup: Setup) -> Setup | None:
    """All parameters in the optimiser, and with a gradient."""
    return setup.tools.all_learning(setup)


@change(
    "own copies",
    "weights of its own for each layer",
    "Make each layer anew: one module stands in several places.",
)
def own_copies(setup: Setup) -> Setup | None:
    """A copy with weights of its own for each place of a module."""
    return setup.tools.with_own_copies(setup)


# Decay, dropout, mode


@change("no decay", "no weight decay", "Take a weight decay of 0, or a much smaller one.")
def no_decay(setup: Setup) -> Setup | None:
    """An optimiser that shrinks no weights."""
    return setup.tools.without_decay(setup)


@change("no dropout", "no dropout", "Take less dropout, or none.")
def no_dropout(setup: Setup) -> Setup | None:
    """Dropout with a chance of 0."""
    return setup.tools.without_dropout(setup)


@change("training mode", "the network in training mode", "Call model.train() before training.")
def training_mode(setup: Setup) -> Setup | None:
    """The module in training mode."""
    return setup.tools.in_mode(setup, True)


@change(
    "evaluation mode",
    "the network in evaluation mode",
    "Look at what training mode changes, dropout and batch norms: in evaluation mode it learns.",
)
def evaluation_mode(setup: Setup) -> Setup | None:
    """The module in evaluation mode."""
    return setup.tools.in_mode(setup, False)


# The step of the user's own


@change(
    "zero grad",
    "gradients of zero before each step",
    "Set the gradients to zero before each backward pass: they add up.",
    "optimizer.zero_grad()",
)
def zero_grad(setup: Setup) -> Setup | None:
    """Gradients that are of one batch."""
    return setup.tools.with_zero_grad(setup)


@change("no clip", "no clipping of gradients", "Clip gradients at a larger norm, or not at all.")
def no_clip(setup: Setup) -> Setup | None:
    """A step whose clipping does nothing."""
    return setup.tools.without_clip(setup)


@change(
    "minus update",
    "the update with the other sign",
    "Turn the sign of the update: the step goes uphill.",
)
def minus_update(setup: Setup) -> Setup | None:
    """A step the other way."""
    return None if setup.program.step is None else setup.tools.with_minus_update(setup)


# Sizes of inputs, labels and outputs


@change(
    "inputs",
    "inputs with a mean of 0 and a spread of 1",
    "Subtract from each column of the inputs its mean, and divide by its standard deviation.",
    "xs = (xs - xs.mean(0)) / xs.std(0)",
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
    "labels",
    "labels with a mean of 0 and a spread of 1",
    "Subtract from the labels their mean, divide by their standard deviation, and undo both behind "
    "the network.",
    "ys = (ys - ys.mean(0)) / ys.std(0)",
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
    "the output times {factor:.2g}",
    "Multiply the output by {factor:.2g} before the loss, or its last weights: its spread is "
    "{spread:.2g}.",
    "output = {factor:.2g} * output",
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


# The draw, norms and skips


@change(
    "draw",
    "weights as they are usually drawn",
    "Draw the weights with a variance of 1 / (number of inputs), and biases of 0.",
)
def draw(setup: Setup) -> Setup | None:
    """Weights drawn anew."""
    return setup.tools.drawn(setup)


@change(
    "norms",
    "a norm in front of each layer{drawn}",
    "Put a norm in front of each layer{draws}.",
)
def norms(setup: Setup) -> list[Setup]:
    """A norm in front of each layer that repeats."""
    return _formed(setup, AddedNorm())


@change(
    "skips",
    "a skip around each layer, and a norm in front{drawn}",
    "Put a skip around each layer, and a norm in front: z + f(z / rms(z)) / √layers{draws}.",
)
def skips(setup: Setup) -> list[Setup]:
    """A skip around each layer that repeats and a norm in front."""
    patient = setup.patient.blocks
    count = int(patient.rebuildable.sum())
    return _formed(setup, PreNorm(count**-0.5)) if count else []


def _formed(setup: Setup, form: Form) -> list[Setup]:
    """Return it with its layers in another form, and with weights drawn anew, too."""
    made = setup.reformed(setup.patient.blocks.with_form(form))
    if made is None:
        return []
    drawn = draw(made)
    ways = [made.saying(**dict.fromkeys(DRAWN, ""))]
    return ways + ([drawn.saying(**DRAWN)] if drawn else [])


@dataclass(frozen=True)
class _ScaledRelu:
    """√2 · relu."""

    gain = HE
    slope = 0.0

    def __call__(self, z: Any) -> Any:
        return HE * (z + abs(z)) / 2


@change(
    "relu",
    "relu in place of each activation, and weights of He's size",
    "Take relu between the layers, and draw the weights with a variance of 2 / (number of inputs).",
)
def relu(setup: Setup) -> Setup | None:
    """Relu with weights of He's size."""
    made = setup.reformed(setup.patient.with_units(_ScaledRelu()))
    return made and (draw(made) or made)


# The step size, and another optimiser


@change("step", "{step}", "Take {step}.")
def step(setup: Setup) -> list[Setup] | None:
    """Steps of other sizes."""
    return [resized(setup, times) for times in STEPS]


def resized(setup: Setup, times: float) -> Setup:
    """Return it with so many times as large steps, and words that compare with the user's own."""
    size, times = setup.tools.step_size(setup), setup.times * times
    said = f"steps {to_digits(times, 2):g} times as large"
    if size:
        said = f"a step size of {to_digits(size * times, 2):g} instead of {to_digits(size, 2):g}"
    return setup.but(times=times).saying(step=said)


@change(
    "adam",
    "Adam of step size 0.001 in the optimiser's place",
    "Look at the optimiser: take Adam with a step size of 0.001.",
    "optimizer = optax.adam(1e-3)",
)
def adam(setup: Setup) -> Setup | None:
    """Adam of step size .001."""
    return None if setup.program.optimizer is None else setup.tools.with_adam(setup)
