"""Numbers on a command line: none that means something else, or nothing, is taken."""

import importlib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from bench.cli import VERBS
from bench.cli.numbers import Number, Share
from bench.runs.chunk import Chunk
from tests.cli.checkouts import MANIFEST
from tests.cli.inside import bench
from tests.recorded import requests, write


def commands() -> Iterator[tuple[str, click.Command]]:
    for verb, (module, _) in VERBS.items():
        command: click.Command = getattr(importlib.import_module(module), verb)
        yield verb, command
        for name, each in command.commands.items() if isinstance(command, click.Group) else ():
            yield f"{verb} {name}", each


OPTIONS = {
    f"{verb} {option.opts[0]}": option
    for verb, command in commands()
    for option in command.params
    if verb != "serve"  # flags of the server, which is started without this command line, too: it checks them
    and isinstance(option.type, click.FloatRange | click.types.FloatParamType | Share)
}


def test_options_that_are_numbers_are_found() -> None:
    assert {"compare --tolerance", "ab --tolerance", "history --least", "gate --budget"} <= OPTIONS.keys()


@pytest.mark.parametrize("text", ["inf", "nan", "1e400", "-1", "-0.5", "five", ""])
@pytest.mark.parametrize("name", OPTIONS)
def test_no_option_takes_what_is_no_number_of_its_range(name: str, text: str) -> None:
    option = OPTIONS[name]
    with pytest.raises(click.BadParameter):
        option.type.convert(text, option, click.Context(click.Command(name)))


@pytest.mark.parametrize(
    ("text", "share"), [("5%", 0.05), ("5 %", 0.05), ("0.05", 0.05), ("0", 0.0), ("200%", 2.0)]
)
def test_shares(text: str, share: float) -> None:
    assert Share().convert(text, None, None) == pytest.approx(share)


def test_a_number_that_has_its_range_is_taken() -> None:
    assert Number(1).convert("90.5", None, None) == 90.5


@pytest.mark.parametrize("tolerance", ["5", "1", "inf", "nan"])
def test_a_tolerance_without_its_unit_hides_no_change(tolerance: str, tmp_path: Path) -> None:
    """`--tolerance 5`, meant as 5 %, called a server that takes twice as long the same, with code 0."""
    for side, service in (("base", 0.002), ("new", 0.004)):
        for number in range(2):
            chunks = [
                Chunk.of(
                    **requests(second, count=200, rate=200, start=float(second), service=service),
                    keep_samples=False,
                )
                for second in range(3)
            ]
            write(tmp_path / side, chunks, note=f"t{number}", **MANIFEST)
    check = ("compare", "base", "new", "--metric", "p50", "--check", "--tolerance")
    done = bench(*check, tolerance, cwd=tmp_path)
    assert done.returncode == 2, done.stdout
    assert "expected a share" in done.stderr or "ambiguous" in done.stderr
    assert bench(*check, "5%", cwd=tmp_path).returncode in (1, 3)
