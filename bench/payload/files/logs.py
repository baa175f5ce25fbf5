"""Requests that TensorFlow Serving has logged, or keeps for a model's warm-up: TFRecords of PredictionLog.

Source: tensorflow_serving/apis/prediction_log.proto, and "SavedModel Warmup" of TensorFlow Serving's documentation.
"""

from typing import Any, BinaryIO, Final

from google.protobuf.message import DecodeError

from bench.payload.files.collector import Collector
from bench.payload.files.values import typed
from bench.wire import tfrecord
from bench.wire.messages import PredictionLog
from bench.wire.tensors import array_of

MOST_FILLED: Final = 1 << 22
"""Values that a tensor may leave out, to be filled with its last one; as in the embedded server."""


def read(file: BinaryIO, collector: Collector, signature_name: str = "") -> None:
    """Add the request of every record. Raises BenchError."""
    number = 0
    try:
        for number, record in enumerate(tfrecord.records(file), 1):
            _add(collector, f"record {number}", record, signature_name)
    except tfrecord.CorruptError as error:
        raise collector.fail(
            f"record {number + 1}", f"{error}; expected TFRecords of PredictionLog"
        ) from None


def _add(collector: Collector, place: str, record: bytes, signature_name: str) -> None:
    try:
        log = PredictionLog.FromString(record)
    except DecodeError:
        raise collector.fail(place, "no PredictionLog") from None
    kind = log.WhichOneof("log_type")
    if kind != "predict_log":
        raise collector.fail(place, f"{kind or 'nothing'} in it; only predict_log is sent")
    request: Any = log.predict_log.request
    named = request.model_spec.signature_name
    if signature_name and named and named != signature_name:
        raise collector.fail(place, f"a request for signature {named}, signature {signature_name} is called")
    collector.check_names(place, sorted(request.inputs))
    arrays = {}
    for name in collector.signature.inputs:
        if name not in request.inputs:
            continue
        try:
            array = array_of(request.inputs[name], fill=MOST_FILLED)
            arrays[name] = typed(array, collector.storages[name], collector.signature.inputs[name].dtype)
        except (ValueError, OverflowError, MemoryError) as problem:
            raise collector.fail(place, f"input {name!r}: {problem}") from None
    collector.add(place, arrays)
