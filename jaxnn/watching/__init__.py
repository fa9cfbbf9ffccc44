"""Watches of a training: its gradient while it goes on, its alarms, and the file of both."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .callbacks import hugging_face_callback as hugging_face_callback
    from .callbacks import lightning_callback as lightning_callback
    from .reading import read_watch as read_watch
    from .torch_watch import TorchWatch as TorchWatch
    from .watched import Watched as Watched
else:
    from ..exports import on_demand

    __getattr__, __dir__, __all__ = on_demand(__name__)
