"""The most load within a service level: levels of the rate, the search, its estimate and what limits."""
