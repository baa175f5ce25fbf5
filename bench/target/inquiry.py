"""Questions to a server about itself and its models, and what it answers."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

from bench import BenchError
from bench.protocol.api import (
    Api,
    Call,
    Description,
    Expected,
    Model,
    Refused,
    Response,
    Unreadable,
    VersionState,
)
from bench.runs.sample import STATUS_NAMES
from bench.wire.client import Channel
from bench.wire.reply import Reply

UNIMPLEMENTED: Final = STATUS_NAMES.index("UNIMPLEMENTED")


@dataclass(frozen=True)
class Inquiry:
    """Whom to ask about which model by which protocol, and how long to wait."""

    channel: Channel
    host: str
    api: Api
    model: str
    version: int | None = None
    label: str | None = None
    timeout: float = 10.0
    awaited: Callable[[str, float], AbstractContextManager[None]] = lambda *_: nullcontext()
    """Entered around each call: what is waited for, and for how many seconds at most."""

    @property
    def spec(self) -> Model:
        """Which model is asked about."""
        return Model(self.model, self.version, self.label)

    @property
    def where(self) -> str:
        """Server and model, for texts."""
        return f"{self.host}, model {self.model}"

    def ask(self, method: str, message: bytes) -> bytes:
        """As `bench.protocol.api.Ask`."""
        return self._reply(method, message).message

    def predict(self, request: Any, output: str) -> tuple[Response, float]:
        """The answer to a PredictRequest, and seconds from handing it to the kernel to reading the last byte.

        output: whose values are wanted. Raises BenchError, with the server's own words where it refuses.
        """
        call = self.api.encode(request.SerializeToString())
        reply = self._reply(*call)
        expected = Expected(output, self.model, self.version)
        try:
            response = self.api.decode(self.api.read(reply.message, expected))
        except Exception as error:
            text = (
                str(error) if isinstance(error, Unreadable) else f"the answer is not a prediction ({error})"
            )
            raise BenchError(f"{self.where}: {text}") from error
        return response, reply.done - (reply.sent or reply.done)

    def send(self, call: Call, timeout: float, subject: str) -> Reply:
        """How a call ends; what: it is, for who waits for it."""
        with self.awaited(f"the answer of {self.host} to {subject}", timeout):
            return self.channel.call(*call, timeout)

    def _reply(self, method: str, message: bytes) -> Reply:
        """Raises Refused."""
        name = method.rpartition("/")[2]
        reply = self.send(Call(method, message), self.timeout, f"{name} for {self.model}")
        if reply.status or reply.sent is None:
            raise Refused(self.where, reply.status, reply.details, self.api.name)
        return reply


def status(inquiry: Inquiry) -> list[VersionState]:
    """All versions that the server knows of the model, as it orders them: newest first. Raises BenchError."""
    with _placed(inquiry):
        return inquiry.api.status(inquiry.ask, inquiry.spec)


def describe(inquiry: Inquiry) -> Description:
    """The signatures of the version that would answer. Raises BenchError."""
    with _placed(inquiry):
        try:
            return inquiry.api.describe(inquiry.ask, inquiry.spec)
        except Unreadable as error:
            raise Refused(inquiry.where, UNIMPLEMENTED, str(error), inquiry.api.name) from error


@contextmanager
def _placed(inquiry: Inquiry) -> Iterator[None]:
    """Say of an error of the protocol which server and model it is about."""
    try:
        yield
    except Refused:
        raise
    except BenchError as error:
        raise BenchError(f"{inquiry.where}: {error}") from error
