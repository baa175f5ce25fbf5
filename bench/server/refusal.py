"""Status codes, and how a request is refused."""

from enum import IntEnum
from typing import Final

MAX_DETAILS: Final = 1024
"""Bytes of an error text that the server sends over gRPC before it cuts (model_servers/grpc_status_util.cc)."""


class Code(IntEnum):
    """gRPC status codes (the gRPC core specification, "Status codes and their use in gRPC")."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class Refusal(Exception):  # noqa: N818 - most often an answer to somebody else's mistake, not an error of ours
    """A request ends with a gRPC status other than OK, or a version cannot be loaded."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = Code(code)
        self.text = text

    def __str__(self) -> str:
        return f"{self.code.name}: {self.text}"

    @property
    def details(self) -> str:
        """The text as gRPC delivers it: cut to 1,024 bytes with a mark; REST delivers `text` whole."""
        encoded = self.text.encode()
        if len(encoded) <= MAX_DETAILS:
            return self.text
        return encoded[:MAX_DETAILS].decode(errors="ignore") + "...TRUNCATED"


def invalid(text: str) -> Refusal:
    """The refusal of a request that is wrong in itself."""
    return Refusal(Code.INVALID_ARGUMENT, text)
