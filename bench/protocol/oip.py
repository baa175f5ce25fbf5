"""The Open Inference Protocol (KServe's version 2) over gRPC, as Triton, KServe, MLServer and OpenVINO speak it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from google.protobuf.message import DecodeError

from bench import BenchError
from bench.protocol import oip_messages as messages
from bench.protocol import oip_tensors, tfserving_counters, triton_counters
from bench.protocol.api import (
    Api,
    Array,
    Ask,
    Call,
    Description,
    Expected,
    Model,
    Parameters,
    Response,
    Unreadable,
    VersionState,
)
from bench.protocol.names import OIP, OIP_TYPED
from bench.protocol.signatures import Signature, Tensor
from bench.wire import field_limits
from bench.wire.messages import PredictRequest
from bench.wire.tensors import array_of


@dataclass(frozen=True)
class OpenInference:
    """As it is called over gRPC. Its models have no signatures, no labels, and versions that are texts."""

    name: str
    raw: bool
    """Inputs are sent as raw contents; False: as typed ones."""
    title: str = "Open Inference Protocol over gRPC"
    over_http: bool = False
    port: int = 8001
    signature: str | None = None
    typed: bool = True
    metadata_call: str = "ModelMetadata"
    counters_remedy: str = triton_counters.REMEDY
    parameters: Parameters = ()
    """Of each ModelInferRequest."""

    def with_parameters(self, parameters: Parameters) -> Api:
        """As said; servers ignore those that they do not know, or refuse them."""
        return replace(self, parameters=parameters)

    def encode(self, message: bytes, *, by_row: bool = True) -> Call:
        """As ModelInfer. Raises BenchError for labels, and for dtypes that the protocol has not."""
        sent = PredictRequest.FromString(message)
        spec = sent.model_spec
        if spec.version_label:
            raise BenchError(
                f"--version-label {spec.version_label}: the Open Inference Protocol has no labels; use --model-version"
            )
        request = messages.ModelInferRequest(model_name=spec.name)
        if spec.HasField("version"):
            request.model_version = str(spec.version.value)
        for name in sorted(sent.inputs):
            array = array_of(sent.inputs[name])
            tensor = request.inputs.add(name=name, datatype=oip_tensors.datatype_of(array), shape=array.shape)
            if self.raw:
                request.raw_input_contents.append(oip_tensors.raw_of(array))
            else:
                oip_tensors.fill(tensor.contents, array)
        for name in sent.output_filter:
            request.outputs.add(name=name)
        for name, value in self.parameters:
            # truth values are integers too
            kind = "bool" if isinstance(value, bool) else "int64" if isinstance(value, int) else "string"
            setattr(request.parameters[name], f"{kind}_param", value)
        return Call(messages.MODEL_INFER, request.SerializeToString(deterministic=True))

    def read(self, content: bytes, expected: Expected) -> bytes:
        """The answer as it is."""
        return content

    def decode(self, answer: bytes) -> Response:
        """What a ModelInferResponse says. Raises Unreadable."""
        if field_limits.too_many(messages.ModelInferResponse, answer):
            raise Unreadable(f"the answer has more than {field_limits.MOST_FIELDS} protobuf fields")
        try:
            response = messages.ModelInferResponse.FromString(answer)
        except DecodeError:
            raise Unreadable("the answer is not a ModelInferResponse") from None
        outputs = {tensor.name: tensor for tensor in response.outputs}
        # MLServer sends empty typed contents beside raw ones
        pairs = zip(response.outputs, response.raw_output_contents, strict=False)
        raw = {tensor.name: content for tensor, content in pairs}

        def array(name: str) -> Array:
            return oip_tensors.array_of(outputs[name], raw.get(name))

        return Response(response.model_name, _number(response.model_version), tuple(sorted(outputs)), array)

    def status(self, ask: Ask, model: Model) -> list[VersionState]:
        """By ModelMetadata, which names the versions, and ModelReady for each; newest first."""
        _refuse_label(model)
        wanted = [] if model.version is None else [str(model.version)]
        versions = wanted or list(_metadata(ask, model).versions) or [""]
        ordered = sorted(versions, key=lambda text: (_number(text) or 0, text), reverse=True)
        return [self._state(ask, model.name, version) for version in ordered]

    def _state(self, ask: Ask, name: str, version: str) -> VersionState:
        request = messages.ModelReadyRequest(name=name, version=version)
        answer = ask(messages.MODEL_READY, request.SerializeToString())
        ready = _parsed(messages.ModelReadyResponse, answer).ready
        return VersionState(_number(version), "AVAILABLE" if ready else "NOT READY", "OK", "")

    def describe(self, ask: Ask, model: Model) -> Description:
        """By ModelMetadata; one signature without a name. Raises Unreadable where the model declares nothing."""
        _refuse_label(model)
        metadata = _metadata(ask, model)
        if not metadata.inputs or not metadata.outputs:
            raise Unreadable("the model declares no inputs or no outputs")
        version = model.version
        if version is None:
            version = max(
                (number for each in metadata.versions if (number := _number(each)) is not None), default=None
            )
        return Description(
            version, {"": Signature("", _tensors(metadata.inputs), _tensors(metadata.outputs))}
        )

    def reload(self, ask: Ask, config: Any) -> None:
        """There is no such call."""
        raise BenchError("the Open Inference Protocol has no call that replaces the configuration")

    def counters(self, page: str, model: str) -> Mapping[str, float]:
        """Triton's, or those of this package's server, which has TensorFlow Serving's names for all of its APIs."""
        if tfserving_counters.PREFIX in page:
            return tfserving_counters.counters(page, model, api="ModelInfer")
        return triton_counters.counters(page, model)

    def statistics(self, ask: Ask, model: Model) -> Mapping[str, float]:
        """By ModelStatistics, an extension that Triton has."""
        request = messages.ModelStatisticsRequest(name=model.name)
        answer = ask(messages.MODEL_STATISTICS, request.SerializeToString())
        try:
            return triton_counters.of_statistics(
                _parsed(messages.ModelStatisticsResponse, answer), model.name
            )
        except ValueError as error:
            raise BenchError(str(error)) from None


def _refuse_label(model: Model) -> None:
    if model.label is not None:
        raise BenchError(f"label {model.label}: the Open Inference Protocol has no labels; use a version")


def _metadata(ask: Ask, model: Model) -> Any:
    version = "" if model.version is None else str(model.version)
    request = messages.ModelMetadataRequest(name=model.name, version=version)
    return _parsed(messages.ModelMetadataResponse, ask(messages.MODEL_METADATA, request.SerializeToString()))


def _parsed(kind: Any, answer: bytes) -> Any:
    try:
        return kind.FromString(answer)
    except DecodeError as error:
        raise BenchError(f"its answer is not a {kind.DESCRIPTOR.name}") from error


def _tensors(declared: Any) -> dict[str, Tensor]:
    tensors = {each.name: Tensor(oip_tensors.name_of(each.datatype), tuple(each.shape)) for each in declared}
    return dict(sorted(tensors.items()))


def _number(version: str) -> int | None:
    """A version as a number; None for other texts, which the protocol allows too."""
    return int(version) if version.isascii() and version.isdigit() and len(version) < 19 else None


API: Final[Api] = OpenInference(OIP, raw=True)
TYPED: Final[Api] = OpenInference(OIP_TYPED, raw=False)
