"""The remedies in words: gradient, correlation and accuracy of each next to theory, and a table."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import polars as pl
from rich.table import Table

from experiments.learning.words import errors_off
from experiments.pages import tables
from experiments.remedies import rates
from experiments.remedies.columns import ACCURACY, DISTANCE, GRADIENT, QUANTITIES
from experiments.remedies.of_user import report as report_of_user
from experiments.remedies.table import REMEDIES
from experiments.runs.comparison import comparison
from experiments.runs.missing import NOTHING, Missing
from jaxnn.texts import counted

TITLE = "log₁₀ ‖Δz[1]‖/‖Δz[L]‖ and 1 - c at L = {}; accuracy by L"
TRAINED = 0.5  # of the way from chance to a perfect accuracy
STEADY = 2.0  # decades: a first layer that is at most a hundred times the last, or a hundredth
LEAST = 1e-12  # of 1 - correlation: below is rounding
ALIKE = 0.05  # 1 - correlation below which examples are nearly the same
ROUNDING = 1e-6  # decades
OF_MEDIAN = math.sqrt(math.pi / 2)  # its standard error over that of the mean
MOST_DEPTHS = 5  # of accuracies in the table


def medians(rows: pl.DataFrame) -> pl.DataFrame:
    """Return one row a remedy, quantity and depth: value, the median over seeds, least and most.

    The columns least and most are the smallest and the largest seed; a nan among the seeds is the
    median. Its standard error, in the column error, is √(π/2) of that of the mean; null of a seed.
    """
    value = pl.col("value")
    return (
        rows.group_by("remedy", "quantity", "depth", maintain_order=True)
        .agg(
            pl.when(value.is_nan().any()).then(math.nan).otherwise(value.median()).alias("value"),
            value.min().alias("least"),
            value.max().alias("most"),
            (OF_MEDIAN * value.std() / value.count().sqrt()).alias("error"),
        )
        .sort("depth", maintain_order=True)
    )


def numbers(middle: pl.DataFrame, remedy: str, quantity: str) -> dict[int, float]:
    """Return the `medians` of a remedy and quantity by depth."""
    chosen = middle.filter(pl.col("remedy") == remedy, pl.col("quantity") == quantity)
    return dict(chosen.sort("depth").select("depth", "value").iter_rows())


def gaps(rows: pl.DataFrame, missing: Missing) -> dict[tuple[str, str], set[int]]:
    """Return the depths that were not measured, by remedy and quantity."""
    depths: dict[tuple[str, str], set[int]] = {}
    for remedy, quantity, depth in missing.rows(rows, "remedy", "quantity", "depth").iter_rows():
        depths.setdefault((remedy, quantity), set()).add(depth)
    return depths


def remedies_of(rows: pl.DataFrame, missing: Missing = NOTHING) -> list[str]:
    """Return the remedies that occur or are missing, in the order of `REMEDIES`."""
    there = {*rows["remedy"], *missing.rows(rows, "remedy")["remedy"]}
    return [name for name in REMEDIES if name in there] + sorted(there - set(REMEDIES))


def name_of(remedy: str) -> str:
    """Return the name of a remedy in charts and tables; one that is not known stands for itself."""
    return REMEDIES[remedy].name if remedy in REMEDIES else remedy


@dataclass(frozen=True)
class Case:
    """A remedy in numbers, each by depth: medians over seeds, and predictions.

    missing: the depths at which a quantity was not measured.
    rates: the best step size by depth.
    errors: of a quantity and depth the standard error; nan of one seed.
    """

    remedy: str
    gradient: dict[int, float]
    distance: dict[int, float]
    accuracy: dict[int, float]
    gradient_theory: dict[int, float]
    distance_theory: dict[int, float]
    missing: dict[str, set[int]] = field(default_factory=dict)
    rates: dict[int, float] = field(default_factory=dict)
    errors: dict[tuple[str, int], float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the remedy."""
        return name_of(self.remedy)

    def by_theory(self, quantity: str, depth: int, text: Callable[[float], str]) -> str:
        """Return what theory says of a quantity, and by how many errors it is off if it is."""
        gradient = quantity == GRADIENT
        theories = self.gradient_theory if gradient else self.distance_theory
        measured, theory = (self.gradient if gradient else self.distance), theories.get(depth)
        if theory is None or not math.isfinite(theory):
            return ""
        off = errors_off(measured[depth], theory, self.errors.get((quantity, depth), math.nan))
        return f", theory {text(theory)}{f' ({off})' if off else ''}"

    def cell(self, quantity: str, depth: int, text: str) -> str:
        """Return the text of a number, or the sign of one that was not measured, or nothing.

        Of an accuracy with the step size that it takes.
        """
        measured = self.accuracy if quantity == ACCURACY else self.gradient
        if depth in measured:
            rate = f" ({self.rates[depth]:g})" if quantity == ACCURACY else ""
            return format(measured[depth], text) + rate
        return tables.NOT_MEASURED if depth in self.missing.get(quantity, ()) else ""


def cases(
    rows: pl.DataFrame, theory: dict[str, pl.DataFrame], missing: Missing = NOTHING
) -> list[Case]:
    """Return the remedies of a run in numbers."""
    searched, found, unmeasured = rates.searched(rows, missing), [], gaps(rows, missing)
    middle = medians(searched)
    for remedy in remedies_of(rows, missing):
        gradient, distance, accuracy = (numbers(middle, remedy, q) for q in QUANTITIES)
        gradient_theory, distance_theory = (
            dict(theory[remedy].select("depth", q).iter_rows()) if remedy in theory else {}
            for q in (GRADIENT, DISTANCE)
        )
        without = {q: unmeasured[remedy, q] for q in QUANTITIES if (remedy, q) in unmeasured}
        of = searched.filter(pl.col("remedy") == remedy, pl.col("quantity") == ACCURACY)
        best = dict(of.select("depth", "rate").iter_rows())
        theories = gradient_theory, distance_theory
        errors = {
            (quantity, depth): math.nan if error is None else error
            for quantity, depth, error in middle.filter(pl.col("remedy") == remedy)
            .select("quantity", "depth", "error")
            .iter_rows()
        }
        found.append(Case(remedy, gradient, distance, accuracy, *theories, without, best, errors))
    return found


def sentence(case: Case) -> str:
    """Return what happens to gradient and correlation, and which accuracy that leaves."""
    parts = []
    if case.gradient:
        depth = max(case.gradient)
        parts += [_gradient(case, depth), _correlation(case, depth)]
    if case.accuracy:
        by_depth = [f"{value:.2f} at {depth}" for depth, value in case.accuracy.items()]
        steps = [f"{case.rates[depth]:g}" for depth in case.accuracy]
        sizes = "step sizes" if len(steps) > 1 else "step size"
        parts.append(
            f"training accuracy {', '.join(by_depth)} layers, with {sizes} {', '.join(steps)}"
        )
    for quantity, depths in case.missing.items():
        if quantity != DISTANCE:  # which is measured with the gradient
            what = "accuracy" if quantity == ACCURACY else "gradient and correlation"
            at = ", ".join(map(str, sorted(depths)))
            parts.append(f"{what} not measured at {at} layers")
    return f"{case.name}: {'; '.join(parts)}"


def _gradient(case: Case, depth: int) -> str:
    decades = case.gradient[depth]
    if not math.isfinite(decades):
        return f"no finite gradient over {counted(depth, 'layer')}"
    word = "steady" if abs(decades) <= STEADY else "vanishing" if decades < 0 else "exploding"
    each = decades / max(depth - 1, 1)
    theory = case.by_theory(GRADIENT, depth, _signed)
    return (
        f"{word} gradient, {_signed(decades)} decades over {counted(depth, 'layer')}{theory}, "
        f"{_signed(each)} a layer"
    )


def _signed(value: float) -> str:
    """A number in two digits, or whole; 0 if it is rounding."""
    if abs(value) < ROUNDING:
        return "0"
    return f"{value:+.2g}" if abs(value) < 10 else f"{value:+.0f}"


def _correlation(case: Case, depth: int) -> str:
    far = case.distance[depth]
    if math.isnan(far):
        return "no correlation of examples, which are zero in a layer or leave the range"
    theory = case.by_theory(DISTANCE, depth, _small)
    return f"examples {'alike' if far < ALIKE else 'apart'}, 1 - correlation {_small(far)}{theory}"


def _small(value: float) -> str:
    if value < LEAST:
        return f"below {LEAST:.0e}"
    return f"{value:.2f}" if not value < 0.01 else f"{value:.0e}"


def summary(found: Sequence[Case], chance: float) -> str:
    """Say which remedies train at the largest depth, and what ails the others; empty if none.

    What was not measured at that depth is named as that.
    """
    deepest = max((depth for case in found for depth in case.accuracy), default=0)
    enough = chance + TRAINED * (1 - chance)
    here = [case for case in found if deepest in case.accuracy]
    if not here:
        return ""
    cured = [case.name for case in here if case.accuracy[deepest] >= enough]
    ill = [f"{c.name} ({ailment(c, deepest)})" for c in here if c.accuracy[deepest] < enough]
    unknown = [case.name for case in found if deepest in case.missing.get(ACCURACY, ())]
    none = "none that was measured" if unknown else "none"
    words = (
        f"{deepest} layers train with: {'; '.join(cured) or none}. "
        f"They do not with: {'; '.join(ill) or none}."
    )
    return f"{words} Not measured: {'; '.join(unknown)}." if unknown else words


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


def table(rows: pl.DataFrame, missing: Missing = NOTHING) -> Table:
    """Return gradient and correlation of the deepest networks, and accuracy by depth.

    Of a network of the user's own, what `report_of_user.table` returns.
    """
    if report_of_user.is_own(rows):
        return report_of_user.table(rows, missing)
    middle, unmeasured = medians(rates.searched(rows, missing)), gaps(rows, missing)
    trained = set(rows.filter(pl.col("quantity") == ACCURACY)["depth"])
    trained |= {d for (_, q), found in unmeasured.items() if q == ACCURACY for d in found}
    depths = sorted(trained)
    while len(depths) > MOST_DEPTHS:
        depths = tables.fitting(depths, MOST_DEPTHS)
    drawn = rows.filter(pl.col("quantity") == GRADIENT)["depth"].to_list()
    deepest = max(drawn, default=0)
    title = TITLE.format(deepest or "–")
    printed = tables.table(title, "remedy", "decades", "1 - c", *map(str, depths), width=20)
    for remedy in remedies_of(rows, missing):
        first = (numbers(middle, remedy, q).get(deepest) for q in (GRADIENT, DISTANCE))
        gradient, far = first
        accuracy = numbers(middle, remedy, ACCURACY)
        drawn_at = unmeasured.get((remedy, GRADIENT), set())
        absent = tables.NOT_MEASURED if deepest in drawn_at or not deepest else ""
        trained_at = unmeasured.get((remedy, ACCURACY), set())
        printed.add_row(
            name_of(remedy),
            absent if gradient is None else _decades(gradient),
            absent if far is None else "–" if math.isnan(far) else f"{far:.2g}",
            *(
                f"{accuracy[depth]:.2f}"
                if depth in accuracy
                else tables.NOT_MEASURED * (depth in trained_at)
                for depth in depths
            ),
        )
    return printed


def _decades(value: float) -> str:
    """Return a gradient's decades for the table, and a dash for 0/0."""
    words = {math.inf: "infinite", -math.inf: "zero"}
    return "–" if math.isnan(value) else words.get(value, f"{value:+.2f}")


def compare(runs: list[pl.DataFrame]) -> list[pl.DataFrame]:
    """Return the medians of each run, by remedy and quantity, and depth.

    Of networks of the user's own, what `report_of_user.compare` returns.
    """
    if all(map(report_of_user.is_own, runs)):
        return report_of_user.compare(runs)
    names, best = ("remedy", "quantity"), (rates.searched(rows, NOTHING) for rows in runs)
    return [comparison(medians(rows), names, "depth", "value", rows) for rows in best]
