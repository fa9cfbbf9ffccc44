"""Findings on what the rate of the layers does not see, which come before it.

where the gradient stops      parameters below a detach, or frozen
the layers that were found    less than half of the parameters of a module of PyTorch
time inside a module          Δ at the steps of nn.LSTM and its like
"""

import numpy as np

from ...pytorch.block_choice import MOST
from ...texts import clean, percent
from ..record.flow import Flow
from ..record.recurrences import Recurrences
from .findings import Arrays, Finding, few_of, label_of, zero_gains, zero_weights
from .rates import LN10, mean_and_error, word_of

FEWEST = 3  # steps that a rate through time is told from


def unseen(flow: Flow, arrays: Arrays) -> list[Finding]:
    """Return the findings that come before the rate, the worst first."""
    return [
        *_where_it_stops(flow),
        *_layers_that_do_not_learn(flow, arrays),
        *_few_parameters(flow),
        *_through_time(flow),
    ]


def _where_it_stops(flow: Flow) -> list[Finding]:
    of = flow.stopped
    if of is None:
        return []
    parts = few_of([clean(part) for part in of.parts])
    several = len(of.parts) > 1
    them = f"{parts}, {percent(of.share)} of the parameters"
    if of.why == "frozen":
        are = (
            "are frozen (requires_grad=False) and learn"
            if several
            else ("is frozen (requires_grad=False) and learns")
        )
        text = f"In a training the gradient stops after {clean(of.after)}: {them}, {are} nothing."
    elif of.why == "detached":
        get, it = ("get", "them") if several else ("gets", "it")
        text = (
            f"The gradient stops after {clean(of.after)}: {them}, {get} none, though the loss "
            f"depends on {it}, as behind detach or no_grad."
        )
    else:
        text = (
            f"No gradient comes to {them}: the loss does not use what they make, or it leaves "
            "torch on the way, as by numpy() or item()."
        )
    return [Finding("stopped", text, path=of.parts[0])]


def _layers_that_do_not_learn(flow: Flow, arrays: Arrays) -> list[Finding]:
    """Name the layers that Δ passes while none of their arrays gets any, as if frozen."""
    log_delta = np.asarray(flow.log_delta, np.float64)
    if np.isneginf(log_delta).any():  # that is said, with its cause
        return []
    layers = []
    for layer in range(1, len(flow.names) + 1):
        own = arrays.layer == layer
        is_fixed = (own & arrays.weights).any() and np.isneginf(arrays.delta[own]).all()
        starts_at_zero = zero_weights(arrays, layer) or zero_gains(arrays, layer)
        if is_fixed and np.isfinite(log_delta[layer - 1]) and not starts_at_zero:
            layers.append(layer)
    if not layers:
        return []
    several = len(layers) > 1
    names = few_of([label_of(flow, layer) for layer in layers])
    text = (
        f"No parameter of layer{'s' if several else ''} {names} gets a gradient, though Δ is "
        "there: as behind stop_gradient, in a branch that is off for the whole batch, or where "
        "only zeros enter."
    )
    return [Finding("stopped", text, layers[0])]


def _few_parameters(flow: Flow) -> list[Finding]:
    of = flow.coverage
    apart = () if flow.recurrences is None else flow.recurrences.names  # they are measured
    without = 0.0 if flow.stopped is None else flow.stopped.share  # and it is said of these
    if of is None or of.share + without >= MOST or of.outside in apart:
        return []
    cuts = f", such as cuts={clean(of.cuts)!r}" if of.cuts else ", by their names or patterns"
    outside = f", {clean(of.outside)} does not" if of.outside else ""
    text = (
        f"Only {percent(of.share)} of the parameters lie in the layers that were found"
        f"{outside}: what follows is about a part of the network. Choose layers with cuts={cuts}."
    )
    return [Finding("cuts", text)]


def _through_time(flow: Flow) -> list[Finding]:
    of = flow.recurrences
    if of is None:
        return []
    found = [_of_steps(of.of(call)) for call in range(len(of.counts))]
    falls = sorted((each for each in found if each is not None), key=lambda each: -abs(each[0]))
    return [Finding("time", text) for _, text in falls[:1]]


def _of_steps(of: Recurrences) -> tuple[float, str] | None:
    """Return by how many decades Δ changes through the steps of a call, and a sentence on it."""
    log = np.asarray(of.log_delta, np.float64) / LN10
    known = np.flatnonzero(np.isfinite(log))
    if len(known) < FEWEST:
        return None
    late, early = int(known[-1]), int(known[0])
    if of.both_ways[0]:
        late, early = (int(known[at(log[known])]) for at in (np.argmax, np.argmin))
    way = log[early : late + 1][::-1] if early < late else log[late : early + 1]
    factors = np.diff(way)
    factors = factors[np.isfinite(factors)]
    rate, error = mean_and_error(factors, np.zeros(len(factors)))
    total = float(log[early] - log[late])
    word = word_of(rate, total, error)
    if word not in ("vanishing", "exploding"):
        return None
    verb = "falls" if word == "vanishing" else "grows"
    is_whole = (early, late) == (0, len(log) - 1)
    steps = (
        f"over its {len(log)} steps"
        if is_whole
        else (f"from step {late + 1} to step {early + 1} of {len(log)}")
    )
    text = (
        f"Through time the gradient {verb} inside {clean(of.names[0])}, by {abs(rate):.2g} decades "
        f"a step, {abs(total):.3g} {steps}."
    )
    if word == "vanishing" and of.gates[0] is not None:
        start, stop = of.gates[0]
        text += (
            f" Open the gates that keep its state: set bias_hh_l0[{start}:{stop}], and that of any "
            f"further layers and directions, to ln {len(log)} = {np.log(len(log)):.2f}."
        )
    return total, text
