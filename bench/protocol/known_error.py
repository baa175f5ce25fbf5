"""An error that servers are known for."""

from typing import NamedTuple


class Hint(NamedTuple):
    """The cause behind an error."""

    key: str
    """A name for programs."""
    cause: str
    remedy: str


class KnownError(NamedTuple):
    """Errors with one cause."""

    status: str
    """Names of gRPC statuses, with | between them."""
    details: str
    """A regular expression that the details match somewhere."""
    hint: Hint
