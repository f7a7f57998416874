"""When to measure and under which name to log; the measurements themselves are in ``app.probes``."""
