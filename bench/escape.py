"""Text of others in our outputs: server errors, names, labels, notes, file names, logs.

One function for each kind of output, used where that output is written. Each leaves ordinary text of any language as it
is, and makes what a reader's program would obey visible instead: an escape sequence of a terminal, a command of a CI
log, a formula of a spreadsheet, a link or a mention in Markdown.
"""

import re
from typing import Any, Final

_SHORT: Final = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}
_CONTROLS: Final = r"\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"
"""Control characters, separators of lines and paragraphs, and halves of surrogate pairs, which no file can hold."""
_REORDERING: Final = r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
"""What makes a line read in another order than it is written ("Trojan Source", CVE-2021-42574)."""
_INVISIBLE: Final = r"\u00ad\u200b\u2060-\u2064\ufeff\ufffe\uffff"
_HIDDEN: Final = re.compile(f"[{_CONTROLS}{_REORDERING}{_INVISIBLE}]")
_HIDDEN_IN_LINES: Final = re.compile(rf"(?![\t\n])[{_CONTROLS}{_REORDERING}{_INVISIBLE}]")
_COMMAND: Final = re.compile(r"^(\s*):(?=:)|#(?=#\[)", re.MULTILINE)
"""How lines begin, and where else in a line, that GitHub's runner takes for commands ("Workflow commands")."""
_MARKDOWN: Final = re.compile(
    r"([\\`*_\[\]<>|~$]|&(?=#?\w+;)|^[#+=-](?=[#+=\s-]*(?:\s|$))|(?<=^\d)[.)](?=\s|$))"
)
_JOINED: Final = re.compile(r"(?<=[@#])(?=\w)|(?<=://)|(?<=\bwww)(?=\.)|(?<=\bGH)(?=-\d)", re.IGNORECASE)
"""Where GitHub's Markdown makes a mention, a reference or a link of bare text."""
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""How cells begin that spreadsheets calculate ("CSV Injection", OWASP)."""


def one_line(text: str) -> str:
    """Text in one line that no terminal obeys: what is not to be seen stands as an escape, such as `\\x1b`."""
    return _HIDDEN.sub(_shown, text)


def lines(text: str) -> str:
    """The same for text of several lines, which may be indented by tabs."""
    return _HIDDEN_IN_LINES.sub(_shown, text)


def _shown(match: re.Match[str]) -> str:
    return _SHORT.get(match[0]) or match[0].encode("unicode_escape").decode("ascii")


def ci_log(text: str) -> str:
    """Lines of which no runner of GitHub takes one for a command: `::error::` at its beginning, `##[error]` anywhere."""
    return _COMMAND.sub(lambda match: f"{match[0]} ", text)


def log_entry(text: str) -> str:
    """One event of a log; the lines after its first are indented, so that none of them looks like another event."""
    return ci_log(lines(text)).replace("\n", "\n    ")


def ci_command(level: str, title: str, text: str) -> str:
    """A command of GitHub's runner that annotates a run ("Workflow commands for GitHub Actions", error and warning)."""

    def quoted(value: str, more: str = "") -> str:
        value = lines(value)
        for character in "%\r\n" + more:
            value = value.replace(character, f"%{ord(character):02X}")
        return value

    return f"::{level} title={quoted(title, ':,')}::{quoted(text)}"


def markdown(text: str) -> str:
    """Text as it is, in GitHub's Markdown and its tables: without markup, links, images, mentions and references."""
    plain = " ".join(one_line(text.replace("\n", " ")).split())
    return _JOINED.sub("\u200b", _MARKDOWN.sub(r"\\\1", plain))


def csv_cell(value: Any) -> Any:
    """A value of a CSV file; text that a spreadsheet would calculate stands behind an apostrophe."""
    if not isinstance(value, str):
        return value
    return one_line(f"'{value}" if value.startswith(_FORMULA) else value)


def xml(text: str) -> str:
    """The text of a document whose markup is right already, without the characters that XML 1.0 forbids (2.2, Char)."""
    return lines(text)
