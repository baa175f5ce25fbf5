"""Messages of both kinds in one process, ours imported first: prints the descriptors of the installed packages.

`python -m tests.wire.beside_tensorflow`
"""

import importlib
import sys

import numpy as np

from bench.payload import predict_request
from bench.protocol import descriptors
from bench.wire import messages


def main() -> None:
    """Compare a request as both make it, and read what the other has made."""
    array = np.arange(784, dtype=np.float32).reshape(1, 28, 28, 1)
    ours = predict_request({"images": array}, model="mnist", version=2)

    import tensorflow as tf
    from tensorflow_serving.apis.predict_pb2 import PredictRequest

    theirs = PredictRequest()
    theirs.model_spec.name = "mnist"
    theirs.model_spec.version.value = 2
    theirs.inputs["images"].CopyFrom(tf.make_tensor_proto(array))
    assert PredictRequest is not messages.PredictRequest
    assert theirs.SerializeToString(deterministic=True) == ours.SerializeToString(deterministic=True)
    received = PredictRequest.FromString(ours.SerializeToString())
    assert np.array_equal(tf.make_ndarray(received.inputs["images"]), array)

    importlib.reload(messages)  # as in a process that imported TensorFlow first
    read = messages.PredictRequest.FromString(theirs.SerializeToString())
    assert read.inputs["images"].tensor_shape.dim[1].size == 28

    sys.stdout.buffer.write(descriptors.installed().SerializeToString())


if __name__ == "__main__":
    main()
