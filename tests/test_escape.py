"""Text of others in every kind of output: whatever it is, it stays text."""

import csv
import io
import json
import logging
import re
import sys
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.table import Table
from rich.text import Text

from bench import escape
from bench.cli.output import Printable
from bench.load.checking.failures import CallError, shown
from bench.load.locust_glue.log_lines import Escaping, complain
from bench.server import logs

ATTACKS = (
    "\x1b[2J\x1b]0;owned\x07", "\x9b31m", "a\x00b", "a\x08\x08b", "gate pass\r", "\u202egnp.exe", "\u2066x\u2069", "\ud800",
    "\n::error file=a::owned", "\r\n::set-output name=a::b", "  ::stop-commands::x", "##[error]owned", "\n##[command]rm",
    "=cmd|' /C calc'!A0", "+1", "-1+1", "@SUM(A1)", "\t=1", "＝1",
    "[x](javascript:alert(1))", "![x](http://evil.example/p.png)", "<img src=x onerror=alert(1)>", "</td><script>alert(1)</script>",
    "@everyone", "org/repo#1", "GH-1", "https://evil.example/", "www.evil.example", "`code`", "| cell |", "***bold***", "&lt;b&gt;",
    "$x^2$", "~~s~~", "# head", "- item", "1. item", "]]>", "<!--", "&#10;", "{{7*7}}", "[bold]x[/bold]", "[/]", "%0A::error::",
)  # fmt: skip
CHARACTERS = st.characters(exclude_categories=["Cs"])
"""Those that UTF-8 has. By default Hypothesis encodes each there is to find them, 2 s in a new checkout."""
TEXTS = st.one_of(
    st.sampled_from(ATTACKS),
    st.text(CHARACTERS, max_size=40),
    st.lists(st.one_of(st.sampled_from(ATTACKS), st.text(CHARACTERS, max_size=10)), max_size=4).map("".join),
)
FORBIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
COMMAND = re.compile(r"^\s*::|##\[", re.MULTILINE)
quick = settings(max_examples=150, deadline=None, derandomize=True)


@quick
@given(TEXTS)
def test_one_line_is_one_line_and_ordinary_text_stays(text: str) -> None:
    line = escape.one_line(text)
    assert not FORBIDDEN.search(line)
    assert len(line.splitlines()) <= 1
    assert escape.one_line(line) == line
    line.encode()
    if text.isprintable():
        assert line == text


@pytest.mark.parametrize(
    "text", ["é 日本語 עברית العربية 한국어 हिन्दी 👩‍👩‍👧", "p99 ≤ 3 µs … ×1.5", "a\\b 'c' \"d\""]
)
def test_text_of_any_language_stays(text: str) -> None:
    assert escape.one_line(text) == text
    assert escape.lines(text) == text


@quick
@given(st.lists(TEXTS, min_size=1, max_size=5), st.booleans())
def test_what_a_verb_prints_commands_neither_a_terminal_nor_a_runner(texts: list[str], ends: bool) -> None:
    for inside in ("true", ""):
        seen = io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GITHUB_ACTIONS", inside)
            stream = Printable(seen)
            for text in texts:
                stream.write(text + "\n" * ends)
                stream.flush()
        assert not FORBIDDEN.search(seen.getvalue())
        if inside:
            assert not COMMAND.search(seen.getvalue())


@quick
@given(TEXTS, st.integers(20, 90))
def test_tables_and_wrapped_lines_on_a_terminal(text: str, width: int) -> None:
    from bench.cli import terminal
    from bench.cli.tables import hanging

    seen = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", Printable(seen))
        patch.setenv("GITHUB_ACTIONS", "true")
        patch.setenv("COLUMNS", str(width))
        screen = terminal.console()
        table = Table()
        table.add_column(Text(text))
        table.add_row(Text(text))
        screen.print(table)
        screen.print(text)
        hanging(screen, Text.assemble(("warning  ", "yellow"), text))
    assert not FORBIDDEN.search(seen.getvalue())
    assert not COMMAND.search(seen.getvalue())


@quick
@given(TEXTS, TEXTS)
def test_an_annotation_is_one_command(title: str, text: str) -> None:
    line = escape.ci_command("error", title, text)
    assert len(line.splitlines()) == 1
    assert not FORBIDDEN.search(line)
    head, _, rest = line.removeprefix("::error title=").partition("::")
    assert ":" not in head and "," not in head
    assert "\n" not in rest


@quick
@given(TEXTS, TEXTS)
def test_markdown_has_no_markup_of_others(text: str, other: str) -> None:
    cells = f"| a | b |\n| --- | --- |\n| {escape.markdown(text)} | {escape.markdown(other)} |\n"
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(f"- {escape.markdown(text)}\n\n{cells}")
    kinds = [token.type for token in tokens]
    assert kinds.count("td_open") == 2, cells
    assert kinds.count("list_item_open") == 1
    inline = [child for token in tokens for child in token.children or ()]
    assert {child.type for child in inline} <= {"text", "text_special", "softbreak"}
    shown_text = " ".join(child.content for child in inline)
    assert not re.search(r"[@#]\w|://\w|\bwww\.|\bGH-\d", shown_text)
    assert not FORBIDDEN.search(shown_text)


@quick
@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_no_cell_of_a_table_is_calculated(texts: list[str]) -> None:
    file = io.StringIO()
    csv.writer(file).writerow([*map(escape.csv_cell, texts), escape.csv_cell(-1.5)])
    (row,) = csv.reader(io.StringIO(file.getvalue()))
    assert row[-1] == "-1.5"
    for cell, text in zip(row, texts, strict=False):
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠"))
        assert not FORBIDDEN.search(cell)
        assert cell.removeprefix("'") == escape.one_line(text) or cell == escape.one_line(text)


@quick
@given(TEXTS)
def test_xml_is_well_formed(text: str) -> None:
    root = ElementTree.Element("testsuite", name=text)
    ElementTree.SubElement(root, "failure", message=text).text = text
    document = escape.xml(ElementTree.tostring(root, encoding="unicode"))
    again = ElementTree.fromstring(document.encode())  # noqa: S314 - our own
    assert [each.tag for each in again] == ["failure"]


@quick
@given(TEXTS)
def test_log_lines_of_load_processes(text: str) -> None:
    handler = logging.StreamHandler(seen := io.StringIO())
    handler.setFormatter(logging.Formatter("[time] %(message)s"))
    handler.addFilter(Escaping())
    for record in (
        logging.LogRecord("bench", logging.WARNING, "x", 1, "the server says %s", (text,), None),
        logging.LogRecord("bench", logging.WARNING, "x", 1, f"worker {text}".replace("%", "%%"), (), None),
        logging.LogRecord("bench", logging.ERROR, "x", 1, "failed", (), raised(text)),
    ):
        handler.handle(record)
        handler.handle(record)  # as of a second handler
    first, *rest = seen.getvalue().rstrip("\n").split("\n")
    assert first.startswith("[time] ")
    assert all(line.startswith(("    ", "[time] ", "Traceback ")) for line in rest)
    assert not FORBIDDEN.search(seen.getvalue())
    assert not COMMAND.search(seen.getvalue())


def raised(text: str) -> Any:
    """The exc_info of an exception with this text."""
    try:
        raise ValueError(text)
    except ValueError:
        return sys.exc_info()


@quick
@given(TEXTS)
def test_log_lines_of_the_server(text: str) -> None:
    record = logging.LogRecord("bench", logging.WARNING, "x", 1, "model %s", (text,), raised(text))
    first, *rest = logs.formatter("text").format(record).split("\n")
    assert first.endswith(escape.ci_log(escape.one_line(f"model {text}".replace("\n", " "))))
    assert all(line.startswith("    ") for line in rest)
    line = logs.formatter("json").format(record)
    assert line.isascii()
    assert line.isprintable()
    event = json.loads(line)
    assert event["event"] == f"model {text}"
    for written in ("\n".join([first, *rest]), line):
        assert not FORBIDDEN.search(written)
        assert not re.search(r"^\s*::", written, re.MULTILINE)


@quick
@given(TEXTS)
def test_texts_of_failures_in_locusts_tables(text: str) -> None:
    for each in (shown(text), repr(CallError("INTERNAL", shown(text)))):
        assert not FORBIDDEN.search(each)
        assert len(each) < 600


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)


def tags(page: str) -> list[str]:
    """The tags of a page in their order."""
    parser = _Tags()
    parser.feed(page)
    return parser.found


@quick
@given(TEXTS)
def test_what_ends_a_load_process_is_one_line(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stderr", seen := io.StringIO())
        complain(text)
    assert seen.getvalue().count("\n") == 1
    assert not FORBIDDEN.search(seen.getvalue())
    assert not COMMAND.search(seen.getvalue())
