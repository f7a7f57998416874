"""Reads stored W&B runs and compares them: one HTML page without network, or a plain table."""
