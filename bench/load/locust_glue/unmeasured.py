"""The end of a program that has measured nothing: one line, and an exit code other than 0."""

import logging
from typing import Any, Final

log = logging.getLogger("bench")

INVALID: Final = 3
"""Exit code of a run that has measured nothing, or not to its end."""
NO_REQUEST: Final = "nothing was measured: no request ended; see the warnings and errors above"
NO_LOAD: Final = "nothing was measured: the test was stopped before its load began"


def leaves_by_itself(parsed: Any) -> bool:
    """Whether Locust ends after one test, so that its exit code speaks of that test: the web form may be there, too."""
    return bool(parsed.headless or (parsed.autostart and parsed.autoquit >= 0))


def check(environment: Any, *, measured: bool, whole: bool) -> None:
    """Give Locust an exit code where it has none: a run measured nothing, or was not recorded to its end."""
    if environment.process_exit_code is None and not (measured and whole):
        if not measured:
            log.error("%s", NO_REQUEST)
        environment.process_exit_code = INVALID


def judge(environment: Any, *, measured: bool, leave: bool) -> None:
    """What becomes of a program whose test has just stopped; measured: whether this or an earlier one measured anything.

    leave: end it, from within the call by which it stops the test. It would end with 0 if it did not look at
    `environment.process_exit_code`, as Locust's command line does. One with a web form goes on.
    """
    if measured:
        if environment.process_exit_code == INVALID:  # of an earlier test
            environment.process_exit_code = None
    elif leave:
        _end(environment, NO_REQUEST)
    else:
        environment.process_exit_code = INVALID
        log.error("%s", NO_REQUEST)


def end_with_test(environment: Any) -> None:
    """The same once the test has stopped, which it did before its load began."""

    def end(**_: Any) -> None:
        environment.events.test_stop.remove_listener(end)  # another test of the program may do better
        _end(environment, NO_LOAD)

    environment.events.test_stop.add_listener(end)


def _end(environment: Any, reason: str) -> None:
    environment.process_exit_code = INVALID
    log.error("%s", reason)
    raise SystemExit(INVALID)
