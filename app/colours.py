"""One colour for each learning rule, the same in every picture and on every page (Okabe & Ito 2008: safe for the
colour-blind; the dark variants keep the hue and have a contrast of at least 3:1 on a dark ground).
"""

from __future__ import annotations

from zlib import crc32

RULE_COLOURS = {"activation": "#0072b2", "timing": "#d55e00", "antlr": "#00916a"}
RULE_COLOURS_DARK = {"activation": "#62bdf5", "timing": "#ff9a57", "antlr": "#35d3a5"}
SETTING_COLOURS = ("#0072b2", "#c05000", "#008060", "#a8447f", "#7a6500", "#5b4bb0", "#9c3f3f", "#4d6370")
SETTING_COLOURS_DARK = ("#62bdf5", "#ff9a57", "#35d3a5", "#eda3cd", "#e3cd52", "#b3a6ff", "#f09a9a", "#a9bfcc")
"""Settings of one rule, where the rules' colours would tell nothing."""
LINES = {"activation": "--", "timing": "-.", "antlr": "-"}
"""Line styles beside the colours, for print and for the colour-blind."""
OTHER_LINES = (":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 2)), (0, (8, 2, 1, 2)))


def rule_colour(rule: str, dark: bool = False) -> str:
    """The colour of a rule: its own, or for others one that always follows from the name."""
    own, others = (RULE_COLOURS_DARK, SETTING_COLOURS_DARK) if dark else (RULE_COLOURS, SETTING_COLOURS)
    return own.get(rule) or others[3 + crc32(rule.encode()) % (len(others) - 3)]


def rule_line(rule: str) -> str | tuple[int, tuple[int, ...]]:
    """The line style of a rule, as matplotlib takes it."""
    return LINES.get(rule) or OTHER_LINES[crc32(rule.encode()) % len(OTHER_LINES)]
