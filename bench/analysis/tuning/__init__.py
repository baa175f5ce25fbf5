"""The best settings of a server: the race, what a trial counts, what parameters did, and the answer."""
