"""Contexts that no Ctrl-C divides: what is changed for a measurement is put back as a whole.

    random states kept, hooks put on │ measured    │ hooks taken off, random states put back
                       Ctrl-C waits  │ Ctrl-C acts │ Ctrl-C waits, and so does a second one

Python raises KeyboardInterrupt after any instruction, in the midst of a `finally` too. So a handler
looks where it has come: if any context is being entered or left, it comes again a little later.
"""

import _thread
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from inspect import CO_GENERATOR
from types import FrameType
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

CONTEXT = ("__enter__", "__exit__")  # functions that enter and leave one
PAUSE = 0.01  # seconds until an interrupt that has to wait comes again


def undivided(function: Callable[P, Iterator[T]]) -> Callable[P, AbstractContextManager[T]]:
    """Do as `contextlib.contextmanager`; no Ctrl-C divides how the context is entered and left."""
    context = contextmanager(function)

    @wraps(function)
    @contextmanager
    def whole(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        handler = _Handler(sys._getframe())
        try:
            handler.install()
            with context(*args, **kwargs) as value:
                yield value
        finally:
            handler.remove()

    return whole


@undivided
def registered(registrations: Iterable[Callable[[], Any]]) -> Iterator[None]:
    """Call functions that put hooks on and return handles, which are taken off in the end."""
    handles: list[Any] = []
    try:
        handles.extend(register() for register in registrations)
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Handler:
    """The handler of Ctrl-C while a context is open, which hands over to the user's own."""

    # waits: an interrupt of any is to come again; depth: of the stack, up to the function that the
    # context is in.

    waits = False

    def __init__(self, frame: FrameType) -> None:
        self.is_open = False
        self.before: Any = signal.getsignal(signal.SIGINT)
        self.own: Any = self.before.own if isinstance(self.before, _Handler) else self.before
        below: FrameType | None = frame
        while below and (below.f_code.co_flags & CO_GENERATOR or _is_of_context(below)):
            below = below.f_back
        self.depth = len([*_frames(below)])

    def install(self) -> None:
        """Take the place of the handler before, unless that is none of Python's."""
        if callable(self.own) and threading.current_thread() is threading.main_thread():
            self.is_open = True
            signal.signal(signal.SIGINT, self)

    def remove(self) -> None:
        """Give way to the handler before; contexts of generators may end in any order."""
        self.is_open = False
        if threading.current_thread() is threading.main_thread():
            while isinstance(top := signal.getsignal(signal.SIGINT), _Handler) and not top.is_open:
                signal.signal(signal.SIGINT, top.before)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        frames = [*_frames(frame)]
        if any(map(_is_of_context, frames[: max(len(frames) - self.depth, 0)])):
            if not _Handler.waits:
                _Handler.waits = True
                _thread.start_new_thread(_again, (number,))
        else:
            self.own(number, frame)


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_of_context(frame: FrameType) -> bool:
    return frame.f_code.co_name in CONTEXT


def _again(number: int) -> None:
    """Interrupt the main thread a little later."""
    time.sleep(PAUSE)
    _Handler.waits = False
    if hasattr(signal, "pthread_kill"):  # which also wakes one that waits for another thread
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:
        _thread.interrupt_main(signal.Signals(number))
