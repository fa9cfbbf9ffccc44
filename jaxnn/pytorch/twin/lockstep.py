"""Replicas of one program that run side by side and meet wherever they have something to share.

    replica 0  ──┐   ┌─────┐   ┌──
    replica 1    └───┤ all ├───┘      one of them runs at a time, in turn

Each is a thread, since a program of torch has no place where it could be left and gone on with.
"""

from collections.abc import Callable, Iterator
from threading import Semaphore, Thread
from typing import Any, TypeVar

from ...errors import NoTwinError
from ...interrupts import undivided

T = TypeVar("T")

PARTED = (
    "the replicas part ways: what is computed depends on the values of the states, as where tokens "
    "choose an expert"
)


class _OthersError(Exception):
    """Another replica has failed, whose error is told."""


class Lockstep:
    """A number of replicas, which meet."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._turns = [Semaphore(0) for _ in range(count)]
        self._values: list[Any] = [None] * count
        self._made: Any = None
        self._meetings = 0
        self._ended = 0
        self._failure: BaseException | None = None

    def run(self, task: Callable[[int], T]) -> list[T]:
        """Return what a task returns for each replica; NoTwinError if places differ."""
        results: list[Any] = [None] * self.count

        def of(replica: int) -> None:
            self._turns[replica].acquire()
            try:
                if self._failure is None:
                    results[replica] = task(replica)
            except _OthersError:
                pass
            except BaseException as error:  # told by the thread that has asked
                self._failure = error
            finally:
                self._ended += 1
                self._next(replica)

        threads = [Thread(target=of, args=(replica,), daemon=True) for replica in range(self.count)]
        with self._joined(threads):
            for thread in threads:
                thread.start()
            self._turns[0].release()
            for thread in threads:
                thread.join()
        if self._failure is not None:
            raise self._failure
        return results

    @undivided
    def _joined(self, threads: list[Thread]) -> Iterator[None]:
        """Wait for all threads in the end; after Ctrl-C, for the product that is being drawn."""
        try:
            yield
        except BaseException as stop:
            self._failure = stop
            self._turns[0].release()
            raise
        finally:
            for thread in threads:
                if thread.ident is not None:  # it was started
                    thread.join()

    def meet(self, replica: int, value: Any, make: Callable[[list[Any]], T]) -> T:
        """Return what is made, once, of the values that all replicas bring."""
        if self._ended:
            raise NoTwinError(PARTED)
        before = self._meetings
        self._values[replica] = value
        if replica == self.count - 1:
            self._made = make(list(self._values))
            self._meetings += 1
        self._next(replica)
        self._turns[replica].acquire()
        if self._failure is not None:
            raise _OthersError
        if self._meetings == before:  # the others have ended instead
            raise NoTwinError(PARTED)
        made: T = self._made
        return made

    def _next(self, replica: int) -> None:
        self._turns[(replica + 1) % self.count].release()
