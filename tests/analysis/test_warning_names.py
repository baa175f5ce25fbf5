"""The names by which warnings are accepted."""

import ast
from pathlib import Path

import pytest

import bench
from bench import BenchError
from bench.analysis.reading.run_warning import GROUPS, KNOWN, accepted


def test_every_warning_has_a_known_name() -> None:
    """A name that is not in the list could not be accepted."""
    used = set()
    for path in Path(bench.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "RunWarning" and node.args:
                used |= {node.args[0].value} if isinstance(node.args[0], ast.Constant) else set()
    assert len(used) > 20
    assert used <= set(KNOWN)


def test_a_group_accepts_its_warnings_and_no_others() -> None:
    for name, group in GROUPS.items():
        assert name not in KNOWN
        assert set(group) <= set(KNOWN)
        assert accepted([name, "errors"], "accept") == {*group, "errors"}
    with pytest.raises(BenchError, match="accept 'shared machin': unknown warning, did you mean shared"):
        accepted(["shared machin"], "accept")
