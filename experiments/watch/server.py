"""A server of the live page, for this machine alone."""

import codecs
import json
import socketserver
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from experiments.pages import run_page
from experiments.watch.page import page
from jaxnn.texts import clean
from jaxnn.watching.journal import FILE
from jaxnn.watching.reading import DamagedError, checked_line, record_of
from jaxnn.watching.watched import Watched

HOST = "127.0.0.1"
LAST = 2**10  # bytes of what was read by which a file is known again
MOST_SENT = 8  # states of pages that are open


def written(folders: Sequence[Path]) -> str:
    """Return the page as a text that stands alone."""
    watches = [record_of(folder)[0] for folder in folders]
    return run_page.Html(lambda: page(folders, watches)).written()


class Tail:
    """The record of a folder that is read on from where it ended, while a training writes it."""

    def __init__(self, folder: Path):
        self.path, self.watched = folder / FILE, Watched()
        self._end, self._last = 0, b""  # of what was read

    def read(self) -> Watched:
        """Read what is new, and return the record; of a file that was replaced, all of it."""
        with self.path.open("rb") as file:
            file.seek(self._end - len(self._last))
            if file.read(len(self._last)) != self._last:
                self.watched, self._end, self._last = Watched(), 0, b""
                file.seek(0)
            whole, newline, _ = file.read().rpartition(b"\n")
        for row in whole.removeprefix(codecs.BOM_UTF8).split(b"\n"):
            if row.strip():
                with suppress(DamagedError, RecursionError):
                    self.watched.add(checked_line(row, self.watched))
        self._end += len(whole) + len(newline)
        self._last = (self._last + whole + newline)[-LAST:]
        return self.watched


class Live:
    """The page of folders to which a training may write, and what the last few of it had.

    Of the files only what is new is read, and a page that is open is sent the rows it lacks.
    """

    def __init__(self, folders: Sequence[Path]):
        self.folders = folders
        self._tails = [Tail(folder) for folder in folders]
        self._sent: dict[str, run_page.Tables] = {}  # by the state of a page
        self._lock = threading.Lock()

    def now(self) -> run_page.Html:
        """Return the page as it is now."""
        with self._lock:
            live = state(self.folders)
            watches = [tail.read() for tail in self._tails]
            html = run_page.Html(lambda: page(self.folders, watches), live=live)
            self._sent[live] = html.data
            for old in [*self._sent][:-MOST_SENT]:
                del self._sent[old]
            return html

    def fresh(self, known: str) -> dict[str, Any]:
        """Return what a page lacks, given its state."""
        if known == state(self.folders):
            return {"state": known}
        before = self._sent.get(known, {})
        return self.now().fresh(before)


def state(folders: Sequence[Path]) -> str:
    """Return a text that changes whenever a training records something."""
    files = [(folder / FILE).stat() for folder in folders]
    return "-".join(f"{file.st_size}.{file.st_mtime_ns}" for file in files)


class Server(socketserver.ThreadingTCPServer):
    """Serves the page of folders at / and what it draws at /now, to this machine alone."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, folders: Sequence[Path], port: int):
        self.live = Live(folders)
        super().__init__((HOST, port), Handler)

    @cached_property
    def hosts(self) -> tuple[str, ...]:
        """The names under which a browser of this machine asks; a page of another site has none."""
        port = self.server_address[1]
        return (f"{HOST}:{port}", f"localhost:{port}")

    @property
    def address(self) -> str:
        """The address of the page."""
        return f"http://{HOST}:{self.server_address[1]}/"


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Server

    def handle(self) -> None:
        """Answer, unless the tab that asks is closed meanwhile."""
        with suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        """Answer with the page, or with what is new since the state that the page knows."""
        try:
            answer = self._got(*self.path.split("?", 1))
        except (OSError, ValueError) as error:  # of a folder that is gone
            answer = 503, "text/plain", str(error)
        self._answer(*answer)

    def _got(self, path: str, known: str = "") -> tuple[int, str, str]:
        if self.headers.get("Host") not in self.server.hosts:
            return 403, "text/plain", "this page is for this machine alone"
        if path == "/":
            return 200, "text/html", self.server.live.now().written()
        if path == "/now":
            fresh = json.dumps(self.server.live.fresh(known), allow_nan=False)
            return 200, "application/json", fresh
        return 404, "text/plain", "there is nothing here"

    def _answer(self, code: int, kind: str, text: str) -> None:
        content = text.encode()
        self.send_response(code)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002, the library's name
        """Print nothing: a page that is open asks every two seconds."""


def serve(folders: Sequence[Path], port: int) -> None:
    """Serve the page until Ctrl-C."""
    try:
        server = Server(folders, port)
    except OSError as error:
        raise OSError(
            f"port: {port} cannot be used ({clean(str(error.strerror))}); choose another, or 0"
        ) from None
    with server:
        says = "shows it while it trains; Ctrl-C ends the page, not the training"
        print(f"{server.address} {says}", flush=True)  # now, to a pipe too
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
