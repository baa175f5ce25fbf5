"""The project's own scenario with the meter: answers checked, samples and histograms recorded."""

from scenarios.mnist import Mnist
from tests.benchmarks import locust_meter

__all__ = ["Mnist", "locust_meter"]
