"""Theory: what random networks do in the limit of infinite width, and near it."""

from importlib import import_module
from typing import TYPE_CHECKING

# What measures a network itself lies in `jaxnn.flow.theory`, above this family: it is imported
# where it is first asked for.
if TYPE_CHECKING:
    from ..flow.theory.correlation import CorrelationLength, correlation_length
    from ..flow.theory.critical import CriticalScale, critical_scale, scale_weights
    from ..flow.theory.finite_width_band import DrawnBand, drawn_band
    from . import meanfield, pairs
    from .ensemble import Ensemble
    from .twin.wide import Wide, wide
else:
    _PLACES = {
        "CorrelationLength": "flow.theory.correlation",
        "CriticalScale": "flow.theory.critical",
        "DrawnBand": "flow.theory.finite_width_band",
        "Ensemble": "theory.ensemble",
        "Wide": "theory.twin.wide",
        "correlation_length": "flow.theory.correlation",
        "critical_scale": "flow.theory.critical",
        "drawn_band": "flow.theory.finite_width_band",
        "scale_weights": "flow.theory.critical",
        "wide": "theory.twin.wide",
    }

    def __getattr__(name):
        if name in ("meanfield", "pairs"):
            return import_module(f".{name}", __name__)
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = import_module(f"..{_PLACES[name]}", __name__)
        value = globals()[name] = getattr(module, name)
        return value

    def __dir__():
        return sorted({*globals(), *__all__})


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
