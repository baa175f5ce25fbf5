"""`bench conclude`: what load processes have done at the end of a run; no verb for users."""

import os
from pathlib import Path

import click

from bench import BenchError
from bench.cli.output import note
from bench.runs import conclusion


@click.command(hidden=True)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--unread", is_flag=True, help="Print nothing of it.")
@click.pass_context
def conclude(context: click.Context, run: Path, *, unread: bool) -> int:
    """Pack and seal a RUN that has ended, and print what `bench report RUN --json` does."""
    # Packed by a fork, and before the report is imported: no process holds both pyarrow and the report, which is 70 MB
    # instead of 96, and the load process stays the largest of a run.
    packing = os.fork()
    if not packing:
        os._exit(_packed(run))
    _, status = os.waitpid(packing, 0)
    if status or unread:
        return os.waitstatus_to_exitcode(status)
    from bench.cli.report import report

    code: int = context.invoke(report, paths=(run,), as_json=True)
    return code


def _packed(run: Path) -> int:
    """The exit code of the fork; it tells on standard error what is amiss."""
    try:
        amiss, code = conclusion.conclude(run), 0
    except BenchError as error:
        amiss, code = str(error), 2
    if amiss:
        note(amiss)
    return code
