"""Numbers as people write them: 45%, $1,234.50, 1.234,50 €, (12), 12 kg, −5, 1'000.

`entries -> affixes that all of them share, signs, digits -> decimal sign and thousands separator
that fit all of them -> numbers`. A column is read so only if every entry is such a number, with one
unit; which of two readings fits, 1,500 as 1500 or as 1.5, is told by other columns or by the user.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import polars as pl

from experiments.learning.words import argument, listed, quoted

THOUSANDS = (",", ".", "'", " ", "_")
CODES = (
    *("USD", "EUR", "GBP", "CHF", "JPY", "CNY", "INR", "CAD", "AUD", "NZD", "BRL", "MXN", "ZAR"),
    *("SEK", "NOK", "DKK", "PLN", "CZK", "HUF", "RON", "TRY", "KRW", "SGD", "HKD", "THB", "ILS"),
)
MARK = rf"[A-Za-z]{{0,3}}\p{{Sc}}|(?:{'|'.join(CODES)})\b"
# Of an entry: a bracket or a sign, a currency, digits, a unit, and the end of what was begun.
ENTRY = (
    rf"^(?P<open>\()?\s*(?P<sign>[-+])?\s*(?P<before>{MARK})?\s*(?P<inner>[-+])?\s*"
    r"(?P<digits>(?:[0-9][0-9.,'_ ]*[0-9][.,]?|[0-9][.,]?|[.,][0-9]+)(?:[eE][-+]?[0-9]+)?)\s*"
    r"(?P<after>[\p{L}%‰°\p{Sc}][^0-9,;()]{0,14}[23]?)?\s*(?P<close>\))?(?P<minus>-)?$"
)
MINUS = "[\u2010-\u2013\u2212]"  # hyphens, the minus, and the dash that stands for it


class Form(NamedTuple):
    """Signs in the digits of a column: the decimal one and the thousands separator, if used."""

    decimal: str | None
    thousands: str | None


class Written(NamedTuple):
    """A column of numbers with signs and units taken off.

    name: of the column.
    entries: as they are in the file.
    digits: of each entry, with separators.
    negative: whether each is below 0.
    forms: the readings that fit all of them.
    """

    name: str
    entries: pl.Series
    digits: pl.Series
    negative: pl.Series
    forms: tuple[Form, ...]

    @property
    def usual(self) -> bool:
        """Tell whether programs write them so, too, but for the decimal sign."""
        return bool(self.entries.str.contains(r"^[-+]?[0-9.,eE+-]+$").fill_null(True).all())

    @property
    def certain(self) -> str | None:
        """The decimal sign, if it is used and there is one reading."""
        return self.forms[0].decimal if len(self.forms) == 1 else None

    def numbers(self, form: Form) -> pl.Series:
        """Return the numbers in one of the readings, integers if all of them are."""
        plain = self.digits
        if form.thousands:
            plain = plain.str.replace_all(form.thousands, "", literal=True)
        if form.decimal == ",":
            plain = plain.str.replace(",", ".", literal=True)
        values = plain.cast(pl.Float64)
        if values.is_not_null().any():
            whole = plain.cast(pl.Int64, strict=False)
            values = whole if whole.null_count() == values.null_count() else values
        signed = pl.when(self.negative).then(-values).otherwise(values)
        return pl.select(signed.alias(self.name)).to_series()

    def example(self) -> int:
        """The place of an entry that shows most of how they are written."""
        length = self.entries.str.len_chars().fill_null(0)
        return int((length + 100 * self.negative.fill_null(False).cast(pl.Int64)).arg_max() or 0)


def parts(entries: pl.Series) -> pl.DataFrame | None:
    """Return the parts of each entry; None if one is no number."""
    plain = (
        entries.str.normalize("NFKC")  # of wide digits, and of spaces that do not break
        .str.replace_all(MINUS, "-")
        .str.replace_all("\u2019", "'", literal=True)
        .str.strip_chars()
    )
    found = plain.str.extract_groups(ENTRY).struct.unnest()
    return found if found["digits"].null_count() == entries.null_count() else None


def written(entries: pl.Series, decimal: str | None, thousands: str | None) -> Written | None:
    """Return a column as numbers that are still to be read; None if it holds something else."""
    found = parts(entries)
    if found is None or entries.null_count() == len(entries):
        return None
    there = found.filter(entries.is_not_null())
    signs = there.select(
        pl.sum_horizontal(pl.col("open", "sign", "inner", "minus").is_not_null()).alias("n"),
        (pl.col("open").is_null() == pl.col("close").is_null()).alias("closed"),
    )
    same = all(there[name].n_unique() == 1 for name in ("before", "after"))
    if not same or int(signs["n"].max() or 0) > 1 or not signs["closed"].all():  # type: ignore[arg-type]
        return None
    forms = _forms(there["digits"], decimal, thousands)
    if not forms:
        return None
    negative = found.select(
        pl.any_horizontal(
            pl.col("open", "minus").is_not_null(), (pl.col("sign", "inner") == "-").fill_null(False)
        )
    ).to_series()
    return Written(entries.name, entries, found["digits"], negative, forms)


def _forms(digits: pl.Series, decimal: str | None, thousands: str | None) -> tuple[Form, ...]:
    """Return the readings that fit all digits, each once."""
    forms: dict[Form, None] = {}
    for sign in (decimal,) if decimal else (".", ","):
        for separator in (None, *THOUSANDS):
            if (
                separator == sign
                or sign == thousands
                or (thousands and separator not in (None, thousands))
            ):
                continue
            # Digits in groups of three after the first, or of two and then three as in India; else
            # plain ones. A reading counts if it fits all entries and uses its separator.
            d = re.escape(sign)
            plain = rf"^(?:[0-9]+(?:{d}[0-9]*)?|{d}[0-9]+)(?:[eE][-+]?[0-9]+)?$"
            fits = digits.str.contains(plain)
            if separator is not None:
                if not digits.str.contains(separator, literal=True).any():
                    continue
                t = re.escape(separator)
                lakhs = rf"[1-9][0-9]?(?:{t}[0-9][0-9])+{t}[0-9]{{3}}"
                fits |= digits.str.contains(
                    rf"^(?:[1-9][0-9]{{0,2}}(?:{t}[0-9]{{3}})+|{lakhs})(?:{d}[0-9]*)?$"
                )
            if fits.all():
                used = digits.str.contains(sign, literal=True).any()
                forms[Form(sign if used else None, separator)] = None
    if thousands is not None and any(form.thousands == thousands for form in forms):
        return tuple(form for form in forms if form.thousands == thousands)
    return tuple(forms)


def resolved(column: Written, signs: Iterable[str | None]) -> Form:
    """Return the reading of a column that agrees with the decimal signs of other columns.

    Raises:
        ValueError: commas that may be of thousands or decimals, and nothing that tells.
    """
    if len(column.forms) == 1:
        return column.forms[0]
    others = set(signs)
    if len(others) == 1:
        (sign,) = others
        for form in column.forms:
            if form.decimal == sign or (form.decimal is None and form.thousands != sign):
                return form
    points = [form for form in column.forms if form.decimal == "."]
    if points:
        return points[0]
    example = column.entries.filter(column.digits.str.contains(",", literal=True).fill_null(False))[
        0
    ]
    of = {
        form: column.numbers(form)[int(column.entries.index_of(example) or 0)]
        for form in column.forms
    }
    words = [
        f"--thousands {form.thousands} if that is {value:g}"
        if form.thousands
        else f"--decimal {form.decimal} if it is {value:g}"
        for form, value in sorted(of.items(), key=lambda item: item[0].thousands is None)
    ]
    raise ValueError(
        f"column {quoted(column.name)} has numbers such as {quoted(example)}; say "
        f"{', or '.join(words)}, or take the column as texts with --texts {argument(column.name)}"
    )


def remark(columns: Sequence[tuple[Written, pl.Series]]) -> list[str]:
    """Say how columns of numbers are read, by an example of each."""
    words = []
    for column, values in columns:
        i = column.example()
        words.append(f"{quoted(column.name)} {quoted(column.entries[i])} as {values[i]:.12g}")
    return [f"numbers are read as people write them: {listed(words, 6)}"] if words else []
