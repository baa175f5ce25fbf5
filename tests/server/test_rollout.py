"""Versions and configurations change under load, and no request notices."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf import text_format

from bench import mnist
from bench.launch import server_process
from bench.launch.server_process import Server
from bench.wire import messages
from bench.wire.messages import PredictResponse
from tests.server.clients import LONG, channel, eventually, images

DIGITS = mnist.load("test")


class Askers:
    """Threads that ask without a pause and note which version answered, and what failed."""

    def __init__(self, address: str, scores: dict[int, np.ndarray]) -> None:
        self.versions: list[int] = []
        self.failures: list[str] = []
        self._address = address
        self._scores = scores
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(3)]

    def __enter__(self) -> "Askers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def progress(self, count: int = 50) -> None:
        """Wait for so many further answers."""
        wanted = len(self.versions) + count
        eventually(lambda: len(self.versions) >= wanted or bool(self.failures))

    def _ask(self, first: int) -> None:
        with channel(self._address, **{"grpc.use_local_subchannel_pool": 1}) as through:
            call = through.unary_unary(messages.PREDICT)
            number, newest = first, 0
            while not self._stop.is_set():
                digit = number % 100
                number += 1
                try:
                    reply = call(images(DIGITS.images[digit : digit + 1], model="mnist"), timeout=LONG)
                except grpc.RpcError as error:
                    self.failures.append(f"{error.code().name}: {error.details()}")
                    return
                response = PredictResponse.FromString(reply)
                version = response.model_spec.version.value
                expected = self._scores[2 - version % 2][digit]
                if not np.allclose(response.outputs["scores"].float_val, expected, rtol=1e-4, atol=1e-5):
                    self.failures.append(f"digit {digit} answered wrongly by version {version}")
                if version < newest:
                    self.failures.append(f"version {version} answered after {newest}")
                newest = version
                self.versions.append(version)


@contextmanager
def serving(base_path: Path, policy: str = "") -> Iterator[Server]:
    config = base_path.parent / "models.config"
    config.write_text(configuration(base_path, policy))
    with server_process.embedded(
        [f"--model_config_file={config}", "--file_system_poll_wait_seconds=0.05"]
    ) as server:
        yield server


def configuration(base_path: Path, policy: str) -> str:
    return (
        f'model_config_list {{ config {{ name: "mnist" base_path: "{base_path}" '
        f'model_platform: "tensorflow" {policy} }} }}'
    )


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[Server]:
    """Serves both versions."""
    with serving(models / "mnist", "model_version_policy { all {} }") as made:
        yield made


@pytest.fixture(scope="module")
def scores(server: Server) -> dict[int, np.ndarray]:
    """The right scores of both versions for the first hundred digits, by version."""
    found = {}
    with channel(server.address) as through:
        for version in (1, 2):
            request = images(DIGITS.images[:100], model="mnist", version=version)
            response = PredictResponse.FromString(through.unary_unary(messages.PREDICT)(request))
            found[version] = np.array(response.outputs["scores"].float_val).reshape(100, 10)
    assert not np.allclose(found[1], found[2])
    return found


def publish(models: Path, base_path: Path, version: int) -> None:
    """Odd versions are copies of version 1, even ones of version 2; each appears whole."""
    aside = base_path / f"{version}_tmp"
    shutil.copytree(models / "mnist" / str(2 - version % 2), aside)
    aside.rename(base_path / str(version))


def test_versions_follow_each_other_without_a_failure(
    models: Path, tmp_path: Path, scores: dict[int, np.ndarray]
) -> None:
    base_path = tmp_path / "mnist"
    base_path.mkdir()
    publish(models, base_path, 1)
    with serving(base_path) as server, Askers(server.address, scores) as askers:
        for version in range(2, 8):
            askers.progress()
            publish(models, base_path, version)
            eventually(lambda version=version: version in askers.versions or bool(askers.failures))
            eventually(lambda old=version - 1: f"version {old} unloaded" in server.log_text())
        askers.progress()
    assert askers.failures == []
    assert sorted(set(askers.versions)) == list(range(1, 8))


def test_configurations_follow_each_other_without_a_failure(
    models: Path, server: Server, scores: dict[int, np.ndarray]
) -> None:
    with channel(server.address) as through:

        def reload(versions: str) -> None:
            request = messages.ReloadConfigRequest()
            policy = f"model_version_policy {{ specific {{ {versions} }} }}"
            text_format.Parse(configuration(models / "mnist", policy), request.config)
            through.unary_unary(messages.RELOAD_CONFIG)(request.SerializeToString(), timeout=LONG)

        reload("versions: 1")
        eventually(lambda: "version 2 unloaded" in server.log_text())
        with Askers(server.address, scores) as askers:
            askers.progress()
            reload("versions: 1 versions: 2")
            eventually(lambda: 2 in askers.versions or bool(askers.failures))
            reload("versions: 2")
            eventually(lambda: "version 1 unloaded" in server.log_text())
            askers.progress()
    assert askers.failures == []
    assert set(askers.versions) == {1, 2}
