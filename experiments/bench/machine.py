"""The machine that times were measured on, in words that a reader can compare with."""

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from experiments.bench.process import cores

PEERS = ("optax", "torch", "equinox", "flax")


def describe() -> dict[str, Any]:
    """Return processor, cores, memory, load, and the versions of the peers."""
    return {
        "processor": _processor(),
        "cores": cores(),
        "memory": _memory(),
        "load at start": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "threads": f"{cores()} for each side: OMP_NUM_THREADS, OPENBLAS_NUM_THREADS, "
        "torch.set_num_threads; XLA's pool of one device, and in sweeps of ours a device a core",
        "peers": {name: _version(name) for name in PEERS},
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    """Model of the processor, which Python can read on Linux alone."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return "unknown"
    return f"{size / 2**30:.0f} GiB"
