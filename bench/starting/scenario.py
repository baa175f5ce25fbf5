"""Is the candidate as fast and as accurate as the baseline?"""

from bench.scenario import Pool, PredictUser, ScenarioOptions, digits


class Load(PredictUser):
    """Sends handwritten digits and compares the answers with their labels; each user waits for its response."""

    @classmethod
    def payload(cls, options: ScenarioOptions) -> Pool:
        """The requests. For your own model use `Pool.of` or `Pool.from_file`: docs/own-scenario.md."""
        return digits(options)
