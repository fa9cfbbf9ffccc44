"""The colours of all charts and pages.

On a page ink follows the text of the page, which is dark or light or printed; in a picture it is
black on white.
"""

from typing import Final

from jaxnn.flow.view.chart import CATEGORIES as OF_LINES
from jaxnn.flow.view.chart import MUTED as GREY

INK = "currentColor"
FAINT = "rgba(128, 128, 128, 0.28)"  # grid and frames
ALARM = "#d0343f"  # where numbers end, goals are missed

MUTED = GREY  # rules that explain
CATEGORIES = OF_LINES
OURS = CATEGORIES[0]
TRAINING, VALIDATION = CATEGORIES[:2]
SEQUENTIAL: Final = "viridis"  # scheme of a map
MANY: Final = "turbo"  # scheme of more categories than there are colours
OVER_MAP, RIM = "#ffffff", "#333333"  # lines over a map: light on a dark rim
