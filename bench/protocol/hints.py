"""Causes and remedies of errors, by protocol, status and details.

Pure data beside the protocols themselves: reports need it, and none of their messages.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from bench.protocol import oip_hints, tfserving_hints
from bench.protocol.known_error import Hint, KnownError
from bench.protocol.names import DEFAULT, OIP, OIP_TYPED, REST

_KNOWN: Final[Mapping[str, Sequence[KnownError]]] = {
    DEFAULT: tfserving_hints.KNOWN,
    REST: tfserving_hints.KNOWN,
    OIP: oip_hints.KNOWN,
    OIP_TYPED: oip_hints.KNOWN,
}
"""Name of the protocol -> its errors, the first that fits counts."""


def hint(status: str, details: str = "", protocol: str = DEFAULT) -> Hint | None:
    """The hint for a gRPC status name and the server's details; None for an error that is not known here."""
    for known in _KNOWN.get(protocol, ()):
        if status in known.status.split("|") and re.search(known.details, details):
            return known.hint
    return None


def explained(status: str, details: str, protocol: str = DEFAULT) -> str:
    """`STATUS: details` on one line, with the known cause where the details are empty."""
    text = " ".join(details.split())
    if text:
        return f"{status}: {text}"
    known = hint(status, details, protocol)
    return f"{status}: {known.cause if known else 'no details'}"
