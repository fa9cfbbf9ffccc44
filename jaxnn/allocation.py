"""Memory: one error message for an allocation that failed, and freed memory that is kept."""

import contextlib
import ctypes
import re

EXHAUSTED = re.compile("RESOURCE_EXHAUSTED|[Oo]ut of memory")
BYTES = re.compile(r"allocat\w+ (\d+) bytes")

# Of glibc's mallopt: how much freed memory stays with the process, and from which size on a block
# is one of its own, which goes back to the system as soon as it is freed.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
KEPT = 1 << 30  # bytes


def keep_freed() -> None:
    """Let this process keep up to 1 GiB of freed memory, where its C library is glibc.

    XLA allocates the buffers of a program anew for every call. A large one that went back to the
    system in between costs a page fault every 4 kB: 12 ms for 33 MB, five times as long as filling
    it with zeros.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        for what in (TRIM_THRESHOLD, MMAP_THRESHOLD):
            mallopt(what, KEPT)


def exhausted(error: BaseException) -> bool:
    """Tell whether an error is of an allocation that failed."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and EXHAUSTED.search(str(error)) is not None
    )


def sentence(error: BaseException, smaller: str) -> str | None:
    """Return the error message for an allocation that failed; None if the error is another one."""
    if not exhausted(error):
        return None
    size = BYTES.search(str(error))
    of = f" of {gigabytes(float(size[1]))}" if size else ""
    return f"memory: an allocation{of} failed; make {smaller} smaller"


def gigabytes(number: float) -> str:
    """Return a number of bytes as text."""
    return f"{number / 1e9:,.3g} GB" if number < 1e12 else f"{number / 1e9:,.0f} GB"
