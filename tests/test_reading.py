"""Files as they are in the wild: separators, encodings, lines; and files made to do harm."""

import io
import struct
import zipfile
from datetime import date, datetime

import numpy as np
import polars as pl
import pytest

from experiments.learning import entries, limits, reading, records

PLAIN = "name,size,count\na,1.5,3\nb,-2.25,4\n"
COLUMNS = {"name": ["a", "b"], "size": [1.5, -2.25], "count": [3, 4]}


@pytest.fixture
def read(tmp_path):
    def written(content, name="table.csv", **how):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return reading.read(path, reading.Reading(**how))

    return written


def swapped(text, separator, decimal="."):
    """Return a table as another program would write it."""
    return text.replace(".", "D").replace(",", separator).replace("D", decimal)


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN.rstrip("\n"),
        swapped(PLAIN, ";"),
        swapped(PLAIN, ";", ","),
        swapped(PLAIN, "\t"),
        swapped(PLAIN, "\t", ","),
        swapped(PLAIN, "|", ","),
        "\ufeff" + PLAIN,
        PLAIN.encode("utf-16"),
        b"\xfe\xff" + PLAIN.encode("utf-16-be"),
        PLAIN.encode("utf-32"),
        f'# a comment, with "one quote\n\n{PLAIN}\n  # more\n\n',
        PLAIN.replace("\nb", "\n\n# b,1\nb"),
        f"#a,b,c\n{PLAIN}",
        "sep=;\r\n" + swapped(PLAIN, ";", ","),
        '"name","size","count"\n"a","1.5","3"\n"b","-2.25","4"\n',
        "name, size ,count\na , 1.5,3\nb,-2.25 , 4\n",
    ],
)
def test_a_table_is_the_same_however_it_is_written(read, content):
    assert read(content).frame.to_dict(as_series=False) == COLUMNS


def test_separator_and_decimal_of_the_user_overrule(read):
    def columns(content, **how):
        return read(content, **how).frame.to_dict(as_series=False)

    text = "a;b,c\n1;2,3\n4;5,6\n"
    assert columns(text) == {"a": [1, 4], "b,c": [2.3, 5.6]}
    assert columns(text, separator=",") == {"a;b": ["1;2", "4;5"], "c": [3, 6]}
    assert columns(text, decimal=".") == {"a": [1, 4], "b,c": ["2,3", "5,6"]}
    assert columns("a:b\n1:2\n", separator=":") == {"a": [1], "b": [2]}
    assert columns("a\tb\n1\t2\n", separator="tab") == {"a": [1], "b": [2]}
    assert columns("a\n1,500\n2\n", decimal=",", separator=";") == {"a": [1.5, 2]}


@pytest.mark.parametrize(
    "encoding",
    ["latin-1", "cp1252", "cp037", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32-be"],
)
@pytest.mark.parametrize("end", ["\n", "\r"])
def test_an_encoding_of_the_user_overrules(read, encoding, end):
    content = f"größe,n{end}é,1{end}ü,2{end}".encode(encoding)
    frame = read(content, encoding=encoding).frame
    assert frame.to_dict(as_series=False) == {"größe": ["é", "ü"], "n": [1, 2]}
    marked = f"\ufeffgröße,n{end}é,1{end}".encode("utf-16-le")
    assert read(marked, encoding="utf-16-le").frame.columns == ["größe", "n"]


@pytest.mark.parametrize(
    ("content", "encoding", "sentence"),
    [
        (b"a,b\n1,2\n\x81,3\n", "cp1252", r"line 3 is no cp1252 \(byte 0x81\); name the right"),
        ("a,é\n1,2\n".encode("latin-1"), "utf-8", r"line 1 is no utf-8 \(byte 0xe9\)"),
        ("a,é\r1,é\r".encode("cp1252"), "ascii", r"line 1 is no ascii \(byte 0xe9\)"),
        ("a,b\r1,é\r".encode("cp1252"), "ascii", r"line 2 is no ascii \(byte 0xe9\)"),
        ("a,b\n1,2\n".encode("utf-16-le")[:-1], "utf-16-le", r"line 2 is no utf-16-le \(byte 0x0a"),
        ("a,b\n1,2\n".encode("utf-16-le"), "latin-1", r"line 1 is no latin-1 \(a null character"),
        (b"a,b\n1,+2AA-\n", "utf-7", "it is no utf-7; name the right --encoding"),
    ],
)
def test_a_text_in_another_encoding_is_a_sentence(read, content, encoding, sentence):
    with pytest.raises(ValueError, match=rf"data: cannot use .*table\.csv: {sentence}"):
        read(content, encoding=encoding)


@pytest.mark.parametrize("name", ["latin-99", "hex", "rot13", "", "\0", "undefined", "x" * 1000])
def test_what_is_no_encoding(read, name):
    with pytest.raises(ValueError, match=r"^encoding: there is no '.*'; expected a name") as error:
        read(PLAIN, encoding=name)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (["1", "", "3"], [1, None, 3]),
        (["1e3", "NA", "nan"], [1000.0, None, None]),
        (["?", "x", "NULL"], [None, "x", None]),
        (["True", "false", "N/A"], [True, False, None]),
        (["2020-01-31", "", "1969-12-31"], [date(2020, 1, 31), None, date(1969, 12, 31)]),
        (["2020-01-31 12:30", "2020-02-01 00:00", ""],
         [datetime(2020, 1, 31, 12, 30), datetime(2020, 2, 1), None]),
        (["2020-01-31T12:30:01.5Z", "", ""],
         [datetime(2020, 1, 31, 12, 30, 1, 500000), None, None]),
        (["2020/01/31", "", "NA"], [date(2020, 1, 31), None, None]),
        (["01/02/2020", "31.01.2020", ""], ["01/02/2020", "31.01.2020", None]),
        (["31.01.2020", "x", ""], ["31.01.2020", "x", None]),
        ([str(2**53 + 1), "1", "2"], [2**53 + 1, 1, 2]),
        ([str(2**70), "1", "2"], [2**70, 1, 2]),
        (['"a\nb"', '"say ""x"""', '"1,2"'], ["a\nb", 'say "x"', "1,2"]),
        (["", "", ""], [None, None, None]),
    ],
)  # fmt: skip
def test_entries_become_what_all_of_them_are(read, entries, expected):
    lines = "".join(f"{entry},0\n" for entry in entries)
    assert read(f"x,y\n{lines}").frame["x"].to_list() == expected


def test_columns_may_be_left_as_texts_and_those_without_a_name_get_one(tmp_path):
    (tmp_path / "t.csv").write_text(",zip\n0,01\n1,02\n")
    frame, *_ = reading.read(tmp_path / "t.csv", texts=["zip"])
    assert frame.to_dict(as_series=False) == {"column 1": [0, 1], "zip": ["01", "02"]}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "it is empty"),
        ("\n \n", "it holds no rows"),
        ("a,b\n", "it holds no rows"),
        ("# only a comment\n", "it holds no rows"),
        ("a,b\n1,2\n3,4,5,6\n", "line 3 has 4 fields, and the header 2, separated by ,; mend"),
        ("# c\n\na;b;c\n1;2;3\n1;2\n", "line 5 has 2 fields, and the header 3, separated by ;;"),
        ('a,b\n"1\n2",2\n3\n', "line 4 has 1 field, and the header 2"),
        ('a,b\n1,"x\n2,y\n3,z\n', "the quote in line 2 is never closed"),
        ('a,b\n1,"x\n2,"y"\n3,z\n', "the quote in line 2 is never closed"),
        ('a,b\n1,5" pipe\n2,6" pipe\n', "the quote in line 2 is never closed, or stands inside a"),
        ('a,b\n1,"x' + "y" * 1_000_000, "the quote in line 2 is never closed"),
        ("c,b\n#ff0000,1\n#00ff00,2\n", "line 2 begins with # and has as many fields as the head"),
        ("sep=;\na;b\n1;2\n3\n", "line 4 has 1 field, and the header 2"),
        ("," * 100_000 + "\n", "expected at most 100000 columns, got 100001"),
        ("a,b,a\n1,2,3\n", "two of its columns are called 'a'; rename one of them"),
        ("a,b, a\n1,2,3\n", "two of its columns are called 'a'"),
        (("a" * 1000 + ",") * 2 + "b\n1,2,3\n", "two of its columns are called 'aaa"),
        ("a" * 10**6 + ",b\n1,2\n", "its header has a name of more than 100000 characters"),
        ("größe,b\n1,2\n".encode("latin-1"), r"line 1 is no UTF-8 \(byte 0xf6\), .*save the file"),
        ("a,b\n1,é\n".encode("cp1252"), r"line 2 is no UTF-8 \(byte 0xe9\)"),
        ("a,b\n1,2\n".encode("utf-16-le"), "it is no text, or UTF-16 without a mark at its start"),
        (b"\xff\xfea", "it begins as UTF-16 and does not go on so"),
        ("a;b\n1,500;2\n2,250;3\n", "column 'a' has numbers such as '1,500'; say --thousa"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_text_is_a_short_sentence(read, content, sentence):
    with pytest.raises(ValueError, match=rf"data: cannot use .*table\.csv: {sentence}") as error:
        read(content)
    assert len(str(error.value)) < 500
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"separator": ";;"}, "separator: expected a character such as ; or |, or tab, got ';;'"),
        ({"separator": "§"}, "separator: expected a character"),
        ({"decimal": "x"}, "decimal: expected '.' or ',', got 'x'"),
        ({"separator": ",", "decimal": ","}, ", cannot separate columns and decimals"),
    ],
)
def test_what_is_no_separator(read, how, sentence):
    with pytest.raises(ValueError, match=sentence.replace("|", r"\|")):
        read(PLAIN, **how)
    with pytest.raises(ValueError, match=r"separator: expected with a \.csv file only, got t\.npz"):
        read(b"x", "t.npz", separator=";")
    with pytest.raises(ValueError, match=r"encoding: expected with a \.csv file only, got t\.npz"):
        read(b"x", "t.npz", encoding="utf-8")


def test_structure_is_seen_across_chunks(read, monkeypatch):
    text = '"x, y",b\n' + '"1\n1",2\n' * 50 + "3,4\n"
    whole = read(text).frame
    monkeypatch.setattr(records, "CHUNK", 3)
    assert read(text).frame.equals(whole)
    assert whole.height == 51
    with pytest.raises(ValueError, match="line 103 has 3 fields"):
        read(text + "5,6,7\n")
    for wrong in ('5,"6\n7,8\n', '5,"6"6\n', '5,6"6"\n', '5,"6\n7,"8"\n'):
        with pytest.raises(ValueError, match="the quote in line 103 is never closed"):
            read(text + wrong)


def test_types_are_those_of_all_rows(read):
    """Whatever the first ones hold."""
    lines = "1,2,true,,5\n" * (entries.FIRST + 5) + f"1.5,x,false,2.5,{2**70}\n"
    frame = read(f"a,b,c,d,e\n{lines}").frame
    assert frame.row(-1) == (1.5, "x", False, 2.5, 2**70)
    assert frame.row(0) == (1, "2", True, None, 5)


def test_what_is_unusual_is_said(read):
    assert read(PLAIN).notes == []
    assert read("# x\n# y\na;b\n1,5;2\n1,25;x\n").notes == [
        "without 2 comments, lines beginning with #",
        "columns are separated by ;",
        "numbers have decimal commas",
    ]


def npz(**members):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return content.getvalue()


def npy(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def claiming(shape, descr="<f8"):
    header = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + b"\0" * 80


def saved(**arrays):
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def test_arrays_of_every_useful_kind(read):
    arrays = {
        "x": np.arange(6.0).reshape(2, 3).astype(">f4"),
        "n": np.array([1, 2], "u1"),
        "half": np.array([0.5, 2], "f2"),
        "text": np.array(["a", "é"]),
        "bytes": np.array([b"a", b"b"]),
        "yes": np.array([True, False]),
        "day": np.array(["2020-01-01", "NaT"], "M8[D]"),
    }
    frame = read(saved(**arrays), "t.npz").frame
    assert frame["x[2]"].to_list() == [2, 5]
    assert frame["half"].to_list() == [0.5, 2]
    assert frame["text"].to_list() == ["a", "é"]
    assert frame["bytes"].to_list() == ["a", "b"]
    assert frame["day"].to_list() == [datetime(2020, 1, 1), None]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"no npz", "File is not a zip file"),
        (b"\x80\x04\x95", "File is not a zip file"),
        (npy(np.ones(3)), "it is one array without a name, a .npy file; numpy.savez writes a tab"),
        (saved(x=np.array([{}, 1], object)), "array 'x' holds 'object'; expected numbers, .*no Py"),
        (saved(x=np.ones(2, complex)), "array 'x' holds 'complex128'; expected numbers"),
        (saved(x=np.zeros(2, "i4,i4")), "array 'x' holds .*; expected numbers"),
        (saved(x=np.ones((2, 2, 2)), y=np.arange(2)), r"'x' has shape '\(2, 2, 2\)'; expected \(r"),
        (saved(x=np.float64(1)), r"'x' has shape '\(\)'; expected \(rows,\)"),
        (saved(x=np.ones(3), y=np.arange(2)), "different lengths: x: 3, y: 2"),
        (npz(x=claiming("(10**12,)")), "t.npz: "),
        (npz(x=claiming("(1000000000000,)")), r"'x' claims shape '\(1000000000000,\)', 8e\+12 byt"),
        (npz(x=claiming("(1, 1000000000000)")), "expected at most 100000 columns, got 10000000000"),
        (npz(x=claiming("(-10,)")), r"'x' has shape '\(-10,\)'"),
        (npz(x=claiming("(10,)", "|O")), "'x' holds 'object'"),
        (npz(x=b"\x80\x04pickle" * 9), "t.npz: the magic string is not correct"),
        (npz(x=b""), "t.npz: "),
        (npz(**{"x": npy(np.ones((2, 2))), "x[0]": npy(np.ones(2))}), "two .* are called 'x.0.'"),
        (saved(x=np.ones(0)), "it holds no rows"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_archive_of_arrays_is_a_sentence(read, content, sentence):
    with pytest.raises(ValueError, match=rf"data: cannot use .*t\.npz: .*{sentence}|{sentence}"):
        read(content, "t.npz")


def test_an_archive_larger_than_memory_is_refused_before_it_is_read(read, monkeypatch):
    monkeypatch.setattr(limits, "MOST_BYTES", 8 * 99)
    with pytest.raises(ValueError, match=r"claims 100 rows of 1 columns, .* GB, in a file of"):
        read(saved(x=np.zeros(100, bool)), "t.npz")
    with pytest.raises(ValueError, match=r"its arrays claim .* GB and more; expected at most"):
        read(saved(x=np.zeros(1, "U200")), "t.npz")


def parquet(frame):
    content = io.BytesIO()
    frame.write_parquet(content)
    return content.getvalue()


def test_a_parquet_bomb_is_refused_by_its_header(read, monkeypatch):
    content = parquet(pl.DataFrame({"x": np.zeros(10**6), "y": np.zeros(10**6)}))
    assert len(content) < 10**5
    monkeypatch.setattr(limits, "MOST_BYTES", 8 * 10**6)
    monkeypatch.setattr(pl.LazyFrame, "collect", _only_counts(pl.LazyFrame.collect))
    with pytest.raises(ValueError, match=r"claims 1e\+06 rows of 2 columns, 0.016 GB, in a file"):
        read(content, "t.parquet")
    monkeypatch.undo()
    monkeypatch.setattr(limits, "MUCH", 8 * 10**6)
    with pytest.raises(ValueError, match=r"expected at most 2\.15 GB, and 500 times the file"):
        read(content, "t.parquet")


def _only_counts(collect):
    def collected(lazy, *arguments, **named):
        frame = collect(lazy, *arguments, **named)
        assert frame.shape == (1, 1)
        return frame

    return collected


def test_columns_of_lists_are_left_out_and_named(read):
    frame = pl.DataFrame({"x": [1, 2], "l": [[1], [2]], "b": [b"x", b"y"]})
    file = read(parquet(frame), "a[b]*.parquet")
    assert file.frame.columns == ["x"]
    assert file.notes == [
        "column 'l' is left out, for it holds List(Int64)",
        "column 'b' is left out, for it holds Binary",
    ]


def test_a_broken_parquet_file_is_a_sentence(read):
    whole = parquet(pl.DataFrame({"x": np.arange(100.0)}))
    for content in (b"no parquet", whole[:-9], whole[:4] + b"\xff" * 200 + whole[204:]):
        with pytest.raises(ValueError, match=r"data: cannot use .*t\.parquet: "):
            read(content, "t.parquet")
