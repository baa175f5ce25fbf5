"""Duet: a second server, or a second version, that gets the same requests from the same load process, in turn.

Noise of the machine then hits both alike. `bench run --duet` starts the test: Locust's own options are for the first
arm, and what differs for the second lies in a file named with --duet. Each arm is recorded in a run folder of its own,
which is read as any other; both say in `duet` that they are halves of one load.
"""

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from bench import BenchError
from bench.load import reference_answers
from bench.load.engine.arrivals import Part
from bench.load.locust_glue.manifest import describe
from bench.load.locust_glue.observed import connections, noting
from bench.load.locust_glue.session import Session
from bench.load.locust_glue.slices import Slices
from bench.load.observing.incidents import WallClockProbe
from bench.load.observing.server_side import Counted, beside, watched_pid
from bench.load.observing.telemetry import Probe, ServerProbe, Telemetry, Values
from bench.load.options import ScenarioOptions, read_options
from bench.load.preflight import look, show
from bench.load.run_folder import RunFolder
from bench.load.sources import Source, make_pools, open_schedules
from bench.load.target import Target, address_of
from bench.load.watched import Watched
from bench.payload import Pool
from bench.runs.jsonl import read_json
from bench.runs.recording import RunWriter
from bench.schedule import Trace

ARMS: Final = 2
SHARED: Final = frozenset({"worker", "machine", "gpu", "master", "load"})
"""Sources of observations that are about both arms."""
OWN: Final = "worker 0"
"""The load process, which both arms share."""

_Any = TypeVar("_Any")


class Prepared(NamedTuple):
    """The second arm, looked at and ready to be sent requests."""

    options: ScenarioOptions
    target: Target
    pools: dict[Source, Pool]
    answered: list[reference_answers.Answered]
    manifest: dict[str, Any]
    """Made before the load begins: a busy machine takes its time for it."""

    @property
    def one_server(self) -> bool:
        """Whether both arms are models or versions of one server."""
        return bool(self.manifest["duet"]["one_server"])


def alternating(arms: Sequence[_Any], stream: int, load: Session | None = None) -> Iterator[_Any]:
    """Each arm once in every round, which of two comes first by chance: neither is always the second.

    load: that of the first arm, where both may have slices of time instead.
    """
    if len(arms) == 1:
        return repeat(arms[0])
    if load is not None and load.partner is not None and load.options.slice is not None:
        turns = Slices(load.options.slice, load.options.seed).turns([load, load.partner])
        return (arms[arm] for arm in turns)
    return _alternating(arms, random.Random(stream))  # noqa: S311 - an order, no secret


def _alternating(arms: Sequence[_Any], rng: random.Random) -> Iterator[_Any]:
    while True:
        yield from arms if rng.random() < 0.5 else arms[::-1]


def prepare(environment: Any) -> Prepared | None:
    """Look at the second arm; None where there is none. Raises BenchError for what the user has to mend."""
    path = environment.parsed_options.duet
    if not path:
        return None
    parsed = copy.copy(environment.parsed_options)
    if not parsed.headless or any(getattr(parsed, name, None) for name in ("master", "worker", "processes")):
        raise BenchError("--duet: one headless load process sends to both; `bench run --duet` starts it")
    vars(parsed).update(_described(Path(path)))
    options = read_options(parsed)
    if options.abort_if:
        raise BenchError("--abort-if: both servers of a duet would be judged as one; leave it out")
    address = address_of(parsed.host, options.api.port)
    pools = make_pools(environment.user_classes, options, address)
    if any(source.api.over_http for source in pools):
        raise BenchError("--duet: this scenario sends over REST too; a duet is for gRPC only")
    if any(isinstance(each, Trace) for each in open_schedules(environment.user_classes, options).values()):
        raise BenchError(
            "--duet: a trace has one sequence of requests; give --schedule poisson:RATE or constant:RATE"
        )
    if any(getattr(user, "script", None) for user in environment.user_classes):
        raise BenchError("--duet: this scenario changes its server while it runs; run it without --duet")
    target = look(address, options, pools)
    show(target)
    answered = reference_answers.ask(target, options, pools)
    target = replace(target, pid=watched_pid(options))
    shared = address_of(environment.host or "", options.api.port) == target.address
    if shared:
        options, target = unwatched(options, target)
    facts = describe(environment, options, target, pools)
    manifest = described(facts, 2, shared=shared, slice=options.slice)
    return Prepared(options, target, pools, answered, manifest)


def _described(path: Path) -> dict[str, Any]:
    try:
        described = read_json(path)
    except (OSError, ValueError) as error:
        raise BenchError(f"--duet {path}: not a JSON file ({error}); `bench run --duet` writes it") from None
    if not isinstance(described, dict):
        raise BenchError(f"--duet {path}: expected a JSON object; `bench run --duet` writes it")
    return described


def unwatched(options: ScenarioOptions, target: Target) -> tuple[ScenarioOptions, Target]:
    """Without the observation of the server: where both arms are one, whose work it does is not known."""
    return replace(options, watched=Watched()), replace(target, pid=None)


def described(
    manifest: Mapping[str, Any], number: int, *, shared: bool, slice: float | None
) -> dict[str, Any]:
    """The manifest of one arm: of the load and of what this machine can send, each arm has its half."""
    load, ceiling = dict(manifest["load"]), manifest["ceiling"]
    if load["kind"] != "closed":
        load["share"] = 1 / ARMS
    if ceiling:
        ceiling = ceiling | {name: ceiling[name] / ARMS for name in ("requests_per_second", "each")}
    duet = {"arm": number, "one_server": shared, **({} if slice is None else {"slice": slice})}
    return {**manifest, "load": load, "ceiling": ceiling, "duet": duet}


class SecondArm:
    """The second arm during one test: its session, its run folder and what is observed of its server."""

    def __init__(self, environment: Any, prepared: Prepared, origin: float, failed: Any) -> None:
        """origin: of the run, on perf_counter's clock. failed: called with the reason when the folder cannot be written."""
        options, target = prepared.options, prepared.target
        self._counted = Counted.before(options, target.specs)
        scenario = Path(environment.locustfile or "scenario").stem
        writer = RunWriter.create(options.results, scenario, options.note, prepared.manifest)
        self._writer = RunFolder(writer, failed)
        self._writer.update(clock_origin=origin)
        self.load = Session(
            environment,
            target.address,
            options,
            prepared.pools,
            partial(self._writer.append, 0),
            part=Part(1, ARMS),
        )
        self.load.refer(prepared.answered)
        self.load.start_clock(origin)
        self._origin = origin
        note = noting(origin, self._writer)
        probes: list[Probe] = [WallClockProbe(OWN, note), *connections(OWN, self.load, note)]
        probes += [] if target.pid is None else [ServerProbe(target.pid)]
        exporters = options.watched.telemetry or environment.parsed_options.server_telemetry
        self._shared = SHARED - {"gpu"} if exporters else SHARED  # each server has GPUs of its own
        self._telemetry = Telemetry([*probes, *beside(options, target.specs)], self.observe)

    def observe(self, at: float, source: str, values: Values) -> None:
        """Note an observation, of this arm's server or of what both share. at: on perf_counter's clock."""
        if values:
            self._writer.telemetry(at - self._origin, source=source, **values)

    def telemetry(self, time: float, *, source: str, **values: float | None) -> None:
        """Note what the first arm observes, where it is about both, in seconds of the run."""
        if source.partition(" ")[0] in self._shared:
            self._writer.telemetry(time, source=source, **values)

    def stop_observing(self) -> None:
        """The load has ended."""
        self._writer.update(**self._telemetry.stop())

    def finish(self, state: str, stopped: float | None, arrivals: Mapping[str, Any]) -> None:
        """Write the end of the run. What speaks against it shows when it is read: checking it here takes a process."""
        self.load.close()
        workers = [{"worker": 0, **self.load.counts(), "lost": False}]
        if self._counted is not None:
            self._writer.update(server_counters=self._counted.after())
        ends = {**arrivals, "wrong_answers": self.load.wrong_answers()}
        counts = self.load.counts()
        if self._writer.finish(state=state, workers=workers, counts=counts, stopped=stopped, **ends):
            self._writer.pack()
