"""Repositories of versions and what they serve, without a server around."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.server.models.loading import RepositoryOptions
from bench.server.models.repository import Repository
from bench.server.models.states import State
from bench.server.refusal import Code, Refusal
from bench.wire.messages import ModelServerConfig, ModelSpec

QUICK = RepositoryOptions(poll_wait=0.02, max_load_retries=0)
LIMIT = 60.0


def spec(version: int | None = None, label: str | None = None, name: str = "m") -> Any:
    made = ModelSpec(name=name)
    if version is not None:
        made.version.value = version
    if label is not None:
        made.version_label = label
    return made


def config(*models: tuple[str, Path, str], **labels: int) -> Any:
    made = ModelServerConfig()
    made.model_config_list.SetInParent()
    for name, path, policy in models:
        model = made.model_config_list.config.add(name=name, base_path=str(path), model_platform="tensorflow")
        if policy == "all":
            model.model_version_policy.all.SetInParent()
        elif policy:
            model.model_version_policy.specific.versions.extend(map(int, policy.split()))
        model.version_labels.update(labels)
    return made


Start = Callable[..., Repository]


def states(repository: Repository, name: str = "m") -> dict[int, State]:
    return {status.version: status.state for status in repository.statuses(name)}


def served(repository: Repository, asked: Any | None = None) -> int:
    with repository.acquire(asked or spec()) as handle:
        return handle.version


def refusal(repository: Repository, asked: Any) -> tuple[Code, str]:
    with pytest.raises(Refusal) as caught:
        repository.acquire(asked)
    return caught.value.code, caught.value.text
