"""Which query rate does a server sustain within a latency bound, under MLPerf's rules for Server?"""

from bench.scenario import ArrivalUser, Pool, ScenarioOptions, defaults, digits, option

defaults(users=1, spawn_rate=1, run_time="10m10s")
option("--latency-bound", "0.015", "latency bound in seconds for 99 % of the queries")
option("--min-duration", "600", "minimum seconds of load for a valid run")


class Server(ArrivalUser):
    """Queries that arrive at random, at the rate that --schedule says; 99 % of them have to keep the bound."""

    question = "mlperf"
    schedule = "poisson:1000"

    @classmethod
    def payload(cls, options: ScenarioOptions) -> Pool:
        """Digits of the test set."""
        options.own_seconds("latency-bound")
        options.own_seconds("min-duration")
        return digits(options)
