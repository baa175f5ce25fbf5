"""`bench status`: show which versions of models a server has, and in which states they are."""

import json
from typing import Any

import click

from bench.cli.asking import asks_a_server, inquiry
from bench.escape import one_line
from bench.protocol.api import VersionState, version_text
from bench.target.inquiry import status as ask


@click.command(context_settings={"max_content_width": 110})
@click.option(
    "--model",
    "models",
    multiple=True,
    default=["mnist"],
    show_default=True,
    help="Name of a model; may be repeated.",
)
@click.option("--version", type=click.IntRange(0), help="This version only.")
@click.option("--json", "as_json", is_flag=True, help="JSON, for programs.")
@asks_a_server
def status(models: tuple[str, ...], as_json: bool, **server: Any) -> None:
    """Show the versions of models that a server knows, newest first, and their states.

    Only the models named by --model are shown: TensorFlow Serving has no call that lists them.
    """
    states = {}
    for model in models:
        with inquiry(model=model, **server) as connection:
            states[model] = ask(connection)
            address = connection.host
    if as_json:
        click.echo(
            json.dumps(
                {"host": address, "models": {m: [vars(s) for s in states[m]] for m in states}}, indent=2
            )
        )
        return
    for model, versions in states.items():
        for state in versions:
            click.echo(one_line(f"{model} {version_text(state.version)}: {_state(state)}"))


def _state(state: VersionState) -> str:
    if state.code == "OK":
        return state.state
    return f"{state.state} ({state.code}: {' '.join(state.message.split())})"
