"""Freed memory that stays with the process; imports nothing that starts a thread."""

import contextlib
import ctypes

# Of glibc's mallopt: how much freed memory stays with the process, from which size on a block is
# one of its own, which goes back to the system as soon as it is freed, and how many arenas there
# are.
TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
KEPT = 1 << 30  # bytes
# The same for a process that is to be started.
VARIABLES = {
    "GLIBC_TUNABLES": "glibc.malloc.arena_max=1:"
    + ":".join(f"glibc.malloc.{name}_threshold={KEPT}" for name in ("mmap", "trim"))
}


def keep_freed() -> None:
    """Let this process keep up to 1 GiB of freed memory, where its C library is glibc.

    XLA allocates the buffers of a program anew for every call. A large one that went back to the
    system in between costs a page fault every 4 kB: 12 ms for 33 MB, five times as long as filling
    it with zeros. All threads share one arena, for the others, which threads get by chance, hand
    large blocks back. So call it before any thread starts.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(ARENA_MAX, 1)
        for what in (TRIM_THRESHOLD, MMAP_THRESHOLD):
            mallopt(what, KEPT)
