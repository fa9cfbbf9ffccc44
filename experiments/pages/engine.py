"""vl-convert, in a process of its own while this one measures.

Its JavaScript engine takes a second to start and to bundle Vega, holding Python's lock all the
time. So a command starts the process first of all (`start`), and it gets ready while this one
imports, compiles and measures; later it draws while this one writes the page. Without it, as in a
test or a notebook, and if it has gone, the same functions run here.

A request is the name of a function and its arguments, an answer (whether it worked, the result or
error), both pickled, over the pipes of a process of this program.
"""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import cache, partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
CALL = "import sys; sys.path.insert(0, sys.argv[1]); from experiments.pages import engine; "


class Picture(NamedTuple):
    """A chart as files."""

    png: bytes
    svg: bytes
    pdf: bytes


def picture(spec: dict[str, Any], scale: float) -> Picture:
    """Return a picture of a Vega-Lite specification with its data.

    Args:
        spec: as Altair makes it.
        scale: pixels of the PNG for one of the chart.
    """
    import vl_convert  # here and below, for the other process has to start before all imports

    svg = vl_convert.vegalite_to_svg(spec, vl_version=_version())
    png, pdf = vl_convert.svg_to_png(svg, scale=scale), vl_convert.svg_to_pdf(svg)
    return Picture(png, svg.encode("utf-8"), pdf)


@cache
def library() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script that defines `vegaEmbed`."""
    import vl_convert

    define = "window.vegaEmbed = vegaEmbed;"
    script: str = vl_convert.javascript_bundle(define, vl_version=_version())
    return script


def _version() -> str:
    """The version of Vega-Lite that Altair writes."""
    import altair

    return ".".join(altair.SCHEMA_VERSION.lstrip("v").split(".")[:2])


FUNCTIONS: dict[str, Callable[..., Any]] = {"picture": picture, "library": library}
EMPTY = {"mark": "point", "data": {"values": []}}  # drawn to start the engine


class _Process:
    """The other process; a thread of this one reads its answers."""

    def __init__(self) -> None:
        # Not by -m: that imports this module twice. Signals are for this process; if it ends, so
        # do the pipe and the other one.
        self._process = subprocess.Popen(
            [sys.executable, "-c", CALL + "engine.serve()", str(ROOT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._waiting: SimpleQueue[Future[Any]] = SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def ask(self, name: str, arguments: tuple[Any, ...]) -> Future[Any]:
        answer: Future[Any] = Future()
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it has gone: the listener will see
            self._process.stdin.write(pickle.dumps((name, arguments)))
            self._process.stdin.flush()
        self._waiting.put(answer)
        return answer

    def _listen(self) -> None:
        assert self._process.stdout is not None
        while True:
            answer = self._waiting.get()
            try:
                worked, result = pickle.load(self._process.stdout)
            except (OSError, EOFError, pickle.UnpicklingError):
                answer.set_exception(_GoneError())
            else:
                (answer.set_result if worked else answer.set_exception)(result)


class _GoneError(Exception):
    """The other process has ended."""


_process: _Process | None = None


def start() -> None:
    """Start the other process, for a command that will draw."""
    global _process
    if _process is None:
        with contextlib.suppress(OSError):  # no memory for it: drawn here
            _process = _Process()


def begin(name: str, *arguments: Any) -> Callable[[], Any]:
    """Begin a function of `FUNCTIONS` in the other process, if there is one.

    Returns:
        A function that waits for the result and returns it.
    """
    here = partial(FUNCTIONS[name], *arguments)
    if _process is None:
        return here
    answer = _process.ask(name, arguments)

    def wait() -> Any:
        try:
            return answer.result()
        except _GoneError:
            return here()

    return wait


def serve() -> None:
    """Answer the requests that come on stdin, until it ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever is printed is no answer
    library()
    picture(EMPTY, 1)
    with contextlib.suppress(EOFError, OSError):  # nobody asks, or waits, any more
        while True:
            name, arguments = pickle.load(requests)
            try:
                answer = True, FUNCTIONS[name](*arguments)
            except Exception as error:
                answer = False, error
            pickle.dump(answer, answers)
            answers.flush()
