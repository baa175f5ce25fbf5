"""Does the candidate answer as fast and as right as the baseline?"""

from bench.scenario import Pool, PredictUser, ScenarioOptions, digits


class Load(PredictUser):
    """Sends handwritten digits and compares the answers with their labels; each user waits for its answer."""

    @classmethod
    def payload(cls, options: ScenarioOptions) -> Pool:
        """The requests. Those of a model of yours: `Pool.of` or `Pool.from_file`, see docs/your-own-model.md."""
        return digits(options)
