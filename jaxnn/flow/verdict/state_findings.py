"""Findings on states: theory, examples, positions and number formats."""

from collections.abc import Iterator

import numpy as np

from ...rules import Sight, one_of
from ...texts import clean, percent
from ..formats.format_loss import Histogram, loss_scale
from ..formats.number_formats import NARROW
from ..formats.ranges import range_of, spoken_of
from .findings import FINDINGS, STATES, few_of
from .judged import Judged
from .theory_departure import cause_of_departure, gradient_departure, signal_departure

MANY_ZERO = 0.5  # of the entries of a layer


@FINDINGS.rule(
    "theory",
    one_of(
        "cause",
        mean="{text}: the entries of {paths} have a mean that is not zero.",
        correlated="{text}: the entries of {paths} are correlated, as training makes them.",
        narrow="{text}: the network is narrow for its depth.",
        unknown="{text}: the weights are correlated or have a mean that is not zero, or the "
        "network is narrow.",
    ),
    rank=STATES,
    unless="signal undefined",
)
def theory(judged: Judged) -> Iterator[Sight]:
    """Layers that depart from theory.

    Gradient or signal are more than four standard deviations of random networks, and a tenth of a
    decade, from theory, and stay there. Needs a flow measured with `theory=True`. The cause is one
    that is seen: weights whose mean is large or whose largest singular value is half as large again
    as that of independent entries, or as many layers as half of the units.
    """
    down, up = gradient_departure(judged.flow), signal_departure(judged.flow)
    parts = []
    if down:
        follows = judged.label(down.layer + 1) if down.layer < len(judged.names) else ""
        parts.append(
            f"{f'follows theory down to layer {follows}; ' if follows else ''}from layer "
            f"{judged.label(down.layer)} down the gradient parts from that of random weights of "
            f"these sizes, by up to {down.decades:+.2g} decades"
        )
    if up:
        parts.append(
            f"from layer {judged.label(up.layer)} up the signal parts from that of random weights "
            f"of these sizes, by up to {up.decades:+.2g} decades"
        )
    first = down or up
    if first:
        text = "; ".join(parts)
        cause = cause_of_departure(judged.flow, judged.parameters.draws)
        values = {
            "gradient": down,
            "signal": up,
            "text": f"{text[0].upper()}{text[1:]}",
            "cause": cause.kind,
            "paths": few_of(map(clean, cause.paths)) if cause.paths else "",
        }
        yield Sight(first.layer, values=values)


@FINDINGS.rule(
    "examples",
    one_of(
        "where",
        output="At the output, {number_format} cannot tell examples apart{coarser}: it is the same "
        "for all.",
        inside="From layer {name} up, {number_format} can no longer tell examples apart{coarser}: "
        "no layer above can learn to tell them apart.",
    ),
    rank=STATES,
    alike=True,
    unless="signal constant oneunit relulogits drawn equal bottleneck",
)
def examples(judged: Judged) -> Iterator[Sight]:
    """Examples that can no longer be told apart.

    From some layer upwards they differ by less than four rounding units (eps) of the signal.
    """
    # What comes out of zero weights is alike anyway.
    zero = judged.cut.above if judged.cut and judged.cut.zero else None
    alike = {
        name: layer for name, layer in judged.indistinguishable.items() if layer not in (None, zero)
    }
    used = [name for name in alike if name in judged.in_use]
    if used:
        first = alike[used[0]]
        others = [f"{n} from layer {judged.label(i)}" for n, i in alike.items() if i < first]
        coarser = f" ({', '.join(others)})" if others else ""
        where = "output" if min(alike.values()) == len(judged.used) else "inside"
        yield Sight(first, "", {"number_format": used[0], "coarser": coarser, "where": where})


@FINDINGS.rule(
    "positions",
    one_of(
        "how",
        mixed="From layer {name} up all positions of an example are equal, but for rounding.",
        queries="From layer {name} up all positions of an example are equal, but for rounding: "
        "they begin as the rows of {path}, which are equal, and compute and learn the same.",
    ),
    advises=one_of(
        "how",
        mixed="Put a skip connection around each layer that mixes positions.",
        queries="Draw each row of {path} by itself.",
    ),
    changes=one_of("how", mixed="pre-norm", queries="draw"),
    rank=STATES,
    alike=True,
)
def positions(judged: Judged) -> Iterator[Sight]:
    """Positions that are all equal.

    From some layer upwards the positions (tokens, pixels) of an example are equal but for rounding.
    Nothing is lost if the inputs are the same at all positions; nor if one layer makes positions
    equal that differ by a hundredth or more, and at most half of the layers are above: that is a
    pool whose result goes to all positions. Equal queries of a decoder are named.
    """
    are_inputs = judged.data is not None and judged.data.are_positions_alike
    layer, queries = judged.equal_positions, judged.equal_queries
    if layer is not None and queries:
        yield Sight(layer, queries[0], {"how": "queries"})
    elif layer is not None and not are_inputs and not judged.is_pooled:
        yield Sight(layer, values={"how": "mixed"})


@FINDINGS.rule("format", "{text}.", rank=STATES)
def number_format(judged: Judged) -> Iterator[Sight]:
    """A gradient that underflows or overflows.

    Its largest entry is outside the normal numbers of the network's own format. Other formats are
    mentioned only if no scale of the loss keeps all layers in range; 8-bit formats only if they are
    used or requested by `jaxnn.verdict(flow, formats="float8_e5m2")`.
    """
    lost = {
        name: layer
        for name in spoken_of(judged.flow.dtype, judged.in_use)
        if (layer := judged.lost[name]) and (name in judged.in_use or not judged.scales[name])
    }
    for verb in ("underflows", "overflows"):
        places: dict[str, list[str]] = {}
        for name, layer in lost.items():
            is_small = judged.log_largest[layer - 1] < range_of(name)[0]
            if is_small == (verb == "underflows"):
                places.setdefault(_where_lost(judged, name, layer), []).append(name)
        if places:
            (where, names), *others = ((k, " and ".join(v)) for k, v in places.items())
            text = f"In {names} the gradient {verb} {where}"
            text += "".join(f"; in {names} {where}" for where, names in others)
            yield Sight(max(lost.values()), values={"verb": verb, "lost": lost, "text": text})


def _where_lost(judged: Judged, name: str, layer: int) -> str:
    """Return where a format has no number for Δ, and whether a scale of the loss is a way out."""
    higher = judged.used[judged.used >= layer]
    where = f"below layer {judged.label(int(higher[0]) + 1)}" if len(higher) else "in every layer"
    scales = judged.scales[name]
    if scales:
        return f"{where}, unless the loss is multiplied by 2^{scales[0]} to 2^{scales[1]}"
    return f"{where}, whatever the scale of the loss" if name == "float16" else where


@FINDINGS.rule(
    "entries",
    "In {number_format} {of_count} of the entries of Δ in layer {name} become zero, even with the "
    "loss multiplied by 2^{scale}; they hold {of_norm} of its square norm.",
    advises="`jaxnn.plan(flow)` finds a format and a scale for each layer.",
    rank=STATES,
)
def entries(judged: Judged) -> Iterator[Sight]:
    """Entries that mostly become zero.

    In a layer, in float16, bfloat16 or a format that is used, whatever the scale of the loss. Needs
    a flow measured with `formats=True`. `flow.formats()` is the table of all layers and formats,
    [`jaxnn.plan`](number-formats.md) chooses one for each.
    """
    if judged.flow.entries is None:
        return
    spoken = spoken_of(judged.flow.dtype, judged.in_use)
    deltas = Histogram(judged.flow.entries.delta)
    for kind in NARROW:
        if kind.name not in spoken:
            continue
        scale = loss_scale(kind, [deltas]).best
        kept = deltas.kept(kind, scale)
        share = np.where(deltas.full, kept.zero, 0)
        worst = int(np.argmax(share))
        if share[worst] >= MANY_ZERO:
            of_square = max(kept.zero_square[worst], np.finfo(float).tiny)  # none of them was zero
            values = {"number_format": kind.name, "share": share[worst], "scale": scale}
            words = {"of_count": percent(share[worst]), "of_norm": percent(of_square)}
            yield Sight(worst + 1, values=values | words)


@FINDINGS.rule(
    "unread",
    one_of(
        "how",
        padding="The output depends only on where {path} has padding, {padding}: it stays the "
        "same if all other numbers are exchanged.",
        tokens="The output does not depend on the numbers in {path}: with other ones it is the "
        "same.",
    ),
    advises=one_of(
        "how",
        padding="Invert the mask: some functions take True for what is seen, others for what "
        "is left out.",
        tokens="Check that they lie in the table in which they are looked up, and that what is "
        "found there is used.",
    ),
    rank=STATES,
    unless="signal undefined",
)
def unread(judged: Judged) -> Iterator[Sight]:
    """Inputs that are not read.

    The output stays the same if all integers of the inputs are exchanged for others, but for the
    padding that fills up rows.
    """
    asked = judged.evidence.unread
    if asked is not None:
        how = "tokens" if asked.padding is None else "padding"
        yield Sight(1, asked.path, {"how": how, "padding": asked.padding})
