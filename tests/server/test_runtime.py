"""Only what runs sessions is imported of TensorFlow, unless somebody's plugin or another part of it is needed."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.server.execution import runtime

PROGRAM = """
import sys
from bench.server.execution.runtime import tensorflow

tensorflow()
assert not {"keras", "tensorflow._api", "tensorflow.python.data"} & set(sys.modules), sorted(sys.modules)
import tensorflow as tf
assert "keras" not in sys.modules, "nobody has used it yet"
tf.keras
assert "keras" in sys.modules
import tensorflow
assert tensorflow is not tf and tensorflow.constant(1) + 1 == 2
assert tf.constant(1) + 1 == 2, "who imported it before has all of it too"
"""


def test_a_server_imports_a_part_of_tensorflow_and_the_rest_is_there_when_it_is_used() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_plugins_of_others_need_all_of_tensorflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    assert not runtime._plugged()
    (tmp_path / runtime.PLUGINS).mkdir()
    assert runtime._plugged()
    monkeypatch.undo()
    for name in runtime.PLUGIN_VARIABLES:
        monkeypatch.setenv(name, "1")
        assert runtime._plugged(), name
        monkeypatch.undo()
