"""A thread of its own for what callbacks of JAX hand over: they may not use JAX, and it may.

    callback in a thread of XLA's -> a task and its bytes -> one after the other in the worker

A program of JAX that a callback started would wait for the one that called it. The worker's runs
beside that one. Where it is some steps behind, a callback waits, so that little is lost if the
process is killed. But where all threads of XLA's wait, the worker's program cannot go on: of
several callbacks one waits, on one core none, and no longer than a minute. Then what waits takes
memory, and what there is no memory for is refused, unless it is little, which whoever handed it
over says. On one core nobody should hand over what needs a program of JAX: it would fall behind.
"""

import atexit
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import jax

from ..arrays.memory import cores

MOST_BEHIND = 4  # tasks that wait, where a callback may wait too
MOST_BYTES = 2**28  # of tasks that wait
LITTLE = 2**10  # bytes of a task that is always taken, such as a loss
LONGEST = 60  # seconds that a callback waits

Task = Callable[[], None]


class Worker:
    """One thread for all watches; what it was handed is done before the process ends."""

    def __init__(self) -> None:
        self._tasks: deque[tuple[Task, int]] = deque()
        self._bytes = 0  # of tasks that are not done
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._someone_waits = False
        self._failure: BaseException | None = None  # of a task, for whoever waits next

    def start(self) -> None:
        """Start the thread, from one that may still start others when the process ends."""
        # A fork of this process has none, though it knows of this one's.
        with self._changed:
            if self._is_alive():
                return
            if self._thread is None:
                atexit.register(self.finish)
            self._thread = threading.Thread(target=self._run, name="jaxnn-watch", daemon=True)
            self._thread.start()

    def _is_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def hand(self, task: Task, size: int) -> bool:
        """Have a task done; return False if there is no memory for it."""
        with self._changed:
            if self._is_behind() and not self._someone_waits and cores() > 1:
                self._wait()
            if self._bytes > MOST_BYTES and size > LITTLE:
                return False
            self._tasks.append((task, size))
            self._bytes += size
            self._changed.notify_all()
        return True

    def finish(self) -> None:
        """Wait until all steps that were started are done, and their tasks; not within a task."""
        if threading.current_thread() is self._thread:
            return
        jax.effects_barrier()  # type: ignore[no-untyped-call]
        with self._changed:
            while self._bytes and self._is_alive():
                self._changed.wait(1)
            failure, self._failure = self._failure, None
        if failure is not None:  # no Exception, such as of `pytest.fail` in a user's function
            raise failure

    def _is_behind(self) -> bool:
        return len(self._tasks) >= MOST_BEHIND

    def _wait(self) -> None:
        """Wait until fewer tasks do; who has waited in vain is the last: the threads are held."""
        self._someone_waits = True
        self._someone_waits = not self._changed.wait_for(lambda: not self._is_behind(), LONGEST)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._tasks)
                task, size = self._tasks.popleft()
            try:
                with suppress(Exception):
                    task()
            except BaseException as error:  # without this thread nothing would be recorded
                self._failure = error
            del task  # and the arrays that it holds
            with self._changed:
                self._bytes -= size
                self._changed.notify_all()


WORKER = Worker()
