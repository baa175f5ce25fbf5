"""Formats of request files: one module for each, and what all of them share."""
