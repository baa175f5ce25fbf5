"""`bench` as it is typed: in this process, without half a second of imports each time, or in one of its own."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

from bench.cli import main


def bench(*arguments: str | Path, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """What a process of its own would have printed and ended with."""
    out, err = io.StringIO(), io.StringIO()
    typed = list(map(str, arguments))
    with (
        contextlib.chdir(cwd),
        mock.patch.dict(os.environ, {"COLUMNS": "100", **environment}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code: object = 0
        try:
            main(typed)
        except SystemExit as end:
            code = end.code
    return subprocess.CompletedProcess(
        typed, code if isinstance(code, int) else 1, out.getvalue(), err.getvalue()
    )


def process(*arguments: str | Path, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """What a process of its own prints and ends with."""
    return subprocess.run(
        [sys.executable, "-m", "bench", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        cwd=cwd,
        env=os.environ | {"COLUMNS": "100"},
    )
