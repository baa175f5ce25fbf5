"""What is said about a wrong file: file, key, value, what is allowed, and the nearest right key."""

import os
from pathlib import Path

import pytest

from bench import BenchError
from bench.config.cpus import cpu_numbers
from bench.config.reading import read_toml
from bench.config.servers import Batching
from bench.experiment.study import read_experiment
from bench.launch.embedded import Embedded
from bench.launch.remote import Remote
from bench.launch.servers_file import read_servers


@pytest.fixture
def servers(tmp_path: Path) -> Path:
    path = tmp_path / "servers.toml"
    path.write_text('[servers.a]\nkind = "embedded"\n')
    return path


@pytest.fixture
def experiment(servers: Path) -> Path:
    (servers.parent / "scenario.py").touch()
    return servers.parent / "experiment.toml"


HEAD = 'scenario = "scenario.py"\nservers = ["a"]\n'
LOADS = "loads = [{ users = 2 }]\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('kind = "embeded"', 'servers.a.kind = "embeded": unknown, did you mean embedded?'),
        ('build = "cpu"', "servers.a.kind: missing; expected one of embedded, binary, docker"),
        (
            'kind = "embedded"\nbatchng = "none"',
            'servers.a.batchng = "none": unknown key, did you mean batching?; valid keys: batching,',
        ),
        (
            'kind = "embedded"\nbatching = "some"',
            'servers.a.batching = "some": expected "none", "continuous" or a table',
        ),
        (
            'kind = "embedded"\nbatching = { max_batchsize = 3 }',
            "batching.max_batchsize = 3: unknown key, did",
        ),
        (
            'kind = "embedded"\nbatching = { max_batch_size = 0 }',
            "batching.max_batch_size = 0: expected an integer",
        ),
        (
            'kind = "embedded"\nbatching = { allowed_batch_sizes = [4, 2] }',
            "= [4, 2]: expected a list of increasing",
        ),
        ('kind = "embedded"\nmax_threads = "3"', 'servers.a.max_threads = "3": expected an integer >= 2'),
        ('kind = "embedded"\ncpus = "4096"', 'servers.a.cpus = "4096": this process may use the CPUs'),
        (
            'kind = "embedded"\ncpus = "a"',
            'servers.a.cpus = "a": expected CPU numbers such as "0" or "0-3,6"',
        ),
        ('kind = "embedded"\ngpus = "all"', "a server of kind embedded cannot do that (docker can)"),
        (
            'kind = "embedded"\nenvironment = { A = 2 }',
            "servers.a.environment.A = 2: expected a table of environment",
        ),
        (
            'kind = "embedded"\nflags = { processes = [2] }',
            "servers.a.flags.processes = [2]: expected a table of the",
        ),
        (
            'kind = "embedded"\nflags = ["--processes=2"]',
            "servers.a.flags = ['--processes=2']: expected a table of the server's flags, such as { ",
        ),
        ('kind = "docker"', "servers.a.image: missing; expected an image with its tag"),
        (
            'kind = "docker"\nimage = "x:1"\nmemory = "4 GB"',
            'servers.a.memory = "4 GB": expected a size such as "512m"',
        ),
        (
            'kind = "docker"\nimage = "x:1"\ngpus = "some"',
            'servers.a.gpus = "some": expected "all", a number of GPUs',
        ),
        (
            'kind = "docker"\nimage = "x:1"\ngpus = 0',
            'servers.a.gpus = 0: expected "all", a number of GPUs >= 1',
        ),
        (
            'kind = "remote"\naddress = "h:1"\nxla = true',
            "kind remote cannot do that (embedded, binary, docker",
        ),
        (
            'kind = "remote"\naddress = "h:1"\ntls = { kye = "k" }',
            'tls.kye = "k": unknown key, did you mean key?',
        ),
        (
            'kind = "binary"\nport = 70000',
            "servers.a.port = 70000: expected a port number; 0 for a free one",
        ),
        ('kind = "embedded"\nkind = "binary"', "not valid TOML: Cannot overwrite a value (at line 3, column"),
    ],
)
def test_a_wrong_server_is_named_with_key_value_and_what_is_allowed(
    servers: Path, text: str, expected: str
) -> None:
    servers.write_text(f"[servers.a]\n{text}\n")
    with pytest.raises(BenchError) as caught:
        read_servers(servers)
    assert str(caught.value).startswith(f"{servers}: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEAD + "loads = [{ user = 8 }]", "loads.0.user = 8: unknown key, did you mean users?"),
        (
            HEAD + 'loads = [{ schedule = "poison:3" }]',
            "loads.0.schedule = \"poison:3\": schedule 'poison:3'",
        ),
        (HEAD + "loads = [{ users = 8 }, { users = 8 }]", "8 users is a duplicate entry; give each a name"),
        (HEAD + "loads = []", "loads = []: expected at least one table [[loads]]"),
        (HEAD + LOADS + "batch_size = [1]", "batch_size = [1]: unknown key, did you mean batch_sizes?"),
        (HEAD + LOADS + 'batch_sizes = ["2"]', 'batch_sizes.0 = "2": expected a list of integers >= 1'),
        (HEAD + LOADS + "batch_sizes = [2, 2]", "[2, 2]: expected a list of different integers >= 1"),
        (HEAD + LOADS + "trials = 0", "trials = 0: expected an integer >= 1"),
        (HEAD + LOADS + "deadline = inf", "deadline = inf: expected a number > 0 (seconds)"),
        (HEAD + LOADS + "deadline = nan", "deadline = nan: expected a number > 0 (seconds)"),
        (HEAD + LOADS + "options = { batch_size = 2 }", "options.batch_size = 2: is set by batch_sizes"),
        (HEAD + LOADS + 'options = { requests = "-" }', 'requests = "-": expected a file: standard input is'),
        (
            HEAD + LOADS + "[models.m]\nversion = [1]",
            "models.m.version = [1]: unknown key, did you mean versions?",
        ),
        (
            HEAD + LOADS + "[models.m]\nversions = [1]",
            "models.m.path: missing; expected the folder that holds",
        ),
        (HEAD + LOADS + '[models.m]\npath = "nowhere"', 'models.m.path = "nowhere": no such folder:'),
        (HEAD + LOADS + '[models.m]\npath = "there"\nversions = [3]', "models.m.versions = [3]: "),
        ('scenario = "scenario.py"\nservers = ["b"]\n' + LOADS, 'servers[0] = "b": unknown; valid names: a'),
        ('scenario = "other.py"\nservers = ["a"]\n' + LOADS, 'scenario = "other.py": no such file: '),
        ('scenario = "scenario.py"\nservers = ["a", "a"]\n' + LOADS, "a is a duplicate entry"),
    ],
)
def test_a_wrong_experiment_is_named_with_key_value_and_what_is_allowed(
    experiment: Path, text: str, expected: str
) -> None:
    (experiment.parent / "there" / "1").mkdir(parents=True)
    experiment.write_text(text)
    with pytest.raises(BenchError) as caught:
        read_experiment(experiment)
    assert str(caught.value).startswith(f"{experiment}: ")
    assert expected in str(caught.value)


def test_a_misspelt_file_name_is_answered_with_the_nearest(servers: Path) -> None:
    with pytest.raises(BenchError, match=r"server\.toml: no such file, did you mean servers\.toml\?"):
        read_servers(servers.parent / "server.toml")


def test_servers_are_read_as_they_are_written(servers: Path) -> None:
    servers.write_text(
        '[servers.a]\nkind = "embedded"\nbuild = "xla"\nxla = true\nflags = { processes = 2 }\n'
        "batching = { max_batch_size = 64, batch_timeout_micros = 5000 }\n"
        '[servers.b]\nkind = "kubernetes"\naddress = "h:8500"\ntls = true\nmetadata = { authorization = "TOKEN" }\n'
        'authority = "mnist.default.example.com"\n'
    )
    a, b = read_servers(servers).values()
    assert isinstance(a.spec, Embedded)
    assert a.spec.xla
    assert a.spec.build == "xla"
    assert a.spec.flags == {"processes": 2}
    assert isinstance(a.spec.batching, Batching)
    assert (a.spec.batching.max_batch_size, a.spec.batching.batch_timeout_micros) == (64, 5000)
    assert isinstance(b.spec, Remote)
    assert (b.spec.kind, b.spec.address, b.spec.tls) == ("kubernetes", "h:8500", True)
    assert b.spec.authority == "mnist.default.example.com"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        *((f'metadata = {{ {name} = "HOME" }}', "is reserved") for name in ("host", "te", "grpc-timeout")),
        *((f'authority = "{name}"', "a host name or host:port") for name in ("", "a b", "http://x")),
        *((f'telemetry = ["{page}"]', "expected URLs such as") for page in ("node:9100", "http://h/m#pod")),
    ],
)
def test_what_cannot_be_sent_or_read_is_refused(servers: Path, line: str, told: str) -> None:
    servers.write_text(f'[servers.b]\nkind = "remote"\naddress = "h:8500"\n{line}\n')
    with pytest.raises(BenchError, match=r"^[^\n]+$") as refused:
        read_servers(servers)
    assert line.split(maxsplit=1)[0] in str(refused.value)
    assert told in str(refused.value)


def test_an_experiment_knows_its_files_beside_it(experiment: Path) -> None:
    experiment.write_text(HEAD + 'loads = [{ users = 8 }, { users = 2, schedule = "poisson:50" }]')
    study = read_experiment(experiment)
    assert study.name == "experiment"
    assert study.scenario == (experiment.parent / "scenario.py").resolve()
    assert [load.title for load in study.experiment.loads] == ["8 users", "2 users poisson:50"]
    assert [server.name for server in study.servers] == ["a"]


def test_cpu_lists_are_read() -> None:
    usable = min(os.sched_getaffinity(0))
    assert cpu_numbers(str(usable)) == {usable}
    with pytest.raises(ValueError, match="expected "):
        cpu_numbers("3-1")
    for many in ("0-99999999999", "0-" + "9" * 40, "99999999999"):
        with pytest.raises(ValueError, match="this process may use the CPUs"):
            cpu_numbers(many)


def test_a_byte_order_mark_is_no_part_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "servers.toml"
    path.write_bytes(b"\xef\xbb\xbf[servers.plain]\r\nkind = 'embedded'\r\n")
    assert read_toml(path) == {"servers": {"plain": {"kind": "embedded"}}}
