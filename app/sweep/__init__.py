"""Grids of settings and repeated trials on this machine: which runs there are, running them, choosing among them."""
