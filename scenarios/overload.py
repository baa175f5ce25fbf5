"""What happens beyond a server's capacity: how much is answered in time, what is refused, and how?"""

from bench.scenario import ArrivalUser, Pool, ScenarioOptions, Served, Site, defaults, digits

defaults(users=1, spawn_rate=1, run_time="36s", batch_size="64", deadline="1")


class Overload(ArrivalUser):
    """Twice as many requests every six seconds; the deadline says what is in time."""

    question = "overload"
    schedule = "steps:25,50,100,200,400,800/6s"

    @classmethod
    def payload(cls, options: ScenarioOptions) -> Pool:
        """Digits of the test set, 64 in a request unless --batch-size says otherwise."""
        return digits(options)

    @classmethod
    def server(cls, site: Site) -> list[str]:
        """A network with some work to do, on a server that refuses what exceeds 100 requests in flight."""
        network = site.exported("mnist", "--arch", "cnn", "--steps", "100", kept="cnn")
        return [*site.serving(Served("mnist", network)), "--max_in_flight=100"]
