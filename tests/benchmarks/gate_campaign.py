"""Measure error rate and power of gates on this machine, with live trials.

    python -m tests.benchmarks.gate_campaign record FOLDER [SECONDS] [SIDE...]   # each call adds a part
    python -m tests.benchmarks.gate_campaign judge FOLDER...

`record` keeps one Locust process and four synthetic servers up - a baseline, its equal, one with a median service
time 5 % longer, one with a p99 10 % higher - and lets them take turns in blocks of short trials, in a balanced order. The
servers draw the same random numbers, and requests are due at the same instants of each trial: what differs between
two sides is what was put in, and what the machine did. `judge` cuts the blocks into gates and comparisons that share
no trial, and judges each as `bench gate --run` and `bench compare` would; then it draws 1,000 of each from the same
trials.
"""

import json
import logging
import math
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.experiment.balance import order
from tests.benchmarks.arguments import parser

MEDIAN, SIGMA, TAIL = 0.020, 0.3, 1.10
NORMAL_99 = 2.3263479
"""The 99th percentile of the normal distribution."""
SIDES: Final = {
    "base": (MEDIAN, SIGMA),
    "equal": (MEDIAN, SIGMA),
    "slower": (MEDIAN * 1.05, SIGMA),
    "tailed": (MEDIAN, SIGMA + math.log(TAIL) / NORMAL_99),
}
"""Median and sigma of the log-normal service time of each server."""
RATE: Final = 1000
TRIAL_SECONDS: Final = 1.8
"""Of load; the first second is warm-up."""
PAIRS: Final = 4
"""Of a live comparison of equal things: the least at which a gate looks."""
BLOCKS: Final = 12
"""Of a gate: as many as `bench gate --run` has in 2 minutes with trials of 3 s."""
LIMITS: Final = """
accept = ["short", "behind", "not achieved", "client held up", "client paused", "unsteady"]
[worse_than_baseline]
p50 = 0.02
p99 = 0.05
requests_per_second = 0.02
"""
"""Short trials have a warning for being short; what the machine's other work does to them is part of the question."""


def record(folder: Path, seconds: float, sides: Sequence[str]) -> None:
    """Run blocks of these sides until the next one would not fit into so many seconds."""
    began = time.monotonic()
    from bench.load.users import PredictUser  # noqa: F401  # gevent has to patch the standard library first
    from bench.launch.servers_file import read_servers  # isort: skip
    from bench.launch.kinds import launched  # isort: skip
    from bench.launch.running import Served  # isort: skip

    folder.mkdir(parents=True, exist_ok=True)
    done = [json.loads(path.read_text())["experiment"]["block"] for path in folder.glob("*/manifest.json")]
    model = folder / "models" / "mnist"
    (model / "1").mkdir(parents=True, exist_ok=True)
    (model / "1" / "weights").write_text("1")
    (folder / "servers.toml").write_text("".join(map(_declared, sides)))
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(
                launched(declared, [Served("mnist", model, (1,))], folder / "servers" / name)
            )
            for name, declared in read_servers(folder / "servers.toml").items()
        }
        generator = Generator(folder, {name: server.address for name, server in servers.items()})
        longest, block = 0.0, max(done, default=0)
        while time.monotonic() - began + longest < seconds - 3:
            started, block = time.monotonic(), block + 1
            generator.block(block)
            longest = max(longest, time.monotonic() - started)
    print(f"{folder}: blocks up to {block}")


def _declared(name: str) -> str:
    median, sigma = SIDES[name]
    times = f"lognormal({1e6 * median:.1f}us,{sigma:.6f})"
    return f'[servers.{name}]\nkind = "embedded"\nbuild = "synthetic"\nflags = {{ backend = "synthetic", service_time = "{times}" }}\n'


class Generator:
    """One Locust process for all trials: none of them pays for its start."""

    def __init__(self, folder: Path, addresses: dict[str, str]) -> None:
        import locust
        from locust.argument_parser import get_parser
        from locust.env import Environment

        from scenarios.mnist_open import MnistOpen

        logging.disable(logging.WARNING)
        self._folder, self._addresses = folder, addresses
        options = get_parser().parse_args([
            *("--results", str(folder), "--schedule", f"constant:{RATE}", "--no-samples"),
            *("--warm-up", "1"),
            *("--model-version", "1", "--host", next(iter(addresses.values()))),
        ])  # fmt: skip
        self._environment: Any = Environment(
            user_classes=[MnistOpen],
            events=locust.events,
            host=options.host,
            parsed_options=options,
            locustfile="mnist_open.py",
        )
        self._runner = self._environment.create_local_runner()
        locust.events.init.fire(environment=self._environment, runner=self._runner, web_ui=None)

    def block(self, number: int) -> None:
        """A trial of each side, in a balanced order that depends on the number alone."""
        sides = order(sorted(self._addresses), number - 1, "gate campaign")
        for position, side in enumerate(sides):
            self._trial(side, number, len(sides) * (number - 1) + position + 1)

    def _trial(self, side: str, block: int, number: int) -> None:
        cell = {"server": side, "build": "synthetic", "model": "mnist", "version": 1, "batch": 1, "load": ""}
        said = {"name": "gate_campaign", "cell": cell, "block": block, "trial": number, "seed": 1}
        said_to = self._folder / ".trial.json"
        said_to.write_text(json.dumps(said | {"server": {"name": side, "kind": "embedded"}}))
        options = self._environment.parsed_options
        options.experiment, options.note = str(said_to), f"b{block}t{number:04}"
        self._environment.host = options.host = self._addresses[side]
        self._runner.start(1, 1)
        time.sleep(TRIAL_SECONDS)  # how long it lasts is the trial's definition
        self._runner.stop()
        said_to.unlink()


class Sides(NamedTuple):
    """The trials of two sides, pair by pair."""

    before: list[Any]
    after: list[Any]

    def part(self, places: Sequence[int]) -> "Sides":
        """Some of the pairs."""
        return Sides([self.before[at] for at in places], [self.after[at] for at in places])


def judge(folders: Sequence[Path]) -> None:
    """Print the shares of verdicts with their intervals."""
    import tempfile

    from bench.analysis.grouping.trials import read_trials
    from bench.analysis.judging.gate import LimitsFile
    from bench.runs.run import find_runs

    by_side: dict[str, dict[Any, Any]] = {}
    trials = read_trials(find_runs(folders))
    whole = [trial for trial in trials.trials if trial.manifest.raw.get("state") == "finished"]
    for trial in whole:
        by_side.setdefault(trial.identity.server, {})[trial.block] = trial
    base = by_side.pop("base")
    print(f"unreadable or empty: {len(trials.unreadable) + len(trials.empty)} of {len(trials.trials)} trials")
    sides = {}
    for name, of in sorted(by_side.items()):
        blocks = sorted(base.keys() & of.keys())
        sides[name] = Sides([base[block] for block in blocks], [of[block] for block in blocks])
    _print_noise(sides["equal"])
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "limits.toml"
        path.write_text(LIMITS)
        limits = LimitsFile.read(path)
    for name, found in sides.items():
        _print_gates(f"{name}: live gates", _gates(limits, found))
        rng, length = random.Random(7), len(found.before)
        if length > BLOCKS:
            drawn = (found.part(sorted(rng.sample(range(length), BLOCKS))) for _ in range(1000))
            ended = (_gate(limits, each) for each in drawn)
            _print_gates(f"{name}: drawn gates", (each for each in ended if each is not None))
    _print_comparisons(sides["equal"])


def _print_noise(sides: Sides) -> None:
    import numpy as np

    for metric in ("p50", "p90", "p99", "requests_per_second"):
        logs = [np.log([t.values[metric] for t in side]) for side in sides]
        pairs = logs[1] - logs[0]
        print(
            f"equal trials differ in {metric} by {100 * logs[0].std(ddof=1):.2f} % (standard deviation), "
            f"pairs by {100 * pairs.std(ddof=1):.2f} %, in the mean by {100 * pairs.mean():+.2f} %"
        )


class Ended(NamedTuple):
    """How a gate ended."""

    code: int
    blocks: int
    broken: frozenset[str]
    warnings: frozenset[str]


def _gate(limits: Any, sides: Sides) -> Ended | None:
    """A gate that looks as `bench gate --run` does, at BLOCKS at the most; None: the pairs end before it does."""
    from bench.analysis.grouping.trials import Trials
    from bench.analysis.judging.gate import INCONCLUSIVE, gate
    from bench.analysis.statistics.sequential import looks

    for blocks, rate, _ in looks(BLOCKS):
        if blocks > len(sides.before):
            return None
        before, after = (Trials(side[:blocks], [], []) for side in sides)
        judged = gate(limits, after, before, rate)
        broken = frozenset(f.limit.metric.name for f in judged.findings if f.outcome == "FAIL")
        ended = Ended(judged.code, blocks, broken, frozenset(warning.check for warning in judged.warnings))
        if judged.code != INCONCLUSIVE or judged.warnings or blocks == BLOCKS:
            return ended
    return None


def _gates(limits: Any, sides: Sides) -> Iterator[Ended]:
    """Gates that follow each other: each begins where the one before has ended."""
    first = 0
    while (ended := _gate(limits, sides.part(range(first, len(sides.before))))) is not None:
        yield ended
        first += ended.blocks


def _print_gates(title: str, ended: Iterable[Ended]) -> None:
    from bench.analysis.statistics.intervals import proportion

    found = list(ended)
    codes = Counter(each.code for each in found)
    broken = Counter(metric for each in found for metric in each.broken)
    warnings = Counter(check for each in found for check in each.warnings)
    blocks = sorted(each.blocks for each in found)
    low, high = proportion(codes[1], len(found), 0.95)
    print(
        f"{title}: {len(found)}, broken {codes[1]} = {codes[1] / max(1, len(found)):.1%} ({low:.1%} ... {high:.1%}), "
        f"kept {codes[0]}, undecided {codes[3]}; by {dict(broken)}; warnings {dict(warnings)}; "
        f"blocks needed: {blocks[len(blocks) // 2] if blocks else '-'} in the middle, {blocks[-1] if blocks else '-'} at most"
    )


def _print_comparisons(sides: Sides) -> None:
    """A/A with a fixed number of pairs, as `bench compare` judges them."""
    from bench.analysis.judging.compare import compare
    from bench.analysis.statistics.intervals import proportion

    metrics = ("p50", "p90", "p99", "requests_per_second", "error_share")

    def verdicts(groups: Iterable[Sequence[int]]) -> tuple[int, Counter[str]]:
        count, seen = 0, Counter[str]()
        for places in groups:
            part = sides.part(places)
            count += 1
            seen.update({c.verdict for c in compare(part.before, part.after, metrics=metrics).changes})
        return count, seen

    length = len(sides.before)
    rng = random.Random(8)  # reproducible, no secret
    live = [range(at, at + PAIRS) for at in range(0, length - PAIRS + 1, PAIRS)]
    drawn = [sorted(rng.sample(range(length), PAIRS)) for _ in range(1000)]
    for title, groups in (("live", live), ("drawn", drawn)):
        count, seen = verdicts(groups)
        for verdict in ("worse", "better"):
            low, high = proportion(seen[verdict], count, 0.95)
            print(
                f"equal: {title} comparisons of {PAIRS} pairs: {count}, false {verdict} in any of {len(metrics)} metrics: "
                f"{seen[verdict]} = {seen[verdict] / count:.1%} ({low:.1%} ... {high:.1%})"
            )


if __name__ == "__main__":
    command = parser(__doc__)
    verbs = command.add_subparsers(dest="verb", required=True)
    recording = verbs.add_parser("record", help="add blocks of live trials")
    recording.add_argument("folder", type=Path)
    recording.add_argument("seconds", type=float, nargs="?", default=120.0)
    recording.add_argument("sides", nargs="*", metavar="SIDE", help=f"of {', '.join(SIDES)} (default: all)")
    judging = verbs.add_parser("judge", help="count what gates say of the recorded trials")
    judging.add_argument("folders", type=Path, nargs="+")
    given = command.parse_args()
    if given.verb == "record":
        record(given.folder, given.seconds, given.sides or [*SIDES])
    else:
        judge(given.folders)
