"""The packages of the extra `bench` in tests: if one is missing, a test is skipped."""

import importlib.util
import os

import pytest


def need(*packages):
    """With JAXNN_PEERS set, a missing package fails a test instead of skipping it."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if not missing:
        return
    assert not os.environ.get("JAXNN_PEERS"), f"JAXNN_PEERS: there is no {', '.join(missing)}"
    pytest.skip(f"not installed: {', '.join(missing)}")
