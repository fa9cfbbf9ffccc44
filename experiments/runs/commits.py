"""The git commits that the code of a run is from.

Without git, a repository, a commit or an answer in time there is none, and nothing is said.
"""

import contextlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

OURS = "jaxnn"  # the name of the checkout that this code runs from
PATIENCE = 2.0  # seconds that git may take
# One answer with the commit and what has changed since; what git does not follow is no change.
STATUS = ("status", "--porcelain=v2", "--branch", "--untracked-files=no")
COMMIT, NO_COMMIT = "# branch.oid ", "(initial)"


def look_up(files: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """Return the commits of files by name, and whether they are dirty.

    Dirty: something has changed since, or git does not follow the file itself. A file without a
    commit is left out, and so is a checkout that git does not follow, in a repository of others.
    """
    commits = {}
    for name, file in files.items():
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            first, *lines = _git(file, *STATUS).splitlines()
            commit = first.removeprefix(COMMIT)
            followed = bool(_git(file, "ls-files", "--", file.name))
            if commit != NO_COMMIT and (followed or name != OURS):
                changed = any(not line.startswith("#") for line in lines)
                commits[name] = {"commit": commit, "dirty": changed or not followed}
    return commits


def _git(file: Path, *words: str) -> str:
    """Return what git answers in the folder of a file."""
    # In a hook, git's variables name the repository of the hook.
    variables = {name: v for name, v in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(
        ["git", "--no-optional-locks", *words],
        cwd=file.parent,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=PATIENCE,
        check=True,
    ).stdout
