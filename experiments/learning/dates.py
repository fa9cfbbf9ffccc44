"""Dates and times as people write them: 2020-01-31, 31.01.2020, 1/31/20 1:30 PM, 31 Jan 2020.

`entries -> day, month and year in an order that fits all of them -> dates, or times in UTC`. Of
03/04/2020 nobody knows the month: if no other entry of the column tells, the user is asked.
"""

import polars as pl

from experiments.learning.words import argument, quoted

ORDERS = ("day-first", "month-first")
YEAR_FIRST = r"^([0-9]{4})([-/.])([0-9]{1,2})([-/.])([0-9]{1,2})(?:[ T]+(\S.*))?$"
YEAR_LAST = r"^([0-9]{1,2})([-/.])([0-9]{1,2})([-/.])([0-9]{4}|[0-9]{2})(?:,?[ T]+(\S.*))?$"
WORDS = (
    *("%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%d. %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y"),
    *("%d %b %y", "%d-%b-%y"),
)
CLOCKS = ("%H:%M:%S%.f", "%H:%M", "%I:%M %p", "%I:%M:%S %p", "%I:%M%p")
ZONE = r"^(.*[0-9])\s*(?:Z|UTC|GMT|([+-](?:0[0-9]|1[0-4]))(?::?([0-9][0-9]))?)$"
PIVOT = 69  # of years of two digits, as POSIX has it: 69 is 1969, and 68 is 2068


def dated(entries: pl.Series, order: str | None) -> tuple[pl.Series, str] | None:
    """Return texts as dates or times and a remark on how they are read; None if one is neither.

    Raises:
        ValueError: nothing tells the day from the month.
    """
    first = entries.drop_nulls()[0]
    if not any(c.isdigit() for c in first):
        return None
    parts = entries.str.extract_groups(YEAR_FIRST).struct.unnest()
    if parts["1"].null_count() == entries.null_count():
        found = _moments(parts["1"], parts["3"], parts["5"], parts["6"], entries)
        if found is None or found[1] == "":
            return found
        return found[0], f"{found[1]} {_example(entries, found[0])}"
    parts = entries.str.extract_groups(YEAR_LAST).struct.unnest()
    if parts["1"].null_count() != entries.null_count():
        return _in_words(entries)
    if len({*parts["2"].drop_nulls(), *parts["4"].drop_nulls()}) > 1:
        return None
    # An order fits if what would be the month is at most 12 everywhere. If both fit, dots decide,
    # for nobody writes the month first with them, or a day that is the month's number everywhere.
    one, two = parts["1"].cast(pl.Int64), parts["3"].cast(pl.Int64)
    may = {  # which of the two is the day
        "day-first": bool((two.drop_nulls() <= 12).all()),
        "month-first": bool((one.drop_nulls() <= 12).all()),
    }
    fitting = [name for name in ORDERS if may[name] and order in (None, name)]
    if not fitting:
        return None
    dots = parts["2"].drop_nulls()[0] == "."
    if len(fitting) == 2 and not dots and not bool((one == two).drop_nulls().all()):
        place = int((one != two).fill_null(False).arg_max() or 0)
        raise ValueError(
            f"column {quoted(entries.name)} has dates such as {quoted(entries[place])}; say "
            f"--dates day-first or --dates month-first, or take the column as texts with --texts "
            f"{argument(entries.name)}"
        )
    day, month = (one, two) if fitting[0] == "day-first" else (two, one)
    short = parts["5"].cast(pl.Int64)
    is_short = parts["5"].str.len_chars() == 2
    century = pl.select(pl.when(short < PIVOT).then(2000).otherwise(1900)).to_series()
    year = pl.select(pl.when(is_short).then(short + century).otherwise(short)).to_series()
    found = _moments(year, month, day, parts["6"], entries)
    if found is None:
        return None
    zone = f"; {found[1]}" if found[1] else ""
    return found[0], f"dates are {fitting[0]} {_example(entries, found[0])}{zone}"


def _moments(
    year: pl.Series, month: pl.Series, day: pl.Series, clock: pl.Series, entries: pl.Series
) -> tuple[pl.Series, str] | None:
    """Return dates, or times if there are clocks, and what is said of their zones."""
    frame = pl.DataFrame(
        {"y": year.cast(pl.Int64), "m": month.cast(pl.Int64), "d": day.cast(pl.Int64)}
    )
    iso = frame.select(
        pl.format(
            "{}-{}-{}",
            *(pl.col(n).cast(pl.String).str.zfill(w) for n, w in (("y", 4), ("m", 2), ("d", 2))),
        )
    ).to_series()
    days = iso.str.to_date("%Y-%m-%d", strict=False).alias(entries.name)
    if days.null_count() != entries.null_count() or bool((year.cast(pl.Int64) < 1).any()):
        return None  # Python, too, counts years from 1
    if clock.null_count() == len(clock):
        return days, ""
    zones = clock.str.extract_groups(ZONE).struct.unnest()
    zoned = zones["1"].is_not_null()
    local = (
        pl.select(pl.when(zoned).then(zones["1"]).otherwise(clock)).to_series().str.to_uppercase()
    )
    for form in CLOCKS:
        whole = iso + " " + local
        times = whole.str.to_datetime(f"%Y-%m-%d {form}", strict=False, time_unit="us")
        if times.null_count() == entries.null_count():
            break
    else:
        return None
    if zoned.any() and not zoned.filter(clock.is_not_null()).all():
        return None  # of the others nobody knows the zone
    hours, minutes = zones["2"].fill_null("+0"), zones["3"].fill_null("0").cast(pl.Int64)
    west = hours.str.starts_with("-")
    offset = (
        hours.cast(pl.Int64) * 60
        + pl.select(pl.when(west).then(-minutes).otherwise(minutes)).to_series()
    )
    times = times - (offset * 60_000_000).cast(pl.Duration("us"))
    said = "times with a zone are read in UTC" if zones["2"].is_not_null().any() else ""
    return times.alias(entries.name), said


def _in_words(entries: pl.Series) -> tuple[pl.Series, str] | None:
    if not entries.str.contains(r"[A-Za-z]").fill_null(True).all():
        return None
    for form in WORDS:
        days = entries.str.to_date(form, strict=False)
        early = days.dt.year() < 100  # a year of two digits, which %Y takes too
        if days.null_count() == entries.null_count() and not early.any():
            return days, f"dates are read {_example(entries, days)}"
    return None


def _example(entries: pl.Series, values: pl.Series) -> str:
    i = int(entries.is_not_null().arg_max() or 0)
    return f"in {quoted(entries.name)}, {quoted(entries[i])} as {values[i]}"
