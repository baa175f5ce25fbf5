"""Fuzz every file that a user writes: TOML, protobuf text, traces, schedules, request files.

The first byte of an input chooses the reader, the rest is the file.
"""

import contextlib
import tempfile
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from bench import BenchError, schedule
from bench.config.limits import read_limits
from bench.experiment.study import read_experiment
from bench.experiment.tune_file import read_tune
from bench.launch.servers_file import read_servers
from bench.runs.jsonl import json_text, parse_json
from bench.schedule import Trace
from bench.server.execution import batching_parameters
from bench.server.models import model_config
from bench.server.net import tls
from bench.server.refusal import Refusal
from bench.server.textproto import MonitoringConfig
from bench.server.textproto import read as read_text
from bench.server.warmup import read as read_warm_up
from bench.wire import tfrecord
from bench.wire.messages import ModelServerConfig

_SCENARIOS = Path(__file__).parents[2] / "scenarios"
_SERVERS = (
    '[servers.embedded]\nkind = "embedded"\n[servers.far]\nkind = "remote"\naddress = "127.0.0.1:8500"\n'
)


def _models(path: Path) -> None:
    config = model_config.read_models(path)
    with contextlib.suppress(Refusal):
        model_config.check(config, ModelServerConfig())
        model_config.accepted(config, {}, lambda *_: True, labels_for_unavailable=False)


def _trace(path: Path) -> None:
    instants = Trace.read(path).instants
    if (instants[1:] < instants[:-1]).any() or instants[0] != 0:
        raise AssertionError(f"not in order: {instants}")


def _schedule(path: Path) -> None:
    text = path.read_bytes().decode(errors="replace")
    if "trace" in text.lower():
        return  # it would read any file
    parsed = schedule.parse(text)
    if schedule.parse(str(parsed)) != parsed:
        raise AssertionError(f"{text!r} is {parsed!r}, which is written {str(parsed)!r}")


def _json(path: Path) -> None:
    with contextlib.suppress(ValueError):
        value = parse_json(path.read_bytes())
        if parse_json(json_text(value)) != value:
            raise AssertionError(f"{value!r} does not survive")


def _warm_up(path: Path) -> None:
    with contextlib.suppress(Refusal):
        read_warm_up(path)


class Kind(NamedTuple):
    """A kind of file."""

    name: str
    """Of the file."""
    read: Callable[[Path], object]
    """Raises BenchError, and nothing else."""
    seeds: tuple[str | bytes, ...]


def _scenario(name: str) -> str:
    return (_SCENARIOS / name).read_text()


def _parquet() -> bytes:
    import pyarrow
    import pyarrow.parquet

    sink = pyarrow.BufferOutputStream()
    table = pyarrow.table({"time": [0.0, 0.5, 1.0], "model": ["a", None, "b"], "batch": [1, 2, None]})
    pyarrow.parquet.write_table(table, sink, compression="none")
    return bytes(sink.getvalue().to_pybytes())


@cache
def kinds() -> list[Kind]:
    """All kinds of files, in the order of an input's first byte."""
    return [
        Kind("servers.toml", read_servers, (_scenario("experiments/servers.toml")[:4000], _SERVERS)),
        Kind("experiment.toml", read_experiment, (_scenario("experiments/versions.toml"), _EXPERIMENT)),
        Kind("limits.toml", read_limits, (_scenario("mnist.toml"), _LIMITS)),
        Kind("models.config", _models, (_MODELS,)),
        Kind("batching.config", batching_parameters.parameters, (_BATCHING,)),
        Kind(
            "ssl.config", tls.context, (_TLS, 'server_key: "\\303\\244" server_cert: "b" client_verify: true')
        ),
        Kind("monitoring.config", lambda p: read_text(p, MonitoringConfig), (_MONITORING,)),
        Kind(
            "trace.csv",
            _trace,
            (_TRACE, "time\n2026-01-01T00:00:00Z\n2026-01-01 00:00:01.5\n", "due\n1e3\n-1\n"),
        ),
        Kind("trace.parquet", _trace, (_parquet(),)),
        Kind("schedule", _schedule, _SCHEDULES),
        Kind("values.json", _json, ('{"a": [1, 2.5e3, null, true, "\\u00e4"]}',)),
        Kind(
            "tf_serving_warmup_requests",
            _warm_up,
            (tfrecord.frame(b""), tfrecord.frame(b"\x0a\x00\x32\x00") * 2),
        ),
        Kind("tune.toml", read_tune, (_TUNE,)),
    ]


_EXPERIMENT = """scenario = "scenario.py"
servers = ["embedded"]
servers_if_available = ["far"]
batch_sizes = [1, 8]
loads = [{ users = 4 }, { users = 2, schedule = "poisson:50", name = "low" }]
trials = 2
seconds = 3
cpus = "0"
[options]
latency-bound = "10"
[models.mnist]
versions = [1]
"""
_TUNE = """scenario = "scenario.py"
servers = ["embedded"]
loads = [{ users = 4 }]
batch_sizes = [1, 8]
goodput = "99.9 % @ 50ms"
[space]
max_batch_size = [8, 64]
allowed_batch_sizes = [[], [8, 32]]
intra_op = [0, 1]
flags = { processes = [1, 2] }
"""
_LIMITS = """accept = ["client saturated"]
failed_trials = "10 %"
goodput_ms = 20
[limits]
p99_ms = 25
error_share = "0.1 %"
[[cells]]
batch = 32
load = "16 users"
worse_than_baseline = { p50 = "3 %", requests_per_second = 0.05 }
"""
_MODELS = """model_config_list { config { name: "a" base_path: "/models/a" model_platform: "tensorflow"
  model_version_policy { specific { versions: 1 versions: 2 } } version_labels { key: "stable" value: 1 } }
  config: < name: 'b' base_path: "/b" model_platform: "caffe" logging_config { sampling_config { sampling_rate: 0.5 } } > }
"""
_BATCHING = """max_batch_size { value: 128 } batch_timeout_micros { value: 1000 } num_batch_threads { value: 4 }
allowed_batch_sizes: 32 allowed_batch_sizes: 128 pad_variable_length_inputs: false thread_pool_name { value: "x" }
enable_large_batch_splitting { value: true } max_execution_batch_size { value: 128 }
"""
_TLS = 'server_key: "-----BEGIN PRIVATE KEY-----\\nAA==\\n-----END PRIVATE KEY-----" server_cert: "x" custom_ca: "y"'
_MONITORING = 'prometheus_config { enable: true path: "/monitoring" }'
_TRACE = 'time,model,version,batch\n0,a,1,2\n0.5,,,\n\n1e-3,"b\nc",2,1.0\n'
_SCHEDULES = (
    "closed", "closed:5ms", "constant:500", "poisson:2.5", "steps:10,20,30/5s", "ramp:1..1e2/1m,even", "spike:10x5@5+2h",
    "sine:10..20/30us", "burst:9@5s",
)  # fmt: skip


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """One for the process; what every experiment file refers to stands in it."""
    made = tempfile.TemporaryDirectory(prefix="fuzz-")
    Path(made.name, "servers.toml").write_text(_SERVERS)
    Path(made.name, "scenario.py").write_text("")
    return made


def attack(data: bytes) -> None:
    """Raises whatever should not be."""
    if not data:
        return
    kind = kinds()[data[0] % len(kinds())]
    path = Path(_folder().name, "of-" + kind.name if kind.name == "servers.toml" else kind.name)
    path.write_bytes(data[1:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # protobuf's own, of octal escapes beyond a byte
        try:
            kind.read(path)
        except BenchError as error:
            if not str(error):
                raise AssertionError("refused without a word") from error


def seeds() -> list[bytes]:
    """A right file of each kind."""
    texts = [(number, text) for number, kind in enumerate(kinds()) for text in kind.seeds]
    return [bytes([number]) + (text if isinstance(text, bytes) else text.encode()) for number, text in texts]
