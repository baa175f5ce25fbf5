"""Warm-up of a version before its first client.

The records in its `assets.extra/tf_serving_warmup_requests` are played through the server's own methods
(servables/tensorflow/saved_model_warmup.cc). Any error fails the load.
"""

import logging
import time
from pathlib import Path
from typing import Any, Final

from google.protobuf.message import DecodeError

from bench.server.api.prediction import Predictions
from bench.server.api.services import Services
from bench.server.metrics import Metrics
from bench.server.models.servable import Handle, Servable
from bench.server.refusal import Code, Refusal
from bench.server.request_layouts import Layouts
from bench.wire import messages, tfrecord

log = logging.getLogger(__name__)

RECORDS: Final = Path("assets.extra", "tf_serving_warmup_requests")
MOST_RECORDS: Final = 1000

_NAME: Final = "warmup"

_METHODS: Final = {
    "predict_log": messages.PREDICT,
    "classify_log": messages.CLASSIFY,
    "regress_log": messages.REGRESS,
    "multi_inference_log": messages.MULTI_INFERENCE,
}


def read(path: Path) -> list[Any]:
    """The PredictionLogs of a file, none where there is no file. Raises Refusal with the original's texts."""
    if not path.is_file():
        return []
    records: list[Any] = []
    try:
        with path.open("rb") as file:
            for record in tfrecord.records(file):
                if len(records) == MOST_RECORDS:
                    raise Refusal(
                        Code.INVALID_ARGUMENT,
                        f"Number of warmup records exceeds the maximum ({MOST_RECORDS}) at {path}",
                    )
                records.append(messages.PredictionLog.FromString(record))
    except tfrecord.CorruptError as error:
        raise Refusal(
            Code.DATA_LOSS, f"{error}. Please verify your warmup data is in TFRecord format."
        ) from None
    except DecodeError as error:
        raise Refusal(Code.INVALID_ARGUMENT, f"Failed to parse warmup record: {error} from {path}") from None
    return records


def play(servable: Servable, directory: Path, times: int, metrics: Metrics) -> int:
    """Run each record of the version in `directory` so many times; gives the number of records.

    Raises Refusal where a record cannot be read, is of an unsupported kind, or is refused by the model.
    """
    path = directory / RECORDS
    records = read(path)
    if not records:
        log.info("No warmup data file found at %s", path)
        return 0
    log.info("Starting to read warmup data for model at %s", path)
    start = time.perf_counter()
    repository: Any = _OneVersion(servable)
    # its own metrics: what is played is no request of a client
    predictions = Predictions(repository, metrics=Metrics())
    services = Services(repository, predictions, Metrics())
    for record in records:
        kind = record.WhichOneof("log_type")
        if kind not in _METHODS:
            raise Refusal(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind}")
        request = _addressed(getattr(record, kind).request)
        for _ in range(times):
            began = time.perf_counter()
            services.handle_rpc(_METHODS[kind], request)
            took = (time.perf_counter() - began) * 1e6
            metrics.warmup_latency.series((str(directory), "OK")).add(took)
    metrics.warmup_records.add((str(directory), "OK"), len(records))
    log.info(
        "Finished reading warmup data for model at %s. Number of warmup records read: %d. "
        "Elapsed time (microseconds): %.0f.",
        path,
        len(records),
        (time.perf_counter() - start) * 1e6,
    )
    return len(records)


def _addressed(request: Any) -> bytes:
    """The request, serialised, about the model that is being warmed, whatever name it had when it was recorded."""
    for addressed in request.tasks if hasattr(request, "tasks") else [request]:
        addressed.model_spec.name = _NAME
    serialised: bytes = request.SerializeToString()
    return serialised


class _OneVersion:
    """Stands in for the repository: whatever model and version a record names, it is about this servable."""

    def __init__(self, servable: Servable) -> None:
        self._handle = Handle(_NAME, 0, servable)
        self.serving = _Layouts({})

    def acquire(self, _spec: Any) -> Handle:
        self._handle.hold()
        return self._handle


class _Layouts:
    """The part of a `Serving` that `Predictions` looks at."""

    def __init__(self, layouts: Layouts) -> None:
        self.layouts = layouts
