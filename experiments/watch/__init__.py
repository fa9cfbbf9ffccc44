"""The live page of a watched training: python -m experiments watch FOLDER.

`watch.jsonl of one folder or of several -> page -> a server on this machine, or a file`. The page
asks the server for what is new, so it can be left open while the network trains.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from experiments.runs import runtime
from jaxnn.texts import clean
from jaxnn.watching.journal import FILE


@dataclass(frozen=True)
class Settings:
    """The live page of a training that jaxnn.watch records, or of several to compare."""

    folders: tyro.conf.Positional[
        Annotated[tuple[Path, ...], runtime.called(metavar="FOLDER ...")]
    ] = ()
    """The folders that jaxnn.watch writes, or one above them; of two also the difference."""
    port: int = 8730
    """The port of this machine at which the page is; 0 for any that is free."""
    out: Annotated[Path | None, runtime.called(metavar="FILE.html")] = None
    """A file to write the page to instead, as it is now."""
    overwrite: runtime.Flag = False
    """Replace that file."""


def prepare(settings: Settings) -> Settings:
    """Check the settings, and return them with every folder that has a watch."""
    from jaxnn.watching.reading import record_of

    if not settings.folders:
        raise ValueError("folders: expected that of a watched training, or several, got none")
    folders = tuple(run for folder in settings.folders for run in _runs(folder))
    for i, folder in enumerate(folders):
        _, damage = record_of(folder)
        if damage:
            print(f"warning: {damage}", file=sys.stderr)
        if folder.resolve() in map(Path.resolve, folders[:i]):
            raise ValueError(f"folders: expected each once, got {clean(str(folder))} twice")
    if not 0 <= settings.port < 2**16:
        raise ValueError(f"port: expected a number from 0 to 65535, got {settings.port}")
    out = settings.out
    if out is not None and out.exists() and not settings.overwrite:
        raise FileExistsError(f"out: {out} exists already; add --overwrite, or name another one")
    return replace(settings, folders=folders)


def _runs(folder: Path) -> list[Path]:
    """Return a folder, or those of watched trainings in it if it is none itself."""
    below = sorted(path.parent for path in folder.glob(f"*/{FILE}"))
    return [folder] if (folder / FILE).exists() or not below else below


def run(settings: Settings) -> None:
    """Write the page, or serve it until Ctrl-C."""
    from experiments.watch import server

    if settings.out is not None:
        settings.out.write_text(server.written(settings.folders), encoding="utf-8")
        print(f"in {clean(str(settings.out))}")
        return
    server.serve(settings.folders, settings.port)
