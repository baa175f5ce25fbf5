"""How quickly is one image after the other classified, under MLPerf's rules for SingleStream?"""

from bench.scenario import Pool, PredictUser, ScenarioOptions, defaults, digits, option

defaults(users=1, spawn_rate=1, run_time="10m10s")
option("--min-duration", "600", "minimum seconds of load for a valid run")


class SingleStream(PredictUser):
    """One query at a time; the result is the latency that 90 % of them keep, claimed at 99 % confidence."""

    question = "mlperf"

    @classmethod
    def payload(cls, options: ScenarioOptions) -> Pool:
        """Digits of the test set."""
        options.own_seconds("min-duration")
        return digits(options)
