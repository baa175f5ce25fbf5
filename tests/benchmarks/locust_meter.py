"""Measure what a Locust process spends on its requests. Imported by the locustfiles of `locust_transport`.

Writes {requests, errors, seconds, cpu, mean} as JSON to the file that METER names when the test ends.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

from locust import events

_start: dict[str, float] = {}


@events.test_start.add_listener
def _on_start(**_: Any) -> None:
    _start.update(clock=time.perf_counter(), cpu=time.process_time())


@events.test_stopping.add_listener
def _on_stopping(**_: Any) -> None:
    _start.update(seconds=time.perf_counter() - _start["clock"], used=time.process_time() - _start["cpu"])


@events.quitting.add_listener
def _on_quitting(environment: Any, **_: Any) -> None:
    total = environment.stats.total
    mean = total.total_response_time / total.num_requests / 1e3
    outcome = {"requests": total.num_requests, "errors": total.num_failures, "mean": mean}
    outcome |= {"seconds": _start["seconds"], "cpu": _start["used"]}
    Path(os.environ["METER"]).write_text(json.dumps(outcome))
