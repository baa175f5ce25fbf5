"""The server's machine, as node-exporter has it (https://github.com/prometheus/node_exporter, version 1)."""

from collections.abc import Hashable
from typing import Final

from bench.load.observing.exporters.counts import LEAST_FALL, Growth
from bench.load.observing.exporters.interfaces import outward
from bench.load.observing.exporters.page import Samples, Values, series

_CPU: Final = "node_cpu_seconds_total"
_TOTAL, _AVAILABLE = "node_memory_MemTotal_bytes", "node_memory_MemAvailable_bytes"
_RECEIVED, _SENT = "node_network_receive_bytes_total", "node_network_transmit_bytes_total"
_JOULES: Final = ("node_rapl_package_joules_total", "node_rapl_dram_joules_total")
_IDLE: Final = ("idle", "iowait")
_STEAL: Final = "steal"
_BONDS: Final = "node_bonding_slaves"


class Machine:
    """Counts of a machine from page to page."""

    source = "server_machine"
    names = frozenset({_CPU, _TOTAL, _AVAILABLE, _RECEIVED, _SENT, _BONDS, *_JOULES})
    at_times: Final = frozenset({"busy", "steal"})
    """Values that not every reading has."""

    def __init__(self) -> None:
        self._time = {of: Growth() for of in ("used", "idle", _STEAL)}
        self._before = dict.fromkeys(self._time, 0.0)
        self._received, self._sent, self._joules = Growth(), Growth(), Growth()

    @staticmethod
    def matches(samples: Samples) -> bool:
        """Whether a page is of this kind."""
        return bool(samples.every.keys() & {_CPU, _TOTAL, _RECEIVED})

    @staticmethod
    def unclear(samples: Samples) -> str | None:
        """Why it is not known what is meant; None: it is."""
        return None if any(samples.of(name) for name in Machine.names) else "no machine has these labels"

    def values(self, samples: Samples) -> Values:
        """The values as of the machine that sends, and more.

        `busy`, `steal` (shares), `cores`, `cpu_seconds` used, `memory` that is not
        available, `received` and `sent` (bytes), `joules`. CPU time, network and energy count on.
        """
        total, available = samples.sum(_TOTAL), samples.sum(_AVAILABLE)
        joules: dict[Hashable, float] = {
            (name, key): value for name in _JOULES for key, value in samples.counters(name).items()
        }
        return {
            **self._cpu(samples),
            "memory": None if total is None or available is None else total - available,
            "received": self._received.add(_bytes(samples, _RECEIVED)),
            "sent": self._sent.add(_bytes(samples, _SENT)),
            "joules": self._joules.add(joules),
        }

    def _cpu(self, samples: Samples) -> Values:
        counters: dict[str, dict[Hashable, float]] = {of: {} for of in self._time}
        for each in samples.of(_CPU):
            mode = each.labels.get("mode", "")
            of = "idle" if mode in _IDLE else _STEAL if mode == _STEAL else "used"
            counters[of][series(each.labels)] = each.value
        now = {
            of: self._time[of].add(values, least_fall=LEAST_FALL if of == "idle" else 0.0) or 0.0
            for of, values in counters.items()
        }
        passed = {of: now[of] - before for of, before in self._before.items()}
        self._before = now
        whole = sum(passed.values())
        cores = {series(each.labels, "mode") for each in samples.of(_CPU)}
        return {
            "busy": (passed["used"] + passed[_STEAL]) / whole if whole > 0 else None,
            "steal": passed[_STEAL] / whole if whole > 0 else None,
            "cores": float(len(cores)) or None,
            "cpu_seconds": now["used"] if cores else None,
        }


def _bytes(samples: Samples, name: str) -> dict[Hashable, float]:
    masters = [each.labels.get("master", "") for each in samples.every.get(_BONDS, [])]
    outer = outward(samples.of(name), "device", chosen=samples.chooses("device"), masters=masters)
    return {series(each.labels): each.value for each in outer}
