"""The picture of a benchmark: every case's ratio over its goal, on a logarithmic scale."""

import altair as alt
import polars as pl

from experiments.pages import charts, palette
from experiments.runs.missing import NOTHING, Missing

WIDTH, STEP = 420, 17
MET, MISSED = "met", "missed"


def figure(rows: pl.DataFrame, subtitle: str, missing: Missing = NOTHING) -> charts.Figure:
    """Return a line a case; on the left of the rule its goal is met."""
    cases = over_goals(rows)
    met = cases.filter(goal_is=MET).height
    scale = alt.Scale(type="log", nice=False, padding=12)
    x = alt.X("over_goal:Q", title="ratio over its goal, below 1 it is met", scale=scale)
    colours = alt.Scale(domain=[MET, MISSED], range=[palette.GOOD, palette.ALARM])
    colour = alt.Color("goal_is:N", title="the goal is", scale=colours)
    numbers = ("ratio", "goal", "ours_seconds", "theirs_seconds", "over_floor")
    base = alt.Chart(alt.NamedData("cases")).encode(
        y=alt.Y("name:N", sort=None, axis=alt.Axis(labelLimit=320, title=None)),
        color=colour,
        tooltip=[
            *("name:N", "workload:N", "against:N"),
            *(alt.Tooltip(f"{name}:Q", format=".3g") for name in numbers),
        ],
    )
    bars = base.mark_rule(strokeWidth=2).encode(alt.X("low:Q", scale=scale), alt.X2("high:Q"))
    points = base.mark_point(filled=True, size=60, opacity=1).encode(x)
    goal = (
        alt.Chart(alt.NamedData("goal"))
        .mark_rule(color=palette.MUTED, strokeDash=[4, 3])
        .encode(alt.X("at:Q", scale=scale))
    )
    said = (
        f"{met} of {cases.height} {'measured ' if missing else ''}comparisons with their goal met"
    )
    title = charts.headline(said, [subtitle], offset=12)
    chart = alt.layer(goal, bars, points).properties(
        width=WIDTH, height=STEP * cases.height, title=title
    )
    return charts.Figure(chart, {"cases": cases, "goal": pl.DataFrame({"at": [1.0]})})


def over_goals(rows: pl.DataFrame) -> pl.DataFrame:
    """Add to rows of a run: name; over_goal, low and high, ratios over the goal; goal_is."""
    return rows.with_columns(
        pl.format("{}: {}", "row", "case").alias("name"),
        (pl.col("ratio") / pl.col("goal")).alias("over_goal"),
        (pl.col("ratio_low") / pl.col("goal")).alias("low"),
        (pl.col("ratio_high") / pl.col("goal")).alias("high"),
        pl.when("holds").then(pl.lit(MET)).otherwise(pl.lit(MISSED)).alias("goal_is"),
    )
