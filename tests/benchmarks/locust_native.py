"""The project's own scenarios with the meter: answers checked, samples and histograms recorded."""

from scenarios.mnist import Mnist
from scenarios.mnist_open import MnistOpen
from tests.benchmarks import locust_meter

__all__ = ["Mnist", "MnistOpen", "locust_meter"]
