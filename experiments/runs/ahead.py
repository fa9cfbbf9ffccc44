"""Programs compiled, and packages imported, before they are needed: by two threads, meanwhile.

XLA compiles without Python's lock. A program that was not prepared, or differs in shapes or dtypes,
is compiled by its first call, as ever. The depth sweep takes 23.3 s, without preparing 24.2 s
(medians of three alternating runs with nothing stored, two cores; 2.3 s in the median pair).
"""

import contextlib
import importlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
from jaxtyping import PyTree

THREADS = 2

_threads: ThreadPoolExecutor | None = None


class Ahead:
    """A jitted function whose programs can be prepared."""

    def __init__(self, jitted: jax.stages.Wrapped) -> None:
        self.jitted = jitted
        self._programs: dict[Any, Future[Any]] = {}

    def prepare(self, *arguments: PyTree) -> None:
        """Begin to compile for arguments like these, if this is inside `compiling`."""
        key = _like(arguments)
        if _threads is None or key in self._programs:
            return
        wide = jax.config.jax_enable_x64  # a thread begins with the default

        def compiled() -> Any:
            with jax.enable_x64(wide):
                return self.jitted.lower(*arguments).compile()

        self._programs[key] = _threads.submit(compiled)

    def __call__(self, *arguments: PyTree) -> Any:
        """Call the function, with the prepared program if there is one."""
        program = self._programs.get(_like(arguments))
        if program is None or program.cancelled():
            return self.jitted(*arguments)
        return program.result()(*arguments)


def load(module: str) -> None:
    """Begin to import a module that is needed at the end, if this is inside `compiling`.

    Not where cells import packages themselves: two threads that import modules which need each
    other end in Python's `_DeadlockError`.
    """
    if _threads is not None:
        _threads.submit(importlib.import_module, module)


@contextlib.contextmanager
def compiling() -> Iterator[None]:
    """Let programs be prepared inside; what is still waiting at the end is not compiled."""
    global _threads
    if _threads is not None:
        yield
        return
    _threads = threads = ThreadPoolExecutor(THREADS, "compiling")
    try:
        yield
    finally:
        _threads = None
        threads.shutdown(wait=False, cancel_futures=True)


def _like(arguments: PyTree) -> Any:
    """Return the key of a program: structure, shapes and dtypes of its arguments."""
    leaves, tree = jax.tree.flatten(arguments)
    return tree, tuple((leaf.shape, jax.dtypes.canonicalize_dtype(leaf.dtype)) for leaf in leaves)
