"""The short form of the campaign in `tests.benchmarks.closed_connections`."""

import pytest

from tests.benchmarks.closed_connections import one_round
from tests.benchmarks.closing_proxy import MANNERS


@pytest.mark.parametrize("manners", [("goaway",), MANNERS], ids=["in order", "not"])
def test_every_call_is_counted_once_behind_a_proxy_that_ends_connections(manners: tuple[str, ...]) -> None:
    counts, wrong = one_round(1, 2_000, 50, manners)
    assert wrong == []
    assert counts["calls"] == 2_000 or counts["unsent"], "calls that were never sent are made up for"
    assert counts["ends"] > 5
    assert counts["retries"] > 10
