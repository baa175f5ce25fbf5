"""The timed path: arrivals, timers, requests and their records."""
