"""Theory: what random networks do in the limit of infinite width, and near it."""

from . import meanfield
from .ensemble import Ensemble
from .twin.wide import Wide, wide

# isort: split
from ..flow.critical import CriticalScale, critical_scale, scale_weights  # measures, so last

__all__ = [
    "CriticalScale",
    "Ensemble",
    "Wide",
    "critical_scale",
    "meanfield",
    "scale_weights",
    "wide",
]
