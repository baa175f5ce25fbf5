"""The kind `python`: a server that pip installs, in a venv of its own.

The venv is made where it is missing, and its packages are installed anew where the servers file names others: a file in
it says which it has. So neither its packages nor its Python have to fit this package's.
"""

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from bench.config.reading import key
from bench.config.servers import Declared
from bench.launch.kind import Kind
from bench.launch.known import check, known
from bench.launch.process import Process, known_process
from bench.launch.running import Running, Served
from bench.protocol.names import OIP, OIP_TYPED
from bench.supervision import tail

_INSTALLED: Final = "serving-bench.json"
"""In the venv: what was installed there."""


class Python(Process):
    """A server of Python packages."""

    launch_seconds = 8.0

    kind: Literal["python"] = key(..., "python", "A server in its own venv.", '"python"')
    server: Literal["mlserver", "kserve", "pytriton", "own"] = key(
        ...,
        "mlserver, kserve, pytriton or own",
        "Which server it is; own: any program that takes --grpc_port and --http_port.",
        '"mlserver"',
    )
    packages: list[str] = key(
        ...,
        "a list of requirements, as pip takes them",
        "What is installed.",
        '["mlserver==1.7.1"]',
        min_length=1,
    )
    repository: str | None = key(
        None,
        "a path",
        "MLServer: the folder of its models; else the Python file that starts the server.",
        '"models"',
    )
    python: str | None = key(
        None,
        "a command on PATH or the path of an interpreter",
        "Of which the venv is made; default: the one that runs this.",
        '"python3.11"',
    )
    venv: str | None = key(
        None,
        "a path",
        "Where the venv is, or is made; default: .venvs/NAME beside this file.",
        '"/tmp/mlserver"',
    )

    @property
    def takes_models(self) -> bool:
        """It has a repository of its own."""
        return False


def _venv(server: Declared) -> Path:
    spec = server.spec
    assert isinstance(spec, Python)  # noqa: S101 - for the type checker
    return (server.file.parent / (spec.venv or f".venvs/{server.name}")).resolve()


@contextlib.contextmanager
def python(
    server: Declared, models: Sequence[Served], folder: Path, keep_open: Sequence[int] = ()
) -> Iterator[Running]:
    """Run it for the length of the block, after its packages are installed. Raises BenchError where it cannot be started."""
    spec, other = server.spec, known(server)
    assert isinstance(spec, Python)  # noqa: S101 - for the type checker
    assert other is not None  # noqa: S101 - the same
    programs = installed(server, folder / "pip.log") / "bin"
    interpreter = programs / "python"
    program = interpreter if other.program == "{python}" else programs / other.program
    with known_process(
        server,
        other,
        str(program),
        models,
        folder=folder,
        keep_open=keep_open,
        repository=spec.repository,
        libraries=_libraries(interpreter),
    ) as running:
        yield replace(running, facts={**running.facts, "packages": spec.packages})


def installed(server: Declared, log: Path) -> Path:
    """The venv with its packages, made where it is missing. Raises BenchError with the last words of pip."""
    spec = server.spec
    assert isinstance(spec, Python)  # noqa: S101 - for the type checker
    venv = _venv(server)
    with contextlib.suppress(OSError, ValueError):
        if json.loads((venv / _INSTALLED).read_text()) == spec.packages:
            return venv
    log.parent.mkdir(parents=True, exist_ok=True)
    if not (venv / "bin" / "python").exists():
        interpreter = spec.python or sys.executable
        _run([interpreter, "-m", "venv", str(venv)], server, log, "python", interpreter)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install"]
    _run([*pip, *spec.packages], server, log, "packages", spec.packages)
    (venv / _INSTALLED).write_text(json.dumps(spec.packages))
    return venv


def _libraries(interpreter: Path) -> str:
    """The folder of an interpreter's own library, where it has one."""
    question = "import sysconfig; print(sysconfig.get_config_var('LIBDIR') or '')"
    return subprocess.run(
        [interpreter, "-c", question], capture_output=True, text=True, check=False
    ).stdout.strip()


def _run(command: list[str], server: Declared, log: Path, name: str, value: object) -> None:
    with log.open("ab") as output:
        try:
            code = subprocess.run(
                command, stdout=output, stderr=output, check=False, cwd=server.file.parent
            ).returncode
        except OSError as error:
            raise server.refusal(name, value, f"cannot be run: {error.strerror}") from None
    if code:
        raise server.refusal(name, value, f"{command[2]} failed: {tail(log, 2)}")


def _lacking(server: Declared) -> str | None:
    spec = server.spec
    assert isinstance(spec, Python)  # noqa: S101 - for the type checker
    interpreter = spec.python or sys.executable
    present = (_venv(server) / "bin" / "python").exists() or shutil.which(interpreter)
    return None if present else f"no Python {interpreter}"


KIND: Final = Kind(Python, python, (OIP, OIP_TYPED), check, _lacking)
