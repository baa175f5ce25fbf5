"""Server declarations (servers.toml): what those of all kinds have in common.

The keys of one kind alone are in its module of `bench.launch`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import field_validator

from bench import BenchError
from bench.config.cpus import cpu_numbers
from bench.config.reading import Table, key, refusal, unknown
from bench.protocol.names import DEFAULT, MODULES, REST

Flag = bool | int | float | str


class Batching(Table):
    """TensorFlow Serving's timed batching, by the names of its BatchingParameters."""

    max_batch_size: int = key(1000, "an integer >= 1", "Maximum number of examples in a batch.", "64", ge=1)
    batch_timeout_micros: int = key(
        0, "an integer >= 0 (microseconds)", "How long a batch waits for more requests.", "5000", ge=0
    )
    max_enqueued_batches: int = key(
        10, "an integer >= 1", "Batches that may wait; further requests are refused.", "100", ge=1
    )
    num_batch_threads: int | None = key(
        None, "an integer >= 1", "Batches run at once; default: the number of CPUs.", "2", ge=1
    )
    allowed_batch_sizes: list[int] = key(
        [],
        "a list of increasing integers, the last equal to max_batch_size",
        "Sizes to which batches are padded.",
        "[8, 32, 64]",
    )

    @field_validator("allowed_batch_sizes")
    @classmethod
    def _growing(cls, sizes: list[int]) -> list[int]:
        if sizes != sorted(set(sizes)) or (sizes and sizes[0] < 1):
            raise ValueError("expected a list of increasing integers, the last equal to max_batch_size")
        return sizes


class Tls(Table):
    """Certificates by which a remote server proves who it is, and the client who it is."""

    ca: str | None = key(None, "the path of a PEM file", "CA to trust instead of the system's.", '"ca.pem"')
    certificate: str | None = key(
        None, "the path of a PEM file", "Client certificate (with `key`).", '"client.pem"'
    )
    server_name: str | None = key(
        None, "a host name", "Host name expected in the certificate.", '"serving.example"'
    )
    # the last one: from here on the name hides the function
    key: str | None = key(None, "the path of a PEM file", "Client key.", '"client.key"')


class Server(Table):
    """Keys of a server of any kind."""

    launch_seconds: ClassVar[float] = 1.0
    """Until the models of a server of this kind answer, and its end: what a plan's duration counts with."""

    kind: str = key(..., "one of the kinds below", "Kind of server.", '"embedded"')
    build: str = key("", "any text", "Build label, shown in reports: cpu, gpu, avx512, xla.", '"avx512"')
    protocol: str = key(
        DEFAULT,
        f"one of {', '.join(MODULES)}",
        "Protocol of the requests; with `tfs-rest` the address is that of the REST port.",
        f'"{REST}"',
    )
    request_parameters: dict[str, bool | int | str] = key(
        {},
        "a table of integers, truth values and texts",
        "Parameters of each request, of the Open Inference Protocol.",
        "{ priority = 1 }",
    )
    ready_seconds: float = key(
        120.0,
        "a number > 0 (seconds)",
        "Time limit for its models to become ready.",
        "60",
        gt=0,
        allow_inf_nan=False,
    )

    price_per_hour: float | None = key(
        None,
        "a number > 0",
        "What an hour of it costs, in any currency: for the cost of a million predictions.",
        "0.38",
        gt=0,
        allow_inf_nan=False,
    )

    @field_validator("protocol")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in MODULES:
            raise ValueError(f"expected one of {', '.join(MODULES)}")
        return name

    @property
    def predicted_launch(self) -> float:
        """Seconds of a start with these settings."""
        return self.launch_seconds


class Started(Server):
    """A server that is started here."""

    continuous_flag: ClassVar[str | None] = None
    """The flag that batches whatever waits; None: a server of this kind cannot do that."""

    environment: dict[str, str] = key(
        {},
        "a table of environment variables with texts as values",
        "Environment variables of the server.",
        '{ TF_ENABLE_ONEDNN_OPTS = "0" }',
    )
    cpus: str | None = key(None, 'CPU numbers such as "0" or "0-3,6"', "CPUs that it may use.", '"0"')
    batching: Literal["none", "continuous"] | Batching | None = key(
        None,
        '"none", "continuous" or a table of batching parameters',
        "Batching in the server: none, continuous (embedded only), or timed.",
        "{ max_batch_size = 64, batch_timeout_micros = 5000 }",
    )
    session_parallelism: int | None = key(
        None,
        "an integer >= 0",
        "Threads within and between operations (tensorflow_session_parallelism).",
        "1",
        ge=0,
    )
    intra_op: int | None = key(
        None,
        "an integer >= 0",
        "Threads within an operation (tensorflow_intra_op_parallelism).",
        "2",
        ge=0,
    )
    inter_op: int | None = key(
        None,
        "an integer >= -1",
        "Threads between operations (tensorflow_inter_op_parallelism).",
        "1",
        ge=-1,
    )
    xla: bool = key(
        False, "true or false", "Compile the model with XLA, clusters chosen by TensorFlow.", "true"
    )
    max_threads: int | None = key(
        None,
        "an integer >= 2",
        "Calls at once, plus one; further ones are refused (grpc_max_threads).",
        "64",
        ge=2,
    )
    flags: dict[str, Flag] = key(
        {},
        "a table of the server's flags",
        "Further flags, by the server's names without dashes.",
        "{ file_system_poll_wait_seconds = 0 }",
    )

    @field_validator("cpus")
    @classmethod
    def _cpus(cls, text: str | None) -> str | None:
        if text is not None:
            cpu_numbers(text)
        return text

    @property
    def takes_models(self) -> bool:
        """Whether the models of an experiment are given to it; others have a repository of their own."""
        return True

    @property
    def loads_models(self) -> bool:
        """Whether it loads SavedModels, as all that take models but stand-ins do."""
        return self.takes_models

    @property
    def xla_flag(self) -> str | None:
        """The flag that lets it compile with XLA; None: it needs none."""
        return "xla_cpu_compilation_enabled"

    def flag_problem(self, name: str, value: Flag) -> str | None:
        """Why one of `flags` is refused before the start; None: only the server knows its flags."""
        return None


class Declared(NamedTuple):
    """A server as a file declares it."""

    name: str
    file: Path
    spec: Server
    tried_by: Path | None = None
    """The tune file whose [space] has its keys; None: they are the servers file's."""

    def refusal(self, name: str, value: Any, allowed: str) -> BenchError:
        """The complaint about one of its keys."""
        if self.tried_by is not None:
            return refusal(self.tried_by, f"space.{name}", value, allowed)
        return refusal(self.file, f"servers.{self.name}.{name}", value, allowed)


def chosen(servers: Mapping[str, Declared], names: list[str], file: Path) -> list[Declared]:
    """Those of the servers that an experiment names. Raises BenchError for an unknown one."""
    for number, name in enumerate(names):
        if name not in servers:
            raise unknown(file, f'servers[{number}] = "{name}"', name, servers)
    return [servers[name] for name in names]
