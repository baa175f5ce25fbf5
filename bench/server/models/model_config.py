"""Checks of a list of models against the one served now.

The checks of a ModelServerConfig in the original's order and words (model_servers/server_core.cc).
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from bench import BenchError
from bench.server.refusal import Code, Refusal
from bench.server.textproto import read
from bench.wire.messages import ModelConfig, ModelServerConfig

PLATFORM: Final = "tensorflow"
"""The only model platform of the stock binary."""

_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

Models = Mapping[str, Any]
"""ModelConfig by model name."""


def single(name: str, base_path: Path) -> Any:
    """The ModelServerConfig of `--model_name` and `--model_base_path`."""
    config = ModelServerConfig()
    config.model_config_list.config.append(
        ModelConfig(name=name, base_path=str(base_path), model_platform=PLATFORM)
    )
    return config


def read_models(path: Path) -> Any:
    """The ModelServerConfig in a file. Raises `BenchError` with line and column."""
    config = read(path, ModelServerConfig)
    if config.WhichOneof("config") == "custom_model_config":
        raise BenchError(
            f"{path}: custom_model_config is not supported; list the models in model_config_list"
        )
    for model in config.model_config_list.config:
        if model.model_platform not in {"", PLATFORM}:
            raise BenchError(
                f"{path}: {_place_of(path, model.model_platform)}Model {model.name} requests unsupported platform "
                f"{model.model_platform}; the only one is {PLATFORM}"
            )
    return config


def _place_of(path: Path, platform: str) -> str:
    """`line:column: ` of the first entry with this platform; empty where it is spelt in another way."""
    text = path.read_text(encoding="utf-8")
    match = re.search(rf"model_platform\s*:\s*([\"']){re.escape(platform)}\1", text)
    if match is None:
        return ""
    line = text.count("\n", 0, match.start()) + 1
    return f"{line}:{match.start() - text.rfind(chr(10), 0, match.start())}: "


def check(config: Any, stored: Any) -> None:
    """Check a ModelServerConfig by itself and against the one stored before it, which may never have been applied.

    A stored model without a platform makes the original refuse every later configuration. Raises `Refusal`.
    """
    listed = list(config.model_config_list.config)
    _unique_and_absolute(listed)
    platforms = {model.name: _platform(model) for model in stored.model_config_list.config}
    for model in listed:
        before = platforms.get(model.name)
        if before is not None and before != (platform := _platform(model)):
            _refuse(
                f"Illegal to change a model's platform. For model {model.name} platform was {before} "
                f"and new platform requested is {platform}"
            )


def accepted(
    config: Any, current: Models, available: Callable[[str, int], bool], labels_for_unavailable: bool
) -> dict[str, Any]:
    """The models of a checked ModelServerConfig that may follow `current`, by name.

    `available(model, version)` says whether a version serves now; a label may only point to one that does, unless
    `labels_for_unavailable` and the label is new or keeps its version. Raises `Refusal`.
    """
    listed = list(config.model_config_list.config)
    for model in listed:
        before = dict(current[model.name].version_labels) if model.name in current else {}
        for label, version in sorted(model.version_labels.items()):
            if available(model.name, version) or (
                labels_for_unavailable and before.get(label, version) == version
            ):
                continue
            raise Refusal(
                Code.FAILED_PRECONDITION,
                f"Request to assign label to version {version} of model {model.name}, "
                "which is not currently available for inference",
            )
    models = {model.name: _with_platform(model) for model in listed}
    for name, model in models.items():
        if name not in current and model.model_platform != PLATFORM:
            _refuse(f"Model {name} requests unsupported platform {model.model_platform}")
        if model.HasField("logging_config"):
            _refuse("No request-logger-creator provided.")
    return models


def _unique_and_absolute(listed: list[Any]) -> None:
    seen: set[str] = set()
    for model in listed:
        if model.name in seen:
            _refuse(f"Illegal to list model {model.name} multiple times in config list")
        seen.add(model.name)
    for model in listed:
        if not Path(model.base_path).is_absolute() and not _URI.match(model.base_path):
            _refuse(
                f"Expected model {model.name} to have an absolute path or URI; got base_path()={model.base_path}"
            )


def _platform(model: Any) -> str:
    """The platform of a ModelConfig, whichever of the two fields names it. Raises `Refusal`."""
    if model.model_type and model.model_platform:
        _refuse(
            "Illegal setting both ModelServerConfig::model_type (deprecated) and "
            f"ModelServerConfig::model_platform, model name is {model.name}"
        )
    if not model.model_type and not model.model_platform:
        _refuse(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            f"ModelServerConfig::model_platform, model name is {model.name}"
        )
    if model.model_type:
        return PLATFORM if model.model_type == 1 else "other"
    return str(model.model_platform)


def _with_platform(model: Any) -> Any:
    """The ModelConfig with its platform spelled out. Raises `Refusal`."""
    known = ModelConfig()
    known.CopyFrom(model)
    known.model_platform = _platform(model)
    known.ClearField("model_type")
    return known


def _refuse(text: str) -> None:
    raise Refusal(Code.INVALID_ARGUMENT, text)
