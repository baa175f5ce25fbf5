"""Blocks are added until it is decided: recorded runs stand for trials, of which a real experiment takes minutes."""

from pathlib import Path
from typing import Any

import pytest

from bench.cli.blocks import compared, run_blocks
from bench.experiment.folder import Folder
from bench.experiment.plan import Condition, PlannedTrial
from bench.runs.answers import ANSWERS
from bench.runs.chunk import Chunk
from bench.runs.sealing import SEAL, altered
from tests import recorded


class Recorded:
    """Writes the runs of the trials that are missing."""

    alone_seconds = 0.0

    def __init__(self, folder: Folder, slower: float) -> None:
        self.folder, self.slower, self.done = folder, slower, 0

    def run(self, lock: int) -> None:
        for each in self.folder.trials[self.done :]:
            service = 0.002 * (self.slower if each.cell.server == "new" else 1.0)
            chunk = Chunk.of(
                **recorded.requests(each.number, count=3000, rate=500, service=service), keep_samples=False
            )
            cell = each.cell._asdict()
            said = {"name": "small", "cell": cell, "block": each.block, "trial": each.number}
            recorded.write(self.folder.path, [chunk], note=each.id, experiment=said)
        self.done = len(self.folder.trials)


def planned(root: Path, blocks: int) -> Folder:
    cells = [Condition(name, name, "mnist", 2, 1, "load") for name in ("base", "new")]
    plan = [
        PlannedTrial(block, 2 * block - 1 + at, cell, 1)
        for block in range(1, blocks + 1)
        for at, cell in enumerate(cells[:: 1 if block % 2 else -1])
    ]
    return Folder.create(root, "small", {"plan": [each.plain() for each in plan]})


@pytest.mark.parametrize(("slower", "blocks"), [(2.0, 4), (1.02, 6)])
def test_blocks_are_added_until_it_is_decided(
    tmp_path: Path, slower: float, blocks: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twice as slow shows at the first look; what is at the edge of the tolerance is not decided when the plan ends."""
    folder = planned(tmp_path, 6)
    runner: Any = Recorded(folder, slower)
    found = run_blocks(runner, 0, None, lambda look: compared(folder, "server", look, ["p50"]))
    assert len(folder.trials) == 2 * blocks
    assert (found.more, found.never) == ([] if slower == 2.0 else ["p50"], [])
    shown = capsys.readouterr().err
    assert f"after {blocks} blocks" in shown
    assert ("worse: p50" in shown) == (slower == 2.0)


def test_what_lies_beside_the_runs_is_sealed_where_an_experiment_ends(tmp_path: Path) -> None:
    """And again where it was continued; while it runs nothing is."""
    folder = Folder.create(tmp_path, "x", {"plan": []})
    for content in ("{}", "[]"):
        with folder.at_work():
            (folder.path / ANSWERS).write_text(content)
            assert altered(folder.path, expected=True) == []
        assert altered(folder.path, expected=True) == []
        (folder.path / ANSWERS).write_text("other")
        assert altered(folder.path, expected=True) == ["answers.json changed"]
    (folder.path / SEAL).unlink()
    assert altered(folder.path, expected=True) == ["experiment.sha256 missing"]
    assert altered(folder.path, expected=False) == []
