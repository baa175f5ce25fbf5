"""A manifest that was edited or written by something else is named, never a crash."""

from pathlib import Path
from typing import Any

import pytest

from bench.manifest_shape import misfit
from bench.recording import RunWriter

GOOD = {"state": "finished", "started": "2026-01-01T00:00:00+00:00", "scenario": "mnist"}


def test_what_the_writer_writes_fits(tmp_path: Path) -> None:
    writer = RunWriter.create(tmp_path, "mnist", None, {"load": {}, "note": None})
    writer.finish(
        counts={"sent": 0, "recorded": 0, "retries": None, "addresses": {"10.0.0.1:8500": 3}}, stopped=1.5
    )
    assert misfit(writer.manifest) is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"load": 5}, "load 5: dict"),
        ({"span": [1]}, "span [1]: dict"),
        ({"span": {"first_due": "x"}}, "span.first_due 'x': a number"),
        ({"counts": {"sent": "x"}}, "counts.sent 'x': a number"),
        ({"counts": {"addresses": [1]}}, "counts.addresses [1]: dict"),
        ({"counts": {"addresses": {"10.0.0.1:8500": "x"}}}, "counts.addresses.10.0.0.1:8500 'x': a number"),
        ({"stopped": "never"}, "stopped 'never'"),
        ({"note": ["x"]}, "note ['x']: str"),
        ({"machine": "pc"}, "machine 'pc': dict"),
        ({"workers": {}}, "workers {}: list"),
        ({"started": None}, "started None: a text"),
    ],
)
def test_a_wrong_type_is_named(change: dict[str, Any], told: str) -> None:
    assert misfit(GOOD) is None
    found = misfit(GOOD | change)
    assert found is not None
    assert told in found
