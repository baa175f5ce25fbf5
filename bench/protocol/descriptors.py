"""Make the descriptors of TensorFlow Serving's messages from the installed packages: `python -m bench.protocol.descriptors`.

They are those of the methods that `bench.wire.messages` names and of everything that these import, as the packages
tensorflow-serving-api and tensorflow have them.
"""

import os
from typing import Any

from google.protobuf import descriptor_pb2

from bench.wire.messages import DESCRIPTORS


def installed() -> Any:
    """The FileDescriptorSet of the installed packages, each file after those that it imports."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow_serving.apis import model_service_pb2, prediction_log_pb2, prediction_service_pb2
    from tensorflow_serving.config import model_server_config_pb2

    files: dict[str, Any] = {}

    def add(file: Any) -> None:
        if file.name not in files:
            for imported in file.dependencies:
                add(imported)
            files[file.name] = descriptor_pb2.FileDescriptorProto()
            file.CopyToProto(files[file.name])

    for module in (
        prediction_service_pb2,
        model_service_pb2,
        prediction_log_pb2,
        model_server_config_pb2,
        saved_model_pb2,
    ):
        add(module.DESCRIPTOR)
    return descriptor_pb2.FileDescriptorSet(file=files.values())


def main() -> None:
    """Write the file that `bench.wire.messages` reads."""
    content = installed().SerializeToString(deterministic=True)
    DESCRIPTORS.write_bytes(content)
    print(f"{DESCRIPTORS}: {len(content):,} bytes")


if __name__ == "__main__":
    main()
