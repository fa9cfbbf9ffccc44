"""A run's folder: what is whole, what is found broken, what is refused, and the lock."""

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import jaxnn
from experiments.__main__ import main
from experiments.runs import files, store
from experiments.runs.store import PARTS, ROWS, RUN, Store

ROWS_OF_A_CELL = pl.DataFrame(
    {
        "seed": [0, 1, 2, 3],
        "name": ["a", "σ", None, ""],
        "value": [-0.0, float("nan"), float("-inf"), 5e-324],
        "values": [[1.0], [], None, [float("nan"), -0.0]],
    }
)


def opened(folder, what=None, overwrite=False, names=("chart.png",)):
    return Store(folder, what or {"settings": {"width": [64], "seed": 0}}, names, overwrite)


@pytest.fixture
def folder(tmp_path):
    """A run's, with cells a, b, c."""
    path = tmp_path / "deep" / "run"
    kept = opened(path)
    for i, cell in enumerate("abc"):
        kept.write_cell(cell, ROWS_OF_A_CELL.with_columns(seed=pl.col("seed") + i))
    kept.close()
    return path


def part(folder, cell):
    (path,) = (folder / PARTS).glob(f"{cell}.*")
    return path


def contents(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def bits(rows):
    """What tells -0.0 from 0.0 and keeps nan."""
    return rows.with_columns(pl.col("value").reinterpret(signed=False)), rows["values"].to_list()


def test_what_is_kept_is_read_again_to_the_last_bit(folder):
    kept = opened(folder)
    for i, cell in enumerate("abc"):
        expected = ROWS_OF_A_CELL.with_columns(seed=pl.col("seed") + i)
        assert str(bits(kept.read(cell))) == str(bits(expected))
    assert kept.read("d") is None
    assert not kept.broken
    kept.close()


def one_bit(content):
    changed = bytearray(content)
    changed[len(changed) // 2] ^= 8
    return bytes(changed)


DAMAGES = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "one byte less": lambda content: content[:-1],
    "one bit": one_bit,
    "text": lambda content: b"PAR1 not at all PAR1",
}


@pytest.mark.parametrize("checked", [False, True], ids=["found by its checksum", "by polars"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_broken_part_is_found_said_and_gone(folder, damage, checked):
    """Also one whose checksum is right, but for a single bit, which polars may not see."""
    path = part(folder, "b")
    content = DAMAGES[damage](path.read_bytes())
    if checked and damage != "one bit":
        path.unlink()
        path = path.with_name(store._name_of("b", content))
    path.write_bytes(content)
    kept = opened(folder)
    assert kept.read("a") is not None
    assert kept.read("b") is None
    assert kept.broken == [path.name]
    assert not path.exists()
    kept.write_cell("b", ROWS_OF_A_CELL)
    kept.close()
    assert opened(folder).read("b").height == 4


def test_a_part_of_another_cell_is_broken(folder):
    """Its checksum is that of the cell's name too."""
    path = part(folder, "a")
    part(folder, "b").write_bytes(path.read_bytes())
    path.replace(path.with_name(path.name.replace("a.", "d.", 1)))
    kept = opened(folder)
    assert [kept.read(cell) for cell in "abd"] == [None] * 3
    assert len(kept.broken) == 2


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (ROWS_OF_A_CELL.drop("name"), "name String there, None in d"),
        (ROWS_OF_A_CELL.cast({"seed": pl.Float64}), "seed Int64 there, Float64 in d"),
        (ROWS_OF_A_CELL.with_columns(more=1), "more None there, Int32 in d"),
    ],
)
def test_cells_of_different_columns_are_refused(folder, other, sentence):
    content = files.parquet(other)
    (folder / PARTS / store._name_of("d", content)).write_bytes(content)
    kept = opened(folder)
    kept.read("a")
    with pytest.raises(OSError, match=rf"parts holds cells of different columns \({sentence}\)"):
        kept.read("d")
    before = contents(folder)
    with pytest.raises(OSError, match=rf"\({sentence}\); choose another folder with --out"):
        kept.write_cell("d", other)
    assert contents(folder) == before


def test_a_part_that_the_disk_does_not_give_back_is_one_sentence(folder):
    path = part(folder, "a")
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match=r"^out: cannot read .*/a\..*parquet: Is a directory$"):
        opened(folder).read("a")


def test_a_file_is_synced_before_it_has_its_name_and_its_folder_after(tmp_path, monkeypatch):
    done = []
    sync, replace = os.fsync, Path.replace

    def synced(handle):
        name = Path(f"/proc/self/fd/{handle}").readlink().name
        done.append(f"sync {name}")
        sync(handle)

    def replaced(self, target):
        done.append(f"rename {self.name} {target.name}")
        return replace(self, target)

    kept = opened(tmp_path)
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    kept.write_cell("a", ROWS_OF_A_CELL)
    name = part(tmp_path, "a").name
    assert done == [
        f"sync .unfinished-{name}", f"rename .unfinished-{name} {name}", f"sync {PARTS}"
    ]  # fmt: skip


def test_what_a_killed_process_left_half_is_swept_up(folder):
    half = [folder / ".unfinished-rows.parquet", folder / PARTS / ".unfinished-b.0.parquet"]
    mine = folder / "mine" / ".unfinished-novel.txt"
    mine.parent.mkdir()
    for path in (*half, mine):
        path.write_bytes(b"half")
    with pytest.raises(FileExistsError):
        opened(folder, {"settings": {"width": [8]}})
    assert all(path.exists() for path in half)  # another run's are not touched
    kept = opened(folder)
    assert not any(path.exists() for path in half)
    assert mine.exists()
    assert kept.read("b") is not None


def test_a_full_disk_is_one_sentence_and_leaves_what_there_was(folder):
    kept = opened(folder)
    kept.write(ROWS, files.parquet(ROWS_OF_A_CELL))
    before = contents(folder)
    rows = pl.DataFrame({"x": np.random.default_rng(0).normal(size=100_000)})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))  # Python ignores SIGXFSZ
    try:
        with pytest.raises(OSError, match=r"cannot write .*/rows\.parquet: File too large$"):
            kept.write(ROWS, files.parquet(rows))
        kept._schema = None
        with pytest.raises(OSError, match=r"cannot write .*/parts/d\..*\.parquet: File too large$"):
            kept.write_cell("d", rows)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ({"settings": {"width": [64], "seed": 1}}, r"settings\.seed 0 there, 1 now"),
        ({"settings": {"width": [], "seed": 0}}, r"settings\.width 64 there, \[\] now"),
        (
            {"settings": {"width": [8], "seed": 3}, "data": "wine"},
            r"settings\.width 64 there, 8 now; settings\.seed 0 there, 3 now; "
            "data None there, wine now",
        ),
    ],
)
def test_other_settings_are_refused_with_the_difference(folder, what, sentence):
    before = contents(folder)
    with pytest.raises(FileExistsError, match=rf"holds another run \({sentence}\); choose another"):
        opened(folder, what)
    assert contents(folder) == before
    kept = opened(folder, what, overwrite=True)
    assert kept.read("a") is None
    assert json.loads((folder / RUN).read_text())["what"]["settings"] == what["settings"]


@pytest.mark.parametrize(
    ("module", "name", "word"),
    [(jaxnn, "__version__", "jaxnn"), (store, "SCHEMA_VERSION", "schema")],
)
def test_another_version_is_refused(folder, module, name, word, monkeypatch):
    there = getattr(module, name)
    monkeypatch.setattr(module, name, 99)
    with pytest.raises(FileExistsError, match=rf"another run \({word} {there} there, 99 now\)"):
        opened(folder)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "null", "3", "{}", '{"what": {}}', '{"what": [], "finished": true}'),
        *('{"what": {}, "finished": "no"}', '{"finished": true}', "[" * 100_000, "\udcff"),
        "__import__('os')",
    ],
)
def test_a_broken_description_is_refused_and_can_be_replaced(folder, text):
    (folder / RUN).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(OSError, match=r"run\.json does not describe a run; choose"):
        opened(folder)
    assert part(folder, "a").exists()
    kept = opened(folder, overwrite=True)
    assert kept.read("a") is None
    assert not store.read_run(folder)["finished"]


def test_what_a_run_says_may_be_of_any_shape(folder):
    """A value where a table is expected, and the other way round, is a difference."""
    found = json.loads((folder / RUN).read_text())
    for settings in ([], "x", None, {"width": {"deep": 1}, "seed": [0]}):
        found["what"]["settings"] = settings
        (folder / RUN).write_text(json.dumps(found))
        with pytest.raises(FileExistsError, match=r"holds another run \(settings"):
            opened(folder)


def test_files_of_no_run_are_not_touched(folder, tmp_path):
    (folder / RUN).unlink()
    before = contents(folder)
    with pytest.raises(FileExistsError, match=r"already holds parts, of no run that can be cont"):
        opened(folder)  # whose cells they are nobody knows
    assert contents(folder) == before
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "chart.png").write_text("mine")
    (mine / ROWS).write_text("mine")
    with pytest.raises(FileExistsError, match=r"already holds rows\.parquet, chart\.png, of no"):
        opened(mine)
    assert sorted(contents(mine)) == [".lock", "chart.png", ROWS]
    (mine / "novel.txt").write_text("mine")
    opened(mine, overwrite=True)
    assert sorted(contents(mine)) == [".lock", "novel.txt", RUN]


def test_strangers_among_the_parts_stay(folder):
    parts = folder / PARTS
    (parts / "2024").mkdir()
    for name in ("notes.txt", "a.parquet", "2024/photo"):
        (parts / name).write_text("mine")
    kept = opened(folder)
    assert kept.read("a") is not None
    kept.close()
    kept = opened(folder, overwrite=True)
    assert kept.read("a") is None
    kept.close()
    assert sorted(path.name for path in parts.rglob("*")) == [
        "2024", "a.parquet", "notes.txt", "photo",
    ]  # fmt: skip
    opened(folder)  # they are no run of their own


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("link", "it is a link to nothing"),
        ("/", "it is the root of all files"),
        ("n" * 300, "File name too long"),
        ("file", "Not a directory"),
    ],
)
def test_folders_that_cannot_be(tmp_path, name, reason):
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match=rf"^out: cannot write into [^:]+: {reason}; choose another"):
        opened(tmp_path / name / ("in" if name == "file" else ""))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


def test_an_empty_name_is_no_folder(capsys):
    assert main(["depth", "--out", ""]) == 2
    assert capsys.readouterr().err == "error: out: expected a folder, got an empty name\n"


def test_one_process_at_a_time(folder):
    kept = opened(folder)
    before = contents(folder)
    for overwrite in (False, True):
        with pytest.raises(OSError, match=r"^out: .*run is in use by another process; wait for it"):
            opened(folder, overwrite=overwrite)
    assert contents(folder) == before
    kept.close()
    opened(folder).close()
    with pytest.raises(FileExistsError) as refused:
        opened(folder, {"other": 1})
    opened(folder).close()  # it has given the lock back, though its frame is alive
    assert refused.tb is not None


def test_the_lock_of_a_dead_process_is_taken_over(folder):
    held = (
        "lock = filelock.FileLock(sys.argv[1]); lock.acquire(); print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", f"import sys, filelock; {held}", str(folder / store.LOCK)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(OSError, match="in use by another process"):
            opened(folder)
        other.kill()
    assert other.returncode == -signal.SIGKILL
    assert (folder / store.LOCK).exists()
    assert opened(folder).read("a") is not None


def test_a_folder_that_was_made_for_nothing_is_gone(tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(f"out: cannot write {path}: No space left on device")

    monkeypatch.setattr(files, "write", full)
    with pytest.raises(OSError, match="No space left"):
        opened(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_file_that_was_changed_since_is_named_and_written_anew(folder):
    def written(content):
        run = opened(folder)
        changed = run.changed
        run.write("chart.png", content)
        unsure = store.DIGESTS not in json.loads((folder / "run.json").read_text())
        run.write_run({"finished": True})
        run.close()
        return changed, unsure

    assert written(b"one") == ([], True)
    assert written(b"two") == ([], True)  # a process killed here would leave no false digest
    (folder / "chart.png").write_bytes(b"twp")
    assert written(b"two") == (["chart.png"], True)
    assert written(b"two") == ([], True)
    (folder / "chart.png").unlink()
    assert written(b"two") == ([], True)
    said = json.loads((folder / "run.json").read_text())
    assert said[store.DIGESTS] == {"chart.png": hashlib.sha256(b"two").hexdigest()}
    said[store.DIGESTS] |= {"../run/chart.png": "0", "chart.png": 7}
    assert store.changed(folder, said) == ["chart.png"]
