"""Tables with traps: numbers as people write them, no header, an index, a target given away."""

import gzip
import io
import re
import shlex
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from experiments.learning import data, formats, splits

N = 24
ROWS = range(N)
X = [round(np.sin(7 * i), 3) for i in ROWS]
Y = [i * i % 7 % 2 for i in ROWS]


@pytest.fixture
def table(tmp_path):
    """Return a function that writes columns as CSV, or bytes, and reads them as a table."""

    def made(columns, name="t.csv", target="y", **options):
        if isinstance(columns, dict):
            rows = zip(*columns.values(), strict=True)
            lines = [columns, *rows]
            columns = "".join(",".join(f'"{e}"' if "," in str(e) else str(e) for e in line) + "\n"
                              for line in lines)  # fmt: skip
        content = columns.encode() if isinstance(columns, str) else columns
        (tmp_path / name).write_bytes(content)
        return data.table(str(tmp_path / name), data.Options(target=target, **options))

    return made


def noted(made):
    return "; ".join(made.notes)


@pytest.mark.parametrize(
    ("entries", "values", "said"),
    [
        (["45%", "5%"], [45, 5], "'a' '45%' as 45"),
        (["$1,234.50", "$2.25"], [1234.5, 2.25], "'$1,234.50' as 1234.5"),
        (["1.234,50 €", "2,25 €"], [1234.5, 2.25], "'1.234,50 €' as 1234.5"),
        (["1,234,567", "12"], [1234567, 12], "'1,234,567' as 1234567"),
        (["12,34,567", "12"], [1234567, 12], "'12,34,567' as 1234567"),
        (["1 234 567", "12"], [1234567, 12], "'1 234 567' as 1234567"),
        (["1\u202f234", "12"], [1234, 12], "as 1234"),
        (["1'234.5", "12"], [1234.5, 12], "as 1234.5"),
        (["1,500", "2,250"], [1500, 2250], "'1,500' as 1500"),  # beside points in x
        (["12,5", "2,25"], [12.5, 2.25], "'12,5' as 12.5"),
        (["(1,234)", "12"], [-1234, 12], "'(1,234)' as -1234"),
        (["12-", "3"], [-12, 3], "'12-' as -12"),
        (["−12", "3"], [-12, 3], "'−12' as -12"),
        (["-$12", "$3"], [-12, 3], "'-$12' as -12"),
        (["12 kg", "5 kg"], [12, 5], "'12 kg' as 12"),
        (["12 m²", "5 m²"], [12, 5], "'12 m²' as 12"),
        (["USD 12", "USD 5"], [12, 5], "'USD 12' as 12"),
        (["１２", "５"], [12, 5], "as 12"),
        (["12 kg", "300 g"], ["12 kg", "300 g"], "taken as texts, though numbers are in them: 'a'"),
        (["00501", "10001"], [501, 10001], "begin with 0 are read as numbers: 'a' '00501' as 501"),
        (["3" * 41, "2"], [float("3" * 41), 2], ""),
        (["31/12/2020", "01/02/2021"], [date(2020, 12, 31), date(2021, 2, 1)], "day-first in 'a'"),
        (["12/31/20", "1/2/21"], [date(2020, 12, 31), date(2021, 1, 2)], "month-first in 'a'"),
        (["3.4.2020", "5.6.2021"], [date(2020, 4, 3), date(2021, 6, 5)], "'3.4.2020' as 2020-04"),
        (["3 Apr 2020", "5 Jun 2021"], [date(2020, 4, 3), date(2021, 6, 5)], "as 2020-04-03"),
        (["2020-01-01T12:00:00+01:30", "2020-01-02T00:00:00Z"],
         [datetime(2020, 1, 1, 10, 30), datetime(2020, 1, 2)], "in UTC in 'a'"),
        (["31/12/2020 1:05 PM", "1/2/2021 12:00 AM"],
         [datetime(2020, 12, 31, 13, 5), datetime(2021, 2, 1)], "day-first"),
        (["20200131", "20201201"], [20200131, 20201201], "of dates without separators, taken for"),
        (["٥", "٦"], ["٥", "٦"], "taken as texts, though numbers are in them: 'a' such as '٥'"),
        (["0000-01-01", "2020-01-01"], ["0000-01-01", "2020-01-01"], "taken as texts"),
        (["2020-01-01T00:00+99:99", "2020-01-01T00:00Z"],
         ["2020-01-01T00:00+99:99", "2020-01-01T00:00Z"], "taken as texts"),
        (["2020-13-01", "2020-01-01"], ["2020-13-01", "2020-01-01"], "taken as texts"),
        (["10-19", "20-29"], ["10-19", "20-29"], "taken as texts, though numbers are in them"),
    ],
)  # fmt: skip
def test_what_people_write_is_read_and_said(table, entries, values, said):
    made = table({"a": entries * (N // 2), "x": X, "y": Y})
    assert made.frame["a"].to_list() == values * (N // 2)
    assert said in noted(made)


@pytest.mark.parametrize(
    ("columns", "sentence", "ways_out"),
    [
        ({"a": ["1,500", "2,250"]}, "'a' has numbers such as '1,500'; say --thousands , if that is "
         "1500, or --decimal , if it is 1.5, or take", {"thousands": ",", "decimal": ","}),
        ({"a": ["03/04/2020", "05/06/2020"]}, "'a' has dates such as '03/04/2020'; say --dates day",
         {"dates": "day-first"}),
        ({"a": ["3", "oops"] + ["4"] * 10}, "2 texts such as 'oops' among 22 numbers; mend them, ",
         {}),
        ({"a": ["3%", "0.3"]}, "12 texts such as '3%' among 12 numbers; mend them, leave", {}),
    ],
)  # fmt: skip
def test_what_may_be_two_things_is_refused_and_each_way_out_works(
    table, columns, sentence, ways_out
):
    columns = {name: entries * (N // len(entries)) for name, entries in columns.items()}
    columns |= {"x": list(ROWS), "y": Y}
    with pytest.raises(ValueError, match=re.escape(sentence)):
        table(columns)
    for name, value in ways_out.items():
        assert table(columns, **{name: value}).frame["a"].dtype != pl.String
    assert table(columns, texts=("a",)).frame["a"].dtype == pl.String
    assert table(columns, drop=("a",)).frame.columns == ["x"]
    assert table(columns, features=("x",)).frame.columns == ["x"]


def test_thousands_and_decimals_are_told_by_the_user(table):
    columns = {"a": ["1.500", "2.250"] * 12, "x": list(ROWS), "y": Y}
    assert table(columns).frame["a"][0] == 1.5
    assert table(columns, thousands=".").frame["a"][0] == 1500
    lines = "".join(f"1.500;{i};{Y[i]}\n2.250;{i};0\n" for i in ROWS)
    assert table(f"a;x;y\n{lines}").frame["a"][0] == 1.5
    assert table(f"a;x;y\n{lines}", decimal=",").frame["a"][0] == 1500
    other = columns | {"x": ["0,5", "1,5"] * 12}
    assert table(other).frame.row(0) == (1500, 0.5)  # a comma is the decimal sign of that file


def test_numbers_with_a_text_among_them_are_no_classes(table):
    columns = {"x": X, "y": ["oops", *range(1, 8)] * 3}
    with pytest.raises(
        ValueError, match="target: column 'y' holds 3 texts such as 'oops' among 21"
    ):
        table(columns)
    assert len(table(columns, task="multiclass").classes) == 8


IRIS = "".join(f"{5 + i % 9 / 10},{3 - i % 7 / 10},{'ab'[Y[i]]}\n" for i in ROWS)


@pytest.mark.parametrize(
    ("content", "first"),
    [
        (IRIS, "5.0"),
        ("2020-01-01,c\n2020-01-02,b\n2020-01-03,c\n", "2020-01-01"),
        ("3,1,2\n4,5,6\n", "3"),
        ("red,yes\nblue,no\nred,no\n", "red"),
        ("1,1,0\n2,0,1\n", "1"),
    ],
)
def test_a_header_that_is_missing_is_refused_and_both_ways_out_work(table, content, first):
    with pytest.raises(ValueError, match=rf"first line has '{re.escape(first)}', which could be"):
        table(content, target="none")
    lines = content.count("\n")
    made = table(content * 8, target="column 2", features=("column 1",), header="none")
    assert (made.frame.height, made.frame.columns) == (8 * lines, ["column 1"])
    if first != "1":  # else two of the names are one
        with pytest.raises(ValueError, match="there is no column 'none'; t.csv holds " + first):
            table(content, target="none", header="first")


def test_names_that_are_numbers_are_said(table):
    made = table({"2019": X, "2020": Y, "2021": list(ROWS)}, target="2020")
    assert "names of columns are numbers, '2019', '2020', '2021'; if the first line is" in noted(
        made
    )
    assert "names of columns" not in noted(table({"x": X, "1": Y, "y": Y}))


@pytest.mark.parametrize("name", ["", "Unnamed: 0"])
@pytest.mark.parametrize("numbers", [list(ROWS), [3 * i + 5 for i in ROWS], list(ROWS)[::-1]])
def test_an_index_without_a_name_is_left_out(table, name, numbers):
    made = table({name: numbers, "x": X, "y": Y})
    assert made.frame.columns == ["x"]
    assert f"that count the rows, left out: {name or 'column 1'}" in noted(made)
    kept = table({name: numbers, "x": X, "y": Y}, features=(name or "column 1", "x"))
    assert kept.frame.width == 2


def npz(**arrays):
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def test_labels_in_one_hot_form_are_classes(table):
    codes = np.arange(N) % 3
    content = npz(x=np.array(X), y=np.eye(3)[codes])
    made = table(content, "t.npz")
    np.testing.assert_array_equal(made.y, codes)
    assert (made.task, made.frame.columns) == ("multiclass", ["x"])
    assert "'y' is one-hot: its 3 columns are read as classes" in noted(made)
    assert "determine it; leave them out with --drop 'y[1]' 'y[2]'" in noted(
        table(content, "t.npz", target="y[0]")
    )
    one = table(npz(x=np.array(X), y=np.array(Y)[:, None]), "t.npz")
    assert one.frame.columns == ["x"]
    several = table(npz(x=np.array(X), y=np.c_[X, X[::-1]]), "t.npz", target="y[0]")
    assert "'y[1]' of the same array as the target are features" in noted(several)


@pytest.mark.parametrize(
    "leak",
    [
        {"a": Y, "y": Y},
        {"a": [["no", "yes"][v] for v in Y], "y": Y},
        {"a": [3 * v - 2 for v in X], "y": X},
        {"a": [-(v**3) for v in X], "y": X},
        {"a": [i % 6 for i in ROWS], "y": [i % 3 for i in ROWS]},
    ],
)
def test_a_feature_that_determines_the_target_is_said(table, leak):
    other = {"x": [i * 5 % 11 for i in ROWS]}
    words = "column 'a' determines the target 'y' alone; if it is known only with the target, leave"
    assert words in noted(table(other | leak))
    assert "determine" not in noted(table(other | {"y": leak["y"]}))


def test_arrays_that_are_no_columns_can_be_left_out(table):
    bad = {
        "objects": np.array([{}] * N, object),
        "latin": np.array([b"\xe9"] * N),
        "images": np.zeros((N, 2, 2)),
        "one": np.float64(1),
    }
    for name, array in bad.items():
        content = npz(x=np.array(X), y=np.array(Y), **{name: array})
        with pytest.raises(ValueError, match=f"array .{name}. .*--drop {name} leaves it out$"):
            table(content, "t.npz")
        assert table(content, "t.npz", drop=(name,)).frame.columns == ["x"]


def test_columns_of_parquet_that_are_none_can_be_left_out(table):
    frame = pl.DataFrame({"x": X, "y": Y, "d": [timedelta(1), timedelta(2)] * 12, "l": [[1]] * N})
    content = io.BytesIO()
    frame.write_parquet(content)
    with pytest.raises(ValueError, match=r"'d', got Duration.*leave it out with --drop d$"):
        table(content.getvalue(), "t.parquet")
    made = table(content.getvalue(), "t.parquet", drop=("d", "l"))
    assert (made.frame.columns, made.notes) == (["x"], ())


def test_files_of_other_kinds_are_named_with_a_way_to_convert_them(table, tmp_path):
    plain = "x,y\n" + "".join(f"{x},{y}\n" for x, y in zip(X, Y, strict=True))
    assert table(gzip.compress(plain.encode()), "t.csv.gz").frame.height == N
    frame = pl.DataFrame({"x": X, "y": Y})
    for ending, write in (
        (".feather", frame.write_ipc),
        (".json", frame.write_json),
        (".jsonl", frame.write_ndjson),
    ):
        write(tmp_path / f"other{ending}")
        with pytest.raises(ValueError, match=r"is of no kind that is read .*; convert it") as said:
            data.table(str(tmp_path / f"other{ending}"), data.Options(target="y"))
        exec(shlex.split(str(said.value))[-1], {})
        made = data.table(str(tmp_path / "other.parquet"), data.Options(target="y"))
        assert made.frame.height == N
    for name, words in (
        ("t.xlsx", "save its sheet"),
        ("t.zip", "unpack it"),
        ("t.txt", "end in .c"),
    ):
        with pytest.raises(ValueError, match=f"{name} is of no kind that is read .*{words}"):
            table(plain, name)
    with pytest.raises(ValueError, match=r"no text but a zip archive or a workbook"):
        table(b"PK\x03\x04\0\0", "t.csv")
    with pytest.raises(ValueError, match=r"^data: there is no '.*'; choose one of breast_cancer"):
        data.table(str(tmp_path / "none.csv.zip"), data.Options(target="y"))
    assert formats.ending_of(tmp_path / "A.CSV.GZ") == ".csv.gz"


def test_rows_to_hold_out_that_are_not_there_are_counted_of_all(table):
    with pytest.raises(
        ValueError, match=r"got 18 held out by 0.75 of 24 rows, of which 12 are left"
    ):
        splits.split(table({"x": X, "y": X[::-1]}), validation=0.75, test=0.5, seed=0)


def test_a_column_that_polars_cannot_read_is_named(table, monkeypatch):
    """A decimal of 256 bits, say, which only other programs write."""
    content, collect = io.BytesIO(), pl.LazyFrame.collect
    pl.DataFrame({"x": X, "y": Y, "d": X}).write_parquet(content)

    def fails(lazy, *arguments, **named):
        if "d" in lazy.collect_schema():
            raise pl.exceptions.ComputeError("precision must be between 1 and 38, got 50")
        return collect(lazy, *arguments, **named)

    monkeypatch.setattr(pl.LazyFrame, "collect", fails)
    with pytest.raises(ValueError, match=r"'d' cannot be read, .*; leave it out with --drop d$"):
        table(content.getvalue(), "t.parquet")
    assert table(content.getvalue(), "t.parquet", drop=("d",)).frame.columns == ["x"]
