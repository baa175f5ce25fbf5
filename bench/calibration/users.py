"""The locustfile of `bench calibrate`; not meant to be run otherwise.

They send what the scenario named by BENCH_CALIBRATE sends (MNIST digits without one) to a server that answers at
once: Closed as fast as they can, Open when requests are due.
"""

import importlib.util
import os
from pathlib import Path
from typing import Any, ClassVar

from bench import BenchError, mnist
from bench.load.options import ScenarioOptions
from bench.load.users import ArrivalUser, PredictUser
from bench.payload import Pool


def _digits(options: ScenarioOptions) -> Pool:
    digits = mnist.load("test", options.mnist)
    return Pool.mnist(digits.images, digits.labels, **options.asked.request(), seed=options.seed)


def _payload_of(path: Path) -> Any:
    """The `payload` of the first user class in a scenario's file. Raises BenchError where there is none."""
    spec = importlib.util.spec_from_file_location("calibrated_scenario", path)
    if spec is None or spec.loader is None:
        raise BenchError(f"{path}: not a Python file; name a scenario")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for value in vars(module).values():
        own = (
            isinstance(value, type) and issubclass(value, PredictUser) and value.__module__ == module.__name__
        )
        if own and not value.abstract:
            return value.payload
    raise BenchError(
        f"{path}: no user class with a payload in it; name a scenario of PredictUser or ArrivalUser"
    )


_scenario = os.environ.get("BENCH_CALIBRATE")
_payload = _payload_of(Path(_scenario)) if _scenario else _digits


def _single(options: ScenarioOptions) -> Pool:
    """The requests of the scenario; the first kind of them where it has several."""
    payload = _payload(options)
    return payload if isinstance(payload, Pool) else next(iter(payload.values()))


class Closed(PredictUser):
    """As fast as the server answers."""

    preflight = False  # the null server has no model

    @classmethod
    def payload(cls, options: ScenarioOptions) -> Pool:
        """What the scenario sends."""
        return _single(options)


class Open(ArrivalUser):
    """At a rate."""

    preflight = False

    schedule: ClassVar[str] = "poisson:1000"

    @classmethod
    def payload(cls, options: ScenarioOptions) -> Pool:
        """What the scenario sends."""
        return _single(options)
