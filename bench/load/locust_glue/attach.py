"""Take part in the tests of Locust environments: those of its command line, and of programs that use it as a library."""

import atexit
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import gevent
import locust
from gevent.lock import RLock
from locust.argument_parser import get_parser
from locust.runners import MasterRunner, WorkerRunner

from bench import BenchError
from bench.load.arguments import add_arguments
from bench.load.locust_glue import internals, link, log_lines, parent, session, web_guard
from bench.load.locust_glue.ending import LOOK_SECONDS
from bench.load.locust_glue.form_answers import answers_of
from bench.load.locust_glue.interrupts import Interrupts, hide_interrupt
from bench.load.locust_glue.lead_process import LeadProcess
from bench.load.locust_glue.unmeasured import end_with_test
from bench.load.locust_glue.worker import TARGET, Worker
from bench.load.sources import sending_classes

log = logging.getLogger("bench")

_attached: Final[dict[int, Any]] = {}
"""What takes part in the tests of an environment, by its id: a `LeadProcess` or a `Worker`."""
_attaching: Final = RLock()


def register() -> None:
    """Listen to Locust's events; called once, when a scenario imports `bench.load.users`."""
    hide_interrupt()
    parent.bind_forks()
    link.install()
    locust.events.init_command_line_parser.add_listener(_on_parser)
    locust.events.init.add_listener(_on_init)
    internals.on_new_web_interface(_on_web_interface)


def _on_parser(parser: Any, **_: Any) -> None:
    add_arguments(parser)
    link.prepare(parser)


def _on_web_interface(environment: Any, web: Any) -> None:
    """Take part in a web interface that an environment makes, a program's too, from its first request on."""
    if _is_ours(environment):
        web_guard.guard(environment, web)
        answers_of(environment).listen(web)
        answers_of(environment).awaited = lambda: id(environment) in _attached or _has_users(environment)
        internals.outlast_form(web, partial(_outlast_run_time, environment))


def _outlast_run_time(environment: Any) -> None:
    """Wait until the load has lasted as long as it should, once Locust's timer has gone off; a program's first user may still come."""
    while id(environment) not in _attached and (internals.starts(environment) or _has_users(environment)):
        gevent.sleep(LOOK_SECONDS)
    process = _attached.get(id(environment))
    if isinstance(process, LeadProcess):
        process.ending.wait()


def _has_users(environment: Any) -> bool:
    """Whether users of ours were spawned; each takes part once it has had a turn."""
    users = environment.runner.user_classes_count
    return any(users.get(name) for name in sending_classes(environment))


def _on_init(environment: Any, runner: Any, web_ui: Any = None, **_: Any) -> None:
    parent.release_forks()
    log_lines.escape_all()
    if runner is None:  # `run_single_user`: there are no user classes yet
        return
    if not _is_ours(environment):
        return
    first = runner is not None and not isinstance(runner, WorkerRunner)
    # a master interrupts its workers too, and speaks for all
    hurry: Callable[[], bool] = partial(session.hurry, environment)
    process = LeadProcess(environment, runner) if first else None
    _attached[id(environment)] = process or Worker(environment)
    if process is not None and process.workers is not None:
        hurry = process.workers.hurry
    interrupts = Interrupts(log.warning if first else lambda _: None, hurry, first=first)
    environment.events.quitting.add_listener(interrupts.ending)
    if process is not None:
        process.ending.interrupts = interrupts
        try:
            process.listen()
        except BenchError as error:
            link.end(str(error))
        if web_ui is not None:
            web_guard.guard(environment, web_ui)
            process.published.offer(web_ui)
            if process.server is not None:  # Locust announced the form before that server was started
                log.info("the web form opens now")
    elif runner is not None:
        parent.watch_parent()
        _attached[id(environment)].listen()


def _is_ours(environment: Any) -> bool:
    """Whether an environment sends something of ours; it has options then."""
    if not any(hasattr(user, "payload") for user in environment.user_classes):
        return False
    _give_options(environment)
    return True


def _give_options(environment: Any) -> None:
    if environment.parsed_options is None:
        environment.parsed_options = get_parser(default_config_files=[]).parse_args([])


def take_part(environment: Any) -> None:
    """Take part in the test of an environment that Locust's command line has not made: Locust as a library.

    Called by its first user, since Locust's event of a new environment is fired by its command line only. A master has
    no users: its program calls this before it starts the test. Options are the environment's parsed ones, else the
    defaults and BENCH_* variables.
    """
    with _attaching:
        if id(environment) in _attached:
            return
        _give_options(environment)
        web_ui = getattr(environment, "web_ui", None)
        if isinstance(environment.runner, WorkerRunner):
            _attached[id(environment)] = Worker(environment)
            if not hasattr(environment.parsed_options, TARGET):
                log.error(
                    "the master of this worker records nothing: its program has to call "
                    "bench.scenario.take_part(environment) before it starts the test"
                )
                raise SystemExit(2)
            _attached[id(environment)].listen()
            return
        process = _attached[id(environment)] = LeadProcess(environment, environment.runner)
        process.library = web_ui is None
        if web_ui is not None:
            web_guard.guard(environment, web_ui)
        runs = not isinstance(environment.runner, MasterRunner)  # a master's test starts later
        if runs:
            process.ending.begin()
        try:
            process.listen()
            if runs:
                process.begin()
        except BenchError as error:
            if web_ui is None:
                del _attached[id(environment)]
                link.end(str(error))
            _refuse(environment, process, str(error))
            return
        except BaseException as ended:
            del _attached[id(environment)]  # the program's next test tries again
            if isinstance(ended, gevent.GreenletExit):
                end_with_test(environment)
            raise
        atexit.register(process.end)  # `run_single_user` never stops a test, nor does every program


def _refuse(environment: Any, process: LeadProcess, reason: str) -> None:
    """Refuse the test of a program with a web form, from which the next one comes with other options."""

    def over() -> None:
        process.form.tell(reason)
        del _attached[id(environment)]

    log.error("%s", reason)
    session.refuse(environment)
    process.ending.decide(full=False, scripted=False)
    process.ending.refuse(over, begun=False)
