"""`bench kubernetes`: manifests for load and gate in a cluster."""

from pathlib import Path

import click

from bench import BenchError, __version__, extras, packaged

KINDS = ("plain", "operator")


@click.group()
def kubernetes() -> None:
    """Run a load in a Kubernetes cluster: master and workers as Jobs, the verdict as the exit code of the master's."""


def _label(_context: click.Context, _parameter: click.Parameter, text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise BenchError(
            f"--apart-from {text}: expected a label of the server's pods, such as app=model-server"
        )
    return key, value


@kubernetes.command()
@click.option(
    "--host", required=True, metavar="HOST:PORT", help="The server, as pods of the cluster reach it."
)
@click.option(
    "--image",
    default=f"serving-bench:{__version__}",
    show_default=True,
    help="Image of the load processes, as the cluster pulls it.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="Load processes: pods with a core each.",
)
@click.option("--namespace", default="serving-bench", show_default=True, help="Of everything that is made.")
@click.option(
    "--scenario",
    default="mnist",
    show_default=True,
    metavar="NAME",
    help="Scenario of this package, or your own file.",
)
@click.option(
    "--limits",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="What the gate checks.  [default: that of the scenario]",
)
@click.option(
    "--file",
    "files",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    metavar="FILE",
    help="A further text file in /config, such as one of requests; may be repeated.",
)
@click.option(
    "--apart-from",
    default="app=model-server",
    show_default=True,
    callback=_label,
    metavar="LABEL=VALUE",
    help="Label of the server's pods: no load process runs on their nodes.",
)
@click.option(
    "--egress",
    type=click.IntRange(1, 65535),
    multiple=True,
    metavar="PORT",
    help="A further port that load processes may reach; may be repeated.",
)
@click.option(
    "--bucket",
    metavar="s3://NAME/PREFIX",
    help="Copy the results there, with the keys in Secret serving-bench-bucket.",
)
@click.option("--bucket-endpoint", metavar="URL", help="Service of the bucket.  [default: Amazon's]")
@click.option("--bucket-image", metavar="IMAGE", help="Image of the AWS CLI, as the cluster pulls it.")
@click.option(
    "--for",
    "kind",
    type=click.Choice(KINDS),
    default="plain",
    show_default=True,
    help="Jobs, or the Locust operator.",
)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def render(
    *,
    host: str,
    image: str,
    workers: int,
    namespace: str,
    scenario: str,
    limits: Path | None,
    files: tuple[Path, ...],
    apart_from: tuple[str, str],
    egress: tuple[int, ...],
    bucket: str | None,
    bucket_endpoint: str | None,
    bucket_image: str | None,
    kind: str,
    options: tuple[str, ...],
) -> None:
    """Print the manifests, with a new secret for master and workers in them. OPTIONS: of the load, behind --.

    \b
    bench kubernetes render --host model-server.default.svc:8500 --workers 4 -- -u 64 -r 64 -t 60s | kubectl apply -f -
    kubectl wait -n serving-bench --for=condition=complete job/master --timeout=10m
    """
    extras.need("yaml", "bench kubernetes")
    from bench.kubernetes.manifests import LIMITS, SCENARIO, Bucket, Deployment, manifests, text

    if kind == "operator" and options:
        raise BenchError(
            f"{options[0]}: with --for operator, the load is given by whoever starts it; leave it out"
        )
    if bucket is None and (bucket_endpoint or bucket_image):
        raise BenchError(
            "--bucket-endpoint, --bucket-image: name the bucket as well, --bucket s3://NAME/PREFIX"
        )
    if egress and kind == "operator":
        raise BenchError(f"--egress {egress[0]}: --for operator has no network policy; leave it out")
    if bucket is not None and kind == "operator":
        raise BenchError(f"--bucket {bucket}: pods of --for operator hold no results; leave it out")
    copied = None if bucket is None else Bucket(bucket, bucket_image, bucket_endpoint)
    path = packaged.scenario(scenario)
    beside = limits or path.with_suffix(".toml")
    if not beside.is_file():
        raise BenchError(f"--limits: scenario {scenario} has none; name a file with the limits of the gate")
    contents = {SCENARIO: _read(path), LIMITS: _read(beside)}
    for file in files:
        if file.name in (*contents, "master.sh"):
            raise BenchError(f"--file {file}: /config has a {file.name} already; rename yours")
        contents[file.name] = _read(file)
    deployment = Deployment(host, image, workers, namespace, contents, options, apart_from, copied, egress)
    click.echo(text(manifests(kind, deployment)), nl=False)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no text"
        raise BenchError(f"{path}: {reason}; a ConfigMap takes text files") from None
