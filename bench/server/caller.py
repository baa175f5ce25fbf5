"""The recipient of a call's answer."""

from typing import Protocol

from bench.server.refusal import Refusal
from bench.wire.request_rows import Alike


class Caller(Protocol):
    """The receiver of a call's answer, by the number that he gave it. Called in the I/O thread."""

    def respond(self, call: int, message: bytes) -> None:
        """The call succeeded; `message` is the serialised response."""

    def respond_all(self, calls: range, messages: Alike) -> None:
        """Several calls succeeded; `messages` are their serialised responses."""

    def refuse(self, call: int, refusal: Refusal) -> None:
        """The call ends with a status other than OK."""

    def wants(self, call: int) -> bool:
        """Whether anybody still waits for the answer. May be asked from any thread."""
