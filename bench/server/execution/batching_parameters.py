"""Files of BatchingParameters (servables/tensorflow/session_bundle_config.proto)."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import BenchError
from bench.server.textproto import BatchingParameters, read


@dataclass(frozen=True)
class Parameters:
    """BatchingParameters with the original's defaults."""

    max_batch_size: int = 1000
    timeout: float = 0.0
    """Seconds that a batch which is not full may wait."""
    max_enqueued_batches: int = 10
    threads: int = 1
    allowed_sizes: tuple[int, ...] = ()
    execution_size: int = 1000
    """Rows of one run at most; smaller than `max_batch_size` only where large requests are split."""
    pool: str = "model_server_batch_threads"


def parameters(path: Path | None) -> Parameters:
    """The parameters in a text protobuf; without a file, the original's defaults. Raises BenchError."""
    cores = len(os.sched_getaffinity(0))
    if path is None:
        return Parameters(threads=cores)
    message = read(path, BatchingParameters)

    def value(field: str, default: Any) -> Any:
        return getattr(message, field).value if message.HasField(field) else default

    size = value("max_batch_size", 1000)
    splits = value("enable_large_batch_splitting", False)
    values = Parameters(
        max_batch_size=size,
        timeout=value("batch_timeout_micros", 0) / 1e6,
        max_enqueued_batches=value("max_enqueued_batches", 10),
        threads=value("num_batch_threads", cores),
        allowed_sizes=tuple(message.allowed_batch_sizes),
        execution_size=value("max_execution_batch_size", size) if splits else size,
        pool=value("thread_pool_name", "batch_threads"),
    )
    _check(values, path, pads=message.pad_variable_length_inputs)
    return values


def _check(values: Parameters, path: Path, *, pads: bool) -> None:
    if pads:
        raise BenchError(f"{path}: pad_variable_length_inputs is not supported by this server")
    for name in ("max_batch_size", "max_enqueued_batches", "threads", "execution_size"):
        if getattr(values, name) < 1:
            raise BenchError(f"{path}: {name} must be at least 1, not {getattr(values, name)}")
    sizes = values.allowed_sizes
    if sizes and (list(sizes) != sorted(set(sizes)) or sizes[0] < 1):
        raise BenchError(f"{path}: allowed_batch_sizes must grow from entry to entry: {list(sizes)}")
    if sizes and sizes[-1] != values.execution_size:
        raise BenchError(
            f"{path}: Last entry in allowed_batch_sizes must match max_batch_size; "
            f"last entry was {sizes[-1]}; expected {values.execution_size}"
        )
