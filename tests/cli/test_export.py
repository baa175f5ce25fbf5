"""`bench export` as a user runs it."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.forks import ROOT
from tests.unlimited import LIMIT, unlimited

COMMAND = [sys.executable, "-m", "bench", "export"]


def export(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*COMMAND, *map(str, arguments)], check=False, capture_output=True, text=True)


SEVERAL = """
import hashlib, json, sys
from pathlib import Path
from tests.cli.inside import bench

root = Path(sys.argv[1])
for arguments in json.loads(sys.argv[2]):
    done = bench("export", root, *arguments, cwd=root)
    files = {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*") if path.is_file()
    }
    print(json.dumps([done.returncode, done.stdout, done.stderr, files]))
"""
"""Exports in one process, for TensorFlow's start is most of each: code, output, errors and all files after each."""


class Exported(NamedTuple):
    """What an export has ended with, and the SHA-256 of each file that was there then."""

    returncode: int
    stdout: str
    stderr: str
    files: dict[str, str]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exported]:
    """A model, the same again, the same with --force, and a reduced Keras application."""
    root = tmp_path_factory.mktemp("exported")
    model = ["--model", "m", "--version", "4"]
    calls = {
        "first": [*model, "--steps", "2"],
        "again": [*model, "--steps", "1"],
        "forced": [*model, "--arch", "null", "--force"],
        "keras": ["--keras", "vgg16", "--version", "1", "--image-size", "32", "--width", "0.05"],
    }
    command = [sys.executable, "-W", "error", "-c", SEVERAL, str(root), json.dumps(list(calls.values()))]
    with unlimited():
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LIMIT)
    assert (done.returncode, done.stderr) == (0, "")
    ended = [
        Exported(code, *(text.replace(str(root), "ROOT") for text in texts), files)
        for code, *texts, files in map(json.loads, done.stdout.splitlines())
    ]
    return dict(zip(calls, ended, strict=True))


def test_what_is_exported_is_said_with_its_accuracy_and_nothing_else(exported: dict[str, Exported]) -> None:
    done = exported["first"]
    assert done.returncode == 0
    assert re.fullmatch(
        r"m version 4: accuracy 0\.\d{3} on 1,000 test digits \(softmax, 2 steps\) -> ROOT/m/4\n",
        done.stdout,
    )
    assert done.stderr == "exporting m version 4: 2 steps of training\n"
    assert "m/4/saved_model.pb" in done.files


def test_a_version_that_exists_is_kept_unless_it_is_forced(exported: dict[str, Exported]) -> None:
    refused = exported["again"]
    assert refused.returncode == 2
    assert (
        refused.stderr == "bench: ROOT/m/4: version exists; --force replaces it, another --version keeps it\n"
    )
    assert refused.files == exported["first"].files

    forced = exported["forced"]
    assert forced.returncode == 0
    assert "(null)" in forced.stdout
    assert {name.split("/")[1] for name in forced.files} == {"4"}
    assert forced.files["m/4/saved_model.pb"] != refused.files["m/4/saved_model.pb"]


def test_a_pair_that_is_there_is_kept(models: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in models.rglob("*")}
    done = export(models, "--pair")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [f"mnist version {v}: kept, {models}/mnist/{v} exists" for v in (1, 2)]
    assert done.stderr == ""
    assert {path: path.stat().st_mtime_ns for path in models.rglob("*")} == before


def test_an_interrupted_export_leaves_no_folder_behind(tmp_path: Path) -> None:
    """Ctrl-C in the middle of the training, at the first step."""
    command = [sys.executable, "-m", "tests.cli.interrupted_export", str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "mnist").iterdir()) == []


def test_a_reduced_keras_application(exported: dict[str, Exported]) -> None:
    done = exported["keras"]
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"vgg16 version 1: [\d,]+ parameters \(vgg16\) -> ROOT/vgg16/1\n", done.stdout)
    assert done.stderr == "building vgg16\n"
    assert "vgg16/1/saved_model.pb" in done.files


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "give --version N, or --pair"),
        (["--version", "1", "--pair"], "give --version N, or --pair"),
        (["--pair", "--steps", "3"], "--steps has no meaning with --pair"),
        (["--version", "1", "--width", "0.5"], "--width has no meaning without --keras"),
        (["--version", "1", "--keras", "vgg16", "--steps", "3"], "--steps has no meaning with --keras"),
        (
            ["--version", "1", "--keras", "vgg16", "--image-size", "9"],
            "--image-size 9: vgg16 needs at least 32 pixels",
        ),
        (["--version", "1", "--keras", "vgg16", "--width", "2"], "--width 2.0: a factor above 0 and up to 1"),
        (["--version", "1", "--arch", "null", "--steps", "3"], "--steps has no meaning with --arch null"),
        (["--version", "1", "--model", "../x"], "--model '../x': not a folder name"),
        (["--version", "1", "--mnist", "/nowhere"], "/nowhere: no such folder"),
        (["--version", "1", "--warmup", "2000"], "--warmup 2000"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_written(
    tmp_path: Path, arguments: list[str], text: str
) -> None:
    done = export(tmp_path / "models", *arguments)
    assert done.returncode == 2
    assert text in done.stderr.splitlines()[-1]
    assert not (tmp_path / "models").exists()
