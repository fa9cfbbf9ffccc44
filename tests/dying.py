"""A process that prints words and ends, instead of the one that draws; it imports nothing else."""

import os


def dies(words, number, _pipe, printed, _parent):
    """Print, and end by the signal of this number; by itself if it is 0."""
    with open(printed, "w", encoding="utf-8") as file:
        file.write(words)
    if number:
        os.kill(os.getpid(), number)
    os._exit(1)
