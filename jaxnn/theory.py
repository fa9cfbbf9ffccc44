"""Theory: what random networks do in the limit of infinite width, and near it."""

from .flow.correlation import CorrelationLength, correlation_length
from .flow.critical import CriticalScale, critical_scale, scale_weights
from .flow.drawn import DrawnBand, drawn_band
from .limits import meanfield, pairs
from .limits.ensemble import Ensemble
from .limits.twin.wide import Wide, wide

__all__ = [
    "CorrelationLength",
    "CriticalScale",
    "DrawnBand",
    "Ensemble",
    "Wide",
    "correlation_length",
    "critical_scale",
    "drawn_band",
    "meanfield",
    "pairs",
    "scale_weights",
    "wide",
]
