"""TensorFlow Serving's messages without loading TensorFlow."""

import contextlib
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Iterator
from typing import Any, Final

_METHODS = "tensorflow.serving"
PREDICT: Final = f"/{_METHODS}.PredictionService/Predict"
CLASSIFY: Final = f"/{_METHODS}.PredictionService/Classify"
REGRESS: Final = f"/{_METHODS}.PredictionService/Regress"
MULTI_INFERENCE: Final = f"/{_METHODS}.PredictionService/MultiInference"
GET_MODEL_METADATA: Final = f"/{_METHODS}.PredictionService/GetModelMetadata"
GET_MODEL_STATUS: Final = f"/{_METHODS}.ModelService/GetModelStatus"
RELOAD_CONFIG: Final = f"/{_METHODS}.ModelService/HandleReloadConfigRequest"


class _ProtosOnly(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(
            f"tensorflow.{name} was used while only TensorFlow's message modules were being loaded: "
            "import bench.wire.messages before starting threads that import tensorflow"
        )


@contextlib.contextmanager
def without_tensorflow() -> Iterator[None]:
    """Within the block, `import tensorflow.core...` finds the installed message modules and nothing more.

    Importing any generated message module below `tensorflow` normally runs `tensorflow/__init__.py`: 3,300
    modules, about 2.5 s and 600 MB in every load process, for messages of a few kilobytes. An empty stand-in
    package over the installed directory takes its place for the length of the block. Afterwards the stand-in
    and everything below it leave `sys.modules`, so that a later real `import tensorflow` starts clean; it then
    meets the same message classes, since the descriptor pool hands out those it has for identical files.

    Not for use while other threads import tensorflow. Where the real package is loaded already, nothing is
    done. Raises ModuleNotFoundError where no tensorflow is installed.
    """
    if "tensorflow" in sys.modules:
        yield
        return
    found = importlib.util.find_spec("tensorflow")  # locates a top-level package without running it
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(
            "no tensorflow package is installed, and its message modules are needed: pip install tensorflow-cpu",
            name="tensorflow",
        )
    stand_in = _ProtosOnly("tensorflow")
    stand_in.__path__ = list(found.submodule_search_locations)
    stand_in.__spec__ = importlib.machinery.ModuleSpec("tensorflow", None, is_package=True)
    stand_in.__spec__.submodule_search_locations = stand_in.__path__
    sys.modules["tensorflow"] = stand_in
    try:
        yield
    finally:
        # Everything below the stand-in has to go too: left in place, the next message module imported would
        # start the real package from inside a half-executed one.
        for name in [m for m in sys.modules if m == "tensorflow" or m.startswith("tensorflow.")]:
            del sys.modules[name]


with without_tensorflow():
    from tensorflow.core.example.example_pb2 import Example
    from tensorflow.core.framework import types_pb2
    from tensorflow.core.framework.tensor_pb2 import TensorProto
    from tensorflow.core.framework.tensor_shape_pb2 import TensorShapeProto
    from tensorflow.core.protobuf import error_codes_pb2
    from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef, SignatureDef, TensorInfo
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
    from tensorflow_serving.apis.classification_pb2 import ClassificationRequest, ClassificationResponse
    from tensorflow_serving.apis.get_model_metadata_pb2 import (
        GetModelMetadataRequest,
        GetModelMetadataResponse,
        SignatureDefMap,
    )
    from tensorflow_serving.apis.get_model_status_pb2 import (
        GetModelStatusRequest,
        GetModelStatusResponse,
        ModelVersionStatus,
    )
    from tensorflow_serving.apis.inference_pb2 import MultiInferenceRequest, MultiInferenceResponse
    from tensorflow_serving.apis.input_pb2 import Input
    from tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest, ReloadConfigResponse
    from tensorflow_serving.apis.model_pb2 import ModelSpec
    from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
    from tensorflow_serving.apis.regression_pb2 import RegressionRequest, RegressionResponse
    from tensorflow_serving.config.model_server_config_pb2 import ModelConfig, ModelServerConfig

__all__ = [
    "CLASSIFY",
    "GET_MODEL_METADATA",
    "GET_MODEL_STATUS",
    "MULTI_INFERENCE",
    "PREDICT",
    "REGRESS",
    "RELOAD_CONFIG",
    "ClassificationRequest",
    "ClassificationResponse",
    "Example",
    "GetModelMetadataRequest",
    "GetModelMetadataResponse",
    "GetModelStatusRequest",
    "GetModelStatusResponse",
    "Input",
    "MetaGraphDef",
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
    "SavedModel",
    "SignatureDef",
    "SignatureDefMap",
    "TensorInfo",
    "TensorProto",
    "TensorShapeProto",
    "error_codes_pb2",
    "types_pb2",
    "without_tensorflow",
]
