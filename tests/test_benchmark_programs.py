"""Programs beside the tests, by their source: each says with --help what it does, instead of doing it."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
COMMANDS_OF_BENCH = {"arrivals_log.py"}
"""Started as `bench` is: they give their arguments to its parser."""
PARTLY_READ = {"busy_suite.py", "python_client.py"}
"""Besides, they look at the arguments before they parse them."""


def is_program(module: ast.Module) -> bool:
    return any(isinstance(node, ast.If) and "__main__" in ast.unparse(node.test) for node in module.body)


OTHERS = ("reference.py", "models.py", "conformance/models.py", "server/saved_models.py")
"""Programs elsewhere that people start; further ones are parts of tests."""
PROGRAMS = sorted(
    path
    for folder in ("benchmarks", "fuzz")
    for path in (TESTS / folder).rglob("*.py")
    if path.name == "__main__.py" or is_program(ast.parse(path.read_text()))
) + [TESTS / name for name in OTHERS]


def test_the_programs_are_found() -> None:
    assert len(PROGRAMS) > 40


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: str(path.relative_to(TESTS)))
def test_arguments_are_parsed(path: Path) -> None:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    parsed = any(isinstance(node, ast.Attribute) and node.attr == "parse_args" for node in nodes)
    raw = any(isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.argv" for node in nodes)
    assert parsed or path.name in COMMANDS_OF_BENCH, "it would run with a folder named --help"
    assert not raw or path.name in COMMANDS_OF_BENCH | PARTLY_READ, "sys.argv is read beside the parser"
