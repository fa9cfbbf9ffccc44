"""Tests of a loss: whether it is smallest where the output fits the labels.

outputs that are the labels, or their opposite    a loss that rises with the fit
outputs of zeros                                  a loss that an output without information ends
one label changed                                 which outputs it acts on
"""

import numpy as np

from .loss_kinds import Labels, trial_output
from .trial import Trial, as_wide

SURE = 20.0  # a logit that is as good as certain
AS_GOOD = 0.1  # of how much the loss changes from the opposite of the labels to these
BETTER = 0.5  # of it, at other classes than those of the labels
SAME = 1e-6  # of a slope: two that are equal
PROBES = 6  # labels that are changed


def rises_with_fit(trial: Trial, labels: Labels | None) -> bool:
    """Tell whether the loss is larger at the labels, and least at an output that is all nothing."""
    output = trial.first
    if output is None or labels is None or not np.isin(labels.values, (0, 1)).all():
        return False
    y, v = labels.values, as_wide(output)
    # Outputs within 0 and 1 are taken for probabilities, others for logits.
    low, high = (0.0, 1.0) if v.min() >= 0 and v.max() <= 1 else (-SURE, SURE)
    ends = [low + (high - low) * y, low + (high - low) * (1 - y), np.full(y.shape, low)]
    if labels.axis is not None and (y.sum(labels.axis) <= 1).all():  # classes may be renamed
        ends += [low + (high - low) * np.roll(y, by, labels.axis) for by in (1, -1)]
    slopes = [trial.slope(end.astype(output.dtype).reshape(output.shape)) for end in ends]
    if not np.ptp(y) or any(slope is None for slope in slopes):
        return False
    fit, opposite, nothing, *others = (slope.value for slope in slopes if slope is not None)
    are_better = all(fit - other > BETTER * (fit - opposite) for other in others)
    # A loss of distances, 0 for what is alike, is least at a fit too.
    return bool(are_better and fit > opposite and nothing <= opposite + AS_GOOD * (fit - opposite))


def is_ended_by_zeros(trial: Trial) -> bool:
    """Tell whether the loss is smaller at outputs of zeros, and has no slope there."""
    slopes = [trial.slope(v) for v in (np.asarray(trial.first), np.zeros_like(trial.first))]
    first, zeros = (None if slope is None else slope for slope in slopes)
    if first is None or zeros is None:
        return False
    return bool(zeros.value < first.value and not zeros.of_output.any())


def acts_elsewhere(trial: Trial, labels: Labels | None) -> bool:
    """Tell whether the label of one position acts on outputs of several others."""
    output, ys = trial.first, trial.ys
    if output is None or ys is None or labels is None or labels.axis is None or output.ndim < 3:
        return False
    if ys.dtype.kind not in "iu" or ys.ndim != output.ndim - 1:
        return False
    at = trial_output(labels.values.shape, labels.axis).astype(output.dtype)
    rng, before, changes = np.random.default_rng(0), trial.slope(at), []
    for _ in range(PROBES):
        place = tuple(int(rng.integers(n)) for n in ys.shape)
        other = ys.copy()
        other[place] = next((c for c in np.unique(ys) if c != ys[place]), ys[place])
        after = trial.slope(at, ys=other)
        if before is None or after is None:
            return False
        old, new = as_wide(before.of_output), as_wide(after.of_output)
        changed = np.abs(new - old) > SAME * np.abs(old).max()
        changes.append((int(changed.sum()), int(changed.any(axis=labels.axis).sum())))
    outputs, positions = np.array([change for change in changes if change[0]] or [(0, 0)]).T
    # A loss that sums over positions has another slope everywhere, one that compares a token with
    # the output before at one position.
    return bool(outputs.max() <= output.shape[labels.axis] and positions.min() > 1)
