"""What servers.toml says of a server, in the flags of each kind; what a kind cannot do is refused."""

import pytest

from bench import BenchError
from bench.launch.flags import settings
from tests.launch.conftest import Declare

EMBEDDED, BINARY, DOCKER = 'kind = "embedded"', 'kind = "binary"', 'kind = "docker"\nimage = "a:1"'
XLA = "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit"


@pytest.mark.parametrize(
    ("text", "flags", "environment"),
    [
        (EMBEDDED, {}, {}),
        (f"{BINARY}\nintra_op = 2\ninter_op = -1", {"tensorflow_intra_op_parallelism": 2, "tensorflow_inter_op_parallelism": -1}, {}),
        (f"{EMBEDDED}\nsession_parallelism = 1", {"tensorflow_session_parallelism": 1}, {}),
        (f"{BINARY}\nmax_threads = 9", {"grpc_max_threads": 9}, {}),
        (f'{EMBEDDED}\nbatching = "none"', {"batching": False}, {}),
        (f'{EMBEDDED}\nbatching = "continuous"', {"batching": True}, {}),
        (f'{DOCKER}\nbatching = "none"', {"enable_batching": False}, {}),
        (f"{BINARY}\nbatching = {{ max_batch_size = 8 }}", {"enable_batching": True}, {}),
        (f"{EMBEDDED}\nxla = true", {}, {"TF_XLA_FLAGS": XLA}),
        (f"{BINARY}\nxla = true", {"xla_cpu_compilation_enabled": True}, {"TF_XLA_FLAGS": XLA}),
        (f'{DOCKER}\nxla = true\ngpus = "all"', {"xla_gpu_compilation_enabled": True}, {"TF_XLA_FLAGS": XLA}),
        (f'{EMBEDDED}\nxla = true\nenvironment = {{ TF_XLA_FLAGS = "--more" }}', {}, {"TF_XLA_FLAGS": f"{XLA} --more"}),
        (f"{EMBEDDED}\nflags = {{ processes = 2 }}", {"processes": 2}, {}),
        (f"{BINARY}\nflags = {{ anything = true }}", {"anything": True}, {}),
    ],
)  # fmt: skip
def test_keys_become_the_flags_of_the_kind(
    declare: Declare, text: str, flags: dict[str, object], environment: dict[str, str]
) -> None:
    found = settings(declare(text))
    assert (found.flags, found.environment) == (flags, {"TF_CPP_MIN_LOG_LEVEL": "0", **environment})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            f'{BINARY}\nbatching = "continuous"',
            'batching = "continuous": a server of kind binary cannot do that',
        ),
        (
            f"{EMBEDDED}\nflags = {{ proceses = 2 }}",
            "flags.proceses = 2: unknown flag, did you mean processes?",
        ),
        (f'{EMBEDDED}\nflags = {{ mixed_precision = "bfloat16" }}', "the embedded server does not have it"),
        (f"{BINARY}\nflags = {{ port = 1 }}", "flags.port = 1: is set by port (binary)"),
        (
            f"{DOCKER}\nflags = {{ enable_batching = true }}",
            "flags.enable_batching = true: is set by batching",
        ),
        (
            f"{EMBEDDED}\nflags = {{ grpc_max_threads = 3 }}",
            "flags.grpc_max_threads = 3: is set by max_threads",
        ),
        (
            f"{BINARY}\nsession_parallelism = 2\nintra_op = 1",
            "session_parallelism = 2: the server would ignore it",
        ),
    ],
)
def test_what_a_kind_cannot_do_is_refused(declare: Declare, text: str, expected: str) -> None:
    with pytest.raises(BenchError) as caught:
        settings(declare(text))
    assert expected in str(caught.value)
    assert "servers.toml: servers.it." in str(caught.value)


def test_flags_are_written_as_the_original_reads_them(declare: Declare) -> None:
    found = settings(declare(f"{BINARY}\nflags = {{ a = true, b = 0.5, max_num_load_retries = 2 }}"))
    assert found.arguments(port=1, max_num_load_retries=0) == [
        "--port=1",
        "--max_num_load_retries=2",
        "--a=true",
        "--b=0.5",
    ]
