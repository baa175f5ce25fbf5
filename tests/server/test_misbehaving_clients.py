"""Clients that misbehave are refused or bounded, and the others are served meanwhile."""

import random
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
import trustme

from bench.launch import server_process
from bench.launch.server_process import Server
from bench.wire import frames, messages
from tests.server.clients import LONG, RawClient, channel, eventually, images, predict, resident

DIGIT = np.zeros((1, 28, 28, 1), np.float32)
MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with server_process.embedded(["--backend=synthetic", "--service-time=constant(0ms)"]) as made:
        yield made


@pytest.fixture
def echo() -> Iterator[Server]:
    with server_process.embedded(["--backend=null", "--echo"]) as made:
        yield made


def answers(address: str) -> bool:
    with channel(address, **{"grpc.use_local_subchannel_pool": 1}) as through:
        return predict(through, images(DIGIT))["scores"].shape == (1, 10)


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        bytes(100),
        frames.PREFACE[:-1] + b"X",
        frames.PREFACE + frames.frame(frames.DATA, 0, 1, b"x"),
        frames.PREFACE + frames.settings({}) + frames.frame(frames.HEADERS, 4, 2, b"\x88"),
        frames.PREFACE + frames.settings({}) + frames.frame(frames.HEADERS, 4, 1, b"\xff" * 50),
        frames.PREFACE + frames.settings({}) + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
        frames.PREFACE + frames.settings({}) + frames.window_update(0, 0),
    ],
    ids=["http1", "tls", "zeros", "preface", "data", "even stream", "hpack", "frame size", "window"],
)
def test_what_is_no_http2_is_told_so_and_closed(server: Server, garbage: bytes) -> None:
    with RawClient(server.address, hello=False) as client:
        client.sock.sendall(garbage)
        received = client.read_until_closed()
    assert received.rfind(b"\x07\x00\x00\x00\x00\x00") >= 0, "no GOAWAY"
    assert answers(server.address)


def test_random_bytes_never_stop_it(server: Server) -> None:
    rng = random.Random(0)
    for _ in range(300):
        with RawClient(server.address, hello=rng.random() < 0.8) as client:
            client.sock.sendall(rng.randbytes(rng.randrange(1, 400)))
    for _ in range(200):  # a whole request with some bytes changed
        with RawClient(server.address) as client:
            call = bytearray(client.call(1, images(DIGIT)))
            for _ in range(rng.randrange(1, 5)):
                call[rng.randrange(len(call) if rng.random() < 0.3 else 200)] = rng.randrange(256)
            client.sock.sendall(call)
    assert answers(server.address)


def test_malformed_messages_are_refused_one_by_one(server: Server) -> None:
    rng, whole = random.Random(1), images(DIGIT)
    with channel(server.address) as through:
        call = through.unary_unary(messages.PREDICT)
        for _ in range(300):
            request = bytearray(whole)
            for _ in range(rng.randrange(1, 4)):
                request[rng.randrange(80)] = rng.randrange(256)
            future = call.future(bytes(request[: rng.randrange(len(request))]), timeout=LONG)
            assert future.code().name in {
                "OK",
                "INTERNAL",
                "INVALID_ARGUMENT",
                "NOT_FOUND",
                "FAILED_PRECONDITION",
            }
        assert predict(through, whole)["scores"].shape == (1, 10)


def test_requests_cut_off_in_the_middle_are_forgotten(server: Server) -> None:
    for _ in range(50):
        with RawClient(server.address) as client:
            client.ask(1, images(np.zeros((8, 28, 28, 1))), whole=False)
    assert answers(server.address)


def test_a_client_that_never_reads_is_bounded_and_harms_nobody(echo: Server) -> None:
    """It asks for hundreds of megabytes and takes nothing; the kernel's buffers fill, then ours up to a limit."""
    before = resident(echo.pid)
    request = bytes(100_000)
    with RawClient(echo.address, settings={frames.INITIAL_WINDOW_SIZE: 2**31 - 1}) as greedy:
        greedy.sock.sendall(frames.window_update(0, 2**31 - 1 - 65_535))
        greedy.sock.settimeout(0.5)
        sent = 0
        try:
            for number in range(4000):
                greedy.ask(2 * number + 1, request)
                sent += len(request)
        except TimeoutError:
            pass
        assert sent < 200 * MEGABYTE, "the server took everything in"
        assert resident(echo.pid) - before < 60 * MEGABYTE
        with channel(echo.address) as through:
            assert through.unary_unary(messages.PREDICT)(b"me", timeout=LONG) == b"me"


def test_a_client_that_ends_no_request_is_cut_off() -> None:
    with server_process.embedded(["--backend=null", "--echo", "--max-message-bytes=10000000"]) as server:
        before = resident(server.pid)
        with RawClient(server.address) as hoarder:
            with pytest.raises((ConnectionError, TimeoutError)):
                for number in range(4000):
                    hoarder.ask(2 * number + 1, bytes(100_000), whole=False)
            assert number < 1000, "it was not cut off"
        assert resident(server.pid) - before < 100 * MEGABYTE
        with channel(server.address) as through:
            assert through.unary_unary(messages.PREDICT)(b"me", timeout=LONG) == b"me"


def test_calls_that_are_taken_back_at_once_cost_no_memory(server: Server) -> None:
    """Streams opened and reset in a row, as in the "rapid reset" attack (CVE-2023-44487)."""
    call, before = RawClient.call(1, images(DIGIT)), resident(server.pid)
    with RawClient(server.address) as client:
        for start in range(0, 40_000, 1000):
            client.sock.sendall(
                b"".join(
                    RawClient.renumbered(call, 2 * number + 1)
                    + frames.rst_stream(2 * number + 1, frames.CANCEL)
                    for number in range(start, start + 1000)
                )
            )
        client.await_taken()
    assert resident(server.pid) - before < 30 * MEGABYTE
    assert answers(server.address)


def test_a_client_that_opens_no_window_is_cut_off(echo: Server) -> None:
    before = resident(echo.pid)
    with RawClient(echo.address, settings={frames.INITIAL_WINDOW_SIZE: 0}) as miser:
        with pytest.raises((ConnectionError, TimeoutError)):
            for number in range(4000):
                miser.ask(2 * number + 1, bytes(100_000))
        assert number < 1500, "it was not cut off"
    assert resident(echo.pid) - before < 250 * MEGABYTE
    with channel(echo.address) as through:
        assert through.unary_unary(messages.PREDICT)(b"me", timeout=LONG) == b"me"


def test_a_slow_reader_gets_everything(echo: Server) -> None:
    """Answers of 1.6 MB through a window that opens bit by bit."""
    message = random.Random(2).randbytes(1_600_000)
    with channel(
        echo.address,
        **{
            "grpc.max_receive_message_length": -1,
            "grpc.http2.lookahead_bytes": 65_535,
            "grpc.http2.bdp_probe": 0,
        },
    ) as through:
        call = through.unary_unary(messages.PREDICT)
        futures = [call.future(message, timeout=LONG) for _ in range(8)]
        assert all(future.result() == message for future in futures)


def test_connections_are_limited_and_come_free_again() -> None:
    with server_process.embedded(["--backend=null", "--max-connections=5"]) as server:
        clients = [RawClient(server.address) for _ in range(5)]
        for client in clients:
            client.await_taken()
        with RawClient(server.address) as surplus:
            assert surplus.read_until_closed() == b""
        clients.pop().__exit__()
        eventually(lambda: _is_served(server.address))
        for client in clients:
            client.await_taken()
            client.__exit__()


def _is_served(address: str) -> bool:
    with RawClient(address) as client:
        try:
            client.await_taken()
        except (AssertionError, ConnectionError):
            return False
        return True


def test_two_thousand_idle_connections_cost_little_and_disturb_nobody(server: Server) -> None:
    before = resident(server.pid)
    idle = [RawClient(server.address) for _ in range(2000)]
    idle[-1].await_taken()
    assert answers(server.address)
    assert (resident(server.pid) - before) / len(idle) < 20_000
    for client in idle:
        client.__exit__()
    assert answers(server.address)


def test_many_clients_at_once_get_their_own_answers(echo: Server) -> None:
    def work(number: int) -> None:
        rng = random.Random(number)
        with channel(echo.address, **{"grpc.use_local_subchannel_pool": 1}) as through:
            call = through.unary_unary(messages.PREDICT)
            for _ in range(60):
                message = rng.randbytes(rng.choice([0, 1, 100, 5000, 200_000]))
                assert call(message, timeout=LONG) == message

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(16)))


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def ssl_config(folder: Path, authority: trustme.CA, *, verify: bool) -> Path:
    pair = authority.issue_cert("localhost", "127.0.0.1")
    certificate = b"".join(part.bytes() for part in pair.cert_chain_pems).decode()
    config = folder / "ssl.config"
    fields = {"server_key": pair.private_key_pem.bytes().decode(), "server_cert": certificate}
    if verify:
        fields["custom_ca"] = authority.cert_pem.bytes().decode()
    text = "".join(f"{name}: {_quoted(value)}\n" for name, value in fields.items())
    config.write_text(text + f"client_verify: {str(verify).lower()}\n")
    return config


def _quoted(text: str) -> str:
    return '"' + text.replace("\n", "\\n") + '"'


def test_tls(tmp_path: Path, authority: trustme.CA) -> None:
    config = ssl_config(tmp_path, authority, verify=False)
    large = random.Random(3).randbytes(3_000_000)
    with server_process.embedded(["--backend=null", "--echo", f"--ssl_config_file={config}"]) as server:
        credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
        options = [("grpc.max_receive_message_length", -1)]
        with grpc.secure_channel(server.address, credentials, options) as through:
            call = through.unary_unary(messages.PREDICT)
            assert call(b"small", timeout=LONG) == b"small"
            futures = [call.future(large, timeout=LONG) for _ in range(3)]
            assert all(future.result() == large for future in futures)
        with channel(server.address) as through, pytest.raises(grpc.RpcError) as plain:
            through.unary_unary(messages.PREDICT)(b"", timeout=LONG)
        assert plain.value.code() is grpc.StatusCode.UNAVAILABLE
        host, port = server.address.split(":")
        for protocols, expected in ((["h2"], "h2"), (["http/1.1"], None)):
            context = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
            context.set_alpn_protocols(protocols)
            with (
                socket.create_connection((host, int(port)), LONG) as sock,
                context.wrap_socket(sock, server_hostname=host) as tls,
            ):
                assert tls.selected_alpn_protocol() == expected
                if expected is None:
                    assert tls.recv(100) == b""


def test_mutual_tls(tmp_path: Path, authority: trustme.CA) -> None:
    config = ssl_config(tmp_path, authority, verify=True)
    with server_process.embedded(["--backend=null", "--echo", f"--ssl_config_file={config}"]) as server:
        client = authority.issue_cert("client@model.test")
        root, key = authority.cert_pem.bytes(), client.private_key_pem.bytes()
        chain = b"".join(part.bytes() for part in client.cert_chain_pems)
        with grpc.secure_channel(server.address, grpc.ssl_channel_credentials(root, key, chain)) as through:
            assert through.unary_unary(messages.PREDICT)(b"known", timeout=LONG) == b"known"
        stranger = trustme.CA().issue_cert("client@model.test")
        other = grpc.ssl_channel_credentials(
            root, stranger.private_key_pem.bytes(), stranger.cert_chain_pems[0].bytes()
        )
        for credentials in (grpc.ssl_channel_credentials(root), other):
            with (
                grpc.secure_channel(server.address, credentials) as through,
                pytest.raises(grpc.RpcError) as refused,
            ):
                through.unary_unary(messages.PREDICT)(b"unknown", timeout=LONG)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_tls_handshakes_that_break_off_are_forgotten(tmp_path: Path, authority: trustme.CA) -> None:
    config = ssl_config(tmp_path, authority, verify=False)
    with server_process.embedded(["--backend=null", "--echo", f"--ssl_config_file={config}"]) as server:
        hello = b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03"
        for garbage in (b"", hello, hello + bytes(300), frames.PREFACE, b"GET / HTTP/1.1\r\n\r\n"):
            with RawClient(server.address, hello=False) as client:
                client.sock.sendall(garbage)
                client.sock.shutdown(socket.SHUT_WR)
                client.read_until_closed()
        credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
        with grpc.secure_channel(server.address, credentials) as through:
            assert through.unary_unary(messages.PREDICT)(b"still", timeout=LONG) == b"still"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "server_key is empty"),
        ('server_key: "x"', "server_cert is empty"),
        ('server_key: "x" server_cert: "y"', "not a matching PEM pair"),
        ('server_key: "x" server_cert: "y" client_verify: true', "client_verify needs custom_ca"),
        ("client_verify: maybe", "ssl.config: Error parsing"),
    ],
)
def test_tls_files_that_cannot_be_used(tmp_path: Path, text: str, complaint: str) -> None:
    from bench import BenchError
    from bench.server.net import tls

    path = tmp_path / "ssl.config"
    path.write_text(text)
    with pytest.raises(BenchError, match=complaint) as refused:
        tls.context(path)
    assert str(path) in str(refused.value)


def test_an_authority_that_is_no_ascii_is_refused(tmp_path: Path, authority: trustme.CA) -> None:
    from bench import BenchError
    from bench.server.net import tls

    path = ssl_config(tmp_path, authority, verify=False)
    path.write_text(path.read_text() + 'custom_ca: "\\303\\244"\n')
    with pytest.raises(BenchError, match="custom_ca holds no usable PEM certificates"):
        tls.context(path)


def test_memory_stays_flat_over_connections_and_calls(echo: Server) -> None:
    def round_of_calls() -> None:
        for _ in range(40):
            with RawClient(echo.address) as client:
                client.ask_all([b"x" * 2000] * 25)
                ended = 0
                for kind, flags, _stream, _payload in client.frames():
                    ended += kind == frames.HEADERS and bool(flags & frames.END_STREAM)
                    if ended == 25:
                        break

    round_of_calls()
    before = resident(echo.pid)
    started = time.monotonic()
    for _ in range(5):
        round_of_calls()
    assert resident(echo.pid) - before < MEGABYTE / 2, f"grew in {time.monotonic() - started:.1f} s"


def test_calls_that_were_cancelled_make_room_at_once() -> None:
    """On a bare socket: what one connection sends arrives in its order, while stock calls overtake each other."""
    flags = ["--backend=synthetic", "--service-time=constant(60s)", "--workers=1", "--max-in-flight=2"]
    call = RawClient.call(1, images(DIGIT))
    with server_process.embedded(flags) as server, RawClient(server.address) as client:
        for first in (1, 7, 13):
            streams = (first, first + 2, first + 4)
            client.sock.sendall(b"".join(RawClient.renumbered(call, stream) for stream in streams))
            ended = (
                stream for _, flags, stream, _ in client.frames() if flags & frames.END_STREAM and stream
            )
            assert next(ended) == first + 4, "an answer takes a minute: only a refusal comes at once"
            for stream in streams[:2]:
                client.sock.sendall(frames.rst_stream(stream, frames.CANCEL))
