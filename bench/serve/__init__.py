"""Servers under test: our own, and how each kind is launched."""
