"""Telemetry of machine and processes, and the server's counters."""
