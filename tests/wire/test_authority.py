"""The :authority of calls."""

import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import hpack
import pytest
from gevent.server import StreamServer

from bench import BenchError
from bench.wire import frames
from bench.wire.client import Channel
from bench.wire.dial import TLS, authority_of
from tests.wire.calls import ECHO
from tests.wire.certificates import issue
from tests.wire.wires import answer_frames, read_frames


@pytest.mark.parametrize("tls_name", [None, "model.test"])
@pytest.mark.parametrize("authority", [None, "mnist.default.example.com"])
def test_the_authority_is_the_chosen_name(
    tmp_path: Path, tls_name: str | None, authority: str | None
) -> None:
    """Also beside another name for the server's certificate."""
    files = issue(tmp_path)
    heads: list[dict[bytes, bytes]] = []

    def read(sock: Any, _: Any) -> None:
        sock.sendall(frames.settings({}))
        data = b""
        while part := sock.recv(65_536):
            data += part
            with suppress(AssertionError, struct.error):  # a frame is still on its way
                for kind, _flags, stream, payload in read_frames(data):
                    if kind == frames.HEADERS and not heads:
                        heads.append(dict(hpack.Decoder().decode(payload, raw=True)))
                        sock.sendall(answer_frames(stream, b"x"))

    secure = {"ssl_context": files.server_context()} if tls_name else {}
    server = StreamServer(("127.0.0.1", 0), read, **secure)
    server.start()
    address = f"127.0.0.1:{server.server_port}"
    tls = TLS(ca=files.ca, server_name=tls_name) if tls_name else None
    channel = Channel(address, tls=tls, authority=authority)
    assert channel.call(ECHO, b"x", 10).status == 0
    assert heads[0][b":authority"].decode() == (authority or tls_name or address)
    channel.close()
    server.stop(timeout=0)


@pytest.mark.parametrize("name", ["", " ", "a b", "http://x", "x/y", "x@y", "x:", "größer", "x\r\ny"])
def test_other_authorities_are_refused(name: str) -> None:
    with pytest.raises(BenchError, match="--authority"):
        authority_of(name)
