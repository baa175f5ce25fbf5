"""Workers that a master hears nothing of."""

import re
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import gevent
import pytest
from locust import runners
from locust.env import Environment

from bench.load.locust_glue import presence
from bench.load.locust_glue.presence import Presence


def until(reached: Callable[[], bool]) -> None:
    with gevent.Timeout(30):
        while not reached():
            gevent.sleep(0.01)


class Site:
    """A master with one worker."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        clients = runners.WorkerNodes()
        self.worker = clients["one"] = runners.WorkerNode("one")
        self.up, self.lost = {"one"}, list[str]()
        self.runner = SimpleNamespace(
            clients=clients,
            greenlet=[True],
            server=SimpleNamespace(reaches=lambda client: client in self.up),
            environment=Environment(),
            check_stopped=lambda: None,
        )
        self.presence = Presence(
            self.runner, str, "end {}".format, lambda client, at, others: self.lost.append(client)
        )
        self._caplog = caplog
        self.heartbeat()

    def heartbeat(self) -> None:
        self.runner.environment.events.heartbeat_sent.fire(client_id="one", timestamp=0.0)

    def told(self, text: str) -> bool:
        return any(re.search(text, message) for message in self._caplog.messages)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Site]:
    monkeypatch.setattr(presence, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(presence, "QUIET_SECONDS", 0.1)
    monkeypatch.setattr(runners, "HEARTBEAT_LIVENESS", 3)
    site = Site(caplog)
    yield site
    site.runner.greenlet.clear()


def test_a_worker_that_was_given_up_may_come_back(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Of a machine that was suspended the connection ends; when it wakes, its worker sends heartbeats again."""
    until(lambda: site.told("one has been silent for .* up to 600 s; end one"))
    site.up.clear()
    until(lambda: site.lost == ["one"])
    site.worker.state = runners.STATE_MISSING
    until(lambda: not site.presence._heard)
    site.heartbeat()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    assert not site.told("there again")


def test_a_worker_that_hangs_is_waited_for_no_longer_once_the_load_has_ended(site: Site) -> None:
    until(lambda: site.told("one has been silent for"))
    assert site.worker.heartbeat == 600
    site.presence.end(0.2)
    until(lambda: site.lost == ["one"])
    assert site.told(r"one has not answered for \d+ s since the load ended, and .*; end one")
    assert site.worker.heartbeat < 0, "Locust is to miss it"
    gevent.sleep(0.2)
    assert site.lost == ["one"], "told once"
