"""The server process as a whole: start, readiness, refusals, drain, end."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import grpc
import numpy as np
import pytest

from bench import __version__
from bench.launch import server_process
from bench.wire import frames, messages
from tests.server.clients import (
    LONG,
    RawClient,
    arriving_together,
    channel,
    eventually,
    images,
    predict,
    ready,
    refusal,
    serve,
)

DIGIT = np.zeros((1, 28, 28, 1), np.float32)


def started(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "bench", "serve", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--model_base_path=/no/such/folder"], "--model_base_path /no/such/folder: no such folder"),
        ([], "no model"),
        (["--backend=quantum"], "--backend quantum: choose"),
        (["--backend=synthetic", "--service-time=2"], "--service-time 2"),
        (["--backend=synthetic", "--stall=5s"], "--stall 5s"),
        (["--backend=synthetic", "--error-rate=2"], "--error_rate 2"),
        (["--backend=null", "--drain-seconds=nan"], "--drain_seconds nan"),
        (["--backend=null", "--port=70000"], "--port 70000"),
        (["--backend=null", "--processes=0"], "--processes 0"),
        (["--backend=null", "--ssl_config_file=/no/such/file"], "/no/such/file: cannot be read"),
        (
            ["--backend=null", "--enable_batching", "--batching_parameters_file=/no/file"],
            "/no/file: cannot be read",
        ),
        (["--backend=null", "--batching_parameters_file=x"], "--batching_parameters_file"),
        (["--backend=null", "--use_alts_credentials"], "does not have it"),
        (["--backend=null", "--platform_config_file=x"], "--batching_parameters_file"),
        (["--backend=null", "--grpc_socket_path=/no/such/folder/socket"], "--grpc_socket_path"),
        (["--model_config_file=/no/such/file"], "/no/such/file: cannot be read"),
    ],
)
def test_what_cannot_be_started_is_one_line_and_exit_code_2(arguments: list[str], complaint: str) -> None:
    done = started("--port=0", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert complaint in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize("arguments", [["--port=many"], ["--no_such_flag=1"], ["--enable_batching=maybe"]])
def test_wrong_flags_are_exit_code_2(arguments: list[str]) -> None:
    done = started("--backend=null", *arguments)
    assert done.returncode == 2
    assert arguments[0].partition("=")[0] in done.stderr


def test_a_folder_without_versions_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    done = started("--port=0", f"--model_base_path={tmp_path}")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "holds no version" in done.stderr


def test_a_policy_that_matches_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    config = tmp_path / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "m" base_path: "{tmp_path}" model_platform: "tensorflow" '
        "model_version_policy { specific { versions: 7 } } } }"
    )
    done = started("--port=0", f"--model_config_file={config}")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "only 1" in done.stderr


@pytest.mark.parametrize("share", [0, 1])
def test_a_busy_port_is_refused_even_where_it_could_be_shared(share: int) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, share)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = started("--backend=null", "--port", str(port))
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert f"127.0.0.1:{port} cannot be used" in done.stderr


def test_the_rest_port_is_looked_at_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = started("--backend=synthetic", "--port=0", f"--rest_api_port={port}")
    assert done.returncode == 2
    assert f"--rest_api_port {port}" in done.stderr


def test_a_rest_port_of_the_null_backend_is_refused() -> None:
    done = started("--backend=null", "--port=0", "--rest_api_port=0")
    assert done.returncode == 2
    assert "--rest_api_port" in done.stderr


def test_flags_come_with_blank_or_equals_sign_underscore_or_dash() -> None:
    with (
        server_process.embedded(
            [
                "--backend",
                "synthetic",
                "--model_name",
                "m",
                "--service-time=constant(0ms)",
                "--enable_batching=false",
            ]
        ) as server,
        channel(server.address) as through,
    ):
        assert predict(through, images(DIGIT, model="m"))["scores"].shape == (1, 10)


def test_the_readiness_line_is_all_that_is_printed() -> None:
    process = serve(["--backend=null", "--port=0"])
    facts = ready(process)
    assert facts["event"] == "ready"
    assert facts["pid"] == process.pid
    assert facts["rest"] is None
    with channel(facts["grpc"]) as through:
        through.unary_unary(messages.PREDICT)(b"", timeout=LONG)
    process.send_signal(signal.SIGTERM)
    out, _err = process.communicate(timeout=LONG)
    assert (process.returncode, out) == (0, b"")


def test_it_listens_only_on_the_loopback() -> None:
    with server_process.embedded(["--backend=null"]) as server:
        assert server.address.startswith("127.0.0.1:")


def test_version_names_what_it_consists_of_and_its_flags() -> None:
    done = started("--version", "--port=8501")
    assert done.returncode == 0
    assert done.stdout.startswith(f"serving-bench {__version__}\ntensorflow ")
    assert done.stdout.endswith("flags: --port=8501\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_calls_in_flight_are_answered_before_the_end(number: signal.Signals) -> None:
    process = serve(["--backend=synthetic", "--port=0", "--service-time=constant(700ms)"])
    facts = ready(process)
    with RawClient(facts["grpc"]) as client:
        for stream in range(1, 11, 2):
            client.ask(stream, images(DIGIT))
        client.await_taken()
        process.send_signal(number)
        kinds = [(kind, stream) for kind, _flags, stream, _payload in client.frames()]
    assert process.wait(LONG) == 0
    answers = [kinds.index((frames.DATA, stream)) for stream in range(1, 11, 2)]
    assert kinds.index((frames.GOAWAY, 0)) < min(answers), (
        "GOAWAY comes at once, the answers when they are due"
    )
    process.communicate()


def test_a_drain_does_not_last_for_ever() -> None:
    process = serve(
        ["--backend=synthetic", "--port=0", "--service-time=constant(300s)", "--drain_seconds=0.3"]
    )
    facts = ready(process)
    with RawClient(facts["grpc"]) as client:
        client.ask(1, images(DIGIT))
        client.await_taken()
        process.send_signal(signal.SIGTERM)
        assert [kind for kind, *_ in client.frames()] == [frames.GOAWAY]
    assert process.wait(LONG) == 0
    process.communicate()


def test_new_clients_are_refused_while_draining() -> None:
    process = serve(["--backend=synthetic", "--port=0", "--service-time=constant(1s)"])
    facts = ready(process)
    with RawClient(facts["grpc"]) as witness:
        witness.ask(1, images(DIGIT))
        witness.await_taken()
        process.send_signal(signal.SIGTERM)
        assert any(kind == frames.GOAWAY for kind, *_ in witness.frames())
        with pytest.raises(ConnectionRefusedError):
            RawClient(facts["grpc"])
    assert process.wait(LONG) == 0
    process.communicate()


@pytest.mark.parametrize("processes", [1, 2])
def test_it_ends_when_whoever_started_it_is_killed(processes: int, tmp_path: Path) -> None:
    """And what the launcher had written for it goes with it."""
    folder = tmp_path / "of the launcher"
    folder.mkdir()
    (folder / "models.config").touch()
    flags = ["--backend=null", f"--processes={processes}", f"--remove_with_parent={folder}"]
    script = (
        "import sys, time\n"
        "from bench.launch import server_process\n"
        f"with server_process.embedded({flags}) as server:\n"
        "    print(server.pid, flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as launcher:
        assert launcher.stdout is not None
        pid = int(launcher.stdout.readline())
        os.kill(pid, 0)
        assert folder.is_dir()
        launcher.kill()
    eventually(lambda: not _alive(pid))
    assert not folder.exists()


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_unix_socket_serves_too_and_a_dead_one_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "grpc.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    with server_process.embedded(["--backend=null", f"--grpc_socket_path={path}"]) as server:
        with channel(f"unix:{path}") as through:
            assert through.unary_unary(messages.PREDICT)(b"", timeout=LONG)
        with channel(server.address) as through:
            assert through.unary_unary(messages.PREDICT)(b"", timeout=LONG)
        done = started("--backend=null", "--port=0", f"--grpc_socket_path={path}")
        assert done.returncode == 2
        assert "another server listens there" in done.stderr


def test_processes_share_a_port() -> None:
    with server_process.embedded(["--backend=null", "--processes=2"]) as server:
        children = server.ready["processes"]
        assert len(set(children)) == 2
        for _ in range(8):
            with channel(server.address, **{"grpc.use_local_subchannel_pool": 1}) as through:
                assert through.unary_unary(messages.PREDICT)(b"", timeout=LONG)
    assert server.process.returncode == 0
    assert not any(_alive(child) for child in children)


def test_when_one_process_dies_all_end() -> None:
    process = serve(["--backend=null", "--port=0", "--processes=2"])
    children = ready(process)["processes"]
    os.kill(children[0], signal.SIGKILL)
    assert process.wait(LONG) == 1
    assert not any(_alive(child) for child in children)
    process.communicate()


def test_json_logs_are_one_object_a_line() -> None:
    with server_process.embedded(["--backend=null", "--log-format=json"]) as server:
        events = [json.loads(line) for line in server.log_text().splitlines()]
    assert any(event["event"].startswith("Running gRPC ModelServer") for event in events)
    assert {"time", "level", "logger", "process", "thread", "event"} == set(events[0])


def test_more_calls_than_threads_are_refused_as_by_the_original() -> None:
    with (
        server_process.embedded(
            ["--backend=synthetic", "--service-time=constant(500ms)", "--grpc_max_threads=4"]
        ) as server,
        channel(server.address) as through,
    ):
        call = through.unary_unary(messages.PREDICT)
        assert predict(through, images(DIGIT))["scores"].shape == (1, 10)  # the connection stands
        with arriving_together(server, 8 * len(images(DIGIT))):
            futures = [call.future(images(DIGIT), timeout=LONG) for _ in range(8)]
        outcomes = [(future.code().name, future.details()) for future in futures]
        assert outcomes.count(("RESOURCE_EXHAUSTED", "Server Threadpool Exhausted")) == 5
        assert sum(code == "OK" for code, _ in outcomes) == 3
        assert predict(through, images(DIGIT))["scores"].shape == (1, 10)  # there is room again


def test_oversized_requests_are_refused_and_others_served() -> None:
    with (
        server_process.embedded(["--backend=null", "--max-message-bytes=100000"]) as server,
        channel(server.address) as through,
    ):
        assert refusal(through, bytes(200_000))[0] == "RESOURCE_EXHAUSTED"
        assert through.unary_unary(messages.PREDICT)(bytes(100_000), timeout=LONG)


def test_a_deadline_on_the_wire_is_kept() -> None:
    with (
        server_process.embedded(["--backend=synthetic", "--service-time=constant(2s)"]) as server,
        channel(server.address) as through,
    ):
        with pytest.raises(grpc.RpcError) as late:
            predict(through, images(DIGIT), timeout=0.2)
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_methods_that_do_not_exist() -> None:
    with server_process.embedded(["--backend=synthetic"]) as server, channel(server.address) as through:
        assert refusal(through, b"", "/tensorflow.serving.PredictionService/Guess") == ("UNIMPLEMENTED", "")
        assert refusal(through, b"", "/grpc.health.v1.Health/Check") == ("UNIMPLEMENTED", "")


def test_threads_answer_what_may_take_long() -> None:
    """A reload that waits for a model that never comes must not keep the server from answering others."""
    with server_process.embedded(["--backend=synthetic"]) as server, channel(server.address) as through:
        request = messages.ReloadConfigRequest()
        request.config.model_config_list.config.add(
            name="absent", base_path="/no/such/model", model_platform="tensorflow"
        )
        waiting = through.unary_unary(messages.RELOAD_CONFIG).future(request.SerializeToString(), timeout=1.0)
        outcomes = []
        asking = threading.Thread(
            target=lambda: outcomes.append(refusal(through, images(DIGIT, model="absent"))), daemon=True
        )
        asking.start()
        asking.join(LONG)
        assert outcomes == [("NOT_FOUND", "Servable not found for request: Latest(absent)")]
        assert waiting.code() is grpc.StatusCode.DEADLINE_EXCEEDED
