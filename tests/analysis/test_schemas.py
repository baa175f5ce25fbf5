"""What programs read holds to the schemas in docs/reference/schemas: outputs of `--json`, files, manifests."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from bench.runs.chunk import Chunk
from tests.analysis.test_golden import make
from tests.cli import inside
from tests.recorded import requests, write

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT / "docs" / "reference" / "schemas"


def check(name: str, value: Any) -> None:
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    problems = [
        f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(value)
    ]
    assert not problems, problems[:5]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make(tmp_path_factory.mktemp("results") / "runs")
    interrupted = requests(3, count=2000, rate=500, errors=0.05, cancelled=0.02, names=("Predict", "Other"))
    write(root, [Chunk.of(**interrupted)], note="odd", started="2026-03-01T15:00:00+00:00")
    return root


def test_report(results: Path) -> None:
    printed = json.loads(inside.bench("report", results, "--json", "--goodput-ms", "5", cwd=results).stdout)
    assert printed["runs"]
    assert printed["cells"]
    assert printed["unreadable"]
    check("report", printed)
    with pytest.raises(AssertionError, match=r"\$\.runs"):
        check("report", printed | {"runs": [{}]})
    with pytest.raises(AssertionError, match="more"):
        check("report", printed | {"more": 1})


def test_compare(results: Path) -> None:
    sides = [[path for path in results.iterdir() if path.name.endswith(name)] for name in ("onednn", "plain")]
    done = inside.bench("compare", *sides[0], *sides[1], "--by", "server", "--json", cwd=results)
    printed = json.loads(done.stdout)
    assert printed["comparisons"]
    check("compare", printed)


def test_gate(results: Path, tmp_path: Path) -> None:
    limits = tmp_path / "limits.toml"
    limits.write_text("[limits]\np99_ms = 3\nerror_share = 0.001\n")
    done = inside.bench("gate", results, "--limits", limits, "--json", tmp_path / "gate.json", cwd=results)
    assert done.returncode in (1, 3)
    check("gate", json.loads((tmp_path / "gate.json").read_text()))


def test_manifests(results: Path) -> None:
    written = [path for path in results.rglob("manifest.json") if path.parent.name != "broken"]
    assert len(written) > 5
    for path in written:
        check("manifest", json.loads(path.read_text()))


def test_files_that_users_write() -> None:
    experiments = sorted((ROOT / "scenarios" / "experiments").glob("*.toml"))
    assert len(experiments) > 3
    for path in experiments:
        check("servers" if path.name == "servers.toml" else "experiment", tomllib.loads(path.read_text()))
    check("tune-file", tomllib.loads((ROOT / "bench" / "starting" / "tune.toml").read_text()))
    limits = sorted((ROOT / "scenarios").glob("*.toml"))
    assert len(limits) > 5
    for path in limits:
        check("limits", tomllib.loads(path.read_text()))
    for name, wrong in {
        "limits": {"limit": {}},
        "experiment": {"scenario": "x.py", "servers": [], "loads": [{"users": 1}]},
        "tune-file": {"scenario": "x.py", "servers": ["a"], "loads": [{"users": 1}], "space": {"intra": [1]}},
        "servers": {"servers": {"a": {"kind": "binary", "prot": 1}}},
    }.items():
        with pytest.raises(AssertionError):
            check(name, wrong)
