"""The cures in words: means over seeds at the best step size of each, next to theory, and a table.

A mean has its standard error; that of logarithms is the logarithm of a geometric mean.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

import polars as pl
from rich.table import Table

from experiments.cures.columns import (
    ACCURACY,
    BEFORE,
    DELTA,
    DISTANCE,
    DTYPES,
    GRADIENT,
    LOSS,
    NONE,
    OF_ARTICLE,
    RIVALS,
)
from experiments.cures.cures_theory import LEAST, Predicted
from experiments.cures.remedies import REMEDIES
from experiments.learning.words import errors_off
from experiments.pages import tables
from experiments.runs.missing import NOTHING, Missing
from jaxnn.texts import counted

TITLE = "log₁₀ of the first layer's gradient over the last one's, and what training reaches"
LINE = ["network", "framework", "change"]
TRAINED = 0.5  # of the way from chance to a perfect accuracy
ROUNDING = 1e-6  # decades
MOST_DEPTHS = 5  # of accuracies in the table


class Mean(NamedTuple):
    """A mean over seeds with its standard error, nan of one seed, and the best step size."""

    value: float
    error: float = math.nan
    rate: float | None = None
    seeds: int = 1

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "no number"
        error = "" if math.isnan(self.error) else f" ± {self.error:.2g}"
        return f"{self.value:.3g}{error}"


@dataclass
class ChangeRow:
    """A change of a network: known means and missing measurements, by quantity and depth."""

    network: str
    framework: str
    change: str
    advice: str = ""
    at: dict[tuple[str, int], Mean] = field(default_factory=dict)
    missing: set[tuple[str, int]] = field(default_factory=set)

    @property
    def is_of_article(self) -> bool:
        """True of a remedy of the article."""
        return self.network == OF_ARTICLE

    @property
    def name(self) -> str:
        """The name in charts and tables."""
        return REMEDIES[self.change].name if self.is_of_article else self.change

    def of(self, quantity: str) -> dict[int, Mean]:
        """Return a quantity by depth."""
        return {depth: mean for (name, depth), mean in self.at.items() if name == quantity}

    @property
    def accuracy(self) -> Mean:
        """The accuracy at the largest depth; nan if there is none."""
        return max(self.of(ACCURACY).items(), default=(0, Mean(math.nan)))[1]


def at_best(rows: pl.DataFrame, missing: Missing = NOTHING) -> pl.DataFrame:
    """Return the flows, and the trainings with the best step size, if all were tried.

    The best is that with the largest accuracy, or the least loss where there is none, in the mean
    over seeds; one without a finite number is the worst, of equal ones the smallest is taken.
    log10_delta becomes relative to that of the last layer.
    """
    by, value, is_flow = [*LINE, "depth"], pl.col("value"), pl.col("rate").is_null()
    aim = ACCURACY if ACCURACY in rows["quantity"] else LOSS
    worth = value if aim == ACCURACY else -value
    best = (
        rows.filter(~is_flow, quantity=aim)
        .group_by(*by, "rate")
        .agg(pl.when(value.is_finite()).then(worth).otherwise(-math.inf).mean().alias("worth"))
        .sort("worth", "rate", descending=[True, False])
        .unique(by, keep="first", maintain_order=True)
    )
    left = missing.rows(rows, *by, "quantity").filter(quantity=ACCURACY)
    trained = rows.join(best, on=[*by, "rate"], how="semi").join(left, on=by, how="anti")
    top = value.sort_by("layer").last().over(*LINE, "seed")
    deltas = rows.filter(quantity=DELTA).with_columns(value=value - top)
    whole = deltas.filter(layer=1).with_columns(
        quantity=pl.lit(GRADIENT), layer=pl.lit(None, pl.Int64)
    )
    return pl.concat([rows.filter(is_flow, pl.col("quantity") != DELTA), whole, deltas, trained])


def means(rows: pl.DataFrame) -> pl.DataFrame:
    """Return a row for the seeds of each number: their mean, least and most, and its error."""
    value, by = pl.col("value"), [n for n in DTYPES if n not in ("seed", "value", "advice")]
    return rows.group_by(by, maintain_order=True).agg(
        pl.col("advice").first(),
        value.mean(),
        value.min().alias("least"),
        value.max().alias("most"),
        (value.std() / value.count().sqrt()).fill_null(math.nan).alias("error"),
        value.count().alias("seeds"),
    )


def lines(rows: pl.DataFrame, missing: Missing = NOTHING) -> list[ChangeRow]:
    """Return a line a change of a network, remedies in their order, a network as it is first."""
    found: dict[tuple[str, str, str], ChangeRow] = {}
    for row in means(at_best(rows, missing)).filter(pl.col("layer").is_null()).to_dicts():
        key = row["network"], row["framework"], row["change"]
        line = found.setdefault(key, ChangeRow(*key, row["advice"] or ""))
        line.at[row["quantity"], row["depth"]] = Mean(
            *(row[name] for name in ("value", "error", "rate", "seeds"))
        )
    for place in missing.rows(rows, *LINE, "quantity", "depth").to_dicts():
        key = place["network"], place["framework"], place["change"]
        found.setdefault(key, ChangeRow(*key)).missing.add((place["quantity"], place["depth"]))
    networks, remedies = list(dict.fromkeys(key[:2] for key in found)), list(REMEDIES)

    def order(line: ChangeRow) -> tuple[int, int]:
        is_changed = line.change != BEFORE  # in the order of the rows: the best cure first
        at = remedies.index(line.change) if line.is_of_article else is_changed
        return networks.index((line.network, line.framework)), at

    return sorted(found.values(), key=order)


def by_network(of: Sequence[ChangeRow]) -> Iterator[tuple[tuple[str, str], list[ChangeRow]]]:
    """Yield the lines of each network in each framework."""
    for key, group in groupby(of, lambda line: (line.network, line.framework)):
        yield key, list(group)


def sentences(
    of: Sequence[ChangeRow], predicted: Mapping[str, Predicted], chance: float
) -> list[str]:
    """Return what is known of each line, and of all of them together."""
    if of and of[0].is_of_article:
        said = [_sentence(line, predicted.get(line.change, {})) for line in of]
        return [*said, *_trains(of, chance)]
    networks = dict(by_network(of))
    return [*map(_sentence, of)] * (len(networks) == 1) + [*_cured(of)]


def _sentence(line: ChangeRow, theory: Predicted = {}) -> str:  # noqa: B006
    parts = []
    for quantity, text in ((GRADIENT, _decades), (DISTANCE, _small)):
        if known := line.of(quantity):
            depth = max(known)
            value, mean = theory.get((quantity, depth)), known[depth]
            over = f"gradient {text(mean.value)} over {counted(depth, 'layer')}"
            parts.append(over if quantity == GRADIENT else f"1 - correlation {text(mean.value)}")
            if value is not None and not math.isnan(value):
                off = errors_off(mean.value, value, mean.error, mean.seeds)
                parts[-1] += f", in theory {text(value)}{f' ({off})' if off else ''}"
            elif value is not None and quantity == GRADIENT:
                parts[-1] += ", in theory unknown: the formula of this width has no number"
    for quantity in (ACCURACY, LOSS):
        if known := line.of(quantity):
            form = "{0.value:.2f} at {1}" if line.is_of_article else "{0} at {1}"
            at = [form.format(mean, depth) for depth, mean in known.items()]
            rates = ", ".join(f"{mean.rate:g}" for mean in known.values())
            parts.append(f"training {quantity} {', '.join(at)} layers, step size {rates}")
    for quantity, what in ((GRADIENT, "gradient and correlation"), (ACCURACY, "accuracy")):
        depths = sorted(depth for name, depth in line.missing if name == quantity)
        if depths and line.is_of_article:
            parts.append(f"{what} not measured at {', '.join(map(str, depths))} layers")
    parts += ["not measured"] if line.missing and not line.is_of_article else []
    return f"{line.name}: {'; '.join(parts)}{'. ' * bool(line.advice and parts)}{line.advice}"


def _decades(value: float) -> str:
    """Return a logarithm in words, in two digits or whole; 0 if it is rounding."""
    if not math.isfinite(value):
        return {math.inf: "infinite", -math.inf: "zero"}.get(value, "without a number")
    if abs(value) < ROUNDING:
        return "0 decades"
    return f"{value:+.2g} decades" if abs(value) < 10 else f"{value:+.0f} decades"


def _small(value: float) -> str:
    if not value >= LEAST:
        return "without a number" if math.isnan(value) else f"below {LEAST:.0e}"
    return f"{value:.2f}" if value >= 0.01 else f"{value:.0e}"


def _trains(of: Sequence[ChangeRow], chance: float) -> Iterator[str]:
    """Say which remedies train at the largest depth, and which do not; nothing if none was."""
    deepest = max((depth for line in of for depth in line.of(ACCURACY)), default=0)
    here = {x.name: x.at[ACCURACY, deepest].value for x in of if deepest in x.of(ACCURACY)}
    unknown = [line.name for line in of if (ACCURACY, deepest) in line.missing]
    enough = chance + TRAINED * (1 - chance)
    if here:
        said = {
            f"{deepest} layers train with": [name for name in here if here[name] >= enough],
            "They do not with": [name for name in here if not here[name] >= enough],
            "Not measured": unknown,
        }
        yield " ".join(
            f"{words}: {'; '.join(names) or 'none'}."
            for words, names in said.items()
            if names or words != "Not measured"
        )


def _cured(of: Sequence[ChangeRow]) -> Iterator[str]:
    """Yield what the first cure of each network reaches, as it is and next to its best rival."""
    held = []
    for (network, framework), group in by_network(of):
        first, best = first_cure(group), best_rival(of, network)
        parts = {"as it is": group[0]}
        parts |= {f"cured by {first.change}": first} if first is not group[0] else {}
        parts |= {f"by {best.change} in {best.framework}": best} if best else {}
        trained = {word: line.accuracy for word, line in parts.items() if line.of(ACCURACY)}
        if len(trained) > 1:
            reached = ", ".join(f"{mean} {word}" for word, mean in trained.items())
            yield f"{network} in {framework}: accuracy {reached}"
        held += [is_within(first.accuracy, best.accuracy)] if best else []
    if held:
        yield (
            "The first cure is within one standard error of the best rival on "
            f"{sum(held)} of {counted(len(held), 'network')}."
        )


def first_cure(group: Sequence[ChangeRow]) -> ChangeRow:
    """Return the best change of a network in a framework; where none works, it as it is."""
    made = [line for line in group if line.change not in (BEFORE, NONE, *RIVALS) and line.at]
    return (made or group)[0]


def best_rival(of: Sequence[ChangeRow], network: str) -> ChangeRow | None:
    """Return what trains best of the rivals of a network, in any framework."""
    rivals = [x for x in of if x.network == network and x.change in RIVALS and x.of(ACCURACY)]
    known = [line for line in rivals if not math.isnan(line.accuracy.value)]
    return max(known, key=lambda line: line.accuracy.value, default=None)


def is_within(cure: Mean, best: Mean) -> bool:
    """Tell whether an accuracy is at most a standard error of the difference below another."""
    error = math.hypot(*(0 if math.isnan(mean.error) else mean.error for mean in (cure, best)))
    return cure.value >= best.value - error


def table(rows: pl.DataFrame, missing: Missing = NOTHING) -> Table:
    """Return a line a change: the gradient, and what is reached; of remedies by depth."""
    of = lines(rows, missing)
    known = {at for line in of for at in (*line.at, *line.missing)}
    heads: list[tuple[str, str, int | None]] = [("decades", GRADIENT, None)]
    if of[0].is_of_article:
        deepest = max((depth for quantity, depth in known if quantity == GRADIENT), default=0)
        heads = [(f"decades at {deepest}", GRADIENT, deepest), ("1 - c", DISTANCE, deepest)]
    depths = sorted(depth for quantity, depth in known if quantity == ACCURACY)
    while len(depths) > MOST_DEPTHS:
        depths = tables.fitting(depths, MOST_DEPTHS)
    if of[0].is_of_article:
        heads += [(str(depth), ACCURACY, depth) for depth in depths]
    else:
        heads += [("loss", LOSS, None), ("accuracy", ACCURACY, None)]
    shown = tables.table(TITLE, "change", *(head for head, *_ in heads), width=40)
    for (network, framework), group in by_network(of):
        if not of[0].is_of_article:
            shown.add_row(f"{network} ({framework})")
        for line in group:
            shown.add_row(line.name, *(_cell(line, quantity, at) for _, quantity, at in heads))
    return shown


def _cell(line: ChangeRow, quantity: str, at: int | None) -> str:
    """Return a number for the table, a dash for 0/0, or the sign of one that was not measured."""
    depth = next(iter(line.of(quantity)), 0) if at is None else at
    if (quantity, depth) not in line.at:
        gaps = line.missing if at is None else line.missing & {(quantity, depth)}
        return tables.NOT_MEASURED if gaps else ""
    mean = line.at[quantity, depth]
    if at is None and quantity != GRADIENT:
        return str(mean)
    words = {math.inf: "infinite", -math.inf: "zero"}
    form = {GRADIENT: "+.2f", DISTANCE: ".2g"}.get(quantity, ".2f")
    return "–" if math.isnan(mean.value) else words.get(mean.value, format(mean.value, form))
