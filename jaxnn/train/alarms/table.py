"""The table of alarms, which the rules beside it enter themselves in."""

from ...rules import Rules
from ..measurements import Measurements

ALARMS: Rules[Measurements] = Rules()
