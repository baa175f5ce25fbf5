"""Serving APIs: signatures of models, and errors with their causes."""
