"""Fuzz what is fetched from others while a load runs: a server's metric page, and what the master of another machine tells.

The first byte of an input chooses the reader, the rest is what came.
"""

import contextlib
import json
import math
from collections.abc import Callable
from pathlib import PurePath

from bench.experiment import master_answers
from bench.load.observing.counters import counters
from bench.protocol.names import MODULES
from bench.protocol.registry import api_named


def _counters(data: bytes) -> None:
    for name in MODULES:
        for value in counters(data.decode(errors="replace"), "m", api_named(name)).values():
            if value is None or not math.isfinite(value):
                raise AssertionError(f"a counter of {value}")


def _overview(data: bytes) -> None:
    for run in master_answers.overview(data)["runs"]:
        if PurePath("results", run["name"]).parent != PurePath("results") or run["name"] in ("", ".", ".."):
            raise AssertionError(f"{run['name']!r} leads elsewhere")
        if not run["name"].isprintable():
            raise AssertionError(f"{run['name']!r} reaches the terminal")


def _statistics(data: bytes) -> None:
    whole = master_answers.statistics(data).stats[-1]
    if whole.num_requests < 0 or not math.isfinite(whole.current_rps):
        raise AssertionError(whole)


_READERS: tuple[Callable[[bytes], object], ...] = (_counters, _overview, _statistics, master_answers.swarm)


def attack(data: bytes) -> None:
    """Raises whatever should not be."""
    if data:
        with contextlib.suppress(ValueError):
            _READERS[data[0] % len(_READERS)](data[1:])


_PAGE = r"""# TYPE :tensorflow:serving:request_count counter
:tensorflow:serving:request_count{model_name="m",status="OK"} 12
:tensorflow:serving:request_count{model_name="m\"x\\",status="NOT_FOUND"} 1e3
:tensorflow:serving:request_latency_sum{model_name="m",API="Predict",entrypoint="GRPC"} 1.5e+06
:tensorflow:serving:request_latency_count{model_name="m",API="Predict",entrypoint="REST"} 12
:tensorflow:serving:runtime_latency_count{ model_name = "m", API="Predict",runtime="TF1",} 12
:tensorflow:serving:batching_session:queuing_latency_sum{} 7
:tensorflow:serving:request_latency_bucket{model_name="m",le="10"} 1
process_start_time_seconds{job="x"} 1.7e9
"""


_TRITON = """nv_inference_request_success{model="m",version="1"} 12
nv_inference_request_failure{model="m",reason="OTHER",version="1"} 1
nv_inference_request_duration_us{model="m",version="1"} 1500
nv_inference_queue_duration_us{model="m",version="1"} 300.5
nv_inference_compute_infer_duration_us{model="m",version="1"} 1e3
"""


def seeds() -> list[bytes]:
    """A right answer of each kind."""
    runs = [{"name": "20261127T000000Z-mnist", "note": None, "finished": True}]
    state = {"scenario": "mnist", "options": ["users"], "state": "running", "workers": 2, "refused": ["no"]}
    rows = [{"num_requests": 5, "current_rps": 1.5, "response_time_percentile_0.99": 3.0}]
    texts = [
        (0, _PAGE),
        (0, _TRITON),
        (0, ':tensorflow:serving:request_count{model_name="m",status="OK"} nan\n'),
        (1, json.dumps(state | {"runs": runs})),
        (1, json.dumps(state | {"runs": [runs[0] | {"name": "../x"}]})),
        (2, json.dumps({"stats": rows})),
        (3, json.dumps({"success": True, "message": "Swarming started", "host": "x"})),
    ]
    return [bytes([number]) + text.encode() for number, text in texts]
