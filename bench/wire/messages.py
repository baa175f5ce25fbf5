"""TensorFlow Serving's methods and messages, without TensorFlow.

The message classes are built from `tensorflow_serving.binpb`, a serialized FileDescriptorSet that
`python -m bench.protocol.descriptors` makes of the installed tensorflow-serving-api. They live in a descriptor pool of
their own: a process may import TensorFlow as well, whose message classes are others. Between the two go bytes.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

DESCRIPTORS: Final = Path(__file__).with_name("tensorflow_serving.binpb")

_METHODS = "tensorflow.serving"
PREDICT: Final = f"/{_METHODS}.PredictionService/Predict"
CLASSIFY: Final = f"/{_METHODS}.PredictionService/Classify"
REGRESS: Final = f"/{_METHODS}.PredictionService/Regress"
MULTI_INFERENCE: Final = f"/{_METHODS}.PredictionService/MultiInference"
GET_MODEL_METADATA: Final = f"/{_METHODS}.PredictionService/GetModelMetadata"
GET_MODEL_STATUS: Final = f"/{_METHODS}.ModelService/GetModelStatus"
RELOAD_CONFIG: Final = f"/{_METHODS}.ModelService/HandleReloadConfigRequest"

_NAMES: Final = {
    "tensorflow": (
        "Example",
        "MetaGraphDef",
        "SavedModel",
        "SignatureDef",
        "TensorInfo",
        "TensorProto",
        "TensorShapeProto",
    ),
    "tensorflow.serving": (
        "ClassificationRequest",
        "ClassificationResponse",
        "GetModelMetadataRequest",
        "GetModelMetadataResponse",
        "GetModelStatusRequest",
        "GetModelStatusResponse",
        "Input",
        "ModelConfig",
        "ModelServerConfig",
        "ModelSpec",
        "ModelVersionStatus",
        "MultiInferenceRequest",
        "MultiInferenceResponse",
        "PredictRequest",
        "PredictResponse",
        "PredictionLog",
        "RegressionRequest",
        "RegressionResponse",
        "ReloadConfigRequest",
        "ReloadConfigResponse",
        "SignatureDefMap",
    ),
}
"""The messages of this module, by protobuf package."""


def _private_pool() -> Any:
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTORS.read_bytes()).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


POOL: Final = _private_pool()
_DATA_TYPE: Final = POOL.FindEnumTypeByName("tensorflow.DataType")
types_pb2: Final[Any] = SimpleNamespace(
    DataType=EnumTypeWrapper(_DATA_TYPE), **{each.name: each.number for each in _DATA_TYPE.values}
)
"""The enum DataType and its values, as in TensorFlow's module of this name."""

_CLASSES: Final = {
    name: message_factory.GetMessageClass(POOL.FindMessageTypeByName(f"{package}.{name}"))
    for package, names in _NAMES.items()
    for name in names
}
globals().update(_CLASSES)


def __getattr__(name: str) -> Any:  # tells type checkers that there is more than they see
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
