"""What the tests share: strict JAX, shapes checked at run time, seeded keys.

Two things come before jaxnn is imported: the hook that wraps what is annotated in it, and one
thread for LAPACK, whose threads wait for one another by spinning (see `experiments/__main__.py`).
"""

import os
import zlib

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from jaxtyping import install_import_hook

with install_import_hook("jaxnn", "beartype.beartype"):
    import jaxnn  # noqa: F401

import jax
import jaxtyping
import pytest
from jax.experimental.compilation_cache import compilation_cache


@pytest.fixture(autouse=True)
def strict_jax():
    """float64 where asked for; no silent change of dtype or rank."""
    with (
        jax.enable_x64(True),
        jax.numpy_dtype_promotion("strict"),
        jax.numpy_rank_promotion("raise"),
    ):
        yield


@pytest.fixture
def users_jax(strict_jax):
    """JAX as a user has it: float32, promotion allowed."""
    with (
        jax.enable_x64(False),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        yield


@pytest.fixture(autouse=True, scope="module")
def few_programs():
    """Lets go of what a file has compiled: thousands of programs are more than Linux maps."""
    yield
    jax.clear_caches()


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path_factory):
    """A command run in this process keeps its programs apart from the user's, and no others.

    Workers that write one folder read each other's halves.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    yield
    if jax.config.jax_compilation_cache_dir is not None:
        jax.config.update("jax_compilation_cache_dir", None)
        compilation_cache.reset_cache()


@pytest.fixture
def key(request):
    """A key of the test's own; its seed is printed where the test fails."""
    seed = zlib.crc32(request.node.nodeid.encode())
    print(f"seed {seed}")
    return jax.random.key(seed)


@pytest.fixture
def unhooked():
    """Shapes unchecked by jaxtyping, as for a user: the library's own sentences show."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
