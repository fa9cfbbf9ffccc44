"""Freed memory that stays with the process; imports nothing that starts a thread."""

import contextlib
import ctypes

KEPT, PAD = 1 << 30, 1 << 26  # bytes
# Of glibc's malloc, by the names of its tunables, and the numbers and values of mallopt: how much
# freed memory stays with the process; from which size on a block is one of its own, which goes back
# to the system as soon as it is freed; and how much is kept beside it, without which the heaps of
# 64 MB that threads have go back when nothing is left in them.
SETTINGS = {"trim_threshold": (-1, KEPT), "mmap_threshold": (-3, KEPT), "top_pad": (-2, PAD)}
# The same for a process that is to be started.
VARIABLES = {
    "GLIBC_TUNABLES": ":".join(f"glibc.malloc.{name}={v}" for name, (_, v) in SETTINGS.items())
}


def keep_freed() -> None:
    """Let this process keep up to 1 GiB of freed memory, where its C library is glibc.

    XLA allocates the buffers of a program anew for every call. A large one that went back to the
    system in between costs a page fault every 4 kB: 12 ms for 33 MB, five times as long as filling
    it with zeros.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        for number, value in SETTINGS.values():
            mallopt(number, value)
