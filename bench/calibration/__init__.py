"""Calibration: what this machine can send."""
