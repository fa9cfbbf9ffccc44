"""Sweeps of made-up cells: what is measured, kept, gone on with, stopped, and shown."""

import dataclasses
import logging
import os
import re
import signal
import sys
import threading
from dataclasses import dataclass
from functools import partial
from types import ModuleType, SimpleNamespace

import jax
import polars as pl
import pytest

from experiments import __main__
from experiments.depth import experiment as depth
from experiments.runs import cell_sweep, progress, runtime, signals
from experiments.runs.store import PARTS, Store


@dataclass(frozen=True)
class Cell(cell_sweep.Point):
    number: int

    @property
    def place(self):
        return {"name": "cell"}


@dataclass(frozen=True)
class Named(Cell):
    name: str

    @property
    def place(self):
        return {"name": self.name}


CELLS = [Cell(i) for i in range(6)]  # all of one place, so that their order tells them apart


def measure(store, cells, measure_cell, quiet, **options):
    plan = SimpleNamespace(settings=SimpleNamespace(quiet=quiet), cells=cells)
    return cell_sweep.measure(plan, store, measure_cell, **options)


def rows_of(cell):
    return pl.DataFrame({"number": [cell.number] * 2, "value": [float("nan"), cell.number / 7]})


class Measured:
    """Measures, keeps count, and does something at one of the cells."""

    def __init__(self, at=None, act=None):
        self.numbers, self.at, self.act = [], at, act

    def __call__(self, cell):
        if cell.number == self.at:
            self.act()
        self.numbers.append(cell.number)
        return rows_of(cell)


@pytest.fixture
def kept(tmp_path):
    """A way to open the same folder again."""
    stores = []

    def opened():
        if stores:
            stores.pop().close()
        stores.append(Store(tmp_path / "run", {"settings": 1}, (), overwrite=False))
        return stores[0]

    yield opened
    stores.pop().close()


def parts(tmp_path):
    return sorted(path.name for path in (tmp_path / "run" / PARTS).iterdir())


def numbers(frames):
    return [None if rows is None else rows["number"][0] for rows in frames]


def failing():
    raise OSError("out: cannot write: No space left on device")


def test_every_cell_is_measured_and_kept_in_order(kept, tmp_path, capfd):
    measured = Measured()
    frames, finished = measure(kept(), CELLS, measured, quiet=True)
    assert finished
    assert numbers(frames) == measured.numbers == [0, 1, 2, 3, 4, 5]
    assert capfd.readouterr() == ("", "")
    assert [name.split(".")[0] for name in parts(tmp_path)] == [f"0000{i}-cell" for i in range(6)]
    again = Measured()
    read, finished = measure(kept(), CELLS, again, quiet=True)
    assert finished
    assert again.numbers == []
    assert pl.concat(read).equals(pl.concat(frames))


def test_a_place_is_no_path(kept, tmp_path):
    names = ["../../outside", "/etc/outside", "a\0b", "x" * 3000, "данные.csv", "таблиц.csv"]
    cells = [Named(i, name) for i, name in enumerate(names)]
    before = set(tmp_path.iterdir())
    assert measure(kept(), cells, Measured(), quiet=True)[1]
    assert set(tmp_path.iterdir()) - before == {tmp_path / "run"}
    assert len(parts(tmp_path)) == len(cells)
    measured = Measured()
    assert numbers(measure(kept(), cells, measured, quiet=True)[0]) == list(range(6))
    assert measured.numbers == []


@pytest.mark.parametrize("at", [0, 3, 5])
def test_a_sweep_goes_on_where_it_failed(kept, at, caplog):
    whole = pl.concat(map(rows_of, CELLS))
    with pytest.raises(OSError, match="No space left"):
        measure(kept(), CELLS, Measured(at, failing), quiet=True)
    measured = Measured()
    with caplog.at_level(logging.INFO, "jaxnn"):
        frames, finished = measure(kept(), CELLS, measured, quiet=True)
    assert finished
    assert measured.numbers == list(range(at, 6))
    assert (f"{at} of 6 cells are there already" in caplog.messages) == (at > 0)
    assert pl.concat(frames).equals(whole)


def test_broken_and_missing_parts_are_measured_again_and_said(kept, tmp_path, caplog):
    whole, _ = measure(kept(), CELLS, Measured(), quiet=True)
    names = parts(tmp_path)
    path = tmp_path / "run" / PARTS / names[2]
    path.write_bytes(path.read_bytes()[:-7])
    (tmp_path / "run" / PARTS / names[4]).unlink()
    measured = Measured()
    frames, finished = measure(kept(), CELLS, measured, quiet=True)
    assert finished
    assert measured.numbers == [2, 4]
    assert f"measured again, for their files were broken: {names[2]}" in caplog.messages
    assert pl.concat(frames).equals(pl.concat(whole))
    assert parts(tmp_path) == names


def test_parts_of_other_columns_are_refused(kept, tmp_path):
    def other(cell):
        return rows_of(cell).rename({"value": "worth"}) if cell.number == 3 else rows_of(cell)

    with pytest.raises(OSError, match=r"cells of different columns \(value Float64 there, None in"):
        measure(kept(), CELLS, other, quiet=True)
    assert len(parts(tmp_path)) == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_cell_finish(kept, tmp_path, capsys, number):
    handler, threads = signal.getsignal(number), set(threading.enumerate())
    said = threading.Event()

    def interrupt():
        os.kill(os.getpid(), number)
        for _ in range(1000):  # it is said at once, while the cell is measured
            if "stopping when this cell is done" in (text := capsys.readouterr().err):
                assert "again to stop now" in text
                said.set()
                return
            threading.Event().wait(0.01)

    frames, finished = measure(kept(), CELLS, Measured(2, interrupt), quiet=True)
    assert said.is_set()
    assert not finished
    assert numbers(frames) == [0, 1, 2, None, None, None]
    assert len(parts(tmp_path)) == 3
    assert signal.getsignal(number) is handler
    for thread in {*threading.enumerate()} - threads:  # one that compiles ends by itself
        thread.join(10)
        assert not thread.is_alive(), thread
    assert signal.set_wakeup_fd(-1) == -1
    measured = Measured()
    assert measure(kept(), CELLS, measured, quiet=True)[1]
    assert measured.numbers == [3, 4, 5]


def test_ctrl_c_ends_the_process_whatever_is_half_imported(monkeypatch, capsys):
    """It comes in a thread, where an error would end that alone, and Ctrl-C would be swallowed."""
    ended = []
    monkeypatch.setattr(os, "_exit", ended.append)
    broken = SimpleNamespace(Console=lambda file: file.none)
    for module in (ModuleType("rich.console"), broken, None):
        monkeypatch.setitem(sys.modules, "rich.console", module)
        signals._end("stopped")
        assert capsys.readouterr().err == "stopped\n"
    assert ended == [130] * 3


def test_a_sweep_in_a_thread_hears_no_signals(kept):
    found = []

    def run():
        found.append(measure(kept(), CELLS, Measured(), quiet=True))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found[0][1]


@pytest.mark.parametrize("finishes", [True, False])
def test_plain_lines_where_there_is_no_terminal(kept, capsys, monkeypatch, finishes):
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0 if finishes else 1e9)
    measure(kept(), CELLS, Measured(), quiet=False)
    begin, *lines = capsys.readouterr().err.splitlines()
    assert begin == "6 cells …"
    for i, line in zip((1, 2, 3, 4, 5, 6) if finishes else (6,), lines, strict=True):
        assert re.fullmatch(rf"{i} of 6 cells, \d+ s left; last number {i - 1}", line)


def test_lines_count_what_was_there(kept, capsys):
    with pytest.raises(OSError, match="No space left"):
        measure(kept(), CELLS, Measured(4, failing), quiet=True)
    measure(kept(), CELLS, Measured(), quiet=False, in_words=lambda rows: f"{len(rows)} rows")
    begin, in_words, last = capsys.readouterr().err.splitlines()
    assert begin == "2 cells of 6 …"
    assert in_words.startswith("number 4: ")
    assert in_words.endswith(" rows")
    assert last.startswith("6 of 6 cells, ")


@pytest.mark.parametrize("width", [120, 40])
def test_a_bar_where_there_is_a_terminal(kept, capsys, monkeypatch, width):
    options = {"force_terminal": True, "width": width}
    monkeypatch.setattr(progress, "Console", partial(progress.Console, **options))
    monkeypatch.setattr(Cell, "label", "a [/long] name, " * 10)
    with pytest.raises(OSError, match="No space left"):
        measure(kept(), CELLS, Measured(2, failing), quiet=True)
    assert not capsys.readouterr().err
    measure(kept(), CELLS, Measured(), quiet=False)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)
    lines = [line for line in re.split(r"[\r\n]+", text) if line.strip()]
    assert re.search(r"2/6 --:--", lines[0])
    assert re.search(r"a \[.*… ━+ 6/6 00:00", lines[-1])
    assert max(map(len, lines)) <= width


def test_what_has_no_cells_says_that_it_goes_on(capsys, monkeypatch):
    def said(quiet=False):
        with progress.view("theory", quiet) as tell:
            tell("of relu")
        return capsys.readouterr().err

    assert said() == "theory …\n"
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    assert said() == "theory …\ntheory: of relu …\n"
    assert said(quiet=True) == ""
    options = {"force_terminal": True, "width": 40}
    monkeypatch.setattr(progress, "Console", partial(progress.Console, **options))
    assert "theory: of relu" in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said())


@pytest.mark.parametrize(
    ("where", "message"),
    [("prepare", ""), ("measure", "stopped; the same command again goes on\n")],
)
def test_ctrl_c_outside_of_cells(tmp_path, capsys, monkeypatch, where, message):
    def interrupted(*_):
        raise KeyboardInterrupt

    broken = dataclasses.replace(depth.EXPERIMENT, **{where: interrupted})
    monkeypatch.setattr(depth, "EXPERIMENT", broken)
    for _ in range(2):  # and the lock is given back
        assert __main__.main(["depth", "--out", str(tmp_path / "run"), "--no-cache"]) == 130
        assert capsys.readouterr().err == message


@pytest.mark.parametrize("quiet", [True, False])
def test_quiet_keeps_warnings(tmp_path, monkeypatch, quiet):
    idle = dataclasses.replace(depth.EXPERIMENT, measure=lambda plan, store: ([], True))
    monkeypatch.setattr(depth, "EXPERIMENT", idle)
    options = ["--out", str(tmp_path), "--no-cache", *["--quiet"] * quiet]
    assert __main__.main(["depth", *options]) == 0
    assert cell_sweep.log.isEnabledFor(logging.WARNING)
    assert cell_sweep.log.isEnabledFor(logging.INFO) is not quiet


def test_a_cache_that_cannot_be_is_said_and_does_without(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    before = jax.config.jax_compilation_cache_dir
    runtime.start(runtime.Options())
    assert "compiled programs are not kept: " in caplog.text
    assert "Not a directory" in caplog.text
    assert jax.config.jax_compilation_cache_dir == before
