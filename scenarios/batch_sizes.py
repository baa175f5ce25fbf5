"""How many images should a request hold? Batches of 1 to 512 take turns: throughput, latency, cost per image."""

from bench.scenario import Pool, PredictUser, ScenarioOptions, defaults, digits, option

defaults(users=4, spawn_rate=4, run_time="60s")
option("--batches", "1,2,4,8,16,32,64,128,256,512", "images in a request")


class BatchSizes(PredictUser):
    """All users send requests of one size for three seconds, then of the next; after the last they start over."""

    question = "batches"
    turn_seconds = 3

    @classmethod
    def payload(cls, options: ScenarioOptions) -> dict[str, Pool]:
        """The same digits, so many in each request."""
        return {
            f"batch {size}": digits(options, batch=int(size)) for size in options.own["batches"].split(",")
        }
