"""Runs the missing trials of an experiment, whatever fails on the way."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Protocol

from bench import BenchError
from bench.config.experiment import MNIST
from bench.config.servers import Declared, Started
from bench.experiment import duet
from bench.experiment.described import check_files, check_models, model_hashes, shown_environment
from bench.experiment.folder import Folder
from bench.experiment.order import Order
from bench.experiment.plan import Condition, PlannedTrial, ServerSession, sessions
from bench.experiment.preflight import refused
from bench.experiment.study import Study
from bench.experiment.trial import Failed, Generator, Glance, Local
from bench.launch import facts
from bench.launch.kinds import launched
from bench.launch.remote import Remote
from bench.launch.running import Running, Served
from bench.load.site import exported
from bench.runs.interference import INTERFERENCE, Interference
from bench.runs.journal import Ended


class Display(Protocol):
    """The display of an experiment's progress."""

    def say(self, text: str) -> None:
        """Something worth a line."""

    def glance(self, glance: Glance) -> None:
        """How the current trial looks."""

    def ended(self, trial: PlannedTrial, ended: Ended, seconds: float) -> None:
        """A trial has ended."""


@dataclass
class Runner:
    """Runs the trials of one experiment folder."""

    study: Study
    servers: Mapping[str, Declared]
    folder: Folder
    generator: Generator
    display: Display
    alike: bool = False
    """Whether its servers differ in settings only, so that the preflight of one stands for all."""
    _refused: dict[str, dict[Condition, str]] = field(default_factory=dict)
    """By server: cells that its preflight has refused, and why."""
    _models: list[Served] = field(default_factory=list)
    _hashes: dict[str, dict[str, str]] = field(default_factory=dict)
    alone_seconds: float = 0.0
    """What measuring the interference of a duet took."""

    def run(self, lock: int, *, again: Callable[[Ended], bool] = lambda _: False) -> None:
        """Run every trial that has not ended yet, or has and is to be run `again`.

        lock: the descriptor of the folder's lock. A trial or a server that fails is noted, and the rest goes on.
        """
        ended = self.folder.ended()
        missing = [t for t in self.folder.trials if t.number not in ended or again(ended[t.number])]
        if not missing:
            return
        if self.folder.description.get("duet"):
            self._run_duets({trial.number for trial in missing}, lock)
            return
        for session in sessions(missing):
            left = list(session.trials)
            starts = 0
            while left:
                starts += 1
                left = self._session(session, left, starts, lock)

    def _session(
        self, session: ServerSession, trials: list[PlannedTrial], start: int, lock: int
    ) -> list[PlannedTrial]:
        """Start the server and run trials until all are done or it has ended; gives those that are left."""
        self._check_files()
        declared = self.servers[session.server]
        place = self.folder.path / "servers" / f"b{session.block}-{session.server}-{start}"
        self._say_start(session.server, session.block)
        with contextlib.ExitStack() as stack:
            try:
                server = stack.enter_context(launched(declared, self._models, place, [lock]))
            except BenchError as error:
                for trial in trials:
                    self._fail(trial, str(error), 0.0)
                return []
            looked = self._refused if self.alike else declared.name in self._refused
            if isinstance(self.generator, Local) and not looked:
                planned = [each for each in self.folder.trials if each.cell.server == declared.name]
                self._refused[declared.name] = {}
                with contextlib.suppress(BenchError):  # the trials themselves will show why
                    self._refused[declared.name] = refused(self.study, planned, server)
            reasons = self._refused.get(declared.name, {})
            for number, trial in enumerate(trials):
                if trial.cell in reasons:
                    self._fail(trial, reasons[trial.cell], 0.0)
                    continue
                self._trial(trial, declared, server, lock)
                if server.ended() is not None:
                    return trials[number + 1 :]
        return []

    def _say_start(self, server: str, block: int | None = None) -> None:
        step = "connecting to" if isinstance(self.servers[server].spec, Remote) else "starting"
        self.display.say((f"block {block}: " if block is not None else "") + f"{step} {server}")

    @contextlib.contextmanager
    def started(self, names: Sequence[str], lock: int) -> Iterator[Callable[[PlannedTrial], Ended]]:
        """Servers that run until the end of the block; gives what runs a trial on its own. Raises BenchError."""
        self._check_files()
        with contextlib.ExitStack() as stack:
            servers = {}
            for name in names:
                self._say_start(name)
                place = self.folder.path / "servers" / f"b1-{name}-1"
                servers[name] = stack.enter_context(launched(self.servers[name], self._models, place, [lock]))

            def run(trial: PlannedTrial) -> Ended:
                name = trial.cell.server
                return self._trial(trial, self.servers[name], servers[name], lock)

            yield run

    def _trial(self, trial: PlannedTrial, declared: Declared, server: Running, lock: int) -> Ended:
        began = time.monotonic()
        try:
            order = Order(self.study, trial, server, self._facts(declared, server))
            run = self.generator.run(order, self.folder, lock, self.display.glance)
        except (Failed, BenchError) as error:
            return self._fail(trial, str(error), time.monotonic() - began)
        return self._note(trial, Ended(trial.number, "measured", None, run.name), time.monotonic() - began)

    def _run_duets(self, missing: set[int], lock: int) -> None:
        """Run the pairs of which a trial is missing, both trials anew."""
        left = [pair for pair in duet.pairs(self.folder.trials) if missing & {trial.number for trial in pair}]
        for pair in left:
            for trial in pair:
                run = self.folder.run_of(trial)
                if run is not None:
                    self.folder.set_aside(run, "interrupted")
        for block, own in groupby(left, key=lambda pair: pair[0].block):
            of_block, starts = list(own), 0
            while of_block:
                starts += 1
                of_block = self._duets(block, of_block, starts, lock)

    def _duets(self, block: int, pairs: list[duet.Pair], start: int, lock: int) -> list[duet.Pair]:
        """Start the servers and run pairs until all are done or a server has ended; gives those that are left."""
        self._check_files()
        servers: dict[str, Running] = {}
        with contextlib.ExitStack() as stack:
            for name in dict.fromkeys(trial.cell.server for trial in pairs[0]):
                place = self.folder.path / "servers" / f"b{block}-{name}-{start}"
                self._say_start(name, block)
                try:
                    servers[name] = stack.enter_context(
                        launched(self.servers[name], self._models, place, [lock])
                    )
                except BenchError as error:
                    for trial in (trial for pair in pairs for trial in pair):
                        self._fail(trial, str(error), 0.0)
                    return []
            for number, pair in enumerate(pairs):
                self._duet(pair, servers, lock)
                if any(server.ended() is not None for server in servers.values()):
                    return pairs[number + 1 :]
        return []

    def _duet(self, pair: duet.Pair, servers: Mapping[str, Running], lock: int) -> None:
        began = time.monotonic()
        show = self.display.glance
        try:
            if not isinstance(self.generator, Local):
                raise Failed("a duet is run by one load process on this machine")
            first, second = (
                Order(
                    self.study,
                    trial,
                    servers[trial.cell.server],
                    self._facts(self.servers[trial.cell.server], servers[trial.cell.server]),
                )
                for trial in pair
            )
            alone = []
            slice = self.folder.description.get("slice")
            if slice is None and not (self.folder.path / INTERFERENCE).exists():
                for order in (first, second):
                    self.display.say(f"alone, for the interference: {order.trial.cell.title()}")
                    run = self.generator.run(order, self.folder, lock, show)
                    alone.append(self.folder.set_aside(run, duet.ALONE))
                self.alone_seconds = time.monotonic() - began
            self.generator.run(first, self.folder, lock, show, partner=second, slice=slice)
            runs = [self.folder.run_of(trial) for trial in pair]
            together = [run for run in runs if run is not None]
            if alone:
                interference = Interference.of(
                    (first.trial.cell.title(), second.trial.cell.title()), alone, together
                )
                interference.write(self.folder.path)
                for text in interference.warnings:
                    self.display.say(f"warning: {text}")
        except (Failed, BenchError) as error:
            for trial in pair:
                self._fail(trial, str(error), time.monotonic() - began)
            return
        for trial, run in zip(pair, together, strict=True):
            self._note(trial, Ended(trial.number, "measured", None, run.name), time.monotonic() - began)

    def _fail(self, trial: PlannedTrial, reason: str, seconds: float) -> Ended:
        run = self.folder.run_of(trial)
        # first aside, then noted: a kill in between makes it missing, not measured
        moved = None if run is None else self.folder.set_aside(run, "failed")
        where = None if moved is None else str(moved.relative_to(self.folder.path))
        return self._note(trial, Ended(trial.number, "failed", " ".join(reason.split()), where), seconds)

    def _note(self, trial: PlannedTrial, ended: Ended, seconds: float) -> Ended:
        self.folder.note(ended)
        self.display.ended(trial, ended, seconds)
        return ended

    def _check_files(self) -> None:
        """Find the models. Raises BenchError where one cannot be made, or is not what it was when the experiment was begun.

        The scenario and the files of its options, too.
        """
        check_files(self.folder.description, self.study, self.folder.path)
        self._models = list(served(self.study, self.display.say))
        self._hashes = {
            model.name: model_hashes(model.path, model.versions)
            for model in self._models
            if model.path is not None
        }
        if "models" not in self.folder.description:
            self.folder.add(models=self._hashes)
        check_models(self.folder.description["models"], self._hashes, self.folder.path)

    def _facts(self, declared: Declared, server: Running) -> dict[str, Any]:
        spec = declared.spec
        described: dict[str, Any] = {"name": declared.name, "kind": spec.kind, "build": spec.build}
        if spec.price_per_hour is not None:
            described["price_per_hour"] = spec.price_per_hour
        if isinstance(spec, Started):
            settings = spec.model_dump(
                exclude_unset=True, exclude={"kind", "build", "environment", "price_per_hour"}
            )
            described |= {"settings": settings, "environment": shown_environment(spec.environment)}
            described["cpu_features"] = facts.cpu_features()
        described |= {**server.facts, **facts.of_log(server.log_text())}
        described["models"] = self._hashes
        return described


def served(study: Study, say: Callable[[str], None]) -> Iterator[Served]:
    """The models that each server of an experiment has to serve; this package's own are made where they are missing.

    Raises BenchError where they cannot be made.
    """
    specs = [server.spec for server in (*study.servers, *study.optional)]
    loaded = any(isinstance(spec, Started) and spec.loads_models for spec in specs)
    for name, model in study.experiment.models.items():
        path = study.model_path(name)
        if path is None and loaded and name == MNIST:
            path = exported(MNIST, ["--pair"], versions=(1, 2), say=say)
        yield Served(name, path, tuple(model.versions))
