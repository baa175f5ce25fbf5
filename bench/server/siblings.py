"""Connections between the processes that share one port.

The kernel gives a client to any of them, so each listens on a UNIX socket too, in a folder that is theirs alone:
there the others ask it, over HTTP, what only it knows.
"""

import contextlib
import http.client
import json
import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from bench import BenchError
from bench.server.net import http1, ports
from bench.server.net.web import Web
from bench.server.refusal import Code, Refusal

Result = bytes | Refusal
Answer = Callable[[str, bytes, float | None], bytes]
"""(subject, content, seconds to wait at most) -> what this process has to say; raises `Refusal`; thread-safe."""

_SECONDS: Final = 10.0
"""For a process to answer what it knows, or beyond the time that it may wait."""
_LONGEST: Final = 7 * 86_400.0
"""Seconds; a reload may wait for a model that never comes."""
_THREADS: Final = 32
_LARGEST: Final = 1 << 28
_REFUSED: Final = 409


class Siblings:
    """The processes of one server, this one among them."""

    def __init__(self, folder: Path) -> None:
        """Raises BenchError where the folder cannot hold a socket."""
        self._folder = folder
        self._path = folder / f"{os.getpid()}.sock"
        try:
            self._listener = ports.bound_unix(self._path)
        except OSError as error:
            raise BenchError(
                f"{self._path}: the server's processes cannot meet there ({error.strerror or error}); "
                "name another folder in TMPDIR"
            ) from None
        self._web: Web | None = None

    def answer_with(self, answer: Answer) -> None:
        """Answer the others from now on."""
        limits = http1.Limits(_THREADS, _LONGEST, connections=1024, body_bytes=_LARGEST)
        self._web = Web(self._listener, _Responder(answer), limits)
        self._web.start()

    def ask_all(self, subject: str, content: bytes = b"", timeout: float | None = _SECONDS) -> list[Result]:
        """What each process says, this one included. Raises `Refusal` where one cannot be reached."""
        paths = sorted(self._folder.glob("*.sock"))
        with ThreadPoolExecutor(len(paths)) as pool:
            return list(pool.map(lambda path: _answer_of(path, subject, content, timeout), paths))

    def ask_first(self, subject: str, content: bytes, timeout: float | None) -> Result:
        """What that process says which all agree to be the first."""
        return _answer_of(min(self._folder.glob("*.sock")), subject, content, timeout)

    def close(self) -> None:
        """Answer nobody any more; the last one to leave removes the folder."""
        if self._web is not None:
            self._web.stop(0.0)
        self._listener.close()
        self._path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._folder.rmdir()


@contextlib.contextmanager
def joined(folder: str) -> Iterator[Siblings | None]:
    """Join this process to those that meet in the folder; None where it is the only one."""
    if not folder:
        yield None
        return
    siblings = Siblings(Path(folder))
    try:
        yield siblings
    finally:
        siblings.close()


class _Responder:
    """Answers over HTTP: 200 with what is said, or 409 with a status and its text."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def __call__(self, _method: str, target: str, _headers: object, content: bytes) -> http1.Plain:
        subject, _, seconds = target.removeprefix("/").partition("?")
        try:
            return http1.Plain(200, self._answer(subject, content, float(seconds) if seconds else None))
        except Refusal as refusal:
            return http1.Plain(_REFUSED, json.dumps([int(refusal.code), refusal.text]).encode())


class _Connection(http.client.HTTPConnection):
    """HTTP over a UNIX socket."""

    def __init__(self, path: Path, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _answer_of(path: Path, subject: str, content: bytes, timeout: float | None) -> Result:
    connection = _Connection(path, None if timeout is None else timeout + _SECONDS)
    try:
        connection.request("POST", f"/{subject}?{'' if timeout is None else timeout}", content)
        response = connection.getresponse()
        answer = response.read()
    except (OSError, http.client.HTTPException) as error:
        text = f"process {path.stem} of this server does not answer: {error or type(error).__name__}"
        raise Refusal(Code.UNAVAILABLE, text) from None
    finally:
        connection.close()
    if response.status == _REFUSED:
        return Refusal(*json.loads(answer))
    if response.status != 200:
        raise Refusal(Code.UNAVAILABLE, f"process {path.stem} of this server answers {response.status}")
    return answer
