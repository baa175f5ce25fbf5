"""Documents: links, commands and options in them hold, and the site builds."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from bench.cli import VERBS
from bench.cli.verbs import verbs

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
WHICH = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub and MkDocs make them."""
    found = set()
    for heading in re.findall(r"^#+ +(.+)$", page.read_text(), re.MULTILINE):
        plain = re.sub(r"[`*]|\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return found


@WHICH
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", path):
            continue
        there = page if not path else (page.parent / path).resolve()
        if not there.exists() or (anchor and there.suffix == ".md" and anchor not in anchors(there)):
            wrong.append(target)
    assert not wrong


def command_lines(page: Path) -> list[str]:
    """The command lines of indented and fenced blocks, continued lines joined, comments taken off."""
    text = page.read_text().replace("\\\n", " ")
    return [
        re.split("  +", line.strip().removeprefix("$ "))[0]
        for line in text.splitlines()
        if re.match(r"(    |\$ )(bench|locust) +[-a-z]", line)
    ]


def known_options(command: click.Command) -> set[str]:
    return {name for each in command.params for name in (*each.opts, *each.secondary_opts)} | {"--help", "-h"}


@WHICH
def test_commands_have_the_options_that_documents_give_them(page: Path) -> None:
    wrong = []
    for line in command_lines(page):
        words = shlex.split(re.sub(r" [|>;&] .*", "", line), comments=True)
        if words[0] != "bench" or words[1].startswith("-"):
            continue
        command = verbs.get_command(click.Context(verbs), words[1])
        if command is not None and command.context_settings.get("ignore_unknown_options"):
            continue  # they are Locust's
        if command is None:
            wrong.append(f"no verb {words[1]}: {line}")
            continue
        rest = words[2:]
        if isinstance(command, click.Group) and rest and rest[0] in command.commands:
            command, rest = command.commands[rest[0]], rest[1:]
        given = {word.split("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
        wrong += [f"{each}: {line}" for each in given - known_options(command)]
    assert not wrong


def test_every_verb_is_documented() -> None:
    text = "".join(page.read_text() for page in PAGES if page.parent.name != "reference")
    assert not [verb for verb in VERBS if f"bench {verb}" not in text]


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pages = {path.parent.relative_to(tmp_path) for path in tmp_path.rglob("index.html")}
    assert len(pages) >= len([page for page in PAGES if page.parent != ROOT])
