"""The models that the server starts with, and how each version is loaded."""

import contextlib
import logging
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from bench import BenchError
from bench.server import warmup
from bench.server.execution import synthetic
from bench.server.metrics import Metrics
from bench.server.models import model_config, policy
from bench.server.models.loading import RepositoryOptions
from bench.server.models.repository import Repository
from bench.server.models.servable import Loader, Servable
from bench.server.models.states import State
from bench.server.options import ServerFlags
from bench.server.refusal import Refusal

log = logging.getLogger(__name__)

_OTHERS_SECONDS: Final = 20.0


@contextlib.contextmanager
def serving(options: ServerFlags, metrics: Metrics) -> Iterator[Repository]:
    """A repository whose models are available, for the length of the block.

    Raises BenchError where they cannot become so.
    """
    with contextlib.ExitStack() as cleanup:
        config = _config(options, cleanup)
        repository = Repository(
            _loader(options, metrics),
            RepositoryOptions(
                poll_wait=options.file_system_poll_wait_seconds,
                load_threads=max(1, options.num_load_threads),
                max_load_retries=options.max_num_load_retries,
                load_retry_interval=options.load_retry_interval_micros / 1e6,
                labels_for_unavailable=options.allow_version_labels_for_unavailable_models,
            ),
        )
        metrics.serves = repository.serves
        cleanup.callback(repository.stop)
        try:
            repository.start(config)
            repository.wait_until_ready()
        except Refusal as refusal:
            raise BenchError(f"Failed to start server. Error: {' '.join(str(refusal).split())}") from None
        _await_others(config, repository)
        if options.model_config_file and options.model_config_file_poll_wait_seconds > 0:
            repository.follow(Path(options.model_config_file), options.model_config_file_poll_wait_seconds)
        yield repository


def _await_others(config: Any, repository: Repository) -> None:
    """Let the further versions of each model become available too, for a while.

    The original listens when there is one of each model; a client that asks for another one at once is refused.
    """
    until = time.monotonic() + _OTHERS_SECONDS
    for model in config.model_config_list.config:
        versions = policy.versions_in(Path(model.base_path))
        for version in policy.aspired(versions, model.model_version_policy):
            left = max(0.0, until - time.monotonic())
            if not repository.wait_for(model.name, version, State.AVAILABLE, left):
                log.warning("model %s version %d is not available yet", model.name, version)


def _config(options: ServerFlags, cleanup: contextlib.ExitStack) -> Any:
    """The ModelServerConfig to begin with. Raises BenchError for one that would be waited for in vain."""
    if options.model_config_file:
        path = Path(options.model_config_file)
        config = model_config.read_models(path)
        origin = f"{path}: base_path"
    elif options.model_base_path:
        config = model_config.single(options.model_name, Path(options.model_base_path).resolve())
        origin = "--model_base_path"
    else:  # a synthetic model that is in no folder: an empty one stands for its only version
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="synthetic-")))
        (folder / "1").mkdir()
        config = model_config.single(options.model_name, folder)
        origin = "--model_base_path"
    for model in config.model_config_list.config:
        _probe(Path(model.base_path), model.model_version_policy, origin)
    return config


def _probe(path: Path, versions: Any, origin: str) -> None:
    """Where nothing can be loaded the original waits for ever with its ports closed: say so instead."""
    if not path.is_dir():
        raise BenchError(f"{origin} {path}: no such folder")
    present = policy.versions_in(path)
    if not present:
        raise BenchError(f"{origin} {path}: holds no version; a version is a folder named by a number")
    if not policy.aspired(present, versions):
        listed = ", ".join(map(str, sorted(present)))
        raise BenchError(f"{origin} {path}: none of the policy's versions exists, only {listed}")


def _loader(options: ServerFlags, metrics: Metrics) -> Loader:
    if options.backend == "synthetic":
        return synthetic.load
    from bench.server.execution import backend

    threads = options.tensorflow_session_parallelism
    session = backend.SessionOptions(
        tags=tuple(options.saved_model_tags.split(",")),
        intra_op=options.tensorflow_intra_op_parallelism or threads or None,
        inter_op=options.tensorflow_inter_op_parallelism or threads or None,
        device=options.device,
    )

    def load(model: str, version: int, path: Path) -> Servable:
        servable = backend.load(model, version, path, session)
        if options.enable_model_warmup:
            try:
                warmup.play(servable, path, options.num_request_iterations_for_warmup or 1, metrics)
            except Refusal:
                servable.close()
                raise
        return servable

    return load
