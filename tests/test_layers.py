"""Who may import whom: the house's plan as data, held against the code's own import statements."""

import ast
import functools
import graphlib
import re
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench"
SCENARIOS = BENCH.parent / "scenarios"
TESTS = Path(__file__).parent
ARCHITECTURE = BENCH.parent / "docs" / "architecture.md"
GROUND = {"escape", "mnist", "payload", "runs", "schedule", "wording", "config"}

ANYBODYS = ("extras", "packaged")

ALLOWED: dict[str, set[str]] = {
    # the first entry that a module's name starts with decides; names are packages or modules below `bench`
    "escape": set(),
    "extras": set(),
    "packaged": set(),
    "starting": {"scenario"},
    "wording": set(),
    "runs": {"runs", "wording"},
    "schedule": {"runs.files", "runs.sample", "schedule"},
    "mnist": {"runs.files", "runs.sample"},
    "picture": {"mnist", "runs.files"},
    "payload": {
        "escape",
        "payload",
        "picture",
        "protocol.signatures",
        "runs.files",
        "wire.dtypes",
        "wire.messages",
        "wire.tensors",
        "wire.tfrecord",
        "wording",
    },
    "config": {
        "config",
        "protocol.names",
        "runs.files",
        "runs.sample",
        "schedule",
        "wire.dial",
        "wire.unary",
    },
    "supervisor": set(),
    "supervision": {"supervisor"},
    "wire.messages": set(),
    "wire": {"wire"},
    "protocol.names": set(),
    "protocol": {
        "protocol",
        "runs.sample",
        "wire.dtypes",
        "wire.field_limits",
        "wire.messages",
        "wire.tensors",
    },
    "target": {"mnist", "payload", "picture", "protocol", "runs.sample", "target", "wire", "wording"},
    "load.checking": {"escape", "load.checking", "payload", "protocol", "runs", "wire"},
    "load.engine": GROUND | {"load.checking", "load.engine", "load.option_values", "protocol", "wire"},
    "load.observing": GROUND
    | {"launch.containers", "load.engine", "load.observing", "load.options", "protocol", "wire"},
    "calibration": GROUND | {"calibration", "launch.server_process", "load"},
    "load": GROUND | {"launch.server_process", "load", "protocol", "target", "wire"},
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
    "server.execution": {"mnist", "runs.files", "server", "wire"},
    "server.api": {"protocol", "server", "wire"},
    "server": {"escape", "runs.files", "server", "wire"},
    "launch": {
        "config",
        "launch",
        "protocol",
        "server.options",
        "server.textproto",
        "supervision",
        "target",
        "wire",
    },
    "kubernetes": {"kubernetes", "packaged", "wire.dial"},
    "export": GROUND | {"export", "wire.messages"},
    "experiment": GROUND | {"experiment", "launch", "load", "protocol.names", "supervision", "wire"},
    "analysis.statistics": {"analysis.statistics", "runs.histogram"},
    "analysis.reading": {
        "analysis.reading",
        "analysis.statistics",
        "escape",
        "protocol.hints",
        "protocol.tfserving_hints",
        "runs",
        "schedule",
        "wording",
        "config",
    },
    "analysis.answers": {"analysis", "runs", "wording"},
    "analysis": {"analysis", "config", "escape", "protocol.hints", "runs", "schedule", "wording"},
    "scenario": {"load", "mnist", "payload"},
    "cli": {""},
    "__main__": {"cli"},
    "__init__": {"analysis.public", "analysis.showing.figures", "runs.run"},
}

HEAVY: dict[str, tuple[str, ...]] = {
    # package -> the only modules below `bench` that may import it
    "tensorflow": ("server.execution.runtime", "export", "protocol.descriptors"),
    "tensorflow_serving": ("protocol.descriptors",),
    "keras": ("export",),
    "grpc": ("wire.grpcio_client",),
    "gevent": (
        "wire.client",
        "wire.keep",
        "wire.open",
        "wire.scheme",
        "wire.keepalive",
        "wire.link",
        "wire.grpcio_client",
        "wire.http_channel",
        "wire.http_connection",
        "load",
    ),
    "locust": ("load.locust_glue", "load.users"),
    "hpack": ("wire",),
    "matplotlib": (
        "analysis.showing.plot",
        "analysis.showing.plot_capacity",
        "analysis.showing.plot_time",
        "analysis.showing.plot_tuning",
        "analysis.showing.figures",
    ),
    "PIL": ("mnist", "picture"),
    "scipy": ("analysis",),
    "pandas": ("runs.run", "runs.samples", "runs.parquet", "analysis"),
    "pyarrow": ("runs.parquet", "schedule"),
    "jinja2": ("analysis.showing.page",),
    "click": ("cli",),
    "rich": ("cli",),
    "psutil": ("calibration", "load"),
    "pydantic": (
        "cli.schemas",
        "config",
        "runs.answers",
        "runs.capacity",
        "runs.manifest",
        "runs.misfit",
        "runs.rows",
        "runs.journal",
        "runs.tuning",
        "experiment.master_answers",
        "launch.docker",
        "launch.remote",
    ),
    "opentelemetry": ("load.locust_glue.live",),
    "prometheus_client": ("load.locust_glue.live", "load.observing.exporters.page"),
    "docker": ("launch.docker", "launch.containers", "load.observing.container"),
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
        if target in known and target not in {
            *ANYBODYS,
            "wire",
            "load",
            "server",
            "launch",
            "analysis",
            "cli",
        }:
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


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.py")), ids=lambda path: path.stem)
def test_scenarios_import_from_one_place(path: Path) -> None:
    ours = {name for name in imports(path) if name.startswith("bench.")}
    assert {".".join(name.split(".")[:2]) for name in ours} <= {
        "bench.BenchError",
        "bench.scenario",
        "bench.schedule",
    }


@pytest.mark.parametrize("package", HEAVY)
def test_heavy_packages_stay_in_their_rooms(package: str) -> None:
    for name, path in modules().items():
        if any(imported.split(".")[0] == package for imported in imports(path)):
            assert below(name, HEAVY[package]), f"bench.{name} must not import {package}"


def test_no_file_is_larger_than_a_reader_can_hold() -> None:
    files = [*BENCH.rglob("*.py"), *SCENARIOS.rglob("*.py"), *TESTS.rglob("*.py")]
    lines = {str(path.relative_to(BENCH.parent)): len(path.read_text().splitlines()) for path in files}
    assert {name: count for name, count in lines.items() if count > 400} == {}


QUESTIONS = re.findall(r"^\| .*\? \| `(\S+\.py)` \| `(\S+)` \|$", ARCHITECTURE.read_text(), re.MULTILINE)


def test_ten_questions_are_answered_by_the_names_of_files() -> None:
    assert len(QUESTIONS) == 10


@pytest.mark.parametrize(("file", "name"), QUESTIONS)
def test_the_file_that_answers_a_question_defines_it(file: str, name: str) -> None:
    body: list[ast.stmt] = ast.parse((BENCH / file).read_text()).body
    for part in name.split("."):
        defined = {each.name: each for each in body if isinstance(each, ast.ClassDef | ast.FunctionDef)}
        assert part in defined
        body = defined[part].body


def test_private_attributes_of_locust_are_used_in_one_module() -> None:
    """A private name that nothing in `bench.load` defines is somebody else's."""
    trees = {name: ast.parse(path.read_text()) for name, path in modules().items() if below(name, ("load",))}
    own: set[str] = {"_asdict", "_fields", "_replace", "_exit"}  # named tuples', os._exit
    used: dict[str, set[str]] = {}
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                own.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                own.add(node.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                own.add(node.attr)
            elif isinstance(node, ast.Attribute) and node.attr.startswith("_") and node.attr[:2] != "__":
                used.setdefault(node.attr, set()).add(name)
    foreign = {attribute: where for attribute, where in used.items() if attribute not in own}
    assert foreign == {
        "_filter_tasks_by_tags": {"load.locust_glue.internals"},
        "_handlers": {"load.locust_glue.internals"},
    }
