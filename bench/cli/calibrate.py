"""`bench calibrate`: measure what this machine can send, for later runs to compare themselves with."""

from pathlib import Path
from typing import Any

import click

from bench.runs.jsonl import json_text
from bench.wording import counted


@click.command(context_settings={"max_content_width": 110})
@click.option(
    "--batch-size", type=click.IntRange(1), default=1, show_default=True, help="Examples in each request."
)
@click.option(
    "--transport",
    type=click.Choice(["native", "grpcio"]),
    default="native",
    show_default=True,
    help="HTTP/2 client.",
)
@click.option(
    "--connections",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Connections of the load process.",
)
@click.option(
    "--scenario",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Send the requests of this scenario instead of MNIST digits.",
)
@click.option(
    "--seconds",
    type=click.IntRange(2),
    default=4,
    show_default=True,
    help="Length of each of the seven runs.",
)
@click.option("--json", "as_json", is_flag=True, help="Print every number as JSON, durations in seconds.")
def calibrate(
    *, batch_size: int, transport: str, connections: int, scenario: Path | None, seconds: int, as_json: bool
) -> int:
    """Measure what one load process of this machine can send, against a server that answers at once.

    Takes under a minute; run nothing else at the same time. The result is stored with the machine's fingerprint:
    later runs with requests of about this size warn when they come near that limit.
    """
    from bench.calibration.calibrate import Subject
    from bench.calibration.calibrate import calibrate as measure
    from bench.load import ceiling

    subject = Subject(transport, connections, batch_size, scenario)
    measured = measure(subject, lambda text: click.echo(f"measuring: {text}", err=True), seconds=seconds)
    path = ceiling.save(measured)
    if as_json:
        click.echo(json_text({**measured.to_dict(), "kept": str(path)}))
    else:
        _show(measured)
        click.echo(f"saved to {path}", err=True)
    return 0


def _show(measured: Any) -> None:
    batch = "" if measured.batch == 1 else f" of {measured.batch} examples"
    click.echo(f"requests of {measured.request_bytes:,} bytes{batch}, {measured.transport}, one load process")
    click.echo(
        f"  floor     one user alone: p50 {measured.floor_p50 * 1e6:.0f} us, p99 {measured.floor_p99 * 1e6:.0f} us"
    )
    click.echo(
        f"  ceiling   {measured.requests_per_second:,.0f} requests/s with {counted(measured.users, 'user')}, "
        f"{measured.cpu_per_request * 1e6:.1f} us of CPU each; "
        f"the load process used {measured.load_cpu:.0%} of a core, the server {measured.server_cpu:.0%}"
    )
    for lag in measured.lags:
        click.echo(
            f"  open loop {lag.rate:,.0f}/s: lag p50 {lag.p50 * 1e6:.0f} us, p99 {lag.p99 * 1e6:.0f} us, "
            f"{lag.achieved:.2%} sent, {lag.cpu:.0%} of a core"
        )
    click.echo(f"  ceiling   {measured.open_per_second:,.0f} requests/s of an open loop leave in time")
