"""Do two models on one server disturb each other? One gets requests all the time, the other in every second interval of five seconds."""

from bench.scenario import ArrivalUser, Pool, ScenarioOptions, Served, Site, defaults, digits
from bench.schedule import Steps

defaults(users=2, spawn_rate=2, run_time="60s")


class Mnist(ArrivalUser):
    """The model whose clients must not suffer: single digits at a steady rate."""

    question, request_name, schedule = "neighbours", "mnist", "poisson:300"

    @classmethod
    def payload(cls, options: ScenarioOptions) -> Pool:
        """Digits as images [28, 28, 1]."""
        return digits(options)

    @classmethod
    def server(cls, site: Site) -> list[str]:
        """Both models from one model config."""
        flat = site.exported("mnist2", "--flat", "--arch", "cnn", "--steps", "100")
        return site.serving(Served("mnist", site.mnist()), Served("mnist2", flat))


class Mnist2(ArrivalUser):
    """Its neighbour, with another input and another network: batches of 16 that come and go."""

    request_name, schedule = "mnist2", Steps((0, 25) * 12, each=5)

    @classmethod
    def payload(cls, options: ScenarioOptions) -> Pool:
        """The same digits as rows of 784 numbers."""
        return digits(options, flat=True, model="mnist2", batch=16)
