"""Options of scenarios, on Locust's command line and in its web form."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.load import own_options
from bench.load.abort_rules import Limits, limits_of
from bench.load.clashes import one_name_once
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
from bench.load.watched import Watched, add_watching, watched_of
from bench.payload import Asked
from bench.protocol.api import Api, Parameters
from bench.protocol.names import DEFAULT, MODULES
from bench.protocol.registry import api_named
from bench.schedule import Schedule
from bench.schedule.schedules import FORMS
from bench.wire.compression import GZIP
from bench.wire.dial import TLS, authority_of
from bench.wire.keepalive import Keepalive
from bench.wire.reply import LARGEST_ANSWER
from bench.wire.transports import NATIVE

PRIVATE: set[str] = set()
"""Options that name files, variables, URLs or processes, as attributes of what is parsed: the web form has none of them."""


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


def add_arguments(parser: Any) -> None:
    """Register the options with Locust's parser, not in a group of theirs: its web form would leave them out.

    A plugin that has an option of the same name, before or after, ends Locust with one line and code 2. Registering them
    twice with one parser is registering them once.
    """
    if getattr(parser, "has_bench_options", False):
        return
    parser.has_bench_options = True
    one_name_once(parser)

    def option(name: str, *, private: bool = False, **settings: Any) -> None:
        plain = name.lstrip("-").replace("-", "_")
        if private:
            PRIVATE.add(plain)
            settings["include_in_web_ui"] = False
        parser.add_argument(name, env_var=f"BENCH_{plain.upper()}", **settings)

    option(
        "--model-name",
        default="",
        metavar="NAME",
        help="model name in the requests (default: the scenario's, mnist)",
    )
    option("--model-version", default="", metavar="N", help="version number (default: the server's latest)")
    option("--version-label", default="", metavar="LABEL", help="version label instead of a number")
    option(
        "--signature",
        default="",
        metavar="NAME",
        help="signature to call (default: the scenario's; predict_images for digits, else serving_default)",
    )
    option("--batch-size", default="", metavar="N", help="examples in each request (default: 1)")
    option("--deadline", default="10", metavar="SECONDS", help="request timeout in seconds (default: 10)")
    option("--seed", default="1", metavar="N", help="random seed (default: 1)")
    option(
        "--mnist",
        private=True,
        default="",
        metavar="DIR",
        help="IDX files or PNG folders to send instead of the bundled digits",
    )
    option(
        "--protocol",
        private=True,  # the embedded server is started for it before the form opens
        default=DEFAULT,
        choices=list(MODULES),
        help=f"protocol of the server at --host (default: {DEFAULT}, TensorFlow Serving over gRPC)",
    )
    option(
        "--request-parameters",
        private=True,  # as the protocol
        default="",
        metavar="KEY=VALUE,...",
        help="parameters of each request, of the Open Inference Protocol",
    )
    option(
        "--transport", default="native", choices=["native", "grpcio"], help="HTTP/2 client (default: native)"
    )
    option(
        "--keepalive",
        default="",
        metavar="SECONDS",
        help="send a keepalive ping after this many seconds without data during a call (default: never)",
    )
    option(
        "--max-answer-bytes",
        default=str(LARGEST_ANSWER),
        metavar="N",
        help="largest response to accept, before and after decompression (default: 64 MiB)",
    )
    option(
        "--compression",
        default="none",
        choices=["none", GZIP],
        help="compress requests (default: none); the native client and REST do so once, before the load",
    )
    option("--connections", default="1", metavar="N", help="connections of each load process (default: 1)")
    option(
        "--grpc-tls", default=False, action="store_true", help="use TLS; the server's certificate is verified"
    )
    option(
        "--grpc-tls-ca",
        private=True,
        default="",
        metavar="PEM",
        help="trust this CA instead of the system's (implies --grpc-tls)",
    )
    option(
        "--grpc-tls-cert",
        private=True,
        default="",
        metavar="PEM",
        help="client certificate (with --grpc-tls-key)",
    )
    option("--grpc-tls-key", private=True, default="", metavar="PEM", help="client key")
    option(
        "--grpc-tls-server-name",
        default="",
        metavar="NAME",
        help="host name expected in the server's certificate",
    )
    option(
        "--authority",
        default="",
        metavar="NAME",
        help="virtual host name to send (:authority), for Istio, Knative or an ingress (default: the address)",
    )
    option(
        "--metadata",
        private=True,
        default="",
        metavar="KEY=VARIABLE,...",
        help="metadata sent with each call; values come from environment variables, so that no secret is recorded",
    )
    option(
        "--results",
        private=True,
        default="results",
        metavar="DIR",
        help="folder for results: one subfolder per run (default: results)",
    )
    option(
        "--schedule",
        default="",
        metavar="SCHEDULE",
        help="when requests are due, for each user: "
        + "; ".join(FORMS.values())
        + " (default: the scenario's)",
    )
    option(
        "--max-in-flight",
        default="10000",
        metavar="N",
        help="open loop: most requests in flight per load process; further ones are recorded as unsent (default: 10000)",
    )
    option(
        "--references",
        default="64",
        metavar="N",
        help="requests to the idle server, to compare with the answers under load; 0: none (default: 64)",
    )
    option(
        "--rest",
        default="",
        metavar="HOST:PORT",
        help="REST port of the server at --host, for scenarios that send over REST too",
    )
    option(
        "--warm-up",
        default="",
        metavar="SECONDS",
        help="seconds at the start to exclude, 0: none (default: detected, at most 10 s)",
    )
    option(
        "--unique",
        default=False,
        action="store_true",
        help="send each request once, so that no cache can answer; the load ends when they are used up",
    )
    option(
        "--cache-audit",
        default=False,
        action="store_true",
        help="send each request twice; the report compares the service times of first requests and repetitions",
    )
    option(
        "--abort-if",
        default="",
        metavar="RULE,...",
        help="end the load when a limit is exceeded, such as p99>200ms/10s; also of errors and goodput (default: never)",
    )
    option("--note", default="", metavar="TEXT", help="text to add to the result folder's name")
    add_watching(option)
    for name in ("--experiment", "--duet", "--duet-slice", "--preflight"):
        option(name, private=True, default="", metavar="JSON", help=argparse.SUPPRESS)
    option(
        "--web-names",
        private=True,
        default="",
        metavar="NAME,...",
        help="host names by which browsers reach the web form, such as that of a proxy",
    )
    for name, (default, text, private) in own_options.OWN.items():
        option(
            name,
            private=private,
            default=default,
            metavar="VALUE",
            help=f"{text} (default: {default or 'none'})",
        )
    # Locust listens on all interfaces otherwise, for browsers and for workers
    parser.set_defaults(web_host="127.0.0.1", master_bind_host="127.0.0.1", **own_options.DEFAULTS)
    option("--no-samples", default=False, action="store_true", help="keep histograms only, not every request")


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
