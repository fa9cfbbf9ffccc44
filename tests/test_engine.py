"""The process that draws: the same files as without it, also when it has gone."""

import os
import subprocess
import sys

import pytest

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
    picture, library = engine.begin("picture", SPEC, 2), engine.begin("library")
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
