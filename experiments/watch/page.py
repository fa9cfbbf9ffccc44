"""The page of a watched training: maps of layers and arrays over steps, verdict, loss, alarms.

`watched -> thinned -> tables by step, layer and array -> panels`. Of several trainings each has
maps of its own, by choice; two have a third one of their difference. Rows come in the order of
their steps, and which measurements are drawn stays while others come, so that a page that is open
needs new rows alone.
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import altair as alt
import polars as pl

from experiments.pages import charts, heat, palette, report
from jaxnn.flow.verdict.layer_findings import LOGIT
from jaxnn.texts import counted, labels
from jaxnn.train.alarms.states import LARGEST_STATE, SMALL_BRANCH
from jaxnn.train.alarms.updates import LARGE_UPDATE, SLOW_UPDATE
from jaxnn.train.watched import Watched

HEIGHT, FIRST = 200, 280
MOST_CELLS = 4_000  # of a map, of which a page has several
DIFFERENCE = "difference, second − first"
MOST_STEPS = 2_000  # of a line


class Quantity(NamedTuple):
    """A number of a map: its name, and those at both ends of its colours, where rules speak."""

    name: str
    low: float
    high: float


# One scale for all trainings: a faulty one looks unlike a healthy one.
LAYERS = {
    "log10_delta": Quantity("gradient: log₁₀ ‖Δ‖", -7, 1),  # float16 ends at 10⁻⁷
    "log10_gain": Quantity("factor of each layer: log₁₀", -1, 1),
    "log10_theta": Quantity("gradient of the parameters: log₁₀ ‖Δθ‖", -7, 1),
    "log10_mean_square": Quantity(
        "signal: log₁₀ of the mean square", -6, 2 * math.log10(LARGEST_STATE)
    ),
    "log10_spread": Quantity("what differs between examples: log₁₀", -7, 0),  # float32 ends there
    "log10_branch": Quantity("what branches add / stream: log₁₀", math.log10(SMALL_BRANCH), 0),
    "saturated": Quantity("saturated units", 0, 1),
    "dead": Quantity("dead units", 0, 1),
    "log10_gain_from_theory": Quantity(
        "factor of each layer, less theory of the start: log₁₀", -1, 1
    ),
    "log10_mean_square_from_theory": Quantity("signal, less theory of the start: log₁₀", -3, 3),
    "delta_exponent_50": Quantity("exponent of the median |entry| of Δ: log₂", -40, 0),
    "state_exponent_50": Quantity("exponent of the median |entry| of the state: log₂", -16, 16),
}
ARRAYS = {
    "log10_ratio": Quantity(
        "update / size: log₁₀", math.log10(SLOW_UPDATE), math.log10(LARGE_UPDATE)
    ),
    "log10_delta": Quantity("gradient: log₁₀ ‖Δθ‖", -7, 1),
    "log10_size": Quantity("size: log₁₀ ‖θ‖", -2, 3),
}
HEADS = {
    "largest_logit": Quantity("largest logit", 0, LOGIT),
    "entropy_share": Quantity("entropy / largest possible", 0, 1),
}
EXPERTS = {"load": Quantity("load of each expert, 1 is its share", 0, 2)}


class Map(NamedTuple):
    """A map: its words, its quantities, and where a record has the numbers they come from."""

    title: str
    reading: str
    place: str  # the word for a place, on the axis
    name: str  # the column of a place's name; empty if its numbers are the name
    quantities: dict[str, Quantity]
    start: str  # the entry of the record's first line that has an entry a place
    rows: Callable[[Watched], list[dict[str, object]]]  # one a measurement and place
    columns: tuple[str, ...] = ()  # of the rows, if they are not the quantities


MAPS = {
    "layers": Map(
        "Layers",
        "Colour: the chosen number of each layer, at each measurement, on one scale for all "
        "trainings; what is beyond its ends has their colour. The lowest one is next to the "
        "input. Grey: zero; red: no finite number; empty: there is none.",
        *("layer", "layer", LAYERS, "layers", Watched.table),
    ),
    "arrays": Map(
        "Parameter arrays",
        "In the order of the layers. An update of a hundredth to a thousandth of the size is "
        "usual; the colours end where the alarms slow and update begin. Grey: zero, or of "
        "an array that is zero.",
        *("array", "path", ARRAYS, "parameters", Watched.parameter_table),
        ("log10_delta", "log10_size", "log10_update"),
    ),
    "heads": Map(
        "Attention",
        "Each head. A large logit with an entropy near 0: saturated.",
        *("head", "", HEADS, "heads", Watched.attention_table),
        ("largest_logit", "entropy", "most_entropy"),
    ),
    "experts": Map(
        "Routers",
        "Load of each expert: 1 is an equal share.",
        *("expert", "", EXPERTS, "experts", Watched.router_table),
    ),
}
DIFFERS = (-2, 2)  # ends of the colours of a difference
HEAD = {
    "step": "step",
    "training": "training",
    "loss": "loss",
    "total": "decades",
    "word": "gradient",
}
SPREAD = (
    "spread",
    "what differs between examples, relative to the state; where it is rounding alone, no layer "
    "above can tell examples apart",
)


@dataclass(frozen=True)
class Seen:
    """A watched training under a name, and how many are on the page."""

    name: str
    watched: Watched
    count: int = 1

    def thinned(self, places: int, most: int) -> Watched:
        """Return the record with each 2^k-th measurement and the last one, of so many numbers."""
        lines, every = self.watched.measurements, 1
        while len(lines) * places > every * most // self.count:
            every *= 2
        chosen = lines[::every]
        chosen += lines[-1:] if lines and chosen[-1] is not lines[-1] else []
        return replace(self.watched, measurements=chosen)


def page(folders: Sequence[Path], watches: Sequence[Watched]) -> report.Page:
    """Return the page."""
    pairs = zip(_names(folders), watches, strict=True)
    seen = [Seen(name, watched, len(folders)) for name, watched in pairs]
    data, choices, ends = {}, [], {}
    for name, of in MAPS.items():
        frames = [_frame(each, of) for each in seen]
        known = {
            column: quantity
            for column, quantity in of.quantities.items()
            if all(column in frame.columns for frame in frames if not frame.is_empty())
        }
        if not known or all(map(pl.DataFrame.is_empty, frames)):
            continue
        texts = tuple(quantity.name for quantity in known.values())
        data[name] = _cells(frames, dict(zip(known, texts, strict=True)))
        ends[name] = _ends(name, known.values(), has_difference=len(seen) == 2)
        choices.append(report.Choice(name, f"of {name}", texts, texts[0]))
    steps, losses = (pl.concat(map(rows, seen)) for rows in (_steps, _losses))
    runs = tuple(dict.fromkeys(steps["training"]))
    if len(runs) > 1:
        runs = (*runs, DIFFERENCE) if len(runs) == 2 else runs
        choices.insert(0, report.Choice("run", "training", runs, runs[0]))
    return report.Page(
        title="How is the gradient while it trains?",
        subtitle=", ".join(_subtitle(each) for each in seen),
        answer=_answer(seen),
        verdicts=_alarms(seen),
        choices=tuple(choices),
        panels=_panels(data, ends, len(runs) > 1),
        data=data | {"steps": steps, "losses": losses, "alarms": _alarm_rows(seen)},
        numbers=report.Numbers("steps", HEAD),
        tables=(),
        terms=(report.DECADE, SPREAD),
    )


def _names(folders: Sequence[Path]) -> list[str]:
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _subtitle(seen: Seen) -> str:
    lines = seen.watched.measurements
    if not lines:
        return f"{seen.name}: nothing is measured yet"
    layers = counted(len(seen.watched.start["layers"]), "layer")
    every = f"every {counted(seen.watched.start['every'], 'step')}"
    return f"{seen.name}: {layers}, measured {every}, last at step {lines[-1]['step']}"


def _answer(seen: Sequence[Seen]) -> report.Answer:
    """The last alarm, or that there is none, with the verdict on the last gradient."""
    last = seen[-1]
    lines, alarms = last.watched.measurements, last.watched.alarms
    if not lines and not alarms:
        return report.Answer("Nothing is measured yet.")
    said = "Nothing is measured yet"
    if lines:
        line = lines[-1]
        said = f"The gradient is {line['word']} at step {line['step']}" if line["word"] else ""
    name = f"{last.name}: " if len(seen) > 1 else ""
    if not alarms:
        return report.Answer(f"{name}No alarm.", "well", f"{said}.")
    more = f"; {counted(len(alarms), 'alarm')} so far" if len(alarms) > 1 else ""
    return report.Answer(f"{name}{alarms[-1].text}", "ill", f"{said}{more}.")


def _alarms(seen: Sequence[Seen]) -> tuple[str, ...]:
    """All alarms, the last one first."""
    name = "{}: " if len(seen) > 1 else ""
    found = [(alarm, name.format(each.name)) for each in seen for alarm in each.watched.alarms]
    found.sort(key=lambda pair: -pair[0].step)
    return tuple(f"{name}{alarm.text}" for alarm, name in found)


def _alarm_rows(seen: Sequence[Seen]) -> pl.DataFrame:
    rows = [
        (each.name, alarm.step, alarm.rule, alarm.text)
        for each in seen
        for alarm in each.watched.alarms
    ]
    schema = {"run": pl.String, "step": pl.Int64, "rule": pl.String, "text": pl.String}
    return pl.DataFrame(rows, schema, orient="row")


def _steps(seen: Seen) -> pl.DataFrame:
    """A row a measurement: loss, and the decades over the layers that repeat.

    Those of both trainings are shown, whichever is chosen for the maps.
    """
    lines = seen.thinned(1, MOST_STEPS).measurements
    frame = pl.DataFrame(
        {name: [line[name] for line in lines] for name in ("step", "loss", "total", "word")},
        {"step": pl.Int64, "loss": pl.Float64, "total": pl.Float64, "word": pl.String},
    )
    return frame.with_columns(training=pl.lit(seen.name), loss_is=charts.kind("loss"))


def _losses(seen: Seen) -> pl.DataFrame:
    """A row for each 2^k-th step that is recorded, and before these for each measurement."""
    every, recorded = 1, seen.watched.steps.table()
    while len(recorded) > every * MOST_STEPS // seen.count:
        every *= 2
    begin = recorded[0]["step"] if recorded else math.inf
    rows = [v for v in seen.thinned(1, MOST_STEPS).measurements if v["step"] < begin]
    rows += [row for row in recorded if row["step"] % every == 0 or row is recorded[-1]]
    schema = {"step": pl.Int64, "loss": pl.Float64}
    frame = pl.DataFrame({name: [row[name] for row in rows] for name in schema}, schema)
    return frame.with_columns(training=pl.lit(seen.name))


def _frame(seen: Seen, of: Map) -> pl.DataFrame:
    """Return the rows of a map as a table of step, place, its name, and the columns there are."""
    watched = seen.thinned(len(seen.watched.start.get(of.start, ())), MOST_CELLS)
    rows = of.rows(watched)
    if not rows:
        return pl.DataFrame()
    places = len(rows) // len({row["step"] for row in rows})
    there = [column for column in of.columns or of.quantities if column in rows[0]]
    names = _place_names(rows[:places], of.name)
    of_places = {
        "step": [row["step"] for row in rows],
        "place": [i % places + 1 for i in range(len(rows))],
        "name": [names[i % places] for i in range(len(rows))],
    }
    numbers = {column: [float(str(row[column])) for row in rows] for column in there}
    frame = pl.DataFrame(of_places | {"run": seen.name} | numbers)
    if "entropy" in there:
        frame = frame.with_columns(entropy_share=pl.col("entropy") / pl.col("most_entropy"))
    has_updates = any(line.get("after", True) for line in seen.watched.measurements)
    if "log10_update" in there and has_updates:
        size, update = pl.col("log10_size"), pl.col("log10_update")
        zero = size == -math.inf  # of an array that is zero there is no ratio
        ratio = pl.when(zero).then(-math.inf).otherwise(update - size)
        frame = frame.with_columns(log10_ratio=ratio)
    return frame


def _place_names(rows: Sequence[dict[str, object]], name: str) -> list[str]:
    """Return places in words, such as "3 (block)", "blocks[2]" or "layer 2, head 4"."""
    if name == "layer":
        return labels([str(row["name"] or "") for row in rows])
    if name:
        return [str(row[name]) for row in rows]
    kinds = ("layer", "attention", "router", "head", "expert")
    return [", ".join(f"{kind} {row[kind]}" for kind in kinds if kind in row) for row in rows]


def _cells(frames: Sequence[pl.DataFrame], quantities: dict[str, str]) -> pl.DataFrame:
    """Return the rectangles of all trainings, and those of their difference."""
    at = ("step", "place", "name")
    kept = [frame.select(*at, "run", *quantities) for frame in frames if not frame.is_empty()]
    if len(kept) == 2:
        first, second = kept
        both = first.join(second, on=at, suffix="_2", maintain_order="left")
        moved = [(pl.col(f"{c}_2") - pl.col(c)).alias(c) for c in quantities]
        if not both.is_empty():
            kept.append(both.select(*at, pl.lit(DIFFERENCE).alias("run"), *moved))
    cells = (heat.rectangles(frame, quantities, "place", "name", "run") for frame in kept)
    whole = pl.concat(cells).join(
        _known(kept, quantities), on=("place", "quantity"), how="semi", maintain_order="left"
    )
    return whole.sort("step", maintain_order=True)


def _known(frames: Sequence[pl.DataFrame], quantities: dict[str, str]) -> pl.DataFrame:
    """Return the places of each quantity that have a number at some time; all if none has.

    Others have none by their nature, as the factor of the last layer, or the branch of one without.
    """
    whole = pl.concat(frame.select("place", *quantities) for frame in frames)
    known = []
    for column, name in quantities.items():
        own = whole.filter(pl.col(column).is_not_nan())
        places = (whole if own.is_empty() else own).select("place").unique()
        known.append(places.with_columns(quantity=pl.lit(name)))
    return pl.concat(known)


def _ends(name: str, quantities: Iterable[Quantity], *, has_difference: bool) -> tuple[str, str]:
    """Return expressions of the ends of colours, of the quantity that is chosen."""
    low, high = "0", "1"
    for quantity in quantities:
        is_chosen = f"{name} == {json.dumps(quantity.name, ensure_ascii=False)}"
        low = f"{is_chosen} ? {quantity.low:g} : {low}"
        high = f"{is_chosen} ? {quantity.high:g} : {high}"
    if has_difference:
        is_difference = f"run == {json.dumps(DIFFERENCE, ensure_ascii=False)}"
        low, high = (
            f"{is_difference} ? {end} : ({of_one})"
            for end, of_one in zip(DIFFERS, (low, high), strict=True)
        )
    return low, high


def _panels(
    data: dict[str, pl.DataFrame], ends: dict[str, tuple[str, str]], has_runs: bool
) -> tuple[report.Panel, ...]:
    maps = [
        report.Panel(
            of.title,
            of.reading,
            _map(name, of.place, has_runs, data[name], ends[name]).properties(
                height=FIRST if name == "layers" else HEIGHT
            ),
        )
        for name, of in MAPS.items()
        if name in data
    ]
    lines = [
        report.Panel(
            "Verdict",
            "Decades by which the layers that repeat change the gradient, towards the input: below "
            "0 it vanishes. Red: alarms.",
            _line("steps", "total", "decades", has_runs),
        ),
        report.Panel(
            "Loss",
            "Of every step, if it was handed over.",
            _line("losses", "loss", "loss", has_runs),
        ),
    ]
    return (*maps[:1], *lines, *maps[1:])


def _map(
    name: str, y: str, has_runs: bool, cells: pl.DataFrame, ends: tuple[str, str]
) -> charts.Chart:
    chosen = f"datum.quantity == {name}" + (" && datum.run == run" if has_runs else "")
    steps = alt.Axis(format="d", tickCount=6)
    places = cells.unique("place").sort("place")
    names = dict(zip(places["place"], places["name"], strict=True))
    axis = heat.named([names.get(i, "") for i in range(1, max(names) + 1)])
    return heat.heat(name, chosen, (steps, axis), y, "name:N", ends=ends)


def _line(data: str, column: str, title: str, has_runs: bool) -> charts.Chart:
    x = alt.X("step:Q", scale=alt.Scale(nice=False), axis=alt.Axis(format="d", tickCount=6))
    base = alt.Chart(alt.NamedData(data)).transform_filter(f"isValid(datum.{column})")
    colour = alt.Color("training:N", title=None, sort=None) if has_runs else alt.value(palette.OURS)
    tooltip = ["training:N", "step:Q", alt.Tooltip(f"{column}:Q", format=".4g")]
    axis = alt.Axis(labelExpr=charts.LABEL, tickCount=5)
    y = alt.Y(f"{column}:Q", title=title, axis=axis, scale=alt.Scale(zero=column == "total"))
    line = base.mark_line(strokeWidth=1.6, point={"size": 14}).encode(
        x, y, color=colour, tooltip=tooltip
    )
    alarms = alt.Chart(alt.NamedData("alarms"))
    rules = alarms.mark_rule(color=palette.ALARM, strokeDash=[3, 2]).encode(
        alt.X("step:Q"), tooltip=["run:N", "step:Q", "rule:N", "text:N"]
    )
    return alt.layer(rules, line).properties(height=HEIGHT)
