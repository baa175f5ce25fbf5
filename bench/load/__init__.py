"""Locust users to samples."""
