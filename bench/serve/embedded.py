"""How do the parts become one server process, and how does it begin and end?"""

import contextlib
import functools
import json
import logging
import os
import resource
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from bench import BenchError
from bench.serve import front, model_config, policy, synthetic, tls
from bench.serve.batching import Continuous, Executor, Runner
from bench.serve.calls import Calls
from bench.serve.front import Front, Limits
from bench.serve.loading import Options as RepositoryOptions
from bench.serve.loop import Loop
from bench.serve.metrics import Metrics
from bench.serve.null import NullCalls
from bench.serve.options import Options, check
from bench.serve.prediction import Predictions
from bench.serve.repository import Repository
from bench.serve.servable import Loader, Refusal
from bench.serve.services import Services
from bench.serve.synthetic import Delays

log = logging.getLogger(__name__)

_SWITCH_INTERVAL: Final = 5e-4
"""Seconds until a thread that computes hands the interpreter to the I/O thread; Python's own 5 ms are 50 answers."""


def serve(options: Options) -> int:
    """Serve until SIGTERM, SIGINT or, if asked, the end of standard input; then 0.

    Raises BenchError where the server cannot start: nothing was served then.
    """
    check(options)
    context = tls.context(Path(options.ssl_config_file)) if options.ssl_config_file else None
    listeners = _bound(options)
    repository = None if options.backend == "null" else _repository(options)
    try:
        return _Server(options, listeners, repository, context).run()
    finally:
        if repository is not None:
            repository.stop()


class _Server:
    """The I/O thread's parts, from readiness to drain."""

    def __init__(
        self,
        options: Options,
        listeners: list[socket.socket],
        repository: Repository | None,
        context: ssl.SSLContext | None,
    ) -> None:
        self._options = options
        self._listeners = listeners
        self._loop = Loop()
        self._executor: Executor | None = None
        self._calls: Calls | NullCalls
        if repository is None:
            self._calls = NullCalls(echo=options.echo)
        else:
            self._calls = self._with_models(repository)
        limits = Limits(options.max_connections, options.max_message_bytes)
        self._front = Front(self._loop, self._calls, limits, context)
        self._loop.after_turn.append(self._front.flush)

    def _with_models(self, repository: Repository) -> Calls:
        options = self._options
        metrics = Metrics()
        predictions = Predictions(
            repository,
            metrics=metrics,
            check_method_name=options.enable_signature_method_name_check,
            as_content=options.enable_serialization_as_tensor_content,
        )
        runner = Runner(predictions, metrics)
        services = Services(
            repository,
            predictions,
            metrics,
            execute=runner.execute,
            check_method_name=options.enable_signature_method_name_check,
            health=options.enable_grpc_healthcheck_service,
        )
        executor: Executor
        if options.backend == "synthetic":
            executor = Delays(predictions, self._loop, options)
        else:
            executor = Continuous(predictions, runner, self._loop.post, batched=options.batching)
        self._executor = executor
        self._loop.after_turn.append(executor.flush)
        most = options.max_in_flight
        if options.grpc_max_threads is not None:
            # one thread of the original always polls, so one call less than threads can run
            most = min(most or sys.maxsize, max(1, options.grpc_max_threads - 1))
        return Calls(predictions, executor, services.handle_rpc, self._loop.post, most)

    def run(self) -> int:
        sys.setswitchinterval(_SWITCH_INTERVAL)
        for listener in self._listeners:
            self._front.listen(listener)
        with _signals(self._drain):
            if self._options.exit_with_parent:
                threading.Thread(target=self._watch_parent, name="parent", daemon=True).start()
            self._announce()
            self._loop.run()
        if self._executor is not None:
            self._executor.close()
        self._calls.close()
        self._loop.close()
        log.info("ended")
        return 0

    def _announce(self) -> None:
        host, port = self._listeners[0].getsockname()[:2]
        ready: dict[str, Any] = {
            "event": "ready",
            "grpc": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
            "rest": None,
            "pid": os.getpid(),
            "backend": self._options.backend,
        }
        if self._options.grpc_socket_path:
            ready["socket"] = self._options.grpc_socket_path
        if isinstance(self._executor, Delays):
            ready["synthetic"] = self._executor.schedule()
        log.info("Running gRPC ModelServer at %s ...", ready["grpc"])
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
    """The sockets to listen on, the TCP one first. Raises BenchError where one is in use."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        listeners = [front.bound(options.bind, options.port, shared=options.processes > 1)]
    except OSError as error:
        raise BenchError(
            f"--port {options.port}: {options.bind}:{options.port} cannot be used ({error.strerror}); "
            "stop the other server or choose another port (0 takes a free one)"
        ) from None
    if options.grpc_socket_path:
        try:
            listeners.append(front.bound_unix(Path(options.grpc_socket_path)))
        except OSError as error:
            listeners[0].close()
            raise BenchError(
                f"--grpc_socket_path {options.grpc_socket_path}: {error.strerror or error}"
            ) from None
    return listeners


def _repository(options: Options) -> Repository:
    """A started repository whose models are available. Raises BenchError where they cannot become so."""
    from_config = bool(options.model_config_file)
    config = model_config.read_models(Path(options.model_config_file)) if from_config else None
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
        repository.start(config or model_config.single(options.model_name, _base_path(options)))
        repository.wait_until_ready()
    except Refusal as refusal:
        repository.stop()
        raise BenchError(f"Failed to start server. Error: {' '.join(str(refusal).split())}") from None
    return repository


def _base_path(options: Options) -> Path:
    """The one model's folder. Raises BenchError where the original would wait for ever."""
    path = Path(options.model_base_path).resolve()
    if not path.is_dir():
        raise BenchError(f"--model_base_path {path}: no such folder")
    if not policy.versions_in(path):
        raise BenchError(
            f"--model_base_path {path}: holds no version; a version is a folder named by a number"
        )
    return path


def _loader(options: Options) -> Loader:
    if options.backend == "synthetic":
        return synthetic.load
    from bench.serve import backend

    threads = options.tensorflow_session_parallelism
    session = backend.SessionOptions(
        tags=tuple(options.saved_model_tags.split(",")),
        intra_op=options.tensorflow_intra_op_parallelism or threads or None,
        inter_op=options.tensorflow_inter_op_parallelism or threads or None,
        device=options.device,
    )
    return functools.partial(backend.load, options=session)
