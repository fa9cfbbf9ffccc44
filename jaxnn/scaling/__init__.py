"""Scaling: how states and updates go with the width and the depth of a network."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .answer import ScalingCheck as ScalingCheck
else:
    from ..exports import on_demand

    __getattr__, __dir__, __all__ = on_demand(__name__)
