"""Requests that failed while versions changed, which name none."""

from pathlib import Path

from bench.analysis.answers.questions import answers
from tests.recorded import requests, seconds, write


def test_failed_requests_belong_to_the_version_that_was_current(tmp_path: Path) -> None:
    """They name none; before the first answer it is the version that the preflight found."""
    parts = [
        requests(1, count=100, rate=1000, errors=1.0),
        requests(5, count=500, rate=1000, start=1.0, version=7),
        requests(2, count=2000, rate=1000, start=2.0, errors=0.1, version=7),
        requests(3, count=1000, rate=1000, start=5.0, version=8),
        requests(4, count=1000, rate=1000, start=7.0, errors=0.2, version=8),
    ]
    failed = [int((each["status"] != 0).sum()) for each in parts]
    target = {"kind": "remote", "address": "a:1", "version": 6}
    for known, first in ((target, 6), ({**target, "version": None}, 7)):
        run = write(tmp_path / str(first), seconds(*parts), question="rollout", target=known)
        with (run.path / "events.jsonl").open("a") as events:
            events.write('{"time": 5.0, "kind": "swap", "text": "version 8", "version": 8}\n')
        expected = {6: failed[0], 7: failed[2], 8: failed[4]}
        if first == 7:
            expected = {7: failed[0] + failed[2], 8: failed[4]}
        listed = ", ".join(f"version {version} {count}" for version, count in expected.items())
        assert f"failed while a version was current: {listed}" in answers(run)[0].text
