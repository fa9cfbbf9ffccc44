"""The verdict on a flow: its rate, findings and advice."""

from . import data_findings  # noqa: F401, entries of the table in findings.py
