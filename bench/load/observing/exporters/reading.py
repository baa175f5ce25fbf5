"""The values on a page of any exporter."""

from typing import Final, NamedTuple

from bench.config.telemetry import TelemetryPage
from bench.load.observing.exporters.containers import Containers
from bench.load.observing.exporters.devices import Devices
from bench.load.observing.exporters.machine import Machine
from bench.load.observing.exporters.page import Samples, Values

Kind = Machine | Containers | Devices
KINDS: Final[tuple[type[Kind], ...]] = (Machine, Containers, Devices)
NAMES: Final = frozenset().union(*(kind.names for kind in KINDS))


class Reading(NamedTuple):
    """The values of one reading."""

    source: str
    values: Values
    missing: list[str]
    """Values that the first reading had."""


class Pages:
    """A page, read again and again."""

    def __init__(self, page: TelemetryPage) -> None:
        self._page = page
        self._kind: Kind | None = None
        self._first: list[str] = []

    def read(self, text: str) -> Reading:
        """The values in a page's text. Raises ValueError for a page that is of no known exporter, or leaves open what is meant."""
        samples = Samples(text, NAMES, self._page)
        kind = self._kind or _kind_of(samples)
        values = kind.values(samples)
        if self._kind is None:
            self._kind = kind
            self._first = [
                name for name, value in values.items() if value is not None and name not in kind.at_times
            ]
        return Reading(kind.source, values, [name for name in self._first if values.get(name) is None])


def _kind_of(samples: Samples) -> Kind:
    """The exporter that a page is of, at first."""
    kinds = [kind for kind in KINDS if kind.matches(samples)]
    if not kinds:
        raise ValueError("no metrics of node-exporter, cAdvisor, a kubelet or DCGM exporter there")
    if len(kinds) > 1:
        names = " and ".join(kind.source for kind in kinds)
        raise ValueError(f"metrics of several exporters there ({names}); name the page of each")
    problem = kinds[0].unclear(samples)
    if problem is not None:
        raise ValueError(problem)
    return kinds[0]()
