"""Options of scenarios, on Locust's command line and in its web form."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.load import own_options
from bench.load.abort_rules import Limits, limits_of
from bench.load.option_values import (
    answer_bytes,
    asked_of,
    check_protocol,
    experiment_of,
    metadata_of,
    note_of,
    own_of,
    parameters_of,
    rest_of,
    schedule_of,
    seconds_of,
    sole,
    tls_of,
    truth,
    whole,
)
from bench.load.watched import Watched, watched_of
from bench.payload import Asked
from bench.protocol.api import Api, Parameters
from bench.protocol.names import DEFAULT
from bench.protocol.registry import api_named
from bench.schedule import Schedule
from bench.wire.compression import GZIP
from bench.wire.dial import TLS, authority_of
from bench.wire.keepalive import Keepalive
from bench.wire.reply import LARGEST_ANSWER
from bench.wire.transports import NATIVE


@dataclass(frozen=True)
class ScenarioOptions:
    """The scenario's options, checked. Built anew at each start of a test, since the web form may change them."""

    asked: Asked
    seed: int
    transport: str
    connections: int
    tls: TLS | None
    metadata: tuple[tuple[str, str], ...]
    mnist: Path | None
    results: Path
    note: str | None
    rest: str | None
    """host:port of the REST API, where the user named one."""
    keep_samples: bool
    schedule: Schedule | None
    """When requests are due; None: as the scenario says."""
    max_in_flight: int
    """Requests under way at most, of each open-loop user class in each load process."""
    references: int
    """Messages of each kind that the idle server is asked before the load, to compare its answers under load with."""
    own: Mapping[str, str]
    """The options that the scenario has itself (see `option`), by name without dashes before it."""
    watched: Watched
    preflight: Path | None  # cells that `bench run` wants looked at, instead of a load
    experiment: dict[str, Any] | None
    """What the manifest says of the experiment that this run is a trial of."""
    slice: float | None = None
    """Seconds for which each arm of a duet has all users; None: the arms take turns request by request."""
    warm_up: float | None = None
    """Seconds that are left out of the numbers; None: a transient at the start, where there is one."""
    keepalive: Keepalive | None = None
    """When a silent server is asked for a sign of life."""
    max_answer_bytes: int = LARGEST_ANSWER
    """Bytes of an answer that is read, also of what a compressed one unpacks to."""
    unique: bool = False
    """Each request is sent once."""
    cache_audit: bool = False
    """Each request is sent twice, to compare how fast it is answered."""
    address: str = ""
    """HOST:PORT of the server under test, as payloads are made; empty: not known."""
    authority: str | None = None
    """The :authority of the calls; None: it follows from the address, or from the name that the certificate carries."""
    protocol: str = DEFAULT
    """Name of the protocol that requests are sent by."""
    compression: str | None = None
    """What requests are compressed with; None: they are sent as they are."""
    abort_if: Limits = ()
    """Limits that end the load as soon as one is exceeded."""
    parameters: Parameters = ()
    """Of each request, where the protocol has them."""
    sole: bool = True
    """Whether requests are made once: by one load process, of one test."""

    @property
    def api(self) -> Api:
        """The protocol."""
        return api_named(self.protocol, self.parameters)

    def compresses(self, api: Api) -> bool:
        """Whether the requests of a protocol are compressed before the load; grpcio does it as it sends them."""
        return self.compression is not None and (api.over_http or self.transport == NATIVE)

    def own_seconds(self, name: str) -> float:
        """The value of a scenario's own option as seconds. Raises BenchError where it is none."""
        return seconds_of(f"--{name}", self.own[name])


def read_options(parsed: Any) -> ScenarioOptions:
    """Check Locust's parsed options. Raises BenchError naming option, value and what would be right."""
    rest, tls, protocol = rest_of(str(parsed.rest or "").strip()), tls_of(parsed), str(parsed.protocol)
    check_protocol(protocol, rest, tls)
    parameters = parameters_of(str(parsed.request_parameters or ""))
    api_named(protocol, parameters)
    return ScenarioOptions(
        asked=asked_of(parsed),
        seed=whole("--seed", parsed.seed, 0),
        transport=str(parsed.transport),
        connections=whole("--connections", parsed.connections, 1),
        tls=tls,
        metadata=metadata_of(str(parsed.metadata or "")),
        mnist=Path(parsed.mnist) if parsed.mnist else None,
        results=Path(parsed.results),
        note=note_of(str(parsed.note or "").strip()),
        rest=rest,
        keep_samples=not truth(parsed.no_samples),
        unique=truth(parsed.unique),
        cache_audit=truth(parsed.cache_audit),
        schedule=schedule_of(str(parsed.schedule or "").strip()),
        max_in_flight=whole("--max-in-flight", parsed.max_in_flight, 1),
        references=whole("--references", parsed.references, 0),
        own=own_of(parsed, own_options.OWN),
        watched=watched_of(parsed),
        preflight=Path(parsed.preflight) if parsed.preflight else None,
        experiment=experiment_of(str(parsed.experiment)) if parsed.experiment else None,
        slice=seconds_of("--duet-slice", parsed.duet_slice) if parsed.duet_slice else None,
        warm_up=seconds_of("--warm-up", parsed.warm_up, least=0.0) if parsed.warm_up else None,
        keepalive=Keepalive(seconds_of("--keepalive", parsed.keepalive)) if parsed.keepalive else None,
        max_answer_bytes=answer_bytes(parsed.max_answer_bytes),
        authority=authority_of(str(parsed.authority).strip()) if parsed.authority else None,
        protocol=protocol,
        parameters=parameters,
        compression=GZIP if str(parsed.compression) == GZIP else None,
        abort_if=limits_of(str(parsed.abort_if or "")),
        sole=sole(parsed),
    )
