"""How many images should a request hold? Batches of 1 to 512 take turns: throughput, latency, cost per image."""

from bench import mnist
from bench.load.options import Options, defaults, option
from bench.load.users import PredictUser
from bench.payload import Pool

defaults(users=4, spawn_rate=4, run_time="60s")
option("--batches", "1,2,4,8,16,32,64,128,256,512", "images in a request")


class BatchSizes(PredictUser):
    """All users send requests of one size for three seconds, then of the next; after the last they start over."""

    question = "batches"
    turn_seconds = 3

    @classmethod
    def payload(cls, options: Options) -> dict[str, Pool]:
        """The same digits, so many in each request."""
        digits = mnist.load("test", options.mnist)
        return {
            f"batch {size}": Pool.mnist(
                digits.images,
                digits.labels,
                **options.asked.request() | {"batch": int(size)},
                seed=options.seed,
            )
            for size in options.own["batches"].split(",")
        }
