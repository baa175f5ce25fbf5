"""Known faults in short loads, and what the report says of each: see `__main__`."""
