"""Documents: links, commands and options in them hold, and the site builds."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from locust.argument_parser import get_parser

from bench.cli import VERBS
from bench.cli.verbs import verbs
from bench.load.arguments import add_arguments
from tests.cli.inside import bench

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "tests").rglob("RESULTS.md")])
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


PROGRAMS = "bench|locust|python|pytest|make|pip|git|cd|sh|export"


@dataclass(frozen=True)
class Command:
    """A command line in a document, with what the document says of it."""

    text: str
    code: int = 0
    """Exit code, 0 unless a comment behind it states another."""
    output: str = ""
    """What follows as the output, in a block of its own."""
    not_run: str | None = None
    """Why no test runs it: an HTML comment before it."""

    @property
    def program(self) -> str:
        return self.text.split()[0]


def commands(page: Path) -> list[Command]:
    """Those of indented and fenced blocks in order, continued lines joined, comments taken off."""
    text = page.read_text().replace("\\\n", " ")
    line = rf"^(?:    |\$ |(?=(?:bench|locust) (?:run|-f) ))((?:{PROGRAMS}) +[^\s(=].*)$"
    found = []
    for match in re.finditer(line, text, re.MULTILINE):
        typed, _, comment = match[1].partition(" #")
        code = re.match(r" exit code (\d+)", comment)
        before = re.search(r"<!-- not run: (.*?) -->\s*\Z", text[: match.start()])
        after = re.match(r"\s*\n\n```\n(.*?)^```", text[match.end() :], re.MULTILINE | re.DOTALL)
        found.append(
            Command(
                re.split("   +", typed.strip())[0],
                int(code[1]) if code else 0,
                after[1] if after else "",
                before[1] if before else None,
            )
        )
    return found


def wrong_with(command: Command) -> str | None:
    """What the program itself would refuse in the command line before it does anything; None: nothing."""
    typed = re.split(r" (?:[|>;&]|&&|\|\||2>) ?", command.text)[0].replace("…", "X").replace("...", "X")
    words = shlex.split(typed, comments=True)
    if words[0] == "bench" and words[1] != "scenario":
        return wrong_for_bench(words[1:])
    if words[0] in ("bench", "locust"):
        if words[0] == "bench" and len(words) < 4:
            return None
        name = words[words.index("-f") + 1] if words[0] == "locust" else words[2]
        return wrong_for_locust(Path(name).stem, words[1 if words[0] == "locust" else 3 :])
    if words[:2] == ["python", "-m"] and words[2].startswith(("tests.", "bench.")):
        return None if importlib.util.find_spec(words[2]) else f"no module {words[2]}"
    if words[0] == "pytest":
        gone = [word for word in words[1:] if word.startswith("tests/") and not (ROOT / word).exists()]
        return f"no such path: {gone}" if gone else None
    if words[0] == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return None if set(words[1:]) <= set(targets) else f"no target: {words[1:]}"
    return None


def wrong_for_bench(words: list[str]) -> str | None:
    context = click.Context(verbs, info_name="bench")
    command = verbs.get_command(context, words[0])
    while command is not None and isinstance(command, click.Group) and len(words) > 1:
        words = words[1:]
        command = command.get_command(context, words[0])
    if command is None:
        return f"no verb {words[0]}"
    if set(words) & {"--help", "-h"}:
        return None
    inner = click.Context(command, info_name=words[0], parent=context)
    try:
        values, _, _ = command.make_parser(inner).parse_args(words[1:])
        for each in command.params:
            if (
                isinstance(each, click.Option)
                and each.name in values
                and not isinstance(each.type, click.Path)
            ):
                each.type_cast_value(inner, values[each.name])
    except click.ClickException as error:
        return error.format_message()
    return None


def wrong_for_locust(scenario: str, words: list[str]) -> str | None:
    parser = get_parser(default_config_files=[])
    if "--batch-size" not in parser._option_string_actions:
        add_arguments(parser)
    try:
        _, unknown = parser.parse_known_args(words)
    except SystemExit:
        return "Locust refuses it"
    path = ROOT / "scenarios" / f"{scenario}.py"
    text = path.read_text() if path.exists() else ""
    if "model_options()" in text:
        text += (ROOT / "bench" / "load" / "any_model.py").read_text()
    own = re.findall(r'option\(\s*"(--[a-z-]+)"', text)
    strange = [word for word in unknown if word.startswith("-") and word.split("=")[0] not in own]
    return f"unknown options: {strange}" if strange else None


@WHICH
def test_commands_are_those_that_programs_take(page: Path) -> None:
    wrong = {command.text: why for command in commands(page) if (why := wrong_with(command))}
    assert not wrong


def test_commands_that_are_wrong_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    lines = (
        "bench gate --nope",
        "bench ab a:1 --users x",
        "bench frobnicate",
        "locust -f scenarios/mnist.py --nope",
    )
    page.write_text(
        "".join(f"    {line}   # a comment\n" for line in (*lines, "make nothing", "bench gate --help"))
    )
    assert [each.text for each in commands(page) if wrong_with(each)] == [*lines, "make nothing"]


def test_commands_that_need_no_server_run(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "install.md").read_text()
    for line in ("bench init load-tests", "bench completion bash", "bench scenario "):
        assert f"    {line}" in text
        assert bench(*line.split()[1:], cwd=tmp_path).returncode == 0, line


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
    assert len(pages) >= len([page for page in PAGES if page.is_relative_to(ROOT / "docs")])
