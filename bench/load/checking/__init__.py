"""Checks of responses, off the timed path."""
