"""The remedies in words: gradient, correlation and accuracy of each next to theory, and a table."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
from rich.table import Table

from experiments.learning.words import counted
from experiments.pages import tables
from experiments.remedies.columns import ACCURACY, DISTANCE, GRADIENT
from experiments.remedies.table import REMEDIES
from experiments.runs.experiment import comparison

TITLE = "log₁₀ ‖Δz[1]‖/‖Δz[L]‖ and 1 - c at L = {}; accuracy by L"
TRAINED = 0.5  # of the way from chance to a perfect accuracy
STEADY = 2.0  # decades: a first layer that is at most a hundred times the last, or a hundredth
LEAST = 1e-12  # of 1 - correlation: below is rounding
ALIKE = 0.05  # 1 - correlation below which examples are nearly the same
ROUNDING = 1e-6  # decades
MOST_DEPTHS = 5  # of accuracies in the table


def medians(rows: pl.DataFrame) -> pl.DataFrame:
    """Return one row a remedy, quantity and depth: value, the median over seeds, least and most.

    The columns least and most are the smallest and the largest seed; a nan among the seeds is the
    median.
    """
    value = pl.col("value")
    return (
        rows.group_by("remedy", "quantity", "depth", maintain_order=True)
        .agg(
            pl.when(value.is_nan().any()).then(math.nan).otherwise(value.median()).alias("value"),
            value.min().alias("least"),
            value.max().alias("most"),
        )
        .sort("depth", maintain_order=True)
    )


def numbers(middle: pl.DataFrame, remedy: str, quantity: str) -> dict[int, float]:
    """Return the `medians` of a remedy and quantity by depth."""
    chosen = middle.filter(pl.col("remedy") == remedy, pl.col("quantity") == quantity)
    return dict(chosen.sort("depth").select("depth", "value").iter_rows())


def remedies_of(rows: pl.DataFrame) -> list[str]:
    """Return the remedies that occur, in the order of `REMEDIES`."""
    there = set(rows["remedy"])
    return [name for name in REMEDIES if name in there] + sorted(there - set(REMEDIES))


def name_of(remedy: str) -> str:
    """Return the name of a remedy in charts and tables; one that is not known stands for itself."""
    return REMEDIES[remedy].name if remedy in REMEDIES else remedy


@dataclass(frozen=True)
class Case:
    """A remedy in numbers, each by depth: medians over seeds, and predictions."""

    remedy: str
    gradient: dict[int, float]
    distance: dict[int, float]
    accuracy: dict[int, float]
    gradient_theory: dict[int, float]
    distance_theory: dict[int, float]

    @property
    def name(self) -> str:
        """The name of the remedy."""
        return name_of(self.remedy)


def cases(rows: pl.DataFrame, theory: dict[str, pl.DataFrame]) -> list[Case]:
    """Return the remedies of a run in numbers.

    Args:
        rows: of the run.
        theory: for each remedy what `theory.predict` returns.
    """
    middle, found = medians(rows), []
    for remedy in remedies_of(rows):
        measured = [numbers(middle, remedy, q) for q in (GRADIENT, DISTANCE, ACCURACY)]
        predicted = [
            dict(theory[remedy].select("depth", q).iter_rows()) for q in (GRADIENT, DISTANCE)
        ]
        found.append(Case(remedy, *measured, *predicted))
    return found


def sentence(case: Case) -> str:
    """Return what happens to gradient and correlation, and which accuracy that leaves."""
    parts = []
    if case.gradient:
        depth = max(case.gradient)
        parts += [_gradient(case, depth), _correlation(case, depth)]
    if case.accuracy:
        by_depth = (f"{value:.2f} at {depth}" for depth, value in case.accuracy.items())
        parts.append(f"training accuracy {', '.join(by_depth)} layers")
    return f"{case.name}: {'; '.join(parts)}"


def _gradient(case: Case, depth: int) -> str:
    decades, theory = case.gradient[depth], case.gradient_theory.get(depth, math.nan)
    if not math.isfinite(decades):
        return f"no finite gradient over {counted(depth, 'layer')}"
    word = "steady" if abs(decades) <= STEADY else "vanishing" if decades < 0 else "exploding"
    each = decades / max(depth - 1, 1)
    said = f", theory {_signed(theory)}" if math.isfinite(theory) else ""
    return (
        f"{word} gradient, {_signed(decades)} decades over {counted(depth, 'layer')}{said}, "
        f"{_signed(each)} a layer"
    )


def _signed(value: float) -> str:
    """A number in two digits, or whole; 0 if it is rounding."""
    if abs(value) < ROUNDING:
        return "0"
    return f"{value:+.2g}" if abs(value) < 10 else f"{value:+.0f}"


def _correlation(case: Case, depth: int) -> str:
    far, theory = case.distance[depth], case.distance_theory.get(depth, math.nan)
    if math.isnan(far):
        return "no correlation of examples, which are zero in a layer or leave the range"
    said = f", theory {_small(theory)}" if math.isfinite(theory) else ""
    return f"examples {'alike' if far < ALIKE else 'apart'}, 1 - correlation {_small(far)}{said}"


def _small(value: float) -> str:
    if value < LEAST:
        return f"below {LEAST:.0e}"
    return f"{value:.2f}" if not value < 0.01 else f"{value:.0e}"


def summary(found: Sequence[Case], chance: float) -> str:
    """Say which remedies train at the largest depth, and what ails the others; empty if none.

    Args:
        found: the remedies.
        chance: the accuracy of always naming the most frequent class.
    """
    deepest = max((depth for case in found for depth in case.accuracy), default=0)
    enough = chance + TRAINED * (1 - chance)
    here = [case for case in found if deepest in case.accuracy]
    if not here:
        return ""
    cured = [case.name for case in here if case.accuracy[deepest] >= enough]
    ill = [f"{c.name} ({ailment(c, deepest)})" for c in here if c.accuracy[deepest] < enough]
    return (
        f"{deepest} layers train with: {'; '.join(cured) or 'none'}. "
        f"They do not with: {'; '.join(ill) or 'none'}."
    )


def ailment(case: Case, depth: int) -> str:
    """Say what is wrong with a network before training, at the nearest depth that was measured."""
    if not case.gradient:
        return "not measured"
    nearest = min(case.gradient, key=lambda d: (abs(math.log(d / depth)), d))
    decades, far = case.gradient[nearest], case.distance[nearest]
    words = []
    if math.isnan(decades):
        words.append("no finite gradient")
    elif abs(decades) > STEADY:
        words.append(f"the gradient {'vanishes' if decades < 0 else 'explodes'}")
    if not far >= ALIKE:
        words.append("no correlation of examples" if math.isnan(far) else "examples become alike")
    return " and ".join(words) or "neither gradient nor correlation shows why"


def table(rows: pl.DataFrame) -> Table:
    """Return gradient and correlation of the deepest networks, and accuracy by depth."""
    middle = medians(rows)
    trained = sorted(rows.filter(pl.col("quantity") == ACCURACY)["depth"].unique())
    depths = trained
    while len(depths) > MOST_DEPTHS:
        depths = tables.fitting(depths, MOST_DEPTHS)
    drawn = rows.filter(pl.col("quantity") == GRADIENT)["depth"].to_list()
    deepest = max(drawn, default=0)
    title = TITLE.format(deepest or "–")
    printed = tables.table(title, "remedy", "decades", "1 - c", *map(str, depths), width=20)
    for remedy in remedies_of(rows):
        first = (numbers(middle, remedy, q).get(deepest) for q in (GRADIENT, DISTANCE))
        gradient, far = first
        accuracy = numbers(middle, remedy, ACCURACY)
        cells = (accuracy.get(depth) for depth in depths)
        printed.add_row(
            name_of(remedy),
            "" if gradient is None else _decades(gradient),
            "" if far is None else "–" if math.isnan(far) else f"{far:.2g}",
            *("" if cell is None else f"{cell:.2f}" for cell in cells),
        )
    return printed


def _decades(value: float) -> str:
    """Return a gradient's decades for the table, and a dash for 0/0."""
    words = {math.inf: "infinite", -math.inf: "zero"}
    return "–" if math.isnan(value) else words.get(value, f"{value:+.2f}")


def compare(runs: list[pl.DataFrame]) -> list[pl.DataFrame]:
    """Return the medians of each run, by remedy and quantity, and depth."""
    return [comparison(medians(rows), ("remedy", "quantity"), "depth", "value") for rows in runs]
