"""Cures: changes of a network, each made and measured on that network."""

from . import causes  # noqa: F401, entries of the table
