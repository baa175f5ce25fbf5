"""Do latency or memory grow while a server works steadily for long? A minute by default; `-t 1h` is a real soak."""

from bench import mnist
from bench.load.options import Options, defaults
from bench.load.users import ArrivalUser
from bench.payload import Pool

defaults(users=1, spawn_rate=1, run_time="60s")


class Soak(ArrivalUser):
    """Digits at a steady rate that leaves the server room."""

    question = "drift"
    schedule = "poisson:500"

    @classmethod
    def payload(cls, options: Options) -> Pool:
        """Digits of the test set."""
        digits = mnist.load("test", options.mnist)
        return Pool.mnist(digits.images, digits.labels, **options.asked.request(), seed=options.seed)
