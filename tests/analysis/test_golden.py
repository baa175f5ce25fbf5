"""The tables of a report, in every form, are those of the files in `golden/`, to the last character.

After a change that is wanted: `python -m tests.analysis.test_golden` writes them anew; look at the difference.
"""

import contextlib
import csv
import io
import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.analysis.grouping.trials import read_trials
from bench.analysis.judging.compare import compare_by
from bench.analysis.showing.comparison_table import markdown as comparison
from bench.analysis.showing.page import render_page
from bench.analysis.showing.report import Report, plain, report
from bench.analysis.showing.summary import summary
from bench.analysis.showing.table import as_csv, markdown
from bench.cli.tables import View, show_report
from bench.runs.chunk import Chunk
from bench.runs.run import find_runs
from tests.recorded import requests, write

GOLDEN = Path(__file__).parent / "golden"


def make(root: Path) -> Path:
    """Two servers in three blocks of an experiment, a run with errors, an empty one and a broken folder."""
    root.mkdir(exist_ok=True)
    for block in (1, 2, 3):
        for number, (server, service) in enumerate({"onednn": 0.002, "plain": 0.0023}.items()):
            cell = {
                "server": server,
                "build": server,
                "model": "mnist",
                "version": 2,
                "batch": 8,
                "load": "16 users",
            }
            chunks = [
                Chunk.of(
                    **requests(
                        1000 * block + 100 * number + i, count=500, rate=500, start=float(i),
                        service=service * (1 + 0.01 * block), batch=8,
                    ),
                    keep_samples=False,
                )
                for i in range(6)
            ]  # fmt: skip
            write(
                root,
                chunks,
                note=f"b{block}-{server}",
                started=f"2026-03-01T12:0{block}:{10 * number:02}+00:00",
                experiment={"name": "golden", "cell": cell, "block": block, "trial": 2 * block + number},
            )
    failing = [Chunk.of(**requests(9, count=3000, rate=500, errors=0.02, version=1), keep_samples=False)]
    write(root, failing, note="a|b_<c>", started="2026-03-01T13:00:00+00:00")
    write(root, [], note="empty", started="2026-03-01T14:00:00+00:00")
    (root / "broken").mkdir()
    (root / "broken" / "manifest.json").write_text("{")
    return root


def terminal(found: Report) -> str:
    file = io.StringIO()
    console = Console(file=file, width=100, highlight=False, color_system=None, legacy_windows=False)
    show_report(console, found, View(trials=True))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def rounded(value: Any) -> Any:
    """Nine significant digits: beyond them machines differ."""
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


def as_json(found: Report) -> str:
    return json.dumps(rounded(plain(found)), indent=1, ensure_ascii=False) + "\n"


def rows(found: Report) -> str:
    table = list(csv.reader(io.StringIO(as_csv(found))))
    lines = [[f"{float(text):.9g}" if re.fullmatch(r"-?\d+\.\d+(e-?\d+)?", text) else text for text in row] for row in table]  # fmt: skip
    return "".join(",".join(line) + "\n" for line in lines)


def page(found: Report) -> str:
    """The tables of the page. Pictures change with the version of the library that draws them, and take their time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.analysis.showing.page.pictures", lambda _: iter(()))
        whole = render_page(found)
    return "\n".join(re.findall(r"<table.*?</table>", whole, flags=re.DOTALL)[:3]) + "\n"


FORMS: dict[str, Callable[[Report], str]] = {
    "report.txt": terminal,
    "report.md": lambda found: markdown(found, summary(found.groups, found.compared)),
    "report.csv": rows,
    "report.json": as_json,
    "tables.html": page,
}


def compared(root: Path) -> str:
    trials = [trial for trial in read_trials(find_runs([root])).trials if trial.block is not None]
    return comparison(compare_by(trials, "server"))


def told(root: Path) -> dict[str, str]:
    """Every form by the name of its file, with what differs from run to run replaced."""
    with contextlib.chdir(root.parent):
        found = report(find_runs([Path(root.name)]))
        texts = {name: form(found) for name, form in FORMS.items()} | {
            "comparison.md": compared(Path(root.name))
        }
    names = {run.name: f"{run.started[:19]}-{run.scenario}-{run.note}" for run in found.runs}
    for folder, stable in names.items():
        texts = {name: text.replace(folder, stable) for name, text in texts.items()}
    return texts


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return told(make(tmp_path_factory.mktemp("golden") / "results"))


@pytest.mark.parametrize("name", [*FORMS, "comparison.md"])
def test_the_form_is_the_golden_file(texts: dict[str, str], name: str) -> None:
    assert texts[name] == (GOLDEN / name).read_text(encoding="utf-8")


def test_no_golden_file_is_left_unchecked() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == {*FORMS, "comparison.md"}


def test_trials_are_taken_together_in_every_form(texts: dict[str, str]) -> None:
    cells = json.loads(texts["report.json"])["cells"]
    assert [(cell["server"], cell["trials"]) for cell in cells] == [("onednn", 3), ("plain", 3)]
    measured = cells[0]["metrics"]["p50"]
    assert measured["low"] < measured["mean"] < measured["high"]
    for name in ("report.txt", "report.md", "tables.html"):
        assert "(2.00 … 2.06)" in texts[name], name  # of three trials the range


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        GOLDEN.mkdir(exist_ok=True)
        for name, text in told(make(Path(place) / "results")).items():
            (GOLDEN / name).write_text(text, encoding="utf-8")
