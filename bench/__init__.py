"""Load testing, true latencies and release gates for TensorFlow Serving."""

__version__ = "0.1.0"


class BenchError(Exception):
    """Something that the user can fix; the text is one line with path, value and remedy.

    Only `bench.cli` and the Locust start-up in `bench.load` catch it: they print the text and exit with code 2.
    """
