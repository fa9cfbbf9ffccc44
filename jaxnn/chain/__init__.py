"""A network of one's own as a chain of layers, cut from its program or given as a list."""

from .chain import Chain

__all__ = ["Chain"]


def __dir__() -> list[str]:
    return __all__
