"""Configuration files for a server, in protobuf text format."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from google.protobuf import text_format

from bench.config.servers import Batching
from bench.launch.running import Served
from bench.server.textproto import BatchingParameters, MonitoringConfig
from bench.wire.messages import ModelConfig, ModelServerConfig

METRICS_PATH: Final = "/monitoring/prometheus/metrics"


def write(
    folder: Path,
    models: Sequence[Served],
    batching: Batching | None,
    seen: Callable[[Path], str] = str,
    base_path: Callable[[Served], str] = lambda model: str(model.path),
) -> dict[str, bool | int | float | str]:
    """Write the files into a folder; gives the flags that name them.

    `seen` and `base_path`: how the server sees a path of a file and the folder of a model.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "model_config_file": _models(models, base_path),
        "monitoring_config_file": text_format.MessageToString(_monitoring()),
    }
    if batching is not None:
        texts["batching_parameters_file"] = batching_text(batching)
    flags: dict[str, bool | int | float | str] = {}
    for flag, text in texts.items():
        path = folder / f"{flag.removesuffix('_file')}.pbtxt"
        path.write_text(text)
        path.chmod(0o644)  # a container's user reads it too
        flags[flag] = seen(path)
    return flags


def _models(models: Sequence[Served], base_path: Callable[[Served], str]) -> str:
    config = ModelServerConfig()
    config.model_config_list.SetInParent()
    for model in models:
        entry = ModelConfig(name=model.name, base_path=base_path(model), model_platform="tensorflow")
        if model.versions:
            entry.model_version_policy.specific.versions.extend(model.versions)
        config.model_config_list.config.append(entry)
    return str(text_format.MessageToString(config))


def _monitoring() -> object:
    config = MonitoringConfig()
    config.prometheus_config.enable = True
    config.prometheus_config.path = METRICS_PATH
    return config


def batching_text(batching: Batching) -> str:
    """BatchingParameters in protobuf text format."""
    parameters = BatchingParameters()
    for name in ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads"):
        value = getattr(batching, name)
        if value is not None:
            getattr(parameters, name).value = value
    parameters.allowed_batch_sizes.extend(batching.allowed_batch_sizes)
    return str(text_format.MessageToString(parameters))
