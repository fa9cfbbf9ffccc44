"""The lines of the depth sweep's picture: a few points each, measured and predicted."""

import polars as pl

from experiments.depth import depth_report
from experiments.pages import charts
from experiments.runs import runtime

POINTS = 50  # on a line; a thousand layers would only make the files large
DEPTH = pl.col("depth")
# The layer below the output, in rows of all layers; of our own networks that is their depth.
LAST_HIDDEN = pl.col("layer").max().over("activation", "label", "depth") - 1
MOST_ROWS, FEWEST = 40_000, 8  # of many lines, which then have fewer points each


def thinned(rows: pl.DataFrame, points: int, last: pl.Expr = DEPTH) -> pl.DataFrame:
    """Return about so many of the hidden layers' rows a line, the ends among them."""
    step = pl.max_horizontal(1, last // points)
    layer = pl.col("layer")
    return rows.filter(layer <= last, ((layer - 1) % step == 0) | (layer == last))


def predicted(rows: pl.DataFrame, theory: pl.DataFrame, points: int) -> pl.DataFrame:
    """Return theory for every depth, down from the last hidden layer's ‖Δz‖ as measured.

    Theory is relative to the deepest network; that of the last hidden layer is subtracted, which
    for the spread means variances, not deviations. The band of residual blocks, whose layers vary
    together, is then up to a tenth too wide for networks less deep.
    """
    case, size = ["activation", "label"], pl.col("log10_delta_z")
    top = depth_report.OF_THEORY
    of_top = (pl.col("layer") == pl.col("depth")) & top.is_finite()
    of_depth = rows.filter(of_top).group_by(*case, "depth", maintain_order=True)
    tops = of_depth.agg(top.median().alias("log10_delta_z"))
    ends = theory.select(*case, pl.col("layer").alias("depth"), size, "bias", "sd")
    tops = tops.join(ends, on=[*case, "depth"], suffix="_end")
    spread = 2 * (pl.col("sd") ** 2 - pl.col("sd_end") ** 2).clip(0).sqrt()
    line = size + pl.col("log10_delta_z_top") - pl.col("log10_delta_z_end")
    middle = line + pl.col("bias") - pl.col("bias_end")
    shifted = theory.join(
        tops.rename({"bias": "bias_end", "sd": "sd_end", "log10_delta_z": "log10_delta_z_top"}),
        on=case,
    ).filter(pl.col("layer") <= pl.col("depth"))
    return thinned(shifted, points).with_columns(
        line.alias("log10_delta_z"), (middle - spread).alias("low"), (middle + spread).alias("high")
    )


def ranges(rows: pl.DataFrame) -> dict[str, tuple[float, float]]:
    """Return log₁₀ of the smallest and the largest number of each dtype."""
    return {dtype: runtime.log10_range(dtype) for dtype in rows["dtype"].unique()}


def first_layer(rows: pl.DataFrame) -> pl.DataFrame:
    """Return `depth_report.first_layer` with the case's name, y, the place, and y_is, its kind."""
    size = pl.col("log10_delta_z")
    return named(depth_report.first_layer(rows)).with_columns(
        y=pl.when(size.is_finite()).then(size), y_is=charts.kind("log10_delta_z")
    )


def named(frame: pl.DataFrame) -> pl.DataFrame:
    """Add a column `case`, the name of activation and label."""
    return frame.with_columns(case=pl.concat_str("activation", "label", separator=", "))


def together(rows: pl.DataFrame, theory: pl.DataFrame) -> pl.DataFrame:
    """Return one row a case, depth and layer: medians over seeds, theory next to them.

    Theory is of the deepest network of each case.

    Columns: activation, label, case, depth, layer; size, the median of log₁₀ ‖Δz[l]‖, of networks
    of ours of its mean over examples, with least and most over seeds; size_theory, and the range of
    95 % of draws, theory_low to theory_high; gain and signal, and spread if it was measured, with
    theirs; plain, the commonest state of Δz[l] in plain backpropagation; size_is, gain_is,
    signal_is and spread_is, which are zero, inf or nan if the median is no number.
    """
    at = ["activation", "label", "depth", "layer"]
    size = pl.col("log10_delta_z")
    of_theory = [depth_report.OF_THEORY.alias("size"), depth_report.FACTOR.alias("gain")]
    lines = rows.select(at[:-1]).n_unique()
    points = min(POINTS, max(FEWEST, MOST_ROWS // lines))
    measured = (
        thinned(rows.with_columns(of_theory, last=LAST_HIDDEN), points, pl.col("last"))
        .group_by(at, maintain_order=True)
        .agg(
            pl.col("size").median(),
            pl.col("size").min().alias("least"),
            pl.col("size").max().alias("most"),
            pl.col("gain").median(),
            pl.col("log10_mean_square_z").median().alias("signal"),
            pl.col("log10_spread").median().alias("spread"),
            pl.col("delta_z").mode().sort().first().alias("plain"),
            pl.col("last").first(),
        )
    )
    by_theory = predicted(rows, theory, points).select(
        *at,
        size.alias("size_theory"),
        pl.col("low").alias("theory_low"),
        pl.col("high").alias("theory_high"),
        pl.col("log10_gain").alias("gain_theory"),
        pl.col("log10_mean_square_z").alias("signal_theory"),
        pl.col("log10_spread").alias("spread_theory"),
    )
    both = measured.join(by_theory, on=at, how="left", maintain_order="left")
    # Above the last hidden layer there is another width and another activation.
    gains, inside = pl.col("gain", "gain_theory"), pl.col("layer") < pl.col("last")
    both = named(both).with_columns(pl.when(inside).then(gains)).drop("last")
    gain_is = charts.kind("gain")
    if rows["log10_spread"].is_null().all():
        both = both.drop("spread", "spread_theory")
    else:
        both = both.with_columns(spread_is=charts.kind("spread"))
    return both.with_columns(
        size_is=charts.kind("size"),
        gain_is=pl.when(gain_is != "nan").then(gain_is),  # below a zero, that is 0 / 0
        signal_is=charts.kind("signal"),
    )
