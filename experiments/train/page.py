"""The report of a training run: a curve and a quantity of the gradient are chosen."""

import altair as alt
import polars as pl

from experiments.learning.data import Table
from experiments.pages import charts, report
from experiments.train import chart as train_chart
from experiments.train import report as train_report
from experiments.train.report import Outcome

HEIGHT = 260
QUANTITIES = {
    "log10_delta_z": "log₁₀ ‖Δz[l]‖",
    "log10_delta_theta": "log₁₀ ‖Δθ[l-1]‖",
    "log10_mean_square_z": "log₁₀ of the mean of z[l]²",
    "saturated_fraction": "saturated units",
    "dead_fraction": "dead units",
}
HEAD = {"epoch": "epoch", "set": "set", "shown": "chosen curve"}


def page(table: Table, found: Outcome, verdicts: list[str], what: str) -> report.Page:
    """The page.

    Args:
        table: that was trained on.
        found: what came out.
        verdicts: sentences.
        what: one line on what was trained.
    """
    curves, data = train_chart.curves(found.rows), {}
    data["curves"], data["flow"] = curves, _flow(found.flow)
    panels = [_curves(found.best), _heat()]
    if found.test is not None and table.task == "regression":
        data["parity"] = train_chart.parity(found.test)
        panels.append(_parity(table))
    elif found.test is not None:
        data["confusion"] = train_chart.confusion(table, found.test)
        panels.append(_confusion(table))
    names = tuple(curves["curve"].unique(maintain_order=True))
    return report.Page(
        title=f"Training on {table.name}",
        subtitle=what,
        verdicts=tuple(verdicts),
        choices=(
            report.Choice("curve", "curve", names, names[0]),
            report.Choice(
                "quantity", "by layer", tuple(QUANTITIES.values()), QUANTITIES["log10_delta_z"]
            ),
            report.Choice("scale", "scale", ("logarithmic", "linear"), "linear"),
        ),
        panels=tuple(panels),
        data=data,
        numbers=report.Numbers("curves", HEAD),
        tables=(_kept(found.rows),),
    )


def _flow(flow: pl.DataFrame) -> pl.DataFrame:
    """The rectangles of every quantity one under the other."""
    rows = train_chart.heat(flow)
    at = ("layer", "step", "left", "right", "low", "high")
    return pl.concat(
        rows.select(*at, pl.lit(name).alias("quantity"), pl.col(column).alias("size"))
        for column, name in QUANTITIES.items()
    )


def _curves(best: int) -> report.Panel:
    base = alt.Chart(alt.NamedData("curves")).transform_filter("datum.curve == curve")
    base = charts.switched(base, "y", "datum.shown", "log(datum.shown) / log(10)")
    scale = alt.Scale(zero=False, nice=False, padding=6)
    label = f"scale == 'linear' ? ({charts.LABEL}) : format(pow(10, datum.value), '.3~r')"
    y = alt.Y("y:Q", title=None, scale=scale, axis=alt.Axis(labelExpr=label, tickCount=6))
    x = alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1))
    colour = alt.Color("set:N", sort=None, title=None)
    tips = ["set:N", "epoch:Q", alt.Tooltip("shown:Q", format=".4g")]
    lines = base.mark_line(point={"size": 20}).encode(x, y, colour, tooltip=tips)
    rule = (
        base.transform_filter(f"datum.epoch == {best}")
        .transform_aggregate(groupby=["epoch"])
        .mark_rule(color=report.INK, strokeDash=[4, 3], opacity=0.6, aria=False)
        .encode(alt.X("epoch:Q"))
    )
    words = (
        "After each epoch, from 0, before training. Dashes: the epoch whose parameters are kept."
    )
    name = alt.Title(alt.ExprRef("curve"))
    return report.Panel(
        "Learning curves", words, alt.layer(rule, lines).properties(height=HEIGHT, title=name)
    )


def _heat() -> report.Panel:
    chart = (
        alt.Chart(alt.NamedData("flow"))
        .transform_filter("datum.quantity == quantity && isValid(datum.size)")
        .mark_rect()
        .encode(
            alt.X("left:Q", title="step", scale=alt.Scale(nice=False)),
            alt.X2("right:Q"),
            alt.Y(
                "low:Q",
                title="layer l",
                scale=alt.Scale(nice=False, zero=False),
                axis=alt.Axis(tickMinStep=1, format="d"),
            ),
            alt.Y2("high:Q"),
            alt.Color("size:Q", title=None, scale=alt.Scale(scheme="viridis", zero=False)),
            tooltip=["layer:Q", "step:Q", alt.Tooltip("size:Q", format=".3f")],
        )
        .properties(height=HEIGHT, title=alt.Title(alt.ExprRef("quantity")))
    )
    words = "Of one batch, always the same: what changes is the network. Layer 1 is the first."
    return report.Panel("The gradient while it trains", words, chart)


def _parity(table: Table) -> report.Panel:
    base = alt.Chart(alt.NamedData("parity"))
    scale = alt.Scale(zero=False)
    points = base.mark_circle(size=36, opacity=0.7).encode(
        alt.X("target:Q", title=table.target, scale=scale),
        alt.Y("prediction:Q", title="prediction", scale=scale),
        color=alt.value(report.COLOURS[0]),
        tooltip=[
            "row:Q",
            alt.Tooltip("target:Q", format=".4g"),
            alt.Tooltip("prediction:Q", format=".4g"),
        ],
    )
    line = base.mark_line(color=report.INK, strokeDash=[4, 3], opacity=0.6, aria=False).encode(
        alt.X("target:Q", scale=scale), alt.Y("target:Q", scale=scale)
    )
    words = "Rows that nothing was trained or chosen on. Dashes: a perfect prediction."
    return report.Panel("Held-out rows", words, alt.layer(line, points).properties(height=HEIGHT))


def _confusion(table: Table) -> report.Panel:
    order = list(table.classes)
    base = alt.Chart(alt.NamedData("confusion")).encode(
        alt.X("prediction:N", sort=order, title="prediction", axis=alt.Axis(labelAngle=0)),
        alt.Y("target:N", sort=order, title=table.target),
        tooltip=["target:N", "prediction:N", "count:Q"],
    )
    colour = alt.Color("count:Q", scale=alt.Scale(scheme="blues"), legend=None)
    cells = base.mark_rect(opacity=0.85).encode(colour)
    layers = [cells]
    if len(order) <= train_chart.MOST_CLASSES:
        layers.append(
            base.transform_joinaggregate(most="max(count)")
            .transform_filter("datum.count > 0")
            .mark_text(fontSize=12)
            .encode(
                text="count:Q",
                color=alt.condition(
                    "datum.count > datum.most / 2", alt.value("white"), alt.value("#222")
                ),
            )
        )
    words = "Rows that nothing was trained or chosen on: their class, and what they were taken for."
    return report.Panel("Held-out rows", words, alt.layer(*layers).properties(height=HEIGHT))


def _kept(rows: pl.DataFrame) -> report.Table:
    metric = rows["metric"][0]
    found = train_report.kept_rows(rows).rows(named=True)
    has_auc = any(row["auc"] is not None for row in found)
    head = ("set", "epoch", "loss", metric, *(["AUC"] if has_auc else []))
    lines = []
    for row in found:
        cells = (row["set"], str(row["epoch"]), f"{row['loss']:.4g}", f"{row['value']:.4f}")
        auc = "–" if row["auc"] is None else f"{row['auc']:.4f}"
        lines.append((*cells, *([auc] if has_auc else [])))
    return report.Table(train_report.TITLE.capitalize(), head, tuple(lines))
