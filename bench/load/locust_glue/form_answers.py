"""Reports a refused test to the user of Locust's web form, with the reason.

Locust answers the form as soon as it has asked its runner for a test, before anybody has looked at the options. Here
the answer waits until the test has begun or been refused; the form shows the text of one that was not a success.
"""

from collections.abc import Callable
from typing import Any, Final

import gevent
from flask import Response, g, jsonify, request
from gevent.event import AsyncResult
from locust.runners import STATE_RUNNING, STATE_SPAWNING, MasterRunner

from bench.load.locust_glue import internals

START_SECONDS: Final = 60.0
"""A test that has neither begun nor been refused after this long is told as begun, as Locust would."""
LOOK_SECONDS: Final = 0.05


class FormAnswers:
    """The answers of the route with which Locust's web interface starts a test."""

    def __init__(self, environment: Any) -> None:
        self._environment = environment
        self._outcome: AsyncResult[str | None] = AsyncResult()
        self.awaited: Callable[[], bool] = lambda: False
        """Whether somebody will say what becomes of a test, even when all of its users are there."""
        self.on_change: Callable[[], object] = lambda: None
        """Called when a form changes the users of the test that runs."""

    def listen(self, web: Any) -> None:
        """Wait in Locust's web interface."""
        web.app.before_request_funcs.setdefault(None, []).append(self._before)
        # first of them, and so called last: the options of a form are settled before its answer waits
        web.app.after_request_funcs.setdefault(None, []).insert(0, self._after)

    def tell(self, refusal: str | None) -> None:
        """The test that was asked for has begun, or was refused for this reason and is over."""
        self._outcome.set(refusal)

    def _before(self) -> None:
        if request.method != "POST" or not request.path.endswith("/swarm"):
            return
        environment, runner = self._environment, self._environment.runner
        if runner is None:
            return
        running = runner.state in (STATE_SPAWNING, STATE_RUNNING)
        if running:
            self.on_change()
        alone = isinstance(runner, MasterRunner) and not runner.worker_count  # nothing will start
        if not running and not alone:
            self._outcome = g.bench_outcome = AsyncResult()
            # Locust keeps that of the test before where the field is empty, although the test then has none
            environment.parsed_options.run_time = None

    def _after(self, answer: Response) -> Response:
        outcome = g.get("bench_outcome")
        content = answer.get_json(silent=True) if outcome is not None else None
        if outcome is None or not isinstance(content, dict) or not content.get("success"):
            return answer
        with gevent.Timeout(START_SECONDS, False):
            # of a program, the first of our users is the first to look at the options
            while not outcome.ready() and (self.awaited() or internals.starts(self._environment)):
                outcome.wait(LOOK_SECONDS)
        refusal = outcome.value
        return answer if refusal is None else jsonify({**content, "success": False, "message": refusal})


_answers: Final[dict[int, FormAnswers]] = {}
"""By the id of the environment, which they hold."""


def answers_of(environment: Any) -> FormAnswers:
    """Those of the web interface of an environment."""
    return _answers.setdefault(id(environment), FormAnswers(environment))
