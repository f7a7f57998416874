"""What test files share; they import nothing from each other."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The repository."""
