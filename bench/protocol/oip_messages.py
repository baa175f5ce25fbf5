"""Messages of the Open Inference Protocol (KServe's version 2) for gRPC, in a descriptor pool of their own.

Names and numbers of the fields are those that the protocol publishes (package `inference`, service
GRPCInferenceService).
"""

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_SERVICE: Final = "/inference.GRPCInferenceService"
MODEL_INFER: Final = f"{_SERVICE}/ModelInfer"
MODEL_METADATA: Final = f"{_SERVICE}/ModelMetadata"
MODEL_READY: Final = f"{_SERVICE}/ModelReady"
SERVER_READY: Final = f"{_SERVICE}/ServerReady"
SERVER_LIVE: Final = f"{_SERVICE}/ServerLive"
SERVER_METADATA: Final = f"{_SERVICE}/ServerMetadata"
MODEL_STATISTICS: Final = f"{_SERVICE}/ModelStatistics"
"""An extension of Triton's."""

_PACKAGE: Final = "inference"
_FIELD: Final = descriptor_pb2.FieldDescriptorProto
_KINDS: Final = {
    "bool": _FIELD.TYPE_BOOL,
    "int32": _FIELD.TYPE_INT32,
    "int64": _FIELD.TYPE_INT64,
    "uint32": _FIELD.TYPE_UINT32,
    "uint64": _FIELD.TYPE_UINT64,
    "float": _FIELD.TYPE_FLOAT,
    "double": _FIELD.TYPE_DOUBLE,
    "string": _FIELD.TYPE_STRING,
    "bytes": _FIELD.TYPE_BYTES,
}
_TENSOR: Final = {
    "name": (1, "string"),
    "datatype": (2, "string"),
    "shape": (3, "int64*"),
    "parameters": (4, "{InferParameter}"),
    "contents": (5, "InferTensorContents"),
}
_DECLARED: Final = {"name": (1, "string"), "datatype": (2, "string"), "shape": (3, "int64*")}
_MESSAGES: Final[Mapping[str, Mapping[str, tuple[int, str]]]] = {
    "ServerReadyRequest": {},
    "ServerLiveRequest": {},
    "ServerLiveResponse": {"live": (1, "bool")},
    "ServerMetadataRequest": {},
    "ServerMetadataResponse": {"name": (1, "string"), "version": (2, "string"), "extensions": (3, "string*")},
    "ServerReadyResponse": {"ready": (1, "bool")},
    "ModelReadyRequest": {"name": (1, "string"), "version": (2, "string")},
    "ModelReadyResponse": {"ready": (1, "bool")},
    "ModelMetadataRequest": {"name": (1, "string"), "version": (2, "string")},
    "TensorMetadata": _DECLARED,
    "ModelMetadataResponse": {
        "name": (1, "string"),
        "versions": (2, "string*"),
        "platform": (3, "string"),
        "inputs": (4, "TensorMetadata*"),
        "outputs": (5, "TensorMetadata*"),
    },
    "InferParameter": {
        "bool_param": (1, "bool"),
        "int64_param": (2, "int64"),
        "string_param": (3, "string"),
        "double_param": (4, "double"),
        "uint64_param": (5, "uint64"),
    },
    "InferTensorContents": {
        "bool_contents": (1, "bool*"),
        "int_contents": (2, "int32*"),
        "int64_contents": (3, "int64*"),
        "uint_contents": (4, "uint32*"),
        "uint64_contents": (5, "uint64*"),
        "fp32_contents": (6, "float*"),
        "fp64_contents": (7, "double*"),
        "bytes_contents": (8, "bytes*"),
    },
    "InferInputTensor": _TENSOR,
    "InferOutputTensor": _TENSOR,
    "InferRequestedOutputTensor": {"name": (1, "string"), "parameters": (2, "{InferParameter}")},
    "ModelInferRequest": {
        "model_name": (1, "string"),
        "model_version": (2, "string"),
        "id": (3, "string"),
        "parameters": (4, "{InferParameter}"),
        "inputs": (5, "InferInputTensor*"),
        "outputs": (6, "InferRequestedOutputTensor*"),
        "raw_input_contents": (7, "bytes*"),
    },
    "ModelInferResponse": {
        "model_name": (1, "string"),
        "model_version": (2, "string"),
        "id": (3, "string"),
        "parameters": (4, "{InferParameter}"),
        "outputs": (5, "InferOutputTensor*"),
        "raw_output_contents": (6, "bytes*"),
    },
    "StatisticDuration": {"count": (1, "uint64"), "ns": (2, "uint64")},
    "InferStatistics": {
        name: (number, "StatisticDuration")
        for number, name in enumerate(
            ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit"), 1
        )
    },
    "ModelStatistics": {
        "name": (1, "string"),
        "version": (2, "string"),
        "last_inference": (3, "uint64"),
        "inference_count": (4, "uint64"),
        "execution_count": (5, "uint64"),
        "inference_stats": (6, "InferStatistics"),
    },
    "ModelStatisticsRequest": {"name": (1, "string"), "version": (2, "string")},
    "ModelStatisticsResponse": {"model_stats": (1, "ModelStatistics*")},
}
"""Message -> field -> its number and kind; `*`: repeated, `{...}`: a map of these by text.

The protocol nests some of them in others, which bytes do not show.
"""
_CHOICES: Final = ("InferParameter",)
"""Messages of whose fields one is set: false, 0 and "" are values there."""


def _file() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="oip.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            _add(message, field, number, kind)
        if name in _CHOICES:
            message.oneof_decl.add(name="choice")
            for each in message.field:
                each.oneof_index = 0
    return file


def _add(message: Any, name: str, number: int, kind: str) -> None:
    if kind.startswith("{"):
        entry = "".join(part.capitalize() for part in name.split("_")) + "Entry"
        nested = message.nested_type.add(name=entry)
        nested.options.map_entry = True
        _add(nested, "key", 1, "string")
        _add(nested, "value", 2, kind.strip("{}"))
        kind = f"{message.name}.{entry}*"
    field = message.field.add(name=name, number=number, label=_FIELD.LABEL_OPTIONAL)
    if kind.endswith("*"):
        field.label = _FIELD.LABEL_REPEATED
    plain = kind.removesuffix("*")
    if plain in _KINDS:
        field.type = _KINDS[plain]
    else:
        field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".{_PACKAGE}.{plain}"


def _classes() -> dict[str, Any]:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(_file().SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in _MESSAGES
    }


_CLASSES: Final = _classes()
ModelInferRequest: Final = _CLASSES["ModelInferRequest"]
ModelInferResponse: Final = _CLASSES["ModelInferResponse"]
ModelMetadataRequest: Final = _CLASSES["ModelMetadataRequest"]
ModelMetadataResponse: Final = _CLASSES["ModelMetadataResponse"]
ModelReadyRequest: Final = _CLASSES["ModelReadyRequest"]
ModelReadyResponse: Final = _CLASSES["ModelReadyResponse"]
ModelStatisticsRequest: Final = _CLASSES["ModelStatisticsRequest"]
ModelStatisticsResponse: Final = _CLASSES["ModelStatisticsResponse"]
ServerLiveResponse: Final = _CLASSES["ServerLiveResponse"]
ServerMetadataResponse: Final = _CLASSES["ServerMetadataResponse"]
ServerReadyRequest: Final = _CLASSES["ServerReadyRequest"]
ServerReadyResponse: Final = _CLASSES["ServerReadyResponse"]
