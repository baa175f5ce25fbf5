"""The command's frame: help, exit codes, one line for what the user can fix."""

import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from tests.cli.inside import bench as inside


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def test_help_lists_every_verb_without_importing_them() -> None:
    code = (
        "import sys, contextlib, io\n"
        "from bench.cli import VERBS, main\n"
        "with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit): main(['--help'])\n"
        "print(all(verb in out.getvalue() for verb in VERBS), *(m in sys.modules for m in ('numpy', 'pandas', 'grpc')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False", "False", "False"]


def test_unknown_verb_is_bad_usage() -> None:
    done = bench("fly")
    assert done.returncode == 2
    assert "fly" in done.stderr


def test_no_argument_teaches() -> None:
    done = bench()
    assert "Results and releases" in done.stdout + done.stderr


def test_what_the_user_can_fix_is_one_line(tmp_path: object) -> None:
    done = bench("report", f"{tmp_path}/nowhere")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "nowhere" in done.stderr


@pytest.mark.parametrize(
    ("module", "name", "error", "arguments"),
    [
        ("bench.cli.report", "find_runs", KeyError("cpu_seconds"), ["report", "."]),
        ("bench.cli.gate", "find_runs", AssertionError(), ["gate", "."]),
        ("bench.cli.compare", "find_apart", ImportError("numpy"), ["compare", ".", "."]),
        ("bench.cli.baseline", "find_runs", OSError(28, "disk"), ["baseline", "set", "."]),
        ("bench.cli.history", "find_apart", MemoryError(), ["history", "."]),
        ("bench.cli.verbs", "importlib.import_module", RecursionError(), ["status"]),
        ("bench.cli.output", "lasting_streams", ValueError(), ["report"]),
    ],
)
def test_a_crash_has_a_code_of_its_own(
    module: str, name: str, error: Exception, arguments: list[str], tmp_path: Path
) -> None:
    with mock.patch(f"{module}.{name}", side_effect=error):
        done = inside(*arguments, cwd=tmp_path)
    assert done.returncode == 70, done.stderr
    assert type(error).__name__ in done.stderr


def test_what_cannot_even_be_imported_is_a_crash() -> None:
    code = "import sys; sys.modules['click'] = None; from bench.cli import main; main(['gate', '.'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 70


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("arguments", "code"), [(["--help"], 0), (["report", "nowhere"], 2), (["status", "--bad"], 2)]
)
def test_a_closed_pipe_changes_no_exit_code(arguments: list[str], code: int, unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        stdout=writing,
        stderr=writing,
        check=False,
        timeout=60,
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
    )
    os.close(writing)
    assert done.returncode == code


def test_streams_that_are_closed_or_full() -> None:
    def code(redirections: str) -> int:
        command = f'"$0" -m bench --help {redirections}'
        return subprocess.run(["sh", "-c", command, sys.executable], check=False, timeout=60).returncode

    assert code(">&- 2>&-") == 0
    if Path("/dev/full").exists():
        assert code(">/dev/full 2>&-") == 2  # what was asked for was not written
