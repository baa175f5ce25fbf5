"""`bench predict`: classify images with a model on a server, or show its answers to the requests in a file."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from bench import BenchError
from bench.analysis.agreement.summary import plain_values
from bench.cli.asking import asks_a_server, inquiry, picks_a_version
from bench.escape import one_line
from bench.payload import read_requests
from bench.runs.jsonl import json_text
from bench.target.inquiry import describe
from bench.target.preflight import Preflight, check_outputs
from bench.target.single_shot import Prediction, question
from bench.target.single_shot import predict as ask
from bench.wire.reply import LARGEST_ANSWER


@click.command(context_settings={"max_content_width": 110})
@click.argument("pictures", metavar="[IMAGE.png...]", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--requests",
    metavar="FILE",
    help="Send these requests instead of images, and print the outputs; - reads standard input.",
)
@click.option("--model", default="mnist", show_default=True, help="Name of the model.")
@picks_a_version
@click.option("--signature", help="Signature to call.  [default: predict_images, else serving_default]")
@click.option(
    "--output", help="Output that holds the scores, or is printed.  [default: scores, or the only one; all]"
)
@click.option("--json", "as_json", is_flag=True, help="One JSON list with all scores, for programs.")
@asks_a_server
def predict(
    pictures: tuple[Path, ...],
    requests: str | None,
    signature: str | None,
    output: str | None,
    as_json: bool,
    **server: Any,
) -> None:
    """Send images to a server and print the class with the highest score, for MNIST the digit.

    Takes PNG and JPEG files; they are resized to the model's input and, for digits, made light on black and centred.

    With --requests FILE (JSON lines, .npz, CSV, TFRecord of PredictionLog, a folder of images) send each example by itself
    and print the model's outputs, a line of JSON for each.
    """
    if (requests is None) != bool(pictures):
        raise click.UsageError("name images, or a file of requests with --requests FILE")
    if requests is not None:
        _answer(requests, signature, output, as_json=as_json, **server)
        return
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


def _answer(
    requests: str, signature: str | None, output: str | None, *, as_json: bool, **server: Any
) -> None:
    """Print the answers to the requests in a file. Raises BenchError at the first one that there is none to."""
    from bench.load.both_answers import Side, ask_one  # gevent with it, which pictures do without

    rows = []
    with inquiry(**server) as inquired:
        name, declared = Preflight().declared(inquired, signature or "")
        outputs = tuple(declared.outputs) if output is None else (output,)
        check_outputs(outputs, declared, name)
        version = inquired.version if inquired.label is None else describe(inquired).version or None
        side = Side(
            replace(inquired, version=version, label=None), name, 1, outputs, filtered=output is not None
        )
        examples = read_requests(requests, declared, signature_name=name)
        for number in range(len(examples)):
            (answer,) = ask_one(side, examples, [number], inquired.timeout, [LARGEST_ANSWER]).values()
            if isinstance(answer, str):
                raise BenchError(f"{inquired.where}: example {number} of {requests}: {answer}")
            rows.append({"example": number} | {name: plain_values(each) for name, each in answer.items()})
            if not as_json:
                click.echo(json_text(rows.pop(), indent=None))
    if as_json:
        click.echo(json_text(rows, indent=2))


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
