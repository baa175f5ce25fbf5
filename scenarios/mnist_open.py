"""How fast does a server classify digits that arrive at a rate, whether or not it keeps up?"""

from bench.scenario import ArrivalUser, Pool, ScenarioOptions, digits


class MnistOpen(ArrivalUser):
    """Sends real handwritten digits when they are due and compares the answers with their labels (open loop)."""

    schedule = "poisson:1000"

    @classmethod
    def payload(cls, options: ScenarioOptions) -> Pool:
        """Digits of the test set, in an order that the seed decides."""
        return digits(options)
