"""Several processes on one port: what a client is told is true of all of them, whichever it has reached."""

import re
import socket
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from bench.launch import server_process
from bench.launch.server_process import Server
from bench.server.cluster import merged_reload, merged_status
from bench.server.models.states import State
from bench.server.refusal import Code, Refusal
from bench.server.siblings import Siblings
from bench.wire import messages
from tests.server.clients import LONG, channel, eventually, images, predict, refusal

DIGIT = np.zeros((1, 28, 28, 1), np.float32)
PROCESSES = 3


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("together")
    monitoring = folder / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: true }")
    flags = ["--backend=synthetic", "--service-time=constant(0ms)", "--rest_api_port=0"]
    flags += [f"--processes={PROCESSES}", f"--monitoring_config_file={monitoring}"]
    with server_process.embedded(flags) as running:
        yield running


def page(server: Server) -> str:
    """The counters as one of the processes shows them: the connection is a new one."""
    with urllib.request.urlopen(f"http://{server.rest}/monitoring/prometheus/metrics", timeout=LONG) as shown:
        return shown.read().decode()


def connections(server: Server, count: int = 30) -> Iterator[grpc.Channel]:
    """Connection after connection: of 30, none of 3 processes is left out but once in 60,000 times."""
    for _ in range(count):
        with channel(server.address, **{"grpc.use_local_subchannel_pool": 1}) as through:
            yield through


def test_counters_are_the_sums_of_all_processes(server: Server) -> None:
    for through in connections(server):
        predict(through, images(DIGIT))
        predict(through, images(DIGIT))
        assert refusal(through, images(DIGIT, signature="nosig"))[0] == "FAILED_PRECONDITION"
    for _ in range(6):
        text = page(server)
        assert ':request_count{model_name="default",status="OK"} 60\n' in text
        assert ':request_count{model_name="default",status="FAILED_PRECONDITION"} 30\n' in text
        assert re.search(r":request_latency_count\{.*\} 60\n", text)
        assert re.search(r":runtime_latency_count\{.*\} 60\n", text)


def versions(through: grpc.Channel, model: str) -> dict[int, State]:
    request = messages.GetModelStatusRequest()
    request.model_spec.name = model
    answer = through.unary_unary(messages.GET_MODEL_STATUS)(request.SerializeToString(), timeout=LONG)
    statuses = messages.GetModelStatusResponse.FromString(answer).model_version_status
    return {status.version: State(status.state) for status in statuses}


def test_a_reload_reaches_every_process(server: Server, tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    request = messages.ReloadConfigRequest(metric_names=["/tensorflow/serving/request_count"])
    request.config.model_config_list.config.add(
        name="new", base_path=str(tmp_path), model_platform="tensorflow"
    )
    with channel(server.address) as through:
        answer = through.unary_unary(messages.RELOAD_CONFIG)(request.SerializeToString(), timeout=LONG)
    response = messages.ReloadConfigResponse.FromString(answer)
    assert (response.status.error_code, len(response.metric)) == (0, 1)
    for through in connections(server):
        assert predict(through, images(DIGIT, model="new"))["scores"].shape == (1, 10)
        assert refusal(through, images(DIGIT))[0] == "NOT_FOUND"
        assert versions(through, "new") == {1: State.AVAILABLE}
    # a version is said to be there when it is there for everybody
    (tmp_path / "2").mkdir()
    with channel(server.address) as through:
        eventually(lambda: versions(through, "new") == {2: State.AVAILABLE, 1: State.END})
    for through in connections(server):
        predict(through, images(DIGIT, model="new"))
    with urllib.request.urlopen(f"http://{server.rest}/v1/models/new", timeout=LONG) as shown:
        assert shown.read().decode().count('"AVAILABLE"') == 1
    request.config.model_config_list.config[0].model_platform = "quantum"
    with channel(server.address) as through:
        assert refusal(through, request.SerializeToString(), messages.RELOAD_CONFIG)[0] != "OK"
        assert refusal(through, b"", messages.GET_MODEL_STATUS)[1] == "Missing ModelSpec"
        assert versions(through, "new")[2] is State.AVAILABLE


def test_nothing_is_left_behind() -> None:
    with tempfile.TemporaryDirectory() as folder:
        with server_process.embedded(
            ["--backend=synthetic", "--processes=2"], environment={"TMPDIR": folder}
        ):
            assert len(list(Path(folder).glob("serving-bench-*/*.sock"))) == 2
        assert not list(Path(folder).iterdir())


def test_a_process_that_does_not_answer_is_no_wrong_sum(tmp_path: Path) -> None:
    siblings = Siblings(tmp_path)
    siblings.answer_with(lambda subject, content, _timeout: subject.encode() + content)
    assert siblings.ask_all("a", b"b") == [b"ab"]
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(tmp_path / "1.sock"))
    with pytest.raises(Refusal) as caught:
        siblings.ask_all("a")
    assert caught.value.code == Code.UNAVAILABLE
    assert "process 1 " in caught.value.text
    dead.close()
    (tmp_path / "1.sock").unlink()
    siblings.close()
    assert not tmp_path.exists()


def status(**versions: State) -> bytes:
    response = messages.GetModelStatusResponse()
    for number, state in versions.items():
        response.model_version_status.add(version=int(number[1:]), state=int(state))
    return response.SerializeToString()


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        ({"v1": State.AVAILABLE}, {"v1": State.AVAILABLE}, {"v1": State.AVAILABLE}),
        ({"v1": State.AVAILABLE}, {"v1": State.LOADING}, {"v1": State.LOADING}),
        ({"v1": State.UNLOADING}, {"v1": State.AVAILABLE}, {"v1": State.AVAILABLE}),
        ({"v1": State.END}, {"v1": State.UNLOADING}, {"v1": State.UNLOADING}),
        ({"v2": State.AVAILABLE, "v1": State.END}, {"v1": State.END}, {"v2": State.START, "v1": State.END}),
        ({"v1": State.END}, {}, {"v1": State.END}),
    ],
)
def test_a_version_is_as_far_as_the_last_process(
    first: dict[str, State], second: dict[str, State], together: dict[str, State]
) -> None:
    for pair in ((first, second), (second, first)):
        merged = messages.GetModelStatusResponse.FromString(merged_status([status(**each) for each in pair]))
        found = {f"v{each.version}": State(each.state) for each in merged.model_version_status}
        assert found == together


def test_what_all_refuse_is_refused() -> None:
    unknown, invalid = Refusal(Code.NOT_FOUND, "nowhere"), Refusal(Code.INVALID_ARGUMENT, "bad")
    with pytest.raises(Refusal, match="nowhere"):
        merged_status([unknown, unknown])
    assert merged_status([unknown, status(v1=State.END)]) == merged_status(
        [status(v1=State.END), status(v1=State.END)]
    )
    with pytest.raises(Refusal, match="bad"):
        merged_status([status(v1=State.END), invalid])
    good = messages.ReloadConfigResponse()
    good.metric.add(name="n", int64_value_increase=2)
    summed = messages.ReloadConfigResponse.FromString(merged_reload([good.SerializeToString()] * 3))
    assert [each.int64_value_increase for each in summed.metric] == [6]
    with pytest.raises(Refusal, match="bad"):
        merged_reload([good.SerializeToString(), invalid])
