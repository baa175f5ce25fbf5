"""The load of `bench ab`: an experiment of two conditions, run until it is decided or the time is up."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench import BenchError, packaged
from bench.analysis.grouping.trials import Trials, read_trials
from bench.analysis.judging.change import Change
from bench.analysis.judging.compare import Comparison, compare_by
from bench.analysis.judging.gate import Judgement
from bench.analysis.showing.verdict import sentences
from bench.analysis.statistics.sequential import LEAST, Look
from bench.cli.ab_conditions import Looked
from bench.cli.ab_limits import Limits
from bench.cli.blocks import Seen, run_blocks
from bench.cli.gate_run import LEAST_OVERHEAD, Sides, decided, judge
from bench.cli.metric_options import metrics_to_judge
from bench.cli.run_clock import Clock
from bench.cli.run_display import Lines
from bench.config.experiment import Load
from bench.experiment.beginning import Prepared
from bench.experiment.folder import Folder
from bench.experiment.preflight import refused
from bench.experiment.runner import Runner
from bench.experiment.trial import Local
from bench.experiment.two_conditions import TwoConditions
from bench.launch.remote import described
from bench.load.option_values import parameters_of
from bench.runs.run import find_runs
from bench.schedule import Closed, parse

SPEED: Final = ("p50", "p99", "requests_per_second", "inferences_per_second")
"""And goodput, where it is said within how long."""
FAILURES: Final = ("error_share", "mismatch_share")
SLICE: Final = 0.5
"""Seconds for which each condition has all users."""
_BLOCKS: Final = 16
"""As many are aimed at: fewer decide where trials differ by a few percent."""
_SHORTEST, _LONGEST = 4, 30
"""Seconds of a trial: of shorter ones too little is left after the warm-up."""


class Outcome(NamedTuple):
    """The outcome of the last look at the trials."""

    comparison: Comparison | None
    """None: a side has no trial."""
    failures: list[Change]
    judged: Judgement | None
    trials: Trials


def planned(
    looked: Looked,
    requests: str | None,
    seconds: float,
    server: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    rates: bool = False,
) -> Prepared:
    """The experiment of the two sides.

    requests: the file; seconds: for all of it; server, options: those of the command line; rates: whether limits are
    of requests per second.
    """
    two = looked.two
    over_http = any(side.inquiry.api.over_http for side in looked.sides)
    duet, slice = in_turn(two, options["schedule"], over_http=over_http, rates=rates)
    in_block = 1 if duet else 2
    each = max(_SHORTEST, min(_LONGEST, round(seconds / (_BLOCKS * in_block) - LEAST_OVERHEAD)))
    return two.prepared(
        packaged.scenario("model"),
        duet=duet,
        slice=slice,
        load=Load(users=options["users"], schedule=options["schedule"]),
        blocks=max(LEAST, int(seconds // ((each + LEAST_OVERHEAD) * in_block))),
        seconds=each,
        server=called(server),
        observed=observed(options),
        signature=looked.signature,
        seed=options["seed"],
        deadline=options["deadline"],
        options=model_options(looked, requests, server, options),
    )


def observed(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Where the servers of both sides are observed, as keys of a servers file."""
    metrics, telemetry = options.get("metrics", (None, None)), options["telemetry"]
    first, second = (
        {"metrics": page, "telemetry": pages} for page, pages in zip(metrics, telemetry, strict=True)
    )
    return first, second


def model_options(
    looked: Looked, requests: str | None, server: Mapping[str, Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Options of the scenario `model` for what is sent; arguments as of `planned`."""
    own: dict[str, Any] = {
        "transport": server["transport"],
        "max-answer-bytes": server["max_answer_bytes"],
        "requests": str(Path(requests).resolve()) if requests else None,
        "examples": None if requests else options["count"],
        "shape": looked.shape or None,
        "output": looked.output,
    }
    return {name: value for name, value in own.items() if value is not None}


def in_turn(two: TwoConditions, schedule: str, *, over_http: bool, rates: bool) -> tuple[bool, float | None]:
    """Whether one load process sends to both, and for how many seconds to each.

    Users that wait have slices of time. Arrivals go to two servers in turn; to one server, where those of one condition
    would wait for those of the other, they go in trials that follow each other. So do those over HTTP, which no duet
    sends, and batch sizes and what has limits of rates: a duet shares users and arrivals between the two.
    """
    if over_http or rates or two.part == "batch":
        return False, None
    if isinstance(parse(schedule), Closed):
        return True, SLICE
    return two.part == "server", None


def called(options: Mapping[str, Any]) -> dict[str, Any]:
    """How the servers are called, as keys of a servers file; not the protocol, which is each side's own."""
    tls = {
        "ca": options["grpc_tls_ca"],
        "certificate": options["grpc_tls_cert"],
        "key": options["grpc_tls_key"],
        "server_name": options["grpc_tls_server_name"],
    }
    table: dict[str, Any] = {}
    if any(tls.values()):
        table["tls"] = {name: value for name, value in tls.items() if value}
    elif options["grpc_tls"]:
        table["tls"] = True
    if options["parameters"]:
        table["request_parameters"] = dict(parameters_of(options["parameters"]))
    if options["authority"]:
        table["authority"] = options["authority"]
    if options["pairs"]:
        items = (each.strip().split("=", 1) for each in options["pairs"].split(",") if each.strip())
        table["metadata"] = dict(items)
    return table


def look_as_the_load_does(prepared: Prepared) -> None:
    """Raise BenchError for what the load processes would refuse."""
    for server in prepared.servers:
        trials = [trial for trial in prepared.plan if trial.cell.server == server.name]
        for reason in refused(prepared.study, trials, described(server)).values():
            raise BenchError(reason)


def measure(
    two: TwoConditions,
    prepared: Prepared,
    folder: Folder,
    seconds: float,
    limits: Limits | None,
    *,
    answered_within: float | None,
) -> Outcome:
    """Run blocks until a look decides, or so many seconds are over. answered_within: seconds, of goodput."""
    sides = sides_of(two)
    most = max(trial.block for trial in folder.trials)
    display = Lines(folder.path)
    servers = {server.name: server for server in prepared.servers}
    with folder.locked() as lock, display.showing(len(folder.trials), 0, Clock(budget=seconds)):
        runner = Runner(prepared.study, servers, folder, Local(), display)

        def look(at: Look) -> Seen[Outcome]:
            outcome = outcome_of(folder, sides, limits, at, most=most, answered_within=answered_within)
            return Seen(outcome, _progress(two, outcome), _over(outcome))

        return run_blocks(runner, lock, seconds, look, one_will_do=True)


def sides_of(two: TwoConditions) -> Sides:
    """Which of the trials are the baseline's."""
    return Sides(two.part, two.baseline, two.also)


def outcome_of(
    folder: Folder,
    sides: Sides,
    limits: Limits | None,
    look: Look,
    *,
    most: int,
    answered_within: float | None,
) -> Outcome:
    """What the trials of a folder give so far. most: blocks that are planned."""
    trials = read_trials(find_runs([folder.path]), answered_within)
    judged = None if limits is None else judge(trials, sides, limits, look, most)
    if len({str(getattr(trial.identity, sides.part)) for trial in trials.trials}) < 2:
        return Outcome(None, [], judged, trials)

    def compared(names: Sequence[str]) -> Comparison:
        return compare_by(
            trials.trials,
            sides.part,
            baseline=sides.baseline,
            metrics=names,
            rate=look.rate,
            also=sides.also,
        ).found[0]

    speed = metrics_to_judge((), SPEED, answered_within)
    return Outcome(compared(speed), compared(FAILURES).changes, judged, trials)


def _over(outcome: Outcome) -> bool:
    """Whether further blocks are of no use."""
    if outcome.comparison is None:
        return True
    if outcome.judged is not None:
        return decided(outcome.judged)
    return not any(map(still_open, outcome.comparison.changes))


def still_open(change: Change) -> bool:
    """Whether further blocks may decide a change."""
    return change.verdict == "unknown" and change.estimate is not None


def _progress(two: TwoConditions, outcome: Outcome) -> str:
    if outcome.judged is not None:
        return outcome.judged.verdict
    if outcome.comparison is None:
        return "a side has no trial that was measured"
    return " ".join(sentences(two.after.title(two.part), outcome.comparison.changes, None))
