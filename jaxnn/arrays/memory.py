"""Memory and cores: how many there are, and one sentence for what needs more memory.

What the machine does not have it may promise nevertheless, and end the process later without a
word; so an estimate is compared first.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import jax

CGROUP, CGROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check(needed: float, smaller: str, what: str = "this run") -> None:
    """Raise a ValueError if so many bytes do not fit into the memory, with what to do."""
    there_is, whose = min(_sizes())
    if needed > there_is:
        raise ValueError(
            f"memory: {what} needs {gigabytes(needed)} at a time, and {whose} has "
            f"{gigabytes(there_is)}; make {smaller} smaller"
        )


def _sizes() -> Iterator[tuple[float, str]]:
    """Bytes, and of what, for everything that limits a run."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        yield float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")), "the machine"
    for path in _limits():
        with contextlib.suppress(OSError, ValueError):  # none is the word max
            yield float(path.read_text()), "this container"
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    limits = [each["bytes_limit"] for each in stats if "bytes_limit" in each]
    if limits:
        yield float(sum(limits)), "the device" if len(limits) == 1 else "the devices together"
    yield float("inf"), "the machine"


def _limits() -> Iterator[Path]:
    """The files with the limits of this process's control group and of those around it."""
    yield CGROUPS / "memory" / "memory.limit_in_bytes"  # version 1
    with contextlib.suppress(OSError, ValueError):
        for line in CGROUP.read_text().splitlines():
            _, controllers, own = line.split(":", 2)
            if controllers == "":  # version 2
                group = Path(own.lstrip("/"))
                for each in (group, *group.parents):
                    yield CGROUPS / each / "memory.max"


def gigabytes(number: float) -> str:
    """Return a number of bytes as text."""
    return f"{number / 1e9:,.3g} GB" if number < 1e12 else f"{number / 1e9:,.0f} GB"
