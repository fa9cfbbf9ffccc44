"""vl-convert, in a process of its own while this one measures.

Its JavaScript engine takes half a second to start and one to bundle Vega, holding Python's lock all
the time. So a command starts the process first of all (`start`), and it gets ready while this one
imports, compiles and measures; later it draws while this one writes the page. The bundle is kept in
the user's cache folder for the next command. Without the process, as in a test or a notebook, and
if it has ended by itself, the same functions run here. If a signal has ended it, another process is
asked, once: what ends a process would end this one too.

A request is the name of a function and its arguments, an answer its result and an error.
"""

import atexit
import contextlib
import ctypes
import hashlib
import mmap
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from importlib import metadata
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import platformdirs

SPAWN = multiprocessing.get_context("spawn")  # as safe once there are threads, and on any system


# Of an SVG by Vega: a group of marks that is not empty; one of axes has another role.
SIZE = re.compile(rb'<svg [^>]*width="([0-9.]+)" height="([0-9.]+)"')
LEAST = 40  # pixels; of a picture that is not laid out there are 10
MARKS = re.compile(rb'class="mark-\w+ role-mark[^>]*[^>/]>')


class Picture(NamedTuple):
    """A chart as files."""

    png: bytes
    svg: bytes
    pdf: bytes


def picture(spec: dict[str, Any], scale: float) -> Picture:
    """Return a picture of a Vega-Lite specification with its data.

    Raises:
        ValueError: there is none, or one that holds no marks.
    """
    made = _drawn(spec, scale)
    if MARKS.search(made.svg) is None:
        raise ValueError("the picture holds no marks")
    size = SIZE.match(made.svg)
    if size is None or min(float(size[1]), float(size[2])) < LEAST:
        raise ValueError("the picture has no size: the engine ended before it had placed its parts")
    return made


def _drawn(spec: dict[str, Any], scale: float) -> Picture:
    import vl_convert  # here and below, for the other process has to start before all imports

    svg = vl_convert.vegalite_to_svg(spec, vl_version=_version(spec))
    png, pdf = vl_convert.svg_to_png(svg, scale=scale), vl_convert.svg_to_pdf(svg)
    return Picture(png, svg.encode("utf-8"), pdf)


def compiled(specs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return specifications of Vega-Lite in Vega, which a third of the libraries can draw."""
    import vl_convert

    return [vl_convert.vegalite_to_vega(spec, vl_version=_version(spec)) for spec in specs]


def _version(spec: dict[str, Any]) -> str:
    """Return the version of Vega-Lite, which mostly is the newest, as vl-convert names it."""
    import vl_convert

    _, _, version = spec.get("$schema", "").rpartition("/")  # such as v6.4.1.json
    newest: str = vl_convert.get_vegalite_versions()[-1]
    return ".".join(version.lstrip("v").split(".")[:2]) or newest


# What draws charts, interprets their expressions, and shows tooltips.
PARTS = {
    "vega": "parse, View",
    "vega-interpreter": "expressionInterpreter",
    "vega-tooltip": "Handler",
}


@cache
def library() -> str:
    """Return a script that defines `vega`, with `PARTS`.

    Vega-Lite and the rest of Vega-Embed are a third of what all weigh.
    """
    import vl_convert

    stored = stored_library()
    if stored is not None:
        return stored
    script = vl_convert.javascript_bundle(_definition()).encode()
    kept = _place()
    with contextlib.suppress(OSError):  # then the next command bundles it too
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(b"\n".join((_digest(script), script)))
    return script.decode()


def _definition() -> str:
    """Return the module that the script is bundled from.

    The engine has its parts under addresses that it names nowhere but in its own file.
    """
    import vl_convert

    (file,) = Path(vl_convert.__file__).parent.glob("vl_convert.*")
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as code:
        lines = [
            f'import {{ {names} }} from "{address[0].decode()}";'
            for part, names in PARTS.items()
            for address in re.finditer(rb"/npm/%s@[\d.]+/\+esm" % part.encode(), code)
        ]
    return "\n".join([*dict.fromkeys(lines), f"window.vega = {{ {', '.join(PARTS.values())} }};"])


def stored_library() -> str | None:
    """Return `library` if an earlier command has stored it, which takes no engine."""
    with contextlib.suppress(OSError):
        digest, _, script = _place().read_bytes().partition(b"\n")
        if digest == _digest(script):  # else it is damaged, or not yet whole
            return script.decode()
    return None


def _place() -> Path:
    name = f"vega-of-{metadata.version('vl-convert-python')}.js"
    return platformdirs.user_cache_path("jaxnn") / "scripts" / name


def _digest(script: bytes) -> bytes:
    return hashlib.sha256(script).hexdigest().encode()


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "picture": picture,
    "compiled": compiled,
    "library": library,
}
SET_DEATH_SIGNAL = 1  # of prctl
EMPTY = {"mark": "point", "data": {"values": []}}  # drawn to start the engine


# Of what the engine prints when it ends: frames of a stack, and the lines around them.
FRAMES = re.compile(
    r"\s*(#?\s*\d+: |at |/|#?$|=+ .*stack)|stack backtrace|note: |thread '.*' .*panicked"
)
MOST_SAID = 1 << 20  # bytes of what it prints that are read
MOST_WORDS = 400  # characters of the rest, the last ones
SHORT_OF_MEMORY = re.compile(r"out of memory|allocat", re.IGNORECASE)


class NotDrawnError(OSError):
    """A picture could not be drawn: what the engine said, and what to do.

    Attributes:
        files: of the picture that could be made nevertheless, by name.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.files: dict[str, bytes] = {}


def last_words(text: str) -> str:
    r"""Return what a process printed before it ended, in one line and without its stack.

    Example:
        >>> last_words("thread 'x' panicked at a.rs:1:\nno font\nstack backtrace:\n  0: 0x7f\n")
        'no font'
    """
    from jaxnn.texts import clean

    lines = [line.strip(" #\t\r") for line in text.split("\n") if not FRAMES.match(line)]
    words = clean("; ".join(filter(None, lines))).replace(":; ", ": ").rstrip(".")
    return words if len(words) <= MOST_WORDS else f"…{words[-MOST_WORDS:]}"


class _Process:
    """The other process; a thread of this one waits for its answers, one after the other."""

    def __init__(self) -> None:
        # Signals are for this process; if it ends, so do the pipe and the other one. What it prints
        # is read if it dies. Linux takes the end of the thread that starts a process for that of
        # its parent.
        is_main = threading.current_thread() is threading.main_thread()
        parent = os.getpid() if is_main else None
        printed, self._path = tempfile.mkstemp()
        self._printed = os.fdopen(printed, "rb")
        self._pipe, others = SPAWN.Pipe()
        arguments = (others, self._path, parent)
        try:
            self._process = SPAWN.Process(target=serve, args=arguments, daemon=True)
            self._process.start()
        except BaseException:
            self._forget()
            raise
        others.close()  # so that the end of the other process is that of the pipe
        atexit.register(self.close)
        self._thread = ThreadPoolExecutor(1, "drawing")

    def ask(self, name: str, arguments: tuple[Any, ...]) -> Future[Any]:
        """Return what a function will return, or NotDrawnError; EOFError if the process ends."""
        return self._thread.submit(self._answer, name, arguments)

    def _answer(self, name: str, arguments: tuple[Any, ...]) -> Any:
        with contextlib.suppress(OSError):  # it has gone: then there is no answer
            self._pipe.send((name, arguments))
        try:
            result, error = self._pipe.recv()
        except OSError as broken:
            raise EOFError from broken
        if error is not None:
            raise NotDrawnError(last_words(error))
        return result

    def close(self) -> None:
        """End it; it ignores what Python would end it with."""
        self._process.kill()
        self._forget()

    def _forget(self) -> None:
        self._printed.close()
        with contextlib.suppress(OSError):  # the other process has deleted it
            Path(self._path).unlink()

    def death(self) -> str | None:
        """Return by what it was ended and its last words; None if it ended by itself."""
        self._process.join(10)
        code = self._process.exitcode
        if code is None or 0 <= code < 256:  # or it lives, and says nothing that can be read
            return None
        signals = {-each: each.name for each in signal.Signals}
        by = signals.get(code) or f"error {code:#x}"  # as Windows has it
        words = last_words(self._printed.read().decode(errors="replace"))
        sentence = f"the process that draws was ended by {by}, " + (
            f"and its last words were: {words}" if words else "without a word"
        )
        if by == "SIGKILL" or SHORT_OF_MEMORY.search(words):
            sentence += (
                "; a lack of memory looks like that: try the same command with more of it, or with "
                "a higher limit (ulimit -v)"
            )
        return sentence


_process: _Process | None = None
_starting = threading.Lock()


def start() -> None:
    """Start the other process, for a command that will draw."""
    global _process
    if _process is None:
        with contextlib.suppress(OSError):  # no memory for it: drawn here
            _process = _Process()


def begin(name: str, *arguments: object) -> Callable[[], Any]:
    """Begin a function of `FUNCTIONS` in the other process, if there is one.

    The texts of its arguments are made drawable: the engine aborts over a character that XML lacks.

    Returns:
        A function that waits for the result and returns it; it raises NotDrawnError if there is
        none.
    """
    from jaxnn.texts import drawable  # here and above, for it imports JAX

    arguments = drawable(arguments)
    here, process = partial(_here, name, arguments), _process
    if process is None:
        return here
    answer = process.ask(name, arguments)

    def wait() -> Any:
        try:
            return answer.result()
        except EOFError:
            if process.death() is None:
                return here()
        another = _another(process)
        try:
            return another.ask(name, arguments).result()
        except EOFError:
            raise NotDrawnError(another.death() or "the process that draws has ended") from None

    return wait


def _here(name: str, arguments: tuple[Any, ...]) -> Any:
    try:
        return FUNCTIONS[name](*arguments)
    except ValueError as error:  # of vl-convert
        raise NotDrawnError(last_words(str(error))) from None


def _another(process: _Process) -> _Process:
    """Return a process that is not this one, which has died."""
    global _process
    with _starting:
        if _process is None or _process is process:
            try:
                _process = _Process()
            except OSError as error:
                sentence = f"{process.death()}, and another cannot start: {error.strerror}"
                raise NotDrawnError(sentence) from None
        return _process


def end_with(parent: int) -> None:
    """Let Linux end this process with its parent; the engine hears nothing while it works."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended meanwhile
        os._exit(0)


def serve(requests: Connection, printed: str, parent: int | None) -> None:
    """Answer requests, a function's name and arguments, with its result and error.

    Until the pipe, or the process of that number, ends. What is printed goes into that file.
    """
    if parent is not None:
        end_with(parent)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    file = os.open(printed, os.O_RDWR | os.O_APPEND)
    with contextlib.suppress(OSError):  # of another system than POSIX: at the end
        Path(printed).unlink()
    for stream in (1, 2):
        os.dup2(file, stream)
    library()
    _drawn(EMPTY, 1)
    with contextlib.suppress(EOFError, OSError):  # nobody waits any more
        while True:
            name, arguments = requests.recv()
            before = os.lseek(file, 0, os.SEEK_END)
            try:
                result, error = FUNCTIONS[name](*arguments), None
            except Exception as failure:
                said = last_words(os.pread(file, MOST_SAID, before).decode(errors="replace"))
                result, error = (
                    None,
                    f"{failure}\nthe engine said: {said}" if said else str(failure),
                )
            requests.send((result, error))
