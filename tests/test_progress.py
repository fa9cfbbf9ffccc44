"""What the library is at, in a terminal, a notebook and a pipe; and Ctrl-C, which ends a search."""

import io
import logging
import sys
from types import SimpleNamespace

import pytest

from jaxnn import progress
from jaxnn.cli import command, loading
from jaxnn.progress import LASTING, Line, live
from jaxnn.trials import cures

LOG = logging.getLogger("jaxnn.trials")


def shown(stream):
    """The lines that somebody sees, the last one as it is now."""
    return [line.rpartition("\r")[2] for line in stream.getvalue().split("\n")]


def test_a_terminal_shows_in_one_line_what_the_library_is_at(monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "TICK", 60.0)
    monkeypatch.setenv("COLUMNS", "20")
    with live(), live():
        LOG.debug("trying what would help: measurement %d", 3)
        assert shown(terminal) == ["trying what would h"]
        LOG.log(LASTING, "tried: \x1b[31m")
        LOG.debug("afterwards")
        assert shown(terminal) == ["tried: �[31m", "afterwards"]
    LOG.debug("outside")
    assert shown(terminal) == ["tried: �[31m", ""]


def test_a_step_that_takes_long_says_for_how_long(monkeypatch):
    now, stream = [100.0], io.StringIO()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    line = Line(stream, 80)
    record = logging.makeLogRecord({"msg": "measuring", "levelno": logging.DEBUG})
    line.emit(record)
    for seconds in (2.0, 3.2, 3.3, 12.0):
        now[0] = 100 + seconds
        line.tick()
    assert shown(stream) == ["measuring: 12 s"]
    assert stream.getvalue().count("measuring: 3 s") == 1


def test_a_pipe_has_a_line_now_and_then_if_it_is_asked_for(monkeypatch):
    now, stream = [100.0], io.StringIO()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress, "TICK", 60.0)
    monkeypatch.setattr(sys, "stderr", stream)
    with live():
        LOG.debug("not asked for")
    with live(piped=True):
        LOG.debug("at once")
        LOG.debug("too soon")
        LOG.log(LASTING, "stays")
        now[0] += progress.PAUSE
        LOG.debug("later")
    assert shown(stream) == ["at once", "stays", "later", ""]


def test_a_notebook_has_one_output_of_which_what_stays_is_saved(monkeypatch):
    """Without carriage returns, and not on standard error, which is red there."""
    cell = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})()
    outputs = []

    def display(data, raw, display_id):
        def update(data, raw):
            outputs[-1].append(data["text/plain"])

        outputs.append([data["text/plain"]])
        return SimpleNamespace(update=update)

    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    monkeypatch.setattr(progress, "TICK", 60.0)
    monkeypatch.setattr(sys, "stdout", cell)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with live():
        assert outputs == []
        LOG.debug("measuring")
        LOG.log(LASTING, "tried: one")
        LOG.debug("measuring more")
    stages = ["measuring", "tried: one", "tried: one\nmeasuring more", "tried: one"]
    assert outputs == [stages]
    assert (cell.getvalue(), sys.stderr.getvalue()) == ("", "")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["diagnose", "mine.py:f", "--cures"], "Diagnosing mine.py:f: loading JAX\n"),
        (["checkup", "--steps", "3", "a\x1b.py:f"], "Checking up a�.py:f: loading JAX\n"),
        (["diagnose", "--help"], ""),
        (["diagnose", "mine.py:f", "-h"], ""),
        (["version"], ""),
        ([], ""),
    ],
)
def test_the_command_says_at_once_what_it_does(args, said, capsys):
    loading.announce(args)
    assert capsys.readouterr().err == said


@pytest.fixture
def interrupted(monkeypatch):
    """A patient of which one change is measured, and then Ctrl-C is pressed."""
    change = cures.Cure(kind="scale", advice="Multiply all.", works=True, decades=0.5, repeated=5.0)

    def each_tried(*_):
        yield change
        raise KeyboardInterrupt

    monkeypatch.setattr(cures, "_each_tried", each_tried)
    verdict = SimpleNamespace(
        can_be_cured=True, broken=False, rate_text="Vanishing.", word="vanishing"
    )
    return SimpleNamespace(verdict=verdict, network=None)


def test_ctrl_c_leaves_the_cures_that_there_are(interrupted, caplog):
    caplog.set_level(LASTING, "jaxnn.trials")
    found = cures.tried_on(interrupted, seconds=30.0)
    assert ([cure.kind for cure in found], found.interrupted) == (["scale"], True)
    assert found.sentences[-1] == "It was stopped: more would have been tried."
    assert caplog.messages == ["tried: scale: works, +0.5 decades a layer, +5 over all of them"]


def test_ctrl_c_before_the_first_cure_says_so(interrupted, monkeypatch):
    def each_tried(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cures, "_each_tried", each_tried)
    tried = cures.tried_on(interrupted)
    assert (len(tried), tried.interrupted) == (0, True)
    assert tried.sentences[-1] == "It was stopped: more would have been tried."


def test_the_command_ends_with_the_cures_that_there_are(interrupted, monkeypatch, capsys, tmp_path):
    (tmp_path / "mine.py").write_text("def f(): ...")
    result = SimpleNamespace(cures=cures.tried_on(interrupted))
    monkeypatch.setattr(command.contract, "diagnosed", lambda *_, **options: result)
    monkeypatch.setattr(command, "_print", lambda *_: print("Vanishing."))
    assert command.main(["diagnose", f"{tmp_path / 'mine.py'}:f", "--cures"]) == 130
    first, *_, last = capsys.readouterr().out.splitlines()
    assert (first, last) == ("Vanishing.", "It was stopped: more would have been tried.")
