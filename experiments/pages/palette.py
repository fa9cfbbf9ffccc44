"""The colours of all charts and pages.

On a page ink follows the text of the page, which is dark or light or printed; in a picture it is
black on white.
"""

from typing import Final

INK = "currentColor"
FAINT = "rgba(128, 128, 128, 0.28)"  # grid and frames
MUTED = "#888888"  # rules that explain
ALARM = "#d0343f"  # where numbers end, goals are missed
GOOD = "#3a9d5d"

# Told apart on white and on black, and by most colour-blind readers in this order.
CATEGORIES = (
    *("#3b82c4", "#d9662b", "#3a9d5d", "#b45cc4"),
    *("#b5851f", "#d04a6b", "#6c7fd0", "#2a9aa0"),
)
OURS, THEIRS = CATEGORIES[:2]
TRAINING, VALIDATION = CATEGORIES[:2]
SEQUENTIAL: Final = "viridis"  # scheme of a map
COUNTS = ("#c6dbef", "#08306b")  # of counts, from the fewest to the most
MANY: Final = "turbo"  # scheme of more categories than there are colours
OVER_MAP, RIM = "#ffffff", "#333333"  # lines over a map: light on a dark rim
