"""Addresses are understood, and TLS is as strict and as capable as it has to be."""

from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from bench import BenchError
from bench.wire.client import Channel
from bench.wire.dial import TLS, Address
from tests.wire.certificates import Certificates, issue
from tests.wire.servers import Server, serving

ECHO = "/t.Test/Echo"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return issue(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def server(files: Certificates) -> Iterator[Server]:
    with serving(context=files.server_context()) as one:
        yield one


@pytest.mark.parametrize(
    ("text", "host", "port", "path", "authority"),
    [
        ("127.0.0.1:8500", "127.0.0.1", 8500, "", "127.0.0.1:8500"),
        ("model.test:1", "model.test", 1, "", "model.test:1"),
        ("[::1]:8500", "::1", 8500, "", "[::1]:8500"),
        ("dns:///model.test:8500", "model.test", 8500, "", "model.test:8500"),
        ("unix:/run/x.sock", "", 0, "/run/x.sock", "localhost"),
        ("unix:///run/x.sock", "", 0, "/run/x.sock", "localhost"),
        ("unix:x.sock", "", 0, "x.sock", "localhost"),
    ],
)
def test_addresses_are_read(text: str, host: str, port: int, path: str, authority: str) -> None:
    address = Address.parse(text)
    assert (address.host, address.port, address.path, address.authority) == (host, port, path, authority)


@pytest.mark.parametrize(
    "text",
    ["", "localhost", ":8500", "localhost:", "localhost:0", "localhost:65536", "localhost:x", "::1:8500", "http://localhost:1", "unix:", "a b:1", "localhost:٣"],
)  # fmt: skip
def test_other_addresses_are_refused_with_the_remedy(text: str) -> None:
    with pytest.raises(BenchError, match=r"expected host:port, \[ipv6\]:port or unix:/path"):
        Address.parse(text)


def answer(channel: Channel, content: bytes = b"x") -> tuple[int, str, bytes]:
    with gevent.Timeout(60):
        reply = channel.call(ECHO, content)
    channel.close()
    return reply.status, reply.details, reply.message


def test_a_trusted_server_is_called_over_tls(server: Server, files: Certificates) -> None:
    content = bytes(range(256)) * 10_000
    assert answer(Channel(server.address, tls=TLS(ca=files.ca)), content) == (0, "", content)


def test_more_than_the_kernel_takes_at_once_passes_through_tls(server: Server, files: Certificates) -> None:
    channel = Channel(server.address, tls=TLS(ca=files.ca))
    channel.connect(60)
    calls = [gevent.spawn(channel.call, ECHO, bytes([n]) * 8_000_000) for n in range(4)]
    assert [call.get(timeout=30).message for call in calls] == [bytes([n]) * 8_000_000 for n in range(4)]
    assert channel.sent_calls == 4
    channel.close()


def test_many_calls_pass_through_tls(server: Server, files: Certificates) -> None:
    channel = Channel(server.address, tls=TLS(ca=files.ca))
    channel.connect(60)
    calls = [gevent.spawn(channel.call, ECHO, b"%d" % n * 500) for n in range(300)]
    assert [call.get(timeout=60).message for call in calls] == [b"%d" % n * 500 for n in range(300)]
    channel.close()


def test_an_unknown_authority_is_refused(server: Server, files: Certificates) -> None:
    for tls in (TLS(ca=files.stranger), TLS()):
        status, details, _ = answer(Channel(server.address, tls=tls))
        assert status == 14
        assert "certificate verify failed" in details.lower().replace("_", " ")


@pytest.mark.parametrize("server_name", [None, "other.test"])
def test_waiting_for_an_untrusted_server_ends_at_once_with_the_remedy(
    server: Server, files: Certificates, server_name: str | None
) -> None:
    channel = Channel(server.address, tls=TLS(ca=files.ca if server_name else None, server_name=server_name))
    with (
        gevent.Timeout(30),
        pytest.raises(BenchError, match=r"certificate.*--grpc-tls-ca.*--grpc-tls-server-name"),
    ):
        channel.connect(1000)
    channel.close()


def test_a_certificate_for_another_name_is_refused_unless_the_name_is_given(
    server: Server, files: Certificates
) -> None:
    status, details, _ = answer(Channel(server.address, tls=TLS(ca=files.ca, server_name="other.test")))
    assert status == 14
    assert "mismatch" in details.lower()
    assert answer(Channel(server.address, tls=TLS(ca=files.ca, server_name="model.test")))[0] == 0


def test_a_server_that_asks_for_a_certificate_gets_it(files: Certificates) -> None:
    with serving(context=files.server_context(ask_client=True)) as server:
        assert answer(Channel(server.address, tls=TLS(ca=files.ca, certificate=files.client)))[0] == 0
        assert (
            answer(Channel(server.address, tls=TLS(ca=files.ca, certificate=files.client, key=files.client)))[
                0
            ]
            == 0
        )
        status, details, _ = answer(Channel(server.address, tls=TLS(ca=files.ca)))
        assert status == 14
        assert details.startswith("failed to connect")


def test_a_server_without_alpn_is_named(files: Certificates) -> None:
    with serving(context=files.server_context(http2=False)) as server:
        status, details, _ = answer(Channel(server.address, tls=TLS(ca=files.ca)))
        assert status == 14
        assert "ALPN h2" in details


def test_plain_text_and_tls_do_not_mix(server: Server, files: Certificates) -> None:
    assert answer(Channel(server.address))[0] == 14
    with serving() as plain:
        status, details, _ = answer(Channel(plain.address, tls=TLS(ca=files.ca)))
        assert status == 14
        assert "the server does not speak TLS" in details


def test_a_restart_under_tls_is_survived(server: Server, files: Certificates) -> None:
    channel = Channel(server.address, tls=TLS(ca=files.ca))
    assert channel.call(ECHO, b"1").message == b"1"
    server.drop()
    gevent.sleep(0.05)
    assert channel.call(ECHO, b"2").message == b"2"
    channel.close()


@pytest.mark.parametrize(
    ("tls", "text"),
    [
        (TLS(ca=Path("/nowhere/ca.pem")), "/nowhere/ca.pem"),
        (TLS(certificate=Path("/nowhere/client.pem")), "/nowhere/client.pem"),
        (TLS(key=Path("/nowhere/key.pem")), "without a client certificate"),
    ],
)
def test_unusable_files_are_named(tls: TLS, text: str) -> None:
    with pytest.raises(BenchError, match=text):
        Channel("127.0.0.1:1", tls=tls)


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("not a certificate")
    with pytest.raises(BenchError, match=r"wrong\.pem"):
        Channel("127.0.0.1:1", tls=TLS(ca=wrong))
