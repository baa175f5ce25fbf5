"""Check the header fields of an HTTP/2 message (RFC 9113, sections 8.1.1, 8.2 and 8.3)."""

import re
from collections.abc import Sequence
from typing import Final

Field = tuple[bytes, bytes]

_NAME: Final = re.compile(rb":?[!-9;-@\[-~]+")
"""8.2.1: no byte up to the blank, no upper-case letter, nothing from DEL on, a colon at the start only."""
_VALUE: Final = re.compile(rb"(?:[^\x00\n\r\t ](?:[^\x00\n\r]*[^\x00\n\r\t ])?)?")
"""8.2.1: no NUL, LF or CR, no blank or tab at either end."""
_CONNECTION: Final = frozenset(
    (b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade")
)
_REQUEST: Final = frozenset((b":method", b":scheme", b":authority", b":path"))
_STATUS: Final = re.compile(rb"[1-5][0-9][0-9]")


def request_problem(fields: Sequence[Field]) -> str | None:
    """Why a block cannot open a request; None: it can."""
    problem = _problem(fields, _REQUEST, te=True)
    if problem is not None:
        return problem
    named = dict(fields)
    missing = [name.decode() for name in (b":method", b":scheme", b":path") if not named.get(name)]
    if missing:
        return f"no {' or '.join(missing)}"
    host = named.get(b"host")
    if host is not None and host != named.get(b":authority", host):
        return "host and :authority differ"
    return None


def response_problem(fields: Sequence[Field]) -> str | None:
    """Why a block cannot open a response; None: it can."""
    problem = _problem(fields, frozenset((b":status",)), te=False)
    if problem is not None:
        return problem
    return None if _STATUS.fullmatch(dict(fields).get(b":status", b"")) else "no valid :status"


def trailers_problem(fields: Sequence[Field]) -> str | None:
    """Why a block cannot end a message; None: it can."""
    return _problem(fields, frozenset(), te=False)


def content_length(fields: Sequence[Field]) -> int | None:
    """The announced length of the message's DATA; None: not announced. What `_problem` refuses is not looked at."""
    value = dict(fields).get(b"content-length")
    return None if value is None else int(value)


def _problem(fields: Sequence[Field], pseudo: frozenset[bytes], *, te: bool) -> str | None:
    seen: set[bytes] = set()
    regular = False
    length = None
    for name, value in fields:
        if not _NAME.fullmatch(name):
            return f"the field name {name[:64]!r}"
        # gRPC's own encoding of an error text leaves blanks at its ends as they are
        if not _VALUE.fullmatch(value.strip(b" ") if name == b"grpc-message" else value):
            return f"the value of {name[:64].decode()}"
        if name[:1] == b":":
            if name not in pseudo:
                return f"the pseudo-header field {name[:64].decode()}"
            if name in seen:
                return f"{name.decode()} twice"
            if regular:
                return f"{name.decode()} after a regular field"
            seen.add(name)
            continue
        regular = True
        if name in _CONNECTION or (name == b"te" and not (te and value == b"trailers")):
            return f"the connection-specific field {name.decode()}"
        if name == b"content-length":
            if not value.isdigit() or len(value) > 18 or value != (length or value):
                return "content-length"
            length = value
    return None
