"""Workers that a master hears nothing of."""

from collections.abc import Callable
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


def test_a_worker_that_was_given_up_may_come_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a machine that was suspended the connection ends; when it wakes, its worker sends heartbeats again."""
    monkeypatch.setattr(presence, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(presence, "QUIET_SECONDS", 0.1)
    monkeypatch.setattr(runners, "HEARTBEAT_LIVENESS", 3)
    clients = runners.WorkerNodes()
    clients["one"] = runners.WorkerNode("one")
    up, lost = {"one"}, list[str]()
    runner = SimpleNamespace(
        clients=clients,
        greenlet=[True],
        server=SimpleNamespace(reaches=lambda client: client in up),
        environment=Environment(),
    )
    workers = Presence(runner, str, lambda client, at, others: lost.append(client))

    def heartbeat() -> None:
        runner.environment.events.heartbeat_sent.fire(client_id="one", timestamp=0.0)

    def told(text: str) -> bool:
        return any(text in message for message in caplog.messages)

    heartbeat()
    until(lambda: told("one has been silent for"))
    up.clear()
    until(lambda: lost == ["one"])
    clients["one"].state = runners.STATE_MISSING
    until(lambda: not workers._heard)
    heartbeat()
    runner.greenlet.clear()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    assert not told("there again")
