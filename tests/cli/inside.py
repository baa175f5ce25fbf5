"""`bench` in this process: as it is typed, without half a second of imports each time."""

import contextlib
import io
import os
import subprocess
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
