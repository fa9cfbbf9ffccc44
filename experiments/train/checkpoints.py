"""Checkpoints: all that the rest of a run follows from, written by Orbax, whole or not there.

A checkpoint is a folder of its own among the parts of a run (`store.py`), written under another
name, synced and renamed, with the epoch and a checksum of all its files in its name. The last two
stay: if the last one is corrupt, a run resumes from the one before.
"""

import hashlib
import logging
import re
import shutil
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from experiments.runs import files
from experiments.runs.store import CHECKPOINT

STAY = 2
SYSTEM = re.compile(r": ([^:\[]+) \[os_error_code")  # what it said, within what Orbax says


class Checkpoints:
    """The checkpoints of one run.

    Attributes:
        broken: the names of those that were corrupt, and deleted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.broken: list[str] = []
        _say_once()
        self._orbax = ocp.Checkpointer(ocp.StandardCheckpointHandler())

    def latest(self, like: PyTree) -> Any | None:
        """Return the newest whole one, a tree like this, or None; delete corrupt ones."""
        for path in reversed(self._by_epoch()):
            if _checksum(path) == path.suffix[1:]:
                return self._orbax.restore(path, args=ocp.args.StandardRestore(like))
            self.broken.append(path.name)
            shutil.rmtree(path)
        return None

    def save(self, epoch: int, tree: PyTree) -> None:
        """Save a tree of NumPy arrays, none of them empty.

        Raises:
            OSError: the message names the folder and what the system said.
        """
        unfinished = self.folder / files.UNFINISHED.replace("*", f"{epoch:08d}")
        try:
            # Orbax does not tell errors of the disk by their type.
            self._orbax.save(unfinished, args=ocp.args.StandardSave(tree), force=True)
            for path in (*unfinished.rglob("*"), unfinished):
                files.sync(path)
            unfinished.replace(self.folder / f"{epoch:08d}.{_checksum(unfinished)}")
            files.sync(self.folder)
        except (OSError, ValueError, RuntimeError) as error:
            line = str(error).strip().partition("\n")[0]
            system = SYSTEM.search(line)
            reason = system[1] if system else line
            raise OSError(f"out: cannot write a checkpoint into {self.folder}: {reason}") from None
        for path in self._by_epoch()[:-STAY]:
            shutil.rmtree(path)

    def _by_epoch(self) -> list[Path]:
        paths = (path for path in self.folder.glob("[0-9]*") if path.is_dir())
        return sorted(path for path in paths if CHECKPOINT.fullmatch(path.name))


@cache
def _say_once() -> None:
    """Leave a write that fails to the error that is raised.

    Orbax logs it too, with a traceback, and the threads of TensorStore print more of them, of
    callbacks that come after the loop which waits for them is closed.
    """
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    show = sys.unraisablehook

    def show_others(error: "sys.UnraisableHookArgs") -> None:
        if str(error.exc_value) != "Event loop is closed":
            show(error)

    sys.unraisablehook = show_others


def _checksum(folder: Path) -> str:
    """Return a checksum of the names and contents of all files in a folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        for part in (str(path.relative_to(folder)).encode(), content):
            digest.update(np.int64(len(part)).tobytes() + part)
    return digest.hexdigest()[:16]
