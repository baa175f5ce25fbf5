"""How many images per second are classified when all are available at the start, under MLPerf's rules for Offline?"""

from bench.scenario import Pool, PredictUser, ScenarioOptions, defaults, digits, option

defaults(users=8, spawn_rate=8, run_time="10m10s", batch_size="256")
option("--min-duration", "600", "minimum seconds of load for a valid run")


class Offline(PredictUser):
    """Large batches, always some of them under way; the result is samples per second."""

    question = "mlperf"

    @classmethod
    def payload(cls, options: ScenarioOptions) -> Pool:
        """Digits of the test set."""
        options.own_seconds("min-duration")
        return digits(options)
