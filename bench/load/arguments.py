"""Options of scenarios as they are registered: on Locust's command line, and under headings in its web form."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from bench.load import own_options
from bench.load.watched import add_watching
from bench.protocol.names import DEFAULT, MODULES
from bench.schedule.schedules import FORMS
from bench.wire.compression import GZIP
from bench.wire.reply import LARGEST_ANSWER

PRIVATE: set[str] = set()
"""Options that name files, variables, URLs or processes, as attributes of what is parsed: the web form has none of them."""
FIELDS: dict[str, "Field"] = {}
"""The options that the web form has, as attributes of what is parsed, in its order."""
SCENARIO = "Scenario"
"""Heading of the options that a scenario has of its own."""


@dataclass(frozen=True)
class Field:
    """An option in the web form."""

    heading: str
    """Of its group."""
    label: str
    help: str


def add_arguments(parser: Any) -> None:
    """Register the options with Locust's parser, not in a group of theirs: its web form would leave them out.

    A plugin that has an option of the same name, before or after, ends Locust with one line and code 2. Registering them
    twice with one parser is registering them once.
    """
    if getattr(parser, "has_bench_options", False):
        return
    parser.has_bench_options = True
    _one_name_once(parser)

    def option(
        name: str, *, heading: str = "", label: str = "", private: bool = False, **settings: Any
    ) -> None:
        words = name.lstrip("-").replace("-", " ")
        plain = words.replace(" ", "_")
        if private:
            PRIVATE.add(plain)
            settings["include_in_web_ui"] = False
        else:
            FIELDS[plain] = Field(heading, label or words.capitalize(), settings["help"])
        parser.add_argument(name, env_var=f"BENCH_{plain.upper()}", **settings)

    _add_target(partial(option, heading="Target"))
    _add_load(partial(option, heading="Load"))
    _add_tls(partial(option, heading="TLS"))
    _add_recording(partial(option, heading="Recording"))
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
            heading=SCENARIO,
            help=f"{text} (default: {default or 'none'})",
        )
    # Locust listens on all interfaces otherwise, for browsers and for workers
    parser.set_defaults(web_host="127.0.0.1", master_bind_host="127.0.0.1", **own_options.DEFAULTS)


def _add_target(option: Callable[..., None]) -> None:
    """Model and server."""
    option(
        "--model-name",
        default="",
        metavar="NAME",
        help="model name in the requests (default: the scenario's, mnist)",
    )
    option(
        "--model-version",
        default="",
        metavar="N",
        help="version number (default: the server's latest)",
    )
    option("--version-label", default="", metavar="LABEL", help="version label instead of a number")
    option(
        "--signature",
        default="",
        metavar="NAME",
        help="signature to call (default: the scenario's; predict_images for digits, else serving_default)",
    )
    option(
        "--protocol",
        private=True,  # the embedded server is started for it before the form opens
        default=DEFAULT,
        choices=list(MODULES),
        help=f"protocol of the server at --host (default: {DEFAULT}, TensorFlow Serving over gRPC)",
    )
    option(
        "--rest",
        label="REST port",
        default="",
        metavar="HOST:PORT",
        help="REST port of the server at --host, for scenarios that send over REST too",
    )
    option(
        "--authority",
        label="Virtual host name (:authority)",
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
        "--request-parameters",
        private=True,  # as the protocol
        default="",
        metavar="KEY=VALUE,...",
        help="parameters of each request, of the Open Inference Protocol",
    )


def _add_load(option: Callable[..., None]) -> None:
    """Payload, schedule and connections."""
    option(
        "--mnist",
        private=True,
        default="",
        metavar="DIR",
        help="IDX files or PNG folders to send instead of the bundled digits",
    )
    option("--batch-size", default="", metavar="N", help="examples in each request (default: 1)")
    option(
        "--schedule",
        default="",
        metavar="SCHEDULE",
        help="when requests are due, for each user: "
        + "; ".join(FORMS.values())
        + " (default: the scenario's)",
    )
    option("--connections", default="1", metavar="N", help="connections of each load process (default: 1)")
    option(
        "--max-in-flight",
        label="Most requests in flight",
        default="10000",
        metavar="N",
        help="open loop: most requests in flight per load process; further ones are recorded as unsent (default: 10000)",
    )
    option(
        "--deadline",
        label="Request timeout in seconds",
        default="10",
        metavar="SECONDS",
        help="request timeout in seconds (default: 10)",
    )
    option(
        "--abort-if",
        label="End the load if",
        default="",
        metavar="RULE,...",
        help="end the load when a limit is exceeded, such as p99>200ms/10s; also of errors and goodput (default: never)",
    )
    option(
        "--unique",
        label="Send each request once",
        default=False,
        action="store_true",
        help="send each request once, so that no cache can answer; the load ends when they are used up",
    )
    option(
        "--cache-audit",
        label="Send each request twice (cache audit)",
        default=False,
        action="store_true",
        help="send each request twice; the report compares the service times of first requests and repetitions",
    )
    option("--seed", label="Random seed", default="1", metavar="N", help="random seed (default: 1)")
    option(
        "--transport",
        label="HTTP/2 client",
        default="native",
        choices=["native", "grpcio"],
        help="HTTP/2 client (default: native)",
    )
    option(
        "--compression",
        label="Compression of requests",
        default="none",
        choices=["none", GZIP],
        help="compress requests (default: none); the native client and REST do so once, before the load",
    )
    option(
        "--keepalive",
        label="Keepalive ping after seconds",
        default="",
        metavar="SECONDS",
        help="send a keepalive ping after this many seconds without data during a call (default: never)",
    )
    option(
        "--max-answer-bytes",
        label="Largest response in bytes",
        default=str(LARGEST_ANSWER),
        metavar="N",
        help="largest response to accept, before and after decompression (default: 64 MiB)",
    )


def _add_tls(option: Callable[..., None]) -> None:
    """TLS of the connection."""
    option(
        "--grpc-tls",
        label="Use TLS",
        default=False,
        action="store_true",
        help="use TLS; the server's certificate is verified",
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
        label="Host name in the server's certificate",
        default="",
        metavar="NAME",
        help="host name expected in the server's certificate",
    )


def _add_recording(option: Callable[..., None]) -> None:
    """The folder of a run and what it keeps."""
    option(
        "--results",
        private=True,
        default="results",
        metavar="DIR",
        help="folder for results: one subfolder per run (default: results)",
    )
    option("--note", default="", metavar="TEXT", help="text to add to the result folder's name")
    option(
        "--warm-up",
        label="Warm-up in seconds",
        default="",
        metavar="SECONDS",
        help="seconds at the start to exclude, 0: none (default: detected, at most 10 s)",
    )
    option(
        "--references",
        label="Reference requests",
        default="64",
        metavar="N",
        help="requests to the idle server, to compare with the answers under load; 0: none (default: 64)",
    )
    option(
        "--no-samples",
        label="Keep histograms only",
        default=False,
        action="store_true",
        help="keep histograms only, not every request",
    )


def _one_name_once(parser: Any) -> None:
    """Have a parser refuse a second option of one name in one line: Locust would log a traceback and go on without it."""
    add, add_group = parser.add_argument, parser.add_argument_group

    def add_argument(*names: str, **settings: Any) -> Any:
        try:
            return add(*names, **settings)
        except argparse.ArgumentError as error:
            print(
                f"bench: {error}; rename the option in the locustfile or plugin that adds it too",
                file=sys.stderr,
            )
            raise SystemExit(2) from None

    def add_argument_group(*names: Any, **settings: Any) -> Any:
        group = add_group(*names, **settings)
        _one_name_once(group)
        return group

    parser.add_argument, parser.add_argument_group = add_argument, add_argument_group
