"""The page of a watched training: maps of layers and arrays over steps, verdict, loss, alarms.

`watched -> tables by step, layer and array -> thinned -> panels`. Two trainings have one map each,
by choice, and a third one of their difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import altair as alt
import polars as pl

from experiments.pages import charts, heat, palette, report
from jaxnn.texts import counted
from jaxnn.train.watched import Watched

HEIGHT, FIRST = 200, 280
MOST_CELLS = 4_000  # of a map, of which a page has several
DIFFERENCE = "difference, second − first"
LAYERS = {
    "log10_delta": "gradient: log₁₀ ‖Δ‖",
    "log10_gain": "factor of each layer: log₁₀",
    "log10_theta": "gradient of the parameters: log₁₀ ‖Δθ‖",
    "log10_mean_square": "signal: log₁₀ of the mean square",
    "log10_spread": "what differs between examples: log₁₀",
    "log10_branch": "what branches add / stream: log₁₀",
    "saturated": "saturated units",
    "dead": "dead units",
    "log10_gain_from_theory": "factor of each layer, less theory of the start: log₁₀",
    "log10_mean_square_from_theory": "signal, less theory of the start: log₁₀",
    "delta_exponent_50": "exponent of the median |entry| of Δ: log₂",
    "state_exponent_50": "exponent of the median |entry| of the state: log₂",
}
ARRAYS = {
    "log10_ratio": "update / size: log₁₀",
    "log10_delta": "gradient: log₁₀ ‖Δθ‖",
    "log10_size": "size: log₁₀ ‖θ‖",
}
HEADS = {"largest_logit": "largest logit", "entropy_share": "entropy / largest possible"}
EXPERTS = {"load": "load of each expert, 1 is its share"}
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
    """A watched training under a name."""

    name: str
    watched: Watched


def page(folders: Sequence[Path], watches: Sequence[Watched]) -> report.Page:
    """Return the page."""
    seen = [Seen(name, watched) for name, watched in zip(_names(folders), watches, strict=True)]
    tables = {
        "layers": (LAYERS, [_layers(each) for each in seen]),
        "arrays": (ARRAYS, [_arrays(each) for each in seen]),
        "heads": (HEADS, [_heads(each) for each in seen]),
        "experts": (EXPERTS, [_experts(each) for each in seen]),
    }
    data, choices = {}, []
    for name, (quantities, frames) in tables.items():
        if all(map(pl.DataFrame.is_empty, frames)):
            continue
        known = {
            column: text
            for column, text in quantities.items()
            if all(column in frame.columns for frame in frames if not frame.is_empty())
        }
        if not known:
            continue
        data[name] = _cells(frames, known)
        texts = tuple(known.values())
        choices.append(report.Choice(name, f"of {name}", texts, texts[0]))
    steps = pl.concat([_steps(each) for each in seen])
    runs = tuple(dict.fromkeys(steps["training"]))
    if len(runs) == 2:
        runs = (*runs, DIFFERENCE)
        choices.insert(0, report.Choice("run", "training", runs, runs[0]))
    return report.Page(
        title="How is the gradient while it trains?",
        subtitle=", ".join(_subtitle(each) for each in seen),
        answer=_answer(seen),
        verdicts=_alarms(seen),
        choices=tuple(choices),
        panels=_panels(data, len(runs) > 1),
        data=data | {"steps": steps, "alarms": _alarm_rows(seen)},
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
    lines = seen.watched.measurements
    frame = pl.DataFrame(
        {name: [line[name] for line in lines] for name in ("step", "loss", "total", "word")},
        {"step": pl.Int64, "loss": pl.Float64, "total": pl.Float64, "word": pl.String},
    )
    return frame.with_columns(training=pl.lit(seen.name), loss_is=charts.kind("loss"))


def _layers(seen: Seen) -> pl.DataFrame:
    return _frame(seen, seen.watched.table(), "layer", tuple(LAYERS))


def _arrays(seen: Seen) -> pl.DataFrame:
    rows = seen.watched.parameter_table()
    frame = _frame(seen, rows, "path", ("log10_delta", "log10_size", "log10_update"))
    if frame.is_empty():
        return frame
    return frame.with_columns(log10_ratio=pl.col("log10_update") - pl.col("log10_size"))


def _heads(seen: Seen) -> pl.DataFrame:
    rows = seen.watched.attention_table()
    frame = _frame(seen, rows, "", ("largest_logit", "entropy", "most_entropy"))
    if frame.is_empty():
        return frame
    return frame.with_columns(entropy_share=pl.col("entropy") / pl.col("most_entropy"))


def _experts(seen: Seen) -> pl.DataFrame:
    return _frame(seen, seen.watched.router_table(), "", ("load",))


def _frame(
    seen: Seen, rows: list[dict[str, object]], name: str, columns: Sequence[str]
) -> pl.DataFrame:
    """Return rows as a table of step, place, its name, and those columns that are there.

    Of many measurements only each so many-th is taken, the last one among them.
    """
    if not rows:
        return pl.DataFrame()
    steps = len(seen.watched.measurements)
    places = len(rows) // steps
    every = max(1, -(-len(rows) // MOST_CELLS))
    there = [column for column in columns if column in rows[0]]
    taken = [
        (i % places + 1, row)
        for i, row in enumerate(rows)
        if (steps - 1 - i // places) % every == 0
    ]
    labels = [_label(row, place, name) for place, row in taken]
    data = {"step": [row["step"] for _, row in taken], "place": [place for place, _ in taken]}
    numbers = {column: [float(str(row[column])) for _, row in taken] for column in there}
    return pl.DataFrame(data | {"name": labels, "run": seen.name} | numbers)


def _label(row: dict[str, object], place: int, name: str) -> str:
    """Return a place in words, such as "3 (block)" or "layer 2, head 4"."""
    if name == "layer":
        return f"{place} ({row['name']})" if row["name"] else str(place)
    if name:
        return str(row[name])
    kinds = ("layer", "attention", "router", "head", "expert")
    return ", ".join(f"{kind} {row[kind]}" for kind in kinds if kind in row)


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
    return pl.concat(cells).join(
        _known(kept, quantities), on=("place", "quantity"), how="semi", maintain_order="left"
    )


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


def _panels(data: dict[str, pl.DataFrame], has_runs: bool) -> tuple[report.Panel, ...]:
    words = {
        "layers": (
            "Layers",
            "Colour: the chosen number of each layer, at each measurement. Layer 1 is next to the "
            "input. Grey: zero; red: no finite number; empty: there is none.",
            "layer",
        ),
        "arrays": (
            "Parameter arrays",
            "In the order of the layers. An update of a hundredth to a thousandth of the size is "
            "usual.",
            "array",
        ),
        "heads": (
            "Attention",
            "Each head. A large logit with an entropy near 0: saturated.",
            "head",
        ),
        "experts": ("Routers", "Load of each expert: 1 is an equal share.", "expert"),
    }
    maps = [
        report.Panel(
            title,
            reading,
            _map(name, y, has_runs, int(data[name]["place"].to_numpy().max())).properties(
                height=FIRST if name == "layers" else HEIGHT
            ),
        )
        for name, (title, reading, y) in words.items()
        if name in data
    ]
    lines = [
        report.Panel(
            "Verdict",
            "Decades by which the layers that repeat change the gradient, towards the input: below "
            "0 it vanishes. Red: alarms.",
            _line("total", "decades", has_runs),
        ),
        report.Panel("Loss", "Of the steps that were measured.", _line("loss", "loss", has_runs)),
    ]
    return (*maps[:1], *lines, *maps[1:])


def _map(name: str, y: str, has_runs: bool, last: int) -> charts.Chart:
    chosen = f"datum.quantity == {name}" + (" && datum.run == run" if has_runs else "")
    steps = alt.Axis(format="d", tickCount=6)
    return heat.heat(name, chosen, (steps, heat.counts(last)), y, "name:N")


def _line(column: str, title: str, has_runs: bool) -> charts.Chart:
    x = alt.X("step:Q", scale=alt.Scale(nice=False), axis=alt.Axis(format="d", tickCount=6))
    base = alt.Chart(alt.NamedData("steps")).transform_filter(f"isValid(datum.{column})")
    colour = alt.Color("training:N", title=None, sort=None) if has_runs else alt.value(palette.OURS)
    tooltip = ["training:N", "step:Q", alt.Tooltip(f"{column}:Q", format=".4g"), "word:N"]
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
