"""Do latency or memory grow under a long steady load? A minute by default; `-t 1h` is a real soak."""

from bench.scenario import ArrivalUser, Pool, ScenarioOptions, defaults, digits

defaults(users=1, spawn_rate=1, run_time="60s")


class Soak(ArrivalUser):
    """Digits at a steady rate that leaves the server room."""

    question = "drift"
    schedule = "poisson:500"

    @classmethod
    def payload(cls, options: ScenarioOptions) -> Pool:
        """Digits of the test set."""
        return digits(options)
