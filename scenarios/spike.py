"""How does a server respond to a spike of five times its load, and how long does it take to recover?"""

from bench.scenario import ArrivalUser, Pool, ScenarioOptions, defaults, digits

defaults(users=1, spawn_rate=1, run_time="30s")


class Spike(ArrivalUser):
    """A steady rate, five times as much for five seconds, then as before."""

    question = "spike"
    schedule = "spike:800x5@10s+5s"

    @classmethod
    def payload(cls, options: ScenarioOptions) -> Pool:
        """Digits of the test set."""
        return digits(options)
