"""The cost of a run, estimated from its settings."""

from typing import NamedTuple


class Work(NamedTuple):
    """The cost of a run."""

    flops: float = 0.0  # floating-point operations; 0 if they are not counted
    bytes: float = 0.0  # at most at a time; 0 if that is little
    smaller: str = "the run"  # the settings that bytes grow with

    def __str__(self) -> str:
        operations = f"{self.flops:.2g} floating-point operations" if self.flops else ""
        memory = f"{self.bytes / 1e6:.3g} MB at most at a time" if self.bytes else ""
        return ", ".join(filter(None, (operations, memory)))
