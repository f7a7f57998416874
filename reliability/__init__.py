"""Commands that try what docs/RELIABILITY.md claims, with real processes, and write its tables."""
