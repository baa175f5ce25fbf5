"""The tutorial is followed literally: its files are written, its commands run in order, and it shows what they print."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.launch import server_process
from tests.cli.inside import bench
from tests.test_docs import ROOT, Command, commands

PAGE = ROOT / "docs" / "tutorial.md"
SHORTER = {"-t 10s": "-t 8s"}
"""What is done for less long than the page does it."""
UNDECIDED, MOST = 3, 3
"""The exit code of a gate that decides nothing, and how often a load is made anew for it."""


@contextmanager
def serving(command: Command, cwd: Path) -> Iterator[str]:
    """The server of the page, on a free port."""
    flags = shlex.split(command.text.replace("--port 8500", "--port 0"))[2:]
    config = cwd / flags.pop()
    with server_process.embedded([*flags, str(config)]) as server:
        yield server.address


def plain(text: str) -> str:
    """With numbers and their units, rules and runs of blanks made alike."""
    return re.sub(r"\d[\d.,]*( [µm]s\b)?", "N", re.sub(r"[\s─]+", " ", text)).strip()


def run(command: Command, cwd: Path, address: str) -> str:
    return shown(command, ended(command, cwd, address))


def ended(command: Command, cwd: Path, address: str) -> subprocess.CompletedProcess[str]:
    text = command.text.replace("localhost:8500", address)
    for long, short in SHORTER.items():
        text = text.replace(long, short)
    program, *arguments = shlex.split(text)
    if program == "bench" and arguments[0] != "scenario":  # Locust patches the process that it runs in
        return bench(*arguments, cwd=cwd)
    module = ["-m", "bench"] if program == "bench" else ["-m", Path(arguments.pop(0)).stem]
    return subprocess.run(
        [sys.executable, *module, *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


def shown(command: Command, done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == command.code, f"{command.text}\n{done.stdout}{done.stderr}"
    return re.sub(r"^\[.*?INFO/bench: ", "", done.stdout + done.stderr, flags=re.MULTILINE)


def test_the_tutorial_leads_where_it_promises(tmp_path: Path) -> None:
    page = PAGE.read_text()
    for name, content in re.findall(r'^```\w+ title="(.+?)"\n(.*?)^```', page, re.MULTILINE | re.DOTALL):
        (tmp_path / name).write_text(content)
    first, *rest = [
        command for command in commands(PAGE) if command.not_run is None and command.program != "pip"
    ]
    run(first, tmp_path, "")
    serve, *rest = rest
    with serving(serve, tmp_path) as address:
        for number, command in enumerate(rest):
            measured_again = 0
            while (done := ended(command, tmp_path, address)).returncode == UNDECIDED != command.code:
                # a machine that leaves a load hardly any time decides nothing: the load before it is made anew
                assert measured_again < MOST, done.stdout
                measured_again += 1
                shutil.rmtree(tmp_path / "results")
                (load,) = [one for one in rest[:number] if " -t " in one.text]
                run(load, tmp_path, address)
            printed = plain(shown(command, done))
            for line in command.output.splitlines():
                assert line.strip() == "..." or plain(line) in printed, f"{command.text}: {line}\n{printed}"
    assert len(rest) == 7
