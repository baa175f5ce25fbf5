"""Agreement of the answers of two conditions to the same examples."""
