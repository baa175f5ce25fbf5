"""How fast does a server classify digits that arrive at a rate, whether or not it keeps up?"""

from bench import mnist
from bench.load.options import Options
from bench.load.users import ArrivalUser
from bench.payload import Pool


class MnistOpen(ArrivalUser):
    """Sends real handwritten digits when they are due and compares the answers with their labels (open loop)."""

    schedule = "poisson:1000"

    @classmethod
    def payload(cls, options: Options) -> Pool:
        """Digits of the test set, in an order that the seed decides."""
        digits = mnist.load("test", options.mnist)
        return Pool.mnist(digits.images, digits.labels, **options.asked.request(), seed=options.seed)
