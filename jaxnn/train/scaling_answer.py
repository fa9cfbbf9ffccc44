"""The answer of a scaling check: what it found along the width, and along the depth."""

from dataclasses import dataclass
from typing import Any

from ..flow.view.chart import load_altair, styled, with_picture
from .scaling_axis import Scaling

WORDS = ("growing", "falling", "unclear", "steady")  # from the worst


@dataclass(frozen=True, repr=False)
class ScalingCheck:
    """What depends on the width of a network, and on its depth; `print` it to read it.

    width: what was found along the widths, all numbers of it; None without.
    depth: likewise along the depths.
    """

    width: Scaling | None = None
    depth: Scaling | None = None

    @property
    def axes(self) -> tuple[Scaling, ...]:
        """What was found along each axis that was asked for."""
        return tuple(axis for axis in (self.width, self.depth) if axis is not None)

    @property
    def word(self) -> str:
        """The verdict, the worst of both axes: growing, falling, unclear or steady.

        Only where it is steady a step size that is good at one size is good at all.
        """
        return min((axis.word for axis in self.axes), key=WORDS.index)

    @property
    def sentences(self) -> tuple[str, ...]:
        """The verdict along each axis in words."""
        return tuple(sentence for axis in self.axes for sentence in axis.sentences)

    def __repr__(self) -> str:
        return "\n".join(self.sentences)

    def _repr_html_(self) -> str:
        return with_picture(self.sentences, self.chart)

    def table(self) -> list[dict[str, Any]]:
        """Return a row for each layer along each axis, see `Scaling.table`."""
        return [row for axis in self.axes for row in axis.table()]

    def chart(self) -> Any:
        """Draw sizes and changes against each axis, a line for each layer.

        Returns:
            An Altair chart, as of `jaxnn.chart`.

        Raises:
            ImportError: Altair is not installed.
        """
        panels = [panel for axis in self.axes for panel in axis.panels()]
        return styled(load_altair().vconcat(*panels, spacing=18))
