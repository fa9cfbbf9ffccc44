# %% [markdown]
# # A sweep, from start to report
#
# One network is an anecdote. The question *which activation with which
# initialisation keeps the gradient, and how deep?* takes a sweep over all of
# them, several seeds each. The experiments of a checkout do this with one
# command; here it is a small one, of a few seconds.

# %%
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import altair as alt
import polars as pl

here = Path.cwd()
checkout = next(
    f
    for f in (here, *here.parents)
    if (f / "experiments" / "__main__.py").exists()
)
out = Path(tempfile.mkdtemp()) / "sweep"


def experiments(*words):
    """Give a command in the checkout and return what it prints."""
    command = [sys.executable, "-m", "experiments", *words]
    return subprocess.run(
        command,
        cwd=checkout,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    ).stdout


# %% [markdown]
# ## Choose the settings and see the cost
#
# Every setting that takes several values is an axis of the grid: `4:64:*4`
# means 4, 16, 64. With `--dry-run` the command prints the sweep as a config
# file, and at its end what it will cost.

# %%
sweep = [
    *("depth", "--activations", "sigmoid", "tanh", "relu"),
    *("--weights", "glorot_uniform", "he_normal"),
    *("--depths", "4:64:*4", "--width", "32", "--seeds", "3", "--quiet"),
]
print(experiments(*sweep, "--dry-run").splitlines()[-1])

# %% [markdown]
# ## Run it
#
# The command prints a table and one verdict for each network: the rate in
# decades (factors of ten) a layer with its standard error over the seeds, and
# the rate that mean-field theory predicts.

# %%
print(experiments(*sweep, "--out", str(out)).replace(str(out), "the folder"))

# %% [markdown]
# Each cell of the grid is stored as soon as it is measured. After a crash or
# Ctrl-C, give the same command again, and it continues where it stopped.
#
# ## What is in the folder
#
# `report.html` is a page that you can send to somebody: charts with menus for
# activation, weights and depth, a table of all numbers, and the settings. It
# works offline. `gradients.png`, `.svg` and `.pdf` are the picture alone.
# `rows.parquet` has every number, and `run.json` the settings, versions and
# devices.

# %%
for path in sorted(out.iterdir()):
    if path.is_file() and not path.name.startswith("."):
        print(f"{path.name:15} {path.stat().st_size / 1000:7.0f} kB")
about = json.loads((out / "run.json").read_text())
print("finished:", about["finished"], "with jaxnn", about["versions"]["jaxnn"])
assert {"rows.parquet", "run.json", "report.html", "gradients.svg"} <= {
    path.name for path in out.iterdir()
}

# %% [markdown]
# ## Ask a question of your own
#
# The rows are a table like any other: one row for each network, seed and
# layer. How much does the first layer get, relative to the last hidden one, in
# the deepest network?

# %%
rows = pl.read_parquet(out / "rows.parquet")
hidden = rows.filter(pl.col("layer") <= pl.col("depth"), pl.col("depth") == 64)
ends = (
    hidden.group_by("activation", "weights", "seed")
    .agg(
        first=pl.col("log10_delta_z").filter(pl.col("layer") == 1).first(),
        last=pl.col("log10_delta_z").filter(pl.col("layer") == 64).first(),
    )
    .group_by("activation", "weights")
    .agg(decades=(pl.col("first") - pl.col("last")).mean().round(2))
    .sort("decades")
)
for row in ends.rows():
    print("{:8} {:15} {:+.2f} decades over 63 layers".format(*row))
rates = {(a, w): decades / 63 for a, w, decades in ends.rows()}
assert rates["sigmoid", "glorot_uniform"] < -0.6
assert abs(rates["relu", "he_normal"]) < 0.05

# %%
lines = hidden.group_by("activation", "weights", "layer").agg(
    pl.col("log10_delta_z").mean()
)
alt.Chart(
    alt.Data(values=lines.sort("layer").to_dicts()), width=520, height=240
).mark_line(strokeWidth=2).encode(
    alt.X(
        "layer:Q",
        title="layer, the first next to the input",
        scale=alt.Scale(nice=False),
    ),
    alt.Y("log10_delta_z:Q", title="log₁₀ ‖Δz[l]‖"),
    alt.Color(
        "activation:N",
        scale=alt.Scale(range=["#3b82c4", "#d9662b", "#3a9d5d"]),
        legend=alt.Legend(orient="top", title=None),
    ),
    alt.StrokeDash("weights:N", legend=alt.Legend(orient="top", title=None)),
)

# %% [markdown]
# Straight lines again: a product with one factor a layer. He's weights are
# right for relu, whose factor they make one; for a sigmoid no common
# initialisation is. Larger sweeps, on your own data, over widths, biases or
# kinds of blocks, are the same command with more words: see the guides to [the
# depth sweep](../guides/depth-sweep.md) and to [grids](../guides/grids.md).
