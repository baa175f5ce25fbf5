"""Experiments: servers, models, versions, batch sizes and loads as trials that can be resumed."""
