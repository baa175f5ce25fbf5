"""Telemetry of this machine's NVIDIA GPUs."""

import contextlib
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import psutil
from gevent.hub import get_hub

from bench import extras
from bench.load.observing.telemetry import Values

DEVICES: Final = Path("/dev")
UNUSED: Final = 100e6
"""Bytes of a GPU's memory that may be taken though no process computes there: one that does takes more for its kernels alone."""


class GpuProbe:
    """Utilisation, memory, power and clock of this machine's NVIDIA GPUs, through nvidia-ml-py."""

    source = "gpu"

    def __init__(self, nvml: Any, server: int | None = None) -> None:
        """nvml: the module `pynvml`, initialised; see `gpus`. server: the process id of a server on this machine."""
        self._nvml, self._server = nvml, server
        self._devices = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
        self._of_server: dict[int, bool] = {}

    @property
    def count(self) -> int:
        """How many there are: none in a container that has the driver's library alone."""
        return len(self._devices)

    def read(self, seconds: float) -> Values:
        """For each GPU i `utilization<i>`, `memory<i>` (bytes), `power<i>` (watts), `clock<i>` (Hz) and `joules<i>`, counted on.

        `server_memory<i>`: bytes that the server's processes hold there, 0 where they do not use it.
        """
        # the driver takes milliseconds for its answers, in which the load must go on
        values: Values = get_hub().threadpool.apply(self._read_all)
        return values

    def close(self) -> None:
        """Let the driver go."""
        self._nvml.nvmlShutdown()

    def facts(self) -> dict[str, Any]:
        """`gpus`: their names; `gpu_driver`: its version."""
        return {
            "gpus": [self._queried(self._nvml.nvmlDeviceGetName, device) for device in self._devices],
            "gpu_driver": self._queried(self._nvml.nvmlSystemGetDriverVersion),
        }

    def _read_all(self) -> Values:
        nvml, values = self._nvml, Values()
        queries: dict[str, Callable[[Any], float | None]] = {
            "utilization": lambda device: nvml.nvmlDeviceGetUtilizationRates(device).gpu / 100,
            "memory": self._memory,
            "power": lambda device: nvml.nvmlDeviceGetPowerUsage(device) / 1e3,
            "clock": lambda device: nvml.nvmlDeviceGetClockInfo(device, nvml.NVML_CLOCK_SM) * 1e6,
            "joules": lambda device: nvml.nvmlDeviceGetTotalEnergyConsumption(device) / 1e3,
        }
        if self._server is not None:
            queries["server_memory"] = self._held_by_server
        for number, device in enumerate(self._devices):
            for name, ask in queries.items():
                values[f"{name}{number}"] = self._queried(ask, device)
        return values

    def _queried(self, ask: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return ask(*arguments)
        except self._nvml.NVMLError:  # this card does not tell
            return None

    def _memory(self, device: Any) -> float:
        """As nvidia-smi counts it: the older form of the answer has what the driver keeps for itself, 480 MiB of an H100."""
        return float(self._nvml.nvmlDeviceGetMemoryInfo(device, version=self._nvml.nvmlMemory_v2).used)

    def _held_by_server(self, device: Any) -> float | None:
        """None where the driver does not tell, as it does not of processes outside of this container."""
        processes = self._nvml.nvmlDeviceGetComputeRunningProcesses(device)
        if not processes and self._memory(device) > UNUSED:
            return None
        held = [each.usedGpuMemory for each in processes if self._is_of_server(each.pid)]
        return None if None in held else float(sum(held))

    def _is_of_server(self, pid: int) -> bool:
        if pid not in self._of_server:
            family = {pid}
            with contextlib.suppress(psutil.Error):
                family |= {parent.pid for parent in psutil.Process(pid).parents()}
            self._of_server[pid] = self._server in family
        return self._of_server[pid]


def gpus(server: int | None = None) -> GpuProbe | str | None:
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
            probe = GpuProbe(nvml, server)
            if probe.count:
                return probe
            probe.close()
            problem = "NVIDIA's driver shows none of them: may this user read and write /dev/nvidia0?"
    return problem if any(DEVICES.glob("nvidia[0-9]*")) else None


def facts() -> dict[str, Any]:
    """`gpus` and `gpu_driver` of this machine; `gpu_telemetry`: why they cannot be read; nothing where there is none."""
    probe = gpus()
    if isinstance(probe, GpuProbe):
        with contextlib.closing(probe):
            return probe.facts()
    return {} if probe is None else {"gpu_telemetry": probe}
