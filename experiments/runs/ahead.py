"""Programs compiled, and packages imported, before they are needed: in threads, meanwhile.

    coming cells -> `Ahead.prepare` of their programs -> threads compile -> a call takes the program

XLA compiles without Python's lock. A program that was not prepared, or differs in shapes or dtypes,
is compiled by its first call, as ever.
"""

import contextlib
import importlib
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import jax
from jaxtyping import PyTree

THREADS = 2
PENDING = 4  # programs ahead: what is prepared and then not needed, for a run was stopped, is lost
AWAITED = "/jax/core/compile/awaited"  # the duration of waiting for a program, for `progress.Clock`

C = TypeVar("C")


class _Pool:
    """Threads, and the programs that they are asked for."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, "compiling")
        self._pending: list[Future[Any]] = []

    def submit(self, work: Callable[[], Any]) -> "Future[Any]":
        future = self._threads.submit(work)
        self._pending.append(future)
        return future

    def has_room(self) -> bool:
        self._pending = [future for future in self._pending if not future.done()]
        return len(self._pending) < PENDING

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


_pool: _Pool | None = None


class Ahead:
    """A jitted function whose programs can be prepared."""

    def __init__(self, jitted: jax.stages.Wrapped) -> None:
        self.jitted = jitted
        self._programs: dict[Any, Future[Any]] = {}

    def prepare(self, *arguments: PyTree) -> None:
        """Begin to compile for arguments like these, if this is inside `coming`."""
        key = _like(arguments)
        if _pool is None or key in self._programs:
            return
        wide = jax.config.jax_enable_x64  # a thread begins with the default

        def compiled() -> Any:
            with jax.enable_x64(wide):
                return self.jitted.lower(*arguments).compile()

        self._programs[key] = _pool.submit(compiled)

    def __call__(self, *arguments: PyTree) -> Any:
        """Call the function, with the prepared program if there is one."""
        program = self._programs.get(_like(arguments))
        if program is None or program.cancelled():
            return self.jitted(*arguments)
        if not program.done():
            began = time.perf_counter()
            with contextlib.suppress(Exception):  # raised below
                program.result()
            jax.monitoring.record_event_duration_secs(AWAITED, time.perf_counter() - began)
        return program.result()(*arguments)


def load(module: str) -> None:
    """Begin to import a module that is needed at the end, if this is inside `coming`."""
    if _pool is not None:
        _pool.submit(partial(importlib.import_module, module))


def nothing() -> None:
    """Import nothing ahead, where cells import packages themselves.

    While the user's code runs, the user's folder is searched first; and two threads that import
    modules which need each other end in Python's `_DeadlockError`.
    """


@contextlib.contextmanager
def loading(module: str) -> Iterator[None]:
    """Import a module that is needed at the end, while the inside computes."""
    with coming([module], load) as go_on:
        go_on()
        yield


def _like(arguments: PyTree) -> Any:
    """Return the key of a program: structure, shapes and dtypes of its arguments."""
    leaves, tree = jax.tree.flatten(arguments)
    return tree, tuple((leaf.shape, jax.dtypes.canonicalize_dtype(leaf.dtype)) for leaf in leaves)


@contextlib.contextmanager
def coming(
    cells: Iterable[C], prepare: Callable[[C], None], last: Callable[[], None] = lambda: None
) -> Iterator[Callable[[], None]]:
    """Yield a function to be called now and then, which prepares the programs of the next cells.

    After those of all cells it calls `last`, once, to prepare what is needed at the end.

    What is still waiting at the end is not compiled. Processes that share a sweep compile at their
    first call, all at once.
    """
    global _pool
    if _pool is not None or jax.process_count() > 1:
        yield lambda: None
        return
    _pool = pool = _Pool()
    of_cells: Iterator[Callable[[], None]] = (partial(prepare, cell) for cell in cells)
    steps = itertools.chain(of_cells, [last])

    def go_on() -> None:
        while pool.has_room():
            step = next(steps, None)
            if step is None:
                return
            step()

    try:
        yield go_on
    finally:
        _pool = None
        pool.close()


def in_main_thread() -> bool:
    """Tell whether JAX reports what this run waits for, or what a thread compiles meanwhile."""
    return threading.current_thread() is threading.main_thread()
