"""vl-convert, in a process of its own while this one measures.

Its JavaScript engine holds Python's lock while it starts (.5 s of a core), bundles what a page
draws with (1.8 s, for the first command alone) and draws. So a command starts the process first of
all (`start`), while one core imports: the depth sweep takes 23.3 s, without it 25.5 s (medians of
three alternating runs with nothing stored, two cores). Without it, as in a test or a notebook, the
same functions run here.
"""

import atexit
import contextlib
import hashlib
import multiprocessing
import re
import signal
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from importlib import metadata
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import platformdirs

# Of an SVG by Vega: its size, and a group of marks that is not empty; of axes the role is another.
SIZE = re.compile(rb'<svg [^>]*width="([0-9.]+)" height="([0-9.]+)"')
LEAST = 40  # pixels; a picture that is not laid out has 10
MARKS = re.compile(rb'class="mark-\w+ role-mark[^>]*[^>/]>')
EMPTY = {"mark": "point", "data": {"values": []}}  # drawn to start the engine
FRAMES = re.compile(r"\s*(at |#?\d+: |stack backtrace|note: |#?$)")  # of a stack, in a message
LIBRARY = "window.vegaEmbed = vegaEmbed;"


class Picture(NamedTuple):
    """A chart as files."""

    png: bytes
    svg: bytes
    pdf: bytes


class NotDrawnError(OSError):
    """A picture could not be drawn: what the engine said."""


def picture(spec: dict[str, Any], scale: float) -> Picture:
    """Return a picture of a Vega-Lite specification with its data."""
    made = _drawn(spec, scale)
    if MARKS.search(made.svg) is None:
        raise ValueError("the picture holds no marks")
    size = SIZE.match(made.svg)
    if size is None or min(float(size[1]), float(size[2])) < LEAST:
        raise ValueError("the picture has no size: the engine ended before it had placed its parts")
    return made


def _drawn(spec: dict[str, Any], scale: float) -> Picture:
    import vl_convert  # here and below, for the other process has to start before all imports

    svg = vl_convert.vegalite_to_svg(spec)
    png, pdf = vl_convert.svg_to_png(svg, scale=scale), vl_convert.svg_to_pdf(svg)
    return Picture(png, svg.encode("utf-8"), pdf)


@cache
def library() -> str:
    """Return a script that defines `vegaEmbed`; it is bundled once, and stored for next time."""
    import vl_convert

    name = f"vega-embed-of-{metadata.version('vl-convert-python')}.js"
    stored = platformdirs.user_cache_path("jaxnn") / "scripts" / name
    with contextlib.suppress(OSError):
        digest, _, script = stored.read_bytes().partition(b"\n")
        if digest == _digest(script):  # else it is damaged, or not yet whole
            return script.decode()
    script = vl_convert.javascript_bundle(LIBRARY).encode()
    with contextlib.suppress(OSError):  # then the next command bundles it too
        stored.parent.mkdir(parents=True, exist_ok=True)
        stored.write_bytes(b"\n".join((_digest(script), script)))
    return script.decode()


def _digest(script: bytes) -> bytes:
    return hashlib.sha256(script).hexdigest().encode()


FUNCTIONS: dict[str, Callable[..., Any]] = {"picture": picture, "library": library}


class _Process:
    """The other process; a thread of this one asks it one thing after the other."""

    def __init__(self) -> None:
        self._start()
        self._thread = ThreadPoolExecutor(1, "drawing")

    def _start(self) -> None:
        spawn = multiprocessing.get_context("spawn")  # as safe once there are threads
        self._pipe, others = spawn.Pipe()
        self._process = spawn.Process(target=serve, args=(others,), daemon=True)
        self._process.start()
        atexit.register(self._process.kill)  # it ignores what Python would end it with
        others.close()  # so that the end of either process is that of the pipe

    def ask(self, name: str, *arguments: Any) -> Future[Any]:
        """Return what a function will return; OSError or EOFError if the process has ended."""
        return self._thread.submit(self._answer, name, arguments)

    def _answer(self, name: str, arguments: tuple[Any, ...]) -> Any:
        if not self._process.is_alive():  # the engine has aborted over a picture
            self._start()
        try:
            self._pipe.send((name, arguments))
            result, error = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join(1.0)  # until it is known to be dead
            raise
        if error is not None:
            raise ValueError(error)
        return result


_process: _Process | None = None


def start() -> None:
    """Start the other process, for a command that will draw."""
    global _process
    with contextlib.suppress(OSError):  # no memory for it: drawn here
        _process = _process or _Process()


def begin(name: str, *arguments: object) -> Callable[[], Any]:
    """Begin a function of `FUNCTIONS` in the other process, if there is one.

    The texts of its arguments are made drawable: the engine aborts over a character that XML lacks.

    Returns:
        A function that waits for the result; it raises NotDrawnError if there is none.
    """
    from jaxnn.texts import clean, drawable  # here, for it imports JAX

    given = drawable(arguments)
    result: Callable[[], Any] = partial(FUNCTIONS[name], *given)
    if _process is not None:
        result = _process.ask(name, *given).result

    def wait() -> Any:
        try:
            return result()
        except ValueError as error:  # of vl-convert
            lines = [line.strip() for line in str(error).split("\n") if not FRAMES.match(line)]
            raise NotDrawnError(clean("; ".join(lines)).replace(":; ", ": ")) from None
        except (EOFError, OSError):
            raise NotDrawnError(
                "the process that draws has ended; the same command again draws, and measures "
                "nothing anew"
            ) from None

    return wait


def serve(requests: Connection) -> None:
    """Answer requests, a function's name and arguments, with its result and error, to the end."""
    for number in (signal.SIGINT, signal.SIGTERM):  # which are for the other process
        signal.signal(number, signal.SIG_IGN)
    _drawn(EMPTY, 1)
    library()
    with contextlib.suppress(EOFError, OSError):  # nobody waits any more
        while True:
            name, arguments = requests.recv()
            try:
                answer: tuple[Any, str | None] = FUNCTIONS[name](*arguments), None
            except Exception as failure:
                answer = None, str(failure)
            requests.send(answer)
