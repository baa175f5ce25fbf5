"""Why a trial failed: the cause that its log names, and not the tables at its end."""

import pytest

from bench.experiment.trial import reason

TABLES = """\
[2026-11-26 21:11:09,194] vm/INFO/locust.main: Shutting down (exit code 2)
Type     Name      # reqs      # fails |    Avg     Min     Max    Med |   req/s  failures/s
--------|----|-------|-------------|-------|-------|-------|-------|--------|-----------
         Aggregated       0     0(0.00%) |      0       0       0      0 |    0.00        0.00

Response time percentiles (approximated)
--------|--------|--------|------|------|------|------|------
"""
START = "[2026-11-26 21:11:05,001] vm/INFO/locust.main: Starting Locust 2.47.0\n"
TRACEBACK = (
    'Traceback (most recent call last):\n  File "scenario.py", line 3, in <module>\n    import nothing\n'
)


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        (
            START + "bench: --batch-size 0: expected an integer >= 1\n",
            "--batch-size 0: expected an integer >= 1",
        ),
        (
            START + "[2026-11-26 21:11:06,001] vm/ERROR/bench: /x: No space left; make room there\n" + TABLES,
            "/x: No space left; make room there",
        ),
        (
            START + "[2026-11-26 21:11:06,001] vm/ERROR/locust.user.task: its own\nTraceback (most ...\n"
            "[2026-11-26 21:11:07,001] vm/ERROR/bench: nothing was measured: no request ended\n" + TABLES,
            "nothing was measured: no request ended",
        ),
        (
            START + "[2026-11-26 21:11:06,001] vm/ERROR/locust.main: No User class found!\n",
            "No User class found!",
        ),
        (
            "usage: locust [options]\nlocust: error: unrecognized arguments: --sed 3\n",
            "unrecognized arguments: --sed 3",
        ),
        (
            TRACEBACK + "ModuleNotFoundError: No module named 'nothing'\n",
            "ModuleNotFoundError: No module named 'nothing'",
        ),
        (START + TABLES, None),
    ],
)
def test_the_cause_is_found_above_the_tables(log: str, cause: str | None) -> None:
    assert reason(log) == cause
