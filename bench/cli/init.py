"""`bench init`: a starting set of files for experiments of one's own."""

import json
import shlex
from pathlib import Path

import click

from bench import BenchError, packaged


@click.command()
@click.argument("folder", metavar="[DIR]", type=click.Path(path_type=Path, file_okay=False), default=Path())
def init(folder: Path) -> None:
    """Write a scenario, servers, an experiment, limits and a CI script into DIR (default: this folder).

    They run unchanged, against simulated servers; comments show where to name your own. Editors complete the keys by the
    schemas in DIR/schemas. Nothing is overwritten.

    \b
    bench init load-tests && cd load-tests
    bench run experiment.toml
    sh gate.sh
    """
    from bench.cli.schemas import file_schemas

    files = {folder / path.name: path.read_text() for path in packaged.starting_set()} | {
        folder / "schemas" / f"{name}.schema.json": json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
        for name, schema in file_schemas().items()
    }
    existing = [path for path in files if path.exists()]
    if existing:
        raise BenchError(
            f"{existing[0]}: exists; nothing was written: name another folder, or remove the file"
        )
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x") as file:
                file.write(text)
            click.echo(f"written: {path}", err=True)
    except OSError as error:
        raise BenchError(f"{error.filename}: {error.strerror}; name a folder that can be written") from None
    where = "" if folder == Path() else f"cd {shlex.quote(str(folder))} && "
    click.echo(f"run it with: {where}bench run experiment.toml", err=True)
