"""Causes of a verdict: stages of the latency, slow requests, what happened beside them; and the card that shows them."""
