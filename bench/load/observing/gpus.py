"""Telemetry of this machine's NVIDIA GPUs."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from gevent.hub import get_hub

from bench import extras
from bench.load.observing.telemetry import Values

DEVICES: Final = Path("/dev")


class GpuProbe:
    """Utilisation, memory, power and clock of this machine's NVIDIA GPUs, through nvidia-ml-py."""

    source = "gpu"

    def __init__(self, nvml: Any) -> None:
        """nvml: the module `pynvml`, initialised; see `gpus`."""
        self._nvml = nvml
        self._devices = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]

    def read(self, seconds: float) -> Values:
        """For each GPU i `utilization<i>`, `memory<i>` (bytes), `power<i>` (watts), `clock<i>` (Hz) and `joules<i>`, counted on."""
        # the driver takes milliseconds for its answers, in which the load must go on
        values: Values = get_hub().threadpool.apply(self._read_all)
        return values

    def close(self) -> None:
        """Let the driver go."""
        self._nvml.nvmlShutdown()

    def _read_all(self) -> Values:
        nvml, values = self._nvml, Values()
        queries: dict[str, Callable[[Any], float]] = {
            "utilization": lambda device: nvml.nvmlDeviceGetUtilizationRates(device).gpu / 100,
            "memory": lambda device: nvml.nvmlDeviceGetMemoryInfo(device).used,
            "power": lambda device: nvml.nvmlDeviceGetPowerUsage(device) / 1e3,
            "clock": lambda device: nvml.nvmlDeviceGetClockInfo(device, nvml.NVML_CLOCK_SM) * 1e6,
            "joules": lambda device: nvml.nvmlDeviceGetTotalEnergyConsumption(device) / 1e3,
        }
        for number, device in enumerate(self._devices):
            for name, ask in queries.items():
                try:
                    values[f"{name}{number}"] = ask(device)
                except nvml.NVMLError:  # this card does not tell
                    values[f"{name}{number}"] = None
        return values


def gpus() -> GpuProbe | str | None:
    """A probe of this machine's GPUs; None where there is none; in words, why those that are there cannot be read."""
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        problem = extras.lacking("pynvml") or "pynvml cannot be imported: reinstall nvidia-ml-py"
    else:
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            problem = f"NVIDIA's driver refuses: {error}"
        else:
            return GpuProbe(nvml)
    return problem if any(DEVICES.glob("nvidia[0-9]*")) else None


def unobserved() -> str | None:
    """Why this machine's GPUs cannot be read; None where they can, or where there is none."""
    probe = gpus()
    if isinstance(probe, GpuProbe):
        probe.close()
        return None
    return probe
