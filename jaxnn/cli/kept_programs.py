"""Compiled programs, kept in the user's cache folder from one command to the next.

JAX writes and reads them; here the folder is chosen, kept below a size, and mended.
"""

import logging
import os
import re
import warnings
from pathlib import Path
from typing import Any

import jax
import platformdirs

BROKEN = re.compile("Error (read|writ)ing persistent compilation cache entry for '(.*?)'")
MOST_BYTES, TRIMMED = 1 << 30, 0.75  # of the folder; what is left of that when it is trimmed
SETTING = "JAX_COMPILATION_CACHE_DIR"

log = logging.getLogger("jaxnn.cli")


def keep_programs() -> None:
    """Keep compiled programs, unless the user has told JAX where to, or not to."""
    if SETTING in os.environ or not jax.config.jax_enable_compilation_cache:
        return
    folder = platformdirs.user_cache_path("jaxnn") / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _trim(folder)
    except OSError as error:
        log.warning("compiled programs are not kept: %s: %s", folder, error.strerror)
        return
    _configure("jax_compilation_cache_dir", str(folder))
    _configure("jax_persistent_cache_min_compile_time_secs", 0.0)
    _configure("jax_persistent_cache_min_entry_size_bytes", -1)
    _replace_broken(folder)


def _trim(folder: Path) -> None:
    """Delete the oldest programs of a folder that has grown too large."""
    with os.scandir(folder) as entries:
        files = sorted(
            (entry.stat().st_mtime, entry.stat().st_size, entry.path) for entry in entries
        )
    left = sum(size for _, size, _ in files)
    if left > MOST_BYTES:
        for _, size, path in files:
            if left <= TRIMMED * MOST_BYTES:
                return
            Path(path).unlink(missing_ok=True)
            left -= size


def _replace_broken(folder: Path) -> None:
    """Delete half-written entries: JAX warns of such a file, but does not replace it."""
    show = warnings.showwarning

    def show_and_delete(message: Warning | str, *about: Any, **more: Any) -> None:
        broken = BROKEN.match(str(message))
        if broken is None:
            show(message, *about, **more)
            return
        log.warning("cache of compiled programs: %s", message)
        entries = sorted(folder.glob(f"{broken[2]}-*"), key=lambda path: path.stat().st_mtime)
        for path in entries if broken[1] == "read" else entries[-1:]:  # JAX does not say which
            path.unlink(missing_ok=True)

    warnings.showwarning = show_and_delete


def _configure(name: str, value: object) -> None:
    jax.config.update(name, value)  # type: ignore[no-untyped-call]
