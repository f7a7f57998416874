"""One colour for each learning rule, the same in every picture and on every page (Okabe & Ito 2008: safe for the
colour-blind; the dark variants keep the hue and have a contrast of at least 3:1 on a dark ground).
"""

RULE_COLOURS = {"activation": "#0072b2", "timing": "#d55e00", "antlr": "#00916a"}
RULE_COLOURS_DARK = {"activation": "#62bdf5", "timing": "#ff9a57", "antlr": "#35d3a5"}
SETTING_COLOURS = ("#0072b2", "#c05000", "#008060", "#a8447f", "#7a6500", "#5b4bb0", "#9c3f3f", "#4d6370")
SETTING_COLOURS_DARK = ("#62bdf5", "#ff9a57", "#35d3a5", "#eda3cd", "#e3cd52", "#b3a6ff", "#f09a9a", "#a9bfcc")
"""Settings of one rule, where the rules' colours would tell nothing."""
