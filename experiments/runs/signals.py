"""Ctrl-C and requests to terminate: from the first moment to the last they end the process.

While cells are measured, the one in progress is finished and stored first. A thread listens: the
main one hears nothing while it imports, XLA compiles or computes, or a picture is drawn.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

INTERRUPTED = 130  # the exit code
STOPPED = "stopped"
GOES_ON = "stopped; the same command again goes on"
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def end_at_once(sentence: str = STOPPED) -> None:
    """Let each signal from now on end the process, with this sentence.

    A package that is imported may take a signal for itself: then call it again.
    """
    _listen(lambda _: _end(sentence))


@contextlib.contextmanager
def interruptible(stopping: str) -> Iterator[list[int]]:
    """Yield a list that is empty until a signal, whose answer is a text; a second one ends."""
    stopped: list[int] = []

    def answer(number: int) -> None:
        if stopped:
            _end(GOES_ON)
        _say(stopping)
        stopped.append(number)

    undo = _listen(answer)
    try:
        yield stopped
    except KeyboardInterrupt:
        pass  # finished work is in the store
    finally:
        undo()


def _listen(answer: Callable[[int], None]) -> Callable[[], None]:
    """Call `answer` with the number of each signal, in a thread; return how to undo it."""
    if threading.current_thread() is not threading.main_thread():  # signals do not arrive here
        return lambda: None
    heard, told = os.pipe()
    os.set_blocking(told, False)

    def listen() -> None:
        while number := os.read(heard, 1):
            if number[0] in SIGNALS:
                answer(number[0])

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    before = [(number, signal.signal(number, lambda *_: None)) for number in SIGNALS]
    fd = signal.set_wakeup_fd(told)

    def undo() -> None:
        signal.set_wakeup_fd(fd)
        for number, handler in before:
            signal.signal(number, handler)
        os.close(told)
        listener.join()
        os.close(heard)

    return undo


def _say(sentence: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # the terminal may be gone
        print(sentence, file=sys.stderr, flush=True)


def _end(sentence: str) -> None:
    with contextlib.suppress(Exception):  # rich may be only half imported
        # Only a view hides the cursor.
        sys.modules["rich.console"].Console(file=sys.__stderr__).show_cursor()
    _say(sentence)
    os._exit(INTERRUPTED)
