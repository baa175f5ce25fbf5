"""Comparisons, limits, gates and history."""
