"""The levels of a searched capacity as a table."""

from bench.analysis import formatting
from bench.analysis.showing.table import Column, Table
from bench.runs.capacity import Capacity, ConditionCapacity


def levels_table(condition: ConditionCapacity, capacity: Capacity) -> Table | None:
    """The levels in the order of their rates, or of their users."""
    levels = sorted(condition.levels, key=lambda level: (level.users or 0, level.rate))
    if not levels:
        return None
    allowed = 1 - capacity.share
    failing = [level.missed > allowed * level.requests for level in levels]
    calm = [False] * len(levels)
    unit = formatting.fitting_unit([level.percentile for level in levels if level.percentile is not None])
    percentile = f"p{100 * capacity.share:g} ({unit.name})"
    of_users = [f"{level.users:,}" for level in levels if level.users is not None]
    columns = [
        *([Column("users", True, of_users, calm)] if of_users else []),
        Column("req/s", True, [formatting.rate(level.rate) for level in levels], calm),
        Column("seconds", False, [f"{level.seconds:.1f}" for level in levels], calm),
        Column("requests", False, [f"{level.requests:,}" for level in levels], calm),
        Column(
            percentile,
            False,
            [
                formatting.NOT_REACHED
                if level.percentile is None
                else formatting.duration(level.percentile, unit)
                for level in levels
            ],
            failing,
        ),
        Column(
            "missed",
            False,
            [formatting.share(level.missed / level.requests if level.requests else None) for level in levels],
            failing,
        ),
        Column("under way", False, [formatting.significant(level.in_system) for level in levels], calm),
        Column("queue", False, ["steady" if level.steady else "grows" for level in levels], calm),
    ]
    return Table(columns, [], [])
