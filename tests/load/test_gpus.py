"""bench.load.observing.gpus: which GPUs there are, what they went through, and which of them the server uses."""

import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.load.locust_glue import observed
from bench.load.observing import gpus
from bench.load.observing.gpus import GpuProbe


class DriverError(Exception):
    pass


def driver(**changes: Any) -> SimpleNamespace:
    """What is used of pynvml, for two GPUs of which the second does not tell its power."""

    def power(device: int) -> int:
        if device:
            raise DriverError
        return 65_500

    told = {
        "NVMLError": DriverError,
        "NVML_CLOCK_SM": 1,
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda i: i,
        "nvmlDeviceGetUtilizationRates": lambda i: SimpleNamespace(gpu=40 + i),
        "nvmlMemory_v2": 2,
        "nvmlDeviceGetMemoryInfo": lambda i, version: SimpleNamespace(used=1000 + i),
        "nvmlDeviceGetPowerUsage": power,
        "nvmlDeviceGetClockInfo": lambda i, which: 1410,
        "nvmlDeviceGetTotalEnergyConsumption": lambda i: 5000 + i,
        "nvmlDeviceGetName": lambda i: f"Card {i}",
        "nvmlSystemGetDriverVersion": lambda: "580.1",
        "nvmlDeviceGetComputeRunningProcesses": lambda i: [],
    }
    return SimpleNamespace(**{**told, **changes})


def test_gpus_are_read_in_units_without_a_prefix() -> None:
    assert GpuProbe(driver()).read(1.0) == {
        "utilization0": 0.40,
        "memory0": 1000,
        "power0": 65.5,
        "clock0": 1.41e9,
        "joules0": 5.0,
        "utilization1": 0.41,
        "memory1": 1001,
        "power1": None,
        "clock1": 1.41e9,
        "joules1": 5.001,
    }


@pytest.fixture
def child() -> Iterator[int]:
    """A process of this one, as of a server."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.communicate()


def test_which_gpus_the_server_uses(child: int) -> None:
    """By the memory that its processes hold; nothing is known where a busy GPU has no process that is seen from here."""
    server = os.getpid()
    held = [
        [
            SimpleNamespace(pid=os.getppid(), usedGpuMemory=7),
            SimpleNamespace(pid=server, usedGpuMemory=40),
        ],
        [SimpleNamespace(pid=1, usedGpuMemory=9)],
    ]

    def read(**changes: Any) -> list[float | None]:
        seen = driver(nvmlDeviceGetComputeRunningProcesses=lambda i: held[i], **changes)
        values = GpuProbe(seen, server).read(1.0)
        return [values["server_memory0"], values["server_memory1"]]

    assert read() == [40, 0]
    held[1].append(SimpleNamespace(pid=child, usedGpuMemory=2))
    assert read() == [40, 2]
    held[1].append(SimpleNamespace(pid=server, usedGpuMemory=None))
    assert read() == [40, None]
    held[0].clear()
    assert read() == [0, None]
    taken = SimpleNamespace(used=2e9)
    assert read(nvmlDeviceGetMemoryInfo=lambda i, version: taken) == [None, None]


@pytest.fixture(scope="module")
def h100() -> dict[str, Any]:
    """What NVML answered on a real machine, and what `nvidia-smi` and a second reader of its counters saw."""
    recorded: dict[str, Any] = json.loads(Path(__file__).with_name("nvml_h100.json").read_text())
    return recorded


def replayed(answers: dict[str, Any], kept: int) -> SimpleNamespace:
    """pynvml with recorded answers of one GPU. kept: bytes that the older form of the memory counts as used."""
    held = [SimpleNamespace(**process) for process in answers["compute"]]
    return driver(
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetUtilizationRates=lambda i: SimpleNamespace(**answers["utilization"]),
        nvmlDeviceGetMemoryInfo=lambda i, version=None: SimpleNamespace(
            used=answers["memory"]["used"] - (kept if version else 0)
        ),
        nvmlDeviceGetPowerUsage=lambda i: answers["power"],
        nvmlDeviceGetClockInfo=lambda i, which: answers["clock"],
        nvmlDeviceGetTotalEnergyConsumption=lambda i: answers["energy"],
        nvmlDeviceGetComputeRunningProcesses=lambda i: held,
        nvmlDeviceGetName=lambda i: answers["name"],
        nvmlSystemGetDriverVersion=lambda: answers["driver"],
    )


def test_a_recorded_gpu(h100: dict[str, Any]) -> None:
    """For root as for nobody; in a namespace of process ids no process is seen, so whose memory it is is not known."""
    seen = {
        way: GpuProbe(replayed(answers, h100["kept_by_the_driver"]), h100["server"])
        for way, answers in h100["answers"].items()
    }
    assert {way: probe.read(1.0)["server_memory0"] for way, probe in seen.items()} == {
        "root": 1860173824,
        "nobody": 1862270976,
        "pid namespace": None,
    }
    values = seen["root"].read(1.0)
    assert values["memory0"] == 2372730880 - 480 * 2**20, "as nvidia-smi has it"
    assert (values["power0"], values["clock0"], values["joules0"]) == (125.908, 1.98e9, 39888.664)
    assert seen["root"].facts() == {"gpus": ["NVIDIA H100 80GB HBM3"], "gpu_driver": "580.159.04"}


def test_the_gpus_of_this_machine() -> None:
    """What the real driver answers."""
    probe = gpus.gpus(os.getpid())
    if not isinstance(probe, GpuProbe):
        pytest.skip("no NVIDIA GPU can be read here")
    known, values = probe.facts(), probe.read(1.0)
    later = probe.read(1.0)
    probe.close()
    assert all(known["gpus"])
    assert known["gpu_driver"]
    assert (values["server_memory0"], values["memory0"] is None) == (0, False)
    for name, least, most in (("utilization0", 0, 1), ("power0", 1, 2000), ("clock0", 1e8, 1e10)):
        value = values[name]
        assert value is None or least <= value <= most, name
    if values["joules0"] is not None:
        assert later["joules0"] >= values["joules0"] > 0  # type: ignore[operator]


def test_machines_without_gpu_or_without_the_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise DriverError("Driver/library version mismatch")

    monkeypatch.setattr(gpus, "DEVICES", tmp_path)
    absent = "nvidia-ml-py is not installed"
    monkeypatch.setattr(gpus.extras, "lacking", {"pynvml": absent}.get)
    for module, problem in (
        (None, absent),
        (driver(nvmlInit=fail), "NVIDIA's driver refuses: Driver/library version mismatch"),
        (
            driver(nvmlDeviceGetCount=lambda: 0),
            "NVIDIA's driver shows none of them: may this user read and write /dev/nvidia0?",
        ),
    ):
        monkeypatch.setitem(sys.modules, "pynvml", module)
        (tmp_path / "nvidia0").unlink(missing_ok=True)
        assert (gpus.gpus(), gpus.facts()) == (None, {}), "no word of it where there is no GPU"
        (tmp_path / "nvidia0").touch()
        assert (gpus.gpus(), gpus.facts()) == (problem, {"gpu_telemetry": problem})
        caplog.clear()
        observed.probes(None, None, None, lambda *_: None)
        assert caplog.messages == [f"no GPU telemetry: {problem}"]
    monkeypatch.setitem(sys.modules, "pynvml", driver())
    assert type(gpus.gpus()) is GpuProbe
    assert gpus.facts() == {"gpus": ["Card 0", "Card 1"], "gpu_driver": "580.1"}


def test_the_package_that_is_imported_is_that_of_the_extra() -> None:
    nvml = pytest.importorskip("pynvml")
    assert set(importlib.metadata.packages_distributions()["pynvml"]) == {"nvidia-ml-py"}
    assert {name for name in vars(driver()) if not hasattr(nvml, name)} == set()
