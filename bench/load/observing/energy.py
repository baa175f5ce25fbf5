"""Energy of this machine's processors, as their own counters have it (RAPL).

Linux shows them below /sys/class/powercap (Documentation/power/powercap/powercap.rst); most systems let only root read them.
"""

import contextlib
from pathlib import Path
from typing import Final

from bench.load.observing.telemetry import Values

POWERCAP: Final = Path("/sys/class/powercap")
_PACKAGE, _MEMORY, _PLATFORM = "package", "dram", "psys"


class EnergyProbe:
    """Joules of all processors and their memory, counted on."""

    source = "machine"

    def __init__(self, zones: list[Path]) -> None:
        """zones: folders with an `energy_uj` that can be read. Raises OSError, ValueError."""
        self._last = {zone: _number(zone / "energy_uj") for zone in zones}
        self._range = {zone: _number(zone / "max_energy_range_uj") for zone in zones}
        self._joules = 0.0

    def read(self, seconds: float) -> Values:
        """`joules` since the first look."""
        for zone, before in self._last.items():
            now = self._last[zone] = _number(zone / "energy_uj")
            # a counter begins anew when it is full
            self._joules += (now - before + (self._range[zone] if now < before else 0)) / 1e6
        return {"joules": self._joules}

    def close(self) -> None:
        """There is nothing to give back."""


def energy(root: Path = POWERCAP) -> EnergyProbe | None:
    """A probe of this machine's processors; None where their energy is not counted, or must not be read."""
    named = {}
    for zone in sorted(root.glob("intel-rapl:*")):  # AMD's processors stand there too
        with contextlib.suppress(OSError):
            named[zone] = (zone / "name").read_text().strip()
    # cores and graphics are part of a package; the whole platform holds all the others
    zones = [zone for zone, name in named.items() if name.startswith(_PACKAGE) or name == _MEMORY]
    zones = zones or [zone for zone, name in named.items() if name == _PLATFORM]
    try:
        return EnergyProbe(zones) if zones else None
    except (OSError, ValueError):
        return None


def _number(path: Path) -> int:
    return int(path.read_text())
