"""Settings of the whole suite: cheap compiling, strict JAX, checked shapes, seeded keys.

Three things come before JAX and jaxnn are imported: XLA's flags, the hook that wraps every
annotated function if JAXNN_TYPES=yes, and one thread for LAPACK, whose threads wait for one another
by spinning (see `experiments/__main__.py`).
"""

import gc
import importlib.metadata
import os
import sys
import threading
import zlib
from contextlib import nullcontext
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Most of a test's time is compiling, and code that runs once need not be fast. Tests of bits and
# of memory ask for users' optimisation themselves (`problems.optimised`); XLA_FLAGS="" gives it to
# all of them. On JAX 0.10 compiling takes a third less without emitters that later versions have no
# flag for, and a tenth less of that, of a program in one piece.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0"
    + (
        " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
        if importlib.metadata.version("jaxlib").startswith("0.10.")
        else ""
    ),
)

from jaxtyping import install_import_hook

# Types and shapes are checked at every call in one lane of the gate: it takes a tenth of the time.
with (
    install_import_hook("jaxnn", "beartype.beartype")
    if os.environ.get("JAXNN_TYPES") == "yes"
    else nullcontext()
):
    import jaxnn  # noqa: F401

import jax
import jaxtyping
import numpy as np
import pytest
from altair.utils import schemapi
from jax.experimental.compilation_cache import compilation_cache
from peers import need
from problems import as_users_have_jax

from jaxnn.arrays.compiled import few_runs

# Programs stored for later runs, if a folder is named: a second run of a file then takes a third of
# the time. Each worker has its own: workers that write to one folder read each other's half-written
# files.
STORED = os.environ.get("JAXNN_TEST_CACHE")
if STORED:
    STORED = str(Path(STORED) / os.environ.get("PYTEST_XDIST_WORKER", "gw0"))


def keep_programs():
    """Store programs in the tests' own folder, or nowhere; a command has a folder of its own."""
    least = os.environ.get("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    jax.config.update("jax_compilation_cache_dir", STORED)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", float(least))
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    compilation_cache.reset_cache()


if STORED:
    keep_programs()

# Linux allows a process 65,530 memory mappings, and a compiled program takes several.
MOST_MAPPINGS = 40_000


# Slow tests that start many processes come first: one of these files at the end would be alone.
FIRST = ("test_faults.py", "test_laws.py")


# Examples of docstrings that take a core-second or more, of what default tests call as well.
SLOW_EXAMPLES = {
    "jaxnn.chain.chain.Chain.params",
    "jaxnn.diagnosis.diagnose",
    "jaxnn.flow.expected.critical.critical_scale",
    "jaxnn.flow.gradient_flow.at_depths",
    "jaxnn.flow.gradient_flow.gradient_flow",
    "jaxnn.flow.jacobian.spectrum.spectrum",
    "jaxnn.flow.verdict.format_plan.plan",
    "jaxnn.flow.verdict.verdict.verdict",
    "jaxnn.flow.view.chart.chart",
    "jaxnn.flow.view.table.InWords.formats",
    "jaxnn.flow.view.table.InWords.scalars",
    "jaxnn.initializers.looks_linear",
    "jaxnn.rehearsal.checkup.checkup",
    "jaxnn.scaling.scaling_check",
    "jaxnn.sweeps.sweep.sweep",
    "jaxnn.theory.meanfield.log_delta_band",
    "jaxnn.theory.twin.wide.wide",
    "jaxnn.train.fitting.fit",
    "jaxnn.train.steps.epoch",
    "jaxnn.trials.cures.cures",
    "jaxnn.watching.reading.read_watch",
}


COLLECTED = pytest.StashKey[set[str]]()


# A gate runs those slow tests whose day it is; a weekly one runs all of them.
DAYS = 14


def pytest_collection_modifyitems(config, items):
    """Order the files; leave out the slow tests whose day it is not, if there is a day.

    What takes torch is slow, and some examples are.
    """
    config.stash[COLLECTED] = {item.nodeid for item in items}  # slow ones too
    for item in items:
        if "torch" in getattr(item, "fixturenames", ()) or item.name in SLOW_EXAMPLES:
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.path.name not in FIRST)
    if "JAXNN_SLOW_DAY" in os.environ:
        left_out = [item for item in items if not is_due(item, int(os.environ["JAXNN_SLOW_DAY"]))]
        items[:] = [item for item in items if item not in set(left_out)]
        config.hook.pytest_deselected(items=left_out)


def is_due(item, day):
    """Tell whether a test runs on a day: a slow one once in `DAYS`, with all cases of its function.

    By its name, so that the same commit runs the same tests on the same day everywhere.
    """
    function = item.nodeid.partition("[")[0].encode()
    return item.get_closest_marker("slow") is None or zlib.crc32(function) % DAYS == day % DAYS


def pytest_collection_finish():
    """Save a fifth of the time of all tests, before the first of them, by three things.

    Python's collector would look again and again at everything that has been imported, and after
    every 2,000 new objects, of which tracing makes millions, at the latest ones. And a thread
    that asks for a program hands kernel after kernel to XLA's own threads, where each that is not
    finished costs a new context of MLIR: so this thread gives way to those, which exist as soon as
    there is a device. And Altair would check each part of a chart when it is made, of whose parts
    most are made again for the next larger one: a whole chart is checked when it becomes a dict.
    """
    schemapi.disable_debug_mode()
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)
    if sys.platform == "linux":
        jax.devices()
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)


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
    """For a test; a fixture of a file that compiles takes the context itself."""
    with as_users_have_jax():
        yield


@pytest.fixture
def light():
    """Chains measured as in `diagnose`: their programs for few runs are cheaper to compile."""
    with few_runs():
        yield


@pytest.fixture(autouse=True, scope="module")
def few_programs():
    """Drop the compiled programs after a file if there are many; else the next file shares them."""
    yield
    maps = Path("/proc/self/maps")
    if not maps.exists() or maps.read_bytes().count(b"\n") > MOST_MAPPINGS:
        jax.clear_caches()


@pytest.fixture(scope="module")
def chromium():
    """A headless browser, for the tests of a file that look at pages."""
    import browser  # here, for most files need no browser

    with browser.launched() as launched:
        yield launched


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path_factory):
    """A cache of compiled programs for commands run in this process, apart from the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    yield
    if jax.config.jax_compilation_cache_dir != STORED:
        keep_programs()


@pytest.fixture
def seed(request):
    """A seed of the test's own, printed if the test fails."""
    seed = zlib.crc32(request.node.nodeid.encode())
    print(f"seed {seed}")
    return seed


@pytest.fixture
def key(seed):
    """A JAX key of the test's own."""
    return jax.random.key(seed)


@pytest.fixture
def rng(seed):
    """A NumPy generator of the test's own; unlike a key it compiles nothing."""
    return np.random.default_rng(seed)


@pytest.fixture
def torch(seed):
    """PyTorch with a seed of the test's own and one thread; without it the test is skipped."""
    need("torch")
    import torch

    torch.manual_seed(seed)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield torch
    torch.set_num_threads(before)


@pytest.fixture
def unhooked():
    """Shapes unchecked by jaxtyping, as for a user, so that the library's own messages appear."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
