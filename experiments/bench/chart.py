"""The chart of a benchmark: every case's ratio over its goal, on a logarithmic scale."""

import altair as alt
import polars as pl

from experiments.pages import charts

WIDTH, STEP = 420, 17
MET, MISSED = "#3a9d5d", "#c0392b"


def draw(rows: pl.DataFrame, what: str) -> charts.Chart:
    """One line a case; left of the rule its goal is met.

    Args:
        rows: with the columns of `columns.BENCH`.
        what: one line on what was measured.
    """
    shown = rows.select(
        pl.format("{}: {}", "row", "case").alias("name"),
        pl.col(
            "workload", "against", "goal", "ratio", "ours_seconds", "theirs_seconds", "over_floor"
        ),
        (pl.col("ratio") / pl.col("goal")).alias("over_goal"),
        (pl.col("ratio_low") / pl.col("goal")).alias("low"),
        (pl.col("ratio_high") / pl.col("goal")).alias("high"),
        pl.when("holds").then(pl.lit("met")).otherwise(pl.lit("missed")).alias("the goal is"),
    )
    met = shown.filter(pl.col("the goal is") == "met").height
    scale = alt.Scale(type="log", nice=False, padding=12)
    x = alt.X("over_goal:Q", title="ratio over its goal, below 1 it is met", scale=scale)
    numbers = ("ratio", "goal", "ours_seconds", "theirs_seconds", "over_floor")
    axis = alt.Axis(labelLimit=320, title=None)
    colour = alt.Color(
        "the goal is:N", scale=alt.Scale(domain=["met", "missed"], range=[MET, MISSED])
    )
    base = alt.Chart(shown).encode(
        y=alt.Y("name:N", sort=None, axis=axis),
        tooltip=["name", "workload", "against", *(alt.Tooltip(n, format=".3g") for n in numbers)],
    )
    bars = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("low:Q", scale=scale), x2="high:Q", color=colour.legend(None)
    )
    layers = alt.layer(
        alt.Chart(pl.DataFrame({"at": [1.0]}))
        .mark_rule(color="#888", strokeDash=[4, 3])
        .encode(x=alt.X("at:Q", scale=scale)),
        bars,
        base.mark_point(filled=True, size=60, opacity=1).encode(x=x, color=colour),
    ).resolve_legend(color="independent")
    title = alt.Title(f"{met} of {shown.height} comparisons with their goal met", subtitle=[what])
    return charts.styled(layers.properties(width=WIDTH, height=alt.Step(STEP), title=title))
