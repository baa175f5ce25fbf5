"""Options of the verbs that load a server which runs already: what is sent, for how long, and where results go."""

import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from bench import BenchError
from bench.cli.ab_conditions import RANDOM_EXAMPLES, Looked, Named, looked_up
from bench.cli.asking import is_of_the_server
from bench.cli.numbers import Number
from bench.schedule.text import duration


def groups(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Several options as one decorator."""

    def give(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return give


def _seconds(_context: click.Context, _parameter: click.Parameter, text: str) -> float:
    try:
        seconds = duration(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds < 1e6:
        raise click.BadParameter(f"{text}: expected a duration such as 90s or 2m")
    return seconds


SENT: Final = groups(
    click.option("--signature", help="Signature to call.  [default: serving_default, or the only one]"),
    click.option(
        "--requests",
        metavar="FILE",
        help="Requests to send, such as JSON lines; - for standard input.  [default: random]",
    ),
    click.option(
        "--shape",
        default="",
        metavar="NAME=N,...",
        help="Sizes of unknown dimensions of random inputs, such as len=128.",
    ),
    click.option(
        "--examples",
        "count",
        type=click.IntRange(1),
        default=RANDOM_EXAMPLES,
        show_default=True,
        help="Number of random examples, without --requests.",
    ),
)
"""What requests hold: the arguments `signature`, `requests`, `shape` and `count`."""
TELEMETRY: Final = click.option(
    "--server-telemetry",
    "telemetry",
    multiple=True,
    metavar="URL,...",
    help="Read CPU, memory, network and GPUs of the server's machine or pods from these pages of exporters; of two servers "
    "give it twice.",
)
"""The argument `telemetry`; `bench.cli.ab_conditions.telemetry_of` reads it."""
DEADLINE: Final = click.option(
    "--deadline",
    type=Number(0, min_open=True),
    default=10.0,
    show_default=True,
    help="Request timeout in seconds.",
)
RESULTS: Final = click.option(
    "--results", type=click.Path(path_type=Path), default=Path("results"), show_default=True
)


def time_option(default: str) -> Callable[[Any], Any]:
    """`--time`, as `seconds`."""
    return click.option(
        "--time",
        "seconds",
        default=default,
        show_default=True,
        callback=_seconds,
        help="Time limit for everything.",
    )


def seed_option(of: str) -> Callable[[Any], Any]:
    """`--seed`. of: what it decides."""
    return click.option(
        "--seed", type=click.IntRange(0), default=1, show_default=True, help=f"Random seed of {of}."
    )


def taken_server_options(options: MutableMapping[str, Any]) -> dict[str, Any]:
    """Those that say how servers are called, taken out of a command's arguments."""
    return {name: options.pop(name) for name in list(options) if is_of_the_server(name)}


@contextlib.contextmanager
def looked_up_to_send(
    compared: Named,
    requests: str | None,
    server: Mapping[str, Any],
    options: MutableMapping[str, Any],
    *,
    outputs: Sequence[str] = (),
) -> Iterator[tuple[Looked, str | None]]:
    """As `looked_up`, with the file of the requests: standard input becomes one, for as long as the block lasts.

    Takes `signature` and `shape` out of a command's arguments. Raises BenchError.
    """
    with tempfile.TemporaryDirectory(prefix="serving-bench-") as spool:
        if requests == "-":
            requests = _spooled(Path(spool))
        with looked_up(
            compared,
            requests=requests,
            server=server,
            outputs=outputs,
            signature=options.pop("signature"),
            shape=options.pop("shape"),
            count=options["count"],
            seed=options["seed"],
            deadline=options["deadline"],
        ) as looked:
            yield looked, requests


def _spooled(folder: Path) -> str:
    """Standard input as a file, which load processes can read too."""
    path = folder / "standard_input"
    content = sys.stdin.buffer.read()
    if not content:
        raise BenchError("--requests -: standard input is empty; expected requests, such as JSON lines")
    path.write_bytes(content)
    return str(path)
