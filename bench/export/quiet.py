"""Import of TensorFlow without its output on the terminal."""

import os
import sys
import tempfile
from typing import Any


def tensorflow() -> Any:
    """The real tensorflow package; 2.5 s and 600 MB at the first call.

    TensorFlow's libraries write to file descriptor 2 while they load (oneDNN is on, no CUDA driver was found),
    before their own log level holds, and Python cannot catch that otherwise than by turning the descriptor
    away. Should the import fail, what was written is shown after all.
    """
    if "tensorflow" in sys.modules:
        return sys.modules["tensorflow"]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as remarks:
        os.dup2(remarks.fileno(), 2)
        try:
            import tensorflow as package
        except BaseException:
            remarks.seek(0)
            os.write(stderr, remarks.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
    return package
