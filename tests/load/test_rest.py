"""REST requests say the same as the gRPC ones, and whatever a server answers becomes a recorded reply."""

import json
import re
import socket
import struct
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import gevent
import gevent.event
import gevent.socket
import numpy as np
import pytest
from gevent.server import StreamServer
from locust.argument_parser import get_parser

from bench import BenchError, mnist
from bench.launch import server_process
from bench.load.arguments import add_arguments
from bench.load.engine.encoding import expected_of
from bench.load.options import ScenarioOptions, read_options
from bench.load.sources import make_pools
from bench.payload import Pool, array_of
from bench.wire.dial import TLS
from bench.wire.messages import PredictResponse
from tests.load.over_rest import REST, connection_to, encoded


def parsed(request: bytes) -> tuple[str, dict[str, object]]:
    head, _, body = request.partition(b"\r\n\r\n")
    length = re.search(rb"Content-Length: (\d+)", head)
    assert length is not None
    assert int(length[1]) == len(body)
    return head.split(b"\r\n")[0].decode(), json.loads(body)


def asking_for(output: str, model: str) -> Pool:
    return Pool.of({"x": np.zeros((1, 1))}, None, output=output, model=model)


def test_numbers_arrive_as_they_were() -> None:
    rng = np.random.default_rng(5)
    values = (rng.normal(size=(7, 33)) * 10.0 ** rng.integers(-30, 30, (7, 33))).astype(np.float32)
    pool = encoded(Pool.of({"x": values}, None, output="y", model="m", batch=7, size=1))
    assert pool.encoded is not None
    assert pool.rows is not None
    line, body = parsed(pool.encoded[0])
    assert line == "POST /v1/models/m:predict HTTP/1.1"
    sent = np.array(body["instances"], np.float64).astype(np.float32)
    assert sent.tobytes() == values[pool.rows[0]].tobytes()


def test_several_inputs_versions_and_labels() -> None:
    examples = {"user": np.arange(4), "on": np.array([True, False, True, False])}
    pool = encoded(Pool.of(examples, None, output="y", model="m", version=3, batch=2, size=1))
    assert pool.encoded is not None
    assert pool.rows is not None
    line, body = parsed(pool.encoded[0])
    assert line == "POST /v1/models/m/versions/3:predict HTTP/1.1"
    assert body["instances"] == [{"user": int(row), "on": row % 2 == 0} for row in pool.rows[0]]
    labelled = encoded(Pool.of(examples, None, output="y", model="m", label="canary", size=1))
    assert labelled.encoded is not None
    assert parsed(labelled.encoded[0])[0] == "POST /v1/models/m/labels/canary:predict HTTP/1.1"


def test_the_virtual_host_and_the_metadata_are_headers() -> None:
    class Own:
        over_rest = ("Predict",)
        request_name = "Predict"

        @staticmethod
        def payload(options: ScenarioOptions) -> Pool:
            return Pool.of({"x": np.zeros((1, 1))}, None, output="y", model="m")

    plain = plain_options()
    for authority, rest, host in (
        ("models.example", "10.0.0.1:8501", "models.example"),
        (None, "10.0.0.1:8501", "10.0.0.1:8501"),
        (None, "unix:/tmp/rest", "model-server"),
    ):
        asked = replace(plain, authority=authority, rest=rest, metadata=(("x-route", "canary"),))
        (pool,) = make_pools([Own], asked).values()
        assert pool.encoded is not None
        head = pool.encoded[0].partition(b"\r\n\r\n")[0].decode().split("\r\n")
        (encrypted,) = make_pools([Own], replace(asked, tls=TLS())).values()
        assert b"canary" not in (encrypted.encoded or (b"canary",))[0], "a secret goes nowhere unencrypted"
        assert head[1:4] == [f"Host: {host}", "x-route: canary", "Content-Type: application/json"]


@pytest.mark.parametrize(
    ("names", "opened", "text"),
    [
        (("Rest",), False, r"Own.over_rest = \('Rest',\): no requests are named 'Rest'; there are Predict"),
        ("Predict", False, r"Own.over_rest = 'Predict': expected a tuple"),
        (("Predict",), True, "send over gRPC only"),
    ],
)
def test_what_would_go_over_grpc_without_a_word_is_refused(names: Any, opened: bool, text: str) -> None:
    class Own:
        over_rest = names
        request_name = "Predict"
        schedule = "poisson:10" if opened else None

        @staticmethod
        def payload(options: ScenarioOptions) -> Pool:
            return asking_for("y", "m")

    with pytest.raises(BenchError, match=text):
        make_pools([Own], plain_options())


def plain_options() -> ScenarioOptions:
    parser = get_parser(default_config_files=[])
    add_arguments(parser)
    return read_options(parser.parse_args([]))


def test_texts_are_sent_as_bytes_and_what_json_has_not_is_refused() -> None:
    pool = encoded(Pool.of({"x": np.array(["ä", "b"])}, None, output="y", model="m", batch=2, size=1))
    assert pool.encoded is not None
    body = parsed(pool.encoded[0])[1]
    assert sorted(each["b64"] for each in body["instances"]) == ["Yg==", "w6Q="]
    with pytest.raises(BenchError, match="dtype complex64: JSON has no such numbers"):
        encoded(Pool.of({"x": np.zeros(2, np.complex64)}, None, output="y", model="m"))


def test_constants_are_sent_column_by_column() -> None:
    pool = encoded(
        Pool.of({"x": np.ones((2, 3), np.float32)}, None, output="y", model="m", batch=2, constant={"t": 0.5})
    )
    assert pool.encoded is not None
    assert parsed(pool.encoded[0])[1] == {"inputs": {"t": 0.5, "x": [[1.0] * 3] * 2}}


@pytest.mark.parametrize(
    ("arguments", "body", "values"),
    [
        ({}, {"predictions": [[0.25, 1]]}, np.array([[0.25, 1]], np.float32)),
        ({}, {"predictions": [7]}, np.array([7])),
        ({}, {"predictions": [{"y": 1.5, "z": 2}]}, np.array([1.5], np.float32)),
        ({}, {"predictions": ["cat"]}, np.array([b"cat"], object)),
        ({}, {"predictions": [{"b64": "AP8="}]}, np.array([b"\x00\xff"], object)),
        ({}, {"predictions": [{"z": 2}]}, None),
        ({"constant": {"t": 1.0}}, {"outputs": [[1.5]]}, np.array([[1.5]], np.float32)),
        ({"constant": {"t": 1.0}}, {"outputs": {"y": [3, 4], "z": 1}}, np.array([3, 4])),
        ({"constant": {"t": 1.0}}, {"outputs": 2.5}, np.array(2.5, np.float32)),
        ({"constant": {"t": 1.0}}, {"outputs": {"z": 1}}, None),
    ],
)
def test_answers_become_tensors_of_any_kind(
    arguments: dict[str, object], body: dict[str, object], values: np.ndarray | None
) -> None:
    pool = Pool.of({"x": np.zeros((1, 1))}, None, output="y", model="m", version=3, **arguments)  # type: ignore[arg-type]
    raw = REST.read(json.dumps(body).encode(), expected_of(pool))
    response = PredictResponse.FromString(raw)
    assert (response.model_spec.name, response.model_spec.version.value) == ("m", 3)
    if values is None:
        assert not response.outputs
    else:
        found = array_of(response.outputs["y"])
        assert found.tolist() == values.tolist()
        assert found.dtype == values.dtype


def test_a_real_server_answers_and_refuses(models: Path) -> None:
    digits = mnist.load("test")
    request = {"labels": digits.labels, "output": "scores", "size": 4}
    right = encoded(Pool.of({"images": digits.images}, model="mnist", signature="predict_images", **request))
    wrong = encoded(Pool.of({"images": digits.images}, model="nobody", **request))
    assert right.encoded is not None
    assert wrong.encoded is not None
    arguments = ["--model_name=mnist", f"--model_base_path={models / 'mnist'}", "--rest_api_port=0"]
    with server_process.embedded(arguments) as server:
        assert server.rest is not None
        connection = connection_to(server.rest, asking_for("scores", "mnist"))
        reply = connection.ask(right.encoded[0], 10)
        assert (reply.status, reply.details) == (0, "")
        assert connection.sent == reply.sent
        assert reply.sent < reply.done
        scores = PredictResponse.FromString(reply.message).outputs["scores"]
        assert [dim.size for dim in scores.tensor_shape.dim] == [1, 10]
        refused = connection.ask(wrong.encoded[0], 10)
        assert refused.status == 5
        assert "nobody" in refused.details
        assert connection.ask(right.encoded[1], 10).status == 0, "the connection goes on"
    assert connection.ask(right.encoded[0], 10).status == 14
    connection.close()


def test_nobody_listening_is_named_once() -> None:
    status, details, *_ = connection_to("127.0.0.1:1", asking_for("y", "m")).ask(b"", 10)
    assert (status, details) == (14, "127.0.0.1:1: Connection refused")


def test_silence_and_nonsense_are_replies_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()[:2]
        connection = connection_to(f"{host}:{port}", asking_for("y", "m"))
        # a busy machine takes its time to connect, which would leave nothing to accept
        assert connection.ask(b"GET / HTTP/1.1\r\n\r\n", 1.0).status == 4

        def answer(raw: bytes) -> None:
            accepted = gevent.get_hub().threadpool.apply(listener.accept)[0]
            with accepted:
                # what is closed with a request unread in it is reset, and ends no body
                gevent.get_hub().threadpool.apply(accepted.recv, (1000,))
                accepted.sendall(raw)

        answer(b"")  # to the first, which gave up
        for raw, status in (
            (b"HTTP/1.1 200 OK\r\n", 14),
            (b"HTTP/1.1 200 OK\r\n\r\n", 13),  # whole: without a length, a body ends with its connection
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 13),
        ):
            answering = gevent.spawn(answer, raw)
            assert connection.ask(b"GET / HTTP/1.1\r\n\r\n", 10).status == status
            answering.get()
            connection.close()


ANSWER = b"HTTP/1.1 429 Busy\r\nContent-Length: 1\r\n\r\n."


@pytest.mark.parametrize("ending", ["end", "reset"])
@pytest.mark.parametrize("crossing", [False, True], ids=["between requests", "while one is on its way"])
def test_the_end_of_a_kept_connection_fails_no_request(ending: str, crossing: bool) -> None:
    requests = []

    def answer(sock: gevent.socket.socket, _: object) -> None:
        requests.append(sock.recv(1000))
        sock.sendall(ANSWER)
        if crossing:
            requests.append(sock.recv(1000))
        if ending == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        closed.set()

    closed = gevent.event.Event()
    server = StreamServer(("127.0.0.1", 0), answer)
    server.start()
    connection = connection_to(f"127.0.0.1:{server.server_port}", asking_for("y", "m"))
    instants = []
    for number in range(4):
        reply = connection.ask(b"request %d" % number, 5)
        assert (reply.status, reply.details) == (8, ".")
        assert reply.sent is not None
        instants.append((reply.sent, reply.done))
        crossing or closed.wait(5)
        closed.clear()
    assert all(sent < done for sent, done in instants)
    assert connection.retries == 3
    assert len(requests) == (7 if crossing else 4)
    assert connection.where == f"127.0.0.1:{server.server_port}"
    connection.close()
    server.stop(timeout=0)


@pytest.mark.parametrize("head", [b"HTTP/1.1 429 Busy\r\nConnection: Close", b"HTTP/1.0 429 Busy"])
def test_a_connection_that_the_server_says_it_ends_needs_no_retry(head: bytes) -> None:
    def answer(sock: gevent.socket.socket, _: object) -> None:
        sock.recv(1000)
        sock.sendall(head + b"\r\nContent-Length: 1\r\n\r\n.")

    server = StreamServer(("127.0.0.1", 0), answer)
    server.start()
    connection = connection_to(f"127.0.0.1:{server.server_port}", asking_for("y", "m"))
    assert [connection.ask(b"x", 5).status for _ in range(3)] == [8, 8, 8]
    assert connection.retries == 0
    connection.close()
    server.stop(timeout=0)


def test_a_server_that_never_answers_gets_each_request_once() -> None:
    requests = []

    def hang_up(sock: gevent.socket.socket, _: object) -> None:
        requests.append(sock.recv(1000))

    server = StreamServer(("127.0.0.1", 0), hang_up)
    server.start()
    connection = connection_to(f"127.0.0.1:{server.server_port}", asking_for("y", "m"))
    for _ in range(2):
        reply = connection.ask(b"x", 5)
        assert reply.status == 14
        assert reply.sent is not None
    assert (connection.retries, len(requests)) == (0, 2)
    connection.close()
    server.stop(timeout=0)


def test_a_large_request_is_sent_when_its_last_byte_is() -> None:
    """The server takes its time: the request is on its way until it has read nearly all of it."""
    reads = []

    def answer(sock: gevent.socket.socket, _: object) -> None:
        gevent.sleep(0.1)
        left = size
        while left:
            reads.append((time.perf_counter(), left))
            left -= len(sock.recv(min(left, 1_000_000)))
        sock.sendall(ANSWER)

    size = 30_000_000
    server = StreamServer(("127.0.0.1", 0), answer)
    server.start()
    connection = connection_to(f"127.0.0.1:{server.server_port}", asking_for("y", "m"))
    reply = connection.ask(bytes(size), 20)
    assert reply.status == 8
    assert reply.sent is not None
    assert reads[0][0] < reply.sent < reply.done
    connection.close()
    server.stop(timeout=0)
