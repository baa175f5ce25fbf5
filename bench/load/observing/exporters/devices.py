"""NVIDIA GPUs, as DCGM exporter has them (https://github.com/NVIDIA/dcgm-exporter)."""

import math
from collections.abc import Callable, Hashable, Iterable
from typing import Final

from bench.load.observing.exporters.counts import Growth
from bench.load.observing.exporters.page import Samples, Values, series

_MIB: Final = float(1 << 20)
_UTILIZATION: Final = "DCGM_FI_DEV_GPU_UTIL"
_USED, _RESERVED = "DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_RESERVED"
_POWER, _CLOCK = "DCGM_FI_DEV_POWER_USAGE", "DCGM_FI_DEV_SM_CLOCK"
_ENERGY: Final = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
_OWNERS: Final = ("container", "namespace", "pod")
"""Labels by which a GPU that several pods share stands there several times."""
_LONGEST_NUMBER: Final = 4
Device = tuple[str, str]
"""Host and number."""


class Devices:
    """Counts of GPUs from page to page."""

    source = "gpu"
    names = frozenset({_UTILIZATION, _USED, _RESERVED, _POWER, _CLOCK, _ENERGY})
    at_times: Final[frozenset[str]] = frozenset()
    """Values that not every reading has."""

    def __init__(self) -> None:
        self._energy: dict[Device, Growth] = {}

    @staticmethod
    def matches(samples: Samples) -> bool:
        """Whether a page is of this kind."""
        return bool(samples.every.keys() & {_UTILIZATION, _USED, _POWER})

    @staticmethod
    def unclear(samples: Samples) -> str | None:
        """Why it is not known what is meant; None: it is."""
        return None if any(samples.of(name) for name in Devices.names) else "no GPU has these labels"

    def values(self, samples: Samples) -> Values:
        """The values of all GPUs as NVML has them.

        For GPU i `utilization<i>` (share), `memory<i>` (bytes), `power<i>` (W), `clock<i>` (Hz) and
        `joules<i>`, counted on. i: the number that the exporter gives it, or its place where several hosts are on the page.
        """
        reserved = _by_device(samples, _RESERVED, math.fsum)
        energy = _by_device(samples, _ENERGY)
        values: dict[str, dict[Device, float]] = {
            "utilization": {
                device: per_cent / 100 for device, per_cent in _by_device(samples, _UTILIZATION).items()
            },
            # NVML counts what the driver keeps for itself as used
            "memory": {
                device: (mib + reserved.get(device, 0.0)) * _MIB
                for device, mib in _by_device(samples, _USED, math.fsum).items()
            },
            "power": _by_device(samples, _POWER),
            "clock": {device: mhz * 1e6 for device, mhz in _by_device(samples, _CLOCK).items()},
            "joules": {device: self._grown(device, mj) / 1e3 for device, mj in energy.items()},
        }
        devices = sorted({device for of in values.values() for device in of}, key=_in_order)
        numbered = len({host for host, _ in devices}) == 1 and all(_is_number(each) for _, each in devices)
        return {
            f"{name}{device[1] if numbered else place}": of.get(device)
            for place, device in enumerate(devices)
            for name, of in values.items()
        }

    def _grown(self, device: Device, millijoules: float) -> float:
        return self._energy.setdefault(device, Growth()).add({"": millijoules}) or 0.0


def _by_device(
    samples: Samples, name: str, together: Callable[[Iterable[float]], float] = max
) -> dict[Device, float]:
    """The values of a name by device; together: those of its instances (MIG)."""
    devices: dict[Device, dict[Hashable, float]] = {}
    for each in samples.of(name):
        device = each.labels.get("Hostname", ""), each.labels.get("gpu", "")
        devices.setdefault(device, {})[series(each.labels, *_OWNERS)] = each.value
    return {device: together(of.values()) for device, of in devices.items()}


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER


def _in_order(device: Device) -> tuple[str, int, str]:
    host, number = device
    return host, int(number) if _is_number(number) else -1, number
