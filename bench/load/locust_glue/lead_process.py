"""Start, stop and end of a Locust test: target, run folder, summary."""

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event
from locust.runners import MasterRunner

from bench import BenchError
from bench.load import before_and_after, reference_answers, verdict
from bench.load.engine.arrivals import WHOLE, Part
from bench.load.engine.user_plan import Conductor
from bench.load.locust_glue import duet, hello, internals, link, observed, session
from bench.load.locust_glue.console import Console, show_summary
from bench.load.locust_glue.ending import Ending
from bench.load.locust_glue.form_answers import answers_of
from bench.load.locust_glue.interrupts import INTERRUPTED
from bench.load.locust_glue.manifest import describe
from bench.load.locust_glue.published import Published
from bench.load.locust_glue.session import Session
from bench.load.locust_glue.unmeasured import check, judge, leaves_by_itself
from bench.load.locust_glue.worker import TARGET
from bench.load.locust_glue.workers import WAITING, Workers
from bench.load.observing.server_side import beside, watched_pid
from bench.load.observing.telemetry import Telemetry
from bench.load.open_files import check_open_files
from bench.load.options import ScenarioOptions, read_options
from bench.load.preflight import answer_cells, look, look_over_rest, show
from bench.load.run_folder import RunFolder
from bench.load.sources import (
    Source,
    make_pools,
    open_schedules,
    refuse_larger,
    refuse_other_waits,
    refuse_untagged,
)
from bench.load.stage import Script, prepare, script_of, stage_at
from bench.load.target import EmbeddedServer, Target, address_of, host_of
from bench.load.totals import total
from bench.payload import Pool
from bench.runs import recording
from bench.runs.choices import FILE

log = logging.getLogger("bench")


class LeadProcess:
    """The one process of a local test, or the master: owns the target, the run folder and the embedded server."""

    def __init__(self, environment: Any, runner: Any) -> None:
        self.environment, self.runner = environment, runner
        self.headless = bool(environment.parsed_options.headless)
        self.unattended = leaves_by_itself(environment.parsed_options)
        self.library = False
        """Whether a program runs the test by itself, without web form: what is refused ends it."""
        self._class_host: str | None = None
        """The target that the user classes name, where Locust was given none."""
        self._measured = False
        """Whether any run has recorded a request that had ended."""
        self.server: EmbeddedServer | None = None
        self.writer: RunFolder | None = None
        self.script: Script | None = None
        self.telemetry: Telemetry | None = None
        self._server_facts: before_and_after.BeforeAndAfter | None = None
        self._origin = 0.0
        self._stopped: float | None = None
        self.ending = Ending(environment, self._begun)
        self._second: duet.Prepared | None = None
        self.arm: duet.SecondArm | None = None
        """The second server of a duet, while a test runs."""
        self._ready: reference_answers.Ready | None = None
        """For the test that is about to start; None: to be made when it starts."""
        self._written = Event()
        """Set while no run is being finished."""
        self._written.set()
        self.workers = Workers(environment, self._written) if isinstance(runner, MasterRunner) else None
        self._last_words: tuple[Path, dict[str, Any]] | None = None
        self.console, self.published = Console(environment, runner), Published(environment, runner)
        self.form = answers_of(environment)
        self.form.on_change = self.ending.users_changed

    def listen(self) -> None:
        """Get everything ready that the load needs. Raises BenchError for a wrong option."""
        events = self.environment.events
        events.quit.add_listener(self._on_quit)
        events.quitting.add_listener(self._on_quitting)
        try:
            options = read_options(self.environment.parsed_options)
            answer_cells(self.environment, options.preflight)
            self._class_host = host_of(self.environment, options.api.port)
            internals.filter_tasks_by_tags(self.environment)
            refuse_untagged(self.environment.user_classes)
            self._second = duet.prepare(self.environment)
            if not self.environment.host and not self._class_host:
                self.server = EmbeddedServer(self.environment.user_classes, options, log.info)
                alone = all(hasattr(user, "payload") for user in self.environment.user_classes)
                if alone and not self.headless:  # shown in the web form
                    self.environment.host = self.server.address
            if self.unattended:  # before the time that the load lasts is counted
                self._ready = self._prepare(options)
        except KeyboardInterrupt:
            self._on_quit()
            raise SystemExit(INTERRUPTED) from None
        except BaseException:
            self._on_quit()
            raise
        if self.workers is not None:
            self.workers.watch_forks(self._leave if self.headless else log.error)
        internals.outlast_run_time(self.ending.wait)
        internals.listen_first(events.test_start, self.ending.begin)
        events.test_start.add_listener(self.begin)
        events.test_stopping.add_listener(self._on_test_stopping)
        events.test_stop.add_listener(self._on_test_stop)

    def _leave(self, reason: str) -> None:
        self._on_quit()
        link.end(reason)

    def _host(self) -> str | None:
        """The host of the command line, the form or the classes; else the embedded server's address."""
        host: str | None = self.environment.host or self._class_host
        return self.server.address if not host and self.server is not None else host

    def _place(self, options: ScenarioOptions) -> str:
        return address_of(self._host() or "", options.api.port)

    def _target(self, options: ScenarioOptions, pools: Mapping[Source, Pool]) -> Target:
        """The server at the host that is set; the embedded one where none is (an emptied field of the web form)."""
        address = self._place(options)
        own = self.server if self.server and self._host() == self.server.address else None
        setattr(self.environment.parsed_options, TARGET, address)
        target = look(address, options, pools, own=own)
        return replace(target, pid=own.pid if own else watched_pid(options))

    def begin(self, **_: Any) -> None:
        """Begin a run; a listener of Locust's `test_start`."""
        session.expect(self.environment)
        setattr(self.environment.parsed_options, hello.MASTER, hello.introduction(self.environment))
        self._stopped = None
        try:
            self._begin()
        except BenchError as error:
            session.refuse(self.environment)
            (self._leave if self.library else self._refuse)(str(error))
        else:
            self.form.tell(None)

    def end(self) -> None:
        """End what still runs when the program ends."""
        if self.writer is not None:
            self._on_test_stopping()
            self._finish()
            check(self.environment, measured=self._measured, whole=True)
        self._on_quit()

    def _prepare(self, options: ScenarioOptions) -> reference_answers.Ready:
        """Everything that can be wrong with the options shows here, before anything is written or measured."""
        RunFolder.check_root(options.results)
        place = self._place(options)
        pools = make_pools(self.environment.user_classes, options, place)
        check_open_files(options, pools, self.environment.parsed_options)
        refuse_other_waits(self.environment.user_classes, options.schedule)
        if self.server is not None and self._host() == self.server.address:
            refuse_larger(pools, self.server.largest_request)
        prepare(self.environment.user_classes, stage_at(self.server, options, place, 0.0, lambda *_: None))
        target = self._target(options, pools)
        self.published.look(options)
        look_over_rest(self._rest(target, options), options, pools)
        return target, pools, reference_answers.ask(target, options, pools)

    def _begin(self) -> None:
        options = read_options(self.environment.parsed_options)
        ready, self._ready = self._ready, None
        if ready is not None:
            # a listener of the locustfile, called after ours, may have named another target
            self._class_host = host_of(self.environment, options.api.port)
            ready = ready if self._place(options) == ready[0].address else None
        target, pools, answered = ready or self._prepare(options)
        counters = self.server.metrics if self.server and target.kind == "embedded" else None
        if counters and options.watched.metrics is None:
            options = replace(options, watched=replace(options.watched, metrics=counters))
        show(target)
        scenario = Path(self.environment.locustfile or "scenario").stem
        second = self._second
        if second is not None and second.one_server:
            options, target = duet.unwatched(options, target)
        manifest = describe(self.environment, options, target, pools)
        if second is not None:
            manifest = duet.described(manifest, 1, shared=second.one_server, slice=options.slice)
        self._server_facts = before_and_after.BeforeAndAfter(target, options)
        self.writer = writer = RunFolder(
            recording.RunWriter.create(options.results, scenario, options.note, manifest), self._give_up
        )
        self.published.begin(writer, options.note)
        log.info("recording into %s", writer.path)
        self._origin = time.perf_counter()
        self.ending.watch(self._origin, writer, options.abort_if)
        writer.update(clock_origin=self._origin)
        if self.workers is None:
            part = WHOLE if second is None else Part(0, duet.ARMS)
            load = Session(
                self.environment, target.address, options, pools, partial(writer.append, 0), part=part
            )
            load.http.address = self._rest(target, options)
            load.refer(answered)
            load.start_clock(self._origin)
            load.orders.used_up = self._used_up
            if second is not None:
                self.arm = duet.SecondArm(self.environment, second, self._origin, self._give_up)
                load.partner = self.arm.load
            session.begin(self.environment, load)
        else:
            self.workers.rest, self.workers.answered = self._rest(target, options), answered
            self.workers.begin(
                self._origin,
                names={source.name: pool.distinct_examples for source, pool in pools.items()},
                keep=writer.append,
                refused=self._refuse,
                used_up=self._used_up,
                observe=writer.telemetry,
                note=writer.event,
                deadline=options.asked.deadline,
            )
        self._watch(writer, target, options)
        self.console.begin(writer)
        self._conduct(options)
        self._act(options, target)

    def _watch(self, writer: RunFolder, target: Target, options: ScenarioOptions) -> None:
        """Observe this process, the machine and, where it runs here, the server."""
        load, note = session.peek(self.environment), observed.noting(self._origin, writer)
        probes = observed.probes(self.runner, load, target.pid, note, beside(options, target.specs))
        self.telemetry = observed.observe(probes, self._origin, [writer, *filter(None, [self.arm])])

    def _conduct(self, options: ScenarioOptions) -> None:
        """Let the open-loop users of all processes send one schedule."""
        opened = open_schedules(self.environment.user_classes, options)
        schedules = {user.__name__: schedule for user, schedule in opened.items()}
        sending = self.workers or session.peek(self.environment)
        if schedules and sending is not None:
            users, tell, end = sending.users, sending.tell, self.ending.planned
            self.ending.conductor = Conductor(schedules, self._origin, users, tell, end)

    def _begun(self) -> float | None:
        """When the load began, in seconds of the run: its schedule, else its users; None: it has not."""
        conductor, sending = self.ending.conductor, self.workers or session.peek(self.environment)
        if conductor is not None and (conductor.begun is not None or conductor.has_users):
            return conductor.begun
        return None if sending is None else sending.begun

    def _rest(self, target: Target, options: ScenarioOptions) -> str | None:
        own = self.server.rest if self.server is not None and target.kind == "embedded" else None
        return target.address if options.api.over_http else options.rest or own

    def _act(self, options: ScenarioOptions, target: Target) -> None:
        """Start what the scenario does beside the load."""
        act, writer = script_of(self.environment.user_classes), self.writer
        if act is None or writer is None:
            return
        stage = stage_at(self.server, options, target.address, self._origin, writer.event)
        endless = self.headless and not self.environment.parsed_options.run_time
        # where nobody said how long the load lasts, it ends with the script
        ended = partial(gevent.spawn, self.ending.stop) if endless else lambda: None
        self.script = Script(act, stage, ended=ended, failed=self._refuse)

    def _refuse(self, reason: str) -> None:
        """End the test that is about to start, or runs: somebody found what the user has to mend."""
        log.error("%s", reason)
        self.ending.break_off(reason)
        self.published.refuse(reason)
        if self.unattended:
            self.environment.process_exit_code = 2
        if self.runner is None:
            raise SystemExit(2)
        self.ending.refuse(partial(self.form.tell, reason), begun=self.writer is not None)

    def _give_up(self, reason: str) -> None:
        """End the test that runs: it cannot be recorded any more."""
        if self._stopped is None:
            self._refuse(reason)
            return
        log.error("%s", reason)
        if self.unattended:
            self.environment.process_exit_code = 2

    def _used_up(self) -> None:
        """No request is left that may be sent."""
        log.info("all requests were sent as often as --unique and --cache-audit allow: the load ends")
        self.ending.completed()
        self.ending.stop()

    def _on_test_stopping(self, **_: Any) -> None:
        if self._stopped is not None:  # Ctrl-C while the last answers are waited for
            return
        self._stopped = time.perf_counter() - self._origin
        self.console.stop()
        self.published.stop()
        full = self.writer is not None and self.writer.full
        self.ending.decide(full=full, scripted=self.script is not None)
        load = session.peek(self.environment)
        if self.workers is not None:
            self.workers.drain()  # before Locust stops them: they could not be told anything until they have stopped
        if load is not None:
            # before anything that lets the loop turn: it would send what came due in the meantime
            load.drain(lambda waiting: log.info(WAITING, waiting, load.deadline))
            if load.ended is not None:
                self._stopped = load.ended - self._origin
        script, self.script = self.script, None
        if script is not None:
            script.stop()
        if self.ending.conductor is not None:
            self._stopped = self.ending.conductor.stop(self._stopped)
        telemetry, self.telemetry = self.telemetry, None
        described = {} if telemetry is None else telemetry.stop()
        if described and self.writer is not None:
            self.writer.update(**described)
        if self.arm is not None:
            self.arm.stop_observing()

    def _on_test_stop(self, **_: Any) -> None:
        if self._finish() and (self.library or not self.unattended):
            judge(self.environment, measured=self._measured, leave=self.library)

    def _finish(self) -> bool:
        """Finish the run; False where there is none."""
        writer, self.writer = self.writer, None
        if writer is None:
            self._written.wait()  # by the greenlet that stopped the test before Ctrl-C did
            return False
        self._written.clear()
        try:
            self._write(writer)
        finally:
            self._written.set()
        return True

    def _write(self, writer: RunFolder) -> None:
        load = session.end(self.environment)
        if load is not None:
            load.close()
            workers, choices = [{"worker": 0, **load.counts(), "lost": False}], load.choices()
            wrong = load.wrong_answers()
        else:
            workers = self.workers.finish() if self.workers else []
            choices = self.workers.choices() if self.workers else None
            wrong = self.workers.wrong_answers if self.workers else {}
        if choices is not None:
            writer.attach(FILE, choices.to_bytes())
        self._measured = self._measured or writer.measured
        counts = total(workers)
        conductor, self.ending.conductor = self.ending.conductor, None
        ends = self.ending.facts(self._stopped) | ({"arrivals": conductor.described()} if conductor else {})
        if self._server_facts is not None:
            writer.update(**self._server_facts.facts(writer.manifest["target"]))
        arm, self.arm = self.arm, None
        if arm is not None:
            arm.finish(self.ending.state, self._stopped, ends)
        took_part = self.workers.took_part() if self.workers else {"processes": 1}
        ends |= {"wrong_answers": wrong, "load": {**writer.manifest["load"], **took_part}}
        ends["doubts"] += self.workers.guard.warnings() if self.workers else []
        ends |= {"workers": workers, "counts": counts, "stopped": self._stopped}
        if not writer.finish(state=self.ending.state, **ends):
            return
        log.info("%s: %s", writer.path, verdict.counted(counts))
        report = writer.conclude()
        if report is not None:
            self._last_words = (writer.path, report)
            if not self.headless:
                self._tell()
        self.published.finish(writer.path, report)

    def _tell(self) -> None:
        """Say what the last test has measured: headless after Locust's own tables, whose milliseconds are whole."""
        words, self._last_words = self._last_words, None
        if words is not None:
            show_summary(verdict.summary(*words))

    def _on_quitting(self, **_: Any) -> None:
        """Stop the test before Locust looks for failures, which decide its exit code, and not after."""
        if isinstance(self.runner, MasterRunner):
            self.runner.stop(send_stop_to_client=False)
        else:
            self.runner.stop()
        self._written.wait()  # by the greenlet in which the last worker has left
        if self.unattended:
            check(self.environment, measured=self._measured, whole=self.ending.state == recording.FINISHED)

    def _on_quit(self, **_: Any) -> None:
        self._tell()
        server, self.server = self.server, None
        if server is not None:
            server.stop()
