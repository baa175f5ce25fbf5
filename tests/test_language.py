"""Plain language: phrases of a dialect do not occur in texts that a user sees."""

import ast
import functools
import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {
    r"\b(asks?|asking|asked|tells?|telling|told|says?|saying|said)\b": "send, request, report, print, state",
    r"\b(bears?|borne)\b(?! in mind)": "sustain, sustained",
    r"\b(BROKEN|not decidable|undecidable)\b": "FAIL, inconclusive",
    r"\bdoubt(s|ed|ful)?\b|\b(un)?believable\b|\bnot to be believed\b": "warning, measurement invalid",
    r"\bgive a call up\b|\bcall is given up\b": "request timeout",
    r"\bsign of life\b|\bsilent server\b": "keepalive ping",
    r"\bwhat is executed together\b": "batching",
    r"\bwhere the time of a mean request goes\b": "latency breakdown (mean)",
    r"\bwaited for a core\b": "CPU-starved",
    r"\bleft late\b|\brequests leave late\b": "sent late, send delay",
    r"\b(is|are) expected$|\b(is|are) expected\b(?! to)": "expected X",
    r"\bwhole numbers? (from|of)\b": "integer >= N",
    r"\bstands? there\b": "duplicate entry, exists",
    r"\bHold runs\b": "Check runs against limits",
    r"\btaken together\b": "averages over",
    r"\bwhat is otherwise equal\b": "one line per configuration",
    r"\bgoes? on as\b": "continues",
    r"\bnot shown to differ\b": "no significant difference",
    r"\b(somebody|nobody)\b": "another client, no client",
}
"""Regular expression -> what to write instead."""
NARRATIVE = {pattern for pattern in FORBIDDEN if not pattern.startswith((r"\b(asks", r"\b(somebody"))}
"""What holds for documents too, where people may ask and tell."""
FOREIGN = {
    r"\banew\b": "again, a new",
    r"\bin spite of\b": "despite",
    r"\bmend(s|ed|ing)?\b": "fix, correct",
    r"\bmeanwhile\b": "at the same time, since then",
    r"\bbroken off\b": "aborted",
    r"\bof (its|their) own\b": "its own X, a separate X",
    r"\bof yours\b": "your own X",
    r"\bruns? already\b": "is running already",
    r"\bwhich are read at most\b": "the maximum",
    r"(?<!there )\b(is|are) no (?!longer\b|different\b)[a-z]": "is not a X",
    r"\b(goes|go) with(out)? --": "needs, cannot be combined with",
    r"\bas it is meant\b": "ambiguous",
    r"\bknown are\b": "valid names: X, Y",
    r"\bat the (least|most)\b": "at least, at most",
    r"\bthereof\b": "of it",
    r"\b(example|line|request|trial)s? a (request|line|trial|side|block)\b": "X per Y",
}
"""Word for word from another language: not in messages."""
IMITATED = {"bench/server"}
"""Folders whose texts are those of the original server."""
KEYS = re.compile(r"[\w.\-]+")
"""Names in programs, such as the JSON key `doubts`; they stay for readers of older results."""


class Source(NamedTuple):
    """What is looked for in a module, each with its line."""

    literals: list[tuple[int, str]]
    """Strings that users may see: all but docstrings that no verb prints."""
    names: list[tuple[int, str]]
    """Each variable, argument, attribute and function that is defined, without leading underscores."""
    first_lines: list[tuple[int, str]]
    """Of the docstrings of the module and its classes."""


@functools.cache
def source(path: Path) -> Source:
    """Parse a module once and look at each node of it once: both take longer than what is looked for."""
    literals, names, first_lines = Source([], [], [])
    tree = ast.parse(path.read_text())
    docstrings = set()
    if path.parent.name == "scenarios":  # `bench scenario` prints their questions
        literals.append((1, ast.get_docstring(tree) or ""))
    for node in ast.walk(tree):  # from the outside to the inside
        match node:
            case ast.Constant(value=str(text)):
                if id(node) not in docstrings:
                    literals.append((node.lineno, text))
                continue
            case ast.Name(ctx=ast.Store(), id=name) | ast.Attribute(ctx=ast.Store(), attr=name):
                names.append((node.lineno, name.strip("_")))
            case ast.arg(arg=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.append((node.lineno, name.strip("_")))
            case ast.Module() | ast.ClassDef():
                docstring = ast.get_docstring(node) or ""
                first_lines.append((getattr(node, "lineno", 1), docstring.partition("\n")[0]))
        body = getattr(node, "body", None)
        if isinstance(body, list):
            is_command = any(
                isinstance(each, ast.Call) and "command" in ast.unparse(each.func)
                for each in getattr(node, "decorator_list", [])
            )
            docstrings |= {
                id(each.value)
                for each in body
                if isinstance(each, ast.Expr) and not (is_command and each is body[0])
            }
    return Source(literals, names, first_lines)


@functools.cache
def compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE if pattern.islower() else 0)


def wrong(text: str, patterns: set[str]) -> list[str]:
    instead = FORBIDDEN | FOREIGN
    return [
        f"{match.group()!r}: write {instead[pattern]}"
        for pattern in sorted(patterns)
        if (match := compiled(pattern).search(text))
    ]


def test_messages_of_programs() -> None:
    found = []
    for path in sorted([*(ROOT / "bench").rglob("*.py"), *(ROOT / "scenarios").rglob("*.py")]):
        name = str(path.relative_to(ROOT))
        if any(name.startswith(each) for each in IMITATED):
            continue
        for line, literal in source(path).literals:
            if not KEYS.fullmatch(literal):
                text = literal.replace("options.asked.", "")  # a name of the programming interface
                found += [f"{name}:{line}: {each}" for each in wrong(text, set(FORBIDDEN | FOREIGN))]
    assert not found, "\n".join(found)


EMPTY = frozenset(
    (
        *("found", "told", "asked", "said", "kept", "mine", "got", "given", "such"),
        *("there", "here", "it", "one", "what", "which", "who"),
    )
)
"""Names that do not say what they hold."""
PUBLIC = {
    ("bench/load/options.py", "asked"): "`options.asked` in locustfiles",
    ("bench/payload/pool.py", "asked"): "an argument of `Pool.of` and `Pool.mnist`",
    ("bench/runs/manifest.py", "asked"): "a key of manifests",
    ("bench/load/site.py", "kept"): "an argument of `Site.exported` in locustfiles",
    ("bench/analysis/showing/outputs.py", "what"): "a key of the JSON output",
    ("bench/analysis/explaining/causes.py", "what"): "a key of the JSON output",
    ("bench/analysis/judging/compare.py", "found"): "an attribute of what `bench.compare` returns",
}
"""File and name -> why it stays: users write it."""


def empty(path: Path) -> list[str]:
    """The places in a module where a name says nothing."""
    return [f"{line}: {name}" for line, name in source(path).names if name in EMPTY]


def test_names_say_what_they_hold() -> None:
    modules = [*(ROOT / "bench").rglob("*.py"), *(ROOT / "scenarios").rglob("*.py")]
    found = {
        (str(path.relative_to(ROOT)), place.partition(": ")[2]): f"{path.relative_to(ROOT)}:{place}"
        for path in modules
        for place in empty(path)
    }
    more = [text for key, text in found.items() if key not in PUBLIC]
    assert not more, "\n".join(more)


QUESTIONS = {"What", "How", "Which", "Who", "Whether", "Where", "When", "Why"}


def asking(path: Path) -> list[str]:
    """The first lines of a module's and its classes' docstrings that open with a question word."""
    return [f"{line}: {text}" for line, text in source(path).first_lines if text.split(" ")[0] in QUESTIONS]


def test_docstrings_of_modules_and_classes_state() -> None:
    questions = [
        f"{path.relative_to(ROOT)}:{text}" for path in (ROOT / "bench").rglob("*.py") for text in asking(path)
    ]
    assert not questions, "\n".join(questions)


PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "bench").rglob("*.html"),
        *(ROOT / "scenarios").rglob("*.toml"),
    ]
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages(page: Path) -> None:
    text = re.sub(r"`[^`\n]*`|\{[{%].*?[%}]\}", "", page.read_text())
    found = [
        f"{page.name}:{number}: {each}"
        for number, line in enumerate(text.splitlines(), 1)
        for each in wrong(line, NARRATIVE)
    ]
    assert not found, "\n".join(found)


def test_forbidden_phrases_are_found(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text('"""It says so."""\nfail(f"{name}: a whole number from {least} on is expected")\n')
    assert [each for _, text in source(module).literals for each in wrong(text, set(FORBIDDEN))] == [
        "'whole number from': write integer >= N",
        "'is expected': write expected X",
    ]
    assert wrong("3 kept, 1 BROKEN; Tells why", set(FORBIDDEN)) != []
    assert wrong("the answer is no JSON; mend it", set(FOREIGN)) == [
        "'is no J': write is not a X",
        "'mend': write fix, correct",
    ]
    module = tmp_path / "question.py"
    module.write_text('"""Fine."""\n\nclass A:\n    """What it holds."""\n')
    assert asking(module) == ["3: What it holds."]
    module = tmp_path / "names.py"
    module.write_text("def f(it, rows):\n    self._told = [given for given in rows]\n    size = what(rows)\n")
    assert empty(module) == ["1: it", "2: told", "2: given"]
