"""Statistics without project types: intervals, sample size, sequential tests, steps."""
