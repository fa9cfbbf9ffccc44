"""Ctrl-C and requests to terminate: work in progress is finished and stored first."""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator

from rich.console import Console

INTERRUPTED = 130  # the exit code
GOES_ON = "stopped; the same command again goes on"


@contextlib.contextmanager
def interruptible(stopping: str) -> Iterator[list[int]]:
    """Yield a list that is empty until Ctrl-C or a request to terminate; a second ends the process.

    A thread listens for them: the main one hears nothing while XLA compiles or computes.

    Args:
        stopping: the answer to the first one.
    """
    stopped: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # signals do not arrive here
        yield stopped
        return
    heard, told = socket.socketpair()
    told.setblocking(False)

    signals = (signal.SIGINT, signal.SIGTERM)

    def listen() -> None:
        while number := heard.recv(1):
            if number[0] not in signals:
                continue
            with contextlib.suppress(OSError):  # the terminal may be gone
                print(GOES_ON if stopped else stopping, file=sys.stderr, flush=True)
            if stopped:
                Console(file=sys.__stderr__).show_cursor()
                os._exit(INTERRUPTED)
            stopped.append(number[0])

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    before = [(number, signal.signal(number, lambda *_: None)) for number in signals]
    fd = signal.set_wakeup_fd(told.fileno())
    try:
        yield stopped
    except KeyboardInterrupt:
        pass  # finished work is in the store
    finally:
        signal.set_wakeup_fd(fd)
        for number, handler in before:
            signal.signal(number, handler)
        told.close()
        listener.join()
        heard.close()
