"""Runs whose every text is somebody else's attack: no form of any verb's output obeys one."""

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt

from bench.runs import checksums
from bench.runs.chunk import Chunk
from bench.runs.recording import (
    CLOCK_STEPPED,
    CONNECTION_ENDED,
    RECORDING_ENDED,
    WORKER_LOST,
    RunWriter,
)
from bench.runs.run import Run
from tests.cli.inside import bench
from tests.recorded import end, requests
from tests.test_escape import COMMAND, FORBIDDEN, tags

ATTACK = (
    "=1+1\x1b[2J\x00\u202e\n::error::owned\n##[error]x\r[x](http://evil.example)![i](x)<img src=x onerror=alert(1)>"
    "@me #1 |a|`b`*c* {{7*7}}[/red]$\\frac$ &amp; \ud800 %0A"
)
"""Begins like a formula, and holds what terminals, runners, Markdown, HTML, XML, Jinja, Rich and TeX take for theirs."""
NAME = ATTACK.replace("\ud800", "")
"""Of requests, which a load process sends as UTF-8."""
SECONDS = 4


def record(root: Path, number: int, version: int) -> Path:
    """A run in which every text that others decide on is the attack."""
    own = f"{ATTACK} {number}"
    cell = {"server": own, "build": own, "model": own, "version": version, "batch": 1, "load": own}
    manifest: dict[str, Any] = {
        "question": own,
        "command": ["locust", ATTACK],
        "target": {"address": own, "kind": ATTACK, "build": ATTACK, "model": ATTACK, "version": version,
                   "label": ATTACK, "signature": ATTACK, "asked": {NAME: {"model": ATTACK}}, "flags": ATTACK},
        "load": {"kind": "closed", "users": 4, "transport": ATTACK, "shape": ATTACK},
        "options": {ATTACK: ATTACK},
        "payload": {ATTACK: {"sha256": ATTACK, "messages": 10, "batch": 1, "bytes": 90}},
        "machine": {"cpu_model": own, "hostname": ATTACK, "packages": {ATTACK: ATTACK}},
        "git": {"commit": "a" * 40},
        "workers": [{"worker": ATTACK, "recorded": 1, "lost": True}],
        "wrong_answers": {ATTACK: {"shape": {"count": 1, "example": ATTACK}}},
        "doubts": [{"check": ATTACK, "reason": ATTACK, "remedy": ATTACK}],
        "experiment": {"name": ATTACK, "block": None, "trial": number, "cell": cell | {"server": ATTACK, "load": ATTACK,
                       "build": ATTACK, "model": ATTACK}},
    }  # fmt: skip
    writer = RunWriter.create(root, "mnist", None, manifest | {"scenario": ATTACK, "note": own})
    for second in range(SECONDS):
        part = requests(
            10 * number + second, count=100, rate=100, start=float(second), version=version, errors=0.05, mismatched=0.01,
            names=(NAME,), service=0.002 * version,
        )  # fmt: skip
        chunk = Chunk.of(**part, keep_samples=False)
        chunk.failures = {(NAME, "UNAVAILABLE", NAME): 5}
        writer.append(0, chunk)
        writer.telemetry(second + 0.5, source=f"server {NAME}", cpu_seconds=0.1 * second)
        writer.event(second + 0.5, "restart", NAME)
        for kind in (WORKER_LOST, RECORDING_ENDED, CLOCK_STEPPED, CONNECTION_ENDED, NAME):
            writer.event(second + 0.5, kind, NAME, lasting=0.1)
    end(
        writer,
        counts={
            "sent": 100 * SECONDS,
            "unsent": 0,
            "recorded": 100 * SECONDS,
            "addresses": {own: 5, ATTACK: 5},
        },
    )
    return writer.path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("foreign")
    for number in range(4):
        record(place / ("base" if number < 2 else "new"), number, 1 if number < 2 else 2)
    odd = place / "new" / "\x1b[2J\n::error::[x](y)<b>=1"
    shutil.copytree(Run.open(next((place / "new").iterdir())).path, odd)
    (odd / "manifest.json").write_text('{"schema": 3, "state": ' + json.dumps([ATTACK]) + "}")
    checksums.seal(odd)
    (place / "keys.toml").write_text(f"{json.dumps(NAME)} = 1\n")
    (place / "limits.toml").write_text("[limits]\np50_ms = 0.1\nerror_share = 0.5\n")
    return place


def run(place: Path, *arguments: str) -> str:
    """What a verb prints, on both streams, where GitHub's runner reads it."""
    done = bench(*arguments, cwd=place, GITHUB_ACTIONS="true")
    shown = done.stdout + done.stderr
    assert "Traceback" not in shown, shown
    assert done.returncode in (0, 1, 2, 3)
    assert not FORBIDDEN.search(shown)
    return shown


@pytest.mark.parametrize(
    "arguments",
    [
        ("report", "base", "new"),
        ("report", "base", "new", "--json"),
        ("compare", "base", "new"),
        ("compare", "base", "new", "--by", "version", "--json"),
        ("history", "base", "new"),
        ("baseline", "set", "new", "--folder", "kept"),
        ("baseline", "show", "--folder", "base"),
        ("plot", "base", "--only", "percentile", "--dpi", "50"),
        ("report", "new/\x1b[2J\n::error::[x](y)<b>=1"),
        ("report", "nowhere\x1b[2J\n::error::x"),
        ("status", "--host", "\x1b[2J\n::error::x"),
        ("gate", "new", "--limits", "keys.toml"),
        ("run", "keys.toml"),
    ],
)
def test_no_verb_prints_a_command_of_others(arguments: tuple[str, ...], place: Path) -> None:
    assert not COMMAND.search(run(place, *arguments))


def test_a_gate_annotates_with_its_own_commands_only(place: Path) -> None:
    shown = run(
        place, "gate", "new", "--limits", "limits.toml", "--junit", "junit.xml", "--markdown", "gate.md"
    )
    commands = [line for line in shown.splitlines() if COMMAND.match(line)]
    assert commands
    for line in commands:
        head, _, text = line.removeprefix("::").partition("::")
        assert head.split(" ")[0] in ("error", "warning")
        assert head.count("title=") == 1
        assert text
    assert "##[" not in "".join(line for line in shown.splitlines() if line not in commands)
    root = ElementTree.fromstring((place / "junit.xml").read_bytes())  # noqa: S314 - our own
    assert {each.tag for each in root.iter()} == {
        "testsuite",
        "testcase",
        "failure",
        "error",
        "properties",
        "property",
    }
    check_markdown((place / "gate.md").read_text())


def check_markdown(text: str) -> None:
    """Only the markup that this package writes: tables, lists, bold."""
    inline = [
        child
        for token in MarkdownIt("gfm-like", {"linkify": False}).parse(text)
        for child in token.children or ()
    ]
    assert {child.type for child in inline} <= {
        "text",
        "text_special",
        "softbreak",
        "strong_open",
        "strong_close",
    }
    assert not FORBIDDEN.search(text)


def test_markdown_of_reports_and_comparisons(place: Path) -> None:
    for arguments in (("report", "base", "new"), ("compare", "base", "new", "--by", "version")):
        done = bench(*arguments, "--markdown", cwd=place)
        assert done.returncode == 0, done.stderr
        check_markdown(done.stdout)
        for token in MarkdownIt("gfm-like", {"linkify": False}).parse(done.stdout):
            assert token.type != "html_block"


def test_no_cell_of_a_csv_is_calculated(place: Path) -> None:
    done = bench("report", "base", "new", "--csv", cwd=place)
    rows = list(csv.reader(io.StringIO(done.stdout)))
    assert len(rows) == 5
    for cell in (cell for row in rows for cell in row):
        assert not cell.startswith(("=", "+", "@", "\t", "\r")), cell
        assert not cell.startswith("-") or cell[1:].replace(".", "").isdigit()


@pytest.mark.parametrize("verb", ["report", "history"])
def test_a_page_has_no_element_of_others(place: Path, verb: str) -> None:
    done = bench(verb, "base", "new", "--html", "page.html", cwd=place)
    assert done.returncode == 0, done.stderr
    page = (place / "page.html").read_text()
    assert not {"img", "script", "b", "a"} & set(tags(page)) or "<img src=x" not in page
    assert "<img src=x" not in page
    assert "onerror=alert(1)>" not in page.replace("onerror=alert(1)&gt;", "")
    assert "49[/red]" not in page, "a template of others is no template"
    assert not FORBIDDEN.search(page)
