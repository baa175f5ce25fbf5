"""The interface of a serving API: all that load, questions, checks and reports have to know of a server's protocol.

A pool keeps its requests as PredictRequests, whatever they are sent as: names, tensors, and which model is meant. An
`Api` puts them into its own messages and reads its own answers. It opens no connection: where it has to ask something,
it is given `Ask`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy.typing as npt

from bench import BenchError
from bench.protocol.hints import explained, hint
from bench.protocol.signatures import Signature
from bench.runs.sample import outcome

Array = npt.NDArray[Any]

Ask = Callable[[str, bytes], bytes]
"""Sends a message by a method and gives the message of the answer; both as in `Call`. Raises Refused."""


Parameters = tuple[tuple[str, bool | int | str], ...]
"""Parameters of a request by name."""


class Call(NamedTuple):
    """A request as it is sent."""

    method: str
    """gRPC: its path, such as /tensorflow.serving.PredictionService/Predict; HTTP: method and path."""
    message: bytes
    """HTTP: the content."""


class Model(NamedTuple):
    """The model that is meant: at most one of version and label is given; none: the server chooses the version."""

    name: str
    version: int | None = None
    label: str | None = None


class Expected(NamedTuple):
    """The subject of an answer, for protocols whose answers do not name it."""

    output: str
    model: str
    version: int | None
    by_row: bool = True
    """As `bench.payload.Pool.by_row`."""


class Unreadable(ValueError):  # noqa: N818 - an adjective says what the bytes are
    """The bytes are no answer of this protocol; the text says of which kind they are not."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer to an inference request."""

    model: str
    """Empty: the answer names none."""
    version: int | None
    """None: the answer names none."""
    outputs: tuple[str, ...]
    """Their names, in order."""
    array: Callable[[str], Array]
    """The values of an output: [*shape], object (bytes) for texts. Raises ValueError where they are unreadable."""


@dataclass(frozen=True)
class VersionState:
    """One version of a model, as its server tells it."""

    version: int | None
    """None: it is no number, or the model has none."""
    state: str
    """START, LOADING, AVAILABLE, UNLOADING or END; NOT READY where no more is known."""
    code: str
    """OK, or the status with which loading failed."""
    message: str


def numbered(states: Iterable[VersionState], state: str) -> list[int]:
    """The numbers of the versions in a state, lowest first."""
    return sorted(each.version for each in states if each.state == state and each.version is not None)


def version_text(version: int | None) -> str:
    """`version 2`."""
    return "without a version number" if version is None else f"version {version}"


@dataclass(frozen=True)
class Description:
    """A model's signatures, with the version that they are of."""

    version: int | None
    """None: the server names none that is a number."""
    signatures: dict[str, Signature]


class Refused(BenchError):  # noqa: N818 - a BenchError like all others
    """The server answered with an error."""

    def __init__(self, where: str, status: int, details: str, protocol: str) -> None:
        known = hint(outcome(status), details, protocol)
        text = explained(outcome(status), details, protocol)
        super().__init__(f"{where}: {text}" + (f"; {known.remedy}" if known else ""))
        self.status = status
        self.reason = text
        self.unknown_model = outcome(status) == "NOT_FOUND" or (known is not None and known.key == "label")
        """Whether the server has no such model, version or label."""


class Api(Protocol):
    """One protocol; it has no state. To add one: a module with its `API`, and a line in `bench.protocol.names`."""

    @property
    def name(self) -> str:
        """Its word for `--protocol`, servers.toml and the manifest."""

    @property
    def title(self) -> str:
        """What servers of it are, for texts: `TensorFlow Serving over gRPC`."""

    @property
    def over_http(self) -> bool:
        """Requests go over HTTP/1.1 with a connection for each user; False: over gRPC."""

    @property
    def port(self) -> int:
        """Where servers of it listen unless they are told otherwise."""

    @property
    def signature(self) -> str | None:
        """The signature that a request without one is for; None: models of this protocol have none (the name is "")."""

    @property
    def typed(self) -> bool:
        """Answers name the dtypes of their outputs."""

    @property
    def metadata_call(self) -> str:
        """What `describe` calls, for texts."""

    @property
    def counters_remedy(self) -> str:
        """What to do where a server's counters cannot be read."""

    def with_parameters(self, parameters: Parameters) -> "Api":
        """The protocol with these parameters in each of its requests. Raises BenchError where they have none."""

    def encode(self, message: bytes, *, by_row: bool = True) -> Call:
        """The call that a serialised PredictRequest is sent as. by_row: as `bench.payload.Pool.by_row`.

        Raises BenchError for what the protocol has no words for.
        """

    def read(self, content: bytes, expected: Expected) -> bytes:
        """An answer in the form that `decode` reads, in which it is recorded; gRPC: as it is.

        Raises any exception for content that is no answer to an inference request.
        """

    def decode(self, answer: bytes) -> Response:
        """What an answer says. Raises Unreadable."""

    def status(self, ask: Ask, model: Model) -> list[VersionState]:
        """All versions that the server knows of the model, or the one that is named, newest first. Raises BenchError."""

    def describe(self, ask: Ask, model: Model) -> Description:
        """The signatures of the version that would answer. Raises BenchError."""

    def reload(self, ask: Ask, config: Any) -> None:
        """Replace the server's configuration by a ModelServerConfig. Raises BenchError where there is no such call."""

    def counters(self, page: str, model: str) -> Mapping[str, float]:
        """The counters of a model's inference calls in the text of a Prometheus page.

        `ok`, `failed`: requests by outcome. `request_`, `runtime_` and `queue_` `seconds` and `count`: from the start of
        the handler to its end; within it the model's run, waiting for a batch included; within that the waiting alone.
        `other_count`: calls measured that are not ours. `batches`. 0 for what has not been counted. Raises ValueError.
        """

    def statistics(self, ask: Ask, model: Model) -> Mapping[str, float]:
        """The same by a call of the protocol. Raises BenchError, also where there is no such call."""
