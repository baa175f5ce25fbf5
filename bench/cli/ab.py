"""`bench ab`: two versions, models, servers or batch sizes beside each other, in one command."""

from pathlib import Path
from typing import Any, Final

import click

from bench import BenchError
from bench.cli.ab_conditions import pages_of, telemetry_of, two_of
from bench.cli.ab_limits import limits_of
from bench.cli.asking import calls_two_servers
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
from bench.cli.metric_options import goodput_option
from bench.cli.new_file import JSON_FILE, JUNIT_FILE, NewFile
from bench.cli.numbers import Share
from bench.schedule import Closed, Constant, Poisson, parse

_WHAT: Final = groups(
    click.option(
        "--model",
        required=True,
        metavar="NAME[,NAME]",
        help="The model; give two names to compare two models.",
    ),
    click.option(
        "--versions", metavar="A,B", help="Versions to compare, by number or label; one: for both sides."
    ),
    click.option("--against", metavar="HOST:PORT", help="A second server to compare with the first."),
    click.option(
        "--batch-size",
        "batch_sizes",
        default="1",
        show_default=True,
        metavar="N[,N]",
        help="Examples per request; give two numbers to compare batch sizes.",
    ),
    SENT,
)
_LOAD: Final = groups(
    time_option("2m"),
    click.option(
        "--users",
        type=click.IntRange(1),
        default=4,
        show_default=True,
        help="Concurrent users; each waits for its response.",
    ),
    click.option(
        "--schedule",
        default="closed",
        show_default=True,
        help="When each user sends: closed, poisson:RATE, constant:RATE.",
    ),
    DEADLINE,
    goodput_option("Compare goodput too"),
    seed_option("orders and inputs"),
    click.option(
        "--server-metrics",
        "metrics",
        metavar="URL[,URL]",
        help="Split the latency by the server's counters, on its Prometheus page; of two servers name two.",
    ),
    TELEMETRY,
)
_ANSWERS: Final = groups(
    click.option(
        "--output",
        "outputs",
        multiple=True,
        metavar="NAME",
        help="Compare this output only; may be repeated.  [default: all]",
    ),
    click.option(
        "--tolerance",
        type=Share(),
        default=1e-3,
        show_default=True,
        metavar="SHARE",
        help="Largest relative difference at which numbers count as equal: 0.1% or 0.001.",
    ),
    click.option(
        "--top",
        type=click.IntRange(1),
        metavar="K",
        help="Outputs with several values agree if their K best values, or first ids, are the same.",
    ),
    click.option(
        "--save-inputs", is_flag=True, help="Write the inputs too, next to the answers that differ most."
    ),
    click.option("--answers-only", is_flag=True, help="Compare answers only; send no load."),
    click.option("--latency-only", is_flag=True, help="Measure latency only; do not compare answers."),
)
_LIMITS: Final = groups(
    click.option(
        "--max-slowdown",
        "slowdowns",
        multiple=True,
        metavar="[METRIC=]SHARE",
        help="FAIL if the candidate is slower by more than this: 5% (of p50), p99=10%; may be repeated.",
    ),
    click.option(
        "--min-agreement",
        metavar="SHARE",
        help="FAIL if a smaller share of the examples has the same answer, such as 0.999.",
    ),
    click.option(
        "--limits",
        "limits_file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Limits file, as for bench gate.",
    ),
    click.option(
        "--accept",
        multiple=True,
        metavar="WARNING",
        help="Give a verdict despite this warning; may be repeated.",
    ),
)
_RESULTS: Final = groups(
    RESULTS,
    JSON_FILE,
    JUNIT_FILE,
    click.option(
        "--markdown",
        type=NewFile(),
        metavar="FILE",
        help="Append a Markdown table of the limits.",
    ),
)


@click.command(context_settings={"max_content_width": 110})
@click.argument("host", metavar="HOST:PORT")
@_WHAT
@_LOAD
@_ANSWERS
@_LIMITS
@_RESULTS
@calls_two_servers
def ab(
    host: str,
    *,
    model: str,
    versions: str | None,
    against: str | None,
    batch_sizes: str,
    requests: str | None,
    answers_only: bool,
    latency_only: bool,
    slowdowns: tuple[str, ...],
    min_agreement: str | None,
    limits_file: Path | None,
    accept: tuple[str, ...],
    protocol: str,
    **options: Any,
) -> int:
    """Compare two versions of a model on the server at HOST:PORT: speed and answers.

    Both sides get the same requests in turn until the result is decided or the time is up. Compare two --versions
    (numbers or labels), two models, two batch sizes, or two servers (--against), each by its own protocol where
    --protocol names two. The first one is the baseline.

    Every distinct example is sent once to each side to compare the answers. The results go to an experiment folder that
    bench report, compare and gate read.

    Exit codes: 0 done, or all limits pass; with limits 1 FAIL, 3 inconclusive or measurement invalid; 2 bad usage or
    input; 130 interrupted.

    \b
    bench ab serving.example:8500 --model ranker --versions 6,7 --requests sample.jsonl
    bench ab serving.example:8500 --model ranker --versions stable,canary --max-slowdown 5% --min-agreement 0.999
    bench ab blue:8500 --against green:8500 --model ranker --requests sample.jsonl
    bench ab tfs:8500 --against triton:8001 --protocol tfs,oip --model ranker --requests sample.jsonl
    """
    if answers_only and latency_only:
        raise click.UsageError(
            "--answers-only and --latency-only: nothing would be left; give one of the two"
        )
    if not isinstance(parse(options["schedule"]), (Closed, Constant, Poisson)):
        raise BenchError(
            f"--schedule {options['schedule']}: expected closed, closed:0.5s (think time), constant:RATE or poisson:RATE"
        )
    compared = two_of(host, against, model, versions, batch_sizes, protocol=protocol)
    options["metrics"] = pages_of(options["metrics"], compared)
    options["telemetry"] = telemetry_of(options["telemetry"], compared)
    limits = limits_of(slowdowns, min_agreement, limits_file, accept, options["answered_within"])
    if limits is not None:
        limits.check(answers=not latency_only, load=not answers_only)
    server = taken_server_options(options)
    with looked_up_to_send(compared, requests, server, options, outputs=options["outputs"]) as (looked, file):
        # what judges and starts processes: imported once all that can be wrong was looked at
        from bench.cli.ab_run import run

        measured = {"answers": not latency_only, "load": not answers_only}
        return run(looked, file, server, limits, options, **measured)
