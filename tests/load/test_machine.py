"""bench.load.observing.machine: what the manifest says of this machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.load.observing import machine


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=tester", "-c", "user.email=tester@localhost", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet", "--initial-branch=trunk")
    (tmp_path / "a.txt").write_text("one\n")
    git(tmp_path, "add", "a.txt")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    return tmp_path


def test_facts_are_json_and_describe_this_process() -> None:
    facts = machine.facts()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["kernel"] == os.uname().release
    assert facts["usable_cores"] == len(os.sched_getaffinity(0))
    assert facts["memory"] == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert facts["packages"]["gevent"]
    assert set(facts["packages"]) == set(machine.PACKAGES)


def test_fingerprint_is_stable_and_speaks_of_the_hardware_only() -> None:
    facts = machine.facts()
    assert facts["fingerprint"] == machine.facts()["fingerprint"]
    assert machine.fingerprint({**facts, "kernel": "other", "packages": {}}) == facts["fingerprint"]
    others = {
        machine.fingerprint({**facts, name: "another"})
        for name in ("cpu_model", "cores", "usable_cores", "cpu_quota", "memory_gib", "governor")
    }
    assert len(others) == 6
    assert facts["fingerprint"] not in others


def test_usable_cores_follow_the_affinity_and_change_the_fingerprint() -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core only: there is nothing to leave out")
    code = (
        "import os; from bench.load.observing import machine; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "facts = machine.facts(); print(facts['usable_cores'], facts['fingerprint'])"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    cores, fingerprint = said.split()
    assert cores == "1"
    assert fingerprint != machine.facts()["fingerprint"]


def test_git_facts_of_a_clean_and_a_changed_checkout(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    assert machine.git_facts(checkout) == {"commit": commit, "branch": "trunk", "dirty": False}
    (checkout / "untracked.txt").write_text("a result\n")
    assert machine.git_facts(checkout) == {"commit": commit, "branch": "trunk", "dirty": False}
    (checkout / "a.txt").write_text("two\n")
    assert machine.git_facts(checkout) == {"commit": commit, "branch": "trunk", "dirty": True}


def test_git_facts_of_a_detached_head_and_of_a_folder_inside(checkout: Path) -> None:
    git(checkout, "checkout", "--quiet", "--detach")
    (checkout / "inner").mkdir()
    found = machine.git_facts(checkout / "inner")
    assert found == {"commit": git(checkout, "rev-parse", "HEAD"), "branch": None, "dirty": False}


def test_git_facts_before_the_first_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--initial-branch=trunk")
    assert machine.git_facts(tmp_path) == {"commit": None, "branch": "trunk", "dirty": False}


def test_no_git_facts_outside_of_a_checkout_or_without_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert machine.git_facts(tmp_path) is None
    assert machine.git_facts(tmp_path / "missing") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.git_facts(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "cores"), [("max 100000", None), ("150000 100000", 1.5), ("20000 100000", 0.2), ("", None)]
)
def test_cgroup_v2_quota(tmp_path: Path, text: str, cores: float | None) -> None:
    (tmp_path / "cpu.max").write_text(text + "\n")
    assert machine._quota_v2(tmp_path) == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", None), ("50000", 0.5)])
def test_cgroup_v1_quota(tmp_path: Path, quota: str, cores: float | None) -> None:
    (tmp_path / "cpu.cfs_quota_us").write_text(quota + "\n")
    (tmp_path / "cpu.cfs_period_us").write_text("100000\n")
    assert machine._quota_v1(tmp_path) == cores
    assert machine._quota_v1(tmp_path / "missing") is None
