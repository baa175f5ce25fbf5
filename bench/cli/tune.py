"""`bench tune`: the best settings of a server."""

from pathlib import Path

import click

from bench.cli.new_file import NewFile
from bench.cli.packaged_path import PackagedPath


@click.command()
@click.argument("tune_file", metavar="TUNE.toml", type=PackagedPath(exists=True, path_type=Path))
@click.option(
    "--dry-run", is_flag=True, help="Print settings, rounds and their predicted duration; start nothing."
)
@click.option(
    "--resume", "go_on", is_flag=True, help="Continue the newest tuning of TUNE.toml, or that folder."
)
@click.option("--retry", is_flag=True, help="With --resume: run failed trials again too.")
@click.option(
    "--trials", type=click.IntRange(1), help="Blocks of the last comparison, instead of the file's."
)
@click.option("--seconds", type=click.IntRange(1), help="Load of each trial, instead of the file's.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Load processes.")
@click.option("--results", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
@click.option("--json", "as_json", type=NewFile(), metavar="FILE", help="Write all results as JSON.")
def tune(
    tune_file: Path,
    *,
    dry_run: bool,
    go_on: bool,
    retry: bool,
    trials: int | None,
    seconds: int | None,
    workers: int,
    results: Path,
    as_json: Path | None,
) -> int:
    """Find the settings of a server with the most throughput within a service level, or the lowest latency under a load.

    TUNE.toml is an experiment file of one server of kind embedded, binary or docker, with a table [space] of values to
    try in all combinations: batching parameters, threads, flags. All settings and the server's default are measured in
    interleaved trials; the worst ones are dropped after each round. Finally, the best two are compared with the default
    in new trials.

    The result is an experiment's folder, which bench report reads; best/ in it holds the settings as the server takes
    them: an entry of servers.toml, flags, batching parameters. Ctrl-C shows the best so far; --resume continues.

    Exit codes: 0 a gain, or nothing beats the default by more than 2 %; 2 bad usage or input; 3 inconclusive, or the load
    generator was the limit; 130 interrupted.

    \b
    bench tune tune.toml --dry-run
    bench tune tune.toml
    """
    overrides = {name: value for name, value in (("trials", trials), ("seconds", seconds)) if value}
    if go_on and overrides:
        raise click.UsageError("--resume continues the original plan: leave --trials and --seconds out")
    if retry and not go_on:
        raise click.UsageError("--retry needs --resume")
    if tune_file.is_dir() and not go_on:
        raise click.UsageError(f"{tune_file} is a folder: name a tune file, or add --resume")
    # what starts servers and reads runs: imported once all that can be wrong with the command line was looked at
    from bench.cli.tune_run import run_tuning, show_plan
    from bench.experiment.tuning import prepare_tuning, resume_tuning

    tuning, folder = (
        resume_tuning(tune_file, results) if go_on else (prepare_tuning(tune_file, overrides), None)
    )
    if dry_run:
        return show_plan(tuning, folder)
    return run_tuning(tuning, folder, workers=workers, results=results, as_json=as_json, retry=retry)
