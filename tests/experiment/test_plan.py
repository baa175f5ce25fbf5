"""Every block holds every cell once, in an order that the seed decides."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from bench.config.experiment import Experiment, Load, Model
from bench.config.servers import Declared
from bench.experiment.balance import order
from bench.experiment.plan import PlannedTrial, cells, predicted_seconds, sessions, trials
from bench.launch.embedded import Embedded

SERVERS = [Declared(name, Path("servers.toml"), Embedded(kind="embedded")) for name in ("a", "b", "c")]


def experiment(seed: int = 1, blocks: int = 4) -> Experiment:
    return Experiment(
        scenario="s.py",
        servers=["a", "b", "c"],
        models={"mnist": Model(versions=[1, 2]), "other": Model()},
        batch_sizes=[1, 8],
        loads=[Load(users=2), Load(users=8)],
        trials=blocks,
        seed=seed,
    )


def test_cells_are_all_combinations() -> None:
    every = cells(experiment(), SERVERS)
    assert len(set(every)) == len(every) == 3 * (2 + 1) * 2 * 2
    assert {cell.version for cell in every if cell.model == "other"} == {None}


def test_each_block_holds_each_cell_once() -> None:
    planned = trials(experiment(), SERVERS)
    assert [trial.number for trial in planned] == list(range(1, len(planned) + 1))
    for block in range(1, 5):
        own = [trial.cell for trial in planned if trial.block == block]
        assert Counter(own) == Counter(cells(experiment(), SERVERS))
        assert len({trial.seed for trial in planned if trial.block == block}) == 1


def test_orders_differ_from_block_to_block_and_follow_the_seed() -> None:
    planned = trials(experiment(), SERVERS)
    assert planned == trials(experiment(), SERVERS)
    assert planned != trials(experiment(seed=2), SERVERS)
    orders = {tuple(t.cell for t in planned if t.block == block) for block in range(1, 5)}
    assert len(orders) == 4


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
def test_each_condition_is_equally_often_in_each_position(count: int) -> None:
    names = [str(number) for number in range(count)]
    rows = [order(names, row, "7") for row in range(4 * count)]
    assert all(sorted(row) == names for row in rows)
    for start in range(0, 4 * count, count):
        for place in range(count):
            assert {row[place] for row in rows[start : start + count]} == set(names)
    whole = rows[: count if count % 2 == 0 else 2 * count]
    following = Counter(pair for row in whole for pair in pairwise(row))
    if count % 2 == 0:  # and each follows each other one equally often
        assert len(set(following.values())) <= 1
        assert len(following) == count * (count - 1)
    assert rows == [order(names, row, "7") for row in range(4 * count)]
    assert count < 3 or rows != [order(names, row, "8") for row in range(4 * count)]


def test_the_first_trial_of_a_block_is_of_each_cell_equally_often() -> None:
    """Two servers of two cells: both orders alone would bring two of the four cells to the front only."""
    pair = Experiment(scenario="s.py", servers=["a", "b"], batch_sizes=[1, 8], loads=[Load()], trials=8)
    planned = trials(pair, SERVERS[:2])
    for place in range(4):
        assert set(Counter(planned[4 * block + place].cell for block in range(8)).values()) == {2}


def test_a_server_is_started_once_a_block() -> None:
    planned = trials(experiment(), SERVERS)
    started = [(session.block, session.server) for session in sessions(planned)]
    assert sorted(started) == [(block, name) for block in range(1, 5) for name in "abc"]
    assert [trial for session in sessions(planned) for trial in session.trials] == planned


def test_trials_survive_their_way_through_json() -> None:
    planned = trials(experiment(), SERVERS)
    assert [PlannedTrial.of(trial.plain()) for trial in planned] == planned


def test_the_prediction_counts_loads_and_starts() -> None:
    planned = trials(experiment(blocks=1), SERVERS)
    launch = dict.fromkeys("abc", 4.0)
    longer = predicted_seconds(planned, 20, launch) - predicted_seconds(planned, 10, launch)
    assert longer == pytest.approx(10 * len(planned))
    quicker = predicted_seconds(planned, 10, dict.fromkeys("abc", 1.0))
    assert predicted_seconds(planned, 10, launch) - quicker == pytest.approx(3 * 3.0)
