"""`bench predict`: classify images with a model on a server."""

from pathlib import Path
from typing import Any

import click

from bench import BenchError
from bench.cli.asking import asks_a_server, inquiry, picks_a_version
from bench.escape import one_line
from bench.runs.jsonl import json_text
from bench.target.single_shot import Prediction, question
from bench.target.single_shot import predict as ask


@click.command(context_settings={"max_content_width": 110})
@click.argument("pictures", metavar="IMAGE.png...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--model", default="mnist", show_default=True, help="Name of the model.")
@picks_a_version
@click.option("--signature", help="Signature to call.  [default: predict_images, else serving_default]")
@click.option("--output", help="Output that holds the scores.  [default: scores, or the only one]")
@click.option("--json", "as_json", is_flag=True, help="One JSON list with all scores, for programs.")
@asks_a_server
def predict(
    pictures: tuple[Path, ...], signature: str | None, output: str | None, as_json: bool, **server: Any
) -> None:
    """Send images to a server and print the class with the highest score, for MNIST the digit.

    Takes PNG and JPEG files; they are resized to the model's input and, for digits, made light on black and centred.
    """
    if missing := [path for path in pictures if not path.exists()]:
        raise BenchError(f"{missing[0]}: does not exist; name PNG or JPEG files")
    with inquiry(**server) as connection:
        how = question(connection, signature, output)
        if how.note:
            click.echo(one_line(how.note), err=True)
        seen = []
        for path in pictures:
            seen.append(ask(connection, how, path))
            if not as_json:
                click.echo(one_line(_line(seen[-1])))
    if as_json:
        click.echo(json_text([_record(each) for each in seen], indent=2))


def _line(seen: Prediction) -> str:
    version = "unknown" if seen.version is None else seen.version
    return (
        f"{seen.path}: {seen.label} (score {seen.score:.3f}, version {version}, {seen.seconds * 1e3:.2f} ms)"
    )


def _record(seen: Prediction) -> dict[str, object]:
    return {
        "picture": str(seen.path),
        "label": seen.label,
        "score": seen.score,
        "scores": list(seen.scores),
        "version": seen.version,
        "seconds": seen.seconds,
    }
