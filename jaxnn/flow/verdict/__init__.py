"""The verdict on a flow: its rate, findings and advice."""

from . import data_findings, end_findings, parameter_findings, unit_findings  # noqa: F401, entries of the table
