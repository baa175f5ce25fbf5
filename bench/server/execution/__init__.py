"""Execution of requests: batching, SavedModels and synthetic models."""
