"""Telemetry of the server's machine, pods and GPUs, from pages of exporters."""
