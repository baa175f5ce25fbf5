"""NVIDIA GPUs, as DCGM exporter has them (https://github.com/NVIDIA/dcgm-exporter)."""

import math
from collections.abc import Callable, Iterable
from typing import Final

from bench.load.observing.exporters.counts import Growth
from bench.load.observing.exporters.page import Sample, Samples, Values

_MIB: Final = float(1 << 20)
_UTILIZATION, _ACTIVE = "DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_PROF_GR_ENGINE_ACTIVE"
_USED, _RESERVED = "DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_RESERVED"
_POWER, _CLOCK = "DCGM_FI_DEV_POWER_USAGE", "DCGM_FI_DEV_SM_CLOCK"
_ENERGY: Final = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
_INSTANCE: Final = "GPU_I_ID"
_UNKNOWN: Final = ((0x7FFFFFF0, 0x7FFFFFFF), (2**47, 2**47 + 15), (0x7FFFFFFFFFFFFFF0, 2**63))
"""What DCGM gives for a value that a card does not have (dcgm_structs.h: DCGM_INT32_BLANK, DCGM_FP64_BLANK, DCGM_INT64_BLANK, and
the reasons above each)."""
_LONGEST_NUMBER: Final = 4
Device = tuple[str, str]
"""Host and number."""


class Devices:
    """Counts of GPUs from page to page."""

    source = "gpu"
    names = frozenset({_UTILIZATION, _ACTIVE, _USED, _RESERVED, _POWER, _CLOCK, _ENERGY})
    at_times: Final[frozenset[str]] = frozenset()
    """Values that not every reading has."""

    def __init__(self) -> None:
        self._energy: dict[Device, Growth] = {}

    @staticmethod
    def matches(samples: Samples) -> bool:
        """Whether a page is of this kind."""
        return bool(samples.every.keys() & {_UTILIZATION, _ACTIVE, _USED, _POWER})

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
            "utilization": _utilization(samples),
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


def _utilization(samples: Samples) -> dict[Device, float]:
    """Shares of the time in which a GPU computed; of one in parts (MIG), which DCGM gives as 0, that of its busiest part."""
    whole = [each for each in samples.of(_UTILIZATION) if not each.labels.get(_INSTANCE)]
    shares = {device: per_cent / 100 for device, per_cent in _of_devices(whole, max).items()}
    return _by_device(samples, _ACTIVE) | shares


def _by_device(
    samples: Samples, name: str, together: Callable[[Iterable[float]], float] = max
) -> dict[Device, float]:
    return _of_devices(samples.of(name), together)


def _of_devices(
    samples: Iterable[Sample], together: Callable[[Iterable[float]], float]
) -> dict[Device, float]:
    """Values by device; together: those of its parts, each of which stands there once for each pod that shares it."""
    devices: dict[Device, dict[str, float]] = {}
    for each in samples:
        if any(least <= each.value <= most for least, most in _UNKNOWN):
            continue
        device = each.labels.get("Hostname", ""), each.labels.get("gpu", "")
        devices.setdefault(device, {})[each.labels.get(_INSTANCE, "")] = each.value
    return {device: together(of.values()) for device, of in devices.items()}


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER


def _in_order(device: Device) -> tuple[str, int, str]:
    host, number = device
    return host, int(number) if _is_number(number) else -1, number
