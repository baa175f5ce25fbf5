"""One module for each question that a scenario asks."""
