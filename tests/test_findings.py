"""The findings of a verdict, one ill and one healthy flow each.

The flows are made by hand, without a network: six equal layers, each with two weights. All that is
said of the ill ones is stored; other tests look at the rule, the layer and the array alone.
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
from jaxnn.evidence.tokens import Beyond, Unread
from jaxnn.flow.formats.entries import BINS, PARTS, Entries, FlowEntries
from jaxnn.flow.record.flow import Recurrences
from jaxnn.flow.record.given import Given
from jaxnn.flow.verdict import state_findings as module
from jaxnn.flow.verdict.arrays import Arrays
from jaxnn.flow.verdict.findings import FINDINGS, is_usual
from jaxnn.jaxpr.program import Closed
from jaxnn.pytorch.block_choice import Coverage
from jaxnn.pytorch.gradient_reach import Stopped
from jaxnn.trials.race import CHANGES

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


def of_adapters(outputs=-1, **fields):
    """A flow whose arrays are pairs of matrices with two units between, the first without Δ."""
    flow = a_flow(deltas={(i, "up"): NONE for i in (2, 4)}, **fields)
    shapes = tuple((4, 2)[::-outputs] if name == "up" else (2, 4)[::-outputs] for _, name in PATHS)
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
    return Recurrences(log_delta, (len(decades),), ("lstm",), (False,), ((8, 16),))


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


def histogram(octave):
    """Entries of Δ in layer 2, 1 of 1000 is 1 and the others are 2^-octave; ones elsewhere."""
    sums = np.zeros((6, BINS, 2))
    sums[:, 0] = 1
    sums[1, octave * PARTS] = 999, 999 * 4.0**-octave
    entries = Entries(np.zeros(6), sums)
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


SIX = {"log_delta_example": np.zeros((6, 2))}
NAN_FROM_3 = dict.fromkeys((3, 4, 5, 6), np.nan)
OFF_BELOW_4 = dict.fromkeys((1, 2, 3), -0.5)  # of theory
CUT_BELOW_4 = dict.fromkeys((1, 2, 3), NONE)
ONE_STATE = {"decades": CUT_BELOW_4, "log_spread": dict.fromkeys((4, 5, 6), NONE)}
OFF_BELOW_6 = {(i, name): NONE for i in range(1, 6) for name in ("up", "down")}
POOLED = a_flow(
    log_spread_within=dict.fromkeys((4, 5, 6), -20.0),
    positions=(4,) * 6,
)
OFF_IN_3 = {(3, "up"): NONE, (3, "down"): NONE}
SMALL_GAINS = {(2, "down"): np.log10(5e-7), (3, "down"): np.log10(5e-7)}
ZERO_4 = {(4, "up"): NONE, (4, "down"): NONE}


class Case(NamedTuple):
    """A rule, a flow that is ill and where that is, and a flow that is healthy.

    Evidence alone is that of a steady flow.
    """

    rule: str
    ill: jaxnn.Flow | Evidence | tuple[jaxnn.Flow, Evidence]
    healthy: jaxnn.Flow | Evidence | tuple[jaxnn.Flow, Evidence] | None = None  # None: as another's
    layer: int | None = None
    path: str = ""


def at_end(rule, ill, healthy=None):
    """A case of the output."""
    return Case(rule, ill, healthy, layer=6)


def of_array(path, rule, ill, healthy=None):
    """A case of an array, whose path begins with its layer."""
    return Case(rule, ill, healthy, int(path[0]), path)


CASES = {
    "data": Case(
        "given",
        a_flow(given=given([np.nan]), log_mean_square=NAN_FROM_3),
        a_flow(given=given([np.nan])),  # labels that are missing
    ),
    "loss": Case("loss", a_flow(given=given(loss=np.nan)), healthy=a_flow(given=given(loss=1.0))),
    "a class without a column": Case(
        "loss", (a_flow(given=given(loss=np.nan)), of_classes(lowest=1, highest=3, breaks=True))
    ),
    "parameters": of_array(
        "3.up",
        "nan",
        a_flow(sizes={(3, "up"): np.nan}, log_mean_square=NAN_FROM_3),
        a_flow(sizes={(3, "up"): np.nan}),  # a run that is stored as a key
    ),
    "buffers": Case(
        "buffers",
        a_flow(broken=("norm.mean",), log_mean_square=NAN_FROM_3),
        a_flow(log_mean_square=NAN_FROM_3),
        path="norm.mean",
    ),
    "a state that is computed": Case(
        "signal", a_flow(log_mean_square=NAN_FROM_3), a_flow(log_mean_square={3: 80.0}), layer=3
    ),
    "a state that has grown": Case(
        "signal",
        a_flow(log_mean_square={2: 10 * LN10, **NAN_FROM_3}),
        a_flow(log_mean_square={2: 10 * LN10}),
        layer=3,
    ),
    "Δ": Case(
        "undefined",
        a_flow(log_largest={1: np.nan, 2: np.inf}),
        a_flow(log_largest={1: 500.0}),
        layer=2,
    ),
    "a detach": Case(
        "stopped",
        a_flow(stopped=Stopped("stem", ("embed", "stem"), 0.3, "detached")),
        a_flow(),
        path="embed",
    ),
    "a frozen module": Case(
        "stopped", a_flow(stopped=Stopped("stem", ("stem",), 0.3, "frozen")), path="stem"
    ),
    "modules that are not used": Case(
        "stopped", a_flow(stopped=Stopped("", ("head",), 0.6, "unused")), path="head"
    ),
    "layers frozen among others": Case(
        "stopped",
        (a_flow(deltas=OFF_IN_3), draws(stopped=("3.up", "3.down"))),
        (a_flow(), draws(stopped=("1.up", "1.down", "2.up"))),
        path="3.up",
    ),
    "layers after stop_gradient": Case(
        "fixed",
        a_flow(deltas={(i, name): NONE for i in (3, 4) for name in ("up", "down")}),
        (
            a_flow(deltas={(3, name): NONE for name in ("up", "down")}),
            draws(stopped=("3.up", "3.down")),
        ),
        layer=3,
    ),
    "a gain that turns a branch off": of_array(
        "3.down",
        "fixed",
        a_flow_with_biases(sizes={(3, "down"): NONE}, deltas=OFF_IN_3),
        a_flow_with_biases(sizes={(3, "down"): NONE}),
    ),
    "a bias that turns a branch off": of_array(
        "3.down",
        "fixed",
        a_flow_with_biases(sizes={(3, "down"): 1.0}, deltas=OFF_IN_3),
        a_flow_with_biases(sizes={(3, "down"): 1.0}),
    ),
    "layers of the encoder alone": Case(
        "cuts",
        a_flow(coverage=Coverage(0.3, 0.4, "decoder", "decoder.*")),
        a_flow(coverage=Coverage(0.3, 0.6, "head", "")),
    ),
    "an LSTM that forgets": Case(
        "time",
        a_flow(time=through_time(-4.0, -3.0, -2.0, -1.0, 0.0)),
        a_flow(time=through_time(-0.4, -0.3, -0.2, -0.1, 0.0)),
        path="lstm.weight_hh_l0",
    ),
    "an RNN that explodes from a step on": Case(
        "time",
        a_flow(time=through_time(3.0, 2.0, 1.0, 0.0, NONE)),
        a_flow(time=through_time(0.0, NONE, NONE, NONE, NONE)),
        path="lstm.weight_hh_l0",
    ),
    "an output that is not used": at_end(
        "output",
        a_flow(decades=dict.fromkeys(LAYERS, NONE), deltas=dict.fromkeys(PATHS, NONE)),
        a_flow(decades=CUT_BELOW_4),
    ),
    "zero weights that learn": of_array(
        "4.up",
        "zero",
        a_flow(decades=CUT_BELOW_4, sizes=ZERO_4),
        a_flow(sizes=ZERO_4),  # next to a skip connection
    ),
    "zero weights that stay": of_array(
        "4.up", "zero", a_flow(decades=CUT_BELOW_4, sizes=ZERO_4, deltas=ZERO_4)
    ),
    "both matrices of an adapter": of_array(
        "4.up",
        "zero",
        a_flow(sizes=ZERO_4, deltas=ZERO_4),
        a_flow(sizes={(4, "up"): NONE}, deltas={(4, "down"): NONE}),  # one of them drawn
    ),
    "the second matrix of an adapter": of_array(
        "2.down", "zero", of_adapters(sizes={(i, "down"): NONE for i in (2, 4)}), of_adapters()
    ),
    "stop_gradient between layers": Case(
        "cut",
        a_flow(decades=CUT_BELOW_4),
        a_flow(decades=dict.fromkeys((1, 2, 3), -200.0)),
        layer=4,
    ),
    "a rate": Case(
        "rate",
        a_flow(decades={layer: layer + 0.2 * (layer % 2) - 6 for layer in LAYERS}),
        a_flow(log_mean_square=NAN_FROM_3),  # which says why there is none
    ),
    "a power law": Case("rate", of_gains(np.log10(1 + 1 / np.arange(1, 40)), "b" * 40)),
    "a stretched exponential": Case(
        "rate", of_gains(-np.diff(np.sqrt(np.arange(2, 102))) / LN10, "b" * 100)
    ),
    "two layers": Case("rate", of_gains([-0.6, -0.7], "bbb")),
    "a rest that adds to it": Case(
        "rate", of_gains([0.9, *[-0.5, -0.4] * 4, -0.8, -1.0], ["e", *"b" * 9, "g", "h"])
    ),
    "layers that differ": Case(
        "rate", of_gains([0.1, 0.08, 0.1, 0.09, 0.1, 0.11, 0.1, -1.1], "abcdefghi")
    ),
    "a change by one layer": Case(
        "rate", of_gains([0.1, *[0.02, 0.01] * 3, 0.02, -5.0], ["e", *"b" * 8, "h"])
    ),
    "no rate": Case("no rate", a_flow(unmeasured=5), healthy=a_flow()),
    "a loop": Case(
        "closed", a_flow(closed=Closed(2, 12, "write it as a scan")), healthy=a_flow(), layer=2
    ),
    "a head alone": Case("no rate", of_gains([], "h")),
    "a layer of larger weights": of_array(
        "3.up",
        "layer",
        a_flow(decades=dict.fromkeys((1, 2), 1.5), sizes={(3, "up"): 1.5}),
        a_flow(decades=dict.fromkeys((1, 2), 0.4)),
    ),
    "a layer with a large state": Case(
        "layer",
        a_flow(decades=dict.fromkeys((1, 2), 1.5), log_mean_square={2: 4 * LN10}),
        a_flow(log_mean_square={2: 4 * LN10}),
        layer=3,
    ),
    "an attention unlike all others": of_array(
        "3.up",
        "attention",
        a_flow(attention=attentions([0.1, 0.2, 82.0], [1.0, 0.99, 0.06])),
        a_flow(attention=attentions([0.1, 0.2, 82.0], [1.0, 0.85, 0.06])),
    ),
    "one saturated head": of_array(
        "3.up",
        "attention",
        a_flow(attention=heads(200.0, 5.0, 1.0), deltas={(3, "up"): -8.0}),
        a_flow(attention=heads(90.0, 5.0, 1.0)),
    ),
    "all heads": of_array(
        "3.up",
        "attention",
        a_flow(attention=heads(200.0, 200.0)),
        a_flow(attention=heads(200.0, 200.0, entropy=0.2)),
    ),
    "a router that does not learn": of_array(
        "2.up",
        "router",
        a_flow(routers=experts(0.5, 0.5), deltas={(2, "up"): -7.0}),
        a_flow(routers=experts(0.5, 0.5), deltas={(2, "up"): -3.0}),
    ),
    "a router with one choice": of_array(
        "2.up",
        "router",
        a_flow(routers=experts(0.0, 1.0, 0.0)),
        a_flow(routers=experts(0.0, 0.9, 0.1)),
    ),
    "a router whose bias keeps tokens away": of_array(
        "2.up",
        "router",
        a_flow_with_biases(routers=experts(0.3, 0.0, 0.4, 0.3)),
        a_flow_with_biases(routers=experts(0.3, 0.0, 0.4, 0.3), sizes={(2, "down"): -1}),
    ),
    "theory": Case(
        "theory",
        with_theory(OFF_BELOW_4),
        with_theory(dict.fromkeys((1, 2, 3), -0.12)),  # within four errors,
        layer=3,
    ),
    "theory without weights that have a mean": Case(
        "theory", (with_theory(OFF_BELOW_4), draws(HEALTHY, WITH_MEAN)), layer=3
    ),
    "theory without weights that are correlated": Case(
        "theory", (with_theory(OFF_BELOW_4), draws(HEALTHY, TRAINED)), layer=3
    ),
    "examples": Case(
        "examples",
        a_flow(log_spread={5: -15.0, 6: -15.0}, **SIX),
        a_flow(log_spread={5: -15.0, 6: -14.0}, **SIX),
        layer=5,
    ),
    "examples at the output": at_end(
        "examples", a_flow(log_spread={6: -15.0}, **SIX), a_flow(log_spread={6: -10.0}, **SIX)
    ),
    "positions": Case(
        "positions",
        a_flow(log_spread_within={4: -8.0, 5: -20.0, 6: -20.0}),
        a_flow(log_spread_within={4: -8.0, 5: -20.0, 6: -14.0}),
        layer=5,
    ),
    "queries that are equal": of_array(
        "4.up", "positions", (POOLED, draws(flat=("4.up",))), (POOLED, draws(flat=("6.up",)))
    ),
    "positions that a low layer makes equal": Case(
        "positions",
        a_flow(log_spread_within=dict.fromkeys((3, 4, 5, 6), -20.0)),
        a_flow(log_spread_within=dict.fromkeys((4, 5, 6), -20.0)),  # a pool
        layer=3,
    ),
    "a gradient too small": Case(
        "format",
        a_flow(log_largest=dict.fromkeys((1, 2), -100.0)),
        a_flow(log_largest=dict.fromkeys((1, 2), -15.0)),  # a scaled loss keeps float16
        layer=2,
    ),
    "entries": Case(
        "entries", a_flow(entries=histogram(45)), healthy=a_flow(entries=histogram(20)), layer=2
    ),
    "padding that is read alone": Case(
        "unread", Evidence(unread=Unread("xs", 0)), healthy=Evidence(), layer=1, path="xs"
    ),
    "letters beyond their table": Case(
        "beyond",
        Evidence(beyond=Beyond("xs", 39, 10, "its last row")),
        healthy=Evidence(),
        layer=1,
        path="xs",
    ),
    "letters that are not looked up": Case(
        "unread", Evidence(unread=Unread("xs", None)), healthy=Evidence(), layer=1, path="xs"
    ),
    "a weight without gradient": of_array(
        "3.up",
        "starved",
        a_flow(deltas={(3, "up"): -8.0}),
        a_flow(deltas={(layer, "up"): -5.0 for layer in LAYERS}),  # as decay rates
    ),
    "a weight without any gradient": of_array(
        "3.up",
        "starved",
        a_flow(deltas={(3, "up"): NONE}),
        (a_flow(deltas={(3, "up"): NONE}), draws(stopped=("3.up",))),
    ),
    "queries of logits that are not small": of_array(
        "3.up",
        "starved",
        a_flow(deltas={(3, "up"): -5.0}, attention=heads(2.0, 0.01)),
        a_flow(deltas={(3, "up"): -5.0}, attention=heads(0.01, 0.02)),
    ),
    "an embedding times 100": of_array(
        "1.up", "largest", a_flow(sizes={(1, "up"): 2.0}), a_flow(sizes={(1, "up"): 1.4})
    ),
    "weights of another size": of_array(
        "3.down",
        "size",
        a_flow(sizes={(3, "down"): -1.2}),
        a_flow(sizes={(layer, "down"): -1.2 for layer in (1, 3, 5)}),
    ),
    "a head": at_end(
        "once",
        a_flow(decades=dict.fromkeys(range(1, 6), 1.5), names=(*["block"] * 5, "head")),
        a_flow(decades=dict.fromkeys(range(1, 6), 0.9), names=(*["block"] * 5, "head")),
    ),
    "inputs of 0 to 255": Case(
        "inputs",
        (
            a_flow(log_mean_square={1: 2 * np.log(90)}),
            columns([0, 120], [1, 50], scales_itself=False),
        ),
        (
            a_flow(log_mean_square={1: 2 * np.log(90)}),
            columns([0, 120], [1, 50], scales_itself=True),  # by a norm
        ),
        layer=1,
        path="xs",
    ),
    "prices that saturate gates": Case(
        "inputs",
        (
            a_flow(deltas={(1, "up"): NONE, (1, "down"): NONE}),
            columns([3000], [1000], scales_itself=False),
        ),
        (a_flow(), columns([3000], [1000], scales_itself=False)),  # as of sines
        layer=1,
        path="xs",
    ),
    "inputs of other units": Case(
        "inputs",
        columns([0, 0, 0], [1e-3, 1e-3, 1.0], scales_itself=False),
        columns([0, 120, 0], [1, 50, 1], scales_itself=False),  # layer 1 divides them
        layer=1,
        path="xs",
    ),
    "inputs that are scaled twice": Case(
        "inputs",
        (
            a_flow(log_mean_square={1: -12.0, 2: -12.0}, log_spread={}),
            columns([0], [0.001], scales_itself=False),
        ),
        (a_flow(log_spread={}), columns([0], [0.001], scales_itself=False)),
        layer=1,
        path="xs",
    ),
    "columns without information": Case(
        "constant",
        columns([5, 5, 0], [0, 0, 1]),
        columns([5, 5, 0], [0, 0, 1], levels_itself=True),
        layer=1,
        path="xs",
    ),
    "labels of one class": Case(
        "constant",
        replace(an_end(kinds.CLASS_LOGITS), data=columns([0], [1], classes=1).data),
        replace(an_end(kinds.LOGITS, outputs=1), data=columns([0], [1], classes=1).data),
        layer=6,
        path="ys",
    ),
    "inputs changed in place": Case(
        "overwritten",
        Evidence(overwritten=("xs", "ys")),
        Evidence(overwritten=()),
        path="xs",
    ),
    "classes in order": Case(
        "sorted",
        columns([0], [1], classes=3, sorted=True),
        columns([0], [1], count=6, classes=6, sorted=True),
    ),
    "a softmax over one unit": at_end(
        "oneunit",
        an_end(outputs=1, low=1.0, high=1.0, reach=Reach(1.0, 1.0)),
        (  # a number to which a network that is off adds nothing
            a_flow(log_mean_square={5: NONE}),
            an_end(outputs=1, low=1.0, high=1.0, reach=Reach(1.0, 1.0)),
        ),
    ),
    "a softmax over the batch": at_end(
        "overbatch", an_end(sums_to_one="columns"), healthy=an_end(**SOFTMAX)
    ),
    "two softmaxes": at_end(
        "twice", an_end(kinds.CLASS_LOGITS, **SOFTMAX), an_end(kinds.CLASS_PROBABILITIES, **SOFTMAX)
    ),
    "two sigmoids": at_end(
        "twice", an_end(kinds.LOGITS, **SIGMOID), an_end(kinds.LOGITS, low=-0.5, high=0.5)
    ),
    "soft caps of logits": at_end(
        "twice",
        an_end(kinds.CLASS_LOGITS, low=-0.5, high=0.5, reach=Reach(-1.0, 1.0)),
        an_end(kinds.CLASS_LOGITS, reach=Reach(-30.0, 30.0)),
    ),
    "a relu on logits": at_end(
        "relulogits", an_end(kinds.CLASS_LOGITS, **RELU), an_end(kinds.NUMBERS, **RELU)
    ),
    "a relu on probabilities": at_end(
        "relulogits",
        an_end(kinds.PROBABILITIES, **RELU),
        an_end(kinds.CLASS_LOGITS, **RELU | {"zeros": 0.0}),  # a mean of units
    ),
    "a sigmoid for 0 to 100": at_end(
        "targets",
        an_end(kinds.NUMBERS, labels=(0.0, 100.0, 0.9), **SIGMOID),
        an_end(kinds.NUMBERS, labels=(0.0, 100.0, 0.0)),
    ),
    "one sigmoid for labels 0, 1, 2": at_end(
        "targets",
        an_end(kinds.PROBABILITIES, labels=(0.0, 2.0, 0.3), **SIGMOID),
        an_end(kinds.PROBABILITIES, **SIGMOID),
    ),
    "a softmax for several labels at once": at_end(
        "targets",
        an_end(kinds.NUMBERS, label_sums=(0.0, 2.0), **SOFTMAX),
        an_end(kinds.NUMBERS, label_sums=(0.0, 2.0), **SIGMOID),
    ),
    "a cross-entropy of several labels at once": at_end(
        "targets",
        an_end(kinds.CLASS_SHARES, label_sums=(0.0, 3.0), **SOFTMAX),
        an_end(kinds.CLASS_SHARES, label_sums=(0.0, 1.0), **SOFTMAX),  # some left out
    ),
    "a binary cross-entropy of a softmax": at_end(
        "targets",
        an_end(kinds.PROBABILITIES, **SOFTMAX),
        an_end(kinds.PROBABILITIES, outputs=2, **SOFTMAX),  # the same for both
    ),
    "squares of a softmax": at_end(
        "targets", an_end(kinds.NUMBERS, **SOFTMAX), an_end(kinds.NUMBERS, **SIGMOID)
    ),
    "probabilities for logarithms": at_end(
        "targets", an_end(kinds.IN_PROPORTION), healthy=an_end(kinds.CLASS_LOGITS)
    ),
    "classes that count from 1": at_end(
        "targets",
        of_classes(kinds.CLASS_LOGITS, lowest=1, highest=3),
        of_classes(kinds.CLASS_LOGITS, lowest=1, highest=2),
    ),
    "classes below 0": at_end(
        "targets", of_classes(lowest=-1, highest=1, wraps=True), of_classes(lowest=-1, highest=1)
    ),
    "a class taken for padding": at_end("targets", of_classes(ignored=0), healthy=of_classes()),
    "numbers of classes for columns": at_end(
        "targets", of_classes(weigh=True), healthy=of_classes(kinds.CLASS_LOGITS)
    ),
    "one target in thousands": at_end(
        "targets",
        an_end(kinds.NUMBERS, label_spreads=(0.8, 320.0, 1)),
        an_end(kinds.NUMBERS, label_spreads=(0.8, 320.0, 1), label_share=0.2),
    ),
    "prices as they are": at_end(
        "targets",
        an_end(kinds.NUMBERS, size=0.5, label_size=5000.0, labels=(3000.0, 7000.0, 0.0)),
        an_end(kinds.NUMBERS, size=0.5, label_size=500.0),
    ),
    "logits in a loss of logarithms": at_end(
        "negative",
        an_end(kinds.CLASS_LOGS, loss=-3.0),
        an_end(kinds.CLASS_LOGS, sums_to_one="logs", low=-3.0, high=-0.1),
    ),
    "sigmoids in a loss of classes": at_end(
        "negative",
        an_end(kinds.CLASS_PROBABILITIES, **SIGMOID),
        an_end(kinds.CLASS_PROBABILITIES, **SOFTMAX),
    ),
    "numbers in a loss of probabilities": at_end(
        "negative", an_end(kinds.PROBABILITIES), healthy=an_end(kinds.LOGITS)
    ),
    "labels of other examples": Case(
        "labels", Evidence(held_out=HeldOut(200, 0.4)), Evidence(held_out=HeldOut(200, 0.02))
    ),
    "all pairs": at_end("mixes", an_end(kinds.PAIRS), healthy=an_end(kinds.NUMBERS)),
    "a softmax of the loss over the batch": at_end(
        "mixes", an_end(kinds.OVER_BATCH), healthy=an_end(kinds.CLASS_LOGITS)
    ),
    "a reshape that mixes examples": at_end(
        "mixes", an_end(kinds.CLASS_LOGITS, mixing=mixing.PLACES), an_end(kinds.CLASS_LOGITS)
    ),
    "attention along the batch": at_end(
        "mixes", an_end(kinds.CLASS_LOGITS, mixing=mixing.SUMS), an_end(kinds.CLASS_LOGITS)
    ),
    "letters of size 1 that are the last layer too": of_array(
        "1.up",
        "drawn",
        replace(
            of_classes(kinds.CLASS_LOGITS, size=11.0, loss=12.0, columns=20),
            parameters=draws(LARGE, *[HEALTHY] * 5).parameters,
        ),
        replace(
            of_classes(kinds.CLASS_LOGITS, size=11.0, loss=4.0, columns=20),
            parameters=draws(LARGE, *[HEALTHY] * 5).parameters,
        ),
    ),
    "a loss with the wrong sign": at_end(
        "inverted",
        an_end(kinds.CLASS_LOGITS, constant=-1.0),
        an_end(kinds.CLASS_LOGS, constant=-1.0),  # a linear loss
    ),
    "a loss that is least where nothing fits": at_end(
        "inverted", an_end(rises=True), healthy=an_end()
    ),
    "an optimiser that goes up": Case(
        "uphill",
        replace(an_end(), uphill=True),
        replace(an_end(rises=True), uphill=True),  # the negative of a loss
    ),
    "a loss of the code alone": at_end(
        "unlabelled",
        replace(an_end(sees_labels=False, ends_at_zeros=True), data=AUTOENCODER),
        replace(an_end(sees_labels=False), data=AUTOENCODER),
    ),
    "pixels and classes mixed up": at_end(
        "mixes", an_end(kinds.CLASS_LOGITS, acts_elsewhere=True), an_end(kinds.CLASS_LOGITS)
    ),
    "nothing near is alike": of_array(
        "1.up",
        "drawn",
        replace(an_end(is_chaotic=True), parameters=draws(LARGE, HEALTHY).parameters),
        replace(an_end(), parameters=draws(LARGE, HEALTHY).parameters),
    ),
    "a loss without labels": at_end(
        "unlabelled",
        an_end(sees_labels=False),
        an_end(sees_labels=None),  # labels that are all alike
    ),
    "constant weights": of_array(
        "2.up",
        "drawn",
        draws(HEALTHY, CONSTANT, CONSTANT),
        Evidence(
            parameters=KnownParameters(
                {"2.up": CONSTANT, "2.down": HEALTHY},
                (),
                (),
                (),  # gains of heads
            )
        ),
    ),
    "weights that are zero": of_array(
        "2.up",
        "equal",
        (a_flow(log_spread=dict.fromkeys((2, 3, 4, 5, 6), NONE), **SIX), draws(HEALTHY, NO, LARGE)),
        (a_flow(log_spread={}, **SIX), draws(HEALTHY, NO, HEALTHY)),  # next to a skip connection
    ),
    "weights that are drawn too large": of_array(
        "2.up",
        "drawn",
        (a_flow(log_mean_square={2: 2 * np.log(6.0)}), draws(HEALTHY, LARGE, LARGE)),
        (a_flow(log_mean_square={2: 2 * np.log(6.0)}), draws(HEALTHY, LARGE)),
    ),
    "copies of units": of_array(
        "2.up",
        "equal",
        draws(HEALTHY, COPIES),
        Evidence(parameters=KnownParameters({"2.up": COPIES, "2.down": HEALTHY}, (), (), ())),
    ),
    "copies of a module's units": of_array(
        "2.up", "equal", (replace(a_flow(), is_of_torch=True), draws(HEALTHY, COPIES))
    ),
    "copies of one layer": of_array(
        "2.up",
        "equal layers",
        draws(HEALTHY, HEALTHY, HEALTHY, equal=(("2.up", "3.up"), ("2.down", "3.down"))),
        draws(HEALTHY, HEALTHY, equal=(("1.up", "2.up"),)),  # next to others that differ
    ),
    "one module in a list": Case(
        "shared", draws(repeated=("blocks.0", "blocks.1")), healthy=draws(), path="blocks.0"
    ),
    "statistics that no batch has touched": Case(
        "evalnorm", draws(untouched_norms=("bn1",)), healthy=draws(), path="bn1"
    ),
    "statistics that a batch does not change": Case(
        "evalnorm", draws(resting_norms=("bn1", "bn2")), healthy=draws(), path="bn1"
    ),
    "layers in a plain list": Case(
        "unlisted",
        draws(unregistered=("blocks[0].weight", "blocks[0].bias")),
        draws(),
        path="blocks[0].weight",
    ),
    "one unit that all must pass": Case(
        "bottleneck",
        (replace(a_flow(), sizes=(4, 4, 1, 4, 4, 4)), columns([0], [1])),
        (
            replace(a_flow(), sizes=(4, 4, 1, 4, 4, 4)),
            columns([0], [1], are_labels=True),  # an autoencoder
        ),
        layer=3,
    ),
    "dropout that is louder than the signal": Case(
        "noise",
        Evidence(noise=Noise(of_draws=5.0, of_mean=1.0)),
        Evidence(noise=Noise(of_draws=1.7, of_mean=1.0)),
    ),
    "dropout of 19 in 20": Case(
        "noise",
        Evidence(noise=Noise(of_draws=1.7, of_mean=1.0, dropped=0.95)),
        Evidence(noise=Noise(of_draws=1.7, of_mean=1.0, dropped=0.9)),
    ),
    "dropout that never ends": Case(
        "noise",
        Evidence(noise=Noise(of_draws=0.5, of_mean=1.0, drops_in_eval=True)),
        Evidence(noise=Noise(of_draws=0.5, of_mean=1.0)),
    ),
    "layers without an activation": Case(
        "linear",
        an_end(is_linear=True),
        (a_flow(deltas=OFF_BELOW_6), an_end(is_linear=True)),  # what is cut off is no line
    ),
    "a hinge after a softmax": at_end(
        "targets",
        an_end(kinds.MARGINS, **SOFTMAX),
        an_end(kinds.MARGINS, reach=Reach(0.0, 0.0)),  # nothing enters the last layer
    ),
    "a loss of means": at_end(
        "mixes", an_end(sees_labels=False, sees_all=True), an_end(sees_labels=False, compares=True)
    ),
    "shares of outputs below 0": at_end(
        "negative", an_end(kinds.CLASS_SHARES), healthy=an_end(kinds.CLASS_SHARES, low=0.0)
    ),
    "units that a bias turns off": of_array(
        "3.down",
        "cut",
        a_flow_with_biases(
            decades=CUT_BELOW_4, log_mean_square={3: 2 * np.log(2)}, log_spread={3: -3}
        ),
        a_flow_with_biases(log_mean_square={3: 2 * np.log(2)}, log_spread={3: -3}),
    ),
    "units that a bias inside of a layer turns off": of_array(
        "4.down",
        "cut",
        a_flow_with_biases(sizes={(4, "down"): 1.0}, **ONE_STATE),
        a_flow_with_biases(sizes={(4, "down"): 1.0}),
    ),
    "units that a gain turns off": of_array(
        "4.down",
        "cut",
        a_flow_with_biases(sizes={(4, "down"): NONE}, deltas={(4, "down"): NONE}, **ONE_STATE),
        a_flow_with_biases(sizes={(4, "down"): NONE}),
    ),
    "a bias of which one example does not tell what it does": Case(
        "cut",
        a_flow_with_biases(
            decades=CUT_BELOW_4,
            log_mean_square={3: 2 * np.log(2)},
            log_spread=dict.fromkeys(LAYERS, np.nan),
        ),
        layer=4,
    ),
    "a gain that turns units off next to another input": of_array(
        "4.down",
        "cut",
        a_flow_with_biases(
            sizes={(4, "down"): NONE}, decades=CUT_BELOW_4, log_mean_square={3: 2 * np.log(2)}
        ),
        a_flow_with_biases(sizes={(4, "down"): NONE}),
    ),
    "units that a gain far below the cut turns off": of_array(
        "2.down",
        "cut",
        a_flow_with_biases(
            sizes={(2, "down"): NONE, (4, "down"): NONE},
            deltas={(2, "down"): NONE, (4, "down"): NONE},
            decades=CUT_BELOW_4,
            log_spread=dict.fromkeys((2, 3, 4, 5, 6), NONE),
        ),
    ),
    "a layer scale": of_array(
        "2.down",
        "branches",
        a_flow_with_biases(sizes=SMALL_GAINS),
        a_flow_with_biases(sizes={(2, "down"): -2.0}),
    ),
    "gains of zero in front of a branch": of_array(
        "2.scale",
        "shut",
        with_a_gain_of_zero(delta_of_bias=0.0),
        with_a_gain_of_zero(delta_of_bias=NONE),  # the last of a branch
    ),
    "units of a layer that do nothing": Case(
        "idle", of_a_module(dead={3: 0.9, 5: 0.85}), healthy=of_a_module(dead={3: 0.7}), layer=3
    ),
    "units of one layer that are saturated": Case(
        "idle",
        of_a_module(saturated={2: 0.8}),
        replace(of_units(saturated=0.8), theory=None),  # of a Network all are spoken of
        layer=2,
    ),
    "units": Case(
        "units", of_units(saturated=0.8, dead=0.65), healthy=of_units(saturated=0.7, dead=0.5)
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
    return [found for found in verdict_of(given).findings if found.rule == case.rule]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_finding_names_layer_and_array_and_says_what_is_wrong(case, snapshot):
    (found,) = of_rule(case, case.ill)
    assert (found.layer, found.path) == (case.layer, case.path)
    assert [found.text, found.advice] == snapshot
    assert {*found.changes} <= {*CHANGES}
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


def test_a_gradient_of_zero_is_never_said_to_need_no_change():
    """Weights that get none in a layer with no others to compare, and inputs that count nothing."""
    cut = a_flow(deltas={(2, name): NONE for name in ("up", "down")})
    for flow, path in ((cut, "2.up"), (replace(a_flow(), log_delta_input=NONE), "inputs")):
        v = verdict_of(flow)
        assert path in v.unreached
        assert not v.well
    assert verdict_of(a_flow()).unreached == ()


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
    assert verdict_of(flow).equal_positions == 6
    assert verdict_of(replace(flow, positions=(6, 3, 6, 3, 6, 3))).equal_positions == 2


def test_what_is_well_is_told_from_what_stands_out():
    steady = jaxnn.verdict(a_flow())
    assert ([f.rule for f in steady.findings], steady.well) == (["rate"], True)
    for name, case in CASES.items():
        assert verdict_of(case.ill).well == (name in WELL), name


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


CHAOTIC = of_classes(kinds.CLASS_LOGITS, size=11.0, loss=12.0, columns=20, is_chaotic=True)
BRIER, LINEAR = an_end(kinds.NUMBERS, **SOFTMAX), an_end(is_linear=True)
SECOND = {(i, "down"): NONE for i in (2, 4)}
OFF = {(3, "down"): NONE}
NEAR_ZERO = a_flow_with_biases(sizes={(layer, "down"): -6.0 for layer in range(2, 7)})


@pytest.mark.parametrize(
    ("rule", "given", "is_found"),
    [
        ("equal", (a_flow(), draws(HEALTHY, COPIES)), True),
        # A router tells experts that are copies apart
        ("equal", (replace(a_flow(), routers=experts(0.5, 0.5)), draws(HEALTHY, COPIES)), False),
        ("drawn", replace(CHAOTIC, parameters=draws(LARGE, HEALTHY).parameters), True),
        # A single layer learns from any start
        ("drawn", replace(CHAOTIC, parameters=draws(LARGE).parameters), False),
        ("targets", replace(BRIER, held_out=HeldOut(200, 0.3)), True),
        ("targets", replace(BRIER, held_out=HeldOut(200, 0.02)), False),  # it has learned
        ("branches", (NEAR_ZERO, LINEAR), True),
        ("linear", (NEAR_ZERO, LINEAR), False),
        ("zero", of_adapters(sizes=SECOND), True),
        ("zero", of_adapters(outputs=1, sizes=SECOND), True),  # which come first
        # What acts after a gain of zero is not seen
        ("linear", (a_flow_with_biases(sizes={(3, "down"): NONE}), LINEAR), False),
        ("linear", (a_flow_with_biases(sizes=OFF, deltas=OFF), LINEAR), False),
    ],
)
def test_what_else_is_known_makes_a_fault_or_none(rule, given, is_found):
    assert (rule in [found.rule for found in verdict_of(given).findings]) == is_found


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


def test_the_walk_that_adds_a_finding(snapshot):
    """CONTRIBUTING's rule and its case, entered as they stand there."""
    rule, entry = walk("a finding")
    with entered(FINDINGS, rule, module) as name:
        exec(entry, {**globals(), "CASES": (cases := {})})
        (case,) = cases.values()
        assert case.rule == name
        test_a_finding_names_layer_and_array_and_says_what_is_wrong(case, snapshot)
