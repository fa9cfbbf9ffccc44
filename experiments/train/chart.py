"""The chart of a training run: learning curves, the held-out rows, the gradient while it trains."""

import altair as alt
import numpy as np
import polars as pl

from experiments.learning.data import Table
from experiments.pages import charts
from experiments.train.report import Outcome

WIDTH, HEIGHT = 300, 220
COLOURS = {"training": "#1b7fb0", "validation": "#d95f02"}
MOST_EPOCHS = 500  # of a curve that is drawn
MOST_LAYERS = 64  # of a heat map
MOST_CLASSES = 20  # of a confusion matrix with numbers in it
MOST_POINTS = 2000  # of a parity plot
DECADES = 1.5  # from here on a loss is drawn on a logarithmic scale


def draw(table: Table, found: Outcome, verdicts: list[str], what: str) -> charts.Chart:
    """The curves above; the held-out rows and the heat map of log₁₀ ‖Δz[l]‖ below.

    Args:
        table: that was trained on.
        found: what came out.
        verdicts: sentences, of which the first ones stand over the chart.
        what: one line on what was trained.
    """
    rows = curves(found.rows)
    above = [_curve(rows, name, found.best) for name in rows["curve"].unique(maintain_order=True)]
    below = [_heat(heat(found.flow))]
    if found.test is not None:
        below.insert(0, _parity(table, found.test) if table.task == "regression" else
                     _confusion(table, found.test))  # fmt: skip
    title = alt.Title(f"Training on {table.name}", subtitle=[*verdicts[:2], what], offset=12)
    rows_of_charts = (
        alt.hconcat(*row, spacing=28).resolve_scale(color="independent") for row in (above, below)
    )
    return charts.styled(alt.vconcat(*rows_of_charts, title=title, spacing=24))


def curves(rows: pl.DataFrame) -> pl.DataFrame:
    """Loss, metric and AUC one under the other: epoch, step, set, curve, shown."""
    every = max(1, rows["epoch"].to_numpy().max() // MOST_EPOCHS)
    last = rows["epoch"].max()
    seen = rows.filter(pl.col("set") != "test")
    seen = seen.filter((pl.col("epoch") % every == 0) | (pl.col("epoch") == last))
    names = {"loss": "loss", "value": rows["metric"][0], "auc": "AUC"}
    at = ("epoch", "step", "set")
    return pl.concat(
        seen.select(*at, pl.lit(name).alias("curve"), pl.col(column).alias("shown"))
        for column, name in names.items()
    ).filter(pl.col("shown").is_finite())


def heat(flow: pl.DataFrame) -> pl.DataFrame:
    """A flow as rectangles: each look reaches to the next one.

    Columns: those of the flow; left, right in steps; low, high in layers.
    """
    steps = flow["step"].unique().sort().to_numpy()
    gaps = np.diff(steps)
    ends = np.append(steps[1:], steps[-1] + (np.median(gaps) if len(gaps) else 1))
    every = -(-int(flow["layer"].to_numpy().max()) // MOST_LAYERS)
    reach = pl.DataFrame({"step": steps, "right": ends.astype(np.float64)})
    return (
        flow.filter((pl.col("layer") - 1) % every == 0)
        .join(reach, on="step", how="left", maintain_order="left")
        .with_columns(
            left=pl.col("step").cast(pl.Float64),
            low=pl.col("layer") - 0.5,
            high=pl.col("layer") - 0.5 + every,
        )
    )


def _curve(rows: pl.DataFrame, name: str, best: int) -> charts.Chart:
    found = rows.filter(pl.col("curve") == name)
    values = found["shown"].to_numpy()
    spread = name == "loss" and values.min() > 0 and values.max() / values.min() > 10**DECADES
    scale = alt.Scale(type="log" if spread else "linear", zero=False, nice=False, padding=6)
    sets = found["set"].unique(maintain_order=True).to_list()
    colour = alt.Color(
        "set:N",
        title=None,
        scale=alt.Scale(domain=sets, range=[COLOURS[s] for s in sets]),
        legend=alt.Legend(orient="bottom"),
    )
    x = alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1))
    tips = ["set", "epoch", alt.Tooltip("shown", title=name, format=".4g")]
    axis = alt.Axis(labelExpr=charts.LABEL, tickCount=6)
    y = alt.Y("shown:Q", title=None, scale=scale, axis=axis)
    lines = alt.Chart(found).mark_line(strokeWidth=1.8).encode(x, y, colour, tooltip=tips)
    at = alt.Chart(pl.DataFrame({"epoch": [best]}))
    rule = at.mark_rule(color="#888", strokeDash=[4, 3]).encode(alt.X("epoch:Q"))
    title = alt.Title(name, subtitle="dashes: the parameters that are kept")
    return alt.layer(rule, lines).properties(width=WIDTH, height=HEIGHT, title=title)


def confusion(table: Table, test: pl.DataFrame) -> pl.DataFrame:
    """How many held-out rows of each class were taken for which: target, prediction, count."""
    every = pl.DataFrame({"target": table.classes}).join(
        pl.DataFrame({"prediction": table.classes}), how="cross"
    )
    counts = test.group_by("target", "prediction").len("count")
    return every.join(
        counts, on=("target", "prediction"), how="left", maintain_order="left"
    ).select("target", "prediction", pl.col("count").cast(pl.Int64).fill_null(0))


def _confusion(table: Table, test: pl.DataFrame) -> charts.Chart:
    found = confusion(table, test)
    order = list(table.classes)
    base = alt.Chart(found).encode(
        alt.X(
            "prediction:N",
            sort=order,
            title="prediction",
            axis=alt.Axis(labelAngle=0, labelLimit=90),
        ),
        alt.Y("target:N", sort=order, title=table.target, axis=alt.Axis(labelLimit=90)),
        tooltip=["target", "prediction", "count"],
    )
    most = float(found["count"].to_numpy().max())
    colour = alt.Color("count:Q", scale=alt.Scale(scheme="blues", domain=[0, most]), legend=None)
    layers = [base.mark_rect().encode(colour)]
    if len(order) <= MOST_CLASSES:
        ink = alt.condition(f"datum.count > {most / 2}", alt.value("white"), alt.value("#333"))
        words = base.transform_filter("datum.count > 0").mark_text(fontSize=11)
        layers.append(words.encode(text="count:Q", color=ink))
    title = f"Held-out rows: {test.height}"
    return alt.layer(*layers).properties(width=WIDTH, height=HEIGHT, title=title)


def parity(test: pl.DataFrame) -> pl.DataFrame:
    """The points that are drawn, evenly taken of all."""
    return test.gather_every(-(-test.height // MOST_POINTS))


def _parity(table: Table, test: pl.DataFrame) -> charts.Chart:
    found = parity(test)
    both = np.concatenate([found["target"].to_numpy(), found["prediction"].to_numpy()])
    ends = pl.DataFrame({"end": [float(both.min()), float(both.max())]})
    scale = alt.Scale(domain=ends["end"].to_list(), nice=False, padding=6)
    line = alt.Chart(ends).mark_line(color="#888", strokeDash=[4, 3])
    points = alt.Chart(found).mark_circle(size=28, opacity=0.6, color=COLOURS["training"])
    return alt.layer(
        line.encode(alt.X("end:Q", scale=scale), alt.Y("end:Q", scale=scale)),
        points.encode(
            alt.X("target:Q", title=table.target, scale=scale),
            alt.Y("prediction:Q", title="prediction", scale=scale),
            tooltip=["row", *(alt.Tooltip(n, format=".4g") for n in ("target", "prediction"))],
        ),
    ).properties(width=WIDTH, height=HEIGHT, title=f"Held-out rows: {test.height}")


def _heat(rows: pl.DataFrame) -> charts.Chart:
    rows = rows.filter(pl.col("log10_delta_z").is_finite())
    high = float(rows["high"].to_numpy().max()) if rows.height else 1.5
    scale = alt.Scale(domain=[0.5, high], nice=False)
    right = float(rows["right"].to_numpy().max()) if rows.height else 1.0
    return (
        alt.Chart(rows)
        .mark_rect()
        .encode(
            alt.X("left:Q", title="step", scale=alt.Scale(domain=[0, right], nice=False)),
            alt.X2("right:Q"),
            alt.Y("low:Q", title="layer l", scale=scale, axis=alt.Axis(tickMinStep=1, format="d")),
            alt.Y2("high:Q"),
            alt.Color("log10_delta_z:Q", title=None, scale=alt.Scale(scheme="viridis", zero=False)),
            tooltip=["layer", "step", alt.Tooltip("log10_delta_z", format=".2f")],
        )
        .properties(width=WIDTH, height=HEIGHT, title="log₁₀ ‖Δz[l]‖ of one batch while it trains")
    )
