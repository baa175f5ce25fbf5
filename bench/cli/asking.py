"""Options for server and model, shared by the verbs that send requests."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any, Final

import click

from bench import BenchError
from bench.cli.numbers import Number
from bench.escape import one_line
from bench.load.option_values import answer_bytes, metadata_of, parameters_of, tls_of
from bench.load.patience import awaited
from bench.load.target import address_of
from bench.protocol.names import DEFAULT, MODULES
from bench.protocol.registry import api_named
from bench.target.inquiry import Inquiry
from bench.wire.reply import LARGEST_ANSWER
from bench.wire.transports import HTTP, open_channel

_PEM: Final = click.Path(exists=True, dir_okay=False)

_HOST: Final = click.option(
    "--host",
    default="localhost",
    show_default=True,
    help="HOST or HOST:PORT of the server; without PORT: 8500, or the port of --protocol.",
)
_PROTOCOL: Final = click.option(
    "--protocol",
    type=click.Choice(list(MODULES)),
    default=DEFAULT,
    show_default=True,
    help="Protocol of the server; over REST, --host is its REST port.",
)
_PROTOCOLS: Final = click.option(
    "--protocol",
    default=DEFAULT,
    show_default=True,
    metavar="NAME[,NAME]",
    help=f"Protocol of both sides, or one for each: {', '.join(MODULES)}. Over REST, addresses are of REST ports.",
)
_OPTIONS: Final = (
    click.option(
        "--timeout",
        type=Number(0, min_open=True),
        default=10.0,
        show_default=True,
        help="Seconds to wait for a response.",
    ),
    click.option(
        "--transport", type=click.Choice(["native", "grpcio"]), default="native", help="HTTP/2 client."
    ),
    click.option("--grpc-tls", is_flag=True, help="Use TLS; the server's certificate is verified."),
    click.option("--grpc-tls-ca", type=_PEM, help="Trust this CA instead of the system's."),
    click.option("--grpc-tls-cert", type=_PEM, help="Client certificate, with --grpc-tls-key."),
    click.option("--grpc-tls-key", type=_PEM, help="Client key."),
    click.option("--grpc-tls-server-name", help="Host name expected in the server's certificate."),
    click.option(
        "--max-answer-bytes",
        type=click.IntRange(1),
        default=LARGEST_ANSWER,
        help="Largest response to accept, before and after decompression.  [default: 64 MiB]",
    ),
    click.option(
        "--request-parameters",
        "parameters",
        default="",
        metavar="KEY=VALUE,...",
        help="Parameters of each request, of the Open Inference Protocol.",
    ),
    click.option("--authority", help="Virtual host name to send (:authority).  [default: the address]"),
    click.option(
        "--metadata",
        "pairs",
        default="",
        help="KEY=VARIABLE,...: sent with each call; values come from environment variables.",
    ),
)

_NAMES: Final = ("timeout", "transport", "max_answer_bytes", "authority", "pairs", "parameters")


def asks_a_server(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a click command the options that say where the server is; it gets them as keyword arguments."""
    return _HOST(calls_a_server(command))


def calls_a_server(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a click command the options that say how servers are called; it gets them as keyword arguments."""
    return _with_options(command, _PROTOCOL)


def calls_two_servers(command: Callable[..., Any]) -> Callable[..., Any]:
    """The same where `--protocol` may name one for each side, with a comma between them."""
    return _with_options(command, _PROTOCOLS)


def _with_options(command: Callable[..., Any], protocol: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed((protocol, *_OPTIONS)):
        command = option(command)
    return command


def is_of_the_server(argument: str) -> bool:
    """Whether an argument of a command is one of those that `calls_a_server` gives it, but the protocol."""
    return argument in _NAMES or argument.startswith("grpc_tls")


def picks_a_version(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a click command --version and --label."""
    command = click.option("--label", help="Label of the version.  [default: the server chooses]")(command)
    return click.option("--version", type=click.IntRange(0), help="Number of the version.")(command)


@contextlib.contextmanager
def inquiry(
    *,
    host: str,
    protocol: str = DEFAULT,
    timeout: float,
    transport: str,
    pairs: str,
    parameters: str = "",
    authority: str | None,
    max_answer_bytes: int,
    model: str,
    version: int | None = None,
    label: str | None = None,
    **tls: Any,
) -> Iterator[Inquiry]:
    """A connection to the server for the length of the block. Raises BenchError where nobody listens."""
    if version is not None and label is not None:
        raise BenchError(f"--version {version} --label {label}: give one of the two")
    api = api_named(protocol, parameters_of(parameters))
    address = address_of(host, api.port)
    waiting = partial(awaited, say=lambda text: click.echo(one_line(text), err=True))
    channel = open_channel(
        HTTP if api.over_http else transport,
        address,
        tls=tls_of(SimpleNamespace(**tls)),
        metadata=metadata_of(pairs),
        authority=authority,
        largest_message=answer_bytes(max_answer_bytes),
    )
    try:
        with waiting(f"a connection to {address}", timeout):
            channel.connect(timeout)
        yield Inquiry(channel, address, api, model, version, label, timeout, waiting)
    finally:
        channel.close()
