"""The reference says what the code accepts."""

import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

from bench.config.experiment import Experiment, Load, Model
from bench.config.reading import Table
from bench.config.servers import Batching, Server, Started, Tls
from bench.config.tune import Space, Tune
from bench.experiment.study import read_experiment
from bench.launch.kinds import KINDS
from bench.launch.servers_file import read_servers
from tests import reference

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "configuration.md"


WRITTEN = sorted((PAGE.parent / "reference").rglob("*.*"))


@pytest.fixture(autouse=True)
def _eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Examples name CPUs that a machine may lack, or not let this process use."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


@pytest.fixture(scope="module")
def generated() -> dict[Path, str]:
    return reference.generated()


@pytest.mark.parametrize("path", [PAGE, *WRITTEN], ids=lambda path: path.name)
def test_the_pages_are_up_to_date(path: Path, generated: dict[Path, str]) -> None:
    """Every option, key, metric, warning and outcome of the code stands in the reference."""
    assert path.read_text() == generated[path], "run: python -m tests.reference"


def test_pages_of_the_reference_are_whole(generated: dict[Path, str]) -> None:
    texts = {path.name: text for path, text in generated.items()}
    assert texts.keys() == {path.name for path in (PAGE, *WRITTEN)}
    for name, parts in {
        "options.md": (
            "`--schedule SCHEDULE`",
            "`--metadata KEY=VARIABLE,...` *",
            "## bench baseline add",
            "`--limits FILE`",
        ),
        "metrics.md": ("`p999`", "`requests_per_second`", "`goodput`"),
        "warnings.md": ("`client saturated`", "`not reconciled`"),
        "limits.md": ("`accept`", "`failed_trials`", "`request`"),
        "exit-codes.md": ("| 70 |", "`UNSENT`", "`RESOURCE_EXHAUSTED`"),
    }.items():
        assert not [part for part in parts if part not in texts[name]]


@pytest.mark.parametrize("name", reference.TABLES)
def test_every_example_is_accepted(name: str) -> None:
    table, _ = reference.TABLES[name]
    needed = {each: field for each, field in table.model_fields.items() if field.is_required()}
    for each, field in table.model_fields.items():
        assert isinstance(field.json_schema_extra, dict)
        text = "\n".join(
            f"{key} = {one.json_schema_extra['example']}"
            for key, one in {**needed, each: field}.items()
            if isinstance(one.json_schema_extra, dict)
        )
        found = getattr(table.model_validate(tomllib.loads(text)), each)
        assert found not in (None, [], {}, "")


def test_every_key_of_every_kind_stands_on_the_page() -> None:
    text = PAGE.read_text()
    for table, _ in reference.TABLES.values():
        for name in table.model_fields:
            assert f"| `{name}` |" in text


def test_every_table_that_a_file_may_hold_stands_on_the_page() -> None:
    pending: list[Any] = [Experiment, Tune, *(kind.table for kind in KINDS.values())]
    found: set[type[Table]] = set()
    while pending:
        kind = pending.pop()
        pending += getattr(kind, "__args__", ())
        if isinstance(kind, type) and issubclass(kind, Table) and kind not in found:
            found.add(kind)
            pending += [field.annotation for field in kind.model_fields.values()]
    assert {Batching, Tls, Model, Load, Space} < found
    assert found == {table for table, _ in reference.TABLES.values()} - {Server, Started}


def test_the_files_on_the_page_and_in_the_examples_are_accepted(tmp_path: Path) -> None:
    blocks = [part.split("```")[0] for part in PAGE.read_text().split("```toml\n")[1:]]
    servers, experiment = blocks
    (tmp_path / "servers.toml").write_text(servers)
    names = list(read_servers(tmp_path / "servers.toml"))
    assert names == ["plain", "batched", "gpu", "production"]
    (tmp_path / "experiment.toml").write_text(experiment.replace("../mnist.py", "mnist.py"))
    (tmp_path / "mnist.py").touch()
    assert read_experiment(tmp_path / "experiment.toml").experiment.trials == 5


@pytest.mark.parametrize(
    "path", sorted((ROOT / "scenarios" / "experiments").glob("*.toml")), ids=lambda p: p.stem
)
def test_the_examples_are_accepted(path: Path) -> None:
    if path.name == "servers.toml":
        assert {server.spec.kind for server in read_servers(path).values()} == {
            "embedded",
            "binary",
            "docker",
        }
    else:
        assert read_experiment(path).servers
