"""TF Serving's messages without TensorFlow: light, order-safe and the same on the wire."""

import subprocess
import sys

import pytest


def run(code: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={"TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_tensorflow_is_not_loaded() -> None:
    code = """
import sys
from bench.wire import messages
messages.PredictRequest().SerializeToString()
print(sorted(m for m in sys.modules if m == 'tensorflow' or m.startswith('tensorflow.')))
"""
    assert run(code) == ["[]"]


def test_a_name_that_the_stand_in_lacks_is_named() -> None:
    code = """
from bench.wire.messages import without_tensorflow
with without_tensorflow():
    import tensorflow
    try:
        tensorflow.constant
    except AttributeError as error:
        print('constant' in str(error) and 'bench.wire.messages' in str(error))
"""
    assert run(code) == ["True"]


@pytest.mark.parametrize(
    "later",
    ["import tensorflow as tf", "from tensorflow.core.framework import op_def_pb2; import tensorflow as tf"],
)
def test_the_real_package_works_afterwards_with_the_same_classes_and_bytes(later: str) -> None:
    code = f"""
import os
import numpy as np
from bench.wire import messages
array = np.arange(784, dtype=np.float32).reshape(1, 28, 28, 1)
ours = messages.PredictRequest()
ours.model_spec.name = 'mnist'
ours.model_spec.version.value = 2
tensor = ours.inputs['images']
tensor.dtype = messages.types_pb2.DT_FLOAT
for size in array.shape:
    tensor.tensor_shape.dim.add(size=size)
tensor.tensor_content = array.tobytes()
{later}
from tensorflow_serving.apis.predict_pb2 import PredictRequest
theirs = PredictRequest()
theirs.model_spec.name = 'mnist'
theirs.model_spec.version.value = 2
theirs.inputs['images'].CopyFrom(tf.make_tensor_proto(array))
print(PredictRequest is messages.PredictRequest)
print(theirs.SerializeToString(deterministic=True) == ours.SerializeToString(deterministic=True))
print(np.array_equal(tf.make_ndarray(ours.inputs['images']), array))
"""
    assert run(code) == ["True", "True", "True"]
