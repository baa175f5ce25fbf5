"""`bench scenario`: run a scenario of this package with Locust."""

import os
import sys

import click

from bench import packaged
from bench.cli.terminal import console

LOCUSTFILE = ("-f", "--locustfile")


def _names(_context: click.Context, _argument: click.Parameter, begun: str) -> list[str]:
    return [name for name in packaged.scenarios() if name.startswith(begun)]


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("name", required=False, shell_complete=_names)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def scenario(name: str | None, options: tuple[str, ...]) -> None:
    """Run scenario NAME of this package, or your own file, with Locust; OPTIONS are those of Locust.

    The same as `locust -f scenarios/NAME.py OPTIONS` in a checkout; exit codes are those of Locust. Without NAME: list
    the scenarios of this package.

    \b
    bench scenario
    bench scenario mnist --host localhost:8500 --headless -u 16 -r 16 -t 30s
    bench scenario mine.py --host localhost:8500
    """
    if name is None:
        for each, question in packaged.scenarios().items():
            console().print(f"{each:<22}{question}", soft_wrap=True)
        return
    path = packaged.scenario(name)
    if any(option in LOCUSTFILE for option in options):
        raise click.UsageError(f"scenario {name} is the locustfile; name your own file in its place")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "locust", "-f", str(path), *options])  # noqa: S606 - no shell
