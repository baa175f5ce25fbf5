"""TensorFlow Serving over gRPC: PredictionService and ModelService."""

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf.message import DecodeError

from bench import BenchError
from bench.protocol import tfserving_counters
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
from bench.protocol.signatures import Signature, Tensor, dtype_name
from bench.runs.sample import outcome
from bench.wire import field_limits, messages
from bench.wire.tensors import array_of


class TensorFlowServing:
    """As it is called over gRPC."""

    name: Final = "tfs"
    title: Final = "TensorFlow Serving over gRPC"
    over_http: Final = False
    port: Final = 8500
    signature: Final = "serving_default"
    typed: Final = True
    metadata_call: Final = "GetModelMetadata"
    counters_remedy: Final = tfserving_counters.REMEDY

    def with_parameters(self, parameters: Parameters) -> Api:
        """There are none."""
        raise BenchError("--request-parameters: requests to TensorFlow Serving have none; leave it out")

    def encode(self, message: bytes, *, by_row: bool = True) -> Call:
        """The message as it is."""
        return Call(messages.PREDICT, message)

    def read(self, content: bytes, expected: Expected) -> bytes:
        """The answer as it is."""
        return content

    def decode(self, answer: bytes) -> Response:
        """What a PredictResponse says. Raises Unreadable."""
        if field_limits.too_many(messages.PredictResponse, answer):
            raise Unreadable(f"the answer has more than {field_limits.MOST_FIELDS} protobuf fields")
        try:
            response = messages.PredictResponse.FromString(answer)
        except DecodeError:
            raise Unreadable("the answer is not a PredictResponse") from None
        spec, outputs = response.model_spec, response.outputs

        def array(name: str) -> Array:
            return array_of(outputs[name])

        version = spec.version.value if spec.HasField("version") else None
        return Response(spec.name, version, tuple(sorted(outputs)), array)

    def status(self, ask: Ask, model: Model) -> list[VersionState]:
        """By GetModelStatus."""
        request = messages.GetModelStatusRequest()
        name_model(request.model_spec, model)
        answer = ask(messages.GET_MODEL_STATUS, request.SerializeToString())
        return states_of(parsed(messages.GetModelStatusResponse, answer, messages.GET_MODEL_STATUS))

    def describe(self, ask: Ask, model: Model) -> Description:
        """By GetModelMetadata."""
        request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
        name_model(request.model_spec, model)
        answer = ask(messages.GET_MODEL_METADATA, request.SerializeToString())
        response = parsed(messages.GetModelMetadataResponse, answer, messages.GET_MODEL_METADATA)
        if "signature_def" not in response.metadata:
            raise Unreadable("no signatures in the answer")
        signatures = messages.SignatureDefMap.FromString(
            response.metadata["signature_def"].value
        ).signature_def
        return Description(response.model_spec.version.value, signatures_of(signatures))

    def reload(self, ask: Ask, config: Any) -> None:
        """By HandleReloadConfigRequest."""
        request = messages.ReloadConfigRequest(config=config)
        answer = ask(messages.RELOAD_CONFIG, request.SerializeToString())
        status = parsed(messages.ReloadConfigResponse, answer, messages.RELOAD_CONFIG).status
        if status.error_code:
            raise BenchError(status.error_message)

    def counters(self, page: str, model: str) -> Mapping[str, float]:
        """Those of Predict over gRPC."""
        return tfserving_counters.counters(page, model)

    def statistics(self, ask: Ask, model: Model) -> Mapping[str, float]:
        """There is no such call."""
        raise BenchError("TensorFlow Serving has its counters on a page only")


def name_model(spec: Any, model: Model) -> None:
    """Write into a ModelSpec which model is meant."""
    spec.name = model.name
    if model.version is not None:
        spec.version.value = model.version
    if model.label is not None:
        spec.version_label = model.label


def parsed(kind: Any, answer: bytes, method: str) -> Any:
    """An answer as a message of this class. Raises BenchError."""
    try:
        return kind.FromString(answer)
    except DecodeError as error:
        raise BenchError(f"its answer to {method} is not a {kind.DESCRIPTOR.name}") from error


def states_of(response: Any) -> list[VersionState]:
    """What a GetModelStatusResponse says, in its order: newest first."""
    return [
        VersionState(
            version=each.version,
            state=messages.ModelVersionStatus.State.Name(each.state),
            code=outcome(each.status.error_code),
            message=each.status.error_message,
        )
        for each in response.model_version_status
    ]


def signatures_of(signature_defs: Mapping[str, Any]) -> dict[str, Signature]:
    """The SignatureDefs of a model by name, internal ones (`__...`) too, in the order of their names."""
    return {
        name: Signature(
            signature_defs[name].method_name,
            _tensors(signature_defs[name].inputs),
            _tensors(signature_defs[name].outputs),
            tuple(sorted(signature_defs[name].defaults)),
        )
        for name in sorted(signature_defs)
    }


def _tensors(infos: Any) -> dict[str, Tensor]:
    return {
        name: Tensor(dtype_name(infos[name].dtype), _shape(infos[name].tensor_shape))
        for name in sorted(infos)
    }


def _shape(shape: Any) -> tuple[int, ...] | None:
    return None if shape.unknown_rank else tuple(dim.size for dim in shape.dim)


API: Final[Api] = TensorFlowServing()
