"""How fast does a server classify digits when each user waits for its answer before it asks again?"""

from bench import mnist
from bench.load.options import Options
from bench.load.users import PredictUser
from bench.payload import Pool


class Mnist(PredictUser):
    """Sends real handwritten digits and compares the answers with their labels (closed loop)."""

    @classmethod
    def payload(cls, options: Options) -> Pool:
        """Digits of the test set, in an order that the seed decides."""
        digits = mnist.load("test", options.mnist)
        return Pool.mnist(digits.images, digits.labels, **options.asked.request(), seed=options.seed)
