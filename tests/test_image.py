"""The images hold what they should and nothing else: what a linter sees without a container daemon.

What an image does is shown by its own steps in a bare root file system: `python -m tests.benchmarks.image_steps`.
"""

import fnmatch
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import bench
from bench.extras import EXTRAS
from tests.dockerfile import Instruction, last, lineage, stages

ROOT = Path(__file__).parents[1]
STAGES = stages(ROOT / "Dockerfile")
TARGETS = ("client", "locust", "server")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def every(name: str) -> list[Instruction]:
    return [each for stage in STAGES.values() for each in stage.instructions if each.name == name]


def sources() -> list[str]:
    """What is copied from the checkout."""
    copied = [each.words for each in every("COPY") if not each.text.startswith("--from=")]
    return [name for words in copied for name in words[:-1]]


def test_the_default_is_the_client_and_every_stage_has_a_purpose() -> None:
    assert list(STAGES)[-1] == "client"
    used = {stage.base for stage in STAGES.values()} | set(TARGETS)
    used |= {each.words[0].removeprefix("--from=") for each in every("COPY")}
    assert set(STAGES) <= used


def test_bases_are_slim_images_of_a_python_that_the_package_takes() -> None:
    (image,) = {stage.base for stage in STAGES.values()} - set(STAGES)
    found = re.fullmatch(r"python:(\d+)\.(\d+)-slim-bookworm", image)
    assert found is not None, image
    least = tuple(map(int, PROJECT["requires-python"].removeprefix(">=").split(".")))
    assert (int(found[1]), int(found[2])) >= least
    assert f"Programming Language :: Python :: {found[1]}.{found[2]}" in PROJECT["classifiers"]


def test_what_is_copied_exists_and_is_in_the_context() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines, "everything else would be sent to the daemon, the virtual environment too"
    given = {line[1:] for line in lines if line.startswith("!")}
    assert set(sources()) == given
    assert all((ROOT / name).exists() for name in given)
    tracked = subprocess.run(
        ["git", "ls-files", *given], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not [name for name in tracked.stdout.split() if fnmatch.fnmatch(name, "*__pycache__*")]
    for each in every("COPY"):
        if each.text.startswith("--from="):
            stage, path = each.words[0].removeprefix("--from="), each.words[1]
            made = [
                run.text for one in lineage(STAGES, stage) for run in one.instructions if run.name == "RUN"
            ]
            assert any(path in text for text in made), f"{stage} does not make {path}"


def test_nothing_is_fetched_from_an_address() -> None:
    assert not every("ADD")
    assert not [each for each in every("RUN") if re.search(r"curl|wget|https?://", each.text)]


@pytest.mark.parametrize("name", TARGETS)
def test_an_image_runs_as_somebody_and_its_entry_point_is_installed(name: str) -> None:
    user, entry, volume = (last(STAGES, name, each) for each in ("USER", "ENTRYPOINT", "VOLUME"))
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user.text), (
        "a number, so that Kubernetes sees that it is not root"
    )
    assert entry.words[0] in {*PROJECT["scripts"], "locust"}
    made = [each for stage in lineage(STAGES, name) for each in stage.instructions]
    assert not [each for each in made[made.index(user) :] if each.name in ("RUN", "COPY")], (
        "as root, or for root"
    )
    assert any(f"chown {user.text} {volume.words[0]}" in each.text for each in made)
    assert last(STAGES, name, "HEALTHCHECK")
    labels = last(STAGES, name, "LABEL").text
    assert {"title", "description", "version", "revision"} <= set(re.findall(r"image\.(\w+)=", labels))


def _extras(line: str) -> list[str]:
    found = re.search(r"'\.\[([\w,]+)\]'", line)
    return found[1].split(",") if found else []


def test_the_client_has_what_options_of_a_load_need() -> None:
    """A pod cannot install what `--otlp`, `--prometheus` and `--server-telemetry` ask for."""
    (line,) = [each.text for each in STAGES["build-client"].instructions if "pip install" in each.text]
    needed = re.findall(r'extras\.need\("([\w.]+)", f?"--', _sources("bench/load"))
    assert {EXTRAS[package][1] for package in needed} == {"otel", "prometheus"}
    assert {EXTRAS[package][1] for package in needed} <= set(_extras(line))


def _sources(folder: str) -> str:
    return "".join(path.read_text() for path in sorted((ROOT / folder).rglob("*.py")))


def test_only_the_server_has_tensorflow() -> None:
    installs = {
        name: [
            each.text
            for stage in lineage(STAGES, name)
            for each in stage.instructions
            if "pip install" in each.text
        ]
        for name in ("build-client", "build-server")
    }
    extras = {name for line in installs["build-client"] for name in _extras(line)}
    assert not [
        each for name in extras for each in PROJECT["optional-dependencies"][name] if "tensorflow" in each
    ]
    assert any("'.[server]'" in line for line in installs["build-server"])
    assert last(STAGES, "client", "COPY").words[0] == "--from=build-client"
    environment = " ".join(each.text for each in STAGES["base"].instructions)
    assert "PYTHONDONTWRITEBYTECODE=1" in environment, "the root is read-only"


def test_make_image_builds_all() -> None:
    done = subprocess.run(["make", "-n", "image"], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = [line for line in done.stdout.splitlines() if "--target" in line]  # make in make says where it is
    assert [re.findall(r"--target (\w+)", line) for line in lines] == [["client"], ["locust"], ["server"]]
    assert all(f"VERSION={bench.__version__}" in line for line in lines)
