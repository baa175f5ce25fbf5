"""The command's frame: help, exit codes, one line for what the user can fix."""

import subprocess
import sys


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
    assert "Verbs" in done.stdout + done.stderr


def test_what_the_user_can_fix_is_one_line(tmp_path: object) -> None:
    done = bench("report", f"{tmp_path}/nowhere")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "nowhere" in done.stderr
