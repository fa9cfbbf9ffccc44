"""JAX's devices, with error messages for environment variables that prevent their use."""

import os
import re
import subprocess
import sys
from functools import cache

import jax

from .loading import REMEDY

VARIABLE, FLAGS, COUNT = "JAX_PLATFORMS", "XLA_FLAGS", "JAX_NUM_CPU_DEVICES"
COMMON = re.compile(  # flags that every version of XLA knows, so that nothing has to be tried
    "--xla_(?:force_host_platform_device_count|backend_optimization_level|cpu_multi_thread_eigen|"
    r"cpu_parallel_codegen_split_count|cpu_use_fusion_emitters)=(?:\d+|true|false)"
)
DEBUGGED = ("jax_debug_nans", "jax_debug_infs")  # JAX then ends a computation at one of these
MEASURED = "nan and inf are measured here; unset it, or do not set it by jax.config.update"


def devices() -> list[jax.Device]:
    """Start JAX's platform and return its devices; raise one sentence if it does not start."""
    check_debugging()
    _check_count()
    check_flags()
    try:
        return jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter of one that is known, not there
        named = os.environ.get(VARIABLE)
        reason = str(error).strip().partition("\n")[0].partition(" (you may need to uninstall")[0]
        if not reason:
            reason = f"there is no {named!r} here; name another platform, such as cpu, or unset it"
        raise ValueError(f"{VARIABLE if named else 'devices'}: {reason}") from None


def check_flags() -> None:
    """Check that XLA knows what XLA_FLAGS says; else it ends the process that starts it."""
    flags = os.environ.get(FLAGS, "")
    if not all(map(COMMON.fullmatch, flags.split())) and (reason := _refused(flags)):
        raise ValueError(f"{FLAGS}: {reason}; {REMEDY}")


@cache
def _refused(flags: str) -> str:
    """Return the last words of a process that has been started with these flags, if it ended."""
    environment = {**os.environ, FLAGS: flags, VARIABLE: "cpu"}
    command = [sys.executable, "-c", "import jax; jax.devices()"]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):  # then it is seen when the platform starts
        return ""
    if done.returncode == 0:
        return ""
    words = [line for line in done.stderr.splitlines() if FLAGS in line]
    return words[-1].rpartition("] ")[2].rstrip(".") if words else "XLA does not start with it"


def _check_count() -> None:
    count = os.environ.get(COUNT, "1")
    if count.lstrip("+-").isdigit() and int(count) < 1:
        raise ValueError(f"{COUNT}: expected 1 or more, got {count}; {REMEDY}")


def check_debugging() -> None:
    """Check that JAX is not set to stop at nan or inf."""
    for name in DEBUGGED:
        if getattr(jax.config, name):
            raise ValueError(f"{name.upper()}: {MEASURED}")
