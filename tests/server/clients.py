"""How tests ask a running server: stock gRPC, and bare sockets for what no client library would send."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from bench.launch.server_process import Server
from bench.wire import frames, messages
from bench.wire.messages import PredictRequest, PredictResponse, types_pb2

LONG = 30.0
"""Seconds after which an answer that should come at once is missing."""


@contextmanager
def channel(address: str, **options: Any) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(address, options=list(options.items())) as made:
        yield made


def images(values: Any, *, model: str = "default", signature: str = "predict_images", **spec: Any) -> bytes:
    """A PredictRequest with these images."""
    return tensor_request(
        {"images": np.asarray(values, np.float32)}, model=model, signature=signature, **spec
    )


def tensor_request(
    inputs: dict[str, np.ndarray[Any, Any]], *, model: str, signature: str = "", version: int | None = None
) -> bytes:
    request = PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    if version is not None:
        request.model_spec.version.value = version
    for alias, array in inputs.items():
        tensor = request.inputs[alias]
        tensor.dtype = _ENUMS[array.dtype.name]
        tensor.tensor_shape.SetInParent()
        for size in array.shape:
            tensor.tensor_shape.dim.add(size=size)
        if array.dtype == object:
            tensor.string_val.extend(array.ravel().tolist())
        else:
            tensor.tensor_content = array.tobytes()
    return request.SerializeToString()


_ENUMS = {
    "float32": types_pb2.DT_FLOAT,
    "float64": types_pb2.DT_DOUBLE,
    "int32": types_pb2.DT_INT32,
    "int64": types_pb2.DT_INT64,
    "object": types_pb2.DT_STRING,
}


def predict(through: grpc.Channel, request: bytes, timeout: float = LONG) -> dict[str, np.ndarray[Any, Any]]:
    """The float outputs by alias. Raises grpc.RpcError."""
    response = PredictResponse.FromString(through.unary_unary(messages.PREDICT)(request, timeout=timeout))
    return {
        alias: np.array(tensor.float_val, np.float32).reshape([dim.size for dim in tensor.tensor_shape.dim])
        for alias, tensor in response.outputs.items()
        if tensor.dtype == types_pb2.DT_FLOAT
    }


def refusal(through: grpc.Channel, request: bytes, method: str = messages.PREDICT) -> tuple[str, str]:
    """Status name and details of a call that must fail."""
    try:
        through.unary_unary(method)(request, timeout=LONG)
    except grpc.RpcError as error:
        return error.code().name, error.details()
    raise AssertionError("the call succeeded")


def serve(arguments: Sequence[str], **options: Any) -> "subprocess.Popen[bytes]":
    """`bench serve` as a user's shell starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "bench", "serve", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **{"stdin": subprocess.DEVNULL, **options},
    )


def ready(process: "subprocess.Popen[bytes]") -> dict[str, Any]:
    """The readiness line."""
    line = process.stdout.readline()
    assert line, process.stderr.read().decode()
    return json.loads(line)


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class RawClient:
    """A socket that speaks as much HTTP/2 as a test wants."""

    def __init__(self, address: str, *, settings: dict[int, int] | None = None, hello: bool = True) -> None:
        host, port = address.rsplit(":", 1)
        self.sock = socket.create_connection((host, int(port)), timeout=LONG)
        self._buffer = b""
        if hello:
            self.sock.sendall(frames.PREFACE + frames.settings(settings or {}))

    def ask(self, stream: int, message: bytes, *, whole: bool = True) -> None:
        """Send a Predict call; without its end where it is not `whole`."""
        self.sock.sendall(self.call(stream, message, whole=whole))

    def ask_all(self, requests: Sequence[bytes]) -> None:
        """Send Predict calls in one piece, on the streams 1, 3, 5, ..."""
        self.sock.sendall(b"".join(self.call(2 * at + 1, each) for at, each in enumerate(requests)))

    @staticmethod
    def call(stream: int, message: bytes, *, whole: bool = True) -> bytes:
        """The bytes of a Predict call."""
        block = b"".join(
            b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value
            for name, value in (
                (b":method", b"POST"),
                (b":scheme", b"http"),
                (b":path", messages.PREDICT.encode()),
                (b"te", b"trailers"),
                (b"content-type", b"application/grpc"),
            )
        )
        body = b"\0" + len(message).to_bytes(4, "big") + message
        pieces = [body[at : at + 16_384] for at in range(0, len(body), 16_384)]
        data = b"".join(
            frames.frame(
                frames.DATA, frames.END_STREAM if whole and number == len(pieces) - 1 else 0, stream, piece
            )
            for number, piece in enumerate(pieces)
        )
        return frames.frame(frames.HEADERS, frames.END_HEADERS, stream, block) + data

    @staticmethod
    def renumbered(call: bytes, stream: int) -> bytes:
        """The same call, of HEADERS and one DATA frame, on another stream."""
        number, second = stream.to_bytes(4, "big"), frames.HEAD_SIZE + int.from_bytes(call[:3], "big")
        return call[:5] + number + call[9 : second + 5] + number + call[second + 9 :]

    def await_taken(self) -> None:
        """Return when the server has handled everything that was sent: it answers a PING in its turn."""
        self.sock.sendall(frames.frame(frames.PING, 0, 0, b"in turn?"))
        for kind, flags, _stream, _payload in self.frames():
            if kind == frames.PING and flags & frames.ACK:
                return
        raise AssertionError("the server closed the connection")

    def read_until_closed(self) -> bytes:
        """Everything that the server still sends."""
        received = bytearray()
        try:
            while data := self.sock.recv(65_536):
                received += data
        except ConnectionResetError:
            pass
        return bytes(received)

    def frames(self) -> Iterator[tuple[int, int, int, bytes]]:
        """(type, flags, stream, payload) of what the server sends."""
        while True:
            while (size := self._frame_size()) is None:
                data = self.sock.recv(65_536)
                if not data:
                    return
                self._buffer += data
            word, flags, stream = frames.HEAD.unpack_from(self._buffer)
            payload, self._buffer = self._buffer[frames.HEAD_SIZE : size], self._buffer[size:]
            yield word & 0xFF, flags, stream, payload

    def _frame_size(self) -> int | None:
        """Bytes of the first frame in the buffer, if it is whole."""
        if len(self._buffer) < frames.HEAD_SIZE:
            return None
        size = frames.HEAD_SIZE + int.from_bytes(self._buffer[:3], "big")
        return size if len(self._buffer) >= size else None

    def __enter__(self) -> "RawClient":
        return self

    def __exit__(self, *exception: object) -> None:
        self.sock.close()


def eventually(condition: Any, seconds: float = LONG) -> None:
    """Wait until the condition holds; a bounded wait for what another process does."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never came to pass"
        time.sleep(0.01)


@contextmanager
def arriving_together(server: Server, size: int) -> Iterator[None]:
    """What the block sends reaches the server at once: it stands still until that many bytes wait for it."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
        eventually(lambda: unread(server.address) >= size)
    finally:
        os.kill(server.pid, signal.SIGCONT)


def unread(address: str) -> int:
    """Bytes that have reached the sockets connected to a local server's port and that it has not read yet."""
    port = f":{int(address.rsplit(':', 1)[1]):04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(int(row[4].partition(":")[2], 16) for row in rows if row[1].endswith(port) and row[3] == "01")
