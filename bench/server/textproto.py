"""The server's configuration files in protobuf text format.

`ModelServerConfig` comes from the installed message package. `BatchingParameters`, `SSLConfig` and
`MonitoringConfig` are in no published package, so they are described here, with TensorFlow Serving's field names,
numbers and types (session_bundle_config.proto, ssl_config.proto, monitoring_config.proto).
"""

from pathlib import Path
from typing import Any, Final

from google.protobuf import text_format

from bench import BenchError
from bench.runs.files import MIB, read_file
from bench.server.schema import message_classes

LARGEST: Final = 16 * MIB

_PACKAGE: Final = "serving_bench.config"
_MESSAGES: Final[dict[str, list[tuple[int, str, str]]]] = {
    "BatchingParameters": [
        (1, "max_batch_size", "Int64Value"),
        (2, "batch_timeout_micros", "Int64Value"),
        (3, "max_enqueued_batches", "Int64Value"),
        (4, "num_batch_threads", "Int64Value"),
        (5, "thread_pool_name", "StringValue"),
        (6, "allowed_batch_sizes", "repeated int64"),
        (7, "pad_variable_length_inputs", "bool"),
        # the numbers of the two newest fields are ours; text format goes by name
        (8, "enable_large_batch_splitting", "BoolValue"),
        (9, "max_execution_batch_size", "Int64Value"),
    ],
    "SSLConfig": [
        (1, "server_key", "string"),
        (2, "server_cert", "string"),
        (3, "custom_ca", "string"),
        (4, "client_verify", "bool"),
    ],
    "PrometheusConfig": [(1, "enable", "bool"), (2, "path", "string")],
    "MonitoringConfig": [(1, "prometheus_config", "PrometheusConfig")],
}


_classes: Final = message_classes(_PACKAGE, _MESSAGES)
BatchingParameters: Final = _classes["BatchingParameters"]
SSLConfig: Final = _classes["SSLConfig"]
MonitoringConfig: Final = _classes["MonitoringConfig"]


def read(path: Path, message: Any) -> Any:
    """The file's content as an instance of a message class.

    Raises `BenchError` with line and column for text that is not this message, unknown fields included.
    """
    try:
        text = read_file(path, LARGEST).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BenchError(f"{path}: cannot be read ({reason}); name a file in protobuf text format") from None
    return parse(text, message, str(path))


def parse(text: str, message: Any, origin: str) -> Any:
    """The text as an instance of a message class; `origin` is what an error calls it. Raises `BenchError`."""
    try:
        return text_format.Parse(text, message(), descriptor_pool=message.DESCRIPTOR.file.pool)
    except text_format.ParseError as error:
        line, column = error.GetLine(), error.GetColumn()
        where = "" if line is None else f"{line}:{column}: "
        reason = str(error).split(" : ", 1)[-1].replace(f"{_PACKAGE}.", "tensorflow.serving.")
        full_name = message.DESCRIPTOR.full_name.replace(_PACKAGE, "tensorflow.serving")
        raise BenchError(
            f"{origin}: Error parsing text-format {full_name}: {where}{' '.join(reason.split())}"
        ) from None
