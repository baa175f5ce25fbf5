"""Execution of SavedModels as TensorFlow Serving does it, at a few microseconds a call.

The graph runs in a TF1-style session through a callable with fixed feeds and fetches. With one intra-op thread
and `inter_op_parallelism_threads=-1` every op runs in the calling thread: the softmax model takes 9 us for one
image and 15 us for 32, against 330-510 us for the eager signature call. Larger models gain from a pool of
threads: which of the two a model gets is decided by measuring when it is loaded, unless a flag decides it.
"""

import gc
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from bench.server.api.tensors import storage_of
from bench.server.execution.probe import Traits, examine, untried
from bench.server.execution.purity import pure_signatures
from bench.server.execution.runtime import gpus, tensorflow
from bench.server.refusal import Code, Refusal
from bench.wire.dtypes import type_name
from bench.wire.messages import SignatureDef

log = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]

_POOL_WORTHWHILE: Final = 2e-3
"""Seconds for 32 examples in one thread from which a pool of threads is tried; below, it only costs."""
_POOL_MUST_GAIN: Final = 0.8


@dataclass(frozen=True)
class SessionOptions:
    """Options of sessions; thread counts of None are chosen by measuring."""

    tags: tuple[str, ...] = ("serve",)
    intra_op: int | None = None
    inter_op: int | None = None
    device: str = "auto"


class TensorFlowServable:
    """One loaded model version. `run` may be called from several threads at once."""

    def __init__(self, session: Any, signatures: Mapping[str, SignatureDef], threads: str) -> None:
        self.signatures = MappingProxyType(dict(signatures))
        self.traits: Mapping[str, Traits] = {}
        self.threads = threads
        """How ops are scheduled: "caller" or "pool" (or what flags asked for)."""
        self._session = session
        self._calls: dict[tuple[str, tuple[str, ...], tuple[str, ...]], _Call] = {}

    def run(self, signature: str, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Output alias -> array, for the input alias -> array given.

        Raises Refusal with TensorFlow's own code and text, and with TensorFlow Serving's text for a wrong dtype.
        """
        key = (signature, tuple(inputs), tuple(outputs))
        call = self._calls.get(key)
        if call is None:
            call = self._calls[key] = self._prepare(*key)
        return call(inputs)

    def close(self) -> None:
        """Free the model's memory now."""
        self._calls.clear()
        self._session.close()
        # a closed session keeps its variables until it is deleted, which reference cycles in TensorFlow's Python
        # layer put off until the next full collection: some twenty versions later
        self._session = None
        gc.collect()

    def _prepare(self, name: str, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> "_Call":
        signature = self.signatures[name]
        # TensorFlow numbers arguments in the order of the sorted tensor names; its error texts show the number.
        aliases = tuple(sorted(inputs, key=lambda alias: signature.inputs[alias].name))
        feeds = [signature.inputs[alias].name for alias in aliases]
        fetches = [signature.outputs[alias].name for alias in outputs]
        dtypes = tuple(_numpy_dtype(signature.inputs[alias].dtype) for alias in aliases)
        with _refusing():
            return _Call(_session_callable(self._session, feeds, fetches), aliases, dtypes, outputs)


class _Call:
    """A session callable with the names and dtypes of its arguments."""

    __slots__ = ("_aliases", "_dtypes", "_outputs", "_run")

    def __init__(
        self,
        run: Callable[..., list[Array]],
        aliases: tuple[str, ...],
        dtypes: tuple[np.dtype[Any], ...],
        outputs: tuple[str, ...],
    ) -> None:
        self._run, self._aliases, self._dtypes, self._outputs = run, aliases, dtypes, outputs

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        arrays = [inputs[alias] for alias in self._aliases]
        for position, (array, want) in enumerate(zip(arrays, self._dtypes, strict=True)):
            if array.dtype != want and not (want.kind == "O" and array.dtype.kind == "S"):
                raise Refusal(
                    Code.INVALID_ARGUMENT,
                    f"Expects arg[{position}] to be {_name_of(want)} but {_name_of(array.dtype)} is provided",
                )
        try:
            results: list[Any] = self._run(*arrays)
        except tensorflow().OpError as error:
            raise Refusal(error.error_code, error.message) from error
        except UnicodeDecodeError as error:
            # the text of an error that quotes a string which is no UTF-8; its code is lost on the way
            raise Refusal(Code.INVALID_ARGUMENT, error.object.decode(errors="replace")) from error
        if any(type(result) is bytes for result in results):
            # the session gives a string without dimensions as bytes
            results = [np.array(result, object) if type(result) is bytes else result for result in results]
        return dict(zip(self._outputs, results, strict=True))


def load(model: str, version: int, path: Path, options: SessionOptions) -> TensorFlowServable:
    """Load the SavedModel in `path`, measure it and choose its threads.

    Raises Refusal with TensorFlow Serving's code and text where the directory holds no usable SavedModel.
    """
    if not (path / "saved_model.pb").is_file() and not (path / "saved_model.pbtxt").is_file():
        raise Refusal(
            Code.NOT_FOUND,
            "Specified file path does not appear to contain a SavedModel bundle (should have a file called "
            f"`saved_model.pb`)\nSpecified file path: {path}",
        )
    servable = _with_threads(path, options)
    batched = [name for name, traits in servable.traits.items() if traits.rows_independent]
    log.info(
        "model %s version %d: threads %s, signatures that may be batched: %s",
        model,
        version,
        servable.threads,
        ", ".join(sorted(batched)) or "none",
    )
    return servable


def _with_threads(path: Path, options: SessionOptions) -> TensorFlowServable:
    """The SavedModel in a session whose threads suit it, or are those of the options."""
    if options.intra_op is not None or options.inter_op is not None:
        intra, inter = options.intra_op or 0, options.inter_op or 0
        return _open(path, options, intra, inter, f"{intra}/{inter}")
    alone = _open(path, options, 1, -1, "caller")
    cores = len(os.sched_getaffinity(0))
    costly = [
        name
        for name, traits in alone.traits.items()
        if _POOL_WORTHWHILE < traits.pace.expected(32) < float("inf")
    ]
    if cores == 1 or not costly:
        return alone
    pooled = _open(path, options, cores, -1, "pool")
    before, after = (
        sum(servable.traits[name].pace.expected(32) for name in costly) for servable in (alone, pooled)
    )
    chosen, other = (pooled, alone) if after < before * _POOL_MUST_GAIN else (alone, pooled)
    other.close()
    return chosen


def _open(path: Path, options: SessionOptions, intra: int, inter: int, threads: str) -> TensorFlowServable:
    tf = tensorflow()
    devices = {"GPU": 0} if options.device == "cpu" else {}
    if options.device == "gpu" and not gpus():
        raise Refusal(Code.INVALID_ARGUMENT, "--device gpu: TensorFlow sees no GPU here; use --device cpu")
    config = tf.ConfigProto(
        intra_op_parallelism_threads=intra,
        inter_op_parallelism_threads=inter,
        device_count=devices,
        allow_soft_placement=True,
    )
    graph = tf.Graph()
    session = tf.Session(graph=graph, config=config)
    try:
        with graph.as_default(), _refusing():
            meta = tf.load(session, list(options.tags), str(path))
    except Refusal:
        session.close()
        raise
    # TensorFlow has message classes of its own
    signatures = {
        name: SignatureDef.FromString(signature.SerializeToString())
        for name, signature in meta.signature_def.items()
    }
    servable = TensorFlowServable(session, signatures, threads)
    pure = pure_signatures(meta, _is_stateful)
    clock = time.thread_time if (intra, inter) == (1, -1) else time.perf_counter
    servable.traits = {
        name: examine(servable, name, clock) if name in pure else untried() for name in servable.signatures
    }
    return servable


def _session_callable(session: Any, feeds: list[str], fetches: list[str]) -> Callable[..., list[Array]]:
    """A function of the fed arrays that returns the fetched ones.

    `_make_callable_from_options` is private but has been stable since TensorFlow 1.5; the public
    `Session.run` gives the same answers at 7 times the cost.
    """
    if hasattr(session, "_make_callable_from_options"):
        options = tensorflow().CallableOptions(feed=feeds, fetch=fetches)
        function: Callable[..., list[Array]] = session._make_callable_from_options(options)
        return function

    def run(*arrays: Array) -> list[Array]:
        fetched: list[Array] = session.run(fetches, dict(zip(feeds, arrays, strict=True)))
        return fetched

    return run


class _refusing:  # noqa: N801 - reads as a block: "with _refusing():"
    """TensorFlow's errors within the block leave it as Refusal, with TensorFlow's code and text."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if error is None or isinstance(error, Refusal):
            return
        if isinstance(error, tensorflow().OpError):
            raise Refusal(error.error_code, error.message) from error
        if isinstance(error, RuntimeError | OSError):  # the loader: no such tags, unreadable protobuf
            raise Refusal(Code.NOT_FOUND, str(error)) from error
        if isinstance(error, ValueError | TypeError | KeyError):  # a fed shape, a name that is no tensor
            raise Refusal(Code.INVALID_ARGUMENT, str(error)) from error


def _is_stateful(op: str) -> bool:
    definition = tensorflow().op_def(op)
    return definition is None or bool(definition.is_stateful)


def _numpy_dtype(dtype: int) -> np.dtype[Any]:
    converted: np.dtype[Any] = np.dtype(tensorflow().as_dtype(dtype).as_numpy_dtype)
    return converted


def _name_of(dtype: np.dtype[Any]) -> str:
    return type_name(storage_of(dtype).enum)
