"""`bench plot`: the pictures of a report as files."""

from pathlib import Path

import click

from bench import BenchError, extras
from bench.analysis.showing.report import report
from bench.cli.output import note
from bench.runs.run import find_runs


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), default=(Path("results"),))
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("plots"),
    show_default=True,
    metavar="DIR",
)
@click.option("--format", "kind", type=click.Choice(["png", "svg", "pdf"]), default="png", show_default=True)
@click.option(
    "--only", metavar="TEXT", help="Only charts with this in their name, such as percentile or batch."
)
@click.option(
    "--dpi", type=click.IntRange(50, 1200), default=200, show_default=True, help="Resolution of png."
)
def plot(*, paths: tuple[Path, ...], out: Path, kind: str, only: str | None, dpi: int) -> int:
    """Write the charts of bench report --html as files, one for each. PATHS: run folders, or folders that contain them."""
    extras.need("matplotlib", "bench plot")
    from bench.analysis.showing.pictures import pictures
    from bench.analysis.showing.plot import render

    results = report(find_runs(paths))
    for word, text in results.missing:
        note(f"{word}: {text}")
    drawn = [picture for picture in pictures(results) if only is None or only in picture.name]
    if not drawn:
        reason = (
            f"no picture with {only} in its name" if only is not None and results.runs else "nothing to draw"
        )
        raise BenchError(f"{', '.join(map(str, paths))}: {reason}; see bench report for what the runs hold")
    try:
        out.mkdir(parents=True, exist_ok=True)
        for picture in drawn:
            path = out / f"{picture.name}.{kind}"
            path.write_bytes(render(picture, kind, dpi=dpi))
            click.echo(str(path))
    except OSError as error:
        raise BenchError(f"--out {out}: {error.strerror}; name another folder") from error
    return 0
