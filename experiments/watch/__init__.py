"""The live page of a watched training: python -m experiments watch FOLDER.

`watch.jsonl of a folder, or of two -> page -> a server on this machine, or a file`. The page asks
the server for what is new, so it can be left open while the network trains.
"""

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import tyro

from experiments.runs import runtime
from jaxnn.texts import clean

log = logging.getLogger("jaxnn.experiments")


@dataclass(frozen=True)
class Settings:
    """The live page of a training that jaxnn.watch records, or of two to compare."""

    folders: tyro.conf.Positional[tuple[Path, ...]] = ()
    """The folder that jaxnn.watch writes; and of a second one, to compare."""
    port: int = 8730
    """The port of this machine at which the page is; 0 for any that is free."""
    out: Path | None = None
    """A file to write the page to instead, as it is now."""
    overwrite: runtime.Flag = False
    """Replace that file."""


class Request(NamedTuple):
    """Checked settings."""

    folders: tuple[Path, ...]
    port: int
    out: Path | None


def prepare(settings: Settings) -> Request:
    """Check the settings, and that the folders have a watch."""
    from jaxnn.train.reading import record_of

    if len(settings.folders) not in (1, 2):
        got = len(settings.folders) or "none"
        raise ValueError(f"folders: expected one folder or two, got {got}")
    for folder in settings.folders:
        _, damage = record_of(folder)
        if damage:
            print(f"warning: {damage}", file=sys.stderr)
    if len(set(map(Path.resolve, settings.folders))) < len(settings.folders):
        raise ValueError(f"folders: expected two, got {clean(str(settings.folders[0]))} twice")
    if not 0 <= settings.port < 2**16:
        raise ValueError(f"port: expected a number from 0 to 65535, got {settings.port}")
    out = settings.out
    if out is not None and out.exists() and not settings.overwrite:
        raise FileExistsError(f"out: {out} exists already; add --overwrite, or name another one")
    return Request(settings.folders, settings.port, out)


def run(request: Request) -> None:
    """Write the page, or serve it until Ctrl-C.

    Raises:
        OSError: the file cannot be written, or the port is taken.
    """
    from experiments.watch import server

    if request.out is not None:
        request.out.write_text(server.written(request.folders), encoding="utf-8")
        print(f"in {clean(str(request.out))}")
        return
    server.serve(request.folders, request.port)
