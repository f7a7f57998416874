"""The loss around a network, and whether each learning rule's gradient describes it: which tells the truth, and where.

:mod:`.directions` moves weights, :mod:`.subject` is a network that can be moved, :mod:`.fidelity` compares slopes,
:mod:`.measure` measures on lines, on planes and layer by layer, :mod:`.write` and :mod:`.figures` show it; the command
(``python -m app.landscape``) and the callback (``probes.landscape_epochs``) say when.
"""
