"""Containers and pods, as cAdvisor and the kubelet have them.

cAdvisor (its own page, and a kubelet's `/metrics/cadvisor`) tells of each control group, a pod's and those of its containers: of
chosen groups that contain one another the outermost counts, with what has ended in it. A kubelet's `/metrics/resource` tells of
pods and of containers. Both look at a group every ten seconds or more and say when.
"""

from collections.abc import Hashable, Iterable
from typing import Final

from bench.load.observing.exporters.counts import Growth
from bench.load.observing.exporters.interfaces import outward
from bench.load.observing.exporters.page import Sample, Samples, Values, series

_CPU: Final = "container_cpu_usage_seconds_total"
_MEMORY: Final = "container_memory_working_set_bytes"
_STARTED: Final = "container_start_time_seconds"
_RECEIVED, _SENT = "container_network_receive_bytes_total", "container_network_transmit_bytes_total"
_POD_CPU, _POD_MEMORY = "pod_cpu_usage_seconds_total", "pod_memory_working_set_bytes"
_NAMES: Final = ("namespace", "pod", "container", "name")
"""Labels that people know."""
_SHOWN: Final = 5


class Containers:
    """Counts of the chosen containers together, from page to page."""

    source = "server"
    names = frozenset({_CPU, _MEMORY, _STARTED, _RECEIVED, _SENT, _POD_CPU, _POD_MEMORY})
    at_times: Final = frozenset({"cpu_seconds"})
    """Values that not every reading has."""

    def __init__(self) -> None:
        self._cpu, self._received, self._sent = Growth(), Growth(), Growth()
        self._observed: dict[Hashable, float] = {}

    @staticmethod
    def matches(samples: Samples) -> bool:
        """Whether a page is of this kind."""
        return bool(samples.every.keys() & {_CPU, _MEMORY, _POD_CPU})

    @staticmethod
    def unclear(samples: Samples) -> str | None:
        """Why it is not known which containers are meant; None: it is."""
        if not samples.chosen.labels:
            return f"choose containers, such as #namespace=default&pod=NAME-*; there are {_listed(samples)}"
        if not samples.has(_CPU, _MEMORY, _POD_CPU):
            return f"no such containers; there are {_listed(samples)}"
        return None

    def values(self, samples: Samples) -> Values:
        """The values as of a container here, and more.

        `cpu_seconds` counted on, None while nobody looked anew, `memory` (working set, bytes),
        `started`, the instant (Unix time) at which the newest began, `received` and `sent` (bytes), counted on.
        """
        whole_pods = samples.has(_POD_CPU) and all(name != "container" for name, _ in samples.chosen.labels)
        used = samples.of(_POD_CPU) if whole_pods else _totals(_outermost(samples.of(_CPU)))
        memory = samples.of(_POD_MEMORY) if whole_pods else _outermost(samples.of(_MEMORY))
        started = [each.value for each in samples.of(_STARTED)]
        counted = self._cpu.add({series(each.labels): each.value for each in used})
        return {
            "cpu_seconds": counted if self._anew(used) else None,
            "memory": sum(each.value for each in memory) if memory else None,
            "started": max(started, default=None),
            "received": self._received.add(_counters(samples, _RECEIVED)),
            "sent": self._sent.add(_counters(samples, _SENT)),
        }

    def _anew(self, used: Iterable[Sample]) -> bool:
        before = self._observed
        self._observed = {series(each.labels): each.at for each in used if each.at is not None}
        return not self._observed or any(before.get(key) != at for key, at in self._observed.items())


def _counters(samples: Samples, name: str) -> dict[Hashable, float]:
    """Of a pod in the network of its machine a page has all devices there, those of other pods too."""
    outer = outward(_outermost(samples.of(name)), "interface", chosen=samples.chooses("interface"))
    return {series(each.labels): each.value for each in outer}


def _outermost(samples: list[Sample]) -> list[Sample]:
    """Without those of control groups that lie in another one of them."""
    groups = {each.labels["id"] for each in samples if "id" in each.labels}
    return [
        each for each in samples if not any(group in groups for group in _around(each.labels.get("id", "")))
    ]


def _around(group: str) -> list[str]:
    """The control groups around one."""
    parts = group.split("/")
    return [("/".join(parts[:end]) or "/") for end in range(1, len(parts)) if group != "/"]


def _totals(samples: list[Sample]) -> list[Sample]:
    """Of each group the count of all cores, or those of each where there is none."""
    summed = {series(each.labels, "cpu") for each in samples if each.labels.get("cpu") == "total"}
    return [
        each
        for each in samples
        if each.labels.get("cpu") == "total" or series(each.labels, "cpu") not in summed
    ]


def _listed(samples: Samples) -> str:
    names = {
        " ".join(f"{label}={value}" for label in _NAMES if (value := each.labels.get(label)))
        for each in (*samples.every.get(_MEMORY, []), *samples.every.get(_POD_MEMORY, []))
    } - {""}
    shown = sorted(names)[:_SHOWN]
    return (
        ", ".join(shown) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
        or "none with a name"
    )
