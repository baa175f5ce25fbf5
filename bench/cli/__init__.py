"""Which verbs has `bench`, and with which exit code does each of them end?

Exit codes: 0 done or kept, 1 a limit is broken, 2 bad usage or input, 3 not believable or not decidable.
A verb's module is imported only when that verb runs.
"""

import importlib
import sys
from typing import Any

import click

from bench import BenchError, __version__

VERBS: dict[str, tuple[str, str]] = {
    "export": ("bench.cli.export", "Train and export MNIST models as SavedModels."),
    "serve": ("bench.cli.serve", "Serve SavedModels with TensorFlow Serving's API."),
    "predict": ("bench.cli.predict", "Ask a server which digits are on pictures."),
    "status": ("bench.cli.status", "Show which versions of a model a server has, and in which states."),
    "metadata": ("bench.cli.metadata", "Show a model's signatures, as its server tells them."),
    "run": ("bench.cli.run", "Run an experiment: servers x versions x batch sizes x loads."),
    "calibrate": ("bench.cli.calibrate", "Measure what this machine can send, for runs to compare with."),
    "report": ("bench.cli.report", "Show what runs measured: terminal table, HTML page, JSON."),
    "compare": ("bench.cli.compare", "Compare trials: ratios with intervals and verdicts."),
    "gate": ("bench.cli.gate", "Hold runs to limits: kept, broken, or not decidable."),
    "baseline": ("bench.cli.baseline", "Renew and show the runs that gates compare with."),
    "history": ("bench.cli.history", "Find the run since which a metric is better or worse."),
    "plot": ("bench.cli.plot", "Draw the pictures of a report as files."),
}
"""Verb -> module that holds a click command of the verb's name, and its line in `bench --help`."""


class _Verbs(click.Group):
    """A click group that imports a verb's module when the verb is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(VERBS[cmd_name][0])
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(verb, text) for verb, (_, text) in VERBS.items()])


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="serving-bench")
def verbs() -> None:
    """Measure model servers: which version, batch size or build is faster, by how much, how sure are we.

    \b
    Drive load with Locust:  locust -f scenarios/mnist.py --headless -u 64 -r 64 -t 30s
    Read what it measured:   bench report results/
    """


def main(arguments: list[str] | None = None) -> None:
    """Run `bench` and leave the process with its exit code; `BenchError` is one line on stderr and code 2."""
    try:
        code: Any = verbs.main(args=arguments, prog_name="bench", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        sys.exit(130)
    except BenchError as error:
        click.echo(f"bench: {error}", err=True)
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)
