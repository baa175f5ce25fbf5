"""Whether two conditions give the same answers to the same examples."""
