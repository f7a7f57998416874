"""Side-by-side timings; each command is ``python -m benchmarks.<name>``."""
