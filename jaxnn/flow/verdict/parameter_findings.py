"""Findings on parameters: how they were drawn, what they share, and what noise hides."""

from collections.abc import Iterable, Iterator

import numpy as np

from ...evidence.end import End
from ...evidence.loss_kinds import CLASS_LOGITS
from ...rules import Sight, one_of
from ...texts import clean, percent
from .findings import FINDINGS, LAST, PARAMETERS, few_of
from .judged import Judged

HALF = 0.5  # of the units of a layer that differ
LARGE_GAIN, LARGE_STATE = 3.5, 5.0  # of weights, and of what they make
SURE = 3.0  # times the loss of equal probabilities
MOST_DROPPED = 0.949  # of the numbers: 19 of 20, but for rounding
LOUD = 4.0  # times the mean: sums of random signs have 1 with half dropped, 1.7 if twice
DRAW = "Draw each entry independently, with mean 0 and variance 1/fan_in, or 2/fan_in before relu."


def _by_layer(judged: Judged) -> dict[int, list[str]]:
    """Return the paths of the matrices of each layer, of those that are known."""
    layers, paths = dict[int, list[str]](), judged.flow.parameters.paths
    for layer, path in zip(judged.arrays.layer.tolist(), paths, strict=True):
        if path in judged.parameters.draws:
            layers.setdefault(layer, []).append(path)
    return layers


@FINDINGS.rule(
    "drawn",
    one_of(
        "how",
        constant="All entries of {path}, layer {name}, are one number{others}: its units compute "
        "the same, and learn the same.",
        large="The weights are drawn too large: {path} of layer {name} multiplies random inputs "
        "by {gain:.2g}{others}.",
        sure="The network is sure before it has learned: its logits have a root mean square of "
        "{size:.3g}, and the loss is {loss:.3g}, where equal probabilities have {even:.2g}. {path} "
        "multiplies random inputs by {gain:.2g}.",
        chaotic="Inputs that differ by a thousandth make outputs that differ as much as those of "
        "other examples: the weights, or the factors of sines, are so large that similar inputs "
        "have unrelated outputs. {path} multiplies random inputs by {gain:.2g}.",
    ),
    advises=DRAW,
    changes="draw",
    rank=PARAMETERS,
)
def drawn(judged: Judged) -> Iterator[Sight]:
    """Weights that are constant, or drawn far too large.

    All matrices of a layer have one number in all entries, not 0. Or in more than half of the
    layers, two or more, entries have a root mean square above 3.5/√fan_in, and a state has one
    above 5. Or one matrix has such entries, the logits of a cross-entropy have a root mean square
    above 5, and the loss is three times that of equal probabilities, as of a lookup table with
    entries of size 1 that is the last layer too. Or a change of the inputs by a thousandth of the
    difference between examples changes the output by seven tenths of its difference.
    """
    layers, draws = _by_layer(judged), judged.parameters.draws
    constant = {
        layer: paths[0]
        for layer, paths in layers.items()
        if all(draws[path].is_constant for path in paths)
    }
    large = {
        layer: path
        for layer, paths in layers.items()
        if draws[path := max(paths, key=lambda path: draws[path].of_random)].of_random > LARGE_GAIN
    }
    has_grown = (judged.root_mean_square > np.log10(LARGE_STATE)).any()
    if not (len(large) > 1 and 2 * len(large) > len(layers) and has_grown):
        large = {}
    for how, drawn_so in (("constant", constant), ("large", large)):
        if drawn_so:
            layer, path = next(iter(drawn_so.items()))
            values = {"how": how, "others": _others(judged, drawn_so), "gain": draws[path].gain}
            yield Sight(layer, clean(path), values)
            return
    end = judged.end
    if end and len(layers) > 1:  # a single layer learns from any start
        gains = {(i, path): draws[path].of_random for i, paths in layers.items() for path in paths}
        (layer, path), gain = max(gains.items(), key=lambda item: item[1])
        if seen := _sure(end, gain) or ({"how": "chaotic"} if end.is_chaotic else {}):
            yield Sight(layer, clean(path), seen | {"gain": gain})


def _sure(end: End, gain: float) -> dict[str, object]:
    """Return how sure of classes a network is, and wrong; nothing if it is not."""
    if not end.classes or end.kind.takes != CLASS_LOGITS:
        return {}
    even = float(np.log(end.classes.columns))
    if gain > LARGE_GAIN and end.size > LARGE_STATE and end.loss > SURE * even:
        return {"how": "sure", "size": end.size, "loss": end.loss, "even": even}
    return {}


def _makes_all_alike(judged: Judged, layer: int, layers: dict[int, list[str]]) -> bool:
    """Tell whether examples are alike above a layer, which is not the last one with weights."""
    alike = judged.indistinguishable.get(np.dtype(judged.flow.dtype).name)
    return alike is not None and alike <= layer < max(layers)


def _others(judged: Judged, layers: Iterable[int]) -> str:
    """Return all layers but the first, in words."""
    _, *others = map(judged.label, layers)
    s = "s" if len(others) > 1 else ""
    return f", and so in layer{s} {few_of(others)}" if others else ""


@FINDINGS.rule(
    "equal",
    one_of(
        "how",
        copies="Units of layer {name} are equal: only {part} of the {lines} of {path} differ, the "
        "others are copies, which compute and learn the same.",
        zero="The units of layer {name} are equal: {path} is zero, and nothing that enters the "
        "layer leaves it.",
    ),
    advises=DRAW,
    changes="draw",
    rank=PARAMETERS,
    unless="drawn",
)
def equal(judged: Judged) -> Iterator[Sight]:
    """Equal units.

    In all matrices of a layer half of the columns (in PyTorch the rows) are copies of others; or
    all are zero, another layer with weights follows, and examples are alike from there on. Experts
    that start as copies are left out, for their router makes them differ.
    """
    layers = _by_layer(judged)
    with_experts = () if judged.flow.routers is None else judged.flow.routers.layers
    for layer, paths in layers.items():
        draws = [judged.parameters.draws[path] for path in paths]
        if layer not in with_experts and all(draw.distinct <= HALF for draw in draws):
            lines = "rows" if judged.flow.is_of_torch else "columns"
            values = {"how": "copies", "distinct": draws[0].distinct, "lines": lines}
            values |= {"part": percent(draws[0].distinct)}
            yield Sight(layer, clean(paths[0]), values)
        elif all(draw.gain == 0 for draw in draws) and _makes_all_alike(judged, layer, layers):
            yield Sight(layer, clean(paths[0]), {"how": "zero"})


@FINDINGS.rule(
    "equal layers",
    "Layers {layers} are copies of one layer: they hold the same weights, such as {paths}.",
    advises="Draw the parameters of each anew: copy.deepcopy does not.",
    changes="draw",
    rank=LAST,
    unless="drawn equal",
    healthy=True,
)
def equal_layers(judged: Judged) -> Iterator[Sight]:
    """Layers that are copies of one.

    More than half of the matrices of a layer have the entries of those of another one, as
    `torch.nn.TransformerEncoder` copies the layer that it is given; parametrised weights of PyTorch
    are compared as the layer uses them. Such layers learn to differ, since their inputs do; a
    theory of independent weights is not about them.
    """
    groups = judged.parameters.equal
    group_of = {path: i for i, group in enumerate(groups) for path in group}
    alike: dict[frozenset[int], list[int]] = {}
    for layer, paths in _by_layer(judged).items():
        copied = [group_of[path] for path in paths if path in group_of]
        if len(copied) > HALF * len(paths):
            alike.setdefault(frozenset(copied), []).append(layer)
    copies = max(alike, key=lambda copied: len(alike[copied]), default=frozenset[int]())
    layers = alike.get(copies, [])
    if len(layers) > 1:
        group = groups[min(copies)]
        names = few_of(map(judged.label, layers))
        values = {"layers": names, "paths": few_of(map(clean, group))}
        yield Sight(layers[0], clean(group[0]), values)


@FINDINGS.rule(
    "shared",
    "{paths} are one module: {count} times the same parameters.",
    advises="If separate layers are meant, make each anew: [make() for _ in range(n)], not "
    "[layer] * n.",
    changes="own copies",
    rank=PARAMETERS,
)
def shared(judged: Judged) -> Iterator[Sight]:
    """One module in several places of a list.

    PyTorch: a ModuleList or Sequential has one object with parameters under several names, and it
    returns the shape that it takes, or takes one tensor each time. A layer that is called in a loop
    has one name and is meant so.
    """
    paths = judged.parameters.repeated
    if paths:
        yield Sight(path=clean(paths[0]), values={"paths": few_of(paths), "count": len(paths)})


@FINDINGS.rule(
    "unlisted",
    "The output depends on {paths}, {count} in all, which the module does not list among its "
    "parameters, as those of layers in a plain list: an optimiser of model.parameters() does not "
    "have them.",
    advises="Hold layers in a torch.nn.ModuleList or ModuleDict, tensors as torch.nn.Parameter or "
    "in a ParameterList.",
    changes="all learn",
    rank=PARAMETERS,
)
def unlisted(judged: Judged) -> Iterator[Sight]:
    """Parameters that the module does not list.

    PyTorch: in the graph of the output are tensors that learn and are not among the parameters of
    the module, but in a list, tuple or dict of it, a plain attribute, or in no module.
    """
    paths = judged.parameters.unregistered
    if paths:
        yield Sight(path=clean(paths[0]), values={"paths": few_of(paths), "count": len(paths)})


@FINDINGS.rule(
    "evalnorm",
    one_of(
        "how",
        untouched="Batch norm in eval mode divides by statistics that no batch has touched, mean 0 "
        "and variance 1: {paths} {do} nothing.",
        rest="A batch leaves the statistics of {paths} as they are, though the batch norm is in "
        "train mode: in eval mode it divides by those.",
    ),
    advises=one_of(
        "how",
        untouched="Call model.train() to train, in Flax use_running_average=False, and train "
        "before model.eval().",
        rest="Give it a momentum above 0, such as 0.1: in PyTorch it is the share of the new "
        "batch, in TensorFlow and Flax that of what was there.",
    ),
    changes=one_of("how", untouched="training mode", rest=""),
    rank=PARAMETERS,
)
def untouched_norms(judged: Judged) -> Iterator[Sight]:
    """Batch norm with untouched statistics.

    Running means are exactly 0 and variances 1, and the norm subtracts and divides by these: in
    PyTorch a module in eval mode that has counted no batch, in JAX one with use_running_average.
    Or, in PyTorch, a norm in train mode counts a batch, and its statistics stay equal.
    """
    known = judged.parameters
    for how, paths in (("untouched", known.untouched_norms), ("rest", known.resting_norms)):
        if paths:
            do = "does" if len(paths) == 1 else "do"
            yield Sight(path=clean(paths[0]), values={"how": how, "paths": few_of(paths), "do": do})


@FINDINGS.rule(
    "bottleneck",
    "All that the output knows passes through one number, the state of layer {name}; the layers "
    "above make {width} of it.",
    advises="Make that layer wider.",
    rank=PARAMETERS,
)
def bottleneck(judged: Judged) -> Iterator[Sight]:
    """One unit that all must pass.

    A state has one number an example, a later one has several; the labels are not the inputs, as
    those of an autoencoder with one unit.
    """
    sizes = judged.flow.sizes
    if judged.data is None or judged.data.are_labels:
        return
    for i, size in enumerate(sizes[:-1]):
        if size == 1 and max(sizes[i + 1 :]) > 1:
            yield Sight(i + 1, values={"width": max(sizes[i + 1 :])})
            return


@FINDINGS.rule(
    "noise",
    one_of(
        "how",
        loud="Dropout adds more noise than it leaves signal: the output has a root mean square of "
        "{mean:.2g}, and from draw to draw it changes by {noise:.2g}.",
        most="Dropout leaves out {part} of what it takes: the output changes from draw to "
        "draw by {noise:.2g}, and has a root mean square of {mean:.2g}.",
        asked="Dropout acts in eval mode too: the output changes from draw to draw by {noise:.2g}, "
        "and has a root mean square of {mean:.2g}.",
    ),
    advises=one_of(
        "how",
        loud="Drop less, such as a tenth, and not in narrow layers.",
        most="Drop less, such as a tenth.",
        asked="Tell functions of dropout the mode, as in F.dropout(x, p, self.training), or use "
        "torch.nn.Dropout.",
    ),
    changes="no dropout",
    rank=PARAMETERS,
)
def noise(judged: Judged) -> Iterator[Sight]:
    """Dropout that is louder than what it passes, or that never ends.

    The output changes from draw to draw by four times its mean over draws, or by a third of it
    where 19 of 20 numbers are dropped: of a module of PyTorch, and in JAX with a random key among
    the inputs. Or a module of PyTorch in eval mode chooses at random what it drops.
    """
    known = judged.evidence.noise
    if known:
        is_loud = known.of_draws > LOUD * known.of_mean
        is_most = known.dropped > MOST_DROPPED and 3 * known.of_draws > known.of_mean
        hows = {"loud": is_loud, "most": is_most, "asked": known.drops_in_eval}
        for how in [how for how, is_so in hows.items() if is_so][:1]:
            sizes = {"noise": known.of_draws, "mean": known.of_mean, "dropped": known.dropped}
            yield Sight(values={"how": how, **sizes, "part": percent(known.dropped)})
