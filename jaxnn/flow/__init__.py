"""Flows: the size of a gradient layer by layer, and what it means."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..rules import Found as Found
    from .gradient_flow import at_depths as at_depths
    from .jacobian.attention import AttentionSpectra as AttentionSpectra
    from .jacobian.spectrum import Spectrum as Spectrum
    from .record.flow import Parameters as Parameters
    from .record.flow import Streams as Streams
    from .record.flow import Units as Units
    from .record.heads import AttentionHeads as AttentionHeads
    from .record.heads import Routers as Routers
    from .verdict.network_advice import NetworkAdvice as NetworkAdvice
else:
    from ..exports import on_demand

    __getattr__, __dir__, __all__ = on_demand(__name__)
