"""The git commits that the code of a run is from, looked up while the run goes on.

Without git, a repository, a commit or an answer in time there is none, and nothing is said.
"""

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

OURS = "jaxnn"  # the name of the checkout that this code runs from
MOST_SECONDS, PATIENCE = 30.0, 2.0  # of git itself, and of a run that is ready to write
# One answer with the commit and what has changed since; what git does not follow is no change.
STATUS = ("status", "--porcelain=v2", "--branch", "--untracked-files=no")
COMMIT, NO_COMMIT = "# branch.oid ", "(initial)"

Commits = dict[str, dict[str, Any]]


def begin(files: Mapping[str, Path]) -> Callable[[], Commits]:
    """Begin to look up the commits of files by name; return the function that waits for them.

    Of each file it returns the commit of its repository, and whether that is dirty: something has
    changed since, or git does not follow the file itself. A file that has none is left out, and so
    is a checkout that git does not follow, in a repository of something else.
    """
    found: Commits = {}

    def look() -> None:
        for name, file in files.items():
            commit = _of(file, must_be_followed=name == OURS)
            if commit is not None:
                found[name] = commit

    # A thread that the end of the process does not wait for: git may hang on a slow disk.
    thread = threading.Thread(target=look, daemon=True)
    thread.start()

    def commits() -> Commits:
        thread.join(PATIENCE)
        return dict(found)

    return commits


def _of(file: Path, must_be_followed: bool) -> dict[str, Any] | None:
    status = _git(file, *STATUS)
    if status is None:
        return None
    lines = status.splitlines()
    commit = next((v.removeprefix(COMMIT) for v in lines if v.startswith(COMMIT)), NO_COMMIT)
    followed = bool(_git(file, "ls-files", "--", file.name))
    if commit == NO_COMMIT or (must_be_followed and not followed):
        return None
    changed = any(not line.startswith("#") for line in lines)
    return {"commit": commit, "dirty": changed or not followed}


def _git(file: Path, *words: str) -> str | None:
    """Return what git answers in the folder of a file; None if it does not."""
    # In a hook, git's variables name the repository of the hook.
    variables = {name: v for name, v in os.environ.items() if not name.startswith("GIT_")}
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(
            ["git", "--no-optional-locks", *words],
            cwd=file.parent,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
            timeout=MOST_SECONDS,
            check=True,
        ).stdout
    return None
