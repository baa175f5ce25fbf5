"""What does a server say of itself and its models?"""

from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import DecodeError

from bench import BenchError
from bench.sample import outcome
from bench.wire import messages
from bench.wire.client import Channel

_REMEDIES: Final = {
    "UNAVAILABLE": "is the server running there?",
    "UNIMPLEMENTED": "is this the gRPC port of a TensorFlow Serving?",
    "DEADLINE_EXCEEDED": "--timeout gives it longer",
    "NOT_FOUND": "`bench status` shows the versions of a model",
    "FAILED_PRECONDITION": "`bench metadata` shows the signatures of a model",
}


@dataclass(frozen=True)
class Inquiry:
    """Whom to ask about which model, and how long to wait."""

    channel: Channel
    host: str
    model: str
    version: int | None = None
    label: str | None = None
    timeout: float = 10.0

    def call(self, method: str, request: Any, response: Any) -> Any:
        """The parsed answer, of the message class `response`. Raises as `timed_call` does."""
        return self.timed_call(method, request, response)[0]

    def timed_call(self, method: str, request: Any, response: Any) -> tuple[Any, float]:
        """The parsed answer, and seconds from handing the request to the kernel to reading its last byte.

        Raises BenchError with the server's own words where it refuses.
        """
        reply = self.channel.call(method, request.SerializeToString(), self.timeout)
        if reply.status or reply.sent is None:
            raise Refused(f"{self.host}, model {self.model}", method, reply.status, reply.details)
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

    def __init__(self, where: str, method: str, status: int, details: str) -> None:
        name = outcome(status)
        lost = name == "NOT_FOUND" and method == messages.GET_MODEL_STATUS
        remedy = "check the name and the server's configuration" if lost else _REMEDIES.get(name)
        said = " ".join(details.split()) or "no details"
        super().__init__(f"{where}: {name}: {said}" + (f"; {remedy}" if remedy else ""))
        self.status = status


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
class Tensor:
    """An input or output of a signature."""

    dtype: str
    shape: tuple[int, ...] | None
    """-1: any; None: even the number of dimensions is not fixed."""


@dataclass(frozen=True)
class Signature:
    """What a model can be asked, as its SavedModel says."""

    method: str
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


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
    found = messages.SignatureDefMap.FromString(response.metadata["signature_def"].value).signature_def
    return Description(
        version=response.model_spec.version.value,
        signatures={
            name: Signature(
                found[name].method_name, _tensors(found[name].inputs), _tensors(found[name].outputs)
            )
            for name in sorted(found)
        },
    )


def _tensors(infos: Any) -> dict[str, Tensor]:
    return {
        name: Tensor(_dtype_name(infos[name].dtype), _shape(infos[name].tensor_shape))
        for name in sorted(infos)
    }


def _dtype_name(number: int) -> str:
    """`float` for DT_FLOAT; `type 99` for one that this client does not know."""
    known = messages.types_pb2.DataType.values()
    return messages.types_pb2.DataType.Name(number)[3:].lower() if number in known else f"type {number}"


def _shape(shape: Any) -> tuple[int, ...] | None:
    return None if shape.unknown_rank else tuple(dim.size for dim in shape.dim)
