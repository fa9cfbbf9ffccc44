"""The engine that draws: here and in a process of its own, the same pictures, and what it lacks."""

import os
import signal

import pytest
import vl_convert

from experiments.pages import engine, run_page, web

SPEC = {"mark": "line", "data": {"values": [{"x": 0, "y": 1}, {"x": 1, "y": 2}]}} | {
    "encoding": {axis: {"field": axis, "type": "quantitative"} for axis in ("x", "y")}
}


@pytest.fixture
def process(monkeypatch):
    monkeypatch.setattr(engine, "_process", None)
    engine.start()
    yield engine._process
    engine._process._process.kill()


@pytest.mark.slow
def test_the_other_process_draws_the_same_and_its_end_is_told(process):
    picture, library = engine.begin("picture", SPEC, 2), engine.begin("library")
    broken = engine.begin("picture", {"mark": "no mark"}, 2)
    here = engine.picture(SPEC, 2)
    assert (picture().png, picture().svg) == (here.png, here.svg)  # a PDF names its time
    assert picture().pdf.startswith(b"%PDF")
    assert "window.vegaEmbed=" in library()
    said = r"^Vega-Lite to SVG conversion failed: TypeError"
    with pytest.raises(engine.NotDrawnError, match=said):
        broken()
    titled = engine.begin("picture", SPEC | {"title": "c\x1b[31mv\ud800\uffff"}, 2)
    assert b">c\xef\xbf\xbd[31mv" in titled().svg
    with pytest.raises(engine.NotDrawnError, match=r"^the picture holds no marks"):
        engine.begin("picture", SPEC | {"data": {"values": []}}, 1)()
    os.kill(process._process.pid, signal.SIGSTOP)  # as in the midst of a picture
    of_dead = engine.begin("picture", SPEC, 2)
    process._process.kill()
    with pytest.raises(engine.NotDrawnError, match="has ended; the same command again draws"):
        of_dead()
    assert engine.begin("picture", SPEC, 2)().svg == here.svg  # by a new one


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


def test_a_page_without_the_library_says_why(monkeypatch):
    def failing(*_):
        raise ValueError("</script> is no engine\n    at draw (vega.js:1)")

    monkeypatch.setitem(engine.FUNCTIONS, "library", failing)
    monkeypatch.setattr(engine, "_process", None)
    web.library.cache_clear()
    none = run_page.Page("", "", run_page.Answer(""), (), (), (), {}, run_page.Numbers("", {}), ())
    page = run_page.Html(lambda: none).written()
    web.library.cache_clear()
    script = r'const vegaEmbed = () => { throw new Error("\u003c/script\u003e is no engine"); };'
    assert web.packed(script) in page
