"""One colour for each learning rule, the same in every picture and on every page (Okabe & Ito 2008: safe for the
colour-blind; the dark variants keep the hue and have a contrast of at least 3:1 on a dark ground).
"""

RULE_COLOURS = {"activation": "#0072b2", "timing": "#d55e00", "antlr": "#00916a"}
RULE_COLOURS_DARK = {"activation": "#62bdf5", "timing": "#ff9a57", "antlr": "#35d3a5"}
