"""JAX's devices, with error messages for environment variables that prevent their use."""

import os

import jax

VARIABLE = "JAX_PLATFORMS"
DEBUGGED = ("jax_debug_nans", "jax_debug_infs")  # JAX then ends a computation at one of these
MEASURED = "nan and inf are measured here; unset it, or do not set it by jax.config.update"


def devices() -> list[jax.Device]:
    """Start JAX's platform and return its devices.

    Raises:
        ValueError: no platform is available, or not the one that JAX_PLATFORMS names, or JAX is set
            to stop at nan or inf.
    """
    check_debugging()
    try:
        return jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter of one that is known, not there
        named = os.environ.get(VARIABLE)
        reason = str(error).strip().partition("\n")[0]
        if not reason:
            reason = f"there is no {named!r} here; name another platform, such as cpu, or unset it"
        raise ValueError(f"{VARIABLE if named else 'devices'}: {reason}") from None


def check_debugging() -> None:
    """Check that JAX is not set to stop at nan or inf.

    Raises:
        ValueError: JAX_DEBUG_NANS or JAX_DEBUG_INFS is set.
    """
    for name in DEBUGGED:
        if getattr(jax.config, name):
            raise ValueError(f"{name.upper()}: {MEASURED}")
