"""Questions to a server about itself and its models, and what it answers."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import DecodeError

from bench import BenchError
from bench.protocol.hints import explained, hint
from bench.protocol.signatures import Signature, signatures_of
from bench.runs.sample import STATUS_NAMES, outcome
from bench.wire import messages
from bench.wire.client import Channel

_UNIMPLEMENTED: Final = STATUS_NAMES.index("UNIMPLEMENTED")


@dataclass(frozen=True)
class Inquiry:
    """Whom to ask about which model, and how long to wait."""

    channel: Channel
    host: str
    model: str
    version: int | None = None
    label: str | None = None
    timeout: float = 10.0
    awaited: Callable[[str, float], AbstractContextManager[None]] = lambda *_: nullcontext()
    """Entered around each call: what is waited for, and for how many seconds at most."""

    def call(self, method: str, request: Any, response: Any) -> Any:
        """The parsed answer, of the message class `response`. Raises as `timed_call` does."""
        return self.timed_call(method, request, response)[0]

    def timed_call(self, method: str, request: Any, response: Any) -> tuple[Any, float]:
        """The parsed answer, and seconds from handing the request to the kernel to reading its last byte.

        Raises BenchError with the server's own words where it refuses.
        """
        name = method.rpartition("/")[2]
        with self.awaited(f"the answer of {self.host} to {name} for {self.model}", self.timeout):
            reply = self.channel.call(method, request.SerializeToString(), self.timeout)
        if reply.status or reply.sent is None:
            raise Refused(f"{self.host}, model {self.model}", reply.status, reply.details)
        try:
            return response.FromString(reply.message), reply.done - reply.sent
        except DecodeError as error:
            raise BenchError(
                f"{self.host}, model {self.model}: its answer to {method} is no {response.DESCRIPTOR.name}"
            ) from error

    def name_model(self, spec: Any) -> None:
        spec.name = self.model
        if self.version is not None:
            spec.version.value = self.version
        if self.label is not None:
            spec.version_label = self.label


class Refused(BenchError):  # noqa: N818 - a BenchError like all others
    """The server answered with an error."""

    def __init__(self, where: str, status: int, details: str) -> None:
        known = hint(outcome(status), details)
        text = explained(outcome(status), details)
        super().__init__(f"{where}: {text}" + (f"; {known.remedy}" if known else ""))
        self.status = status
        self.reason = text


@dataclass(frozen=True)
class VersionState:
    """One version of a model, as GetModelStatus tells it."""

    version: int
    state: str
    """START, LOADING, AVAILABLE, UNLOADING or END."""
    code: str
    """OK, or the status with which loading failed."""
    message: str


@dataclass(frozen=True)
class Description:
    """A model's signatures, with the version that they are of."""

    version: int
    signatures: dict[str, Signature]


def status(inquiry: Inquiry) -> list[VersionState]:
    """All versions that the server knows of the model, as it orders them: newest first. Raises BenchError."""
    request = messages.GetModelStatusRequest()
    inquiry.name_model(request.model_spec)
    response = inquiry.call(messages.GET_MODEL_STATUS, request, messages.GetModelStatusResponse)
    return [
        VersionState(
            version=each.version,
            state=messages.ModelVersionStatus.State.Name(each.state),
            code=outcome(each.status.error_code),
            message=each.status.error_message,
        )
        for each in response.model_version_status
    ]


def describe(inquiry: Inquiry) -> Description:
    """The signatures of the version that would answer. Raises BenchError."""
    request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
    inquiry.name_model(request.model_spec)
    response = inquiry.call(messages.GET_MODEL_METADATA, request, messages.GetModelMetadataResponse)
    if "signature_def" not in response.metadata:
        raise Refused(f"{inquiry.host}, model {inquiry.model}", _UNIMPLEMENTED, "no signatures in the answer")
    found = messages.SignatureDefMap.FromString(response.metadata["signature_def"].value).signature_def
    return Description(
        version=response.model_spec.version.value,
        signatures=signatures_of(found),
    )
