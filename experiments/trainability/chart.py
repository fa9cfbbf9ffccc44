"""The map of trainability: a chart and a table."""

import altair as alt
import polars as pl
from rich import box
from rich.table import Table

from experiments.pages import charts

MULTIPLES = (1, 3, 6)  # of ξ_c


def draw(rows: pl.DataFrame, scales: pl.DataFrame, said: str, what: str) -> charts.Chart:
    """Accuracy over σ_w² and depth, and multiples of ξ_c over it.

    Args:
        rows: as `experiments.trainability.experiment.measure` returns them.
        scales: as `experiments.trainability.scales` returns them.
        said: the verdict.
        what: one line on what was trained.
    """
    mean = rows.group_by("sigma_w_squared", "depth", maintain_order=True).agg(
        pl.col("accuracy").mean(), pl.col("loss").mean()
    )
    widths, heights = _step(mean["sigma_w_squared"]) / 2, _step(mean["depth"]) / 2
    across, up = pl.col("sigma_w_squared"), pl.col("depth")
    mean = mean.with_columns(
        left=across - widths, right=across + widths, low=up - heights, high=up + heights
    )
    domains = [
        [float(mean[a].to_numpy().min()), float(mean[b].to_numpy().max())]
        for a, b in (("left", "right"), ("low", "high"))
    ]
    x, y = (alt.Scale(domain=domain, nice=False, zero=False) for domain in domains)
    cells = (
        alt.Chart(mean)
        .mark_rect()
        .encode(
            alt.X("left:Q", title="σ_w²", scale=x),
            alt.X2("right:Q"),
            alt.Y("low:Q", title="hidden layers", scale=y),
            alt.Y2("high:Q"),
            alt.Color(
                "accuracy:Q",
                title="training accuracy",
                scale=alt.Scale(scheme="viridis", domain=[0, 1]),
            ),
            tooltip=[
                alt.Tooltip("sigma_w_squared", title="σ_w²"),
                alt.Tooltip("depth", title="hidden layers"),
                alt.Tooltip("accuracy", format=".3f"),
                alt.Tooltip("loss", format=".3g"),
            ],
        )
    )
    curves = pl.concat(
        scales.with_columns(depth=multiple * pl.col("xi_c"), multiple=pl.lit(f"{multiple} ξ_c"))
        for multiple in MULTIPLES
    ).filter(pl.col("depth").is_finite() & (pl.col("depth") <= domains[1][1]))
    # Left and right of the divergence are lines of their own.
    peak = scales.filter(pl.col("xi_c") == pl.col("xi_c").max())["sigma_w_squared"][0]
    curves = curves.with_columns(side=pl.col("sigma_w_squared") > peak)
    line = alt.Chart(curves).encode(
        alt.X("sigma_w_squared:Q", scale=x),
        alt.Y("depth:Q", scale=y),
        alt.StrokeDash(
            "multiple:N",
            title="depth scale",
            sort=None,
            legend=alt.Legend(symbolStrokeColor="#555"),
        ),
        detail="side:N",
    )
    # White on a dark rim, to be seen on yellow and on violet.
    rim, lines = (
        line.mark_line(color=colour, strokeWidth=width, clip=True)
        for colour, width in (("#333", 4), ("white", 2))
    )
    title = alt.Title("Up to which depth does the network train?", subtitle=[said, what])
    return charts.styled(
        alt.layer(cells, rim, lines).properties(width=520, height=380, title=title)
    )


def _step(values: pl.Series) -> float:
    """The distance of neighbours, where there are some."""
    steps = values.unique().sort().diff().drop_nulls()
    return float(steps.to_numpy().min()) if len(steps) else 1.0


def table(rows: pl.DataFrame) -> Table:
    """Training accuracy in per cent, depth against σ_w²."""
    shown = Table(
        title="training accuracy in per cent, hidden layers against σ_w²",
        title_justify="left",
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
    )
    squares = rows["sigma_w_squared"].unique().sort()
    for name in ("layers", *(f"{v:g}" for v in squares)):
        shown.add_column(name, justify="right", no_wrap=True)
    mean = rows.group_by("depth", "sigma_w_squared").agg(pl.col("accuracy").mean())
    found = {(d, s): a for d, s, a in mean.iter_rows()}
    for depth in rows["depth"].unique().sort(descending=True):
        cells = (found.get((depth, v)) for v in squares)
        shown.add_row(str(depth), *("" if a is None else f"{100 * a:.0f}" for a in cells))
    return shown
