"""Error messages for what JAX is told by the environment and cannot do."""

import os

import jax

VARIABLE = "JAX_PLATFORMS"
DEBUGGED = ("jax_debug_nans", "jax_debug_infs")  # JAX then ends a computation at one of these
MEASURED = "nan and inf are measured here; unset it, or do not set it by jax.config.update"


def find() -> list[jax.Device]:
    """Start JAX's platform and return its devices.

    Raises:
        ValueError: there is none, or not the one that the environment names, or JAX is to refuse
            nan or inf.
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
    """Check that JAX does not end a computation at nan or inf.

    Raises:
        ValueError: it does.
    """
    for name in DEBUGGED:
        if getattr(jax.config, name):
            raise ValueError(f"{name.upper()}: {MEASURED}")
