"""When to measure and under which name to log; what is measured stands in the rooms below."""
