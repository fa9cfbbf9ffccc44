"""The first batches of a watched training, as a diagnosis would look at them.

    concrete arrays at the first measurement -> Evidence -> findings on data, loss and weights
    the first two measurements -> findings on a gradient that stops, which are there in both
    -> alarms of that step, each with the name of its finding

That its labels are of one class, or in order, says nothing yet: those of the next batches tell. A
watch inside of `jax.jit` has no concrete arrays, and makes no experiments.
"""

from collections.abc import Collection, Iterator

import numpy as np

from ..evidence.evidence import Evidence
from ..flow.record.flow import Flow
from ..flow.verdict.data_findings import LABELS
from ..flow.verdict.findings import CUT, DATA, END, FINDINGS, PARAMETERS, UNSEEN, is_usual
from ..flow.verdict.judged import Judged
from ..rules import Found


def _of_ranks(*ranks: int) -> tuple[str, ...]:
    return tuple(name for name, rule in FINDINGS.items() if rule.rank in ranks)


OF_BATCH = _of_ranks(END, DATA, PARAMETERS)
OF_FLOW = _of_ranks(UNSEEN, CUT)
FROZEN = "frozen", "among"  # by requires_grad=False or a stop_gradient of their own


def alarms_of_findings(
    step: int, flow: Flow, rules: Collection[str], evidence: Evidence | None = None
) -> Iterator[Found]:
    """Yield what some rules find in the flow of a step, each kind once."""
    told = set[str]()
    with np.errstate(all="ignore"):
        for found in FINDINGS.found(
            Judged(flow, (), evidence or Evidence()), FINDINGS.keys() - {*rules}
        ):
            is_meant = found.values.get("why") in FROZEN or found.path == LABELS
            if found.rule not in told and not is_usual(found) and not is_meant:
                told.add(found.rule)
                yield found._replace(text=f"Step {step}: {found.text}", step=step)
