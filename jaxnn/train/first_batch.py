"""The first batch of a watched training, as a diagnosis would look at it.

    concrete arrays at the first measurement -> Evidence -> findings on data, loss and weights
    -> alarms of that step, each with the name of its finding

That its labels are of one class says nothing yet: those of the next batches tell. A watch
inside of `jax.jit` has no concrete arrays, and makes no experiments.
"""

from collections.abc import Collection, Iterator

import numpy as np

from ..evidence.evidence import Evidence
from ..flow.record.flow import Flow
from ..flow.verdict.data_findings import LABELS
from ..flow.verdict.findings import DATA, END, FINDINGS, PARAMETERS
from ..flow.verdict.judged import Judged
from .watched import Alarm

OF_BATCH = tuple(
    name for name, rule in FINDINGS.items() if rule.rank in (END, DATA, PARAMETERS)
)  # findings that experiments with a batch show


def alarms_of_batch(
    step: int, flow: Flow, evidence: Evidence, ignore: Collection[str] = ()
) -> Iterator[Alarm]:
    """Yield what experiments with the batch of a step show, each kind once."""
    others = {*ignore, *(FINDINGS.keys() - set(OF_BATCH))}
    told = set[str]()
    with np.errstate(all="ignore"):
        for found in FINDINGS.found(Judged(flow, (), evidence), others):
            if found.rule not in told and found.path != LABELS:
                told.add(found.rule)
                yield Alarm(step, found.rule, f"Step {step}: {found.text}", found.layer, found.path)
