"""Flags of the embedded server and their meaning.

The first groups are `tensorflow_model_server`'s own flags, by their names. Each field is one flag: its default
and its line of help stand here and nowhere else.
"""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Final

from bench import BenchError


def _flag(default: Any, text: str, *, placeholder: str | None = None) -> Any:
    return field(default=default, metadata={"help": text, "placeholder": placeholder, "supported": True})


def _unsupported(default: Any) -> Any:
    return field(default=default, metadata={"help": "not supported", "placeholder": None, "supported": False})


@dataclass(frozen=True)
class ServerFlags:
    """Everything that can be said on the command line of `bench serve`."""

    # network
    port: int = _flag(8500, "gRPC port; 0 takes a free one")
    bind: str = _flag("127.0.0.1", "address to listen on; 0.0.0.0 opens the server to the network")
    grpc_socket_path: str = _flag("", "also listen on this UNIX socket", placeholder="PATH")
    rest_api_port: int | None = _flag(None, "REST port; 0 takes a free one; not given: no REST")
    rest_api_num_threads: int = _flag(16, "REST requests answered at once; further ones wait")
    rest_api_timeout_in_ms: int = _flag(30_000, "limit of one REST request")
    rest_api_enable_cors_support: bool = _flag(False, "send CORS headers on REST answers")
    grpc_max_threads: int | None = _flag(
        None, "refuse calls beyond this many minus one in flight, as the original does; not given: no limit"
    )
    grpc_channel_arguments: str = _flag("", "accepted; has no effect here", placeholder="KEY=VALUE,...")
    enable_grpc_healthcheck_service: bool = _flag(False, "answer grpc.health.v1.Health")
    ssl_config_file: str = _flag("", "SSLConfig text protobuf with PEM texts: TLS, mTLS", placeholder="PATH")

    # models and versions
    model_name: str = _flag("default", "name of the one model")
    model_base_path: str = _flag("", "folder that holds its numbered versions", placeholder="DIR")
    model_config_file: str = _flag("", "ModelServerConfig text protobuf: several models", placeholder="PATH")
    model_config_file_poll_wait_seconds: int = _flag(
        0, "seconds between reads of the config file; 0: never again"
    )
    file_system_poll_wait_seconds: float = _flag(
        1.0, "seconds between checks for new versions; 0: check once"
    )
    num_load_threads: int = _flag(0, "threads that load versions; 0: one at a time with unloading")
    num_unload_threads: int = _flag(0, "threads that unload versions")
    max_num_load_retries: int = _flag(5, "further attempts to load a broken version")
    load_retry_interval_micros: int = _flag(60_000_000, "pause before each, in microseconds")
    allow_version_labels_for_unavailable_models: bool = _flag(
        False, "accept labels of versions not loaded yet"
    )
    saved_model_tags: str = _flag("serve", "tags of the graph to load", placeholder="TAG,...")
    enable_signature_method_name_check: bool = _flag(False, "Predict only through predict signatures")
    enable_model_warmup: bool = _flag(True, "play a version's warm-up records before it is available")
    num_request_iterations_for_warmup: int = _flag(0, "times each record is played; 0 is once")

    # execution
    tensorflow_session_parallelism: int = _flag(0, "threads within and between ops; 0: chosen by measuring")
    tensorflow_intra_op_parallelism: int = _flag(0, "threads within an op")
    tensorflow_inter_op_parallelism: int = _flag(0, "threads between ops; -1: all ops in the calling thread")
    enable_batching: bool = _flag(False, "the original's timed batching instead of continuous batching")
    batching_parameters_file: str = _flag("", "BatchingParameters text protobuf", placeholder="PATH")
    enable_serialization_as_tensor_content: bool = _flag(False, "answer with tensor_content")
    device: str = _flag("auto", "auto, cpu or gpu")
    batching: bool = _flag(True, "run waiting requests together, where rows are independent")

    # observation
    monitoring_config_file: str = _flag("", "MonitoringConfig text protobuf: Prometheus", placeholder="PATH")
    log_format: str = _flag("text", "text or json")

    # operation
    processes: int = _flag(1, "server processes that share the port through SO_REUSEPORT")
    shared_port: bool = _flag(False, "let other processes listen on the same port (SO_REUSEPORT)")
    siblings_folder: str = _flag(
        "",
        "folder through which the processes of one server find each other; --processes sets it",
        placeholder="DIR",
    )
    exit_with_parent: bool = _flag(False, "end when standard input closes")
    remove_with_parent: str = _flag("", "folder to remove when standard input closes", placeholder="DIR")
    max_message_bytes: int = _flag(1 << 28, "largest request (the original: 2147483647)")
    max_connections: int = _flag(20_000, "connections at once; further ones are closed")
    max_in_flight: int = _flag(65_536, "calls in flight at once; further ones get RESOURCE_EXHAUSTED")
    drain_seconds: float = _flag(10.0, "time for calls in flight to end after SIGTERM")

    # a server with known behaviour
    backend: str = _flag("tensorflow", "tensorflow, synthetic (known service times) or null (canned reply)")
    service_time: str = _flag(
        "constant(2ms)",
        "constant(2ms), exponential(2ms), lognormal(2ms,0.3) or file:PATH with one time per line",
    )
    stall: str = _flag(
        "", "hold all replies: 500ms/5s is half a second in every five", placeholder="HOLD/EVERY"
    )
    workers: int | None = _flag(
        None, "requests served at once; further ones queue (M/G/k); not given: no queue"
    )
    error_rate: float = _flag(0.0, "share of requests refused with INTERNAL")
    wrong_answer_rate: float = _flag(0.0, "share of requests answered with another label")
    slow_start: str = _flag(
        "", "service times 10 times as long at first, falling to 1 over this time", placeholder="3s"
    )
    call_log: str = _flag(
        "", "write arrival, due and reply instants of each call as float64", placeholder="PATH"
    )
    echo: bool = _flag(False, "null backend: answer with the request's own bytes")
    reply_examples: int = _flag(1, "null backend: examples in its canned reply")
    seed: int = _flag(0, "seed of service times, errors and wrong answers")

    # the original's flags that change nothing here
    flush_filesystem_caches: bool = _flag(True, "accepted; has no effect here")
    remove_unused_fields_from_bundle_metagraph: bool = _flag(True, "accepted; has no effect here")
    enable_profiler: bool = _flag(True, "accepted; has no effect here")
    skip_initialize_tpu: bool = _flag(False, "accepted; has no effect here")

    # the original's flags that would change what is measured and are not built
    use_alts_credentials: bool = _unsupported(False)
    tensorflow_session_config_file: str = _unsupported("")
    enable_per_model_batching_parameters: bool = _unsupported(False)
    xla_cpu_compilation_enabled: bool = _unsupported(False)
    xla_gpu_compilation_enabled: bool = _unsupported(False)
    per_process_gpu_memory_fraction: float = _unsupported(0.0)
    mixed_precision: str = _unsupported("")
    prefer_tflite_model: bool = _unsupported(False)
    num_tflite_pools: int = _unsupported(0)
    num_tflite_interpreters_per_pool: int = _unsupported(0)
    thread_pool_factory_config_file: str = _unsupported("")
    platform_config_file: str = _unsupported("")

    def changed(self) -> dict[str, Any]:
        """The flags that differ from their defaults."""
        return {
            each.name: getattr(self, each.name)
            for each in dataclasses.fields(self)
            if getattr(self, each.name) != each.default
        }


_NOT_HERE: Final = "this server does not have it; use the original for that"
_INSTEAD: Final = {
    "platform_config_file": "this server does not read it; use instead --enable_batching "
    "--batching_parameters_file, --tensorflow_intra_op_parallelism, --tensorflow_inter_op_parallelism, "
    "--enable_model_warmup and --saved_model_tags",
}
"""What to use in the place of flags that are not built."""

_CHOICES: Final = {
    "backend": ("tensorflow", "synthetic", "null"),
    "device": ("auto", "cpu", "gpu"),
    "log_format": ("text", "json"),
}


def check(options: ServerFlags) -> None:
    """Raise BenchError for flags that contradict each other or that this server does not have."""
    for each in dataclasses.fields(ServerFlags):
        value = getattr(options, each.name)
        if each.metadata["help"] == "not supported" and value != each.default:
            raise BenchError(f"--{each.name}={value}: {_INSTEAD.get(each.name, _NOT_HERE)}")
        if each.name in _CHOICES and value not in _CHOICES[each.name]:
            raise BenchError(f"--{each.name} {value}: choose {', '.join(_CHOICES[each.name])}")
        if isinstance(value, float) and not math.isfinite(value):
            raise BenchError(f"--{each.name} {value}: expected a finite number")
        if each.name.endswith("_rate") and not 0 <= value <= 1:
            raise BenchError(f"--{each.name} {value}: a share between 0 and 1")
    for name in ("port", "rest_api_port"):
        value = getattr(options, name)
        if value is not None and not 0 <= value <= 65535:
            raise BenchError(f"--{name} {value}: a port is between 0 and 65535")
    for name in (
        "processes",
        "max_connections",
        "workers",
        "max_in_flight",
        "reply_examples",
        "rest_api_num_threads",
    ):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise BenchError(f"--{name} {value}: at least 1")
    if options.backend == "null" and options.rest_api_port is not None:
        raise BenchError(
            "--rest_api_port: the null backend has no REST API; leave it out, or --backend synthetic"
        )
    if options.batching_parameters_file and not options.enable_batching:
        raise BenchError("--batching_parameters_file is set without --enable_batching: set both or neither")
    parallelism = (
        options.tensorflow_session_parallelism,
        options.tensorflow_intra_op_parallelism,
        options.tensorflow_inter_op_parallelism,
    )
    if all(value > 0 for value in parallelism):
        raise BenchError(
            "--tensorflow_session_parallelism, --tensorflow_intra_op_parallelism and "
            "--tensorflow_inter_op_parallelism: you cannot configure all; leave the first out"
        )
    if options.backend == "tensorflow" and not options.model_base_path and not options.model_config_file:
        raise BenchError("no model: give --model_name and --model_base_path, or --model_config_file")
