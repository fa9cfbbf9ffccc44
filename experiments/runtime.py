"""What experiments share around their measurements.

The checks of settings, the loop that measures, and the record of what it ran on: versions, devices
and the float it computed in.
"""

import dataclasses
import platform
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import metadata
from typing import Any, TypeVar

import jax
import numpy as np
import polars as pl
from rich.console import Console
from rich.progress import Progress

PACKAGES = ("jaxnn", "jax", "jaxlib", "numpy", "polars", "altair", "scikit-learn")

Cell = TypeVar("Cell")


def check(settings: Any, several: Sequence[str], counts: Sequence[str]) -> None:
    """Checks the settings of these names, and the seed.

    Args:
        settings: the dataclass of an experiment, with a `seed`.
        several: of which there must be at least one.
        counts: integers, or tuples of them, that must be positive.

    Raises:
        ValueError: one sentence that names the setting.
    """
    for name in several:
        if not getattr(settings, name):
            raise ValueError(f"{name}: expected at least one, got none")
    for name in counts:
        values = np.atleast_1d(getattr(settings, name))
        if np.any(values < 1):
            raise ValueError(f"{name}: expected positive integers, got {values.min()}")
    if not 0 <= settings.seed < 2**31:
        raise ValueError(f"seed: expected an integer from 0 to 2^31 - 1, got {settings.seed}")


def measure_each(
    cells: Sequence[Cell],
    measure: Callable[[Cell], pl.DataFrame],
    shown: Callable[[Cell], str],
) -> tuple[list[pl.DataFrame], bool]:
    """Measures one cell after the other under a progress bar that says which is `shown`.

    Returns:
        What was measured, and whether that is all. Interrupted (Ctrl-C), it says how much is kept.
    """
    frames: list[pl.DataFrame] = []
    try:
        with Progress(console=Console(stderr=True)) as progress:
            bar = progress.add_task("measuring", total=len(cells))
            for cell in cells:
                progress.update(bar, description=shown(cell).ljust(24))
                frames.append(measure(cell))
                progress.advance(bar)
    except KeyboardInterrupt:
        print(f"interrupted: {len(frames)} of {len(cells)} measurements are kept")
        return frames, False
    return frames, True


def record(settings: Any, started: datetime, **more: Any) -> dict[str, Any]:
    """What `store.write_run` keeps of a run: from what it can be repeated, and on what it ran."""
    return {
        **more,
        "settings": dataclasses.asdict(settings),
        "seed": settings.seed,
        "dtype": dtype_name(),
        "versions": versions(),
        "devices": devices(),
        "started": started.isoformat(timespec="seconds"),
        "seconds": round((datetime.now(UTC) - started).total_seconds(), 1),
    }


def versions() -> dict[str, str]:
    """The version of Python and of each package that a result may depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # a checkout that was never installed
            found[package] = "not installed"
    return found


def devices() -> list[str]:
    """The devices that JAX computes on, such as 'cpu: cpu'."""
    return [f"{device.platform}: {device.device_kind}" for device in jax.devices()]


def dtype_name() -> str:
    """The floating dtype that experiments compute in: JAX's default."""
    return str(jax.numpy.result_type(float))


def log10_range() -> tuple[float, float]:
    """Where that dtype ends: log₁₀ of its smallest normal and of its largest number."""
    info = np.finfo(dtype_name())
    return float(np.log10(info.tiny)), float(np.log10(info.max))
