"""Numbers of classes as labels: what a loss of one column a class makes of them.

slope, class by class    one of whose examples nothing is learnt, as of an index that is ignored
slope at equal outputs   along one line for all classes: the numbers weigh examples, no more
"""

from typing import NamedTuple

import numpy as np

from .loss_kinds import trial_output
from .trial import Trial, as_wide

FEWEST = 3  # classes: of two, slopes lie on one line
ALONG = 1.0 - 1e-3  # a cosine


class ClassLabels(NamedTuple):
    """Labels that are numbers of classes, one an example."""

    lowest: int
    highest: int
    columns: int  # of the output
    ignored: int | None  # the one class of which all examples have no slope
    weigh: bool  # the slopes of all examples lie along one line at equal outputs
    breaks: bool = False  # the loss is no number for those that have no column alone
    wraps: bool = False  # labels below 0 count from the last column

    @classmethod
    def of(cls, trial: Trial) -> "ClassLabels | None":
        """Return what a trial shows of them; None of other labels."""
        output, ys = trial.first, trial.ys
        if output is None or ys is None or output.ndim != 2 or ys.size != len(output):
            return None
        labels, columns = as_wide(ys).ravel(), output.shape[1]
        classes = np.unique(labels)
        if len(classes) < FEWEST or columns < FEWEST or (labels != np.round(labels)).any():
            return None
        at = trial_output(output.shape, 1)
        at_once, at_equal = (
            trial.slope(v.astype(output.dtype)) for v in (at, np.tile(at[:1], (len(at), 1)))
        )
        if at_once is None or at_equal is None:
            return None
        as_trial, equal = as_wide(at_once.of_output), as_wide(at_equal.of_output)
        is_still = ~as_trial.any(axis=1)
        still = [c for c in classes if 0 <= c < columns and is_still[labels == c].all()]
        is_alone = len(still) == 1 and not is_still[labels != still[0]].any()
        ignored = int(still[0]) if is_alone else None
        ends = int(classes[0]), int(classes[-1])
        known = cls(*ends, columns, ignored, _along_one_line(equal))
        if ends[0] >= 0 and ends[1] < columns:
            return known
        inside = trial.slope(at.astype(output.dtype), ys=ys % columns)
        if inside is None:
            return known
        breaks = bool(np.isfinite(inside.value) and not np.isfinite(at_once.value))
        wraps = ends[1] < columns and np.array_equal(as_wide(inside.of_output), as_trial)
        return known._replace(breaks=breaks, wraps=wraps)


def _along_one_line(slopes: np.ndarray) -> bool:
    """Tell whether rows, not all equal, are one row times numbers above 0."""
    sizes = np.linalg.norm(slopes, axis=1)
    rows = slopes[sizes > 0] / sizes[sizes > 0, None]
    differ = len(rows) > 1 and np.ptp(sizes[sizes > 0]) > (1 - ALONG) * sizes.max()
    return bool(differ and (rows @ rows[0] > ALONG).all())
