"""`bench capacity`: the most load that a server sustains within a service level."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from bench import BenchError, packaged
from bench.cli.ab_conditions import capacity_of, telemetry_of
from bench.cli.asking import calls_two_servers
from bench.cli.capacity_wanted import PARTS, Wanted, check_deadline
from bench.cli.load_options import (
    DEADLINE,
    RESULTS,
    SENT,
    TELEMETRY,
    groups,
    looked_up_to_send,
    seed_option,
    taken_server_options,
    time_option,
)
from bench.cli.new_file import JSON_FILE
from bench.cli.numbers import Number, meant_share

if TYPE_CHECKING:
    from bench.config.service_level import ServiceLevel

OF_ANY: Final = (
    *("host", "by", "p99_ms", "goodput", "max_errors", "precision", "users"),
    *("seconds", "processes", "master", "results", "as_json"),
)
"""Parameters that an experiment file does not set."""

_WHAT: Final = groups(
    click.option("--model", metavar="NAME", help="The model; required with HOST:PORT."),
    click.option("--versions", metavar="A[,B]", help="One version by number or label, or two to compare."),
    click.option("--against", metavar="HOST:PORT", help="A second server to compare with the first."),
    click.option(
        "--batch-size", type=click.IntRange(1), default=1, show_default=True, help="Examples per request."
    ),
    SENT,
)
_WANTED: Final = groups(
    click.option(
        "--by",
        type=click.Choice(PARTS),
        help="With an experiment file: compare the conditions that differ in this.",
    ),
    click.option(
        "--p99-ms",
        type=Number(0, min_open=True),
        help="Service level: 99 of 100 requests answered within this many milliseconds.",
    ),
    click.option(
        "--goodput",
        metavar="SHARE@TIME",
        help="Service level: share of requests answered within a time, such as 0.999@20ms.",
    ),
    click.option(
        "--max-errors",
        metavar="SHARE",
        help="Also part of the service level: largest share of failed requests, such as 0.1%.",
    ),
    click.option(
        "--users",
        is_flag=True,
        help="Closed loop: find the smallest number of users that reaches the highest throughput.",
    ),
    click.option(
        "--precision",
        default="3%",
        show_default=True,
        metavar="SHARE",
        help="Stop when the confidence interval is at most this wide to either side.",
    ),
)
_LOAD: Final = groups(
    time_option("3m"),
    click.option("--processes", type=click.IntRange(1), default=1, show_default=True, help="Load processes."),
    click.option(
        "--master",
        metavar="HOST:PORT",
        help="Send the load from a running Locust master and its workers, through its web interface.",
    ),
    DEADLINE,
    TELEMETRY,
    seed_option("arrivals and inputs"),
    RESULTS,
    JSON_FILE,
)


@click.command(context_settings={"max_content_width": 110})
@click.argument("host", metavar="HOST:PORT|EXPERIMENT")
@_WHAT
@_WANTED
@_LOAD
@calls_two_servers
def capacity(
    host: str,
    *,
    model: str | None,
    versions: str | None,
    against: str | None,
    protocol: str,
    batch_size: int,
    requests: str | None,
    p99_ms: float | None,
    goodput: str | None,
    max_errors: str | None,
    precision: str,
    users: bool,
    **options: Any,
) -> int:
    """Find the highest load that the server at HOST:PORT sustains within a service level, and how sure that is.

    Requests arrive at random (Poisson), at one rate after the other: a ramp finds the region, and levels around the
    capacity then narrow it until --precision or --time. Requests without an answer miss the service level. Two
    --versions, or two servers (--against), each with its own protocol where --protocol names two, are measured in
    turn, at the same rates with the same arrivals, and the ratio of their capacities has an interval of 99 %.

    With an experiment file, its servers run until the end, and each of its conditions (servers, models, versions, batch
    sizes) is measured in turn; those that differ in one thing, or in what --by names, are compared with the first of them.
    Its loads, trials and seconds are ignored, and options of HOST:PORT do not apply.

    With --users the load is a closed loop: the result is the smallest number of users that reaches 95 % of the highest
    throughput within the service level.

    If the load generator is the limit, there is no result. The result folder is that of an experiment, for bench report
    and bench gate. Ctrl-C shows the estimate so far.

    Exit codes: 0 each condition has a capacity, or it is known how it compares; 2 bad usage or input; 3 inconclusive, or
    the load generator was the limit; 130 interrupted.

    \b
    bench capacity serving.example:8500 --model ranker --requests sample.jsonl --p99-ms 20
    bench capacity serving.example:8500 --model ranker --goodput 99.9%@50ms --time 10m
    bench capacity serving.example:8500 --model ranker --versions 6,7 --p99-ms 20
    bench capacity tfs:8500 --against triton:8001 --protocol tfs,oip --model ranker --p99-ms 20
    bench capacity experiment.toml --by version --p99-ms 20 --max-errors 0.1% --time 10m
    bench capacity serving.example:8500 --model ranker --users --p99-ms 20
    """
    context = click.get_current_context()
    if options["master"] and context.get_parameter_source("processes") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--processes and --master: give one of the two; a master has its own workers")
    level = _service_level(p99_ms, goodput)
    precise = _share("--precision", precision)
    errors = None if max_errors is None else _share("--max-errors", max_errors)
    text = level.text
    if errors is not None:
        if errors > 0.999 * level.allowed:
            raise BenchError(
                f"--max-errors {max_errors}: the service level allows no more misses; give less, or leave it out"
            )
        text += f" and errors <= {100 * errors:.4g} %"
    wanted = Wanted(level.share, level.within, text, precise, errors, users)
    if host.endswith(".toml"):
        _refuse_options_of_a_host()
        from bench.cli.capacity_run import of_experiment

        return of_experiment(packaged.resolved(Path(host)), wanted, options)
    if options["by"] is not None:
        raise click.UsageError("--by: it is for an experiment file; of HOST:PORT give two --versions")
    if model is None:
        raise click.UsageError("--model: name the model on the server")
    check_deadline(level.within, options["deadline"], "--deadline")
    server = taken_server_options(options)
    compared = capacity_of(host, against, model, versions, batch_size, protocol=protocol)
    options["telemetry"] = telemetry_of(options["telemetry"], compared)
    with looked_up_to_send(compared, requests, server, options) as (looked, file):
        # what judges and starts processes: imported once all that can be wrong was looked at
        from bench.cli.capacity_run import of_server

        return of_server(looked, file, server, wanted, options)


def _refuse_options_of_a_host() -> None:
    """Raise UsageError for an option that would do nothing."""
    context = click.get_current_context()
    for name in context.params:
        on_command_line = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if on_command_line and name not in OF_ANY:
            option = next(each for each in context.command.params if each.name == name)
            raise click.UsageError(
                f"{option.opts[0]}: it is for HOST:PORT; an experiment file has its own keys"
            )


def _service_level(p99_ms: float | None, goodput: str | None) -> "ServiceLevel":
    """That of the two options. Raises BenchError."""
    from bench.config.service_level import of_goodput, of_p99  # reads TOML, too

    if (p99_ms is None) == (goodput is None):
        raise click.UsageError("which service level? give --p99-ms 20, or --goodput 0.999@20ms")
    try:
        return of_p99(p99_ms) if p99_ms is not None else of_goodput(goodput or "")
    except ValueError as error:
        raise BenchError(f"--goodput {goodput}: {error}") from None


def _share(option: str, text: str) -> float:
    try:
        share = meant_share(text)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise BenchError(f"{option} {text}: expected a share above 0 and below 1, such as 3% or 0.03")
    return share
