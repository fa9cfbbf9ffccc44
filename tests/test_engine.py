"""The process that draws: the same files as without it, also when it has gone."""

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import vl_convert
from dying import dies

from experiments.pages import engine, web

SPEC = {"mark": "line", "data": {"values": [{"x": 0, "y": 1}, {"x": 1, "y": 2}]}} | {
    "encoding": {axis: {"field": axis, "type": "quantitative"} for axis in ("x", "y")}
}


@pytest.fixture
def process(monkeypatch):
    monkeypatch.setattr(engine, "_process", None)
    engine.start()
    process = engine._process
    yield process._process
    for each in (process, engine._process):
        each._process.kill()


@pytest.mark.slow
def test_the_other_process_draws_the_same_and_is_done_without_once_it_has_gone(process):
    picture, library = engine.begin("picture", SPEC, 2), engine.begin("library")
    broken = engine.begin("picture", {"mark": "no mark"}, 2)
    here = engine.picture(SPEC, 2)
    assert (picture().png, picture().svg) == (here.png, here.svg)  # a PDF names its time
    assert picture().pdf.startswith(b"%PDF")
    assert "window.vega=" in library()
    assert not Path(engine._process._path).exists()  # nothing is left if this process is killed
    with pytest.raises(
        engine.NotDrawnError, match=r"^Vega-Lite to SVG conversion failed: TypeError"
    ):
        broken()
    titled = engine.begin("picture", SPEC | {"title": "c\x1b[31mv\ud800\uffff"}, 2)
    assert b">c\xef\xbf\xbd[31mv" in titled().svg
    process.kill()
    process.join()
    assert engine.begin("picture", SPEC, 2)().svg == here.svg
    assert engine._process._process is not process  # by another one, which is asked once


def test_vega_is_bundled_once_and_again_if_what_was_kept_is_damaged(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    bundled = []

    def bundle(define):
        bundled.append(define)
        return f"ς; {define}"

    monkeypatch.setattr(vl_convert, "javascript_bundle", bundle)
    library = engine.library.__wrapped__  # as another process calls it
    script = library()
    assert (library(), bundled) == (script, [script.removeprefix("ς; ")])
    (kept,) = tmp_path.rglob("*.js")
    kept.write_bytes(kept.read_bytes()[:-1])
    assert (library(), library(), len(bundled)) == (script, script, 2)
    tmp_path.joinpath("file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # no folder can be made in it
    assert library() == script


# What vl-convert prints of a character that XML lacks, and V8 where it gets no memory.
PANIC = """
thread '<unnamed>' (6795) panicked at vl-convert-rs/src/text.rs:370:50:
Failed to parse text SVG: ParsingFailed(NonXmlChar('\x07', TextPos { row: 3, col: 90 }))
stack backtrace:
note: Some details are omitted, run with `RUST_BACKTRACE=full` for a verbose backtrace.

thread '<unnamed>' (6795) panicked at library/core/src/panicking.rs:230:5:
panic in a function that cannot unwind
stack backtrace:
   0:     0x7f5e352fc412 - <unknown>
   1: rust_begin_unwind
             at /rustc/library/std/src/panicking.rs:697:5
thread caused non-unwinding panic. aborting.
"""
NO_MEMORY = """
#
# Fatal process out of memory: Oilpan: CagedHeap reservation.
#
==== C stack trace ===============================

    /lib/python3/vl_convert.abi3.so(+0x3a90103) [0x7f285f690103]
"""


@pytest.fixture
def dying(monkeypatch):
    """Return a function that makes processes which print words and end; nothing is drawn here."""
    process, started = engine.SPAWN.Process, []

    def begin(words, number):
        def start(*, args, **_):
            started.append(args)
            return process(target=functools.partial(dies, words, int(number)), args=args)

        monkeypatch.setattr(engine.SPAWN, "Process", start)
        monkeypatch.setattr(engine, "_process", None)
        engine.start()
        monkeypatch.setitem(engine.FUNCTIONS, "picture", lambda *_: pytest.fail("drawn here"))
        return started

    return begin


@pytest.mark.skipif(os.name == "nt", reason="a signal ends it")
@pytest.mark.parametrize(
    ("number", "words", "said", "memory"),
    [
        (
            signal.SIGABRT,
            PANIC,
            "ended by SIGABRT, and its last words were: Failed to parse text SVG: "
            "ParsingFailed(NonXmlChar('�', TextPos { row: 3, col: 90 })); panic in a function that "
            "cannot unwind; thread caused non-unwinding panic. aborting",
            False,
        ),
        (
            signal.SIGTRAP,
            NO_MEMORY,
            "ended by SIGTRAP, and its last words were: Fatal process out of memory: Oilpan: "
            "CagedHeap reservation",
            True,
        ),
        (signal.SIGKILL, "", "ended by SIGKILL, without a word", True),
        (signal.SIGSEGV, "", "ended by SIGSEGV, without a word", False),
    ],
)
def test_a_death_is_told_by_its_signal_and_last_words(dying, number, words, said, memory):
    """After one more process; memory is named and the command promised only where they say so."""
    started = dying(words, number)
    with pytest.raises(engine.NotDrawnError) as caught:
        engine.begin("picture", SPEC, 2)()
    remedy = (
        "; a lack of memory looks like that: try the same command with more of it, or with a "
        "higher limit (ulimit -v)"
    )
    assert str(caught.value) == f"the process that draws was {said}{remedy if memory else ''}"
    assert len(started) == 2


def test_a_process_that_ended_by_itself_is_done_without(dying, monkeypatch):
    dying("no module", 0)
    monkeypatch.setitem(engine.FUNCTIONS, "picture", lambda spec, scale: (spec, scale))
    drawn = engine.begin("picture", {"title": "a\x00", "text": "👍 or more"}, 2)()
    assert drawn == ({"title": "a�", "text": "� or more"}, 2)


@pytest.mark.skipif(os.name == "nt", reason="a signal ends it")
def test_another_process_that_cannot_start_is_said(dying, monkeypatch):
    dying("", signal.SIGSEGV)

    def none(*_, **__):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(engine.SPAWN, "Process", none)
    with pytest.raises(
        engine.NotDrawnError, match=r"SIGSEGV, .*, and another cannot start: Cannot"
    ):
        engine.begin("picture", SPEC, 2)()


@pytest.mark.slow
def test_a_picture_without_marks_is_an_error_that_says_what_the_engine_said(process):
    """Subnormal numbers on a scale for which the engine finds no ticks; and no rows at all."""
    subnormal = [{"x": 0, "y": 1e-309}, {"x": 1, "y": 2e-309}]
    axis = {**SPEC["encoding"]["y"], "scale": {"type": "log"}}
    encoding = {**SPEC["encoding"], "y": axis}
    spec = SPEC | {"data": {"values": subnormal}, "encoding": encoding}
    with pytest.raises(engine.NotDrawnError, match="the engine said: ERROR RangeError: Invalid"):
        engine.begin("picture", spec, 1)()
    with pytest.raises(engine.NotDrawnError, match=r"^the picture holds no marks"):
        engine.begin("picture", SPEC | {"data": {"values": []}}, 1)()
    assert engine.MARKS.search(engine.begin("picture", SPEC, 1)().svg)


@pytest.mark.parametrize(
    ("svg", "words"),
    [
        ('width="10" height="10"><g class="mark-rule role-mark marks"><line/></g>', "has no size"),
        ('width="300" height="200"><g class="mark-line role-mark marks"/>', "holds no marks"),
        ('width="300" height="200"><g class="mark-rule role-axis-grid"><line/>', "holds no marks"),
    ],
)
def test_what_the_engine_draws_is_checked(monkeypatch, svg, words):
    monkeypatch.setattr(engine, "_drawn", lambda *_: engine.Picture(b"", svg.encode(), b""))
    svg = f'<svg xmlns="x" class="marks" {svg}</svg>'
    with pytest.raises(engine.NotDrawnError, match=words):
        engine.begin("picture", SPEC, 1)()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="by prctl")
def test_the_process_that_draws_ends_with_its_parent():
    child = (
        "import os, time; from experiments.pages import engine; engine.end_with(os.getppid()); "
        "print(os.getpid(), flush=True); time.sleep(600)"
    )
    code = f"""
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {child!r}], stdout=subprocess.PIPE)
print(child.stdout.readline().decode(), flush=True)
os._exit(1)
"""
    pid = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout)
    stat = Path(f"/proc/{pid}/stat")
    for _ in range(3000):
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("it goes on")


def test_a_page_without_the_library_says_why(monkeypatch):
    def none(*_):
        raise engine.NotDrawnError("</script> is no engine")

    monkeypatch.setattr(web, "library", none)
    page = web.render("chart.html.jinja", "chart.js", [SPEC], title="t", lines=[], note="")
    script = r'const vega = { parse() { throw new Error("\u003c/script\u003e is no engine"); } };'
    assert web.packed(script) in page
