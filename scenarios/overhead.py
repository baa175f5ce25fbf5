"""What does the server itself cost, apart from the model? One user asks a model that computes nothing and one that does."""

from bench import mnist
from bench.load.options import Options, defaults
from bench.load.site import Served, Site
from bench.load.users import PredictUser
from bench.payload import Pool

defaults(users=1, spawn_rate=1, run_time="30s")


class Overhead(PredictUser):
    """The same digits to both models, in turn; a model `null` is made by `bench export --arch null`."""

    question = "overhead"

    @classmethod
    def payload(cls, options: Options) -> dict[str, Pool]:
        """Equal requests but for the model's name."""
        digits = mnist.load("test", options.mnist)
        request = options.asked.request() | {"seed": options.seed}
        computing = Pool.mnist(digits.images, digits.labels, **request)
        idle = {"model": "null", "version": None, "label": None}
        # which of its ten pixels is brightest says nothing of the digit: without labels, nothing is compared
        null = Pool.of({"images": digits.images}, None, output="scores", **request | idle)
        return {"null": null, "model": computing}

    @classmethod
    def server(cls, site: Site) -> list[str]:
        """Both models, and the server's own counters."""
        null = site.exported("null", "--arch", "null")
        return [
            *site.serving(Served("mnist", site.mnist(), latest=1), Served("null", null)),
            *site.monitored(),
        ]
