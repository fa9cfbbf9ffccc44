"""The remedies in words: each with its best step size, and where the first cure is not the best."""

from typing import NamedTuple

import numpy as np
import polars as pl
from rich.table import Table

from experiments.pages import tables
from experiments.remedies.rivals.rivals import CURE, PLAIN
from experiments.runs.comparison import comparison
from experiments.runs.missing import NOTHING, Missing

TITLE = "the first cure and the best remedy known: accuracy after training"


class Reached(NamedTuple):
    """The accuracy of a remedy with its best step size, the mean over seeds, and its error.

    change: the kind of change that the first cure is; "" of other remedies.
    """

    remedy: str
    mean: float
    error: float
    change: str = ""

    def __str__(self) -> str:
        return f"{self.mean:.3f} ± {self.error:.3f}"


class Comparison(NamedTuple):
    """The accuracy of the first cure of a network beside that of all other remedies.

    reached: what each reaches, the best first.
    """

    network: str
    framework: str
    step: int
    reached: tuple[Reached, ...]

    def reached_by(self, remedy: str) -> Reached:
        """Return what a remedy reaches."""
        return next(one for one in self.reached if one.remedy == remedy)

    @property
    def cure(self) -> Reached:
        """The result of the first cure."""
        return self.reached_by(CURE)

    @property
    def others(self) -> list[Reached]:
        """The remedies known, the best first."""
        return [one for one in self.reached if one.remedy not in (CURE, PLAIN)]

    @property
    def best(self) -> Reached:
        """The best of the remedies known."""
        return self.others[0]

    @property
    def holds(self) -> bool:
        """True if the first cure is within one standard error of the difference of the best."""
        error = np.hypot(self.cure.error, self.best.error)
        return bool(self.cure.mean >= self.best.mean - error)


def reached(rows: pl.DataFrame) -> list[Reached]:
    """Return what each remedy reaches in rows of one network and length, the best first."""
    made = []
    for (remedy,), group in rows.group_by("remedy", maintain_order=True):
        means = group.group_by("rate").agg(pl.col("accuracy").mean()).sort("accuracy", "rate")
        rate = means["rate"][-1]
        values = group.filter(rate=rate)["accuracy"].to_numpy()
        error = float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0
        made.append(Reached(str(remedy), float(np.mean(values)), error, group["change"][0]))
    known = [one for one in made if not np.isnan(one.mean)]
    return sorted(known, key=lambda one: -one.mean)


def comparisons(rows: pl.DataFrame) -> list[Comparison]:
    """Return the networks whose remedies were all trained, for each length."""
    made = []
    count = rows["remedy"].n_unique()
    keys = ("network", "framework", "step")
    for (network, framework, step), group in rows.group_by(keys, maintain_order=True):
        one = Comparison(network, framework, step, tuple(reached(group)))
        is_whole = group["remedy"].n_unique() == count
        if is_whole and CURE in [each.remedy for each in one.reached] and one.others:
            made.append(one)
    return made


def verdicts(rows: pl.DataFrame) -> list[str]:
    """Return on how many networks the first cure holds, and its mean with those of the others."""
    said = []
    every = comparisons(rows)
    for step in sorted({one.step for one in every}):
        these = [one for one in every if one.step == step]
        held = sum(one.holds for one in these)
        ranked = ", ".join(f"{name} {mean:.3f}" for name, mean in means(these).items())
        said.append(
            f"after {step} steps the first cure is within one standard error of the best remedy "
            f"known on {held} of {len(these)} networks; means: {ranked}"
        )
    return said


def means(compared: list[Comparison]) -> dict[str, float]:
    """Return the mean of each remedy over the networks on which it has a number, the best first."""
    values: dict[str, list[float]] = {}
    for one in compared:
        for reached in one.reached:
            values.setdefault(reached.remedy, []).append(reached.mean)
    mean = {name: float(np.mean(each)) for name, each in values.items()}
    return dict(sorted(mean.items(), key=lambda item: -item[1]))


def table(rows: pl.DataFrame, missing: Missing = NOTHING) -> Table:
    """Return a line a network and length."""
    heads = ("network", "steps", "first cure", "best known", "by", "")
    shown = tables.table(TITLE, *heads, width=16)
    for one in comparisons(rows):
        sign = "" if one.holds else "lost"
        cells = str(one.cure), str(one.best), one.best.remedy, sign
        shown.add_row(f"{one.network} ({one.framework})", str(one.step), *cells)
    return shown


def compare(runs: list[pl.DataFrame]) -> list[pl.DataFrame]:
    """Return for each run what the first cure and the best remedy known reach."""
    return [
        comparison(
            pl.DataFrame(
                [
                    {"network": one.network, "step": one.step, "remedy": who, "accuracy": of.mean}
                    for one in comparisons(rows)
                    for who, of in ((CURE, one.cure), ("best known", one.best))
                ]
            ),
            ("network", "step"),
            "remedy",
            "accuracy",
        )
        for rows in runs
    ]
