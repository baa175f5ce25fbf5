"""The part of TensorFlow that loads SavedModels and runs sessions, without the rest of it.

`import tensorflow` executes 3,300 modules (3.5 s of processor time, 500 MB): Keras, datasets, distribution and all public
names. A server needs a fifth of that. The private paths below have been the same since TensorFlow 1.x.
"""

import functools
import gc
import importlib
import importlib.machinery
import importlib.util
import os
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PLUGINS = "tensorflow-plugins"
PLUGIN_VARIABLES = ("TF_PLUGGABLE_DEVICE_LIBRARY_PATH", "TF_USE_MODULAR_FILESYSTEM")


@dataclass(frozen=True)
class Runtime:
    """The parts of TensorFlow that a server uses, by TensorFlow's own names."""

    version: str
    Session: Any
    Graph: Any
    ConfigProto: Any
    CallableOptions: Any
    OpError: Any
    load: Callable[..., Any]
    as_dtype: Callable[[Any], Any]
    op_def: Callable[[str], Any]


@functools.cache
def tensorflow() -> Runtime:
    """TensorFlow's sessions, imported when the first model is loaded: the null backend does without them."""
    # Without this every session of the process shares the intra-op pool of the first one.
    os.environ.setdefault("TF_OVERRIDE_GLOBAL_THREADPOOL", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if "tensorflow" not in sys.modules:
        if _plugged():
            importlib.import_module("tensorflow")
        else:
            _stand_in()
    from tensorflow.core.protobuf import config_pb2
    from tensorflow.python import tf2
    from tensorflow.python.client.session import Session
    from tensorflow.python.framework import dtypes, errors_impl, op_def_registry, ops, versions
    from tensorflow.python.platform import tf_logging
    from tensorflow.python.saved_model import loader_impl

    tf2.enable()  # as `import tensorflow` does: the C++ side asks for it
    tf_logging.get_logger().setLevel("ERROR")
    # hundreds of thousands of objects that stay: looking at each of them again would make every full collection a pause
    gc.collect()
    gc.freeze()
    return Runtime(
        versions.__version__,
        Session,
        ops.Graph,
        config_pb2.ConfigProto,
        config_pb2.CallableOptions,
        errors_impl.OpError,
        loader_impl.load,
        dtypes.as_dtype,
        op_def_registry.get,
    )


def gpus() -> list[Any]:
    """The GPUs that TensorFlow sees."""
    tensorflow()
    from tensorflow.python.framework.config import list_physical_devices

    devices: list[Any] = list_physical_devices("GPU")
    return devices


class _Part(types.ModuleType):
    """`tensorflow` with its submodules and none of its public names: the first that is used loads all of it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get("tensorflow") is self:
            del sys.modules["tensorflow"]
        return getattr(importlib.import_module("tensorflow"), name)


def _stand_in() -> None:
    """Let `from tensorflow.python ... import` execute what it names, and not `tensorflow/__init__.py` before it."""
    spec = importlib.util.find_spec("tensorflow")  # locates a top-level package without running it
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("no tensorflow package is installed", name="tensorflow")
    part = _Part("tensorflow")
    part.__path__ = list(spec.submodule_search_locations)
    part.__spec__ = importlib.machinery.ModuleSpec("tensorflow", None, is_package=True)
    part.__spec__.submodule_search_locations = part.__path__
    sys.modules["tensorflow"] = part


def _plugged() -> bool:
    """Whether `tensorflow/__init__.py` would load more than Python: devices, kernels or file systems of others."""
    return any(os.environ.get(name) for name in PLUGIN_VARIABLES) or any(
        (Path(folder) / PLUGINS).exists() for folder in sys.path if folder
    )
