"""What one client can send to keep a server busy, as data: bytes of calls, and bodies of REST requests."""

import gzip
import http.client
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from bench.protocol import oip_messages
from bench.wire import frames, messages
from bench.wire.field_limits import MOST_FIELDS
from tests.server.clients import LONG, images

_MIB = 1 << 20


@dataclass(frozen=True)
class Attack:
    """One round of it."""

    calls: list[bytes] = field(default_factory=list)
    """gRPC messages with their prefix; each is one call."""
    path: str = messages.PREDICT
    encoding: bytes = b"identity"
    block: bytes | None = None
    """A header block instead of the usual one."""
    body: bytes = b""
    """Of a REST request."""
    packed: bool = False

    def send(self, address: str, rest: str) -> None:
        """Send all of it on a connection of its own, and wait for the last answer."""
        if self.body:
            self._post(rest)
        else:
            self._call(address)

    def _post(self, rest: str) -> None:
        headers = {"Content-Encoding": "gzip"} if self.packed else {}
        connection = http.client.HTTPConnection(rest, timeout=4 * LONG)
        connection.request("POST", "/v1/models/mnist:predict", self.body, headers)
        connection.getresponse().read()
        connection.close()

    def _call(self, address: str) -> None:
        host, port = address.rsplit(":", 1)
        content = bytearray(frames.PREFACE + frames.settings({frames.INITIAL_WINDOW_SIZE: 1 << 30}))
        block = self.block or _block(self.path, self.encoding)
        for number, call in enumerate(self.calls):
            stream = 2 * number + 1
            content += frames.frame(frames.HEADERS, frames.END_HEADERS, stream, block)
            pieces = [call[at : at + 16_384] for at in range(0, len(call), 16_384)]
            for piece in pieces[:-1]:
                content += frames.frame(frames.DATA, 0, stream, piece)
            content += frames.frame(frames.DATA, frames.END_STREAM, stream, pieces[-1])
        with socket.create_connection((host, int(port)), timeout=4 * LONG) as sock:
            sock.sendall(content)
            ended, data = 0, b""
            while ended < len(self.calls):
                received = sock.recv(1 << 16)
                if not received:
                    return
                data += received
                while len(data) >= frames.HEAD_SIZE and len(data) >= 9 + (
                    size := int.from_bytes(data[:3], "big")
                ):
                    ended += data[3] == frames.RST_STREAM or (
                        data[3] == frames.HEADERS and bool(data[4] & frames.END_STREAM)
                    )
                    data = data[9 + size :]


def _literal(name: bytes, value: bytes) -> bytes:
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def _block(path: str, encoding: bytes) -> bytes:
    return b"".join(
        _literal(name, value)
        for name, value in (
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", path.encode()),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
            (b"grpc-encoding", encoding),
        )
    )


def _prefixed(message: bytes, flag: int = 0) -> bytes:
    return bytes([flag]) + len(message).to_bytes(4, "big") + message


def _json(count: int) -> bytes:
    digits = np.random.default_rng(1).random((count, 28, 28, 1), np.float32)
    return json.dumps({"signature_name": "predict_images", "instances": digits.tolist()}).encode()


def _integers(count: int) -> bytes:
    request = messages.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "mnist", "predict_images"
    tensor = request.inputs["images"]
    tensor.dtype = 9
    tensor.int64_val.extend([1] * count)
    return bytes(request.SerializeToString())


def _typed(count: int) -> bytes:
    request = oip_messages.ModelInferRequest(model_name="mnist")
    tensor = request.inputs.add(name="images", datatype="INT32", shape=[count])
    tensor.contents.int_contents.extend([1] * count)
    return bytes(request.SerializeToString())


def _fields(count: int) -> bytes:
    request = messages.PredictRequest()
    request.inputs["images"].string_val.extend([b""] * count)
    return bytes(request.SerializeToString())


def _texts(count: int) -> bytes:
    request = messages.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "mnist", "predict_images"
    tensor = request.inputs["images"]
    tensor.dtype = 7
    tensor.tensor_shape.dim.add(size=count)
    tensor.tensor_content = bytes(count)
    return bytes(request.SerializeToString())


HONEST = images(np.zeros((1, 28, 28, 1)), model="mnist")
ATTACKS: dict[str, Callable[[], Attack]] = {
    "2 MB of JSON": lambda: Attack(body=_json(120)),
    "gzip JSON that unpacks to 200 times its size": lambda: Attack(
        body=gzip.compress(b"[" + b"1," * (12 * _MIB) + b"1]", mtime=0), packed=True
    ),
    "20 gzip messages of 4 kB that unpack to 4 MiB": lambda: Attack(
        calls=[_prefixed(gzip.compress(bytes(4 * _MIB), mtime=0), 1)] * 20, encoding=b"gzip"
    ),
    "8 gzip messages of 0.3 MB that unpack to a hundred times": lambda: Attack(
        calls=[
            _prefixed(gzip.compress(np.random.default_rng(1).bytes(220_000) + bytes(20 * _MIB), mtime=0), 1)
        ]
        * 8,
        encoding=b"gzip",
    ),
    "8 times 2 MB of integers": lambda: Attack(calls=[_prefixed(_integers(2 * _MIB))] * 8),
    "8 times 2 MB of typed integers (ModelInfer)": lambda: Attack(
        calls=[_prefixed(_typed(2 * _MIB))] * 8, path=oip_messages.MODEL_INFER
    ),
    "6 messages with as many fields as are allowed": lambda: Attack(
        calls=[_prefixed(_fields(MOST_FIELDS - 10))] * 6
    ),
    "2 MB of empty texts": lambda: Attack(calls=[_prefixed(_texts(2 * _MIB))] * 4),
    "a header block of 60,000 size updates": lambda: Attack(
        calls=[_prefixed(HONEST)], block=b"\x20" * 60_000
    ),
    "200 header blocks of 60 kB": lambda: Attack(
        calls=[_prefixed(HONEST)] * 200,
        block=_block(messages.PREDICT, b"identity") + _literal(b"x", b"y" * 100) * 570,
    ),
}
"""One round of each, by what it is."""
