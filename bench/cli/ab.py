"""`bench ab`: two versions, models, servers or batch sizes beside each other, in one command."""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from bench import BenchError
from bench.cli.ab_conditions import RANDOM_EXAMPLES, looked_up, two_of
from bench.cli.ab_limits import limits_of
from bench.cli.asking import calls_a_server
from bench.cli.metric_options import goodput_option
from bench.cli.new_file import NewFile
from bench.cli.numbers import Number, Share
from bench.schedule import Closed, Constant, Poisson, parse
from bench.schedule.text import duration


def seconds_of(_context: click.Context, _parameter: click.Parameter, text: str) -> float:
    """The seconds of an option such as --time."""
    try:
        seconds = duration(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds < 1e6:
        raise click.BadParameter(f"{text}: expected a duration such as 90s or 2m")
    return seconds


def groups(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Several options as one decorator."""

    def give(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return give


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
_LOAD: Final = groups(
    click.option(
        "--time",
        "seconds",
        default="2m",
        show_default=True,
        callback=seconds_of,
        help="Time limit for everything.",
    ),
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
    click.option(
        "--deadline",
        type=Number(0, min_open=True),
        default=10.0,
        show_default=True,
        help="Request timeout in seconds.",
    ),
    goodput_option("Compare goodput too"),
    click.option(
        "--seed",
        type=click.IntRange(0),
        default=1,
        show_default=True,
        help="Random seed of orders and inputs.",
    ),
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
    click.option("--results", type=click.Path(path_type=Path), default=Path("results"), show_default=True),
    click.option(
        "--json",
        "as_json",
        type=NewFile(),
        metavar="FILE",
        help="Write all results as JSON.",
    ),
    click.option(
        "--junit",
        type=NewFile(),
        metavar="FILE",
        help="Write the verdicts as JUnit XML, for CI.",
    ),
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
@calls_a_server
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
    **options: Any,
) -> int:
    """Compare two versions of a model on the server at HOST:PORT: speed and answers.

    Both sides get the same requests in turn until the result is decided or the time is up. Compare two --versions
    (numbers or labels), two models, two batch sizes, or two servers (--against). The first one is the baseline.

    Every distinct example is sent once to each side to compare the answers. The results go to an experiment folder that
    bench report, compare and gate read.

    Exit codes: 0 done, or all limits pass; with limits 1 FAIL, 3 inconclusive or measurement invalid; 2 bad usage or
    input; 130 interrupted.

    \b
    bench ab serving.example:8500 --model ranker --versions 6,7 --requests sample.jsonl
    bench ab serving.example:8500 --model ranker --versions stable,canary --max-slowdown 5% --min-agreement 0.999
    bench ab blue:8500 --against green:8500 --model ranker --requests sample.jsonl
    """
    if answers_only and latency_only:
        raise click.UsageError(
            "--answers-only and --latency-only: nothing would be left; give one of the two"
        )
    if not isinstance(parse(options["schedule"]), (Closed, Constant, Poisson)):
        raise BenchError(
            f"--schedule {options['schedule']}: expected closed, closed:0.5s (think time), constant:RATE or poisson:RATE"
        )
    compared = two_of(host, against, model, versions, batch_sizes)
    limits = limits_of(slowdowns, min_agreement, limits_file, accept, options["answered_within"])
    if limits is not None:
        limits.check(answers=not latency_only, load=not answers_only)
    names = ("protocol", "timeout", "transport", "pairs", "authority", "max_answer_bytes")
    server = {
        name: options.pop(name) for name in list(options) if name in names or name.startswith("grpc_tls")
    }
    with tempfile.TemporaryDirectory(prefix="serving-bench-") as spool:
        if requests == "-":
            requests = spooled(Path(spool))
        with looked_up(
            compared,
            requests=requests,
            server=server,
            **{name: options.pop(name) for name in ("signature", "shape")},
            **{name: options[name] for name in ("count", "seed", "outputs", "deadline")},
        ) as looked:
            # what judges and starts processes: imported once all that can be wrong was looked at
            from bench.cli.ab_run import run

            measured = {"answers": not latency_only, "load": not answers_only}
            return run(looked, requests, server, limits, options, **measured)


def spooled(folder: Path) -> str:
    """Standard input as a file, which load processes can read too."""
    path = folder / "standard_input"
    content = sys.stdin.buffer.read()
    if not content:
        raise BenchError("--requests -: standard input is empty; expected requests, such as JSON lines")
    path.write_bytes(content)
    return str(path)
