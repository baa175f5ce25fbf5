"""The command group of `bench`: a verb's module is imported only when that verb runs."""

import contextlib
import importlib
import os
import sys
from typing import Final

import click
from click.exceptions import NoSuchCommand

from bench import __version__
from bench.cli import GROUPS, INTERNAL, VERBS

COMPLETE: Final = "_BENCH_COMPLETE"
"""The environment variable by which a shell asks for completions, as click names it."""


class _Verbs(click.Group):
    """A click group that imports a verb's module when the verb is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        path = INTERNAL.get(cmd_name) or VERBS.get(cmd_name, (None,))[0]
        if path is None:
            return None
        module = importlib.import_module(path)
        command: click.Command = getattr(module, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, which knows no verbs to suggest. Raises NoSuchCommand."""
        try:
            return super().resolve_command(ctx, args)
        except NoSuchCommand as error:
            raise NoSuchCommand(error.command_name, possibilities=VERBS, ctx=ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for group, names in GROUPS.items():
            with formatter.section(group):
                formatter.write_dl([(verb, text) for verb, (_, text) in names.items()])


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="serving-bench")
def verbs() -> None:
    """Load-test model servers and compare versions, batch sizes and builds, with confidence intervals and release gates.

    \b
    Compare two versions:  bench ab HOST:PORT --model NAME --versions 6,7
    Run a load test:       bench scenario mnist --headless -u 64 -r 64 -t 30s
    Show the results:      bench report
    Set up a project:      bench init load-tests
    """


def run(arguments: list[str] | None) -> int:
    """The exit code of a command line; what the user can mend is told on standard error, with code 2."""
    try:
        # click writes completions as bytes, past what makes text of others harmless: they are names of ours
        stream = sys.__stdout__ if COMPLETE in os.environ else sys.stdout
        with contextlib.redirect_stdout(stream):
            code = verbs.main(args=arguments, prog_name="bench", standalone_mode=False, complete_var=COMPLETE)
    except click.ClickException as error:
        error.show()
        return 2
    except click.Abort:
        return 130
    if code is None:
        return 0
    if not isinstance(code, int):
        raise TypeError(f"a verb returned {code!r}, which is not an exit code")
    return code
