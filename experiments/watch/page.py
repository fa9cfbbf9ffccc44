"""The page of a watched training: a map of its layers over steps, loss, gradient, alarms.

`watched -> thinned -> tables by step, layer and array -> panels`. Of several trainings each has
maps of its own, by choice, and the one with the worst alarms is shown first; two have a third map
of their difference. Rows come in the order of their steps, and which measurements are drawn stays
while others come, so that a page that is open needs new rows alone.
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import altair as alt
import numpy as np
import polars as pl

from experiments.pages import charts, heat, palette, run_page
from jaxnn.flow.verdict.layer_findings import LOGIT
from jaxnn.texts import counted, labels
from jaxnn.watching.alarms import ALARMS
from jaxnn.watching.alarms.states import LARGEST_STATE, SMALL_BRANCH
from jaxnn.watching.alarms.updates import LARGE_UPDATE, SLOW_UPDATE
from jaxnn.watching.watched import LN10, Line, Watched, is_within

HEIGHT, FIRST, LOW, FLAT = 200, 220, 150, 90  # pixels
MOST_CELLS = 4_000  # of a map, of which a page has several
DIFFERENCE = "difference, second − first"
MOST_STEPS = 2_000  # of a line
SMOOTH = 10  # losses whose mean is drawn


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
    choice: str  # the label of the menu of quantities
    quantities: dict[str, Quantity]
    start: str  # the entry of the record's first line that has an entry a place
    rows: Callable[[Watched], list[dict[str, object]]]  # one a measurement and place
    columns: tuple[str, ...] = ()  # of the rows, if they are not the quantities


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


def _layers(watched: Watched) -> list[dict[str, object]]:
    """Return a row for each step and layer, also for what lies below the first and above the last.

    These are the inputs, and modules such as an embedding or a head, by their parameters.
    """
    start, rows = watched.start, []
    if not watched.measurements:
        return []
    names = labels([layer["name"] for layer in start["layers"]])
    of_layers = iter(watched.table())
    first, count = start["layers"][0]["name"] if names else "", len(names)
    arrays = [*enumerate(start["parameters"])]
    is_named = any(is_within(array["path"], first) for _, array in arrays)
    outside: dict[bool, dict[str, list[int]]] = {False: {}, True: {}}  # below and above
    for i, array in arrays:
        path, is_above = array["path"], array["layer"] > count
        if is_above or (is_named and array["layer"] == 1 and not is_within(path, first)):
            outside[is_above].setdefault(path.rpartition(".")[0] or path, []).append(i)
    lines = watched.measurements
    has_inputs = any(not math.isnan(line["log10_delta_input"]) for line in lines)
    for line in lines:
        below, above = (
            [{"name": name, "log10_theta": _norm(line, of)} for name, of in outside[i].items()]
            for i in (False, True)
        )
        if has_inputs:
            below.insert(0, {"name": "inputs", "log10_delta": line["log10_delta_input"]})
        own = [next(of_layers) | {"name": name} for name in names]
        rows += [row | {"step": line["step"]} for row in (*below, *own, *above)]
    return rows


def _norm(line: Line, arrays: Sequence[int] | None = None) -> float:
    """Return log₁₀ of the norm of the gradient of some arrays together, or of all."""
    column = np.array(line["parameters"]["log10_delta"], float)
    known = column if arrays is None else column[arrays]
    known = known[~np.isnan(known)]
    return float(np.logaddexp.reduce(2 * LN10 * known) / (2 * LN10)) if len(known) else math.nan


def _arrays(watched: Watched) -> list[dict[str, object]]:
    """Return a row for each step and parameter array."""
    return [row | {"name": row["path"]} for row in watched.parameter_table()]


def _parts(watched: Watched, rows: list[dict[str, Any]]) -> list[dict[str, object]]:
    """Return rows of parts of layers with their names, such as "blocks.2, head 4"."""
    names = labels([layer["name"] for layer in watched.start.get("layers", [])])
    kinds = [kind for kind in ("attention", "router") if any(row.get(kind, 1) > 1 for row in rows)]
    kinds += ["head", "expert", "position"]
    for row in rows:
        parts = (f"{kind} {row[kind]}" for kind in kinds if kind in row)
        row["name"] = ", ".join((names[row["layer"] - 1], *parts))
    return rows


MAPS = {
    "layers": Map(
        "Layers",
        "The chosen number of each layer, the lowest next to the input. Grey: zero; red: no "
        "finite number; empty: there is none.",
        *("layer", "number of a layer", LAYERS, "layers", _layers),
    ),
    "arrays": Map(
        "Parameter arrays",
        "In the order of the layers. An update of a hundredth to a thousandth of the size is "
        "usual; the colours end where the alarms slow and update begin. Grey: zero, or of "
        "an array that is zero.",
        *("array", "number of an array", ARRAYS, "parameters", _arrays),
        ("log10_delta", "log10_size", "log10_update"),
    ),
    "heads": Map(
        "Attention",
        "Each head. A large logit with an entropy near 0: saturated.",
        *("head", "number of a head", HEADS, "heads"),
        lambda watched: _parts(watched, watched.attention_table()),
        ("largest_logit", "entropy", "most_entropy"),
    ),
    "experts": Map(
        "Routers",
        "Load of each expert: 1 is an equal share.",
        *("expert", "number of an expert", EXPERTS, "experts"),
        lambda watched: _parts(watched, watched.router_table()),
    ),
}


@dataclass(frozen=True)
class Seen:
    """A watched training under a name, and how many are on the page."""

    name: str
    watched: Watched
    count: int = 1

    @property
    def illness(self) -> tuple[bool, int]:
        """The weight of its alarms: whether one ends the training, and their number."""
        alarms = self.watched.alarms
        return any(a.rule in ALARMS and ALARMS[a.rule].final for a in alarms), len(alarms)

    def thinned(self, places: int, most: int) -> Watched:
        """Return the record with each 2^k-th measurement and the last one, of so many numbers."""
        lines, every = self.watched.measurements, 1
        while len(lines) * places > every * most // self.count:
            every *= 2
        chosen = lines[::every]
        chosen += lines[-1:] if lines and chosen[-1] is not lines[-1] else []
        return replace(self.watched, measurements=chosen)


def page(folders: Sequence[Path], watches: Sequence[Watched]) -> run_page.Page:
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
        choices.append(run_page.Choice(name, of.choice, texts, texts[0], name != "layers"))
    lines = {name: pl.concat(map(of.rows, seen)) for name, of in LINES.items()}
    worst = max(reversed(seen), key=lambda each: each.illness)
    runs = tuple(each.name for each in seen if each.watched.measurements)
    if len(runs) > 1:
        runs = (*runs, DIFFERENCE) if len(runs) == 2 else runs
        first = worst.name if worst.name in runs else runs[0]
        choices.insert(0, run_page.Choice("run", "training", runs, first))
    panels, folded = _panels(data, ends, lines, len(runs) > 1)
    return run_page.Page(
        title="How is the gradient while it trains?",
        subtitle=", ".join(_subtitle(each) for each in seen),
        answer=_answer(worst),
        verdicts=_alarms(seen),
        choices=tuple(choices),
        panels=panels,
        folded=folded,
        data=data | lines | {"alarms": _alarm_rows(seen)},
        numbers=run_page.Numbers("steps", HEAD),
        tables=(),
        terms=(run_page.DECADE, SPREAD),
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


def _answer(seen: Seen) -> run_page.Answer:
    """The last alarm, or that there is none, with the verdict on the last gradient."""
    lines, alarms = seen.watched.measurements, seen.watched.alarms
    if not lines and not alarms:
        return run_page.Answer("Nothing is measured yet.")
    said = "Nothing is measured yet"
    if lines:
        line = lines[-1]
        said = f"The gradient is {line['word']} at step {line['step']}" if line["word"] else ""
    name = f"{seen.name}: " if seen.count > 1 else ""
    if not alarms:
        return run_page.Answer(f"{name}No alarm.", "well", f"{said}.")
    more = f"; {counted(len(alarms), 'alarm')} so far" if len(alarms) > 1 else ""
    return run_page.Answer(f"{name}{alarms[-1].text}", "ill", f"{said}{more}.")


def _alarms(seen: Sequence[Seen]) -> tuple[str, ...]:
    """All alarms, the last one first."""
    name = "{}: " if len(seen) > 1 else ""
    found = [(alarm, name.format(each.name)) for each in seen for alarm in each.watched.alarms]
    found.sort(key=lambda pair: -pair[0].step)
    return tuple(f"{name}{alarm.text}" for alarm, name in found)


def _alarm_rows(seen: Sequence[Seen]) -> pl.DataFrame:
    schema = {"run": pl.String, "step": pl.Int64, "rule": pl.String, "text": pl.String}
    pairs = [(each.name, alarm) for each in seen for alarm in each.watched.alarms]
    rows = [(name, alarm.step, alarm.rule, alarm.text) for name, alarm in pairs]
    return pl.DataFrame(rows, schema, orient="row")


def _steps(seen: Seen) -> pl.DataFrame:
    """A row a measurement: loss, and the decades over the layers that repeat.

    Those of all trainings are shown, whichever is chosen for the maps.
    """
    lines = seen.thinned(1, MOST_STEPS).measurements
    frame = pl.DataFrame(
        {name: [line[name] for line in lines] for name in ("step", "loss", "total", "word")},
        {"step": pl.Int64, "loss": pl.Float64, "total": pl.Float64, "word": pl.String},
    )
    return frame.with_columns(training=pl.lit(seen.name), loss_is=charts.kind("loss"))


def _each_step(seen: Seen, column: str, measured: Callable[[Line], float]) -> pl.DataFrame:
    """A row for each 2^k-th step that is recorded, and before these for each measurement."""
    table = [(row["step"], row.get(column, math.nan)) for row in seen.watched.steps.table()]
    recorded = [row for row in table if not math.isnan(row[1])]
    begin, every = recorded[0][0] if recorded else math.inf, 1
    while len(recorded) > every * MOST_STEPS // seen.count:
        every *= 2
    lines = seen.thinned(1, MOST_STEPS).measurements
    rows = [(line["step"], measured(line)) for line in lines if line["step"] < begin]
    rows += [row for row in recorded if row[0] % every == 0 or row is recorded[-1]]
    frame = pl.DataFrame(rows, {"step": pl.Int64, "value": pl.Float64}, orient="row")
    return frame.with_columns(training=pl.lit(seen.name))


def _rate(line: Line) -> float:
    """Return the learning rate: what was handed over, or the median of the arrays' own."""
    rates = [line["rate"], *line["parameters"].get("rate", [])]
    known = [rate for rate in rates if not math.isnan(rate)]
    return float(np.median(known)) if known else math.nan


class Lines(NamedTuple):
    """A panel of lines, one a training: its words, the title of its axis, and its rows."""

    title: str
    reading: str
    axis: str
    rows: Callable[[Seen], pl.DataFrame]
    height: int = LOW
    column: str = "value"
    is_log: bool = False  # if all numbers are above 0
    smooth: int = 0  # numbers whose mean is drawn too


LINES = {
    "losses": Lines(
        "Loss",
        f"Strong: the mean of {SMOOTH}. Red: alarms.",
        *("loss", lambda seen: _each_step(seen, "loss", lambda line: float(line["loss"]))),
        is_log=True,
        smooth=SMOOTH,
    ),
    "gradients": Lines(
        "Gradient of all parameters",
        "Its norm at each step, in JAX at those measured.",
        *("log₁₀ ‖Δθ‖", lambda seen: _each_step(seen, "log10_gradient", _norm)),
    ),
    "rates": Lines(
        "Learning rate",
        "The optimiser's, or as handed over.",
        *("learning rate", lambda seen: _each_step(seen, "rate", _rate), FLAT),
        is_log=True,
    ),
    "steps": Lines(
        "Verdict",
        "Decades by which the layers that repeat change the gradient, towards the input: below "
        "0 it vanishes. Red: alarms.",
        *("decades", _steps, HEIGHT, "total"),
    ),
}


def _frame(seen: Seen, of: Map) -> pl.DataFrame:
    """Return the rows of a map as a table of step, place, its name, and the columns there are."""
    watched = seen.thinned(len(seen.watched.start.get(of.start, [])), MOST_CELLS)
    rows = of.rows(watched)
    if not rows:
        return pl.DataFrame()
    places = len(rows) // len(watched.measurements)
    known = {column for row in rows[:places] for column in row}
    there = [column for column in of.columns or of.quantities if column in known]
    of_places = {
        "step": [row["step"] for row in rows],
        "place": [i % places + 1 for i in range(len(rows))],
        "name": [rows[i % places]["name"] for i in range(len(rows))],
    }
    numbers = {column: [float(str(row.get(column, "nan"))) for row in rows] for column in there}
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
    data: dict[str, pl.DataFrame],
    ends: dict[str, tuple[str, str]],
    lines: dict[str, pl.DataFrame],
    has_runs: bool,
) -> tuple[tuple[run_page.Panel, ...], tuple[run_page.Panel, ...]]:
    """Return the panels that are seen at once, and those of the fold."""
    maps = [
        run_page.Panel(
            of.title,
            of.reading,
            _map(name, of.place, has_runs, data[name], ends[name]).properties(
                height=FIRST if name == "layers" else HEIGHT
            ),
        )
        for name, of in MAPS.items()
        if name in data
    ]
    losses, gradients, rates, steps = (
        run_page.Panel(of.title, of.reading, _line(name, of, lines[name], has_runs))
        for name, of in LINES.items()
    )
    has_rates = lines["rates"]["value"].is_not_nan().any()
    shown = (losses, gradients, rates) if has_rates else (losses, gradients)
    return (*maps[:1], *shown), (steps, *maps[1:])


def _map(
    name: str, y: str, has_runs: bool, cells: pl.DataFrame, ends: tuple[str, str]
) -> charts.Chart:
    chosen = f"datum.quantity == {name}" + (" && datum.run == run" if has_runs else "")
    steps = alt.Axis(format="d", tickCount=6)
    names = {}
    for (run,), of_run in cells.unique(("run", "place")).group_by("run"):
        known = dict(zip(of_run["place"], of_run["name"], strict=True))
        names[str(run)] = [known.get(i, "") for i in range(1, max(known) + 1)]
    axis = heat.named(names, "run" if has_runs else json.dumps(next(iter(names))))
    return heat.heat(name, chosen, (steps, axis), y, "name:N", ends=ends)


def _line(name: str, of: Lines, rows: pl.DataFrame, has_runs: bool) -> charts.Chart:
    known: list[float] = rows[of.column].drop_nulls().drop_nans().to_list()
    is_log = of.is_log and min(known, default=1.0) > 0
    is_wide = bool(known) and max(known) >= 10 * min(known)
    scale = alt.Scale(type="log", nice=is_wide) if is_log else alt.Scale(zero=name == "steps")
    axis = alt.Axis(labelExpr=charts.LABEL, tickCount=of.height // 30)
    shown = f"datum.{of.column} > 0" if is_log else f"isValid(datum.{of.column})"
    legend = alt.Legend() if name == "losses" else None  # of all lines there
    colour: Any = alt.Color("training:N", title=None, sort=None, legend=legend)
    base = (
        alt.Chart(alt.NamedData(name))
        .transform_filter(shown)
        .encode(
            alt.X("step:Q", scale=alt.Scale(nice=False), axis=alt.Axis(format="d", tickCount=6)),
            color=colour if has_runs else alt.value(palette.OURS),
        )
    )
    raw = base.mark_line(strokeWidth=1.6, opacity=0.4 if of.smooth else 1, point={"size": 14})
    lines = [
        raw.encode(
            y=alt.Y(f"{of.column}:Q", title=of.axis, axis=axis, scale=scale),
            tooltip=["training:N", "step:Q", alt.Tooltip(f"{of.column}:Q", format=".4g")],
        )
    ]
    if of.smooth:
        frame: list[int | None] = [1 - of.smooth, 0]
        window = base.transform_window(mean=f"mean({of.column})", frame=frame, groupby=["training"])
        lines.append(window.mark_line(strokeWidth=2.4).encode(y="mean:Q"))
    rules = (
        alt.Chart(alt.NamedData("alarms"))
        .mark_rule(color=palette.ALARM, strokeDash=[3, 2])
        .encode(alt.X("step:Q"), tooltip=["run:N", "step:Q", "rule:N", "text:N"])
    )
    return alt.layer(rules, *lines).properties(height=of.height)
