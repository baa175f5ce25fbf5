"""Foreign servers of one test service, each in a process of its own: python -m tests.wire.peer KIND [FOLDER]

KIND is grpcio-sync, grpcio-aio or own (our server role); grpcio-narrow (one stream at a time, windows of a few bytes)
or grpcio-aging (GOAWAY to each connection after 0.3 s). grpcio's send keepalive pings all the time. With FOLDER, which holds server.pem and ca.pem, the server
speaks TLS and insists on client certificates. It prints its port and ends with its standard input.

The service: Echo gives the message back; Fail ends with the status and details in the metadata; Sleep answers after
that many seconds; Gzip answers compressed; Report tells what the server saw, as JSON; Grow answers as many bytes as
the message says. Our own server takes Predict, for benchmarks, as Echo.
"""

import asyncio
import json
import os
import sys
import threading
from collections.abc import Sequence
from concurrent import futures
from functools import partial
from pathlib import Path
from typing import Any

import grpc

METHODS = ("Echo", "Fail", "Sleep", "Gzip", "Report", "Grow", "Predict")
CODES = {code.value[0]: code for code in grpc.StatusCode}
OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 100),
    ("grpc.keepalive_timeout_ms", 300),
    ("grpc.http2.max_pings_without_data", 0),
]
NARROW = [("grpc.max_concurrent_streams", 1), ("grpc.http2.lookahead_bytes", 8), ("grpc.http2.bdp_probe", 0)]
AGING = [("grpc.max_connection_age_ms", 300), ("grpc.max_connection_age_grace_ms", 2000)]


def work(method: str, message: bytes, metadata: dict[str, str], left: float | None, peer: str) -> bytes:
    """What a method answers, where it is not a matter of time, status or coding."""
    if method == "Report":
        return json.dumps({"metadata": metadata, "left": left, "peer": peer, "size": len(message)}).encode()
    if method == "Grow":
        return bytes(int(message))
    return message


def left_of(context: Any) -> float | None:
    """grpcio says about 1e10 seconds, or None, where the call has no limit."""
    left = context.time_remaining()
    return left if left is not None and left < 1e9 else None


def as_text(metadata: Any) -> dict[str, str]:
    return {name: value if isinstance(value, str) else value.hex() for name, value in metadata or ()}


def sync_method(method: str) -> Any:
    def answer(message: bytes, context: grpc.ServicerContext) -> bytes:
        metadata = as_text(context.invocation_metadata())
        if method == "Fail":
            context.abort(CODES[int(metadata["code"])], bytes.fromhex(metadata["details-bin"]).decode())
        if method == "Sleep":
            threading.Event().wait(float(metadata["seconds"]))
        if method == "Gzip":
            context.set_compression(grpc.Compression.Gzip)
        return work(method, message, metadata, left_of(context), context.peer())

    return grpc.unary_unary_rpc_method_handler(answer)


def aio_method(method: str) -> Any:
    async def answer(message: bytes, context: grpc.aio.ServicerContext) -> bytes:
        metadata = as_text(context.invocation_metadata())
        if method == "Fail":
            await context.abort(CODES[int(metadata["code"])], bytes.fromhex(metadata["details-bin"]).decode())
        if method == "Sleep":
            await asyncio.sleep(float(metadata["seconds"]))
        if method == "Gzip":
            context.set_compression(grpc.Compression.Gzip)
        return work(method, message, metadata, left_of(context), context.peer())

    return grpc.unary_unary_rpc_method_handler(answer)


def bind(server: Any, folder: Path | None) -> int:
    if folder is None:
        return int(server.add_insecure_port("127.0.0.1:0"))
    pem = (folder / "server.pem").read_bytes()
    credentials = grpc.ssl_server_credentials([(pem, pem)], (folder / "ca.pem").read_bytes(), True)
    return int(server.add_secure_port("127.0.0.1:0", credentials))


def handlers(make: Any) -> Any:
    return grpc.method_handlers_generic_handler("t.Test", {method: make(method) for method in METHODS})


def run_sync(folder: Path | None, special: Sequence[tuple[str, int]] = ()) -> None:
    server = grpc.server(futures.ThreadPoolExecutor(16), options=[*OPTIONS, *special])
    server.add_generic_rpc_handlers((handlers(sync_method),))
    port = bind(server, folder)
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    os._exit(0)  # not waiting for the threads that still sleep


def run_aio(folder: Path | None) -> None:
    async def main() -> None:
        server = grpc.aio.server(options=OPTIONS)
        server.add_generic_rpc_handlers((handlers(aio_method),))
        port = bind(server, folder)
        await server.start()
        print(port, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await server.stop(None)

    asyncio.run(main())


def run_own(folder: Path | None) -> None:
    import gevent
    import gevent.os

    from bench.wire.unary import Request, binary_value
    from tests.wire.certificates import Certificates
    from tests.wire.servers import Peer, Server

    def answer(peer: Peer, request: Request) -> None:
        method = request.path.rpartition("/")[2]
        metadata = {
            name: binary_value(value).hex() if name.endswith("-bin") else value
            for name, value in request.metadata
        }
        respond = peer.connection.respond
        if method not in METHODS:
            respond(request.stream, 12, "Method not found!")
        elif method == "Fail":
            respond(request.stream, int(metadata["code"]), bytes.fromhex(metadata["details-bin"]).decode())
        elif method == "Sleep":
            gevent.spawn_later(float(metadata["seconds"]), late, peer, request)
        else:
            where = f"ipv4:{peer.sock.getpeername()[0]}:{peer.sock.getpeername()[1]}"
            respond(request.stream, message=work(method, request.message, metadata, request.timeout, where))

    def late(peer: Peer, request: Request) -> None:
        peer.connection.respond(request.stream, message=request.message)
        peer.flush()

    context = None
    if folder is not None:
        files = Certificates(*(folder / f"{name}.pem" for name in ("ca", "server", "client", "stranger")))
        context = files.server_context(ask_client=True)
    print(Server(answer, context=context).port, flush=True)
    gevent.os.make_nonblocking(0)
    gevent.os.nb_read(0, 1)


if __name__ == "__main__":
    kinds = {
        "grpcio-sync": run_sync,
        "grpcio-aio": run_aio,
        "grpcio-narrow": partial(run_sync, special=NARROW),
        "grpcio-aging": partial(run_sync, special=AGING),
        "own": run_own,
    }
    kinds[sys.argv[1]](Path(sys.argv[2]) if len(sys.argv) > 2 else None)
