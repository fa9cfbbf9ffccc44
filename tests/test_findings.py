"""The findings of a verdict, one ill and one healthy flow each, and all that is said of the ill.

The flows are made by hand, without a network: six equal layers, each with two weights. Other tests
look at the rule, the layer and the array alone, not at the sentence.
"""

from dataclasses import replace
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from problems import filled_flow
from walks import entered, walk

import jaxnn
from jaxnn.evidence import loss_kinds as kinds
from jaxnn.evidence import mixing
from jaxnn.evidence.class_labels import ClassLabels
from jaxnn.evidence.data import BatchData, InputColumns
from jaxnn.evidence.end import End, Reach
from jaxnn.evidence.evidence import Evidence, HeldOut
from jaxnn.evidence.loss_kinds import LossKind
from jaxnn.evidence.parameters import KnownParameters, Noise, WeightDraw
from jaxnn.evidence.tokens import Unread
from jaxnn.flow.formats.entries import BINS, PARTS, Entries, FlowEntries
from jaxnn.flow.record.given import Given
from jaxnn.flow.record.recurrences import Recurrences
from jaxnn.flow.verdict import state_findings as module
from jaxnn.flow.verdict.arrays import Arrays
from jaxnn.flow.verdict.data_findings import STANDARDISE
from jaxnn.flow.verdict.findings import FINDINGS, is_usual
from jaxnn.flow.verdict.network_advice import DRAW_AGAIN
from jaxnn.flow.verdict.parameter_findings import DRAW
from jaxnn.jaxpr.program import Closed
from jaxnn.pytorch.block_choice import Coverage
from jaxnn.pytorch.gradient_reach import Stopped

LAYERS = range(1, 7)
PATHS = [(layer, name) for layer in LAYERS for name in ("up", "down")]
LN10 = np.log(10)
NONE = -np.inf


def by_layer(values, otherwise=0.0):
    """Numbers of all layers, of which some are given."""
    return np.array([values.get(layer, otherwise) for layer in LAYERS])


def a_flow(*, sizes=None, deltas=None, decades=None, names=("block",) * 6, **fields):
    """A flow whose gradient is steady, but for what is given.

    sizes, deltas: of arrays by layer and name, in decades from those of others.
    decades: of Δ, by layer.
    fields: of the flow; those that are dicts by layer.
    """
    log = by_layer(decades or {}) * LN10
    net = jaxnn.Network((4,) * 7, "tanh", "binary")
    arrays = [np.array([of.get(p, 0.0) for p in PATHS]) for of in (deltas or {}, sizes or {})]
    parameters = jaxnn.flow.Parameters(
        *(jnp.asarray(np.log(4.0) + v * LN10) for v in arrays),  # the norm of 16 entries
        tuple(f"{layer}.{name}" for layer, name in PATHS),
        tuple(layer for layer, _ in PATHS),
        ((4, 4),) * len(PATHS),
        ("float32",) * len(PATHS),
    )
    with np.errstate(invalid="ignore"):
        gain = np.append(log[:-1] - log[1:], np.nan)
    flow = filled_flow(net, np.zeros(6), log_delta=log, log_largest=log, log_gain=gain)
    fields = {k: jnp.asarray(by_layer(v)) if type(v) is dict else v for k, v in fields.items()}
    return replace(flow, net=None, units=None, names=names, parameters=parameters, **fields)


def a_flow_with_biases(**fields):
    """A flow whose arrays `down` are biases."""
    flow = a_flow(**fields)
    shapes = tuple((4, 4) if name == "up" else (4,) for _, name in PATHS)
    return replace(flow, parameters=replace(flow.parameters, shapes=shapes))


def with_a_gain_of_zero(delta_of_bias):
    """A flow with a gain, which gets a gradient, and a weight that gets none."""
    shapes = {"2.scale": (4,), "2.up.weight": (4, 4), "2.up.bias": (4,)}
    numbers = (np.array(v) for v in ([0.0, NONE, delta_of_bias], [NONE, 0.0, 0.0]))
    named = (*shapes,), (2,) * 3, (*shapes.values(),), ("float32",) * 3
    return replace(a_flow(), parameters=jaxnn.flow.Parameters(*numbers, *named))


def of_adapters(**fields):
    """A flow whose arrays are pairs of matrices with two units between, the first without Δ."""
    flow = a_flow(deltas={(i, "up"): NONE for i in (2, 4)}, **fields)
    shapes = tuple((4, 2) if name == "up" else (2, 4) for _, name in PATHS)
    return replace(flow, parameters=replace(flow.parameters, shapes=shapes))


def of_gains(decades, names):
    """A flow of layers without arrays, whose factors in decades are given, from the first on."""
    log = np.append(np.cumsum(np.array(decades)[::-1])[::-1], 0.0) * LN10
    net = jaxnn.Network((3,) * (len(log) + 1), "tanh", "binary")
    gain = np.append(log[:-1] - log[1:], np.nan)
    flow = filled_flow(net, 0 * log, log_delta=log, log_gain=gain, log_largest=log)
    return replace(flow, net=None, units=None, names=tuple(names))


def of_units(**shares):
    """A flow of a Network with shares of its units."""
    net = jaxnn.Network((4,) * 7, "tanh", "binary")
    return filled_flow(net, np.zeros(6), **{name: np.full(6, v) for name, v in shares.items()})


def of_a_module(**shares):
    """A flow of a module of PyTorch, of whose units 40 % do nothing but for what is given."""
    named = {
        name: by_layer(shares.get(name, {}), 0.4) for name in ("saturated", "dead", "constant")
    }
    unknown = dict.fromkeys(("mean_square_z", "mean_a", "var_a", "mean_square_b"), np.full(6, NONE))
    return replace(a_flow(), units=jaxnn.flow.Units(**unknown, **named))


def given(largest=(), names=("xs",), loss=None):
    """What was handed over: the largest entry of arrays of twelve."""
    largest = np.array(largest, float)
    broken, names = (~np.isfinite(largest)).astype(int), names[: len(largest)]
    float32 = ("float32",) * len(largest)
    return Given(largest, largest, broken, loss, None, names, (12,) * len(largest), float32)


def through_time(*decades):
    log_delta = np.array(decades) * LN10
    return Recurrences(log_delta, log_delta, (len(decades),), ("lstm",), (False,), ((8, 16),))


def heads(*logits, entropy=0.01):
    """Heads of one attention of layer 3, the largest entropy of which is 2."""
    count, logits = len(logits), np.array(logits)
    entropy = np.full(count, entropy)
    layers, numbers = (3,) * count, tuple(range(1, count + 1))
    paths = (("3.up",),) * count
    most = np.full(count, 2.0)
    return jaxnn.flow.AttentionHeads(logits, entropy, most, layers, (1,) * count, numbers, paths)


def attentions(logits, shares):
    """Attentions of two heads each, of the first layers, the largest entropy of which is 2."""
    logits, entropy = (np.repeat(np.array(v, float), 2) for v in (logits, shares))
    layers = tuple(np.repeat(np.arange(1, len(logits) // 2 + 1), 2).tolist())
    count = len(layers)
    return jaxnn.flow.AttentionHeads(
        logits, 2 * entropy, np.full(count, 2.0), layers, (1,) * count, (1, 2) * (count // 2),
        tuple((f"{layer}.up",) for layer in layers),
    )  # fmt: skip


def experts(*load):
    """A router of layer 2 with its experts, of 32 tokens."""
    count = len(load)
    return jaxnn.flow.Routers(
        np.array(load), (2,) * count, (1,) * count, tuple(range(1, count + 1)), (32,) * count,
        (1,) * count, (("2.up",),) * count, (("2.down",),) * count,
    )  # fmt: skip


def with_theory(decades):
    """A flow that is apart from theory."""
    errors = replace(a_flow(), log_delta=np.full(6, 0.02))
    theory = replace(a_flow(), errors=errors, replicas=16, draws=16)
    return a_flow(decades=decades, theory=theory)


def positions(log_delta, log_spread=(0.0, 0.0, 0.0)):
    """A record of three positions of layer 2."""
    return jaxnn.flow.Positions(
        np.array(log_delta, float), np.array(log_spread, float), (1, 3, 1, 1, 1, 1)
    )


def histogram(octave):
    """Entries of Δ in layer 2, 1 of 1000 is 1 and the others are 2^-octave; ones elsewhere."""
    sums = np.zeros((6, BINS, 2))
    sums[:, 0] = 1
    sums[1, octave * PARTS] = 999, 999 * 4.0**-octave
    entries = Entries(np.zeros(6), sums, np.zeros((6, 5, 2)))
    return FlowEntries(entries, entries)


def columns(mean, spread, name="xs", count=32, **known):
    """Evidence of one input whose columns have these means and spreads."""
    of = InputColumns(name, np.array(mean, float), np.array(spread, float))
    known = {
        "scales_itself": None, "levels_itself": known.get("scales_itself"), "classes": 0,
        "are_positions_alike": False, "sorted": False, "are_labels": False,
    } | known  # fmt: skip
    return Evidence(data=BatchData(count, (of,), **known))


def an_end(takes="", constant=1.0, **known):
    """Evidence of an output of three numbers of any size, and of the kind of a loss."""
    known = {
        "outputs": 3, "low": -2.0, "high": 2.0, "sums_to_one": "", "reach": Reach(-np.inf, np.inf),
        "size": 1.0, "label_size": 1.0, "loss": 1.0, "labels": (0.0, 1.0, 0.0),
        "label_spreads": (np.nan, np.nan, 0), "label_sums": (1.0, 1.0), "classes": None,
        "mixing": "", "sees_labels": True, "zeros": 0.0, "sees_all": False, "compares": False,
        "is_linear": False,
    } | known  # fmt: skip
    return Evidence(end=End(kind=LossKind(takes, constant), **known))


def of_classes(takes="", **known):
    """Evidence of an output of three columns for labels that are numbers of classes."""
    classes = {"lowest": 0, "highest": 2, "columns": 3, "ignored": None, "weigh": False}
    classes |= {"breaks": False, "wraps": False}
    classes |= {name: known.pop(name) for name in classes if name in known}
    return an_end(takes, classes=ClassLabels(**classes), **known)


def draws(*given, **known):
    """Evidence of the matrices of the first layers, a draw each for all of its matrices."""
    of_paths = {f"{i}.{name}": v for i, v in enumerate(given, 1) for name in ("up", "down")}
    known = {"untouched_norms": (), "repeated": (), "unregistered": ()} | known
    return Evidence(parameters=KnownParameters(of_paths, **known))


AUTOENCODER = columns([0], [1], are_labels=True).data
SOFTMAX = {"sums_to_one": "rows", "low": 0.1, "high": 0.9, "reach": Reach(0.0, 1.0)}
SIGMOID = {"low": 0.1, "high": 0.9, "reach": Reach(0.0, 1.0)}
RELU = {"low": 0.0, "high": 3.0, "zeros": 0.5, "reach": Reach(0.0, np.inf)}
HEALTHY = WeightDraw(is_constant=False, distinct=1.0, gain=1.4)
COPIES = WeightDraw(is_constant=False, distinct=0.25, gain=1.0)
CONSTANT = WeightDraw(is_constant=True, distinct=0.25, gain=1.0)
NO = WeightDraw(is_constant=False, distinct=1.0, gain=0.0)
LARGE = WeightDraw(is_constant=False, distinct=1.0, gain=16.0)
TRAINED = WeightDraw(is_constant=False, distinct=1.0, gain=1.4, edge=3.0, mean_edge=0.2)
WITH_MEAN = WeightDraw(is_constant=False, distinct=1.0, gain=1.4, edge=3.0, mean_edge=2.9)


DRAW_UNITS = (
    "Draw the weights and biases there again, biases at 0, and look for inputs that are too large."
)
WITHOUT_ACTIVATION = (
    "Leave out the activation behind the last layer, and hand the loss what enters it."
)
AROUND = "Put a skip connection around each layer that mixes positions."
SIX = {"log_delta_example": np.zeros((6, 2))}
NAN_FROM_3 = dict.fromkeys((3, 4, 5, 6), np.nan)
OFF_BELOW_4 = dict.fromkeys((1, 2, 3), -0.5)  # of theory
OFF_BELOW_4_SAYS = (
    "Follows theory down to layer 4 (block); from layer 3 (block) down the gradient parts from "
    "that of random weights of these sizes, by up to -0.5 decades"
)
CUT_BELOW_4 = dict.fromkeys((1, 2, 3), NONE)
ONE_STATE = {"decades": CUT_BELOW_4, "log_spread": dict.fromkeys((4, 5, 6), NONE)}
OFF_BELOW_6 = {(i, name): NONE for i in range(1, 6) for name in ("up", "down")}
POOLED = a_flow(
    log_spread_within=dict.fromkeys((4, 5, 6), -20.0),
    positions=jaxnn.flow.Positions(np.zeros(24), np.zeros(24), (4,) * 6),
)
OFF_IN_3 = {(3, "up"): NONE, (3, "down"): NONE}
SMALL_GAINS = {(2, "down"): np.log10(5e-7), (3, "down"): np.log10(5e-7)}
ZERO_4 = {(4, "up"): NONE, (4, "down"): NONE}
OTHERS = "the other weights there"


class Case(NamedTuple):
    """A rule, a flow that is ill, where that is and what is said, and a flow that is healthy.

    Evidence alone is that of a steady flow.
    """

    rule: str
    ill: jaxnn.Flow | Evidence | tuple[jaxnn.Flow, Evidence]
    says: str
    healthy: jaxnn.Flow | Evidence | tuple[jaxnn.Flow, Evidence] | None = None  # None: as another's
    layer: int | None = None
    path: str = ""
    advises: str = ""


CASES = {
    "data": Case(
        "given",
        a_flow(given=given([np.nan]), log_mean_square=NAN_FROM_3),
        "xs: 1 of 12 entries is nan or infinite.",
        advises="Mend the data, then measure again.",
        healthy=a_flow(given=given([np.nan])),  # labels that are missing
    ),
    "loss": Case(
        "loss",
        a_flow(given=given(loss=np.nan)),
        "The loss is nan, though the output is finite.",
        advises="Look for a label that is no class of the output, a division by 0, a logarithm or "
        "a root at 0 or below, or a square that leaves its float.",
        healthy=a_flow(given=given(loss=1.0)),
    ),
    "a class without a column": Case(
        "loss",
        (a_flow(given=given(loss=np.nan)), of_classes(lowest=1, highest=3, breaks=True)),
        "The loss is nan, though the output is finite. The labels are classes from 1 to 3, and the "
        "3 columns of the output count from 0.",
        advises="Count the classes from 0, and give the output a column for each.",
    ),
    "parameters": Case(
        "nan",
        a_flow(sizes={(3, "up"): np.nan}, log_mean_square=NAN_FROM_3),
        "Parameters are nan: 3.up, from layer 3 on.",
        healthy=a_flow(sizes={(3, "up"): np.nan}),  # a run that is stored as a key
        layer=3,
        path="3.up",
        advises=f"Weights or biases have blown up. {DRAW_AGAIN}",
    ),
    "buffers": Case(
        "buffers",
        a_flow(broken=("norm.mean",), log_mean_square=NAN_FROM_3),
        "nan or inf in what gets no gradient: norm.mean; set it to numbers.",
        healthy=a_flow(log_mean_square=NAN_FROM_3),
        path="norm.mean",
    ),
    "a state that is computed": Case(
        "signal",
        a_flow(log_mean_square=NAN_FROM_3),
        "From layer 3 (block) up the signal is not a finite number.",
        healthy=a_flow(log_mean_square={3: 80.0}),
        layer=3,
        advises="Layer 3 makes them of finite numbers: look at what it computes, such as 0/0, an "
        "exponential of a large number, a logarithm or a root at 0 or below.",
    ),
    "a state that has grown": Case(
        "signal",
        a_flow(log_mean_square={2: 10 * LN10, **NAN_FROM_3}),
        "From layer 3 (block) up the signal is not a finite number.",
        healthy=a_flow(log_mean_square={2: 10 * LN10}),
        layer=3,
        advises=f"Weights or biases have blown up. {DRAW_AGAIN}",
    ),
    "Δ": Case(
        "undefined",
        a_flow(log_largest={1: np.nan, 2: np.inf}),
        "From layer 2 (block) down Δ is not a finite number, whatever the format.",
        healthy=a_flow(log_largest={1: 500.0}),
        layer=2,
    ),
    "a detach": Case(
        "stopped",
        a_flow(stopped=Stopped("stem", ("embed", "stem"), 0.3, "detached")),
        "The gradient stops after stem: embed and stem, 30 % of the parameters, get none, though "
        "the loss depends on them, as behind detach or no_grad.",
        healthy=a_flow(),
        path="embed",
        advises="Take detach or no_grad away, if that is not meant.",
    ),
    "a frozen module": Case(
        "stopped",
        a_flow(stopped=Stopped("stem", ("stem",), 0.3, "frozen")),
        "In a training the gradient stops after stem: stem, 30 % of the parameters, is frozen "
        "(requires_grad=False) and learns nothing.",
        path="stem",
        advises="If that is not meant, set requires_grad=True there.",
    ),
    "modules that are not used": Case(
        "stopped",
        a_flow(stopped=Stopped("", ("head",), 0.6, "unused")),
        "No gradient comes to head, 60 % of the parameters: the loss does not use what they make, "
        "or it leaves torch on the way, as by numpy() or item().",
        path="head",
        advises="Let the loss depend on it by functions of torch, or leave it out.",
    ),
    "layers frozen among others": Case(
        "stopped",
        (a_flow(deltas=OFF_IN_3), draws(stopped=("3.up", "3.down"))),
        "3.up and 3.down, 17 % of the parameters, are frozen (stop_gradient) between layers that "
        "learn, and learn nothing.",
        healthy=(a_flow(), draws(stopped=("1.up", "1.down", "2.up"))),
        path="3.up",
        advises="If that is not meant, take stop_gradient away there.",
    ),
    "layers behind stop_gradient": Case(
        "fixed",
        a_flow(deltas={(i, name): NONE for i in (3, 4) for name in ("up", "down")}),
        "No parameter of layers 3 (block) and 4 (block) gets a gradient, although Δ is there: as "
        "behind stop_gradient, in a branch that is off for the whole batch, or where only zeros "
        "enter.",
        healthy=(
            a_flow(deltas={(3, name): NONE for name in ("up", "down")}),
            draws(stopped=("3.up", "3.down")),
        ),
        layer=3,
        advises="Take stop_gradient away there, or give the branch something that passes.",
    ),
    "a gain that turns a branch off": Case(
        "fixed",
        a_flow_with_biases(sizes={(3, "down"): NONE}, deltas=OFF_IN_3),
        "3.down is zero and turns a branch of layer 3 (block) off, in which no parameter gets a "
        "gradient.",
        healthy=a_flow_with_biases(sizes={(3, "down"): NONE}),
        layer=3,
        path="3.down",
        advises="Set 3.down to 1.",
    ),
    "a bias that turns a branch off": Case(
        "fixed",
        a_flow_with_biases(sizes={(3, "down"): 1.0}, deltas=OFF_IN_3),
        "3.down turns a branch of layer 3 (block) off, in which no parameter gets a gradient: its "
        "entries have a root mean square of 20.",
        healthy=a_flow_with_biases(sizes={(3, "down"): 1.0}),
        layer=3,
        path="3.down",
        advises="Set 3.down to 0.",
    ),
    "layers of the encoder alone": Case(
        "cuts",
        a_flow(coverage=Coverage(0.3, 0.4, "decoder", "decoder.*")),
        "Only 30 % of the parameters and 40 % of the products lie in the layers that were found, "
        "decoder does not: what follows is about a part of the network. Choose layers with cuts=, "
        "such as cuts='decoder.*'.",
        healthy=a_flow(coverage=Coverage(0.3, 0.6, "head", "")),
    ),
    "an LSTM that forgets": Case(
        "time",
        a_flow(time=through_time(-4.0, -3.0, -2.0, -1.0, 0.0)),
        "Through time the gradient falls inside lstm, -1 decades a step, -4 over its 5 steps: the "
        "first gets 10⁻⁴ of what the last gets.",
        advises="Open the gates that keep its state: set bias_hh_l0[8:16], and that of any further "
        "layers and directions, to ln 5 = 1.61.",
        healthy=a_flow(time=through_time(-0.4, -0.3, -0.2, -0.1, 0.0)),
        path="lstm.weight_hh_l0",
    ),
    "an RNN that explodes from a step on": Case(
        "time",
        a_flow(time=through_time(3.0, 2.0, 1.0, 0.0, NONE)),
        "Through time the gradient grows inside lstm, +1 decades a step, +3 over steps 4 to 1 of "
        "5: step 1 gets 10³ of what step 4 gets.",
        advises="Clip the gradient, or draw the recurrent weights smaller.",
        healthy=a_flow(time=through_time(0.0, NONE, NONE, NONE, NONE)),
        path="lstm.weight_hh_l0",
    ),
    "an output that is not used": Case(
        "output",
        a_flow(decades=dict.fromkeys(LAYERS, NONE), deltas=dict.fromkeys(PATHS, NONE)),
        "The gradient is exactly zero from the output on: the loss does not depend on it.",
        healthy=a_flow(decades=CUT_BELOW_4),
        layer=6,
        advises="Let the loss depend on the output by functions that have a derivative: no "
        "rounding, no comparison, no argmax.",
    ),
    "zero weights that learn": Case(
        "zero",
        a_flow(decades=CUT_BELOW_4, sizes=ZERO_4),
        "The weights of layer 4 (block) are zero: 4.up and 4.down. From layer 3 (block) down Δ is "
        "exactly zero, but they get a gradient themselves: measure again after one step.",
        healthy=a_flow(sizes=ZERO_4),  # next to a skip connection
        layer=4,
        path="4.up",
    ),
    "zero weights that stay": Case(
        "zero",
        a_flow(decades=CUT_BELOW_4, sizes=ZERO_4, deltas=ZERO_4),
        "The weights of layer 4 (block) are zero: 4.up and 4.down. From layer 3 (block) down Δ is "
        "exactly zero, and they get none themselves: draw them again.",
        layer=4,
        path="4.up",
    ),
    "both matrices of an adapter": Case(
        "zero",
        a_flow(sizes=ZERO_4, deltas=ZERO_4),
        "4.up and 4.down of layer 4 (block) are zero and get no gradient: each is multiplied by "
        "another that is zero, and none of them will ever move.",
        healthy=a_flow(sizes={(4, "up"): NONE}, deltas={(4, "down"): NONE}),  # one of them drawn
        layer=4,
        path="4.up",
        advises="Draw all but one of them.",
    ),
    "the second matrix of an adapter": Case(
        "zero",
        of_adapters(sizes={(i, "down"): NONE for i in (2, 4)}),
        "2.down and 4.down are zero, as the second of an adapter's two matrices: 2.up and 4.up get "
        "no gradient in the first step, and learn from the second on.",
        healthy=of_adapters(),
        layer=2,
        path="2.down",
    ),
    "stop_gradient between layers": Case(
        "cut",
        a_flow(decades=CUT_BELOW_4),
        "Nothing passes layer 4 (block): from layer 3 (block) down Δ is exactly zero, every path "
        "being cut, as by stop_gradient or by units that are off or saturated for the whole batch.",
        healthy=a_flow(decades=dict.fromkeys((1, 2, 3), -200.0)),
        layer=4,
        advises="Take stop_gradient away there; of units that are off or saturated, draw weights "
        "and biases again, biases at 0.",
    ),
    "a rate": Case(
        "rate",
        a_flow(decades={layer: layer + 0.2 * (layer % 2) - 6 for layer in LAYERS}),
        "Vanishing, -0.96 ± 0.1 decades a layer towards the input, -4.8 over all 6 layers.",
        healthy=a_flow(log_mean_square=NAN_FROM_3),  # which says why there is none
    ),
    "a power law": Case(
        "rate",
        of_gains(np.log10(1 + 1 / np.arange(1, 40)), "b" * 40),
        "A power law of depth, no exponential: towards the input the gradient grows like "
        "depth^(1.000 ± 0.000), +1.6 decades over all 40 layers.",
    ),
    "a stretched exponential": Case(
        "rate",
        of_gains(-np.diff(np.sqrt(np.arange(2, 102))) / LN10, "b" * 100),
        "A stretched exponential of depth, no exponential: towards the input the gradient falls "
        "like e^((-1.000 ± 0.000) √(depth + 1)), -3.75 decades over all 100 layers.",
    ),
    "two layers": Case(
        "rate",
        of_gains([-0.6, -0.7], "bbb"),
        "Too few layers for a rate: -1.3 decades over all 3 layers. The first gets 0.05 of the "
        "gradient of the last; Adam's step sizes make up for it.",
    ),
    "a rest that adds to it": Case(
        "rate",
        of_gains([0.9, *[-0.5, -0.4] * 4, -0.8, -1.0], ["e", *"b" * 9, "g", "h"]),
        "Vanishing, -0.45 ± 0.02 decades a layer towards the input, -3.6 over the 9 layers that "
        "repeat, -4.5 over the whole network; the other layers add -0.9, layer 12 (h) most, -1.",
    ),
    "layers that differ": Case(
        "rate",
        of_gains([0.1, 0.08, 0.1, 0.09, 0.1, 0.11, 0.1, -1.1], "abcdefghi"),
        "Steady, +0.0971 ± 0.004 decades a layer towards the input, +0.68 over all layers but one, "
        "-0.42 over the whole network; layer i adds -1.1.",
    ),
    "a change by one layer": Case(
        "rate",
        of_gains([0.1, *[0.02, 0.01] * 3, 0.02, -5.0], ["e", *"b" * 8, "h"]),
        "Erratic, -4.79 decades over the whole network, most of it in one layer; the other "
        "layers change the gradient by +0.0157 ± 0.002 decades a layer towards the input.",
    ),
    "no rate": Case(
        "no rate",
        a_flow(unmeasured=5),
        "No rate: it takes two layers whose Δ was measured, and there is one.",
        healthy=a_flow(),
    ),
    "a loop": Case(
        "closed",
        a_flow(closed=Closed(2, 12, "write it as a scan")),
        "Layer 2 (block) holds most of the products, 12 in one loop or call that is not taken "
        "apart: write it as a scan.",
        healthy=a_flow(),
        layer=2,
    ),
    "a head alone": Case(
        "no rate", of_gains([], "h"), "No rate: it takes two layers, and there is one."
    ),
    "a layer of larger weights": Case(
        "layer",
        a_flow(decades=dict.fromkeys((1, 2), 1.5), sizes={(3, "up"): 1.5}),
        "Layer 3 (block) changes the gradient by +1.5 decades; its 3.up is 32 times as large as "
        "others like it.",
        healthy=a_flow(decades=dict.fromkeys((1, 2), 0.4)),
        layer=3,
        path="3.up",
    ),
    "a layer with a large state": Case(
        "layer",
        a_flow(decades=dict.fromkeys((1, 2), 1.5), log_mean_square={2: 4 * LN10}),
        "Layer 3 (block) changes the gradient by +1.5 decades; what enters it has a root mean "
        "square of 1e+02.",
        healthy=a_flow(log_mean_square={2: 4 * LN10}),
        layer=3,
    ),
    "an attention unlike all others": Case(
        "attention",
        a_flow(attention=attentions([0.1, 0.2, 82.0], [1.0, 0.99, 0.06])),
        "Attention of layer 3 (block) is saturated in all 2 heads: largest logit 82, entropy 0.12 "
        "of 2.00; all others have logits of 0.2 at most and 90 % of it or more.",
        healthy=a_flow(attention=attentions([0.1, 0.2, 82.0], [1.0, 0.85, 0.06])),
        layer=3,
        path="3.up",
    ),
    "one saturated head": Case(
        "attention",
        a_flow(attention=heads(200.0, 5.0, 1.0), deltas={(3, "up"): -8.0}),
        "Attention of layer 3 (block) is saturated in head 1 of 3: largest logit 200, entropy 0.01 "
        f"of 2.00; 3.up gets 10⁻⁸ of the gradient of {OTHERS}.",
        healthy=a_flow(attention=heads(90.0, 5.0, 1.0)),
        layer=3,
        path="3.up",
    ),
    "all heads": Case(
        "attention",
        a_flow(attention=heads(200.0, 200.0)),
        "Attention of layer 3 (block) is saturated in all 2 heads: largest logit 200, entropy 0.01 "
        "of 2.00.",
        healthy=a_flow(attention=heads(200.0, 200.0, entropy=0.2)),
        layer=3,
        path="3.up",
    ),
    "a router that does not learn": Case(
        "router",
        a_flow(routers=experts(0.5, 0.5), deltas={(2, "up"): -7.0}),
        "Router 2.up of layer 2 (block) gets 10⁻⁷ of the gradient of its experts: it does not "
        "learn.",
        healthy=a_flow(routers=experts(0.5, 0.5), deltas={(2, "up"): -3.0}),
        layer=2,
        path="2.up",
    ),
    "a router with one choice": Case(
        "router",
        a_flow(routers=experts(0.0, 1.0, 0.0)),
        "Router 2.up of layer 2 (block) sends all tokens to expert 2 of 3.",
        healthy=a_flow(routers=experts(0.0, 0.9, 0.1)),
        layer=2,
        path="2.up",
    ),
    "a router whose bias keeps tokens away": Case(
        "router",
        a_flow_with_biases(routers=experts(0.3, 0.0, 0.4, 0.3)),
        "Router 2.up of layer 2 (block) sends no token to expert 2 of 4, which 2.down, a large "
        "bias, keeps away.",
        healthy=a_flow_with_biases(routers=experts(0.3, 0.0, 0.4, 0.3), sizes={(2, "down"): -1}),
        layer=2,
        path="2.up",
        advises="Set 2.down to 0.",
    ),
    "theory": Case(
        "theory",
        with_theory(OFF_BELOW_4),
        f"{OFF_BELOW_4_SAYS}: the network is narrow for its depth.",
        healthy=with_theory(dict.fromkeys((1, 2, 3), -0.12)),  # within four errors,
        layer=3,
    ),
    "theory without weights that have a mean": Case(
        "theory",
        (with_theory(OFF_BELOW_4), draws(HEALTHY, WITH_MEAN)),
        f"{OFF_BELOW_4_SAYS}: the entries of 2.up and 2.down have a mean that is not zero.",
        layer=3,
    ),
    "theory without weights that are correlated": Case(
        "theory",
        (with_theory(OFF_BELOW_4), draws(HEALTHY, TRAINED)),
        f"{OFF_BELOW_4_SAYS}: the entries of 2.up and 2.down are correlated, as training makes "
        "them.",
        layer=3,
    ),
    "examples": Case(
        "examples",
        a_flow(log_spread={5: -15.0, 6: -15.0}, **SIX),
        "From layer 5 (block) up, float32 can no longer tell examples apart: no layer above "
        "can learn to tell them apart.",
        healthy=a_flow(log_spread={5: -15.0, 6: -14.0}, **SIX),
        layer=5,
    ),
    "examples at the output": Case(
        "examples",
        a_flow(log_spread={6: -15.0}, **SIX),
        "At the output, float32 cannot tell examples apart: it is the same for all.",
        healthy=a_flow(log_spread={6: -10.0}, **SIX),
        layer=6,
    ),
    "positions": Case(
        "positions",
        a_flow(log_spread_within={4: -8.0, 5: -20.0, 6: -20.0}),
        "From layer 5 (block) up all positions of an example are equal, but for rounding.",
        healthy=a_flow(log_spread_within={4: -8.0, 5: -20.0, 6: -14.0}),
        layer=5,
        advises=AROUND,
    ),
    "queries that are equal": Case(
        "positions",
        (POOLED, draws(flat=("4.up",))),
        "From layer 4 (block) up all positions of an example are equal, but for rounding: they "
        "begin as the rows of 4.up, which are equal, and compute and learn the same.",
        healthy=(POOLED, draws(flat=("6.up",))),
        layer=4,
        path="4.up",
        advises="Draw each row of 4.up by itself.",
    ),
    "positions that a low layer makes equal": Case(
        "positions",
        a_flow(log_spread_within=dict.fromkeys((3, 4, 5, 6), -20.0)),
        "From layer 3 (block) up all positions of an example are equal, but for rounding.",
        healthy=a_flow(log_spread_within=dict.fromkeys((4, 5, 6), -20.0)),  # a pool
        layer=3,
        advises=AROUND,
    ),
    "a gradient too small": Case(
        "format",
        a_flow(log_largest=dict.fromkeys((1, 2), -100.0)),
        "In float32 the gradient underflows below layer 3 (block), unless the loss is multiplied "
        "by 2^19 to 2^127; in float16 below layer 3 (block), whatever the scale of the loss.",
        healthy=a_flow(log_largest=dict.fromkeys((1, 2), -15.0)),  # a scaled loss keeps float16
        layer=2,
    ),
    "entries": Case(
        "entries",
        a_flow(entries=histogram(45)),
        "In float16 99.9 % of the entries of Δ become zero in layer 2 (block), under 0.001 % of "
        "its square norm, also with the loss multiplied by 2^14.",
        healthy=a_flow(entries=histogram(20)),
        layer=2,
    ),
    "what is not read": Case(
        "unread",
        a_flow(positions=positions([0, 0, NONE, NONE, *[0] * 4], [0, -20, 0, 0, *[0] * 4])),
        "Examples differ in layer 2 (block), but not at position 1 of 3, which alone gets a "
        "gradient: what differs is not read.",
        healthy=a_flow(positions=positions([0, 0, -9, NONE, *[0] * 4], [0, -20, 0, 0, *[0] * 4])),
        layer=2,
    ),
    "padding that is read alone": Case(
        "unread",
        Evidence(unread=Unread("xs", 0)),
        "Of xs only the places of the padding, which is 0, are read: the output "
        "stays the same if all other numbers are exchanged.",
        healthy=Evidence(),
        layer=1,
        path="xs",
        advises="Turn the mask around: some functions take True for what is seen, others for what "
        "is left out.",
    ),
    "letters that are not looked up": Case(
        "unread",
        Evidence(unread=Unread("xs", None)),
        "The numbers in xs are not read: with other ones the output is the same.",
        healthy=Evidence(),
        layer=1,
        path="xs",
        advises="Look whether they lie in the table that they are looked up in, and whether what "
        "is looked up is used.",
    ),
    "a token read alone": Case(
        "lone position",
        a_flow(positions=positions([0, NONE, NONE, 0.0, 0, 0, 0, 0], np.zeros(8))),
        "Only position 3 of 3 gets a gradient in layer 2 (block): what the others hold reaches the "
        "loss nowhere above. If weights between positions start at zero, measure again after one "
        "step.",
        healthy=a_flow(positions=positions([0, NONE, -20.0, 0.0, 0, 0, 0, 0], np.zeros(8))),
        layer=2,
    ),
    "a weight without gradient": Case(
        "starved",
        a_flow(deltas={(3, "up"): -8.0}),
        f"3.up of layer 3 (block) gets 10⁻⁸ of the gradient of {OTHERS}: it does not learn.",
        healthy=a_flow(deltas={(layer, "up"): -5.0 for layer in LAYERS}),  # as decay rates
        layer=3,
        path="3.up",
    ),
    "a weight without any gradient": Case(
        "starved",
        a_flow(deltas={(3, "up"): NONE}),
        "3.up of layer 3 (block) gets no gradient: it does not learn.",
        healthy=(a_flow(deltas={(3, "up"): NONE}), draws(stopped=("3.up",))),
        layer=3,
        path="3.up",
    ),
    "queries of logits that are not small": Case(
        "starved",
        a_flow(deltas={(3, "up"): -5.0}, attention=heads(2.0, 0.01)),
        f"3.up of layer 3 (block) gets 10⁻⁵ of the gradient of {OTHERS}: it does not learn.",
        healthy=a_flow(deltas={(3, "up"): -5.0}, attention=heads(0.01, 0.02)),
        layer=3,
        path="3.up",
    ),
    "an embedding times 100": Case(
        "largest",
        a_flow(sizes={(1, "up"): 2.0}),
        "The entries of 1.up, layer 1 (block), have a root mean square of 1e+02, all other weights "
        "1 or less.",
        healthy=a_flow(sizes={(1, "up"): 1.4}),
        layer=1,
        path="1.up",
    ),
    "weights of another size": Case(
        "size",
        a_flow(sizes={(3, "down"): -1.2}),
        "3.down of layer 3 (block) is 16 times smaller than others like it.",
        healthy=a_flow(sizes={(layer, "down"): -1.2 for layer in (1, 3, 5)}),
        layer=3,
        path="3.down",
    ),
    "a head": Case(
        "once",
        a_flow(decades=dict.fromkeys(range(1, 6), 1.5), names=(*["block"] * 5, "head")),
        "Layer 6 (head) changes the gradient once, by +1.5 decades.",
        healthy=a_flow(decades=dict.fromkeys(range(1, 6), 0.9), names=(*["block"] * 5, "head")),
        layer=6,
    ),
    "inputs of 0 to 255": Case(
        "inputs",
        (
            a_flow(log_mean_square={1: 2 * np.log(90)}),
            columns([0, 120], [1, 50], scales_itself=False),
        ),
        "The inputs are too large: column 2 of xs has a root mean square of 130, and no norm "
        "follows.",
        healthy=(
            a_flow(log_mean_square={1: 2 * np.log(90)}),
            columns([0, 120], [1, 50], scales_itself=True),  # by a norm
        ),
        layer=1,
        path="xs",
        advises=f"{STANDARDISE}; divide images of 0 to 255 by 255.",
    ),
    "prices that saturate gates": Case(
        "inputs",
        (
            a_flow(deltas={(1, "up"): NONE, (1, "down"): NONE}),
            columns([3000], [1000], scales_itself=False),
        ),
        "The inputs are too large: column 1 of xs has a root mean square of 3.16e+03, and no norm "
        "follows.",
        healthy=(a_flow(), columns([3000], [1000], scales_itself=False)),  # as of sines
        layer=1,
        path="xs",
        advises=f"{STANDARDISE}; divide images of 0 to 255 by 255.",
    ),
    "inputs of other units": Case(
        "inputs",
        columns([0, 0, 0], [1e-3, 1e-3, 1.0], scales_itself=False),
        "The columns of the inputs differ in size: column 3 of xs has a spread of 1, 1000 times "
        "that of the median column, and no norm over the batch follows.",
        healthy=columns([0, 120, 0], [1, 50, 1], scales_itself=False),  # layer 1 divides them
        layer=1,
        path="xs",
        advises=f"{STANDARDISE}.",
    ),
    "inputs that are scaled twice": Case(
        "inputs",
        (
            a_flow(log_mean_square={1: -12.0, 2: -12.0}, log_spread={}),
            columns([0], [0.001], scales_itself=False),
        ),
        "The inputs are too small, as those that are scaled twice: xs has a spread of 0.001, and "
        "no norm follows.",
        healthy=(a_flow(log_spread={}), columns([0], [0.001], scales_itself=False)),
        layer=1,
        path="xs",
        advises=f"Scale the inputs once, not twice. {STANDARDISE}.",
    ),
    "columns without information": Case(
        "constant",
        columns([5, 5, 0], [0, 0, 1]),
        "Columns of xs that are the same in all examples, 2 of 3, hold 98% of its mean square.",
        healthy=columns([5, 5, 0], [0, 0, 1], levels_itself=True),
        layer=1,
        path="xs",
        advises="Leave those columns out, or subtract their means.",
    ),
    "labels of one class": Case(
        "constant",
        replace(an_end(kinds.CLASS_LOGITS), data=columns([0], [1], classes=1).data),
        "All 32 labels are of one class, of 3.",
        healthy=replace(an_end(kinds.LOGITS, outputs=1), data=columns([0], [1], classes=1).data),
        layer=6,
        path="ys",
        advises="Look at how the labels are made, such as by a division of integers, and shuffle "
        "the examples.",
    ),
    "classes in order": Case(
        "sorted",
        columns([0], [1], classes=3, sorted=True),
        "The examples are sorted by their 3 classes: batches taken in this order have one class "
        "each.",
        healthy=columns([0], [1], count=6, classes=6, sorted=True),
        advises="Shuffle examples and labels together before each epoch.",
    ),
    "a softmax over one unit": Case(
        "oneunit",
        an_end(outputs=1, low=1.0, high=1.0, reach=Reach(1.0, 1.0)),
        "The output is a softmax over one unit: it is 1 for all examples, whatever the weights.",
        healthy=(  # a number to which a network that is off adds nothing
            a_flow(log_mean_square={5: NONE}),
            an_end(outputs=1, low=1.0, high=1.0, reach=Reach(1.0, 1.0)),
        ),
        layer=6,
        advises="For two classes take a sigmoid, for a number no activation; or one output for "
        "each class.",
    ),
    "a softmax over the batch": Case(
        "overbatch",
        an_end(sums_to_one="columns"),
        "The output is a softmax over the examples of the batch, not over the classes: each column "
        "sums to 1, and what an example gets depends on the others.",
        healthy=an_end(**SOFTMAX),
        layer=6,
        advises="Take the softmax over the classes, along the last axis.",
    ),
    "two softmaxes": Case(
        "twice",
        an_end(kinds.CLASS_LOGITS, **SOFTMAX),
        "The output is a softmax, and the loss, which takes logits, applies another one: no class "
        "gets all of the probability, and the gradient is small.",
        healthy=an_end(kinds.CLASS_PROBABILITIES, **SOFTMAX),
        layer=6,
        advises=WITHOUT_ACTIVATION,
    ),
    "two sigmoids": Case(
        "twice",
        an_end(kinds.LOGITS, **SIGMOID),
        "The loss takes logits, any numbers, and the output stays within 0 and 1 whatever the "
        "weights, as behind a sigmoid or tanh: the loss squashes it once more.",
        healthy=an_end(kinds.LOGITS, low=-0.5, high=0.5),
        layer=6,
        advises=WITHOUT_ACTIVATION,
    ),
    "soft caps of logits": Case(
        "twice",
        an_end(kinds.CLASS_LOGITS, low=-0.5, high=0.5, reach=Reach(-1.0, 1.0)),
        "The loss takes logits, any numbers, and the output stays within -1 and 1 whatever the "
        "weights, as behind a sigmoid or tanh: the loss squashes it once more.",
        healthy=an_end(kinds.CLASS_LOGITS, reach=Reach(-30.0, 30.0)),
        layer=6,
        advises=WITHOUT_ACTIVATION,
    ),
    "a relu on logits": Case(
        "relulogits",
        an_end(kinds.CLASS_LOGITS, **RELU),
        "The loss takes class logits, and the output is never below 0 and has no upper end, as "
        "behind a relu: where it is 0 nothing is learnt.",
        healthy=an_end(kinds.NUMBERS, **RELU),
        layer=6,
        advises="Leave out the activation behind the last layer.",
    ),
    "a relu on probabilities": Case(
        "relulogits",
        an_end(kinds.PROBABILITIES, **RELU),
        "The loss takes probabilities, and the output is never below 0 and has no upper end, as "
        "behind a relu: where it is 0 nothing is learnt.",
        healthy=an_end(kinds.CLASS_LOGITS, **RELU | {"zeros": 0.0}),  # a mean of units
        layer=6,
        advises="Take a softmax behind the last layer, or for one output a sigmoid; or no "
        "activation and a loss of logits.",
    ),
    "a sigmoid for 0 to 100": Case(
        "targets",
        an_end(kinds.NUMBERS, labels=(0.0, 100.0, 0.9), **SIGMOID),
        "The labels go from 0 to 100, and the output can reach 0 to 1 whatever the weights: 90 % "
        "of the labels lie outside.",
        healthy=an_end(kinds.NUMBERS, labels=(0.0, 100.0, 0.0)),
        layer=6,
        advises="Leave out the activation behind the last layer, or scale the labels into its "
        "range.",
    ),
    "one sigmoid for labels 0, 1, 2": Case(
        "targets",
        an_end(kinds.PROBABILITIES, labels=(0.0, 2.0, 0.3), **SIGMOID),
        "The loss takes labels from 0 to 1, and they go from 0 to 2: it has no lowest value that "
        "is a fit.",
        healthy=an_end(kinds.PROBABILITIES, **SIGMOID),
        layer=6,
        advises="Take one output for each class with a softmax and its cross-entropy; for numbers "
        "no activation and the mean squared error; or scale the labels to 0 and 1.",
    ),
    "a softmax for several labels at once": Case(
        "targets",
        an_end(kinds.NUMBERS, label_sums=(0.0, 2.0), **SOFTMAX),
        "The outputs of each example sum to 1, as of a softmax, and its labels do not.",
        healthy=an_end(kinds.NUMBERS, label_sums=(0.0, 2.0), **SIGMOID),
        layer=6,
        advises="Take a sigmoid for each output, with the binary cross-entropy.",
    ),
    "a cross-entropy of several labels at once": Case(
        "targets",
        an_end(kinds.CLASS_SHARES, label_sums=(0.0, 3.0), **SOFTMAX),
        "The loss takes classes, one of which is right, and the labels of an example sum to as "
        "much as 3.",
        healthy=an_end(kinds.CLASS_SHARES, label_sums=(0.0, 1.0), **SOFTMAX),  # some left out
        layer=6,
        advises="Take a sigmoid for each output, with the binary cross-entropy.",
    ),
    "a binary cross-entropy of a softmax": Case(
        "targets",
        an_end(kinds.PROBABILITIES, **SOFTMAX),
        "The outputs of each example sum to 1, as of a softmax over classes, and the loss takes "
        "each of the 3 as a yes or no by itself: most of it is on classes that are not there.",
        healthy=an_end(kinds.PROBABILITIES, outputs=2, **SOFTMAX),  # the same for both
        layer=6,
        advises="Take the cross-entropy of classes.",
    ),
    "squares of a softmax": Case(
        "targets",
        an_end(kinds.NUMBERS, **SOFTMAX),
        "The loss is the squared error of a softmax over 3 classes, as a Brier score: where the "
        "softmax is sure and wrong, "
        "its slope is next to nothing.",
        healthy=an_end(kinds.NUMBERS, **SIGMOID),
        layer=6,
        advises="If it learns too slowly, take the cross-entropy of classes.",
    ),
    "probabilities for logarithms": Case(
        "targets",
        an_end(kinds.IN_PROPORTION),
        "The loss falls in proportion to the probability of the right class, as one that takes "
        "logarithms, or margins, and gets probabilities: where these are sure and wrong, its slope "
        "is next to nothing.",
        healthy=an_end(kinds.CLASS_LOGITS),
        layer=6,
        advises="Take the cross-entropy, or hand the loss a log-softmax.",
    ),
    "classes that count from 1": Case(
        "targets",
        of_classes(kinds.CLASS_LOGITS, lowest=1, highest=3),
        "The labels are classes from 1 to 3, and the 3 columns of the output count from 0: class 3 "
        "has none.",
        healthy=of_classes(kinds.CLASS_LOGITS, lowest=1, highest=2),
        layer=6,
        advises="Subtract 1 from the labels.",
    ),
    "classes below 0": Case(
        "targets",
        of_classes(lowest=-1, highest=1, wraps=True),
        "The labels are classes from -1 to 1, and those below 0 count from the last of the 3 "
        "columns of the output.",
        healthy=of_classes(lowest=-1, highest=1),
        layer=6,
        advises="Count the classes from 0, and leave out of the loss what has none.",
    ),
    "a class taken for padding": Case(
        "targets",
        of_classes(ignored=0),
        "Nothing is learnt from the examples of class 0: the loss has no slope for them.",
        healthy=of_classes(),
        layer=6,
        advises="If it is no padding, let the loss ignore no class (ignore_index=-100), and give "
        "no class the weight 0.",
    ),
    "numbers of classes for columns": Case(
        "targets",
        of_classes(weigh=True),
        "The loss asks for the same output whatever the class of an example: the numbers of the "
        "classes, 0 to 2, only weigh the examples.",
        healthy=of_classes(kinds.CLASS_LOGITS),
        layer=6,
        advises="Take the cross-entropy of class numbers, or hand the loss labels that are 1 in "
        "the column of their class and else 0.",
    ),
    "one target in thousands": Case(
        "targets",
        an_end(kinds.NUMBERS, label_spreads=(0.8, 320.0, 1)),
        "The columns of the labels differ in size: column 2 has a spread of 320, 400 times that of "
        "another, and makes up all of the loss.",
        healthy=an_end(kinds.NUMBERS, label_spreads=(0.8, 320.0, 1), label_share=0.2),
        layer=6,
        advises="Subtract from each column of the labels its mean and divide by its standard "
        "deviation, and undo that behind the network.",
    ),
    "prices as they are": Case(
        "targets",
        an_end(kinds.NUMBERS, size=0.5, label_size=5000.0, labels=(3000.0, 7000.0, 0.0)),
        "The labels have a root mean square of 5e+03, the output 0.5: its last layer has to grow "
        "far first.",
        healthy=an_end(kinds.NUMBERS, size=0.5, label_size=500.0),
        layer=6,
        advises="Subtract from the labels their mean and divide by their standard deviation, and "
        "undo that behind the network.",
    ),
    "logits in a loss of logarithms": Case(
        "negative",
        an_end(kinds.CLASS_LOGS, loss=-3.0),
        "The loss takes logarithms of probabilities, and the output is none: the loss, -3, falls "
        "without end as the output grows.",
        healthy=an_end(kinds.CLASS_LOGS, sums_to_one="logs", low=-3.0, high=-0.1),
        layer=6,
        advises="Take a log-softmax behind the last layer, or a loss of logits, such as a "
        "cross-entropy.",
    ),
    "sigmoids in a loss of classes": Case(
        "negative",
        an_end(kinds.CLASS_PROBABILITIES, **SIGMOID),
        "The loss takes probabilities of classes, and the outputs of an example do not sum to 1: "
        "it falls as all of them grow, without a fit.",
        healthy=an_end(kinds.CLASS_PROBABILITIES, **SOFTMAX),
        layer=6,
        advises="Take a softmax behind the last layer, or a loss of logits.",
    ),
    "numbers in a loss of probabilities": Case(
        "negative",
        an_end(kinds.PROBABILITIES),
        "The loss takes probabilities, and the output goes from -2 to 2.",
        healthy=an_end(kinds.LOGITS),
        layer=6,
        advises="Take a sigmoid behind the last layer, or a loss of logits.",
    ),
    "labels of other examples": Case(
        "labels",
        Evidence(held_out=HeldOut(200, 0.4)),
        "The labels tell nothing of the inputs: what is learned from half of the examples does not "
        "help with 200 others, whose labels have a smaller loss in 40% of all other orders.",
        healthy=Evidence(held_out=HeldOut(200, 0.02)),
        advises="Look whether inputs and labels are in the same order, as after a shuffle of one "
        "of them, and belong together.",
    ),
    "all pairs": Case(
        "mixes",
        an_end(kinds.PAIRS),
        "The loss compares each output with the labels of all examples: their shapes, one with a "
        "last axis of 1, broadcast to all pairs.",
        healthy=an_end(kinds.NUMBERS),
        layer=6,
        advises="Give output and labels one shape.",
    ),
    "a softmax of the loss over the batch": Case(
        "mixes",
        an_end(kinds.OVER_BATCH),
        "The loss takes its softmax over the examples of the batch, not over the classes.",
        healthy=an_end(kinds.CLASS_LOGITS),
        layer=6,
        advises="Take it along the last axis.",
    ),
    "a reshape that mixes examples": Case(
        "mixes",
        an_end(kinds.CLASS_LOGITS, mixing=mixing.PLACES),
        "The output of an example depends on its place in the batch: with the examples in another "
        "order they get other outputs.",
        healthy=an_end(kinds.CLASS_LOGITS),
        layer=6,
        advises="Look for a reshape or a transpose that takes another axis for that of the "
        "examples: move it to the front first.",
    ),
    "attention along the batch": Case(
        "mixes",
        an_end(kinds.CLASS_LOGITS, mixing=mixing.SUMS),
        "The output of an example changes if all examples are there twice: sums over the batch "
        "enter the network, as of a softmax along it.",
        healthy=an_end(kinds.CLASS_LOGITS),
        layer=6,
        advises="Take it along the positions or the features of an example, not along the first "
        "axis.",
    ),
    "letters of size 1 that are the last layer too": Case(
        "drawn",
        replace(
            of_classes(kinds.CLASS_LOGITS, size=11.0, loss=12.0, columns=20),
            parameters=draws(LARGE, *[HEALTHY] * 5).parameters,
        ),
        "The network is sure before it has learned: its logits have a root mean square of 11, and "
        "the loss is 12, where 3 is that of no knowledge. 1.up multiplies what is random by 16.",
        healthy=replace(
            of_classes(kinds.CLASS_LOGITS, size=11.0, loss=4.0, columns=20),
            parameters=draws(LARGE, *[HEALTHY] * 5).parameters,
        ),
        layer=1,
        path="1.up",
        advises=DRAW,
    ),
    "a loss with the wrong sign": Case(
        "inverted",
        an_end(kinds.CLASS_LOGITS, constant=-1.0),
        "The loss rises as the output comes nearer to the labels: its slope is that of a loss of "
        "class logits, with the other sign.",
        healthy=an_end(kinds.CLASS_LOGS, constant=-1.0),  # a linear loss
        layer=6,
        advises="Change the sign of the loss.",
    ),
    "a loss that is least where nothing fits": Case(
        "inverted",
        an_end(rises=True),
        "The loss is larger at outputs that fit the labels than at their opposite, and an output "
        "that is nothing for all examples is as good as that.",
        healthy=an_end(),
        layer=6,
        advises="Change the sign of the loss.",
    ),
    "a loss of the code alone": Case(
        "unlabelled",
        replace(an_end(sees_labels=False, ends_at_zeros=True), data=AUTOENCODER),
        "The gradient does not depend on the labels: the loss is handed ys and has the same slope "
        "with those of other examples.",
        healthy=replace(an_end(sees_labels=False), data=AUTOENCODER),
        layer=6,
        advises="Compare the output with ys in the loss.",
    ),
    "pixels and classes mixed up": Case(
        "mixes",
        an_end(kinds.CLASS_LOGITS, acts_elsewhere=True),
        "The loss compares the label of a position, such as a pixel, with outputs of several other "
        "positions: classes and positions are mixed up.",
        healthy=an_end(kinds.CLASS_LOGITS),
        layer=6,
        advises="Move the axis of the classes to the end before a reshape or view: "
        "output.permute(0, 2, 3, 1).reshape(-1, classes).",
    ),
    "nothing near is alike": Case(
        "drawn",
        replace(an_end(is_chaotic=True), parameters=draws(LARGE, HEALTHY).parameters),
        "Inputs that differ by a thousandth make outputs that differ as much as those of other "
        "examples: the weights, or the factors of sines, are drawn so large that nothing near is "
        "alike. 1.up multiplies what is random by 16.",
        healthy=replace(an_end(), parameters=draws(LARGE, HEALTHY).parameters),
        layer=1,
        path="1.up",
        advises=DRAW,
    ),
    "a loss without labels": Case(
        "unlabelled",
        an_end(sees_labels=False),
        "The gradient does not depend on the labels: the loss is handed ys and has the same slope "
        "with those of other examples.",
        healthy=an_end(sees_labels=None),  # labels that are all alike
        layer=6,
        advises="Compare the output with ys in the loss.",
    ),
    "constant weights": Case(
        "drawn",
        draws(HEALTHY, CONSTANT, CONSTANT),
        "All entries of 2.up, layer 2 (block), are one number, and so in layer 3 (block): its "
        "units compute the same, and learn the same.",
        healthy=Evidence(
            parameters=KnownParameters(
                {"2.up": CONSTANT, "2.down": HEALTHY},
                (),
                (),
                (),  # gains of heads
            )
        ),
        layer=2,
        path="2.up",
        advises=DRAW,
    ),
    "weights that are zero": Case(
        "equal",
        (a_flow(log_spread=dict.fromkeys((2, 3, 4, 5, 6), NONE), **SIX), draws(HEALTHY, NO, LARGE)),
        "The units of layer 2 (block) are equal: 2.up is zero, and nothing that enters the layer "
        "leaves it.",
        healthy=(
            a_flow(log_spread={}, **SIX),
            draws(HEALTHY, NO, HEALTHY),
        ),  # next to a skip connection
        layer=2,
        path="2.up",
        advises=DRAW,
    ),
    "weights that are drawn too large": Case(
        "drawn",
        (a_flow(log_mean_square={2: 2 * np.log(6.0)}), draws(HEALTHY, LARGE, LARGE)),
        "The weights are drawn too large: 2.up of layer 2 (block) multiplies what is random by 16, "
        "and so in layer 3 (block).",
        healthy=(a_flow(log_mean_square={2: 2 * np.log(6.0)}), draws(HEALTHY, LARGE)),
        layer=2,
        path="2.up",
        advises=DRAW,
    ),
    "copies of units": Case(
        "equal",
        draws(HEALTHY, COPIES),
        "Units of layer 2 (block) are equal: of the columns of 2.up 25% differ, the others are "
        "copies, which compute and learn the same.",
        healthy=Evidence(
            parameters=KnownParameters({"2.up": COPIES, "2.down": HEALTHY}, (), (), ())
        ),
        layer=2,
        path="2.up",
        advises=DRAW,
    ),
    "copies of a module's units": Case(
        "equal",
        (replace(a_flow(), is_of_torch=True), draws(HEALTHY, COPIES)),
        "Units of layer 2 (block) are equal: of the rows of 2.up 25% differ, the others are "
        "copies, which compute and learn the same.",
        layer=2,
        path="2.up",
        advises=DRAW,
    ),
    "copies of one layer": Case(
        "equal layers",
        draws(HEALTHY, HEALTHY, HEALTHY, equal=(("2.up", "3.up"), ("2.down", "3.down"))),
        "Layers 2 (block) and 3 (block) hold the same weights, as 2.up and 3.up are: copies of one "
        "layer.",
        healthy=draws(HEALTHY, HEALTHY, equal=(("1.up", "2.up"),)),  # next to others that differ
        layer=2,
        path="2.up",
        advises="Draw the parameters of each anew: copy.deepcopy does not.",
    ),
    "one module in a list": Case(
        "shared",
        draws(repeated=("blocks.0", "blocks.1")),
        "blocks.0 and blocks.1 are one module: 2 times the same parameters.",
        healthy=draws(),
        path="blocks.0",
        advises="If several layers are meant, make each of its own: [make() for _ in range(n)], "
        "not [layer] * n.",
    ),
    "statistics that no batch has touched": Case(
        "evalnorm",
        draws(untouched_norms=("bn1",)),
        "Batch norm in eval mode divides by statistics that no batch has touched, mean 0 and "
        "variance 1: bn1 does nothing.",
        healthy=draws(),
        path="bn1",
        advises="Call model.train() to train, in Flax use_running_average=False, and train before "
        "model.eval().",
    ),
    "statistics that a batch does not change": Case(
        "evalnorm",
        draws(resting_norms=("bn1", "bn2")),
        "A batch leaves the statistics of bn1 and bn2 as they are, though the batch norm is in "
        "train mode: in eval mode it divides by those.",
        healthy=draws(),
        path="bn1",
        advises="Give it a momentum above 0, such as 0.1: in PyTorch it is the share of the new "
        "batch, in TensorFlow and Flax that of what was there.",
    ),
    "layers in a plain list": Case(
        "unlisted",
        draws(unregistered=("blocks[0].weight", "blocks[0].bias")),
        "The output depends on blocks[0].weight and blocks[0].bias, 2 in all, which the module "
        "does not list among its parameters, as those of layers in a plain list: an optimiser of "
        "model.parameters() does not have them.",
        healthy=draws(),
        path="blocks[0].weight",
        advises="Hold layers in a torch.nn.ModuleList or ModuleDict, tensors as torch.nn.Parameter "
        "or in a ParameterList.",
    ),
    "one unit that all must pass": Case(
        "bottleneck",
        (replace(a_flow(), sizes=(4, 4, 1, 4, 4, 4)), columns([0], [1])),
        "All that the output knows passes one number, the state of layer 3 (block); the layers "
        "above make 4 of it.",
        healthy=(
            replace(a_flow(), sizes=(4, 4, 1, 4, 4, 4)),
            columns([0], [1], are_labels=True),  # an autoencoder
        ),
        layer=3,
        advises="Make that layer wider.",
    ),
    "dropout that is louder than the signal": Case(
        "noise",
        Evidence(noise=Noise(of_draws=5.0, of_mean=1.0)),
        "Dropout is louder than what it passes: the output has a root mean square of 1, and from "
        "draw to draw it changes by 5.",
        healthy=Evidence(noise=Noise(of_draws=1.7, of_mean=1.0)),
        advises="Drop less, such as a tenth, and not in narrow layers.",
    ),
    "dropout of 19 in 20": Case(
        "noise",
        Evidence(noise=Noise(of_draws=1.7, of_mean=1.0, dropped=0.95)),
        "Dropout leaves out 95% of what it takes: the output changes from draw to draw by 1.7, and "
        "has a root mean square of 1.",
        healthy=Evidence(noise=Noise(of_draws=1.7, of_mean=1.0, dropped=0.9)),
        advises="Drop less, such as a tenth.",
    ),
    "dropout that never ends": Case(
        "noise",
        Evidence(noise=Noise(of_draws=0.5, of_mean=1.0, drops_in_eval=True)),
        "Numbers are dropped at random in eval mode too: the output changes from draw to draw by "
        "0.5, and has a root mean square of 1.",
        healthy=Evidence(noise=Noise(of_draws=0.5, of_mean=1.0)),
        advises="Hand functions that drop the mode, as in F.dropout(x, p, self.training), or take "
        "torch.nn.Dropout.",
    ),
    "layers without an activation": Case(
        "linear",
        an_end(is_linear=True),
        "The output is a linear function of the inputs, though 6 layers with weights make it: no "
        "activation acts between them, and they can learn no more than one of them.",
        healthy=(a_flow(deltas=OFF_BELOW_6), an_end(is_linear=True)),  # what is cut off is no line
        advises="Put an activation, such as a relu, behind each layer but the last.",
    ),
    "a hinge behind a softmax": Case(
        "targets",
        an_end(kinds.MARGINS, **SOFTMAX),
        "The loss is a hinge, of outputs beyond -1 and 1, and the output can reach 0 to 1 whatever "
        "the weights.",
        healthy=an_end(kinds.MARGINS, reach=Reach(0.0, 0.0)),  # nothing enters the last layer
        layer=6,
        advises="Take a tanh or no activation behind the last layer; for several classes rather a "
        "softmax and its cross-entropy.",
    ),
    "a loss of means": Case(
        "mixes",
        an_end(sees_labels=False, sees_all=True),
        "The loss takes of the labels only what they have in common, such as their mean: in "
        "another order they make the same slope.",
        healthy=an_end(sees_labels=False, compares=True),
        layer=6,
        advises="Compare each output with its own label first, and take the mean then.",
    ),
    "shares of outputs below 0": Case(
        "negative",
        an_end(kinds.CLASS_SHARES),
        "The loss takes probabilities of classes but for a factor, and the output goes from -2 to "
        "2.",
        healthy=an_end(kinds.CLASS_SHARES, low=0.0),
        layer=6,
        advises="Take a softmax behind the last layer, or a loss of logits.",
    ),
    "units that a bias turns off": Case(
        "cut",
        a_flow_with_biases(
            decades=CUT_BELOW_4, log_mean_square={3: 2 * np.log(2)}, log_spread={3: -3}
        ),
        "3.down turns all units of layer 3 (block) off: its entries have a root mean square of 2, "
        "and from layer 3 (block) down Δ is exactly zero.",
        healthy=a_flow_with_biases(log_mean_square={3: 2 * np.log(2)}, log_spread={3: -3}),
        layer=3,
        path="3.down",
        advises="Set 3.down to 0.",
    ),
    "units that a bias inside of a layer turns off": Case(
        "cut",
        a_flow_with_biases(sizes={(4, "down"): 1.0}, **ONE_STATE),
        "4.down turns all units of layer 4 (block) off: its entries have a root mean square of 20, "
        "and from layer 3 (block) down Δ is exactly zero.",
        healthy=a_flow_with_biases(sizes={(4, "down"): 1.0}),
        layer=4,
        path="4.down",
        advises="Set 4.down to 0.",
    ),
    "units that a gain turns off": Case(
        "cut",
        a_flow_with_biases(sizes={(4, "down"): NONE}, deltas={(4, "down"): NONE}, **ONE_STATE),
        "4.down is zero and turns all units of layer 4 (block) off: from layer 3 (block) down Δ is "
        "exactly zero.",
        healthy=a_flow_with_biases(sizes={(4, "down"): NONE}),
        layer=4,
        path="4.down",
        advises="Set 4.down to 1.",
    ),
    "a bias of which one example does not tell what it does": Case(
        "cut",
        a_flow_with_biases(
            decades=CUT_BELOW_4,
            log_mean_square={3: 2 * np.log(2)},
            log_spread=dict.fromkeys(LAYERS, np.nan),
        ),
        "Nothing passes layer 4 (block): from layer 3 (block) down Δ is exactly zero, every path "
        "being cut, as by stop_gradient or by units that are off or saturated for the whole batch.",
        layer=4,
        advises="Take stop_gradient away there; of units that are off or saturated, draw weights "
        "and biases again, biases at 0.",
    ),
    "a gain that turns units off next to another input": Case(
        "cut",
        a_flow_with_biases(
            sizes={(4, "down"): NONE}, decades=CUT_BELOW_4, log_mean_square={3: 2 * np.log(2)}
        ),
        "4.down is zero and turns all units of layer 4 (block) off: from layer 3 (block) down Δ is "
        "exactly zero.",
        healthy=a_flow_with_biases(sizes={(4, "down"): NONE}),
        layer=4,
        path="4.down",
        advises="Set 4.down to 1.",
    ),
    "units that a gain far below the cut turns off": Case(
        "cut",
        a_flow_with_biases(
            sizes={(2, "down"): NONE, (4, "down"): NONE},
            deltas={(2, "down"): NONE, (4, "down"): NONE},
            decades=CUT_BELOW_4,
            log_spread=dict.fromkeys((2, 3, 4, 5, 6), NONE),
        ),
        "2.down is zero and turns all units of layer 2 (block) off: from layer 3 (block) down Δ is "
        "exactly zero.",
        layer=2,
        path="2.down",
        advises="Set 2.down to 1.",
    ),
    "a layer scale": Case(
        "branches",
        a_flow_with_biases(sizes=SMALL_GAINS),
        "Gains such as 2.down, in 2 layers, start at 1e-06: their branches add next to nothing, "
        "and the weights in these get as little gradient until the gains have grown.",
        healthy=a_flow_with_biases(sizes={(2, "down"): -2.0}),
        layer=2,
        path="2.down",
        advises="Adam's steps make up for it; for SGD start them at 1/√2, for there are 2.",
    ),
    "gains of zero in front of a branch": Case(
        "shut",
        with_a_gain_of_zero(delta_of_bias=0.0),
        "Gains such as 2.scale, in 1 layer, are zero: only zeros enter the weights behind them, "
        "which learn nothing until the gains have grown.",
        healthy=with_a_gain_of_zero(delta_of_bias=NONE),  # the last of a branch
        layer=2,
        path="2.scale",
        advises="Set such gains to 1.",
    ),
    "units of a layer that do nothing": Case(
        "idle",
        of_a_module(dead={3: 0.9, 5: 0.85}),
        "Of the units of layer 3 (block) and of layer 5 (block) 85 % are dead: their slope is 0 "
        "for all examples. In the other layers 40 % are.",
        healthy=of_a_module(dead={3: 0.7}),
        layer=3,
        advises=DRAW_UNITS,
    ),
    "units of one layer that are saturated": Case(
        "idle",
        of_a_module(saturated={2: 0.8}),
        "Of the units of layer 2 (block) 80 % are saturated: their slope is below a hundredth of "
        "its largest. In the other layers 40 % are.",
        healthy=replace(of_units(saturated=0.8), theory=None),  # of a Network all are spoken of
        layer=2,
        advises=DRAW_UNITS,
    ),
    "units": Case(
        "units",
        of_units(saturated=0.8, dead=0.65),
        "Of the hidden units 80 % are saturated and 65 % are dead.",
        healthy=of_units(saturated=0.7, dead=0.5),
    ),
}


WELL = {
    "a layer scale",
    "a head",
    "copies of one layer",
    "a head alone",
    "a power law",
    "layers that differ",
    "classes in order",
}


def verdict_of(given):
    """The verdict on a flow, on evidence, or on both."""
    flow, evidence = given if isinstance(given, tuple) else (given, None)
    if isinstance(flow, Evidence):
        flow, evidence = a_flow(), flow
    return jaxnn.verdict(flow, evidence=evidence)


def of_rule(case, given):
    """What a verdict finds by the rule of a case."""
    found = verdict_of(given).findings
    return [(f.layer, f.path, f.text, f.advice) for f in found if f.rule == case.rule]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_finding_names_layer_and_array_and_says_what_is_wrong(case):
    assert of_rule(case, case.ill) == [(case.layer, case.path, case.says, case.advises)]
    assert case.healthy is None or of_rule(case, case.healthy) == []


def test_every_rule_has_an_ill_and_a_healthy_case():
    assert {case.rule for case in CASES.values()} == {*FINDINGS}
    assert {case.rule for case in CASES.values() if case.healthy} == {*FINDINGS}


def test_zeros_that_are_added_are_no_pair_of_factors():
    """As the biases of queries and keys, which have an axis of heads; those of keys get no Δ."""
    ill = CASES["both matrices of an adapter"].ill
    numbers = tuple(PATHS.index((4, name)) for name in ("up", "down"))
    assert not verdict_of(ill).well
    flow = replace(ill, parameters=replace(ill.parameters, added=numbers))
    assert verdict_of(flow).well
    arrays = Arrays.of(flow)
    assert not arrays.weights[list(numbers)].any()
    assert arrays.gains_of_zero(4) == []


def test_zeros_that_learn_in_another_layer_are_no_pair_of_factors():
    """As those of a stack, of which each layer takes one entry."""
    parameters = CASES["both matrices of an adapter"].ill.parameters
    paths = tuple(path.replace("4.", "5.") for path in parameters.paths)
    flow = a_flow(sizes=ZERO_4, deltas=ZERO_4)
    assert not verdict_of(flow).well
    learns = verdict_of(replace(flow, parameters=replace(parameters, paths=paths)))
    assert (learns.well, learns.unreached) == (True, ())


def test_a_gain_of_images_is_no_weight():
    shapes = ((1, 1, 1, 8), (1, 8, 1, 1), (1, 8), (3, 3, 1, 8), (8,))
    numbers = np.zeros(len(shapes))
    arrays = Arrays(numbers, ("",) * len(shapes), shapes, numbers, numbers, numbers)
    assert arrays.weights.tolist() == [False, True, True, True, False]


@pytest.mark.parametrize(
    "names", [("w", "gain", "bias"), (".w.value", ".scale.value", ".bias.value"), ("", "", "")]
)
def test_of_arrays_of_zeros_a_gain_is_no_bias_with_a_name_or_without(names):
    """There are three layers; all biases are zero, and the gain of the second layer."""
    layers = np.repeat([1, 2, 3], 3)
    paths = tuple(f"[{i}]{names[i % 3]}" for i in range(9))
    shapes, size = ((4, 4), (4,), (4,)) * 3, np.array([0, 0, NONE, 0, NONE, NONE, 0, 0, NONE])
    arrays = Arrays(layers, paths, shapes, np.tile([0, 1, 2], 3), np.full(9, NONE), size)
    assert [arrays.gains_of_zero(layer) for layer in (1, 2, 3)] == [[], [4], []]


def test_positions_are_compared_among_as_many_as_at_the_top():
    """Not with those inside of attention, of which each head is one."""
    noise = -20.0
    flow = a_flow(log_spread_within={2: noise, 4: noise, 6: noise})
    counts = (6, 3, 6, 3, 6, 3)
    of_all = jaxnn.flow.Positions(np.zeros(sum(counts)), np.zeros(sum(counts)), counts)
    assert verdict_of(flow).equal_positions == 6
    assert verdict_of(replace(flow, positions=of_all)).equal_positions == 2


def test_what_is_well_is_told_from_what_stands_out():
    steady = jaxnn.verdict(a_flow())
    assert ([f.rule for f in steady.findings], steady.well) == (["rate"], True)
    for name, case in CASES.items():
        assert verdict_of(case.ill).well == (name in WELL), name


def test_branches_that_start_near_zero_are_no_lines():
    flow = a_flow_with_biases(sizes={(layer, "down"): -6.0 for layer in range(2, 7)})
    rules = [f.rule for f in verdict_of((flow, an_end(is_linear=True))).findings]
    assert rules == ["rate", "branches"]
    of_one = a_flow_with_biases(sizes={(3, "down"): NONE})  # what acts behind it is not seen
    found = verdict_of((of_one, an_end(is_linear=True))).findings
    assert "linear" not in [f.rule for f in found]


def test_what_makes_less_than_a_thousand_is_usual():
    """A rate over the layers, and one through time, which has no advice then."""
    for rule, of in (
        ("rate", lambda total: a_flow(decades={i: total * (6 - i) / 5 for i in LAYERS})),
        ("time", lambda total: a_flow(time=through_time(*np.linspace(total, 0, 5)))),
    ):
        for total, usual in ((-2.5, True), (-3.5, False)):
            (found,) = (f for f in jaxnn.verdict(of(total)).findings if f.rule == rule)
            assert is_usual(found) is usual
            assert ("Adam" in found.text) is (usual and rule == "rate")
            assert bool(found.advice) is (not usual and rule == "time")


def test_experts_that_are_copies_are_told_apart_by_their_router():
    layers = [HEALTHY, COPIES]
    flow = replace(a_flow(), routers=experts(0.5, 0.5))
    for given, rules in ((a_flow(), ["equal"]), (flow, [])):
        found = verdict_of((given, draws(*layers))).findings
        assert [one.rule for one in found if one.rule == "equal"] == rules


def test_a_single_layer_learns_from_any_start():
    end = of_classes(kinds.CLASS_LOGITS, size=11.0, loss=12.0, columns=20, is_chaotic=True)
    for layers, rules in (([LARGE], []), ([LARGE, HEALTHY], ["drawn"])):
        found = verdict_of(replace(end, parameters=draws(*layers).parameters)).findings
        assert [one.rule for one in found if one.rule == "drawn"] == rules


def test_squares_of_a_softmax_are_not_said_where_they_have_learned():
    end = an_end(kinds.NUMBERS, **SOFTMAX)
    for share, rules in ((0.3, ["targets"]), (0.02, [])):
        found = verdict_of(replace(end, held_out=HeldOut(200, share))).findings
        assert [one.rule for one in found if one.rule == "targets"] == rules


def test_one_layer_that_changes_less_than_a_thousand_is_usual():
    """Unless something in it stands out; and so is a last layer of zeros that learns."""
    for decades, others, usual in (
        (1.5, {}, True),
        (3.5, {}, False),
        (1.5, {"log_mean_square": {2: 4 * LN10}}, False),
    ):
        found = jaxnn.verdict(a_flow(decades=dict.fromkeys((1, 2), decades), **others)).findings
        assert [is_usual(one) for one in found if one.rule == "layer"] == [usual]
    for layer, usual in ((4, False), (6, True)):
        zeros = {(layer, name): NONE for name in ("up", "down")}
        flow = a_flow(decades=dict.fromkeys(range(1, layer), NONE), sizes=zeros)
        assert [is_usual(one) for one in jaxnn.verdict(flow).findings[:1]] == [usual]


def test_a_bias_as_biases_are_drawn_turns_no_units_off():
    """Nor does it where a state is little but that: the cut is said, and no bias named."""
    for size, path in ((0.0, "3.down"), (-1.0, "")):
        state = {3: 2 * (np.log(2) + size * LN10)}
        flow = a_flow_with_biases(
            decades=CUT_BELOW_4,
            log_mean_square=state,
            log_spread={3: -3},
            sizes={(i, "down"): size for i in LAYERS},
        )
        cut = next(found for found in jaxnn.verdict(flow).findings if found.rule == "cut")
        assert cut.path == path


def test_an_erratic_rate_below_a_thousand_is_made_up_for():
    for change, usual in ((-2.0, True), (-5.0, False)):
        flow = of_gains([0.02, *[0.02, 0.01] * 2, change, 0.01], "b" * 8)
        rate = next(one for one in jaxnn.verdict(flow).findings if one.rule == "rate")
        assert (rate.values["word"], is_usual(rate)) == ("erratic", usual)
        assert ("Adam" in rate.text) is usual


def test_the_page_says_of_every_finding_what_it_is_and_when():
    short = {name for name, *texts in FINDINGS.paragraphs() if len(texts) != 2}
    assert short == {"rate", "no rate"}


def test_the_walk_that_adds_a_finding():
    """CONTRIBUTING's rule and its case, entered as they stand there."""
    rule, entry = walk("a finding")
    with entered(FINDINGS, rule, module) as name:
        exec(entry, {**globals(), "CASES": (cases := {})})
        (case,) = cases.values()
        assert case.rule == name
        test_a_finding_names_layer_and_array_and_says_what_is_wrong(case)
        assert case.says in jaxnn.verdict(case.ill).sentences
