"""Servers files (servers.toml): servers by name, each of a kind."""

import re
from pathlib import Path
from typing import Any

from bench import BenchError
from bench.config.reading import LONGEST_NAME, checked, nearest, read_toml, refusal
from bench.config.servers import Declared
from bench.launch.kinds import KINDS


def read_servers(path: Path) -> dict[str, Declared]:
    """The servers that a file names. Raises BenchError with file, key, value and what is allowed."""
    content = read_toml(path)
    for name in content:
        if name != "servers":
            raise BenchError(
                f"{path}: {name[:LONGEST_NAME]}: unknown table{nearest(name, ['servers'])}; known is [servers.NAME]"
            )
    tables = content.get("servers", {})
    if not isinstance(tables, dict) or not tables:
        raise BenchError(f"{path}: servers: missing; expected at least one table [servers.NAME]")
    return {name: _declared(path, name, table) for name, table in tables.items()}


def _declared(path: Path, name: str, table: Any) -> Declared:
    where = f"servers.{name}"
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise BenchError(f"{path}: {where}: letters, digits, '.', '_' and '-' only, since it names folders")
    if not isinstance(table, dict):
        raise refusal(path, where, table, "expected a table")
    kind = table.get("kind")
    if kind is None:
        raise BenchError(f"{path}: {where}.kind: missing; expected one of {', '.join(KINDS)}")
    if not isinstance(kind, str) or kind not in KINDS:
        near = nearest(str(kind), KINDS)
        raise refusal(path, f"{where}.kind", kind, f"unknown{near}; expected one of {', '.join(KINDS)}")
    table_of_kind = KINDS[kind].table
    for each, value in table.items():
        able = [other for other, its in KINDS.items() if each in its.table.model_fields]
        if each not in table_of_kind.model_fields and able:
            raise refusal(
                path,
                f"{where}.{each}",
                value,
                f"a server of kind {kind} cannot do that ({', '.join(able)} can); "
                f"valid keys: {', '.join(sorted(table_of_kind.model_fields))}",
            )
    return Declared(name, path, checked(table_of_kind, table, path, where))
