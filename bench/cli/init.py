"""`bench init`: a starting set of files for experiments of one's own."""

import shlex
from pathlib import Path

import click

from bench import BenchError, packaged


@click.command()
@click.argument("folder", metavar="[DIR]", type=click.Path(path_type=Path, file_okay=False), default=Path())
def init(folder: Path) -> None:
    """Write a scenario, servers, an experiment, limits and a CI script into DIR (default: this folder).

    They run unchanged, against simulated servers; comments show where to name your own. Nothing is overwritten.

    \b
    bench init load-tests && cd load-tests
    bench run experiment.toml
    sh gate.sh
    """
    existing = [path for path in packaged.starting_set() if (folder / path.name).exists()]
    if existing:
        raise BenchError(
            f"{folder / existing[0].name}: exists; nothing was written: name another folder, or remove the file"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in packaged.starting_set():
            with (folder / path.name).open("x") as file:
                file.write(path.read_text())
            click.echo(f"written: {folder / path.name}", err=True)
    except OSError as error:
        raise BenchError(f"{error.filename}: {error.strerror}; name a folder that can be written") from None
    where = "" if folder == Path() else f"cd {shlex.quote(str(folder))} && "
    click.echo(f"run it with: {where}bench run experiment.toml", err=True)
