"""Networks: activations, tasks, parameters, kinds of blocks."""

from .activations import ACTIVATIONS, Activation, find_activation
from .params import Layer, stack, unstack
from .tasks import TASKS, Task, find_task

__all__ = [
    "ACTIVATIONS",
    "TASKS",
    "Activation",
    "Layer",
    "Task",
    "find_activation",
    "find_task",
    "stack",
    "unstack",
]


def __dir__() -> list[str]:
    return __all__
