"""`show`: the tables of a run, and what it refuses to read; columns, checked."""

import contextlib
import functools
import hashlib
import json
import random
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import jaxnn
from experiments import find, show
from experiments.__main__ import main
from experiments.runs import files, store
from experiments.runs.missing import Missing

pytestmark = pytest.mark.usefixtures("users_jax")


def depth_rows(slope=-0.5, depths=(1, 4), **axes):
    """A gradient that changes by `slope` decades a layer, in one network a depth."""
    frames = []
    for depth_ in depths:
        layers = np.arange(1, depth_ + 2)
        frame = {
            "activation": "tanh", "weights": "he_normal", "hidden": "dense",
            "sigma_w": 1.5, "sigma_b": 0.0,
            "width": 8, "depth": depth_, "batch": 16, "dtype": "float32", "data": "iris",
            "seed": 0, "layer": layers, "log10_delta_z": slope * (depth_ + 1 - layers),
            "log10_delta_theta": 0.0, "log10_gain": slope, "log10_mean_square_z": 0.0,
            "saturated_fraction": 0.0, "dead_fraction": 0.0, "delta_z": "number",
        }  # fmt: skip
        known = schema_of(find("depth").columns)
        frames.append(pl.DataFrame({**dict.fromkeys(known), **frame, **axes}, known))
    return pl.concat(frames)


def schema_of(known):
    return {name: column.dtype for name, column in known.items()}


SETTINGS = {"width": ["8"], "seeds": 1, "critical": False, "target": None}


def kept(folder, rows, experiment="depth", says=(), **settings):
    """A folder as a finished run leaves it."""
    what = {"experiment": experiment, "settings": {**SETTINGS, **settings}}
    folder_ = store.Store(folder, what, (), overwrite=False)
    folder_.write(store.ROWS, files.parquet(rows))
    about = {"finished": True, "verdicts": ["tanh, he_normal: vanishing"], "seconds": 1.5}
    folder_.write_run({**about, "versions": {"jax": "9.9"}, **dict(says)})
    folder_.close()
    return folder


def kept_as(rows, says=(), **settings):
    return functools.partial(kept, rows=rows, says=says, **settings)


def shown(capsys, *folders, code=0):
    assert main(["show", *map(str, folders)]) == code
    return capsys.readouterr()


GAP = Missing(1, 2, places=({"depth": 9},))
STOPPED = {"finished": False, "missing": GAP.as_dict()}
ZERO = depth_rows().with_columns(log10_delta_z=pl.lit(-np.inf), delta_z=pl.lit("zero"))
SHOWN = {
    "a run": kept_as(depth_rows()),
    "a stopped run": kept_as(depth_rows(), STOPPED),
    "a stopped run without its cells": kept_as(depth_rows(), {"finished": False}),
    "a run of zeros": kept_as(ZERO),
}


@pytest.mark.parametrize("name", SHOWN)
def test_the_tables_of_a_run(name, tmp_path, capsys, snapshot):
    folder = SHOWN[name](tmp_path / "0")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    text = shown(capsys, folder).out.replace(f"{tmp_path}/", "").replace(jaxnn.__version__, "?")
    assert "\n".join(map(str.rstrip, text.splitlines())) == snapshot
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_name_does_not_steer_the_terminal_or_the_table(tmp_path, capsys):
    evil = "[bold]\x1b[31mred[/] [/x]\x07"
    rows = pl.concat([depth_rows(), depth_rows(data=evil)])
    says = {"verdicts": [evil], "versions": {evil: evil}}
    run = kept(tmp_path / "run", rows, says=says, **{evil: evil})
    text = shown(capsys, run).out
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[bold]�[31mred[/] [/x]�" in text


def test_a_folder_is_no_pattern(tmp_path, capsys):
    run = kept(tmp_path / "run[1", depth_rows())
    assert "vanishing" in shown(capsys, run).out


def broken(folder, change):
    """A run of which `change`, given the folder, has spoilt something; rows as it has them now."""
    run = kept(folder / "run", depth_rows())
    change(run)
    with contextlib.suppress(ValueError, OSError, RecursionError):
        digest = hashlib.sha256((run / store.ROWS).read_bytes()).hexdigest()
        saying(**{store.DIGESTS: {store.ROWS: digest}})(run)
    return run


def saying(**members):
    def change(run):
        path = run / store.RUN
        found = json.loads(path.read_text())
        for name, value in members.items():
            inside = found["what"] if name in found["what"] else found
            inside[name] = value
        path.write_text(json.dumps(found))

    return change


def holding(rows):
    return lambda run: rows.write_parquet(run / store.ROWS)


def truncated(run):
    content = (run / store.ROWS).read_bytes()
    (run / store.ROWS).write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda run: (run / store.RUN).unlink(), "holds no run, for it has no run.json"),
        (lambda run: (run / store.RUN).write_text("{"), "does not describe a run"),
        (lambda run: (run / store.RUN).write_text("[" * 10**5), "does not describe a run"),
        (lambda run: (run / store.RUN).write_bytes(b"\xff"), "does not describe a run"),
        (saying(schema=1), "is of schema 1, and this program reads"),
        (saying(experiment="width"), "is of 'width', which is not one of depth, train"),
        (saying(experiment=["depth"]), "is of ['depth'], which is not one of depth, train"),
        (saying(verdicts=[1]), "does not describe a run"),
        (saying(verdicts=7), "does not describe a run"),
        (saying(versions=["1.0"]), "does not describe a run"),
        (saying(missing={"measured": 1}), "does not describe a run"),
        (saying(settings=None), "does not describe a run"),
        (lambda run: (run / store.ROWS).unlink(), "has no rows.parquet yet"),
        (truncated, "cannot use"),
        (lambda run: (run / store.ROWS).write_text("a,b\n1,2\n"), "cannot use"),
        (holding(depth_rows().drop("layer")), "got them without layer"),
        (holding(depth_rows().rename({"layer": "l\x1b"})), "got them without layer and with l�"),
        (holding(depth_rows().clear()), "expected rows, got none"),
        (
            holding(depth_rows().with_columns(pl.col("depth").cast(pl.Float64))),
            "column depth: expected Int64, got Float64",
        ),
    ],
)
def test_what_is_no_run_is_one_sentence(change, sentence, tmp_path, capsys):
    error = shown(capsys, broken(tmp_path, change), code=2).err.splitlines()[-1]
    assert error.startswith("error: runs: ")
    assert sentence in error


def test_what_is_no_folder_of_a_run_is_said(tmp_path, capsys):
    one = kept(tmp_path / "one", depth_rows())
    for folders, sentence in (
        ((one, one), "runs: expected one folder, got 2"),
        ((), "runs: expected one folder, got none"),
        ((tmp_path / "nowhere",), "holds no run"),
        ((one / store.ROWS,), "does not describe a run"),
    ):
        assert sentence in shown(capsys, *folders, code=2).err


def test_a_damaged_file_is_never_more_than_a_sentence(tmp_path):
    """Bytes changed at random: before polars, which may abort, reads them."""
    run, random_ = kept(tmp_path, depth_rows()), random.Random(0)
    whole = (run / store.ROWS).read_bytes()
    for _ in range(60):
        content = bytearray(whole)
        for _ in range(3):
            content[random_.randrange(len(content))] = random_.randrange(256)
        (run / store.ROWS).write_bytes(content)
        with pytest.raises(ValueError, match="is not as the run wrote it"):
            show.read(run)


def test_the_site_lists_every_column_with_its_unit():
    page = Path(__file__).parent.parent / "docs" / "guides" / "results.md"
    text = page.read_text(encoding="utf-8")
    listed = re.search(r"\| column \| unit \|.*?\n\|[-|]+\n(.*?)\n\n", text, re.DOTALL)
    expected = [
        f"| `{name}` | {column.unit} | {': '.join(filter(None, words))} |"
        for name, column in find("depth").columns.items()
        for words in [(column.meaning, ", ".join(column.known))]
    ]
    assert listed[1].splitlines() == expected


def test_rows_of_another_run_are_refused(tmp_path, capsys):
    run = kept(tmp_path / "run", depth_rows())
    files.write(run / store.ROWS, files.parquet(depth_rows(slope=-0.4)))
    sentence = f"{run / store.ROWS} is not as the run wrote it: its SHA-256 is another than"
    assert sentence in shown(capsys, run, code=2).err
    saying(**{store.DIGESTS: {}})(run)
    assert sentence in shown(capsys, run, code=2).err
