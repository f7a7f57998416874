"""Going on with a run as if it had never been cut off.

What is on the disk is written in one order: ``metrics.csv``, then ``last.ckpt``, then ``best.ckpt``, which is a second
name of that same file. So no checkpoint is newer than its metrics, and what is resumed from is what is on record.
"""
