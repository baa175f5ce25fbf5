"""Everything that a locustfile imports."""

from typing import Any

from bench import mnist
from bench.load.any_model import model_options, model_pool, model_server
from bench.load.locust_glue.attach import take_part
from bench.load.options import ScenarioOptions
from bench.load.own_options import defaults, option
from bench.load.rollout import Rollout
from bench.load.site import Served, Site
from bench.load.stage import Stage
from bench.load.users import ArrivalUser, PredictUser, ScheduledUser
from bench.payload import Pool

__all__ = [
    "ArrivalUser",
    "Options",
    "Pool",
    "PredictUser",
    "Rollout",
    "ScenarioOptions",
    "ScheduledUser",
    "Served",
    "Site",
    "Stage",
    "defaults",
    "digits",
    "mnist",
    "model_options",
    "model_pool",
    "model_server",
    "option",
    "take_part",
]
Options = ScenarioOptions
"""Its name in earlier locustfiles."""


def digits(options: ScenarioOptions, *, flat: bool = False, **changes: Any) -> Pool:
    """MNIST's test digits as the requests that the options describe.

    flat: images of shape [784] instead of [28, 28, 1]. `changes` replace parts of the request, such as `model`,
    `version`, `label` or `batch`.
    """
    test = mnist.load("test", options.mnist)
    images = test.images.reshape(len(test.images), -1) if flat else test.images
    return Pool.mnist(images, test.labels, **(options.asked.request() | {"seed": options.seed} | changes))
