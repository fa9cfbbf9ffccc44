"""What a run runs on: versions, devices and the float it computes in."""

import platform
from importlib import metadata

import jax
import numpy as np

PACKAGES = ("jaxnn", "jax", "jaxlib", "numpy", "polars", "altair", "scikit-learn")


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
