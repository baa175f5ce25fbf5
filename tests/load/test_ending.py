"""bench.load.locust_glue.ending: when the load of a test is to end, and what its timer waits for."""

import time
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from locust.runners import STATE_CLEANUP, STATE_RUNNING, STATE_STOPPED

from bench.load.locust_glue import ending, internals
from bench.load.locust_glue.ending import Ending

FOLDER: Any = None
"""No limit of the test writes there."""
SECONDS = 5.0


class Site:
    """A test of five seconds that began in the past, or not yet."""

    def __init__(self) -> None:
        self.web = SimpleNamespace(_run_time_greenlet=object())
        self.runner = SimpleNamespace(state=STATE_RUNNING)
        options = SimpleNamespace(run_time=SECONDS, headless=False)
        environment = SimpleNamespace(
            runner=self.runner, parsed_options=options, shape_class=None, web_ui=self.web
        )
        self.begun: float | None = None
        self.ending = Ending(environment, lambda: self.begun)
        self.ending.begin()
        self.timer = gevent.spawn(self.ending.wait)

    def run(self, *, ago: float) -> None:
        self.ending.watch(time.perf_counter() - ago, FOLDER)

    def waits(self) -> bool:
        gevent.sleep(3 * ending.LOOK_SECONDS)
        return not self.timer.ready()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(ending, "LOOK_SECONDS", 0.005)
    return Site()


def test_a_timer_that_has_gone_off_waits_for_the_run_its_load_and_its_end(site: Site) -> None:
    assert site.waits(), "no run has begun"
    site.run(ago=20.0)
    assert site.waits(), "its load has not begun"
    site.begun = 18.0
    assert site.waits(), "its load lasts"
    assert site.ending.planned() == 23.0
    site.run(ago=23.0)
    site.timer.join(timeout=60)
    assert site.timer.ready()


def test_a_stop_by_hand_is_not_run_over_by_the_timer(site: Site) -> None:
    site.run(ago=1.0)
    site.begun = 0.5
    assert site.waits()
    site.ending.decide(full=False, scripted=False)
    site.runner.state = STATE_CLEANUP
    assert site.waits(), "the last answers are awaited"
    site.runner.state = STATE_STOPPED
    site.timer.join(timeout=60)
    assert site.timer.ready()
    assert site.ending.facts(1.2)["planned_end"] == 5.5


def test_a_change_of_users_ends_the_timer_of_the_form_and_not_that_of_the_command_line(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.run(ago=1.0)
    site.begun = 0.5
    monkeypatch.setattr(internals, "_timers", [SimpleNamespace(ready=lambda: False)])
    site.ending.users_changed()
    assert site.ending.planned() == 5.5
    monkeypatch.undo()
    site.ending.users_changed()
    assert site.ending.planned() is None
    site.timer.join(timeout=60)
    assert site.timer.ready(), "what Locust's timer says goes"


def test_a_test_that_no_timer_ends_has_no_planned_end(site: Site) -> None:
    site.web._run_time_greenlet = None
    site.ending.begin()
    site.run(ago=1.0)
    site.begun = 0.5
    assert site.ending.planned() is None
    site.ending.decide(full=False, scripted=False)
    assert "planned_end" not in site.ending.facts(1.2)
