"""Tune files: which settings follow from them, as what the server takes, and what is refused."""

import tomllib
from pathlib import Path

import pytest

from bench import BenchError, packaged
from bench.config.servers import Batching, Started
from bench.experiment.tune_file import MOST_SETTINGS, read_tune
from bench.experiment.tuning import prepare_tuning, write_best
from bench.launch.servers_file import read_servers

SERVERS = """
[servers.mine]
kind = "binary"
batching = { max_batch_size = 64, num_batch_threads = 2, allowed_batch_sizes = [16, 64] }
intra_op = 1
environment = { TOKEN = "secret", TF_X = "1" }
flags = { file_system_poll_wait_seconds = 0, tensorflow_session_config = "a \\"b\\"" }

[servers.far]
kind = "remote"
address = "localhost:1"
"""
HEAD = 'scenario = "mnist"\nservers = ["mine"]\nloads = [{ users = 8 }]\np99_ms = 20\n'


def tune(folder: Path, space: str, head: str = HEAD) -> Path:
    (folder / "servers.toml").write_text(SERVERS)
    (folder / "tune.toml").write_text(f"{head}\n[space]\n{space}\n")
    return folder / "tune.toml"


def batching_of(spec: object) -> Batching:
    assert isinstance(spec, Started)
    assert isinstance(spec.batching, Batching)
    return spec.batching


def test_settings_are_the_default_and_each_value_with_each(tmp_path: Path) -> None:
    study, settings, objective = read_tune(
        tune(tmp_path, "max_batch_size = [8, 64]\nintra_op = [1, 4]\nflags = { drain_seconds = [1, 2] }")
    )
    assert (objective.percentile, objective.within, objective.share) == (None, 0.02, 0.99)
    assert [each.name for each in settings] == ["default", *(f"s{number}" for number in range(1, 9))]
    assert len({each.server.name for each in settings}) == 9
    assert settings[0].server.name == "mine"
    assert [server.name for server in study.servers] == [each.server.name for each in settings]
    first = settings[1]
    assert first.values == {"max_batch_size": 8, "intra_op": 1, "drain_seconds": 1}
    batching = batching_of(first.server.spec)
    # what the default has and the space does not change stays; sizes are cut as the server wants them
    assert (batching.num_batch_threads, batching.allowed_batch_sizes) == (2, [8])
    assert isinstance(first.server.spec, Started)
    assert first.server.spec.flags["drain_seconds"] == 1
    assert first.server.spec.flags["file_system_poll_wait_seconds"] == 0
    assert first.server.spec.build == "max_batch_size 8, intra_op 1, drain_seconds 1"


def test_the_default_is_no_second_time_among_the_settings(tmp_path: Path) -> None:
    _, settings, _ = read_tune(tune(tmp_path, "max_batch_size = [8, 64]\nintra_op = [1, 4]"))
    assert [each.name for each in settings] == ["default", "s1", "s2", "s3"]
    assert settings[0].values == {"max_batch_size": 64, "intra_op": 1}
    # equal ones because sizes are cut are one
    _, settings, _ = read_tune(
        tune(tmp_path, "max_batch_size = [4]\nallowed_batch_sizes = [[8], [8, 32], []]")
    )
    assert [batching_of(each.server.spec).allowed_batch_sizes for each in settings[1:]] == [[4], []]


def test_the_size_of_requests_is_a_setting_of_the_client(tmp_path: Path) -> None:
    head = HEAD + "batch_sizes = [1, 8]\n"
    _, settings, _ = read_tune(tune(tmp_path, "intra_op = [1, 2]", head))
    assert [(each.name, each.server.name, each.batch) for each in settings] == [
        ("default", "mine", 1), ("mine-batch8", "mine", 8), ("s1-batch1", "s1", 1), ("s1-batch8", "s1", 8),
    ]  # fmt: skip
    tuning = prepare_tuning(tmp_path / "tune.toml", {})
    assert [(t.cell.server, t.cell.batch) for t in tuning.trials(["s1-batch8"], [1], 0)] in (
        [("mine", 1), ("s1", 8)],
        [("s1", 8), ("mine", 1)],
    )


@pytest.mark.parametrize(
    ("space", "head", "expected"),
    [
        ("max_batchsize = [1]", HEAD, "space.max_batchsize = [1]: unknown key, did you mean max_batch_size?"),
        ("", HEAD, "space = {}: holds nothing but the default; expected values to try"),
        ("intra_op = [1]", HEAD, "holds nothing but the default"),
        ("intra_op = [1, 2, 1]", HEAD, "space.intra_op = [1, 2, 1]: 1 is a duplicate entry: settings equal"),
        ("allowed_batch_sizes = [[8], [8]]", HEAD, "[8] is a duplicate entry"),
        ("flags = { drain_seconds = [] }", HEAD, "drain_seconds: expected a list of at least one value"),
        ("flags = { port = [1, 2] }", HEAD, "tune.toml: space.flags.port = 1: is set by"),
        ("flags = { intra_op = [1, 2] }", HEAD, "intra_op: is a key, not a flag"),
        ("max_batch_size = [0]", HEAD, "space.max_batch_size.0 = 0: expected a list of different integers >= 1"),
        (
            f"intra_op = {list(range(1, 20))}\ninter_op = {list(range(20))}",
            HEAD,
            f"space = 380: that many settings; {MOST_SETTINGS} are the most: leave values out",
        ),
        ("intra_op = [2]", HEAD.replace("p99_ms = 20", ""), "which service level? expected one of p99_ms = 20"),
        ("intra_op = [2]", HEAD + 'goodput = "99.9 % @ 5ms"\n', "which service level?"),
        ("intra_op = [2]", HEAD.replace("p99_ms = 20", 'goodput = "99"'), "expected a share from 0.5 on"),
        ("intra_op = [2]", HEAD + 'objective = "p99"\n', 'objective = "p99" has no service level'),
        ("intra_op = [2]", HEAD + "deadline = 0.01\n", "deadline = 0.01: below the 0.02 s of the service level"),
        ("intra_op = [2]", HEAD.replace("mine", "far"), "servers.far.kind = \"remote\": is not started here"),
        ("intra_op = [2]", HEAD.replace('"mine"', '"mine", "far"'), "expected one server"),
        ("intra_op = [2]", HEAD.replace("users = 8", 'schedule = "poisson:5"'), "an open load has the rate"),
        ("session_parallelism = [1]", HEAD, "the server would ignore it next to intra_op"),
    ],
)  # fmt: skip
def test_one_line_states_what_is_wrong(tmp_path: Path, space: str, head: str, expected: str) -> None:
    with pytest.raises(BenchError) as error:
        prepare_tuning(tune(tmp_path, space, head), {})
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_another_service_level_and_an_objective_of_latency(tmp_path: Path) -> None:
    _, _, level = read_tune(
        tune(tmp_path, "intra_op = [2]", HEAD.replace("p99_ms = 20", 'goodput = "99.9 % @ 50ms"'))
    )
    assert (level.share, level.within, level.text) == (
        pytest.approx(0.999), 0.05, "examples/s with goodput >= 99.9 % within 50 ms"
    )  # fmt: skip
    head = HEAD.replace("p99_ms = 20", 'objective = "p90"').replace("users = 8", 'schedule = "poisson:5"')
    _, _, latency = read_tune(tune(tmp_path, "intra_op = [2]", head))
    assert (latency.percentile, latency.text) == (90.0, "p90 of the latency")


def test_the_best_settings_are_files_that_the_server_takes(tmp_path: Path) -> None:
    _, settings, _ = read_tune(tune(tmp_path, "max_batch_size = [32]\nmax_threads = [64]"))
    written = write_best(tmp_path, settings[1].server, "mine")
    texts = {path.name: path.read_text() for path in written}
    assert "secret" not in "".join(texts.values())
    (tmp_path / "again.toml").write_text(texts["servers.toml"])
    again = read_servers(tmp_path / "again.toml")["mine"].spec
    assert again == settings[1].server.spec.model_copy(update={"environment": {}})
    assert (
        tomllib.loads(texts["servers.toml"])["servers"]["mine"]["flags"]["tensorflow_session_config"]
        == 'a "b"'
    )
    assert "max_batch_size {\n  value: 32\n}" in texts["batching_parameters.pbtxt"]
    assert "allowed_batch_sizes: 16\nallowed_batch_sizes: 32" in texts["batching_parameters.pbtxt"]
    flags = texts["flags.txt"].splitlines()
    assert "--batching_parameters_file=batching_parameters.pbtxt" in flags
    assert "--enable_batching=true" in flags
    assert "--grpc_max_threads=64" in flags


def test_the_file_of_the_starting_set_is_accepted() -> None:
    tuning = prepare_tuning(packaged.STARTING / "tune.toml", {})
    assert len(tuning.settings) == 4
