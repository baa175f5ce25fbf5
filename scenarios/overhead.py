"""What does the server itself cost, apart from the model? One user calls a model that computes nothing and one that does, in turn."""

from bench.scenario import Pool, PredictUser, ScenarioOptions, Served, Site, defaults, digits, mnist

defaults(users=1, spawn_rate=1, run_time="30s")


class Overhead(PredictUser):
    """The same digits to both models, in turn; a model `null` is made by `bench export --arch null`."""

    question = "overhead"

    @classmethod
    def payload(cls, options: ScenarioOptions) -> dict[str, Pool]:
        """Equal requests but for the model's name."""
        images = mnist.load("test", options.mnist).images
        request = options.asked.request() | {"seed": options.seed}
        idle = {"model": "null", "version": None, "label": None}
        # which of its ten pixels is brightest says nothing of the digit: without labels, nothing is compared
        null = Pool.of({"images": images}, None, output="scores", **request | idle)
        return {"null": null, "model": digits(options)}

    @classmethod
    def server(cls, site: Site) -> list[str]:
        """Both models, and the server's own counters."""
        null = site.exported("null", "--arch", "null")
        return [
            *site.serving(Served("mnist", site.mnist(), latest=1), Served("null", null)),
            *site.monitored(),
        ]
