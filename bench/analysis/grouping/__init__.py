"""Trials of a condition: metrics, spread, and what they have in common."""
