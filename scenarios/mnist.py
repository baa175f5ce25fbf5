"""How fast does a server classify digits when each user waits for the response before the next request?"""

from bench.scenario import Pool, PredictUser, ScenarioOptions, digits


class Mnist(PredictUser):
    """Sends real handwritten digits and compares the answers with their labels (closed loop)."""

    @classmethod
    def payload(cls, options: ScenarioOptions) -> Pool:
        """Digits of the test set, in an order that the seed decides."""
        return digits(options)
