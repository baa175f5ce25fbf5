"""Print what TensorFlow itself makes of serialised TensorProtos. Run in a process of its own.

Reads length-prefixed messages from standard input and writes a line of JSON for each: null where TensorFlow cannot
parse it, else dtype, shape and memory (strings: a list) in hexadecimal.
"""

import json
import struct
import sys


def main() -> None:
    import tensorflow as tf

    data = sys.stdin.buffer.read()
    at = 0
    while at < len(data):
        dtype, size = struct.unpack_from("<ii", data, at)
        message = data[at + 8 : at + 8 + size]
        at += 8 + size
        print(json.dumps(described(tf, dtype, message)))


def described(tf: object, dtype: int, message: bytes) -> dict[str, object] | None:
    try:
        tensor = tf.io.parse_tensor(message, tf.as_dtype(dtype))  # type: ignore[attr-defined]
    except (tf.errors.InvalidArgumentError, TypeError, ValueError):  # type: ignore[attr-defined]
        return None
    array = tensor.numpy()
    if dtype == 7:
        values: object = [value.hex() for value in (array.ravel().tolist() if tensor.shape.rank else [array])]
    else:
        values = array.tobytes().hex()
    return {"shape": tensor.shape.as_list(), "values": values}


if __name__ == "__main__":
    main()
