"""Runs to cells, with their metrics and warnings."""
