"""Who may import whom: the house's plan as data, held against the code's own import statements."""

import ast
import functools
import graphlib
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench"
GROUND = {
    "escape",
    "files",
    "jsonl",
    "manifest",
    "sample",
    "schedule",
    "payload",
    "mnist",
    "histogram",
    "chunk",
    "columns",
    "packing",
    "config",
    "recording",
    "run",
    "warmup",
    "choices",
    "wording",
}

ALLOWED: dict[str, set[str]] = {
    # the first entry that a module's name starts with decides; names are rooms or modules below `bench`
    "sample": set(),
    "wording": set(),
    "schedule": {"sample", "files", "schedule"},
    "histogram": {"sample"},
    "packing": set(),
    "checksums": {"files"},
    "columns": {"packing"},
    "chunk": {"sample", "histogram", "columns"},
    "mnist": {"sample", "files"},
    "config": {"sample", "files", "schedule", "config", "wire.dial", "wire.unary"},
    "payload": {"payload", "wire.dtypes", "wire.messages"},
    "jsonl": {"files"},
    "journal": {"jsonl", "manifest", "rows"},
    "finding": {"choices", "checksums", "journal", "recording"},
    "choices": {"files"},
    "supervisor": set(),
    "supervision": {"supervisor"},
    "hlog": {"sample", "files", "histogram", "chunk", "jsonl"},
    "samples": {"sample", "files", "chunk", "columns"},
    "warmup": set(),
    "recording": {"checksums", "histogram", "chunk", "hlog", "samples", "jsonl"},
    "baseline": {"checksums", "jsonl", "manifest", "recording", "run"},
    "contents": {"histogram", "chunk", "columns", "hlog", "samples", "recording", "jsonl", "rows"},
    "escape": set(),
    "files": set(),
    "manifest": {"sample", "jsonl", "recording"},
    "rows": {"sample", "files", "jsonl", "manifest"},
    "run": {
        "finding",
        "choices",
        "checksums",
        "files",
        "jsonl",
        "manifest",
        "histogram",
        "chunk",
        "hlog",
        "samples",
        "recording",
        "contents",
        "warmup",
    },
    "picture": {"mnist", "files"},
    "protocol": {"protocol", "wire.messages"},
    "target": {"sample", "wording", "payload", "mnist", "picture", "protocol", "target", "wire"},
    "wire.messages": set(),
    "wire.client": {"wire"},
    "wire": {"wire"},
    "load": GROUND | {"wire", "load", "protocol", "target", "launch.server_process"},
    "server.net": {
        "server.net",
        "server.options",
        "server.refusal",
        "server.textproto",
        "server.unforeseen",
        "wire",
    },
    "server.models": {
        "server.models",
        "server.refusal",
        "server.request_layouts",
        "server.textproto",
        "server.unforeseen",
        "wire.messages",
    },
    "server.execution": {"server", "wire", "mnist", "files"},
    "server": {"server", "wire", "files"},
    "launch": {"launch", "config", "server.options", "server.textproto", "supervision", "target", "wire"},
    "export": GROUND | {"wire.messages", "export"},
    "experiment": GROUND
    | {
        "checksums",
        "journal",
        "rows",
        "load",
        "launch",
        "wire",
        "experiment",
        "supervision",
        "jsonl",
        "recording",
    },
    "analysis": {
        "escape",
        "protocol.hints",
        "sample",
        "journal",
        "histogram",
        "chunk",
        "run",
        "manifest",
        "recording",
        "schedule",
        "choices",
        "warmup",
        "wording",
        "config",
        "analysis",
    },
    "cli": {""},
    "__main__": {"cli"},
    "__init__": set(),
}

HEAVY: dict[str, tuple[str, ...]] = {
    # package -> the only modules below `bench` that may import it
    "tensorflow": ("server.execution.runtime", "export", "wire.messages"),
    "tensorflow_serving": ("wire.messages",),
    "keras": ("export",),
    "grpc": ("wire.grpcio_client",),
    "gevent": (
        "wire.client",
        "wire.keep",
        "wire.open",
        "wire.keepalive",
        "wire.link",
        "wire.grpcio_client",
        "load",
    ),
    "locust": ("load",),
    "hpack": ("wire",),
    "matplotlib": ("analysis.plot",),
    "scipy": ("analysis",),
    "pandas": ("run", "samples", "analysis"),
    "pyarrow": ("samples", "schedule"),
    "jinja2": ("analysis.page",),
    "click": ("cli",),
    "rich": ("cli", "analysis.report"),
    "psutil": ("load",),
    "pydantic": ("config", "manifest", "rows", "journal", "experiment.told"),
    "docker": ("launch.docker", "launch.containers", "load.container"),
}


@functools.cache
def modules() -> dict[str, Path]:
    names = {}
    for path in sorted(BENCH.rglob("*.py")):
        parts = path.relative_to(BENCH).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        names[name] = path
    return names


@functools.cache
def imports(path: Path) -> frozenset[str]:
    """Every module that the file imports, wherever in it the statement stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def below(name: str, rooms: set[str] | tuple[str, ...]) -> bool:
    return any(room in ("", name) or name.startswith(room + ".") for room in rooms)


def rule_of(name: str) -> set[str]:
    return next(allowed for room, allowed in ALLOWED.items() if below(name, (room,)))


@pytest.mark.parametrize("name", modules())
def test_imports_follow_the_plan(name: str) -> None:
    known = modules()
    for imported in imports(known[name]):
        if imported == "bench" or not imported.startswith("bench."):
            continue
        target = imported.removeprefix("bench.")
        while target not in known and "." in target:
            target = target.rpartition(".")[0]  # a name in a module
        if target in known and target not in {"wire", "load", "server", "launch", "analysis", "cli"}:
            assert below(target, rule_of(name)), f"bench.{name} must not import bench.{target}"


def imported_modules(name: str) -> set[str]:
    """The modules below `bench` that this one imports, without the packages that they lie in."""
    known, targets = modules(), set()
    for imported in imports(known[name]):
        target = imported.removeprefix("bench.")
        while imported.startswith("bench.") and target not in known and "." in target:
            target = target.rpartition(".")[0]
        if target in known and known[target].name != "__init__.py":
            targets.add(target)
    return targets


@pytest.mark.parametrize(
    "package", ["", *sorted(name for name, path in modules().items() if path.stem == "__init__")]
)
def test_no_cycles_among_the_parts_of_a_package(package: str) -> None:
    """Counting imports inside functions, too."""
    if package == "__init__":
        return
    depth = len(package.split(".")) if package else 0
    inside = [name for name in modules() if not package or name.startswith(package + ".")]
    graph: dict[str, set[str]] = {}
    for name in inside:
        part = name.split(".")[depth]
        graph.setdefault(part, set()).update(
            target.split(".")[depth] for target in imported_modules(name) if target in inside
        )
    for part, others in graph.items():
        others.discard(part)
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("package", HEAVY)
def test_heavy_packages_stay_in_their_rooms(package: str) -> None:
    for name, path in modules().items():
        if any(imported.split(".")[0] == package for imported in imports(path)):
            assert below(name, HEAVY[package]), f"bench.{name} must not import {package}"


def test_no_module_is_larger_than_a_reader_can_hold() -> None:
    large = {name: len(path.read_text().splitlines()) for name, path in modules().items()}
    assert {name: lines for name, lines in large.items() if lines > 400} == {}
