"""The verdict on a flow: its rate, findings and advice."""

from . import (  # noqa: F401, entries of the table
    array_findings,
    broken_findings,
    data_findings,
    end_findings,
    layer_findings,
    parameter_findings,
    rate_findings,
    state_findings,
    unseen_findings,
)
