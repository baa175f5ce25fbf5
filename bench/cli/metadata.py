"""`bench metadata`: show what a model can be asked, as its server tells it."""

import dataclasses
import json
from typing import Any

import click

from bench.cli.asking import asks_a_server, inquiry, picks_a_version
from bench.escape import one_line
from bench.protocol.api import version_text
from bench.target.inquiry import describe


@click.command(context_settings={"max_content_width": 110})
@click.option("--model", default="mnist", show_default=True, help="Name of the model.")
@picks_a_version
@click.option("--json", "as_json", is_flag=True, help="JSON, for programs; also internal signatures.")
@asks_a_server
def metadata(model: str, as_json: bool, **server: Any) -> None:
    """Show a model's signatures: their inputs and outputs with dtypes and shapes (-1: any length)."""
    with inquiry(model=model, **server) as connection:
        description = describe(connection)
    if as_json:
        click.echo(
            json.dumps({"host": connection.host, "model": model, **dataclasses.asdict(description)}, indent=2)
        )
        return
    click.echo(one_line(f"{model} {version_text(description.version)}"))
    for name, signature in description.signatures.items():
        if name.startswith("__"):  # such as __saved_model_init_op, which nobody calls
            continue
        click.echo(one_line(f"  {name} ({signature.method or 'no method'})"))
        for kind, tensors in (("input", signature.inputs), ("output", signature.outputs)):
            for alias, tensor in tensors.items():
                optional = " (optional)" if kind == "input" and alias in signature.optional else ""
                click.echo(one_line(f"    {kind:<6} {alias}: {tensor}{optional}"))
