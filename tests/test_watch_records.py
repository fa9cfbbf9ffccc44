"""Reading the record of a watch, whatever has become of its file."""

import json
import os
import re
import warnings

import pytest
from test_watch_page import START, alarm, measured, page_of, record

from experiments.watch.server import Tail
from jaxnn.errors import TrainingWarning
from jaxnn.watching import read_watch
from jaxnn.watching.journal import FILE
from jaxnn.watching.recorder import Recorder, WatchOptions

LINES = (START, measured(0, -3.0), alarm(0, "Step 0: Δ."), measured(10, -4.0), measured(20, -5.0))
ROWS = [json.dumps(line, ensure_ascii=False).encode() for line in LINES]
FIRST, THIRD = [0, 10, 20], [0, 20]  # steps that are left


def changed(i, **entries):
    """All lines, with other entries in one; those that are ... are missing."""
    line = {name: v for name, v in {**LINES[i], **entries}.items() if v is not ...}
    return put(i, json.dumps(line).encode())


def put(i, row):
    return b"\n".join([*ROWS[:i], row, *ROWS[i + 1 :], b""])


def layers(*values):
    """The fourth line with other numbers of layers."""
    return changed(3, layers={"log10_delta": [*values]})


WHOLE = b"\n".join([*ROWS, b""])
HUGE = 10**400
# The file, the steps that are left, and what is said; None if nothing is.
KINDS = {
    "a first line that is missing": (put(0, b""), [], "line 2 .* a start before the first"),
    "zeros, as after a crash": (WHOLE + bytes(50), FIRST, "line 6 .* expected JSON, got none"),
    "a picture": (b"\x89PNG\r\n\x1a\n\0\r", [], "line 1 .* JSON, got none, .* and 2 more lines$"),
    "UTF-16": (WHOLE.decode().encode("utf-16"), [], "line 1 .* expected JSON"),
    "an array": (put(3, b"[1, 2]"), THIRD, "line 4 .* kind to be one of start, .* got None"),
    "a number": (put(3, b"NaN"), THIRD, "line 4 .* kind"),
    "another kind": (changed(3, kind="what"), THIRD, "line 4 .* kind to be .*, got 'what'"),
    "a list of kinds": (changed(3, kind=[1]), THIRD, "line 4 .* kind"),
    "deep lists": (put(3, b"[" * 10**5), THIRD, "line 4 .* JSON"),
    "lists in kind": (put(3, b'{"kind":' + b"[" * 900 + b"]" * 900 + b"}"), THIRD, "line 4"),
    "many digits": (put(3, b'{"kind":' + b"9" * 5000 + b"}"), THIRD, "line 4 .* JSON"),
    "half of a line": (put(3, ROWS[3][:40]), THIRD, "line 4 .* JSON"),
    "no layers at the start": (changed(0, layers=...), [], "line 1 .* a list as layers, got none"),
    "layers that are none": (changed(0, layers=[1]), [], "line 1 .* layers: expected an integer"),
    "layers not in order": (
        changed(0, layers=START["layers"][::-1]), [], "line 1 .* layers counted from 1",
    ),
    "arrays without a path": (changed(0, parameters=[{"layer": 1}]), [], "line 1 .* text as path"),
    "a dtype": (changed(0, dtype="float7"), [], "line 1 .* a dtype of floats, got 'float7'"),
    "no dtype": (changed(0, dtype=...), [], "line 1 .* expected a text as dtype, got none"),
    "another schema": (changed(0, schema=2), [], "line 1 .* expected schema 1, got 2"),
    "no interval": (changed(0, every=...), [], "line 1 .* an integer as every, got none"),
    "no step": (changed(3, step=...), THIRD, "line 4 .* an integer as step, got none, skipped$"),
    "a step in words": (changed(3, step="10"), THIRD, "line 4 .* as step, got '10'"),
    "a step below 0": (changed(3, step=-1), THIRD, "line 4 .* from 0 to"),
    "a step beyond tables": (changed(3, step=10**30), THIRD, "line 4 .* from 0 to"),
    "no loss": (changed(3, loss=...), THIRD, "line 4 .* a number as loss, got none"),
    "a loss in words": (changed(3, loss="low"), THIRD, "line 4 .* as loss, got 'low'"),
    "true for a loss": (changed(3, loss=True), THIRD, "line 4 .* as loss, got True"),
    "a huge loss": (changed(3, loss=HUGE), THIRD, "line 4 .* as loss, got 1000"),
    "no layers": (changed(3, layers=...), THIRD, "line 4 .* an object as layers, got none"),
    "too few layers": (layers(1), THIRD, "line 4 .* layers: expected 2 as 'log10_delta', got 1 nu"),
    "words in layers": (layers("a", 1), THIRD, "line 4 .* as log10_delta, got 'a'"),
    "lists in layers": (layers([1], 1), THIRD, "line 4 .* as log10_delta, got \\[1\\]"),
    "huge numbers": (layers(HUGE, 1), THIRD, "line 4 .* as log10_delta, got 1000"),
    "no sizes": (changed(3, parameters={}), THIRD, "line 4 .* parameters: .* as log10_delta"),
    "an alarm without words": (changed(2, text=...), FIRST, "line 3 .* a text as text, got none"),
    "steps without losses": (
        changed(2, kind="steps", step=[1], log10_update=[1], log10_gradient=[1]),
        FIRST, "line 3 .* steps: expected a list as loss, got none",
    ),
    "half of a pair": (changed(2, text="\ud800"), FIRST, "line 3 .* halves of characters"),
    "fewer columns": (layers(1, 2), FIRST, None),
    "histograms of an older version": (
        changed(3, layers={"log10_delta": [1, 2], "delta_histogram": [[[1, 2]]] * 2}), FIRST, None,
    ),
    "an editor's mark": (b"\xef\xbb\xbf" + WHOLE, FIRST, None),
    "ends of lines of Windows": (WHOLE.replace(b"\n", b"\r\n"), FIRST, None),
    "nothing": (b"", [], None),
    "the end inside a character": (WHOLE + ROWS[2][: ROWS[2].index("Δ".encode()) + 1], FIRST, None),
    "a kill before a start": (WHOLE + ROWS[2][:20] + b"\n" + WHOLE, FIRST, None),
}  # fmt: skip


@pytest.mark.parametrize(("content", "steps", "sentence"), KINDS.values(), ids=KINDS)
def test_a_damaged_line_is_skipped_with_one_warning(tmp_path, content, steps, sentence):
    path = tmp_path / FILE
    path.write_bytes(content)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        record = read_watch(tmp_path)
        again = Recorder(WatchOptions(1, tmp_path))  # a training goes on
    assert [line["step"] for line in record.measurements] == steps
    tables = (record.table, record.parameter_table, record.router_table)
    assert [len(table()) for table in tables] == [2 * len(steps), len(steps), 0]
    assert repr(again) == repr(again.watched) == repr(record)
    expected = [] if sentence is None else [f"^{sentence}"] * 2
    assert len(said) == len(expected)
    for warning, each in zip(said, expected, strict=True):
        assert warning.category is TrainingWarning
        text = str(warning.message)
        assert re.search(each, text), text
        assert re.search(rf" of {path}: .*expected .*, got .*, skipped", text), text


@pytest.mark.parametrize("name", ["fewer columns", "no layers", "a first line that is missing"])
def test_a_page_of_a_damaged_record_is_drawn(tmp_path, name):
    (tmp_path / FILE).write_bytes(KINDS[name][0])
    if KINDS[name][2] is None:
        made = page_of(tmp_path)
    else:
        with pytest.warns(TrainingWarning):
            made = page_of(tmp_path)
    assert made.answer.text == "Step 0: Δ."
    assert made.data["steps"]["step"].to_list() == KINDS[name][1]


def test_a_longer_file_in_the_place_of_another_is_read_from_its_beginning(tmp_path):
    tail = Tail(record(tmp_path, START, measured(0, -3.0)))
    said = "Watched: 1 measurement, the loss 1 at step 0 and 1 at 0; 0 alarms"
    assert repr(tail.read()) == said
    assert [line["step"] for line in tail.read().measurements] == [0]
    (tmp_path / FILE).unlink()
    record(tmp_path, START, *(measured(step, -4.0) for step in (5, 10)))
    assert [line["step"] for line in tail.read().measurements] == [5, 10]
    record(tmp_path, measured(20, -4.0))
    assert [line["step"] for line in tail.read().measurements] == [5, 10, 20]


def test_a_start_of_another_network_begins_the_record_again(tmp_path):
    one = [{"layer": 1, "name": "only", "size": 4}]
    line = measured(5, -1.0) | {"layers": {"log10_delta": [1.0]}}
    rows = [*LINES, {**START, "layers": one}, line]
    (tmp_path / FILE).write_text("\n".join(map(json.dumps, rows)))
    record = read_watch(tmp_path)
    assert [(row["step"], row["name"]) for row in record.table()] == [(5, "only")]
    assert record.alarms == []


def test_heads_that_were_not_there_before_have_no_numbers_before(tmp_path):
    heads = [{"layer": 1, "attention": 1, "head": 1}]
    line = measured(30, -1.0) | {"heads": {"entropy": [0.5]}}
    (tmp_path / FILE).write_text(
        "\n".join(map(json.dumps, [*LINES, {**START, "heads": heads}, line]))
    )
    rows = read_watch(tmp_path).attention_table()
    assert [row["entropy"] for row in rows] == pytest.approx(
        [*[float("nan")] * 3, 0.5], nan_ok=True
    )


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda path: path.mkdir(), OSError, "whose watch.jsonl is no file; choose another"),
        (os.mkfifo, OSError, "whose watch.jsonl is no file; choose another"),
        (lambda path: path.symlink_to(path), OSError, r"whose .* read \(Too many .*\); make it"),
        (lambda path: None, FileNotFoundError, "which has no watch.jsonl$"),
    ],
    ids=["a folder", "a pipe", "a link to itself", "nothing"],
)
def test_what_cannot_be_read_is_said_in_one_sentence(tmp_path, make, error, sentence):
    make(tmp_path / FILE)
    expected = f"^folder: expected that of a watched training, got {tmp_path}, {sentence}"
    with pytest.raises(error, match=expected):
        read_watch(tmp_path)


def test_a_file_instead_of_a_folder_is_said_in_one_sentence(tmp_path):
    (tmp_path / FILE).write_text("")
    with pytest.raises(NotADirectoryError, match=r"watch.jsonl, a file; hand over the folder"):
        read_watch(tmp_path / FILE)
    with pytest.raises(FileExistsError, match=r"^folder: expected one .* \(File exists\); choose"):
        Recorder(WatchOptions(1, tmp_path / FILE))
