"""The process that draws: the same files as without it, also when it has gone."""

import os
import subprocess
import sys

import pytest
import vl_convert

from experiments.pages import engine

SPEC = {"mark": "line", "data": {"values": [{"x": 0, "y": 1}, {"x": 1, "y": 2}]}} | {
    "encoding": {axis: {"field": axis, "type": "quantitative"} for axis in ("x", "y")}
}


@pytest.fixture
def process(monkeypatch):
    monkeypatch.setattr(engine, "_process", None)
    engine.start()
    process = engine._process
    yield process._process
    process._process.kill()


def test_the_other_process_draws_the_same_and_is_done_without_once_it_has_gone(process):
    picture, library = engine.begin("picture", SPEC, 2), engine.begin("library", "6.1")
    broken = engine.begin("picture", {"mark": "no mark"}, 2)
    here = engine.picture(SPEC, 2)
    assert (picture().png, picture().svg) == (here.png, here.svg)  # a PDF names its time
    assert picture().pdf.startswith(b"%PDF")
    assert "vegaEmbed" in library()
    with pytest.raises(ValueError, match="conversion failed"):
        broken()
    process.kill()
    process.wait()
    assert engine.begin("picture", SPEC, 2)().svg == here.svg


def test_vega_is_bundled_once_and_again_if_what_was_kept_is_damaged(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    bundled = []

    def bundle(define, vl_version):
        bundled.append(vl_version)
        return f"ς; {define}"

    monkeypatch.setattr(vl_convert, "javascript_bundle", bundle)
    library = engine.library.__wrapped__  # as another process calls it
    script = library("6.4")
    assert (library("6.4"), bundled) == (script, ["6.4"])
    (kept,) = tmp_path.rglob("*.js")
    kept.write_bytes(kept.read_bytes()[:-1])
    assert (library("6.4"), library("6.4"), bundled) == (script, script, ["6.4"] * 2)
    tmp_path.joinpath("file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # no folder can be made in it
    assert library("6.4") == script


@pytest.mark.skipif(os.name == "nt", reason="a signal ends it")
def test_a_process_that_crashed_is_one_sentence_and_not_tried_here(monkeypatch):
    """As the JavaScript engine does when it is given too little memory."""
    crashing = [sys.executable, "-S", "-c", "import os; os.kill(os.getpid(), 5)"]
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda _, **pipes: popen(crashing, **pipes))
    monkeypatch.setattr(engine, "_process", None)
    engine.start()
    monkeypatch.setitem(engine.FUNCTIONS, "picture", lambda *_: pytest.fail("drawn here"))
    with pytest.raises(OSError, match=r"^charts: .* ended by SIGTRAP, mostly for lack of memory"):
        engine.begin("picture", SPEC, 2)()
