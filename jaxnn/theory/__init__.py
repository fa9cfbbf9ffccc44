"""Theory: what random networks do in the limit of infinite width, and near it."""

from . import meanfield, pairs
from .ensemble import Ensemble
from .twin.wide import Wide, wide

# isort: split
from ..flow.correlation import CorrelationLength, correlation_length
from ..flow.critical import CriticalScale, critical_scale, scale_weights  # measures, so last

__all__ = [
    "CorrelationLength",
    "CriticalScale",
    "Ensemble",
    "Wide",
    "correlation_length",
    "critical_scale",
    "meanfield",
    "pairs",
    "scale_weights",
    "wide",
]
