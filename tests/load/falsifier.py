"""A TCP proxy before a server that falsifies some of its answers, as a broken cache or a mixed-up batch does."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Literal

from bench.wire.messages import PredictResponse

Kind = Literal["flip", "swap", "stale"]
HEAD = 9
"""Bytes of an HTTP/2 frame's head: length (3), type, flags, stream (4)."""
DATA = 0
PATIENCE = 0.1
"""Seconds that an answer is held back for another one."""
PREFIX = 5
"""gRPC's bytes before a message."""


class Falsifier:
    """Falsifies every so many-th answer of all connections; what goes to the server passes as it is.

    flip: another class is the most probable. swap: two callers get each other's answer. stale: another version's
    name. Each answer has to lie in one DATA frame, as those of a few kilobytes do. The first `honest` pass as they are.
    """

    def __init__(self, target: str, every: int, kinds: tuple[Kind, ...], honest: int = 0) -> None:
        host, _, port = target.rpartition(":")
        self._target, self._every, self._kinds = (host, int(port)), every, kinds
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.falsified = dict.fromkeys(("flip", "swap", "stale"), 0)
        """Answers by the way in which they were falsified; of swapped ones, those that differ from the right one."""
        self._answers = -honest
        self._sockets = [self._listener]
        self._counting = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            self._sockets += [client, server]
            for sock in (client, server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for work in (self._pass_on, self._pass_back):
                threading.Thread(target=_until_lost, args=(work, client, server), daemon=True).start()

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        while data := _received(client):
            server.sendall(data)
        server.close()

    def _pass_back(self, client: socket.socket, server: socket.socket) -> None:
        """Frame by frame; an answer waits for the next one, which it is swapped with, but not for ever."""
        rest, out = bytearray(), bytearray()
        waiting: slice | None = None
        server.settimeout(PATIENCE)
        while True:
            try:
                data = server.recv(1 << 18)
            except TimeoutError:
                waiting = None
                client.sendall(out)
                out.clear()
                continue
            if not data:
                return
            rest += data
            start = 0
            while len(rest) - start >= HEAD:
                stop = start + HEAD + int.from_bytes(rest[start : start + 3])
                if len(rest) < stop:
                    break
                out += rest[start:stop]
                if rest[start + 3] == DATA and stop - start > HEAD + PREFIX:
                    place = slice(len(out) - (stop - start - HEAD), len(out))
                    waiting = self._falsify(out, place, waiting)
                start = stop
            del rest[:start]
            ready = len(out) if waiting is None else waiting.start - HEAD
            client.sendall(out[:ready])
            del out[:ready]
            if waiting is not None:
                waiting = slice(HEAD, HEAD + waiting.stop - waiting.start)

    def _falsify(self, out: bytearray, place: slice, waiting: slice | None) -> slice | None:
        """Falsify the answer at `place` where it is its turn; gives the place of one that waits to be swapped."""
        if waiting is not None:
            if place.stop - place.start != waiting.stop - waiting.start:
                return waiting
            differ = out[place] != out[waiting]
            out[place], out[waiting] = out[waiting], out[place]
            self.falsified["swap"] += 2 * differ
            return None
        with self._counting:
            self._answers += 1
            turn, left = divmod(self._answers, self._every)
        if left or turn <= 0:
            return None
        kind = self._kinds[turn % len(self._kinds)]
        if kind == "swap":
            return place
        message = out[place.start + PREFIX : place.stop]
        false = _flipped(message) if kind == "flip" else _stale(message)
        if len(false) == len(message) and false != message:
            out[place.start + PREFIX : place.stop] = false
            self.falsified[kind] += 1
        return None


def _until_lost(
    work: Callable[[socket.socket, socket.socket], None], client: socket.socket, server: socket.socket
) -> None:
    """Pass on until either side has closed its end."""
    with suppress(OSError):
        work(client, server)


def _received(sock: socket.socket) -> bytes:
    """What has come; nothing where the connection has ended."""
    try:
        return sock.recv(1 << 18)
    except OSError:
        return b""


def _flipped(message: bytearray) -> bytes:
    """The values of each output moved by one place."""
    response = PredictResponse.FromString(bytes(message))
    for tensor in response.outputs.values():
        if tensor.tensor_content:
            tensor.tensor_content = tensor.tensor_content[-4:] + tensor.tensor_content[:-4]
        else:
            values = list(tensor.float_val)
            tensor.float_val[:] = values[-1:] + values[:-1]
    flipped: bytes = response.SerializeToString()
    return flipped


def _stale(message: bytearray) -> bytes:
    """Another version's number, of the same length."""
    response = PredictResponse.FromString(bytes(message))
    response.model_spec.version.value ^= 2
    stale: bytes = response.SerializeToString()
    return stale


@contextmanager
def falsifier(target: str, every: int, kinds: tuple[Kind, ...], honest: int = 0) -> Iterator[Falsifier]:
    """A falsifier before a server for the length of the block."""
    proxy = Falsifier(target, every, kinds, honest)
    try:
        yield proxy
    finally:
        proxy.close()
