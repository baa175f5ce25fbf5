"""`bench serve`: the embedded server's flags on a command line."""

import dataclasses
import typing
from collections.abc import Callable
from importlib import metadata
from typing import Any

import click

from bench import __version__
from bench.extras import need
from bench.server.options import ServerFlags, check


def _declared(each: "dataclasses.Field[Any]", kind: Any) -> Callable[[Any], Any]:
    """A click option for a field: `--model_name`, also as `--model-name`, with `=` or a blank before its value."""
    alternatives = [argument for argument in typing.get_args(kind) if argument is not type(None)]
    names = dict.fromkeys((f"--{each.name}", f"--{each.name.replace('_', '-')}"))
    shown = each.default is not None and each.default != "" and each.metadata["supported"]
    arguments: dict[str, Any] = {
        "default": each.default,
        "type": alternatives[0] if alternatives else kind,
        "help": each.metadata["help"],
        "show_default": shown,
        "metavar": each.metadata["placeholder"],
        "hidden": not each.metadata["supported"],
    }
    if kind is bool:  # --flag, --flag=true, --flag=false
        arguments |= {"type": click.BOOL, "is_flag": False, "flag_value": True, "metavar": "[=true|false]"}
    return click.option(*names, each.name, **arguments)


def _flags(command: Callable[..., Any]) -> Callable[..., Any]:
    kinds = typing.get_type_hints(ServerFlags)
    for each in reversed(dataclasses.fields(ServerFlags)):
        command = _declared(each, kinds[each.name])(command)
    return command


@click.command(context_settings={"max_content_width": 110, "help_option_names": ["-h", "--help"]})
@click.option(
    "--version", "show_version", is_flag=True, help="Show versions and the flags that were given, and end."
)
@_flags
def serve(show_version: bool, **flags: Any) -> int:
    """Serve SavedModels with TensorFlow Serving's API and flag names.

    Prints one line of JSON when it listens and all models are available; logs to standard error. SIGTERM ends
    it after the calls in flight are answered.
    """
    options = ServerFlags(**flags)
    if show_version:
        _print_versions(options)
        return 0
    from bench.server import logs, process, processes

    check(options)
    if options.backend == "tensorflow":
        need("tensorflow", "--backend tensorflow (the default)")
    logs.configure(options.log_format)
    return processes.serve(options) if options.processes > 1 else process.serve(options)


def _print_versions(options: ServerFlags) -> None:
    click.echo(f"serving-bench {__version__}")
    for package in ("tensorflow", "tensorflow-serving-api", "numpy", "protobuf"):
        try:
            click.echo(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            click.echo(f"{package} is not installed")
    flags = " ".join(f"--{name}={value}" for name, value in options.changed().items())
    click.echo(f"flags: {flags or 'all by default'}")
