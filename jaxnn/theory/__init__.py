"""Theory: what random networks do in the limit of infinite width, and near it."""

from typing import TYPE_CHECKING

# What measures a network itself lies in `jaxnn.flow.expected`, above this family.
if TYPE_CHECKING:
    from ..flow.expected.critical import CriticalScale as CriticalScale
    from ..flow.expected.critical import critical_scale as critical_scale
    from ..flow.expected.critical import scale_weights as scale_weights
    from . import meanfield as meanfield
    from .ensemble import Ensemble as Ensemble
    from .several_examples import BatchBand as BatchBand
    from .several_examples import batch_band as batch_band
    from .tailored import tailored_relu as tailored_relu
    from .twin.wide import Wide as Wide
    from .twin.wide import wide as wide
else:
    from ..exports import on_demand

    __getattr__, __dir__, __all__ = on_demand(__name__)
