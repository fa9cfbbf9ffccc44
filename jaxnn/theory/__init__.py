"""Theory: what random networks do in the limit of infinite width, and near it."""

from . import meanfield
from .ensemble import Ensemble

__all__ = ["Ensemble", "meanfield"]
