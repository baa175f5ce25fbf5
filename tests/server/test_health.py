"""Health as stock gRPC clients ask for it: once, and from now on."""

import signal
from collections.abc import Iterator

import grpc
import pytest

from bench.launch import server_process
from bench.launch.server_process import Server
from bench.server.api.health import CHECK, WATCH, Health, HealthCheckRequest, HealthCheckResponse
from bench.server.refusal import Code, Refusal
from tests.server.clients import LONG, channel, images, predict, refusal

SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3
FLAGS = ["--backend=synthetic", "--service-time=constant(0ms)", "--enable_grpc_healthcheck_service"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with server_process.embedded(FLAGS) as running:
        yield running


def named(service: str) -> bytes:
    return HealthCheckRequest(service=service).SerializeToString()


def status(answer: bytes) -> int:
    return HealthCheckResponse.FromString(answer).status


def watch(through: grpc.Channel, service: str = "", timeout: float | None = LONG) -> grpc.Call:
    return through.unary_stream(WATCH)(named(service), timeout=timeout)


def test_messages_are_those_of_grpc() -> None:
    """Field numbers of grpc.health.v1 (health.proto)."""
    assert named("a") == b"\x0a\x01a"
    assert HealthCheckResponse(status=1).SerializeToString() == b"\x08\x01"


def test_check(server: Server) -> None:
    with channel(server.address) as through:
        for service in ("", "ModelService", "PredictionService"):
            assert status(through.unary_unary(CHECK)(named(service), timeout=LONG)) == SERVING
        assert refusal(through, named("tensorflow.serving.ModelService"), CHECK) == ("NOT_FOUND", "")
        assert refusal(through, b"\x07\xff", CHECK) == ("INTERNAL", "")
        assert refusal(through, b"\x07\xff", WATCH) == ("INTERNAL", "")


def test_a_watch_tells_the_first_status_and_stays_open(server: Server) -> None:
    with channel(server.address) as through:
        watches = [watch(through, service) for service in ("", "ModelService", "unheard of")]
        assert [status(next(each)) for each in watches] == [SERVING, SERVING, SERVICE_UNKNOWN]
        predict(through, images([[0.0] * 784]))  # on the same connection, beside them
        assert all(each.is_active() for each in watches)
        for each in watches:
            each.cancel()


def test_a_watch_keeps_its_deadline(server: Server) -> None:
    with channel(server.address) as through:
        short = watch(through, timeout=1.0)
        assert status(next(short)) == SERVING
        with pytest.raises(grpc.RpcError) as late:
            next(short)
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_who_watches_is_told_of_the_end_before_the_connection_goes() -> None:
    with server_process.embedded(FLAGS) as server, channel(server.address) as through:
        known, unknown = watch(through), watch(through, "unheard of")
        assert [status(next(known)), status(next(unknown))] == [SERVING, SERVICE_UNKNOWN]
        server.process.send_signal(signal.SIGTERM)
        assert status(next(known)) == NOT_SERVING
        for each in (known, unknown):
            with pytest.raises(grpc.RpcError) as ended:
                next(each)
            assert (ended.value.code(), ended.value.details()) == (
                grpc.StatusCode.UNAVAILABLE,
                "the server is shutting down",
            )
        assert server.process.wait(LONG) == 0, "a watch must not hold up the drain"


def test_watches_that_were_taken_back_are_forgotten() -> None:
    """They would use up the calls that may be in flight."""
    with server_process.embedded([*FLAGS, "--max-in-flight=3"]) as server, channel(server.address) as through:
        for _ in range(10):
            each = watch(through)
            assert status(next(each)) == SERVING
            each.cancel()  # the connection keeps the order of what it is told
        assert predict(through, images([[0.0] * 784]))["scores"].shape == (1, 10)


def test_a_check_while_draining() -> None:
    health = Health()
    assert status(health.check(b"")) == SERVING
    health.drain()
    assert status(health.check(b"")) == NOT_SERVING
    with pytest.raises(Refusal) as caught:
        health.check(named("unheard of"))
    assert caught.value.code is Code.NOT_FOUND
