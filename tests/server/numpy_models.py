"""A model of one number: small enough to load thousands of versions, real enough to be asked.

A version's folder holds `factor.txt`; the model multiplies its input by that number.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.server.refusal import Code, Refusal
from bench.wire.messages import SignatureDef, types_pb2

Array = np.ndarray[Any, Any]


def signature(
    inputs: Mapping[str, int], outputs: Mapping[str, int], method: str = "tensorflow/serving/predict"
) -> Any:
    """A SignatureDef with these dtypes by alias."""
    made = SignatureDef(method_name=method)
    for alias, dtype in inputs.items():
        made.inputs[alias].name = f"{alias}:0"
        made.inputs[alias].dtype = dtype
    for alias, dtype in outputs.items():
        made.outputs[alias].name = f"{alias}_out:0"
        made.outputs[alias].dtype = dtype
    return made


FLOAT, INT64, STRING = types_pb2.DT_FLOAT, types_pb2.DT_INT64, types_pb2.DT_STRING
SIGNATURES = {
    "serving_default": signature({"x": FLOAT}, {"y": FLOAT}),
    "two": signature({"a": FLOAT, "b": FLOAT}, {"sum": FLOAT, "product": FLOAT}),
    "words": signature({"text": STRING}, {"text_bytes": STRING, "length": INT64}),
}


class Factor:
    """Multiplies by the number in its folder."""

    def __init__(self, factor: float) -> None:
        self.signatures = SIGNATURES
        self.factor = np.float32(factor)
        self.closed = False

    def run(self, name: str, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        assert not self.closed, "a request runs on a closed version"
        results: dict[str, Array]
        if name == "serving_default":
            if inputs["x"].dtype != np.float32:
                raise Refusal(Code.INVALID_ARGUMENT, "Expects arg[0] to be float")
            with np.errstate(invalid="ignore"):  # of a signalling NaN, which any four bytes can be
                results = {"y": inputs["x"] * self.factor}
        elif name == "two":
            results = {"sum": inputs["a"] + inputs["b"], "product": inputs["a"] * inputs["b"]}
        else:
            text = inputs["text"]
            results = {"text_bytes": text, "length": np.vectorize(len, otypes=[np.int64])(text)}
        return {alias: results[alias] for alias in outputs}

    def close(self) -> None:
        assert not self.closed
        self.closed = True


def load(_model: str, _version: int, path: Path) -> Factor:
    """The loader; a folder without the file is a broken version."""
    try:
        return Factor(float((path / "factor.txt").read_text()))
    except OSError:
        raise Refusal(Code.NOT_FOUND, f"no factor in {path}") from None


def write(base_path: Path, version: int, factor: float) -> None:
    """Publish a version at once, as it should be done: written aside, then renamed."""
    aside = base_path / f"{version}_tmp"
    aside.mkdir(parents=True)
    (aside / "factor.txt").write_text(str(factor))
    aside.rename(base_path / str(version))


class Gate:
    """A loader that loads a version only when the test has opened it, and tells what it was asked for."""

    def __init__(self, inner: Callable[[str, int, Path], Factor] = load) -> None:
        self._inner = inner
        self._opened: dict[int, threading.Event] = {}
        self._lock = threading.Lock()
        self.asked: list[int] = []
        self.loaded: dict[int, Factor] = {}

    def __call__(self, model: str, version: int, path: Path) -> Factor:
        with self._lock:
            self.asked.append(version)
        assert self._event(version).wait(20), f"version {version} was never opened"
        self.loaded[version] = self._inner(model, version, path)
        return self.loaded[version]

    def open(self, *versions: int) -> None:
        for version in versions:
            self._event(version).set()

    def _event(self, version: int) -> threading.Event:
        with self._lock:
            return self._opened.setdefault(version, threading.Event())
