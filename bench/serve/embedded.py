"""How do the parts become one server process, and how does it begin and end?"""

import contextlib
import json
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from bench import BenchError
from bench.serve import front, model_config, policy
from bench.serve.batching import Continuous
from bench.serve.calls import Calls
from bench.serve.front import Front, Limits
from bench.serve.loop import Loop
from bench.serve.options import Options, check
from bench.serve.prediction import Predictions
from bench.serve.loading import Options as RepositoryOptions
from bench.serve.repository import Repository
from bench.serve.servable import Code, Loader, Refusal

log = logging.getLogger(__name__)

_SWITCH_INTERVAL: Final = 5e-4
"""Seconds until a thread that computes hands the interpreter to the I/O thread; Python's own 5 ms are 50 answers."""


def serve(options: Options) -> int:
    """Serve until SIGTERM, SIGINT or, if asked, the end of standard input; then 0.

    Raises BenchError where the server cannot start: nothing was served then.
    """
    check(options)
    listeners = _bound(options)
    config = _models(options)
    repository = _repository(options, config)
    try:
        return _Server(options, listeners, repository).run()
    finally:
        repository.stop()


class _Server:
    """The I/O thread's parts, from readiness to drain."""

    def __init__(self, options: Options, listeners: list[socket.socket], repository: Repository) -> None:
        self._options = options
        self._listeners = listeners
        self._loop = Loop()
        predictions = Predictions(
            repository,
            check_method_name=options.enable_signature_method_name_check,
            as_content=options.enable_serialization_as_tensor_content,
        )
        self._executor = Continuous(predictions, self._loop.post, batched=options.batching)
        most = options.max_in_flight
        if options.grpc_max_threads is not None:
            most = min(most or sys.maxsize, max(1, options.grpc_max_threads - 1))
        self._calls = Calls(predictions, self._executor, _unimplemented, self._loop.post, most)
        limits = Limits(options.max_connections, options.max_message_bytes)
        self._front = Front(self._loop, self._calls, limits, None)
        self._loop.after_turn += [self._executor.flush, self._front.flush]

    def run(self) -> int:
        sys.setswitchinterval(_SWITCH_INTERVAL)
        for listener in self._listeners:
            self._front.listen(listener)
        with _signals(self._drain):
            if self._options.exit_with_parent:
                threading.Thread(target=self._watch_parent, name="parent", daemon=True).start()
            self._announce()
            self._loop.run()
        self._executor.close()
        self._calls.close()
        self._loop.close()
        log.info("ended")
        return 0

    def _announce(self) -> None:
        host, port = self._listeners[0].getsockname()[:2]
        ready = {"event": "ready", "grpc": f"{host}:{port}", "rest": None, "pid": os.getpid()}
        log.info("Running gRPC ModelServer at %s:%d ...", host, port)
        print(json.dumps(ready), flush=True)

    def _watch_parent(self) -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        self._drain()

    def _drain(self) -> None:
        """Begin to end. Called from any thread and from signal handlers."""
        self._loop.post(lambda: self._front.drain(self._options.drain_seconds, self._loop.stop))


@contextlib.contextmanager
def _signals(drain: Callable[[], None]) -> Iterator[None]:
    def handle(number: int, _frame: Any) -> None:
        log.info("%s: answering the calls in flight", signal.Signals(number).name)
        drain()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _bound(options: Options) -> list[socket.socket]:
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        return [front.bound(options.bind, options.port, shared=options.processes > 1)]
    except OSError as error:
        raise BenchError(
            f"--port {options.port}: {options.bind}:{options.port} cannot be used ({error.strerror}); "
            "stop the other server or choose another port (0 takes a free one)"
        ) from None


def _models(options: Options) -> Any:
    """The configured models. Raises BenchError for a configuration that could never be served."""
    if options.model_config_file:
        return model_config.read_models(Path(options.model_config_file))
    path = Path(options.model_base_path).resolve()
    if not path.is_dir():
        raise BenchError(f"--model_base_path {path}: no such directory")
    if not policy.versions_in(path):
        raise BenchError(
            f"--model_base_path {path}: holds no version; a version is a folder named by a number"
        )
    return model_config.single(options.model_name, path)


def _repository(options: Options, config: Any) -> Repository:
    """A started repository whose models are available."""
    repository = Repository(
        _loader(options),
        RepositoryOptions(
            poll_wait=options.file_system_poll_wait_seconds,
            load_threads=max(1, options.num_load_threads),
            max_load_retries=options.max_num_load_retries,
            load_retry_interval=options.load_retry_interval_micros / 1e6,
            labels_for_unavailable=options.allow_version_labels_for_unavailable_models,
        ),
    )
    try:
        repository.start(config)
        repository.wait_until_ready()
    except Refusal as refusal:
        repository.stop()
        raise BenchError(f"Failed to start server. Error: {' '.join(str(refusal).split())}") from None
    return repository


def _loader(options: Options) -> Loader:
    from bench.serve import backend

    threads = options.tensorflow_session_parallelism
    session = backend.SessionOptions(
        tags=tuple(options.saved_model_tags.split(",")),
        intra_op=options.tensorflow_intra_op_parallelism or threads or None,
        inter_op=options.tensorflow_inter_op_parallelism or threads or None,
        device=options.device,
    )

    def load(model: str, version: int, path: Path) -> backend.TensorFlowServable:
        return backend.load(model, version, path, session)

    return load


def _unimplemented(_path: str, _request: bytes) -> bytes:
    raise Refusal(Code.UNIMPLEMENTED, "")
